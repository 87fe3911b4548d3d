"""The drift sweep over a fleet (§9, §20): every environment that is due, fairly, and cheaply where nothing changed.

An environment is visited in up to three steps, each only where the one before does not settle it:

1. its branch's head, asked once per repository, and a *look*: the bytes of n8n's listing, compared with those of the last
   whole check (:mod:`recognition`). Both as they were: counted as an equal check (:mod:`sweep_recording`), no operation.
   Where there is nothing to compare with, one small request tells whether n8n answers at all;
2. what does not answer is noted with its error; after some failures in a row its circuit opens (:mod:`domain.circuit`), and
   sweeps leave it alone but for a probe now and then;
3. a whole check (:func:`check_drift`), an operation under the environment's lease as if it was made by hand.

One that hangs gives its place to others after a moment, and is waited for no longer than ``limits.sweep_patience``.
An environment is claimed before it is visited and let go once it is recorded: two sweeps share the work, and one that was
killed leaves what it did not record to the next.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from math import inf
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.circuit import Circuit, CircuitState, Passage, is_left_alone, passage
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Broken, Paused, StoreBusy, StoreError, StoreRefusal, WfopsError
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.pause import Pauses
from wfops_pipelines.domain.sweep import Done, fair_order, is_due, lag, next_due, phase_of
from wfops_pipelines.services import holder
from wfops_pipelines.services.detect_drift import note_unseen
from wfops_pipelines.services.pausing import pauses_now
from wfops_pipelines.services.reconcile import reconcile
from wfops_pipelines.services.refresh import Outcome, Part, Target
from wfops_pipelines.services.services import Limits, Services
from wfops_pipelines.services.sweep_recording import Recorded, Recorder, Repeated, Visit
from wfops_pipelines.services.sweep_reports import SweepReport
from wfops_pipelines.services.sweep_visits import Seen, Visits

log = logging.getLogger("wfops.sweeps")

_ANSWER, _CHECK = 6, 60  # times the patience: for a whole answer, and for a whole check
KIND = "drift"
BY_HAND = 60.0  # seconds in place of an interval that switches the schedule off
Report = Callable[[Outcome], None]


async def sweep(services: Services, *, interval: float, actor: str, run_id: str | None = None, step: str | None = None,
                report: Report = lambda _: None) -> SweepReport:
    """Check every environment that is due; ``interval`` seconds lie between two checks of one. ``report`` hears of those
    that changed, that failed otherwise than before, and of each once a day. Raises a :class:`StoreError` when the store goes
    away: what is not recorded by then stays due."""
    services = replace(services, limits=_bounded(services.limits))
    running = _Sweep(services, interval or BY_HAND, actor, run_id, step, report)
    await asyncio.to_thread(running.begin)
    try:
        await running.run()
    except BaseException as error:
        await asyncio.shield(asyncio.to_thread(running.end, error))
        raise
    await asyncio.to_thread(running.end)
    return running.result


def due(services: Services, interval: float) -> int:
    """How many environments a sweep that starts now would visit: cheap enough to ask each minute. Tenants that are paused
    have none."""
    now, pauses = services.now(), pauses_now(services)
    with services.store.sweep_reads() as system:
        rows, clock = system.last_checks(), system.clock()
    return sum(1 for row in rows
               if row.tenant_id not in pauses
               and is_due(row.last_drift_check_at, now, interval=interval, phase=phase_of(row.id, interval))
               and not _is_busy(services, row, clock)
               and not (row.circuit_base_url == row.base_url and is_left_alone(row.probe_at, now)))


def _bounded(limits: Limits) -> Limits:
    """A sweep waits for nobody: what is busy is skipped, and what hangs is given up on in time, also what hangs byte by
    byte or page by page: a sweep that does not end is one after which no other begins."""
    patience, kind = limits.sweep_patience, OperationKind.DRIFT_DETECTION
    longest = min(limits.longest(kind) or inf, _CHECK * patience)
    return replace(limits, lease_wait=0.0, connect_timeout=min(limits.connect_timeout, patience / 2),
                   read_timeout=min(limits.read_timeout, patience),
                   answer_timeout=min(limits.answer_timeout, _ANSWER * patience),
                   longest_runs={**limits.longest_runs, str(kind): longest})


def _is_busy(services: Services, row: Row[Any], clock: datetime) -> bool:
    return row.holder is not None and holder.is_alive(row.holder, row.heartbeat_at, clock, services.limits.lease_stale)


class _Sweep:
    def __init__(self, services: Services, interval: float, actor: str, run_id: str | None, step: str | None,
                 report: Report) -> None:
        self._services = services
        self._interval = interval
        self._actor, self._run_id, self._step = actor, run_id, step
        self._report = report
        self._stopped = threading.Event()
        self._pending: set[asyncio.Task[None]] = set()
        self._changed: list[Target] = []
        self._done: list[UUID] = []
        self._lost: Exception | None = None
        self._visiting: Visits | None = None
        self._pauses = Pauses()
        self.result = SweepReport(sweep_id=services.new_id(), started_at=services.now())

    # -- the record of the sweep ---------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Note that it runs, and that those whose process died do not."""
        services = self._services
        with services.store.sweep_reads() as system:
            clock = system.clock()
        with services.store.sweep_writes() as work:
            for row in work.running(KIND):
                if not holder.is_alive(row.holder, row.heartbeat_at, clock, services.limits.lease_stale):
                    work.change(row.id, state="died", ended_at=services.now())
            work.begin(self.result.sweep_id, kind=KIND, run_id=self._run_id, holder=holder.this_process(),
                       now=self.result.started_at, clock=clock)
        threading.Thread(target=self._beat, name="sweep-heartbeat", daemon=True).start()

    def _beat(self) -> None:
        while not self._stopped.wait(self._services.limits.heartbeat):
            try:
                with self._services.store.sweep_reads() as system:
                    clock = system.clock()
                with self._services.store.sweep_writes() as work:
                    work.change(self.result.sweep_id, heartbeat_at=clock)
            except StoreError:
                continue  # what the sweep does next tells

    def end(self, error: BaseException | None = None) -> None:
        """Note what it did."""
        self._stopped.set()
        self.result.duration_ms = round((self._services.now() - self.result.started_at).total_seconds() * 1000)
        state = "completed" if error is None else "failed"
        message = None if error is None else f"{getattr(error, 'kind', 'unexpected')}: {type(error).__name__}"
        try:
            with self._services.store.sweep_writes() as work:
                work.change(self.result.sweep_id, state=state, ended_at=self._services.now(), error=message,
                            **self.result.as_columns())
        except StoreError:
            if error is None:
                raise

    # -- the work ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Visit what is due, then compare the stages of what changed."""
        visits = await asyncio.to_thread(self._plan)
        with self._services.store.sweep_claims() as claims:
            claiming = asyncio.Lock()
            recorder = Recorder(self._services, self._recorded)
            visiting = self._visiting = Visits(self._services, recorder)
            chunk = self._services.limits.sweep_chunk
            try:
                for start in range(0, len(visits), chunk):
                    await self._room(self._services.limits.sweep_window - chunk)
                    some = visits[start:start + chunk]
                    last = {visit.id: visit.environment.last_drift_check_at for visit in some}
                    async with claiming:
                        await asyncio.to_thread(claims.let_go, self._take_done())
                        ours = await asyncio.to_thread(claims.take, last)
                    tokens = await asyncio.to_thread(self._tokens, ours)
                    failpoints.reach("sweep.claimed")
                    for visit in some:
                        if visit.id in ours:
                            self._spawn(self._visit(visiting, replace(visit, token=tokens.get(visit.id))))
                        else:
                            self.result.count(Done.TAKEN, visit.environment.drift_status)
                while self._pending or not recorder.idle:
                    await self._room(0)
                    await recorder.flush()
            finally:
                for task in self._pending:
                    task.cancel()
                await asyncio.gather(*self._pending, return_exceptions=True)
                await recorder.close()
        await self._compare()

    def _plan(self) -> list[Visit]:
        """What is due and may be visited, in order."""
        services, now, interval = self._services, self._services.now(), self._interval
        with services.store.sweep_reads() as system:
            rows, clock = system.environments(), system.clock()
        found: list[Visit] = []
        contexts: dict[UUID, Context] = {}
        pauses = self._pauses = pauses_now(services)
        for row in rows:
            if row.tenant_id in pauses:  # §20: they stay due
                continue
            phase = phase_of(row.id, interval)
            if not is_due(row.last_drift_check_at, now, interval=interval, phase=phase):
                continue
            self.result.due += 1
            circuit = circuit_of(row)
            if _is_busy(services, row, clock):
                self.result.count(Done.BUSY, row.drift_status)
            elif passage(circuit, now) is Passage.NONE:
                self.result.count(Done.CIRCUIT_OPEN, row.drift_status)
            else:
                context = contexts.setdefault(row.tenant_id, services.context_of(
                    row.tenant_id, row.tenant_slug, self._actor, run_id=self._run_id, step=self._step))
                found.append(Visit(context, row, circuit))
        return fair_order(found, tenant=lambda visit: visit.context.tenant_id, due=lambda visit: next_due(
            visit.environment.last_drift_check_at, interval=interval, phase=phase_of(visit.id, interval)))

    def _tokens(self, environment_ids: set[UUID]) -> dict[UUID, str]:
        with self._services.store.sweep_reads() as system:
            return system.api_keys(environment_ids)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _room(self, most: int) -> None:
        """Wait until no more than so many visits are under way."""
        while len(self._pending) > max(0, most):
            await asyncio.wait(self._pending, return_when=asyncio.FIRST_COMPLETED)
        if self._lost is not None:
            raise self._lost

    async def _visit(self, visiting: Visits, visit: Visit) -> None:
        row, now = visit.environment, self._services.now()
        self.result.lags.append(lag(
            row.last_drift_check_at, now, interval=self._interval, phase=phase_of(row.id, self._interval),
            since=partial(self._pauses.due_since, row.tenant_id)))
        await self._settled(visit, visiting.visit(visit))

    async def _settled(self, visit: Visit, work: Coroutine[Any, Any, Seen | None]) -> None:
        """Count what came of a visit; nothing for what the recorder is to tell of."""
        try:
            seen: Seen | None = await work
        except StoreRefusal as error:
            seen = Seen(Done.FAILED, await self._note_unseen(visit, error))
        except StoreBusy:  # of one environment: it stays due
            seen = Seen(Done.BUSY, visit.environment.drift_status)
        except (StoreError, failpoints.FailpointReached) as error:
            self._lost = error  # nothing can be recorded any more
            self.result.count(Done.BROKEN, visit.environment.drift_status)
            return
        except Paused:  # since the sweep was planned: it stays due
            seen = Seen(Done.PAUSED, visit.environment.drift_status)
        except Exception as error:  # one environment does not cut off its neighbours
            log.exception("%s could not be checked", visit.name, extra={
                "tenant": visit.context.tenant_slug, "environment": visit.environment.slug, "error": type(error).__name__})
            seen = Seen(Done.BROKEN, await self._note_unseen(visit, Broken.by(error)))
        if seen is None:
            return
        self.result.count(seen.done, seen.status)
        self._done.append(visit.id)
        if seen.compare:
            self._changed.append(Target(visit.context, visit.environment))
        for outcome in seen.told:
            self._report(outcome)

    async def _note_unseen(self, visit: Visit, error: WfopsError) -> str | None:
        """Nobody takes a status for true that was not looked at; the status now."""
        status: str | None = visit.environment.drift_status
        with suppress(WfopsError):
            check = await note_unseen(self._services, visit.context, visit.environment, error, check_type="scheduled")
            status = check.status
        return status

    def _recorded(self, recorded: Recorded) -> None:
        """The recorder's word on repeated checks."""
        for repeated in recorded.counted:
            self._count(repeated, Done.UNCHANGED if repeated.message is None else Done.FAILED)
        for repeated in recorded.left:
            self._count(repeated, Done.BUSY)
        for repeated in recorded.stale:
            assert self._visiting is not None  # noqa: S101 - it recorded this
            self._spawn(self._settled(repeated.visit, self._visiting.whole(repeated.visit)))

    def _count(self, repeated: Repeated, done: Done) -> None:
        self.result.count(done, repeated.visit.environment.drift_status)
        self._done.append(repeated.visit.id)

    def _take_done(self) -> list[UUID]:
        done, self._done = self._done, []
        return done

    async def _compare(self) -> None:
        """Reconciliation of the stages into what changed, and from it."""
        targets = await asyncio.to_thread(self._stages)
        gate = asyncio.Semaphore(self._services.limits.sweep_concurrency)

        async def one(target: Target) -> None:
            async with gate:
                try:
                    outcome = Outcome(target, Part.DIFF, await reconcile(self._services, target.context, target.environment))
                except WfopsError as error:
                    if isinstance(error, StoreError) and not error.of_data:
                        raise
                    outcome = Outcome(target, Part.DIFF, None, error)
            self._report(outcome)
        await asyncio.gather(*(one(target) for target in targets))

    def _stages(self) -> list[Target]:
        by_tenant: dict[UUID, list[Target]] = {}
        for target in self._changed:
            by_tenant.setdefault(target.context.tenant_id, []).append(target)
        found: list[Target] = []
        for targets in by_tenant.values():
            context = targets[0].context
            with self._services.store.read(context) as work:
                environments = {row.id: row for row in work.fleet.environments()}
                changed = {target.environment.id for target in targets}
                reached = {stage.target_environment_id for stage in work.fleet.stages()
                           if {stage.source_environment_id, stage.target_environment_id} & changed}
            found += [Target(context, environments[i]) for i in sorted(reached & set(environments), key=str)]
        return found


def circuit_of(row: Row[Any]) -> Circuit | None:
    """The circuit in a row of ``SweepReads.environments``, none where the instance answered last, or is another by now."""
    if row.circuit_state is None or row.circuit_base_url != row.base_url:
        return None
    return Circuit(CircuitState(row.circuit_state), row.circuit_failures, row.circuit_openings, row.circuit_since,
                   row.circuit_probe_at, row.circuit_reason, row.circuit_message)
