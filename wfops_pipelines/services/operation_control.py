"""``wfops cancel`` and ``wfops operation resume``: from any process, whoever runs the operation (§20).

To cancel is a wish in the store: the process that runs the operation hears it at its next heartbeat and stops at the next
safe point (:mod:`~wfops_pipelines.services.stopping`). To resume goes on from what the store says was finished: from the
last batch of a sync, from the journal of writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, ForbiddenTransition, OperationRunning, UsageError
from wfops_pipelines.domain.operation import OperationKind, OperationState
from wfops_pipelines.domain.snapshot import SnapshotKind
from wfops_pipelines.services import recovery
from wfops_pipelines.services.detect_drift import check_drift
from wfops_pipelines.services.export_environment import export_environment
from wfops_pipelines.services.operations import declare_dead, is_running, refuse_to_begin, say_resumed
from wfops_pipelines.services.promotion_recovery import recover_environment
from wfops_pipelines.services.reconcile import reconcile
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.snapshots import take_snapshot
from wfops_pipelines.services.sync_environment import sync_environment
from wfops_pipelines.services.sync_repository import sync_repository
from wfops_pipelines.store.unit_of_work import UnitOfWork

_LOOK: Final = 0.2  # seconds between two looks at an operation that is to stop


# -- cancel ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CancelReport:
    """What was asked to stop. ``state`` of an operation that ended meanwhile is where it ended."""

    operations: tuple[str, ...] = ()
    run_id: str | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    run: str | None = None
    dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"operations": [{"operation_id": each, "state": self.states.get(each)} for each in self.operations],
                "run_id": self.run_id, "run": self.run, "dry_run": self.dry_run}


def find_operation(services: Services, operation_id: UUID) -> Row[Any] | None:
    """An operation of any tenant, with ``tenant_slug``; none if there is none such."""
    with services.store.system() as system:
        return system.operation(operation_id)


def cancel_operation(services: Services, context: Context, operation_id: UUID, *, reason: str | None = None,
                     dry_run: bool = False) -> CancelReport:
    """Ask an operation to stop at its next safe point; a second time changes nothing. One whose process died, and that does
    not write to n8n, ends here.

    :class:`ForbiddenTransition` for one that has ended, :class:`Blocked` for a recovery, and for one whose process died in
    the middle of its writes: what is half-written has to be finished or undone.
    """
    with services.store.bookkeeping(context, "operation.cancel") as work:
        row = _named(work, operation_id)
        _may_stop(services, work, row)
        if not dry_run:
            _stop(services, work, row, reason)
    return CancelReport((str(operation_id),), row.run_id, _states(services, context, [operation_id]), dry_run=dry_run)


def _may_stop(services: Services, work: UnitOfWork, row: Row[Any]) -> None:
    if not OperationState(row.state).is_open:
        raise ForbiddenTransition(f"operation {row.id} is {row.state}: there is nothing to cancel", before=row.state,
                                  after=OperationState.CANCELLED,
                                  fix=f"wfops operation show {work.context.tenant_slug} {row.id}")
    if row.kind == OperationKind.RECOVERY:
        raise Blocked(f"operation {row.id} finishes what was left half-written, and is not cancelled",
                      fix="wait until it has ended")
    if row.state == OperationState.RUNNING and row.kind in recovery.WRITING and not _lives(services, work, row):
        raise Blocked(f"the process of operation {row.id} died: what it has written is finished or undone by recovery",
                      fix=f"wfops promotion recover {work.context.tenant_slug} ENV")


def _stop(services: Services, work: UnitOfWork, row: Row[Any], reason: str | None) -> None:
    by, now = work.context.actor, work.context.now()
    if row.state == OperationState.RUNNING and _lives(services, work, row):
        if work.operations.ask_to_stop(row.id, by=by, reason=reason, now=now):
            work.record("operation.cancel_requested", "operation", str(row.id), reason=reason)
        return
    work.operations.ask_to_stop(row.id, by=by, reason=reason, now=now)
    work.operations.end(row.id, OperationState.CANCELLED, now=now, metrics=row.metrics, error_kind="cancelled",
                        error_message=f"it was cancelled by {by}, and nobody ran it")
    work.record("operation.cancelled", "operation", str(row.id), reason=reason)


def cancel_run(services: Services, run_id: str, *, actor: str, reason: str | None = None) -> CancelReport:
    """Let a run of Dagster begin no operation any more, and ask those that it runs to stop."""
    with services.store.installation_writes() as work:
        work.cancel_run(run_id, by=actor, reason=reason, now=services.now())
    with services.store.system() as system:
        rows = [row for row in system.operations_of_run(run_id) if OperationState(row.state).is_open]
    for row in rows:
        context = services.context(row.tenant_slug, actor=actor)
        with services.store.bookkeeping(context, "operation.cancel") as work_of:
            if work_of.operations.ask_to_stop(row.id, by=actor, reason=reason, now=context.now()):
                work_of.record("operation.cancel_requested", "operation", str(row.id), reason=reason, run=run_id)
    return CancelReport(tuple(str(row.id) for row in rows), run_id, {str(row.id): row.state for row in rows})


def await_end(services: Services, report: CancelReport, *, seconds: float,
              sleep: Callable[[float], None] = time.sleep) -> CancelReport:
    """Wait until the operations have ended, no longer than so many seconds; the report with the states they are in."""
    deadline = time.monotonic() + seconds
    while True:
        found = {each: row for each in report.operations if (row := find_operation(services, UUID(each))) is not None}
        states = {each: str(row.state) for each, row in found.items()}
        if time.monotonic() >= deadline or not any(OperationState(state).is_open for state in states.values()):
            return replace(report, states=states)
        sleep(_LOOK)


def _states(services: Services, context: Context, ids: list[UUID]) -> dict[str, str]:
    with services.store.read(context) as work:
        return {str(each): row.state for each in ids if (row := work.operations.get(each)) is not None}


def _lives(services: Services, work: UnitOfWork, row: Row[Any]) -> bool:
    return row.environment_id is not None and is_running(services, work, row.environment_id, row.id)


def _named(work: UnitOfWork, operation_id: UUID) -> Row[Any]:
    row = work.operations.get(operation_id)
    if row is None:
        raise UsageError(f"tenant {work.context.tenant_slug} has no operation {operation_id}",
                         fix=f"`wfops operation list {work.context.tenant_slug}` lists them")
    return row


# -- resume ------------------------------------------------------------------------------------------------------------

Resume = Callable[[Services, Context, Row[Any], dict[str, Any]], Coroutine[Any, Any, Any]]


def _export(services: Services, context: Context, environment: Row[Any], asked: dict[str, Any]) -> Coroutine[Any, Any, Any]:
    return export_environment(services, context, environment, prune=bool(asked.get("prune")),
                              dry_run=bool(asked.get("dry_run")), ambiguous_as_new=bool(asked.get("ambiguous_as_new")))


def _snapshot(services: Services, context: Context, environment: Row[Any],
              asked: dict[str, Any]) -> Coroutine[Any, Any, Any]:
    return take_snapshot(services, context, environment, kind=SnapshotKind(asked.get("kind", SnapshotKind.MANUAL_BACKUP)),
                         name=asked.get("name"))


_RESUMED: Final[Mapping[OperationKind, Resume]] = {
    OperationKind.ENVIRONMENT_SYNC: lambda services, context, place, _: sync_environment(services, context, place),
    OperationKind.REPOSITORY_SYNC: lambda services, context, place, _: sync_repository(services, context, place),
    OperationKind.RECONCILIATION: lambda services, context, place, _: reconcile(services, context, place),
    OperationKind.DRIFT_DETECTION: lambda services, context, place, _: check_drift(services, context, place),
    OperationKind.EXPORT: _export,
    OperationKind.SNAPSHOT: _snapshot,
}
_AGAIN: Final = {
    OperationKind.PROMOTION: "wfops promotion execute carries it out once more where it is approved still",
    OperationKind.ROLLBACK: "give `wfops rollback` once more", OperationKind.INCIDENT_RESOLUTION:
        "give `wfops incident reconcile` once more"}


@dataclass(frozen=True, slots=True)
class ResumeReport:
    """An operation that was gone on with: how it ended, and what it answered."""

    operation_id: str
    kind: str
    tenant: str
    environment: str
    state: str
    attempts: int
    afresh: bool
    result: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {name: getattr(self, name) for name in (
            "operation_id", "kind", "tenant", "environment", "state", "attempts", "afresh", "result")}


async def resume_operation(services: Services, context: Context, operation_id: UUID, *,
                           afresh: bool = False) -> ResumeReport:
    """Go on with an operation that failed, under its id, from its last finished batch; writes to n8n are finished, or
    undone, from their journal. With ``afresh`` one whose checkpoint is gone begins from the beginning.

    Raises :class:`OperationRunning` while it runs, :class:`ForbiddenTransition` when it has ended for good, :class:`Blocked`
    where there is nothing to go on from; and whatever the operation raises.
    """
    with services.store.bookkeeping(context, "operation.resume") as work:
        row = _named(work, operation_id)
        _may_go_on(services, work, row)
        kind = OperationKind(row.kind)
        if row.environment_id is None or (kind not in _RESUMED and kind not in recovery.WRITING):
            raise Blocked(f"operation {operation_id} ({kind}) keeps no checkpoint to go on from",
                          fix="give its command again")
        place = work.fleet.environment(row.environment_id)
        if kind in recovery.WRITING:
            _has_something_left(work, row, kind)
        else:
            refuse_to_begin(work, kind)
            _has_checkpoint(work, row, afresh=afresh)
            if place.deleted_at is not None:
                raise Blocked(f"{context.tenant_slug} has no environment {place.slug} any more: it was deleted",
                              fix="nothing is left to do; in what is declared by that name now, give the command again")
            declare_dead(work, row.id, context.now())  # if its process died, whoever goes on says so first
        if kind in recovery.WRITING:
            say_resumed(work, row, place)
    if kind in recovery.WRITING:
        done = await recover_environment(services, context, place)
    else:
        use = replace(context, resumes=operation_id, nothing_else=True, afresh=afresh)
        done = await _RESUMED[kind](services, use, place, row.request or {})
    with services.store.read(context) as work:
        after = _named(work, operation_id)
    return ResumeReport(str(operation_id), str(kind), context.tenant_slug, place.slug, after.state, after.attempts, afresh,
                        done.as_json())


def _may_go_on(services: Services, work: UnitOfWork, row: Row[Any]) -> None:
    state = OperationState(row.state)
    if state is OperationState.RUNNING and _lives(services, work, row):
        raise OperationRunning(f"operation {row.id} runs{f' in run {row.run_id}' if row.run_id else ''}",
                               operation_id=str(row.id), fix="wait until it has ended")
    if state not in {OperationState.RUNNING, OperationState.FAILED}:
        raise ForbiddenTransition(f"operation {row.id} is {state}: there is nothing to go on with", before=state,
                                  after=OperationState.RUNNING, fix="give its command again")


def _has_checkpoint(work: UnitOfWork, row: Row[Any], *, afresh: bool) -> None:
    if row.checkpoint is None and not afresh:
        raise Blocked(f"the checkpoint of operation {row.id} is gone, or it never came to one: nothing says how far it was",
                      fix=f"wfops operation resume {work.context.tenant_slug} {row.id} --afresh begins it anew")


def _has_something_left(work: UnitOfWork, row: Row[Any], kind: OperationKind) -> None:
    running = work.promotions.running_on(row.environment_id)
    left = row.id in work.journal.unfinished(row.environment_id) or (running is not None and running.operation_id == row.id)
    if not left and row.state == OperationState.FAILED:
        raise Blocked(f"nothing of operation {row.id} is left unfinished: what it wrote was finished or undone",
                      fix=_AGAIN.get(kind, "give its command again"))
