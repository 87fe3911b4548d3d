"""One environment in a sweep: the look, what it says, and the whole check where that is needed (see :mod:`sweeps`)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from wfops_pipelines import calls
from wfops_pipelines.domain.chance import chance_of
from wfops_pipelines.domain.circuit import (
    Circuit,
    CircuitPolicy,
    Passage,
    answered,
    failed,
    has_whole_look,
    passage,
    probing,
    share_of_time,
)
from wfops_pipelines.domain.drift import EnvironmentDriftStatus
from wfops_pipelines.domain.errors import Cancelled, OperationRunning, OutsideError, TimedOut, Unreachable, WfopsError
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.pushes import remote_host
from wfops_pipelines.domain.sweep import Done, whole_check_due
from wfops_pipelines.n8n.provider import Connection, KnownPage, WorkflowProvider
from wfops_pipelines.services.detect_drift import UNSEEN, DriftCheck, check_drift, note_unseen
from wfops_pipelines.services.holder import monotonic_ms
from wfops_pipelines.services.refresh import Outcome, Part, Target
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sweep_heads import Heads
from wfops_pipelines.services.sweep_recording import Recorder, Repeated, Visit

T = TypeVar("T")

POLICY = CircuitPolicy()
_SLOW_POLICY = CircuitPolicy(threshold=1)  # one that is too slow for a whole check costs the sweep all that time
_SLOW = 2.0  # seconds after which one that is waited for gives its place to another
_AGAIN = 0.3  # seconds, and up to one more, before what failed at once is tried again
_LONG = 30.0  # seconds after which a whole check gives its place to another
_TOO_MANY = 429
_PER_HOST = 8
_PER_HOST_OF_TENANT = 4  # of those, so that one tenant's never are all of them
_PER_TENANT = 24
_RESTLESS = 3  # looks in a row that found other bytes, though nothing of them mattered: no look until the next whole day


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a visit: how it counts, the status afterwards, what is told of it, and whether stages are to be
    compared."""

    done: Done
    status: str | None
    told: tuple[Outcome, ...] = ()
    compare: bool = False


class Visits:
    """Visits environments within the bounds of the sweep: so many in all, per tenant, per host; whole checks apart."""

    def __init__(self, services: Services, recorder: Recorder) -> None:
        self._services = services
        limits = replace(services.limits, request_attempts=1)
        self._looking = replace(services, limits=limits)
        self._probing = replace(services, limits=replace(limits, connect_timeout=limits.connect_timeout / 2,
                                                         read_timeout=limits.read_timeout / 2))
        self._recorder = recorder
        self._heads = Heads(services)
        self._places = asyncio.Semaphore(services.limits.sweep_in_flight)
        self._whole = asyncio.Semaphore(services.limits.sweep_concurrency)
        self._tenants: defaultdict[Any, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_PER_TENANT))
        self._hosts: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_PER_HOST))
        self._hosts_of: defaultdict[Any, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_PER_HOST_OF_TENANT))
        most = max(1, services.limits.sweep_concurrency // 2)
        self._whole_of: defaultdict[Any, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(most))
        self._slow_hosts: set[tuple[Any, str]] = set()  # by tenant

    async def visit(self, visit: Visit) -> Seen | None:
        """Look at an environment, and check it whole if need be; none when the recorder will tell of it."""
        row, started = visit.environment, monotonic_ms()
        mine, everybodys = self._host(visit)
        async with self._tenants[visit.context.tenant_id]:
            try:
                head = await self._heads.of(visit.context, row)  # while it hangs it takes no place of n8n's host
            except UNSEEN as error:
                return await self._unseen(visit, error, started, by_n8n=False)
            async with mine, everybodys:
                if visit.circuit is not None and passage(visit.circuit, visit.context.now()) is Passage.PROBE:
                    await asyncio.to_thread(self._save_circuit, visit, probing(visit.circuit))
                try:
                    same = await self._look(visit, known_pages(visit) if is_recognisable(visit, head.commit) else ())
                except UNSEEN as error:
                    return await self._unseen(visit, error, started, by_n8n=True)
            if not is_slow(visit.circuit):  # to a question that is small, it always had an answer
                await self._note_answer(visit)
                visit = replace(visit, circuit=None)
        if same:
            self._recorder.add(Repeated(visit, visit.context.now(), round(monotonic_ms() - started),
                                        head_asked_at=head.asked_at))
            return None
        return await self.whole(visit, missed=is_recognisable(visit, head.commit))

    def _host(self, visit: Visit) -> tuple[asyncio.Semaphore, asyncio.Semaphore]:
        """The places of the instance's host."""
        place = _place(visit)
        return self._hosts_of[place], self._hosts[place[1]]

    async def whole(self, visit: Visit, *, missed: bool = False) -> Seen:
        """The check that reads both sides and compares them, as an operation."""
        row = visit.environment
        places = (self._whole_of[visit.context.tenant_id], *self._host(visit), self._whole)
        came_to_n8n = threading.Event()
        try:
            check = await _in_places(partial(self._checked, visit, came_to_n8n), places, _LONG)
        except (OperationRunning, Cancelled):
            return Seen(Done.BUSY, row.drift_status)
        except TimedOut as error:
            return await self._too_slow(visit, error, by_n8n=came_to_n8n.is_set())
        if missed and check.error is None:
            await asyncio.to_thread(self._missed, visit)
        if check.error is not None:
            await self._note_failure(visit, check.error, by_n8n=check.repository is not None and check.inventory is None)
            return Seen(Done.FAILED, check.status, _told(visit, check))
        await self._note_answer(visit)
        changed = check.changed or _has_news(check)
        daily = row.known_checked_at is not None and whole_check_due(row.id, row.known_checked_at, visit.context.now())
        return Seen(Done.CHECKED, check.status, _told(visit, check) if check.changed or daily else (),
                    compare=changed or daily or row.known_pages is None)

    async def _too_slow(self, visit: Visit, error: TimedOut, *, by_n8n: bool) -> Seen:
        """Whole checks of it are made more seldom, whoever took the time: each holds up the end of a sweep. Where that was
        Git, it is what is told, and the tenant's others on that host of Git have less time, not those on n8n's."""
        row = visit.environment
        slow = Unreachable(f"the whole check took too long: {error.message}",
                           target=row.base_url if by_n8n else row.repository_url,
                           fix=f"`wfops drift {visit.name.replace('/', ' ')}` has more time; then sweeps give it theirs")
        self._slow_hosts.add(_place(visit) if by_n8n else _git_place(visit))
        await self._fail(visit, TimedOut.kind, str(slow), _SLOW_POLICY)
        check = await note_unseen(self._services, visit.context, row, slow, check_type="scheduled")
        return Seen(Done.FAILED, check.status, _told(visit, check))

    async def _checked(self, visit: Visit, came_to_n8n: threading.Event) -> DriftCheck:
        def opened(connection: Connection) -> WorkflowProvider:
            came_to_n8n.set()  # Git is read before
            return self._services.open_provider(connection)

        services, kind = self._services, OperationKind.DRIFT_DETECTION
        slow = is_slow(visit.circuit) or not self._slow_hosts.isdisjoint({_place(visit), _git_place(visit)})
        longest = services.limits.longest(kind) * (share_of_time(visit.circuit) if slow else 1.0)
        longest_runs = {**services.limits.longest_runs, str(kind): longest}
        services = replace(services, limits=replace(services.limits, longest_runs=longest_runs), open_provider=opened)
        calls.end_by(time.monotonic() + longest)
        return await check_drift(services, visit.context, visit.environment, check_type="scheduled")

    # -- looking -------------------------------------------------------------------------------------------------------

    async def _look(self, visit: Visit, pages: Sequence[KnownPage]) -> bool:
        """Whether the listing is what it was; raises when n8n does not answer as it should, or not in time. What fails at
        once is tried once more; what hangs is not, and one that is probed is mostly given half the time."""
        services = self._looking if has_whole_look(visit.circuit) else self._probing
        provider = services.provider_with(visit.context, visit.environment, visit.token)
        whole = services.limits.answer_timeout

        async def ask() -> bool:
            if pages:
                return await provider.still_lists(pages, page_size=services.limits.page_size)
            await provider.answers()
            return False

        async def ask_twice() -> bool:
            started = monotonic_ms()
            try:
                async with asyncio.timeout(whole):
                    try:
                        return await ask()
                    except Unreachable as error:
                        if error.status == _TOO_MANY:
                            return False  # a whole check comes again when it is told to
                        if visit.circuit is not None or monotonic_ms() - started > 1000 * _SLOW:
                            raise
                    await asyncio.sleep(_AGAIN + chance_of(f"{visit.id}/again"))
                    return await ask()
            except TimeoutError:
                raise Unreachable(f"no whole answer within {whole:.0f} s", target=provider.base_url,
                                  fix="is n8n running, and not overloaded?") from None
            finally:
                await provider.aclose()
        return await _in_places(ask_twice, [self._places], _SLOW)

    # -- what could not be read ----------------------------------------------------------------------------------------

    async def _unseen(self, visit: Visit, error: WfopsError, started: float, *, by_n8n: bool) -> Seen | None:
        """Count the same error as before; another one is noted by an operation, as a check that found it would."""
        row = visit.environment
        await self._note_failure(visit, error, by_n8n=by_n8n)
        if (row.drift_status, row.drift_reason, row.check_type) == (EnvironmentDriftStatus.ERROR, error.kind, "scheduled"):
            self._recorder.add(Repeated(visit, visit.context.now(), round(monotonic_ms() - started), message=str(error)))
            return None
        try:
            check = await note_unseen(self._services, visit.context, row, error, check_type="scheduled")
        except OperationRunning:
            return Seen(Done.BUSY, row.drift_status)
        return Seen(Done.FAILED, check.status, _told(visit, check) if check.changed else ())

    async def _note_failure(self, visit: Visit, error: WfopsError, *, by_n8n: bool) -> None:
        """The circuit of an instance that was not reached. One that refuses is there: its circuit is closed. What Git did,
        be it on the same host, is not its fault (``by_n8n``)."""
        if not by_n8n or not isinstance(error, OutsideError):
            return
        if is_slow(visit.circuit):  # it stays that, whatever it answers meanwhile
            await self._fail(visit, TimedOut.kind, str(error), _SLOW_POLICY)
            return
        if not isinstance(error, Unreachable):
            await self._note_answer(visit)
            return
        await self._fail(visit, error.kind, str(error), POLICY)

    async def _fail(self, visit: Visit, reason: str, message: str, policy: CircuitPolicy) -> None:
        circuit = failed(visit.circuit, visit.context.now(), reason=reason, message=message, policy=policy,
                         chance=chance_of(f"{visit.id}/{visit.circuit.openings if visit.circuit else 0}"))
        await asyncio.to_thread(self._save_circuit, visit, circuit)

    async def _note_answer(self, visit: Visit) -> None:
        if visit.circuit is not None:
            answered(visit.circuit)
            await asyncio.to_thread(self._forget_circuit, visit)

    def _save_circuit(self, visit: Visit, circuit: Circuit) -> None:
        with self._services.store.sweep_writes() as work:
            work.circuits(visit.context.tenant_id).save(
                visit.id, base_url=visit.environment.base_url, state=str(circuit.state), failures=circuit.failures,
                openings=circuit.openings, since=circuit.since, probe_at=circuit.probe_at, reason=circuit.reason,
                message=circuit.message)

    def _forget_circuit(self, visit: Visit) -> None:
        with self._services.store.sweep_writes() as work:
            work.circuits(visit.context.tenant_id).forget(visit.id)

    def _missed(self, visit: Visit) -> None:
        with self._services.store.sweep_writes() as work:
            work.missed(visit.context.tenant_id, [visit.id])


async def _in_places(work: Callable[[], Coroutine[Any, Any, T]], places: Sequence[asyncio.Semaphore], seconds: float) -> T:
    """Do it in one place of each; what takes longer than so many seconds goes on without, so that those that hang delay
    nobody. Cancelled, it has come to its end when this has."""
    async with AsyncExitStack() as held:
        for place in places:
            await held.enter_async_context(place)
        task = asyncio.create_task(work())
        try:
            await asyncio.wait({task}, timeout=seconds)
        except BaseException:
            task.cancel()
            await asyncio.wait({task})
            raise
    return await task


def _place(visit: Visit) -> tuple[Any, str]:
    return visit.context.tenant_id, urlsplit(visit.environment.base_url).netloc


def _git_place(visit: Visit) -> tuple[Any, str]:
    """The same of its Git; where that is beside n8n, they are two all the same."""
    return visit.context.tenant_id, f"git {remote_host(visit.environment.repository_url, visit.environment.api_url)}"


def is_slow(circuit: Circuit | None) -> bool:
    """Whether a whole check took too long, with the instance there. Only one that ends well closes such a circuit."""
    return circuit is not None and circuit.reason == TimedOut.kind


def is_recognisable(visit: Visit, head: str | None) -> bool:
    """Whether equal bytes would settle the visit: the last check is the one they belong to, it was whole within a day,
    and Git is where it was."""
    row = visit.environment
    return bool(row.known_pages is not None and row.known_check_id == row.check_id and row.check_type == "scheduled"
            and row.drift_status != EnvironmentDriftStatus.ERROR and row.known_misses < _RESTLESS
            and (head or "") == row.known_head == (row.git_commit or "") and row.git_source == row.source
            and (head is None or row.git_version == NORMALIZER_VERSION)
            and not whole_check_due(row.id, row.known_checked_at, visit.context.now()))


def known_pages(visit: Visit) -> list[KnownPage]:
    """The pages of the listing that the last whole check was made from."""
    return [KnownPage(page["digest"], page["cursor"]) for page in visit.environment.known_pages]


def _has_news(check: DriftCheck) -> bool:
    """Whether the reading found anything new, drift or not."""
    inventory, repository = check.inventory, check.repository
    return (inventory is not None and bool(inventory.created or inventory.updated or inventory.missing)) or (
        repository is not None and not repository.unchanged_head)


def _told(visit: Visit, check: DriftCheck) -> tuple[Outcome, ...]:
    """A check as the parts that it refreshed."""
    target = Target(visit.context, visit.environment)
    parts = (Outcome(target, Part.REPOSITORY, check.repository, None if check.repository is not None else check.error),
             Outcome(target, Part.ENVIRONMENT, check.inventory, None if check.inventory is not None else check.error))
    return (*parts, Outcome(target, Part.DRIFT, check))


