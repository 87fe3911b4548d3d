"""``wfops drift``: is each environment what Git says? (§9)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.diffs import render_stored
from wfops_pipelines.cli.failures import DIFFERENT, error_json, exit_code_of
from wfops_pipelines.cli.options import Detach, Environments, Json, Tenant
from wfops_pipelines.cli.session import Session, open_session
from wfops_pipelines.cli.sync import DRIFT, ENVIRONMENT, REPOSITORY, chosen, problem_text, refresh, submit
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import UsageError, WfopsError

PARTS = [REPOSITORY, ENVIRONMENT, DRIFT]
CONFLICT = "conflict"  # no file or workflow that could not be read, but two that contradict each other
UNPUBLISHED = "unpublished_changes"  # listed, and no drift by itself
_COMPARED = {"now": "", "last": "not read, so what it last said counts: ", "nothing": "not read, so it is left out: "}


def drift(tenant: Tenant, environments: Environments = None, as_json: Json = False, detach: Detach = False) -> None:
    """Check environments for drift now: n8n and Git are read, then compared.

    Without ENV the staging and production environments; in a dev environment n8n itself is the truth, and it is
    checked only when named. A draft that was not published is listed and is no drift: what runs is right.

    Exit codes: 0 no drift, 3 drift, 1 failed, 2 no such tenant or environment, 4 another operation holds the
    environment, 5 unreachable, 6 credentials refused. An environment that could not be checked counts more than drift
    in another.

    Examples:

        wfops drift acme

        wfops drift acme prod --json | jq -r '.[].workflows[].name'
    """
    with open_session() as session:
        slugs = chosen(session, tenant, environments) if environments else _governed(session, tenant)
        if detach:
            submit(session, tenant, slugs, PARTS, as_json=as_json)
            return
        run_id, outcomes = refresh(session, tenant, slugs, PARTS, "Checking")
    rows: list[dict[str, Any]] = []
    errors: list[WfopsError] = []
    for slug in slugs:
        said = outcomes[slug][DRIFT]
        if said["error"] is not None:
            errors.append(said["error"])
        rows.append(_row(tenant, slug, said, run_id))
    terminal.write(terminal.json_text(rows) if as_json else "\n".join(_text(row) for row in rows))
    drifted = any(w["kind"] != UNPUBLISHED for row in rows for w in row["workflows"])
    raise typer.Exit(exit_code_of(errors) or (DIFFERENT if drifted else 0))


def _governed(session: Session, tenant: str) -> list[str]:
    """Environments whose truth is Git."""
    slugs = [row.slug for row in session.environments(tenant, None) if row._mapping["class"] != "dev"]
    if not slugs:
        raise UsageError(f"tenant {tenant} has no staging or production environment",
                         fix="name a dev environment to check it all the same")
    return slugs


def _row(tenant: str, slug: str, said: dict[str, Any], run_id: str) -> dict[str, Any]:
    """One environment as ``--json`` shows it; a check that did not happen is an error, too."""
    error: WfopsError | None = said["error"]
    row: dict[str, Any] = said["result"] or {
        "tenant": tenant, "environment": slug, "status": "ERROR", "reason": error.kind if error else None,
        "message": str(error) if error else None, "workflows": []}
    return {**row, **({"error": error_json(error)} if error else {}), "run_id": run_id}


def _text(row: dict[str, Any]) -> str:
    reason = f" ({row['reason'].replace('_', ' ')})" if row["reason"] else ""
    text = f"{terminal.paint(row['tenant'] + '/' + row['environment'], 'bold')}  {terminal.word(row['status'])}{reason}"
    text += f"  {headline(row)}\n{_incident(row)}"
    if "error" in row:
        text += f"error: {visible(row['error']['message'])}\n"
        text += f"fix: {visible(row['error']['fix'])}\n" if row["error"]["fix"] else ""
    for problem in row.get("problems", []):
        if problem["reason"] != CONFLICT:
            text += visible(compared_text(problem)) + "\n"
    if row["workflows"]:
        text += "\n" + terminal.table(["workflow", "n8n id", "differs", "active", "since", "file"],
                                      [_cells(w) for w in row["workflows"]])
    conflicts = [problem["message"] for problem in row.get("problems", []) if problem["reason"] == CONFLICT]
    text += "".join(f"\nconflict: {visible(message)}\n" for message in conflicts)
    return text + "".join(_diffs(row["workflows"]))


def compared_text(problem: Mapping[str, str]) -> str:
    """A file or workflow that is wrong, and what of it was compared."""
    return f"{_COMPARED[problem['counts']]}{problem_text(problem)}"


def _incident(row: dict[str, Any]) -> str:
    """The open incident, and where to read on; that one closed itself."""
    if row.get("incident_closed") is not None:
        return f"incident {row['tenant']}#{row['incident_closed']} closed itself: the drift is gone\n"
    if row.get("incident") is None:
        return ""
    name, state = f"{row['tenant']}#{row['incident']['number']}", row["incident"]["state"]
    said = "opened now" if row["incident"]["opened"] else "acknowledged" if state == "acknowledged" else (
        "nobody has acknowledged it")
    return f"incident {terminal.paint(name, 'bold')} ({said}): {terminal.paint(f'wfops incident show {name}', 'cyan')}\n"


def headline(row: dict[str, Any]) -> str:
    """What a check found, in a line that reads by itself: how much differs and what, or why that is not known."""
    counts = row.get("counts") or {}
    match row["status"]:
        case "ERROR":
            if row.get("last_good_status"):
                return f"not checked; {row['last_good_status']} when it last was, {terminal.ago(row['last_good_at'])}"
            return "not checked, and never was before" if "last_good_at" in row else "not checked"
        case "UNKNOWN":
            return "nothing to compare with: give the tenant or the environment a repository in fleet.yaml"
        case "UNTRACKED":
            return (f"{terminal.plural(counts.get('workflows', 0), 'workflow')}, nothing in Git yet: "
                    f"wfops export {row['tenant']} {row['environment']} writes the first baseline")
    if not counts:
        return ""
    drafts = sum(w["kind"] == UNPUBLISHED for w in row["workflows"])
    more = [f"{terminal.plural(drafts, 'draft')} not published"] if drafts else []
    more += [f"{counts['ignored']} ignored"] if counts["ignored"] else []
    more += [f"{terminal.plural(counts['hidden_changes'], 'change')} hidden by ignore rules"] if counts.get(
        "hidden_changes") else []
    return ", ".join([_differing(row, counts), *more])


def _differing(row: dict[str, Any], counts: dict[str, Any]) -> str:
    drifted, compared = counts["drifted"], counts["drifted"] + counts["in_sync"]
    if not compared:
        return "no workflows here, and none in Git"
    if not drifted:
        return "the only workflow is as in Git" if compared == 1 else f"all {compared} workflows are as in Git"
    kinds = Counter(w["kind"] for w in row["workflows"] if w["kind"] != UNPUBLISHED)
    what = ", ".join(f"{number} {kind.replace('_', ' ')}" for kind, number in sorted(kinds.items()))
    verb = "differs" if drifted == 1 else "differ"
    return f"{drifted} of {terminal.plural(compared, 'workflow')} {verb} from Git ({what})"


def _cells(workflow: dict[str, Any]) -> Sequence[object]:
    active = {True: "yes", False: "no", None: "-"}
    wanted, found = workflow["wants_active"], workflow["active"]
    shown = active[found] if wanted is None or wanted == found or found is None else (
        f"{active[found]}, Git wants {active[wanted]}")
    return (workflow["name"] or "(no name)", workflow["workflow_id"] or "-", ", ".join(workflow["kinds"]), shown,
            terminal.ago(workflow["since"]), workflow["path"] or "-")


def _diffs(workflows: Iterable[dict[str, Any]]) -> Iterable[str]:
    for workflow in workflows:
        if workflow.get("diff"):
            before, after = (
                ("published", "draft") if workflow["kind"] == UNPUBLISHED else (f"Git {workflow['path']}", "n8n (live)"))
            yield f"\n{terminal.paint(visible(workflow['name']), 'bold')}\n"
            yield render_stored(workflow["diff"], before=before, after=after, indent="  ")
