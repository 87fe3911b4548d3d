"""``wfops export``: an environment's workflows into its Git folder (§7)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.diffs import render_stored
from wfops_pipelines.cli.options import Detach, DryRun, Environment, Json, Tenant
from wfops_pipelines.cli.session import open_session, result_of
from wfops_pipelines.cli.sync import tell_submitted
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.services.export_text import field_changes, left_out

_MARKS = {"added": "A", "modified": "M", "removed": "D"}
_STYLES = {"added": "green", "modified": "yellow", "removed": "red"}


def export(
    tenant: Tenant, environment: Environment,
    prune: Annotated[bool, typer.Option("--prune", help="Delete files of workflows that n8n no longer has.")] = False,
    ambiguous_as_new: Annotated[bool, typer.Option(
        "--ambiguous-as-new", help="Write workflows that might be a canonical one as new ones.")] = False,
    dry_run: DryRun = False, as_json: Json = False, detach: Detach = False,
) -> None:
    """Write an environment's workflows into its Git folder, as one commit or one pull request.

    Only files whose content, desired activation or tags changed are written; nothing changed makes no commit. With
    --dry-run the diff of each file is shown.

    A workflow that might be a canonical one that there is already is left out, and named with what it might be; say
    which it is with wfops link, ignore or resolve. --ambiguous-as-new makes a new canonical workflow of each instead.

    Exit codes: 0 done, 1 failed, 2 no such tenant, environment or repository, 4 another operation holds the
    environment or the folder is n8n's own, 5 unreachable, 6 credentials refused.

    Examples:

        wfops export acme dev --dry-run

        wfops export acme dev --prune --json | jq -r .commit
    """
    with open_session() as session:
        session.environments(tenant, [environment])
        config = {"partition": f"{environment}|{tenant}", "prune": prune, "dry_run": dry_run,
                  "ambiguous_as_new": ambiguous_as_new}
        with terminal.progress(f"Exporting {tenant}/{environment}"):
            launched = session.run("export", {"export_to_git": config}, tenant=tenant, environment=environment,
                                   detach=detach)
        if detach:
            note = ", which writes nothing; its page shows what it would write" if dry_run else ""
            tell_submitted(session, launched.run_id, as_json=as_json, note=note)
            return
    result = result_of(launched)
    terminal.write(terminal.json_text(result) if as_json else _text(result))


def _text(result: dict[str, Any]) -> str:
    text = "".join(_file_text(file, dry_run=result["dry_run"]) for file in result["files"])
    total = ", ".join([terminal.plural(len(result["files"]), "file"), *_counts(result)])
    if not result["files"]:
        text = f"nothing to write, {', '.join(_counts(result))}\n"
    elif result["dry_run"]:
        text += f"\nwould write {total}\n"
    else:
        where = f"pull request {result['pull_request']}" if result["pull_request"] else f"commit {result['commit']}"
        text += f"\n{where}: {total}\n"
    if result["ambiguous"] and not result["ambiguous_as_new"]:
        text += "\n" + "".join(f"{line}\n" for line in left_out(result["ambiguous"]))
        text += "or write them all as new canonical workflows: --ambiguous-as-new\n"
    return text


def _counts(result: dict[str, Any]) -> list[str]:
    counts = [f"{result['unchanged']} unchanged", f"{result['new']} new"]
    if result["ambiguous"]:
        counts.append(f"{len(result['ambiguous'])} ambiguous"
                      + (" (written as new)" if result["ambiguous_as_new"] else " (left out)"))
    return counts


def _file_text(file: dict[str, Any], *, dry_run: bool) -> str:
    mark = terminal.paint(_MARKS[file["change"]], _STYLES[file["change"]])
    text = f"{mark} {visible(file['path'])}  {visible(file['name'] or '(no name)')}\n"
    if dry_run:
        said = field_changes(file)
        text += "".join(f"    {line}\n" for line in said)
        if file.get("diff") and (file["diff"]["changes"] or not said):
            text += render_stored(file["diff"], before="Git", after="n8n (live)", indent="    ")
    return text
