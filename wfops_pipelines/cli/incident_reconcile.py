"""``wfops incident reconcile``: make n8n and Git agree, or say why they do not (§10.2). It runs as a Dagster run."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from wfops_pipelines.cli import incident_screen, terminal
from wfops_pipelines.cli.confirming import confirm
from wfops_pipelines.cli.failures import BLOCKED, DIFFERENT
from wfops_pipelines.cli.options import Detach, DryRun, Force, Incident, Json, Reason, Yes
from wfops_pipelines.cli.session import Session, open_session, result_of
from wfops_pipelines.cli.sync import tell_submitted
from wfops_pipelines.domain.diff_text import visible


class HowToResolve(StrEnum):
    """The resolutions that somebody can choose."""

    REVERT = "revert"
    PROMOTE = "promote"
    REPLACE = "replace"
    ACKNOWLEDGE = "acknowledge"


def reconcile(
    name: Incident,
    resolution: Annotated[HowToResolve, typer.Option("--resolution", "-r", help="How.")],
    reason: Reason = None,
    version: Annotated[str | None, typer.Option("--version", metavar="COMMIT",
                                                help="For replace: the full SHA of a commit of the branch.")] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Also remove workflows that n8n alone has (2.x archives "
                                                        "them).")] = False,
    allow_irreversible: Annotated[bool, typer.Option(
        "--allow-irreversible", help="With --prune on n8n 1.x: delete them, which nobody can undo.")] = False,
    dry_run: DryRun = False, yes: Yes = False, force: Force = False, detach: Detach = False, as_json: Json = False,
) -> None:
    """Resolve an incident: revert, promote, replace, or acknowledge that it stays.

    `revert` writes Git's content to n8n, `promote` commits n8n's content to Git, `replace` writes the files as they were
    at a commit to n8n and then to Git, `acknowledge` records why it stays. What would be written is shown first, as a diff
    of each workflow. What was written is read back; what cannot be finished is undone. Without drift afterwards the
    incident closes itself.

    Exit codes: 0 done, 2 no such incident or commit, 3 done, and drift is left, 4 its status or a rule does not allow it,
    or somebody else has to approve it, 5 unreachable, 6 refused, 7 not confirmed.

    Examples:

        wfops incident reconcile acme#12 --resolution revert --dry-run

        wfops incident reconcile acme#12 --resolution promote --yes

        wfops incident reconcile acme#12 --resolution acknowledge --reason "stays until the release"
    """
    chosen = {"resolution": str(resolution), "reason": reason, "version": version, "prune": prune,
              "allow_irreversible": allow_irreversible, "forced": force}
    with open_session() as session:
        from wfops_pipelines.services.incident_names import may_force, named_incident

        named = named_incident(session.services, name)
        if force:
            may_force(session.context(named.tenant))
        act = _Runs(session, str(named), named.tenant, named.environment, chosen)
        if detach and not dry_run:
            confirm(f"Leave {resolution} of {named} to the queue, without looking at what it writes?", yes=yes)
            tell_submitted(session, act.submit(), as_json=as_json)
            return
        if dry_run:
            result = act.run(dry_run=True)
        else:
            seen = None
            if not yes and resolution is not HowToResolve.ACKNOWLEDGE:
                _ask(plan := act.run(dry_run=True))
                seen = plan["checksum"]
            result = act.run(dry_run=False, plan=seen)
    terminal.write(terminal.json_text(result) if as_json else _text(result))
    raise typer.Exit(_exit_code(result))


class _Runs:
    """The job, with one choice."""

    def __init__(self, session: Session, incident: str, tenant: str, environment: str, chosen: Mapping[str, Any]) -> None:
        self._session = session
        self._incident = incident
        self._tenant = tenant
        self._environment = environment
        self._chosen = {key: value for key, value in chosen.items() if value is not None}

    def run(self, *, dry_run: bool, plan: str | None = None) -> dict[str, Any]:
        """Run it here; raises what stood in the way. Another plan than ``plan`` is not carried out."""
        doing = "Planning" if dry_run else "Writing"
        with terminal.progress(f"{doing} {self._chosen['resolution']} of {self._incident}"):
            launched = self._session.run("reconcile_incident", self._config(dry_run=dry_run, plan=plan), tenant=self._tenant,
                                         environment=self._environment)
        return result_of(launched)

    def submit(self) -> str:
        """Leave it to the daemon's queue; the run's id."""
        return self._session.run("reconcile_incident", self._config(dry_run=False), tenant=self._tenant,
                                 environment=self._environment, detach=True).run_id

    def _config(self, *, dry_run: bool, plan: str | None = None) -> dict[str, dict[str, Any]]:
        seen = {} if plan is None else {"plan": plan}
        return {"reconcile": {"incident": self._incident, **self._chosen, **seen, "dry_run": dry_run}}


def _ask(plan: Mapping[str, Any]) -> None:
    """Show what would be written, and ask; nothing to write is nothing to ask."""
    terminal.note(_text(plan).rstrip("\n"))
    if plan["waiting"]:
        confirm("Ask for the approval of this?", yes=False)
    elif plan["plan"] or plan["files"]:
        where = "Git" if plan["files"] else f"n8n {plan['tenant']}/{plan['environment']}"
        confirm(f"Write this to {where}?", yes=False)


def _text(result: Mapping[str, Any]) -> str:
    name = f"{result['tenant']}#{result['number']}"
    text = ""
    if result["dry_run"] or not result["writes"]:
        text += incident_screen.plan_text(result)
    else:
        text += "".join(f"{terminal.word(write['state'])}  {write['action']} {visible(write['name'] or '(no name)')}"
                        f" ({write['workflow_id']})" + (f": {visible(write['error'])}" if write["error"] else "") + "\n"
                        for write in result["writes"])
        text += incident_screen.left_text(result)
    text += "\n" if text else ""
    return text + "".join(f"{line}\n" for line in [_outcome(name, result), *map(visible, result["notes"])])


def _outcome(name: str, result: Mapping[str, Any]) -> str:
    resolution, place = result["resolution"], f"{result['tenant']}/{result['environment']}"
    if result["waiting"]:
        return f"{name}: {resolution} {'would wait' if result['dry_run'] else 'waits'} for an approval"
    if result["dry_run"]:
        if resolution == "acknowledge":
            return f"{name}: would be recorded as reconciled (acknowledge); nothing is written"
        if not (result["plan"] or result["files"]):
            return f"{name}: nothing to write" + (f", {terminal.plural(len(result['left']), 'workflow')} left as they are"
                                                  if result["left"] else "")
        what = [terminal.plural(len(result["plan"]), "workflow")] if result["plan"] else []
        what += [terminal.plural(len(result["files"]), "file")] if result["files"] else []
        left = f"; {terminal.plural(len(result['left']), 'workflow')} left" if result["left"] else ""
        return f"{name}: would write {' and '.join(what)} to {'Git' if result['files'] else f'n8n {place}'}{left}"
    drift = f", {place} is {terminal.word(result['drift_status'])}" if result["drift_status"] else ""
    commit = f", commit {result['commit']}" if result["commit"] else ""
    commit += f", pull request {result['pull_request']}" if result["pull_request"] else ""
    return f"{name}: {resolution} done{commit}{drift}; the incident is {terminal.word(result['status'])}"


def _exit_code(result: Mapping[str, Any]) -> int:
    if result["waiting"]:
        return BLOCKED
    left = not result["dry_run"] and result["drift_status"] not in (None, "IN_SYNC", "UNTRACKED")
    return DIFFERENT if left and result["pull_request"] is None else 0
