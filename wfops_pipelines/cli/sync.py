"""``wfops sync``: environments and their repositories, read into the store and reconciled (§6–8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.failures import error_json, exit_code_of
from wfops_pipelines.cli.options import Detach, Environments, Json, Tenant
from wfops_pipelines.cli.session import Session, failure_of, open_session
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import UsageError, WfopsError

COUNTS = ("seen", "created", "updated", "unchanged", "linked", "untracked", "missing", "errors")
REPOSITORY, ENVIRONMENT, DIFF, DRIFT = (
    "repository_workflows", "environment_workflows", "workflow_diff", "drift_report")  # services.refresh.Part

Outcomes = dict[str, dict[str, dict[str, Any]]]
"""Environment → part → what the run said of it: ``{result, error}``."""


def sync(tenant: Tenant, environments: Environments = None, as_json: Json = False, detach: Detach = False) -> None:
    """Read environments and their repositories: what is where, what differs.

    Without ENV all environments of the tenant. One that cannot be read does not stop the others: all are shown.

    Exit codes: 0 done, 1 failed, 2 no such tenant or environment, 4 another operation holds the environment,
    5 unreachable, 6 credentials refused.

    Examples:

        wfops sync acme

        wfops sync acme prod --json | jq '.[0].untracked'
    """
    with open_session() as session:
        slugs = chosen(session, tenant, environments)
        if detach:
            submit(session, tenant, slugs, [REPOSITORY, ENVIRONMENT, DIFF], as_json=as_json)
            return
        run_id, outcomes = refresh(session, tenant, slugs, [REPOSITORY, ENVIRONMENT, DIFF], "Syncing")
    errors = [e for parts in outcomes.values() if (e := first_error(parts)) is not None]
    if as_json:
        terminal.write(terminal.json_text([_row(tenant, slug, outcomes[slug], run_id) for slug in slugs]))
    else:
        terminal.write(_text(tenant, {slug: outcomes[slug] for slug in slugs}))
    raise typer.Exit(exit_code_of(errors))


def chosen(session: Session, tenant: str, environments: Sequence[str] | None) -> list[str]:
    """The slugs of the environments to work on; :class:`UsageError` for a tenant that has none."""
    slugs = [row.slug for row in session.environments(tenant, environments)]
    if not slugs:
        raise UsageError(f"tenant {tenant} has no environments", fix="declare them in fleet.yaml, then `wfops apply`")
    return slugs


def refresh(session: Session, tenant: str, slugs: Sequence[str], parts: Sequence[str], doing: str) -> tuple[str, Outcomes]:
    """Run the job ``refresh`` here; returns the run's id and the outcomes. Raises when the run itself failed."""
    with terminal.progress(f"{doing} {tenant}: {', '.join(slugs)}"):
        launched = session.run("refresh", {"refresh_environments": _config(tenant, slugs, parts)}, tenant=tenant,
                               environment=slugs[0] if len(slugs) == 1 else None)
    if not launched.success:
        raise failure_of(launched)
    outcomes: Outcomes = {slug: {} for slug in slugs}
    for told in launched.outputs:
        outcomes[told["environment"]][told["part"]] = {"result": told["result"], "error": told["error"]}
    return launched.run_id, outcomes


def submit(session: Session, tenant: str, slugs: Sequence[str], parts: Sequence[str], *, as_json: bool) -> None:
    """Leave the job ``refresh`` to the daemon's queue, and say where to look."""
    launched = session.run("refresh", {"refresh_environments": _config(tenant, slugs, parts)}, tenant=tenant, detach=True)
    tell_submitted(session, launched.run_id, as_json=as_json)


def tell_submitted(session: Session, run_id: str, *, as_json: bool, note: str = "") -> None:
    """The id of a submitted run, and its page; ``note`` says more of it to people."""
    url = f"{session.installation.ui_url}/runs/{run_id}"
    if as_json:
        terminal.write(terminal.json_text({"run_id": run_id, "url": url}))
    else:
        terminal.write(f"submitted run {run_id}{note}\n{url}\n")


def first_error(parts: dict[str, dict[str, Any]]) -> WfopsError | None:
    """The first error of an environment's parts."""
    return next((part["error"] for part in parts.values() if part["error"] is not None), None)


def _config(tenant: str, slugs: Sequence[str], parts: Sequence[str]) -> dict[str, Any]:
    return {"partitions": [f"{slug}|{tenant}" for slug in slugs], "parts": list(parts)}


def _row(tenant: str, slug: str, parts: dict[str, dict[str, Any]], run_id: str) -> dict[str, Any]:
    """One environment as ``--json`` shows it. Counts of an environment that could not be read are null: it is not
    known to be empty."""
    inventory = parts.get(ENVIRONMENT, {}).get("result") or {}
    row: dict[str, Any] = {"tenant": tenant, "environment": slug, **{name: inventory.get(name) for name in COUNTS},
                           **{k: v for k, v in inventory.items() if k not in COUNTS}}
    row |= {"repository": parts.get(REPOSITORY, {}).get("result"), "diff": parts.get(DIFF, {}).get("result")}
    for part, said in parts.items():
        if said["error"] is not None:
            row["error"] = {"part": part, **error_json(said["error"])}
            break
    return {**row, "run_id": run_id}


def _text(tenant: str, outcomes: Outcomes) -> str:
    rows, lines = [], []
    for slug, parts in outcomes.items():
        inventory = parts.get(ENVIRONMENT, {}).get("result")
        rows.append([f"{tenant}/{slug}", *(inventory[name] if inventory else "-" for name in COUNTS), _git(parts)])
        lines += [f"{tenant}/{slug}: {line}" for line in _problems(parts)]
        lines += [f"{tenant}/{slug}: {line}" for line in _stages(parts)]
    text = terminal.table(["environment", *COUNTS, "git"], rows)
    return text + ("\n" + "\n".join(visible(line) for line in lines) + "\n" if lines else "")


def _git(parts: dict[str, dict[str, Any]]) -> str:
    repository = parts.get(REPOSITORY, {}).get("result")
    if repository is None:
        return "-"
    if repository["head"] is None:
        return str(repository["reason"] or "empty").replace("_", " ")
    added, changed, removed = (repository[name] for name in ("added", "changed", "removed"))
    news = f" (+{added} ~{changed} -{removed})" if added or changed or removed else ""
    return f"{repository['head'][:10]}, {terminal.plural(repository['files'], 'file')}{news}"


def _problems(parts: dict[str, dict[str, Any]]) -> list[str]:
    """What could not be read: whole parts, then single workflows and files."""
    lines = []
    for said in parts.values():
        error = said["error"]
        if error is not None and f"error: {error.message}" not in lines:
            lines += [f"error: {error.message}", *([f"fix: {error.fix}"] if error.fix else [])]
    for part in (ENVIRONMENT, REPOSITORY):
        for problem in (parts.get(part, {}).get("result") or {}).get("problems", []):
            lines.append(skipped_text(problem))
    return lines


def skipped_text(problem: Mapping[str, str]) -> str:
    """A file or workflow that is wrong, and whether that leaves it out. A file with the id of another one is read all the
    same: its path decides (§5.6)."""
    read = problem.get("reason", "").startswith("duplicate_")
    return ("" if read else "skipped ") + problem_text(problem)


def problem_text(problem: Mapping[str, str]) -> str:
    """A file or workflow that could not be read, and why; messages about files may begin with the path already."""
    where = problem.get("path") or f"workflow {problem.get('workflow_id') or '(no id)'}"
    return f"{where}: {problem['message'].removeprefix(f'{where}: ')}"


def _stages(parts: dict[str, dict[str, Any]]) -> list[str]:
    stages = (parts.get(DIFF, {}).get("result") or {}).get("stages", {})
    return [f"from {source}: " + (", ".join(f"{n} {status}" for status, n in counts.items() if n) or "nothing to compare")
            for source, counts in stages.items()]
