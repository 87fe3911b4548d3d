"""Running an operation (§19.2): one lease per environment, attempts that resume, steps, checkpoint, heartbeat.

An operation whose process died is taken over by the next one of the same kind on the same environment, whatever was
done there in between: it keeps its id, so that both attempts are one audit story, and finds the checkpoint of the first.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select

from wfops_pipelines import calls
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Cancelled, ForbiddenTransition, OperationRunning, StoreError, TimedOut, WfopsError
from wfops_pipelines.domain.operation import OperationKind, OperationState
from wfops_pipelines.services import holder as holders
from wfops_pipelines.services import recovery
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.stopping import Stop
from wfops_pipelines.store.unit_of_work import Held, UnitOfWork

log = logging.getLogger("wfops.operations")

_HOLDER_DIED = "holder_died"
_POLL = 0.1  # seconds between two looks at a lease that somebody else holds

_unended: set[Held] = set()
"""Leases whose operation is over and could not say so, because the store was gone: nobody's any more, though the process
that took them, this one, lives."""

_begun: ContextVar[frozenset[UUID]] = ContextVar("tenants whose work this task has begun", default=frozenset())
"""Work that has begun goes on to its end, also over a pause that begins meanwhile."""


def work_has_begun(tenant_id: UUID) -> None:
    """What this task does for a tenant from here on goes on over a pause that begins meanwhile."""
    _begun.set(_begun.get() | {tenant_id})


@dataclass
class RunningOperation:
    """An operation while it runs: its context, its lease, and where it left off if it is resumed."""

    services: Services
    context: Context
    kind: OperationKind
    environment: Row[Any]
    held: Held
    attempt: int
    checkpoint: dict[str, Any] | None
    metrics: dict[str, Any] = field(default_factory=dict)
    stop: Stop = field(default_factory=Stop)
    is_settled: bool = False  # nothing was left to recover when it began
    _steps: int = 0
    _ended: list[dict[str, Any]] = field(default_factory=list)  # steps that ended, and are not recorded as ended yet

    @property
    def id(self) -> UUID:
        """The operation's id."""
        assert self.context.operation_id is not None  # noqa: S101 - set when it was made
        return self.context.operation_id

    @property
    def name(self) -> str:
        """``tenant/environment``, for messages."""
        return f"{self.context.tenant_slug}/{self.environment.slug}"

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[dict[str, Any]]:
        """Record a step; what the block puts into the dictionary becomes its result. That a step began is recorded at once;
        that it ended, together with whatever is recorded next: the next step, or the operation's end."""
        self._steps += 1
        position, result = self._steps, dict[str, Any]()
        await asyncio.to_thread(self._begin_step, self._step(name, position, OperationState.RUNNING, None))
        try:
            yield result
        except BaseException:
            self._ended.append(self._step(name, position, OperationState.FAILED, result or None))
            raise
        self._ended.append(self._step(name, position, OperationState.COMPLETED, result))

    def _step(self, name: str, position: int, state: OperationState, result: dict[str, Any] | None) -> dict[str, Any]:
        return {"name": name, "position": position, "state": state, "now": self.context.now(), "result": result}

    def _begin_step(self, step: dict[str, Any]) -> None:
        with self.services.store.bookkeeping(self.context, "operation.step", held=self.held) as work:
            ended = self.save_ended_steps(work)
            work.operations.step(self.id, **step)
        del self._ended[:ended]

    def save_ended_steps(self, work: UnitOfWork) -> int:
        """Record, with other work, the steps that ended since something was recorded; returns how many."""
        for step in self._ended:
            work.operations.step(self.id, **step)
        return len(self._ended)

    def save_checkpoint(self, work: UnitOfWork, checkpoint: dict[str, Any]) -> None:
        """Remember, in the same transaction as the work, how far it came. What other parts of it remembered stays."""
        self.checkpoint = (self.checkpoint or {}) | checkpoint
        work.operations.checkpoint(self.id, self.checkpoint)


@asynccontextmanager
async def run_operation(services: Services, context: Context, kind: OperationKind, environment: Row[Any], *,
                        request: dict[str, Any] | None = None, recovers: bool = True) -> AsyncIterator[RunningOperation]:
    """Hold the environment and run an operation on it. ``request`` is what was asked for, for whoever resumes it. What
    others left half-written is finished first, unless it only notes something (``recovers``).

    Waits ``limits.lease_wait`` seconds for another operation to end, then raises :class:`OperationRunning` with its id.
    Refused with :class:`Paused` while the tenant is at rest. An exception in the block fails the operation with its kind;
    cancellation cancels it, and so do whoever cancels it from elsewhere (:class:`Cancelled`) and the longest time that it
    may run (:class:`TimedOut`). In each case the lease is released.
    """
    running = await _acquire(services, context, kind, environment, request)
    work_has_begun(context.tenant_id)
    beat = _Heartbeat(running)
    beat.start()
    calls.count_into(running.metrics)
    try:
        with running.stop.uncut():  # what others left half-written is not left so once more
            if recovers and not running.is_settled:
                await recovery.recover(running)
        running.stop.check()
        yield running
        running.stop.too_late()
    except BaseException as raised:
        error = running.stop.reason(raised)
        running.stop.too_late()
        await _fail(running, beat, error)
        if error is not raised:
            raise error from None
        raise
    try:
        await asyncio.to_thread(_end, running, beat, OperationState.COMPLETED, None, None)
    except WfopsError:
        _unended.add(running.held)
        raise


async def _fail(running: RunningOperation, beat: _Heartbeat, error: BaseException) -> None:
    state, error_kind, message = _failure(error)
    _log(running, error)
    try:
        if state is OperationState.CANCELLED:  # no awaiting here: a second Ctrl-C would leave the lease behind
            _end(running, beat, state, error_kind, message)
        else:
            await asyncio.to_thread(_end, running, beat, state, error_kind, message)
    except WfopsError as secondary:  # the lease was lost, or the store is gone: the first error is the story
        _unended.add(running.held)
        error.add_note(f"and the operation could not be recorded as {state}: {secondary}")


def _failure(error: BaseException) -> tuple[OperationState, str, str]:
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return OperationState.CANCELLED, "cancelled", "cancelled"
    if isinstance(error, Cancelled | TimedOut):
        return OperationState.CANCELLED, error.kind, str(error)
    if isinstance(error, WfopsError):
        return OperationState.FAILED, error.kind, str(error)
    return OperationState.FAILED, "unexpected", f"{type(error).__name__}: {error}"


def _log(running: RunningOperation, error: BaseException) -> None:
    """Expected errors at INFO, unexpected ones at ERROR with their trace, structured (§19.3)."""
    context = running.context
    fields = {"tenant": context.tenant_slug, "environment": running.environment.slug, "operation": str(running.id),
              "run": context.run_id, "kind": str(running.kind)}
    if _failure(error)[0] is OperationState.CANCELLED:
        log.info("%s of %s was cancelled", running.kind, running.name, extra={**fields, "error": "cancelled"})
    elif isinstance(error, WfopsError):
        log.info("%s of %s failed: %s: %s", running.kind, running.name, error.kind, error,
                 extra={**fields, "error": error.kind})
    else:
        log.error("%s of %s failed unexpectedly", running.kind, running.name, exc_info=error,
                  extra={**fields, "error": "unexpected"})


async def _acquire(services: Services, context: Context, kind: OperationKind, environment: Row[Any],
                   request: dict[str, Any] | None) -> RunningOperation:
    deadline = time.monotonic() + services.limits.lease_wait
    while True:
        stop = Stop()
        attempt = asyncio.create_task(asyncio.to_thread(_try_acquire, services, context, kind, environment, request, stop))
        try:
            taken = await asyncio.shield(attempt)
        except asyncio.CancelledError:  # the thread goes on: what it takes has to be given back
            taken = await attempt
            if isinstance(taken, RunningOperation):
                _end(taken, None, OperationState.CANCELLED, "cancelled", "cancelled")
            raise
        if isinstance(taken, RunningOperation):
            return taken
        if time.monotonic() >= deadline:
            raise OperationRunning(
                f"{context.tenant_slug}/{environment.slug} is held by operation {taken}", operation_id=str(taken),
                fix="wait until it has ended",
            )
        await asyncio.sleep(_POLL)


def _try_acquire(services: Services, context: Context, kind: OperationKind, environment: Row[Any],
                 request: dict[str, Any] | None, stop: Stop) -> RunningOperation | UUID:
    """The running operation, or the id of the one that holds the environment."""
    taken: list[RunningOperation] = []
    try:
        return _take(services, context, kind, environment, request, stop, taken)
    except BaseException as error:
        for running in taken:  # the commit may have happened, though its answer never came
            _give_back(running, error)
        raise


def _give_back(running: RunningOperation, error: BaseException) -> None:
    """Nobody is at work on what was taken: it is not held until it is stale."""
    _, error_kind, message = _failure(error)
    with suppress(WfopsError), running.services.store.bookkeeping(running.context, "operation.end") as work:
        lease = work.leases.lock(running.environment.id)
        if lease is not None and (lease.operation_id, lease.epoch) == (running.id, running.held.epoch):
            work.operations.end(running.id, OperationState.FAILED, now=running.context.now(), metrics=None,
                                error_kind=error_kind, error_message=message)
            work.leases.release(running.environment.id, running.held.epoch, running.context.now())


def _take(services: Services, context: Context, kind: OperationKind, environment: Row[Any],
          request: dict[str, Any] | None, stop: Stop, taken: list[RunningOperation]) -> RunningOperation | UUID:
    now = context.now()
    with services.store.bookkeeping(context, "operation.acquire") as work:
        refuse_to_begin(work, kind)
        lease = work.leases.lock(environment.id)
        if lease is not None and lease.released_at is None:
            alive = holders.is_alive(lease.holder, lease.heartbeat_at, _database_time(work), services.limits.lease_stale)
            if alive and Held(environment.id, lease.epoch) not in _unended:
                return lease.operation_id
            declare_dead(work, lease.operation_id, now)
        resumed = _asked_for(work, environment, kind) or _interrupted(work, environment, kind)
        operation_id = resumed.id if resumed is not None else context.new_id()
        within = context.within(operation_id)
        if resumed is not None and context.nothing_else:
            resumed = _resumed_by_a_person(work, resumed, environment)
        if resumed is None:
            work.operations.create(operation_id, kind, environment_id=environment.id, actor=context.actor,
                                   run_id=context.run_id, now=now, request=request)
        epoch = work.leases.take(environment.id, operation_id, holders.this_process())
        attempt = work.operations.start(operation_id, run_id=context.run_id, now=now)
        taken.append(RunningOperation(
            services, within, kind, environment, Held(environment.id, epoch), attempt,
            checkpoint=resumed.checkpoint if resumed is not None else None, stop=stop,
            is_settled=work.journal.is_settled(environment.id)))
    return taken[0]


def refuse_to_begin(work: UnitOfWork, kind: OperationKind) -> None:
    """Raise what refuses an operation: nothing begins in a run that was cancelled, and nothing but recovery while the tenant
    is paused, unless it is part of what has begun, or a person says so."""
    cancelled = work.pause.cancelled_run(work.context.run_id)
    if cancelled is not None:
        raise _cancelled(f"run {work.context.run_id}", cancelled.requested_by, cancelled.reason)
    if kind is OperationKind.RECOVERY or work.context.tenant_id in _begun.get():
        return
    pause = work.pause.now()
    if pause is not None and not work.context.even_paused:
        raise pause.refusal()


def _cancelled(what: str, by: str, reason: str | None) -> Cancelled:
    return Cancelled(f"{what} was cancelled by {by}{f': {reason}' if reason else ''}")


def _asked_for(work: UnitOfWork, environment: Row[Any], kind: OperationKind) -> Row[Any] | None:
    """The operation that somebody resumes, if it is this one."""
    if work.context.resumes is None:
        return None
    row = work.operations.get(work.context.resumes)
    if row is None or row.kind != kind or row.environment_id != environment.id:
        return None
    if row.state == OperationState.FAILED:
        return row
    if work.context.nothing_else:
        raise ForbiddenTransition(f"operation {row.id} is {row.state}: somebody else went on with it", before=row.state,
                                  after=OperationState.RUNNING, fix="give its command again")
    return None


def _resumed_by_a_person(work: UnitOfWork, row: Row[Any], environment: Row[Any]) -> Row[Any]:
    """In the transaction that takes it: of several people who resume an operation one does."""
    if work.context.afresh:
        work.operations.checkpoint(row.id, None)
    work.operations.forget_asked_to_stop(row.id)
    say_resumed(work, row, environment)
    return work.operations.get(row.id) or row


def say_resumed(work: UnitOfWork, row: Row[Any], environment: Row[Any]) -> None:
    """Record that somebody goes on with an operation."""
    work.record("operation.resumed", "operation", str(row.id), environment=environment.slug, afresh=work.context.afresh,
                attempts=row.attempts)


def declare_dead(work: UnitOfWork, operation_id: UUID, now: datetime) -> None:
    """End an operation that says that it runs, and whose process is gone."""
    dead = work.operations.get(operation_id)
    if dead is not None and dead.state == OperationState.RUNNING:
        work.operations.end(operation_id, OperationState.FAILED, now=now, metrics=dead.metrics, error_kind=_HOLDER_DIED,
                            error_message="the process that ran it died")


def _interrupted(work: UnitOfWork, environment: Row[Any], kind: OperationKind) -> Row[Any] | None:
    """The environment's last operation of this kind, if its holder died: ours to resume.

    Operations of other kinds may have been in between: a retried run reads the repository first, and then the n8n in
    whose reading it was killed.
    """
    if kind in recovery.WRITING:
        return None  # its journal is finished first, as what it was; what is asked for now is an operation of its own
    last = work.operations.last(environment.id, kind)
    died = last is not None and last.state == OperationState.FAILED and last.error_kind == _HOLDER_DIED
    return last if last is not None and died and last.cancel_requested_at is None else None


def is_running(services: Services, work: UnitOfWork, environment_id: UUID, operation_id: UUID) -> bool:
    """Whether a process that lives holds the environment for an operation."""
    lease = work.leases.current(environment_id)
    return lease is not None and lease.released_at is None and lease.operation_id == operation_id and holders.is_alive(
        lease.holder, lease.heartbeat_at, _database_time(work), services.limits.lease_stale)


def _database_time(work: UnitOfWork) -> datetime:
    """The time by which leases live: everybody's clock but the database's may be wrong (§25)."""
    time_: datetime = work.connection.execute(select(func.clock_timestamp())).scalar_one()
    return time_


def _end(running: RunningOperation, beat: _Heartbeat | None, state: OperationState, error_kind: str | None,
         message: str | None) -> None:
    if beat is not None:
        beat.stop()
    context = running.context
    with running.services.store.bookkeeping(context, "operation.end", held=running.held) as work:
        running.save_ended_steps(work)
        work.operations.end(running.id, state, now=context.now(), metrics=running.metrics or None,
                            error_kind=error_kind, error_message=message)
        work.leases.release(running.environment.id, running.held.epoch, context.now())


class _Heartbeat(threading.Thread):
    """Says every few seconds that the holder lives, whatever the event loop is busy with; hears whether somebody cancelled
    the operation, and knows how long it may run."""

    def __init__(self, running: RunningOperation) -> None:
        super().__init__(name=f"heartbeat-{running.id}", daemon=True)
        self._running = running
        self._stopped = threading.Event()
        self._longest = running.services.limits.longest(running.kind)
        self._until = time.monotonic() + self._longest if self._longest else None

    def run(self) -> None:
        while not self._stopped.wait(self._pause()):
            if self._until is not None and time.monotonic() >= self._until:
                self._until = None
                self._running.stop.ask(TimedOut(
                    f"{self._running.kind} of {self._running.name} ran for longer than {self._longest:g} s, and was stopped",
                    fix="what it did stays; WFOPS_LONGEST_RUN_SECONDS says how long an operation may run"))
            try:
                self._beat()
            except StoreError:
                continue  # the next unit of work tells; a heartbeat missed is no failure yet

    def _pause(self) -> float:
        beat = self._running.services.limits.heartbeat
        return beat if self._until is None else max(0.0, min(beat, self._until - time.monotonic()))

    def _beat(self) -> None:
        services, context = self._running.services, self._running.context
        with services.store.bookkeeping(context, "operation.heartbeat") as work:
            work.leases.heartbeat(self._running.environment.id, self._running.held.epoch, _database_time(work))
            asked = work.operations.asked_to_stop(self._running.id)
            run = work.pause.cancelled_run(context.run_id)
        if asked is not None:
            self._running.stop.ask(_cancelled(f"{self._running.kind} of {self._running.name}", asked.cancel_requested_by,
                                              asked.cancel_reason))
        elif run is not None:
            self._running.stop.ask(_cancelled(f"run {context.run_id}", run.requested_by, run.reason))

    def stop(self) -> None:
        """Stop, and wait for a heartbeat that is under way."""
        self._stopped.set()
        self.join(timeout=10)
