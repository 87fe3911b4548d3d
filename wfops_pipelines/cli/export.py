"""``wfops export``: an environment's workflows into its Git folder (§7)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.diffs import render_stored
from wfops_pipelines.cli.options import Detach, DryRun, Environment, Json, Tenant
from wfops_pipelines.cli.session import failure_of, open_session
from wfops_pipelines.cli.sync import tell_submitted
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.services.export_text import field_changes

_MARKS = {"added": "A", "modified": "M", "removed": "D"}
_STYLES = {"added": "green", "modified": "yellow", "removed": "red"}


def export(
    tenant: Tenant, environment: Environment,
    prune: Annotated[bool, typer.Option("--prune", help="Delete files of workflows that n8n no longer has.")] = False,
    dry_run: DryRun = False, as_json: Json = False, detach: Detach = False,
) -> None:
    """Write an environment's workflows into its Git folder, as one commit or one pull request.

    Only files whose content, desired activation or tags changed are written; nothing changed makes no commit. With
    --dry-run the diff of each file is shown.

    Exit codes: 0 done, 1 failed, 2 no such tenant, environment or repository, 4 another operation holds the
    environment or the folder is n8n's own, 5 unreachable, 6 credentials refused.

    Examples:

        wfops export acme dev --dry-run

        wfops export acme dev --prune --json | jq -r .commit
    """
    with open_session() as session:
        session.environments(tenant, [environment])
        config = {"partition": f"{environment}|{tenant}", "prune": prune, "dry_run": dry_run}
        with terminal.progress(f"Exporting {tenant}/{environment}"):
            launched = session.run("export", {"export_to_git": config}, tenant=tenant, environment=environment,
                                   detach=detach)
        if detach:
            tell_submitted(session, launched.run_id, as_json=as_json)
            return
    told: dict[str, Any] = launched.outputs[0] if launched.outputs else {"result": None, "error": None}
    if told["error"] is not None:
        raise told["error"]
    if not launched.success:
        raise failure_of(launched)
    result = {**told["result"], "run_id": launched.run_id}
    terminal.write(terminal.json_text(result) if as_json else _text(result))


def _text(result: dict[str, Any]) -> str:
    unchanged = f"{result['unchanged']} unchanged"
    if not result["files"]:
        return f"nothing to write, {unchanged}\n"
    text = ""
    for file in result["files"]:
        mark = terminal.paint(_MARKS[file["change"]], _STYLES[file["change"]])
        text += f"{mark} {visible(file['path'])}  {visible(file['name'] or '(no name)')}\n"
        if result["dry_run"]:
            said = field_changes(file)
            text += "".join(f"    {line}\n" for line in said)
            if file.get("diff") and (file["diff"]["changes"] or not said):
                text += render_stored(file["diff"], before="Git", after="n8n (live)", indent="    ")
    total = f"{terminal.plural(len(result['files']), 'file')}, {unchanged}"
    if result["dry_run"]:
        return text + f"\nwould write {total}\n"
    where = f"pull request {result['pull_request']}" if result["pull_request"] else f"commit {result['commit']}"
    return text + f"\n{where}: {total}\n"
