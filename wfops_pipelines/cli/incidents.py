"""``wfops incident``: drift that is followed up, from found to closed (§10)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfops_pipelines.cli import incident_screen, terminal
from wfops_pipelines.cli.failures import BLOCKED
from wfops_pipelines.cli.incident_reconcile import reconcile
from wfops_pipelines.cli.incident_timeline import timeline_table
from wfops_pipelines.cli.options import DryRun, Force, Incident, Json, Limit, Reason
from wfops_pipelines.cli.session import Session, open_session
from wfops_pipelines.domain.approval import ApprovalKind
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import UsageError

if TYPE_CHECKING:
    from wfops_pipelines.domain.incident import IncidentEvent
    from wfops_pipelines.services.drift_pictures import DriftPicture
    from wfops_pipelines.services.incident_steps import IncidentStep

incident = typer.Typer(no_args_is_help=True, help="Drift that is followed up: from found to closed.")

Kind = Annotated[ApprovalKind | None, typer.Option("--kind", help="Of which step, where several wait.")]
_DONE = {"acknowledge": "acknowledged", "stabilize": "stabilized", "close": "closed", "cancel": "cancelled",
         "extend": "extended"}


@incident.command("list")
def list_(
    tenant: Annotated[str | None, typer.Argument(metavar="[TENANT]", help="Of this one alone; of all without.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are closed or cancelled.")] = False,
    environment: Annotated[str | None, typer.Option("--environment", "-e", metavar="ENV", help="Of this one alone.")] = None,
    severity: Annotated[list[str] | None, typer.Option("--severity", help="Of this severity; can be repeated.")] = None,
    status: Annotated[list[str] | None, typer.Option("--status", help="In this status; can be repeated.")] = None,
    limit: Limit = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", metavar="ID",
                                               help="The page after this incident, the last of a page.")] = None,
    as_json: Json = False,
) -> None:
    """List incidents, the newest first; open ones, unless --all or --status says otherwise.

    Where there are more than --limit, the command of the next page is told beside the list; its cursor is the id of the
    last incident of this one.

    Examples:

        wfops incident list acme

        wfops incident list --severity critical --severity high

        wfops incident list acme --all --limit 100 --json | jq -r '.[-1].id'
    """
    with open_session() as session:
        from wfops_pipelines.services.incident_reports import list_incidents

        context = session.context(tenant) if tenant is not None else None
        rows, further = list_incidents(session.services, context, environment=environment, statuses=status or (),
                                       severities=severity or (), everything=everything, cursor=cursor, limit=limit)
    if as_json:
        terminal.write(terminal.json_text(rows))
    elif rows:
        terminal.write(incident_screen.incidents_table(rows))
    else:
        terminal.write("no incidents\n" if everything else "no open incidents (--all lists those that ended, too)\n")
    if further is not None:
        options = [*([tenant] if tenant else []), *(["--all"] if everything else []),
                   *([f"-e {environment}"] if environment else []), *(f"--severity {name}" for name in severity or ()),
                   *(f"--status {name}" for name in status or ()), f"--limit {limit}", f"--cursor {further}"]
        terminal.note(f"more: wfops incident list {' '.join(options)}")


@incident.command("show")
def show(
    name: Incident,
    svg: Annotated[Path | None, typer.Option(
        "--svg", metavar="FILE", help="Also draw what drifted as SVG into this file, and further workflows into FILE-2 …; "
                                      "- prints the first picture alone.")] = None,
    as_json: Json = False,
) -> None:
    """Show one incident: what drifted and what drifts now, why, how far it reaches, what happened, what can be done.

    The diffs go from Git to n8n; values that look like secrets are masked. The picture of --svg is of the contents when
    the incident was opened, and holds names and paths, never values.

    Examples:

        wfops incident show acme#12

        wfops incident show acme#12 --svg drift.svg

        wfops incident show 3f2a9c01 --json | jq -r '.next_steps[].command'
    """
    with open_session() as session:
        from wfops_pipelines.services.incident_names import named_incident
        from wfops_pipelines.services.incident_pictures import draw_incident
        from wfops_pipelines.services.incident_reports import show_incident

        named = named_incident(session.services, name)
        context = session.context(named.tenant)
        found = show_incident(session.services, context, named.number, any_tenant=True)  # the local user's (§2.3)
        pictures = draw_incident(session.services, context, named.number) if svg is not None else []
    if svg is not None:
        if str(svg) == "-":
            terminal.write(pictures[0].svg)
            return
        _draw(svg, pictures)
    terminal.write(terminal.json_text(found) if as_json else incident_screen.incident_text(found))


@incident.command("history")
def history(name: Incident, as_json: Json = False) -> None:
    """Show who did what about an incident, in order: its audit events, and what was written when it was resolved.

    Examples:

        wfops incident history acme#12
    """
    with open_session() as session:
        from wfops_pipelines.services.incident_names import named_incident
        from wfops_pipelines.services.incident_reports import incident_history

        named = named_incident(session.services, name)
        events = incident_history(session.services, session.context(named.tenant), named.number)
    terminal.write(terminal.json_text(events) if as_json else timeline_table(events))


@incident.command("ack")
def ack(
    name: Incident, reason: Reason = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Who takes care of it.")] = None,
    ticket: Annotated[str | None, typer.Option("--ticket", help="Where else it is followed, as OPS-12.")] = None,
    force: Force = False, dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Say that you have seen an incident and take care of it.

    Where the policy's drift_handling_mode is require_attestation, a reason is needed before anything may be written to the
    environment.

    Exit codes: 0 done, 2 no such incident, 4 its status does not allow it, or somebody else has to approve it.

    Examples:

        wfops incident ack acme#12 --reason "hotfix, Ada reverts it tonight" --owner ada --ticket OPS-12
    """
    _step(name, "acknowledge", reason=reason, owner=owner, ticket=ticket, force=force, dry_run=dry_run, as_json=as_json)


@incident.command("stabilize")
def stabilize(name: Incident, reason: Reason = None, force: Force = False, dry_run: DryRun = False,
              as_json: Json = False) -> None:
    """Say that an incident does no harm for now, and why.

    Examples:

        wfops incident stabilize acme#12 --reason "workflow is off until the release"
    """
    _step(name, "stabilize", reason=reason, force=force, dry_run=dry_run, as_json=as_json)


incident.command("reconcile")(reconcile)


@incident.command("close")
def close(name: Incident, reason: Reason = None, force: Force = False, dry_run: DryRun = False,
          as_json: Json = False) -> None:
    """Close an incident. Where the drift is still there, the next check opens another one.

    Examples:

        wfops incident close acme#12 --reason "reverted in the editor"
    """
    _step(name, "close", reason=reason, force=force, dry_run=dry_run, as_json=as_json)


@incident.command("cancel")
def cancel(name: Incident, reason: Reason = None, force: Force = False, dry_run: DryRun = False,
           as_json: Json = False) -> None:
    """Cancel an incident that never should have been one.

    Examples:

        wfops incident cancel acme#12 --reason "test of the alarm"
    """
    _step(name, "cancel", reason=reason, force=force, dry_run=dry_run, as_json=as_json)


@incident.command("extend")
def extend(
    name: Incident, hours: Annotated[int, typer.Argument(metavar="HOURS", help="By how many hours, 1 to 8760.")],
    reason: Reason = None, dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Give an open incident more time, from its end on.

    Examples:

        wfops incident extend acme#12 24 --reason "waiting for the vendor"
    """
    def act(session: Session) -> IncidentStep:
        from wfops_pipelines.services import incident_names, incident_steps

        named = incident_names.named_incident(session.services, name)
        return incident_steps.extend(session.services, session.context(named.tenant), named.number, hours, reason=reason,
                                     dry_run=dry_run)

    _run(act, as_json=as_json)


@incident.command("approve")
def approve(name: Incident, kind: Kind = None, reason: Reason = None, dry_run: DryRun = False,
            as_json: Json = False) -> None:
    """Approve what somebody else asked for; ID is the incident's or the request's.

    An approved acknowledgement, extension or closing is carried out at once; a reconciliation by whoever runs it then.

    Exit codes: 0 done, 2 nothing waits, or several do (--kind), 4 decided already, 6 your own request.

    Examples:

        wfops incident approve acme#12

        wfops incident approve acme#12 --kind reconcile --reason "seen the diff"
    """
    _decide(name, kind, reason, approve=True, dry_run=dry_run, as_json=as_json)


@incident.command("reject")
def reject(name: Incident, kind: Kind = None, reason: Reason = None, dry_run: DryRun = False,
           as_json: Json = False) -> None:
    """Reject what somebody else asked for; ID is the incident's or the request's.

    Examples:

        wfops incident reject acme#12 --reason "not before the release"
    """
    _decide(name, kind, reason, approve=False, dry_run=dry_run, as_json=as_json)


def _step(name: str, event: str, *, reason: str | None, force: bool, dry_run: bool, as_json: bool,
          owner: str | None = None, ticket: str | None = None) -> None:
    def act(session: Session) -> IncidentStep:
        from wfops_pipelines.domain.incident import IncidentEvent
        from wfops_pipelines.services import incident_names, incident_steps

        named = incident_names.named_incident(session.services, name)
        context = session.context(named.tenant)
        if force:
            incident_names.may_force(context)
        taken: IncidentEvent = IncidentEvent(event)
        return incident_steps.take(session.services, context, named.number, taken, reason=reason, owner=owner,
                                   ticket=ticket, forced=force, dry_run=dry_run)

    _run(act, as_json=as_json)


def _decide(name: str, kind: ApprovalKind | None, reason: str | None, *, approve: bool, dry_run: bool,
            as_json: bool) -> None:
    def act(session: Session) -> IncidentStep:
        from wfops_pipelines.services import incident_names, incident_steps

        named = incident_names.named_request(session.services, name)
        asked = kind or (ApprovalKind(named.approval_kind) if named.approval_kind else None)
        return incident_steps.decide_request(session.services, session.context(named.tenant), named.number,
                                             approve=approve, kind=asked, approval_id=named.approval_id,
                                             reason=reason, dry_run=dry_run)

    _run(act, as_json=as_json)


def _run(act: Callable[[Session], IncidentStep], *, as_json: bool) -> None:
    with open_session() as session:
        done = act(session)
    terminal.write(terminal.json_text(done.as_json()) if as_json else _text(done))
    if done.waiting:
        raise typer.Exit(BLOCKED)


def _text(done: IncidentStep) -> str:
    name = f"{done.tenant}#{done.number}"
    would = "would be " if done.dry_run else ""
    if done.waiting:
        asked = "would wait" if done.dry_run else "waits"
        lines = [f"{name}: {done.step} {asked} for an approval"]
    elif "approval" in done.after:
        lines = [f"{name}: {done.step}: the request {'would be' if done.dry_run else 'is'} {done.after['approval']}"]
    else:
        key = "expires_at" if "expires_at" in done.after else "status"
        lines = [f"{would}{_DONE.get(done.step, done.step)}: {name} of {done.tenant}/{done.environment}, "
                 f"{_said(key, done.before)} before, now {_said(key, done.after)}"]
    return "".join(f"{visible(line)}\n" for line in [*lines, *done.notes])


def _said(key: str, values: dict[str, Any]) -> str:
    text = str(values[key])
    return f"until {text[:16].replace('T', ' ')} UTC" if key == "expires_at" else text


def _draw(file: Path, pictures: list[DriftPicture]) -> None:
    """The first into the file, each further one into a file beside it."""
    for number, picture in enumerate(pictures, 1):
        target = file if number == 1 else file.with_name(f"{file.stem}-{number}{file.suffix}")
        try:
            target.write_text(picture.svg, encoding="utf-8", newline="\n")
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise UsageError(f"{visible(str(target))}: cannot be written: {why}", fix="name a file that can") from None
        terminal.note(f"picture: {visible(str(target))} ({visible(picture.name)})")
