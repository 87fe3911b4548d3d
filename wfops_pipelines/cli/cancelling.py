"""``wfops cancel``: a promotion, an operation, or a run of Dagster, by its name or id (§20, §22)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from wfops_pipelines.cli import approvals, terminal
from wfops_pipelines.cli.failures import BLOCKED
from wfops_pipelines.cli.options import DryRun, Json, Reason
from wfops_pipelines.cli.session import Session, open_session
from wfops_pipelines.domain.errors import UsageError

if TYPE_CHECKING:
    from wfops_pipelines.services.operation_control import CancelReport

Name = Annotated[str, typer.Argument(
    metavar="NAME", help="A promotion (acme/p12, or its id), an operation's id, or the id of a run of Dagster.")]
Wait = Annotated[float, typer.Option("--wait", min=0, metavar="SECONDS", help="For how long to wait until it has ended.")]
WAIT = 60.0


def cancel(name: Name, reason: Reason = None, wait: Wait = WAIT, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Cancel a promotion, an operation or a run, from anywhere.

    What waits in the queue never starts. What runs stops at its next safe point, within seconds: a sync between two
    batches, a promotion by putting back what it wrote. A promotion that waits is called off for good. Whoever waited for it
    ends with exit code 7. What has written everything already ends as done: `wfops rollback` takes that back.

    Exit codes: 0 it is cancelled, 2 no such thing, 4 it has ended, or it ended as done before it could stop, 8 it has not
    stopped yet.

    Examples:

        wfops cancel acme/p12 --reason "not today"

        wfops cancel 0a5f0c1e-5d4b-4f0e-9f38-1d6c0d9f6a11
    """
    with open_session() as session:
        number = _promotion_that_waits(session, name)
        if number is not None:
            if dry_run:
                terminal.write(terminal.json_text({"promotion": name, "dry_run": True}) if as_json else
                               f"{name} would be called off\n")
                return
            approvals.cancel_waiting(session, name, reason=reason, as_json=as_json)
            return
        report = _stop(session, name, reason, dry_run=dry_run)
        if not dry_run and report.operations and wait:
            from wfops_pipelines.services.operation_control import await_end

            with terminal.progress("Waiting until it has stopped"):
                report = await_end(session.services, report, seconds=wait)
    tell(report, as_json=as_json)


def _promotion_that_waits(session: Session, name: str) -> str | None:
    """Whether ``name`` is a promotion that has not begun to write."""
    from wfops_pipelines.domain.promotion import PromotionStatus
    from wfops_pipelines.services.promotion_names import named_promotion
    from wfops_pipelines.services.promotion_request import report_of

    try:
        named = named_promotion(session.services, name)
    except UsageError:
        if "/" in name:
            raise
        return None
    status = PromotionStatus(report_of(session.services, session.context(named.tenant), named.number).status)
    return None if status is PromotionStatus.RUNNING else name


def _stop(session: Session, name: str, reason: str | None, *, dry_run: bool) -> CancelReport:
    from wfops_pipelines.services.operation_control import find_operation

    operation_id = _running_of(session, name) or _uuid(name)
    row = find_operation(session.services, operation_id)
    if row is not None:
        return stop_operation(session, row.tenant_slug, operation_id, reason, dry_run=dry_run)
    return _stop_run(session, str(operation_id), reason, dry_run=dry_run)


def stop_operation(session: Session, tenant: str, operation_id: UUID, reason: str | None, *, dry_run: bool) -> CancelReport:
    """Ask an operation to stop, and its run with it where that works for nothing else."""
    from wfops_pipelines.defs import launch
    from wfops_pipelines.services.operation_control import cancel_operation

    context = session.context(tenant)
    seen = cancel_operation(session.services, context, operation_id, reason=reason, dry_run=True)
    if dry_run:
        return seen
    # First: whoever ends looks whether its run is to end so.
    launch.run_of_operation_stops(session.installation, seen.run_id)
    return cancel_operation(session.services, context, operation_id, reason=reason)


def _stop_run(session: Session, run_id: str, reason: str | None, *, dry_run: bool) -> CancelReport:
    from wfops_pipelines.defs import launch
    from wfops_pipelines.services.operation_control import CancelReport, cancel_run

    status = launch.run_to_cancel(session.installation, run_id)
    if status is None:
        raise UsageError(f"{run_id} is no promotion's, operation's or run's id",
                         fix="`wfops operation list TENANT` and `wfops promotion list TENANT` show them")
    if dry_run:
        return CancelReport(run_id=run_id, run=status, dry_run=True)
    report = cancel_run(session.services, run_id, actor=session.actor, reason=reason)
    return replace(report, run=launch.cancel_run(session.installation, run_id))


def _running_of(session: Session, name: str) -> UUID | None:
    """The operation that carries out a promotion."""
    from wfops_pipelines.services.promotion_names import named_promotion

    try:
        named = named_promotion(session.services, name)
    except UsageError:
        return None
    with session.services.store.read(session.context(named.tenant)) as work:
        row = work.promotions.by_number(named.number)
    return None if row is None else row.operation_id


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"{text!r} names no promotion, operation or run",
                         fix="write TENANT/pNUMBER, or the whole id of an operation or run") from None


def tell(report: CancelReport, *, as_json: bool) -> None:
    """What became of it; ends the command."""
    states = set(report.states.values())
    if as_json:
        terminal.write(terminal.json_text(report.as_json()))
    elif report.dry_run:
        terminal.write(f"would be cancelled: {', '.join(report.operations) or f'run {report.run_id}'}\n")
    else:
        for each in report.operations:
            terminal.write(f"operation {each}: {terminal.word(report.states.get(each, 'asked to stop'))}\n")
        if report.run is not None:
            terminal.write(f"run {report.run_id}: {report.run.lower()}\n")
    if report.dry_run:
        return
    if states & {"running", "queued"}:
        terminal.note("it stops at its next safe point: wfops operation show tells when it has")
        raise typer.Exit(8)
    if states & {"completed", "failed"}:
        raise typer.Exit(BLOCKED)
