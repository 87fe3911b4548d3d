"""What happens in a simulated day: what the schedules and sensors ask for by time, what people do, and what is cut off.

Each goes its own way (:meth:`Life.tick`): the sweep, other sensors, and people, in threads of their own with an event loop
for each use case, as runs and commands have. The seed chooses what is done and where it fails; what meets what is up to them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import StoreError, WfopsError
from wfops_pipelines.domain.snapshot import SnapshotKind
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines.n8n.sandbox.errors import ApiError
from wfops_pipelines.services.escalate_incidents import escalate_incidents
from wfops_pipelines.services.evaluate_alerts import evaluate_alerts
from wfops_pipelines.services.pausing import pause, resume
from wfops_pipelines.services.promotion_due import ready_promotions, unfinished_environments
from wfops_pipelines.services.promotion_execution import execute_promotion
from wfops_pipelines.services.promotion_recovery import recover_environment
from wfops_pipelines.services.refresh import Part, Target, refresh
from wfops_pipelines.services.repository_poll import RepositoryPoll
from wfops_pipelines.services.retention import run_retention
from wfops_pipelines.services.send_notifications import send_waiting
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.snapshot_sweep import due_environments, take_snapshots
from wfops_pipelines.services.sweeps import sweep
from wfops_pipelines_tests.benchmarks.day_commands import BEFORE, COMMANDS, do_in_child, point_of
from wfops_pipelines_tests.benchmarks.day_fleet import INTERVAL, SLUGS, Weather, read_one
from wfops_pipelines_tests.servers.bare import BareRepository
from wfops_pipelines_tests.services.fleet import ACTOR, Clock, Environment, FleetUnderTest, workflow

TICKS_PER_HOUR = 6
OUTSIDE = {"edit": 24, "draft": 3, "rename": 3, "create": 5, "delete": 3, "archive": 2, "switch": 3, "push": 10,
           "remove file": 2}
"""What people do in n8n and in Git, and how often next to the commands."""
TOLD = {"sync": 3, "read Git": 2, "check": 4, "export": 4, "reconcile": 2, "snapshot": 1, "promotion": 8, "rollback": 4,
        "acknowledge": 4, "close": 2, "cancel": 1, "stabilize": 1, "revert": 4, "promote": 3, "accept": 1, "ignore": 1,
        "unignore": 2, "unlink": 1, "delete everywhere": 1, "pause": 1}
LANES = 2  # people at once
INCIDENTS = frozenset({"acknowledge", "close", "cancel", "stabilize", "revert", "promote", "accept"})
_PLACE = ("SELECT DISTINCT t.slug, e.slug FROM {} JOIN environments e ON e.id = it.{} JOIN tenants t "
          "ON t.tenant_id = e.tenant_id WHERE it.status {}")
_AIMS = {"incident": _PLACE.format("drift_incidents it", "environment_id", "NOT IN ('closed', 'cancelled')"),
         "rollback": _PLACE.format("promotions it", "target_environment_id", "= 'completed'"),
         "promotion": "SELECT t.slug, e.slug FROM environments e JOIN tenants t ON t.tenant_id = e.tenant_id "
                      "WHERE e.class <> 'dev' AND e.drift_status = 'IN_SYNC'",
         "unignore": _PLACE.format("workflow_env_map it", "environment_id", "= 'ignored'")}


@dataclass
class Life:
    """The fleet's life, and what came of all of it."""

    services: Services
    fleets: list[FleetUnderTest]
    clock: Clock
    weather: Weather
    chance: random.Random
    acts_per_tick: int = 6
    did: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    _resting: dict[str, datetime] = field(default_factory=dict)  # tenants that are paused, until when
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.poll = RepositoryPoll(self.services, shortest=INTERVAL)
        logging.getLogger("wfops").addHandler(_Listener(self))

    def attempt(self, name: str, act: Callable[[], Any]) -> Any:
        """Do something that may fail: by an error that people are told, or where it was cut off on purpose."""
        try:
            done = act()
            done = asyncio.run(done) if isinstance(done, Coroutine) else done
        except FailpointReached:
            self._count(self.weather.met, "cut off in the middle")
            return None
        except WfopsError as error:
            said = f" ({error.message.split(':')[0][:60]})" if name in ("promotion", "rollback") else ""
            self._count(self.refused, f"{name}: {error.kind}{said}")
            return None
        except ApiError:
            self._count(self.refused, f"{name}: n8n says no")
            return None
        except Exception as error:
            if not isinstance(_cause(error), FailpointReached):
                self.wrong(f"{name}: {traceback.format_exc()[-3000:]}")
            return None
        self._count(self.did, name)
        return done

    def _count(self, counter: Counter[str], name: str) -> None:
        with self._lock:
            counter[name] += 1

    def wrong(self, what: str) -> None:
        """Something that nothing explains."""
        with self._lock:
            self.unexpected.append(f"{self.clock.time:%H:%M} {what}")
        print(f"UNEXPECTED {what}", flush=True)

    # -- a tick --------------------------------------------------------------------------------------------------------

    def tick(self, number: int) -> None:
        """Ten minutes of everything."""
        self.weather.change(number)
        for slug in [slug for slug, until in self._resting.items() if self.clock.time >= until]:
            if self.attempt("resume", lambda slug=slug: resume(self.services, slug, actor=ACTOR)) is not None:  # type: ignore[misc]
                del self._resting[slug]
        if number % (6 * TICKS_PER_HOUR) == 0:
            self.attempt("retention", lambda: run_retention(self.services, actor="system:retention"))
        lanes = [self._plan(number) for _ in range(LANES)]
        ways: list[Callable[[], Any]] = [self.sweep, *self.sensors(),
                                         *(lambda lane=lane: [act() for act in lane] for lane in lanes)]  # type: ignore[misc]
        if self.chance.random() < 0.05:
            ways.append(self._cut)
        side_by_side(ways)
        failpoints.disarm()

    def _cut(self) -> None:
        threading.Event().wait(0.2)
        self.weather.cut_connections(0.7)

    def _plan(self, number: int) -> list[Callable[[], Any]]:
        """What one of several people does in this tick."""
        wanted = OUTSIDE | TOLD
        acts: list[Callable[[], Any]] = []
        for _ in range(self.acts_per_tick // LANES):
            name = self.chance.choices(list(wanted), list(wanted.values()))[0]
            fleet, slug = self.chance.choice(self.fleets), self.chance.choice(SLUGS)
            aims = self._aims(name)
            if aims:
                fleet, slug = self.chance.choice(aims)
            if name == "promotion" and slug == "dev":
                continue
            if name == "promotion" and BEFORE[slug] == "dev":  # where what is edited is no drift
                acts.append(self._act("edit", fleet, BEFORE[slug], random.Random(self.chance.random()), number))
            acts.append(self._act(name, fleet, slug, random.Random(self.chance.random()), number))
        return acts

    def _aims(self, name: str) -> list[tuple[FleetUnderTest, str]]:
        """Where there is something that it could be done to; none for what can be done everywhere."""
        query = _AIMS.get("incident" if name in INCIDENTS else name)
        if query is None:
            return []
        by_slug = {fleet.slug: fleet for fleet in self.fleets}
        with psycopg.connect(self.weather.admin_url, autocommit=True) as admin:
            return sorted(((by_slug[tenant], slug) for tenant, slug in admin.execute(query).fetchall()),  # type: ignore[call-overload]
                          key=lambda aim: (aim[0].slug, aim[1]))

    def _act(self, name: str, fleet: FleetUnderTest, slug: str, chance: random.Random, number: int) -> Callable[[], Any]:
        if name == "pause":
            return lambda: self.attempt(name, lambda: self._pause(fleet, chance))
        if name in OUTSIDE:
            return lambda: self.attempt(name, lambda: self._outside(name, fleet[slug], chance))
        fails = chance.random()
        point = point_of(name, chance)
        if point is not None and fails < 0.1:
            if chance.random() < 0.15:
                name = chance.choice(["sweep", "outbox"])
                point = point_of(name, chance)
            assert point is not None
            return lambda: self.attempt(f"{name}, in a child", lambda: self._child(
                name, fleet, slug, point.format("kill"), chance.random()))
        if point is not None and fails < 0.2:
            return lambda: self._failing(name, fleet, slug, point.format("raise"), chance)
        return lambda: self.attempt(name, lambda: COMMANDS[name](self.services, fleet.context, slug, chance))

    def _failing(self, name: str, fleet: FleetUnderTest, slug: str, point: str, chance: random.Random) -> None:
        failpoints.arm(point)  # whoever comes by first is cut off
        self.attempt(name, lambda: COMMANDS[name](self.services, fleet.context, slug, chance))

    def _child(self, name: str, fleet: FleetUnderTest, slug: str, point: str, seed: float) -> None:
        died = do_in_child(name, fleet, slug, point, seed)
        if died.returncode == -9:
            self._count(self.weather.met, f"killed: {name}")
        elif died.returncode != 0 and "wfops_pipelines.domain.errors" not in died.stderr:
            self.wrong(f"{name} in a child: {died.stderr[-3000:]}")

    def _pause(self, fleet: FleetUnderTest, chance: random.Random) -> None:
        pause(self.services, fleet.slug, actor=ACTOR, reason="for now")
        self._resting[fleet.slug] = self.clock.time + timedelta(minutes=chance.randint(5, 60))

    # -- what the clock does -------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """The drift sweep."""
        self.attempt("sweep", lambda: sweep(self.services, interval=INTERVAL, actor="system:drift_detection"))

    def sensors(self) -> list[Callable[[], None]]:
        """Everything else that happens by time, by the use cases that sensors and their runs call, side by side as those are."""
        return [self._looking, self._telling, self._promoting]

    def _looking(self) -> None:
        self.attempt("poll", self._poll)
        self.attempt("scheduled snapshots", self._snapshots)

    def _telling(self) -> None:
        services = self.services
        self.attempt("incident clock", lambda: escalate_incidents(services, actor="system:incident_ttl"))
        self.attempt("alert rules", lambda: evaluate_alerts(services, min_gap=timedelta(seconds=150)))
        self.attempt("outbox", lambda: send_waiting(services))

    def _promoting(self) -> None:
        self.attempt("promotions that are ready", self._promotions)
        self.attempt("recovery", self._recover)

    def _poll(self) -> None:
        moved = self.poll.tick(seconds=20).moved
        self.poll.note_asked(moved)
        if moved:
            targets = self._targets([(one.tenant, one.environment) for one in moved], "system:repository_poll")
            asyncio.run(refresh(self.services, targets, (Part.REPOSITORY, Part.DIFF, Part.DRIFT), check_type="scheduled"))

    def _snapshots(self) -> None:
        rows = due_environments(self.services)
        if rows:
            targets = self._targets([(row.tenant_slug, row.slug) for row in rows], "system:scheduled_snapshots")
            asyncio.run(take_snapshots(self.services, targets, kind=SnapshotKind.SCHEDULED))

    def _promotions(self) -> None:
        for one in ready_promotions(self.services)[0]:
            context = self.services.context(one.tenant, actor="system:approved_promotions")
            self.attempt("promotion that was ready", lambda context=context, one=one: execute_promotion(  # type: ignore[misc]
                self.services, context, one.number))

    def _recover(self) -> None:
        for left in unfinished_environments(self.services):
            target = self._targets([(left.tenant, left.environment)], "system:unfinished_promotions")[0]
            self.attempt(f"recovery of {'/'.join(left.what)}", lambda target=target: recover_environment(  # type: ignore[misc]
                self.services, target.context, target.environment))

    def _targets(self, names: Sequence[tuple[str, str]], actor: str) -> list[Target]:
        contexts = {tenant: self.services.context(tenant, actor=actor) for tenant, _ in names}
        return [Target(contexts[tenant], self.services.environment(contexts[tenant], slug)) for tenant, slug in names]

    # -- what people do in n8n and in Git ------------------------------------------------------------------------------

    def _outside(self, name: str, environment: Environment, chance: random.Random) -> None:
        state = environment.sandbox.state
        said = f"{chance.choice(('a', 'b', 'c'))} {chance.randrange(1000)}"
        with state.lock:
            ids = sorted(each for each, record in state.workflows.items() if not record.archived)
            if name == "create" and len(ids) < 8:
                state.seed_workflows([workflow(f"New {said}", text=said, active=chance.random() < 0.5)])
            elif not ids:
                return
            elif name in ("edit", "draft"):
                environment.edit_in_n8n(chance.choice(ids), said, publish=name == "edit")
            elif name == "rename":
                environment.edit_in_n8n(chance.choice(ids), name=f"{chance.choice(('New', 'Old'))} {said}")
            elif name == "delete" and len(ids) > 3:
                environment.delete_in_n8n(chance.choice(ids))
            elif name == "archive" and len(ids) > 3:
                environment.archive_in_n8n(chance.choice(ids))
            elif name == "switch":
                workflow_id = chance.choice(ids)
                environment.activate_in_n8n(workflow_id, environment.raw(workflow_id).active_id is None)
        if name in ("push", "remove file") and environment.fleet.slug not in self.weather.away:
            _in_git(environment.fleet.repository, environment.slug, said if name == "push" else None, chance)


def side_by_side(ways: Sequence[Callable[[], Any]]) -> None:
    """Each in a thread of its own, to their end."""
    with ThreadPoolExecutor(len(ways)) as threads:
        for done in [threads.submit(way) for way in ways]:
            done.result()


def _in_git(repository: BareRepository, folder: str, said: str | None, chance: random.Random) -> None:
    found = read_one(repository, folder, chance)
    if found is None:
        return
    path, document = found
    for node in document.get("nodes", []):
        if node.get("name") == "Say":
            node["parameters"]["text"] = said
    repository.commit({path: None if said is None else json.dumps(document, indent=2).encode()})


def _cause(error: BaseException | None) -> BaseException | None:
    """What it began with."""
    while error is not None and not isinstance(error, FailpointReached) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__
    return error


class _Listener(logging.Handler):
    """Errors that the system logs and goes on: all but those of a database that is away, and of what we cut off."""

    def __init__(self, life: Life) -> None:
        super().__init__(logging.ERROR)
        self._life = life

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        said = record.args if isinstance(record.args, tuple) else ()
        if not any(isinstance(each, StoreError) for each in (error, *said)) and not isinstance(_cause(error), FailpointReached):
            trace = "".join(traceback.format_exception(error))[-2500:] if error else ""
            self._life.wrong(f"logged: {record.getMessage()} {trace}")
