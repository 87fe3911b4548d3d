"""What people tell WorkflowOps to do in a simulated day, each from the store alone, so that a child can do it and be killed."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from wfops_pipelines import failpoints
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.incident import IncidentEvent, IncidentStatus, Resolution
from wfops_pipelines.services import incident_steps
from wfops_pipelines.services.canonical_deletion import delete_canonical
from wfops_pipelines.services.detect_drift import check_drift
from wfops_pipelines.services.export_environment import export_environment
from wfops_pipelines.services.incident_resolution import Choice, reconcile_incident
from wfops_pipelines.services.mapping_commands import ignore, unignore, unlink
from wfops_pipelines.services.promotion_execution import execute_promotion
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines.services.promotion_request import request_promotion
from wfops_pipelines.services.promotion_rollback import roll_back_promotion
from wfops_pipelines.services.reconcile import reconcile
from wfops_pipelines.services.send_notifications import send_waiting
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.snapshots import take_snapshot
from wfops_pipelines.services.sweeps import sweep
from wfops_pipelines.services.sync_environment import sync_environment
from wfops_pipelines.services.sync_repository import sync_repository
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines_tests.benchmarks.day_fleet import INTERVAL
from wfops_pipelines_tests.servers.forks import run_forked
from wfops_pipelines_tests.servers.postgres import TEST_KEY
from wfops_pipelines_tests.services.fleet import ACTOR, Clock, FleetUnderTest, services_over

Command = Callable[[Services, Context, str, random.Random], Awaitable[Any]]
BEFORE = {"staging": "dev", "prod": "staging"}


def on_environment(use_case: Callable[..., Awaitable[Any]]) -> Command:
    """A use case that is told an environment, and no more."""
    return lambda services, context, slug, _: use_case(services, context, services.environment(context, slug))


async def promotion(services: Services, context: Context, slug: str, _: random.Random) -> Any:
    """From the environment before: asked for, and carried out where nothing holds it."""
    source, target = (services.environment(context, each) for each in (BEFORE[slug], slug))
    asked = await request_promotion(services, context, source, target, PromotionOptions())
    if asked.status != "approved" or asked.number is None:
        raise UsageError(f"it is {asked.status}")
    return await execute_promotion(services, context, asked.number)


async def rollback(services: Services, context: Context, slug: str, _: random.Random) -> Any:
    """Of the last promotion into the environment."""
    number = _one(services, context, "SELECT number FROM promotions WHERE status = 'completed' AND "
                  "target_environment_id = :id ORDER BY number DESC LIMIT 1", slug)
    return await roll_back_promotion(services, context, number, reason="it was wrong")


def step(event: IncidentEvent, **more: Any) -> Command:
    """A step of the environment's open incident."""
    async def taken(services: Services, context: Context, slug: str, _: random.Random) -> Any:
        number, status = _incident(services, context, slug)
        if event is IncidentEvent.STABILIZE and not IncidentStatus(status).is_acknowledged:
            incident_steps.take(services, context, number, IncidentEvent.ACKNOWLEDGE)
        return await asyncio.to_thread(incident_steps.take, services, context, number, event, **more)
    return taken


def resolution(kind: Resolution, **more: Any) -> Command:
    """Somebody takes care of the environment's open incident, and brings it to an end."""
    async def resolved(services: Services, context: Context, slug: str, _: random.Random) -> Any:
        number, status = _incident(services, context, slug)
        if not IncidentStatus(status).is_acknowledged:
            incident_steps.take(services, context, number, IncidentEvent.ACKNOWLEDGE)
        return await reconcile_incident(services, context, number, Choice(kind, **more))
    return resolved


def on_workflow(use_case: Callable[..., Awaitable[Any]], status: str) -> Command:
    """A use case that names a workflow, by its n8n id."""
    async def done(services: Services, context: Context, slug: str, chance: random.Random) -> Any:
        with services.store.read(context) as work:
            rows = work.mappings.of_environment(services.environment(context, slug).id)
        ids = sorted(row.workflow_id for row in rows if row.status == status and row.missing_at is None)
        if not ids:
            raise UsageError(f"no workflow is {status}")
        return await use_case(services, context, slug, chance.choice(ids))
    return done


async def delete(services: Services, context: Context, slug: str, chance: random.Random) -> Any:
    """A canonical workflow of which little is left."""
    with services.store.read(context) as work:
        ids = sorted(str(key) for key, row in work.mappings.canonicals().items() if row.deleted_at is None)
    if len(ids) < 7:
        raise UsageError("there are too few workflows")
    return await delete_canonical(services, context, chance.choice(ids))


async def sweeping(services: Services, context: Context, slug: str, _: random.Random) -> Any:
    """The drift sweep, of the whole fleet."""
    return await sweep(services, interval=INTERVAL, actor="system:drift_detection")


async def sending(services: Services, context: Context, slug: str, _: random.Random) -> Any:
    """A round of the outbox."""
    return await asyncio.to_thread(send_waiting, services)


COMMANDS: dict[str, Command] = {
    "sync": on_environment(sync_environment), "read Git": on_environment(sync_repository),
    "check": on_environment(check_drift), "export": on_environment(export_environment),
    "reconcile": on_environment(reconcile), "snapshot": on_environment(take_snapshot),
    "promotion": promotion, "rollback": rollback,
    "acknowledge": step(IncidentEvent.ACKNOWLEDGE), "close": step(IncidentEvent.CLOSE, reason="it is nothing"),
    "cancel": step(IncidentEvent.CANCEL, reason="a mistake"), "stabilize": step(IncidentEvent.STABILIZE, reason="it holds"),
    "revert": resolution(Resolution.REVERT), "promote": resolution(Resolution.PROMOTE),
    "accept": resolution(Resolution.ACKNOWLEDGE, reason="it stays"),
    "ignore": on_workflow(ignore, "linked"), "unignore": on_workflow(unignore, "ignored"),
    "unlink": on_workflow(unlink, "linked"), "delete everywhere": delete,
    "sweep": sweeping, "outbox": sending,
}

_OPERATION = ("operation.acquire.after_commit", "operation.end.before_commit", "operation.end.after_commit")
_SYNC = ("sync.page.received", "sync.batch.before_commit", "sync.batch.after_commit", "sync.finish.before_commit",
         "sync.finish.after_commit", "link.batch.after_commit")
_GIT = ("git.fetch.before", "git.fetch.after", "repository.batch.before_commit", "repository.batch.after_commit",
        "repository.finish.before_commit", "repository.finish.after_commit")
_PUSH = ("git.push.before", "git.push.after")
_WRITE = ("runtime.intend.before_commit", "runtime.intend.after_commit", "runtime.record.before_commit",
          "runtime.record.after_commit", "runtime.create.before", "runtime.create.after", "runtime.put.before",
          "runtime.put.after", "runtime.publish.after", "runtime.completed.before_commit")
POINTS: dict[str, tuple[str, ...]] = {
    "sync": (*_OPERATION, *_SYNC), "read Git": (*_OPERATION, *_GIT),
    "check": (*_OPERATION, *_SYNC, *_GIT, "drift.compare", "drift.compare.before_commit", "drift.compare.after_commit",
              "incident.explain.before_commit"),
    "export": (*_OPERATION, *_SYNC, *_PUSH, "export.before_write", "export.after_write", "export.record.before_commit"),
    "snapshot": ("snapshot.take.before_commit", "snapshot.take.after_commit"),
    "promotion": (*_OPERATION, *_WRITE, *_PUSH, "promotion.request.after_commit", "promotion.complete.before_commit",
                  "promotion.complete.after_commit", "promotion.git.before_commit", "promotion.git.after_commit",
                  "promotion.settled.before_commit", "promotion.link.after_commit", "snapshot.take.after_commit"),
    "rollback": (*_OPERATION, *_WRITE, "rollback.settled.before_commit", "rollback.settled.after_commit",
                 "promotion.rolled_back.before_commit"),
    "revert": (*_OPERATION, *_WRITE, "incident.reconcile.after_commit", "incident.settled.before_commit",
               "incident.reconciled.before_commit"),
    "promote": (*_PUSH, "incident.promote.before_commit", "incident.promote.after_commit",
                "incident.reconciled.before_commit"),
    "delete everywhere": ("canonical.delete.before_commit", "canonical.delete.after_commit"),
    "sweep": ("sweep.claimed", "sweep.record.before_commit", "sweep.record.after_commit", *_SYNC, *_GIT,
              "drift.compare.before_commit"),
    "outbox": ("outbox.claim.after_commit", "notify.before_send", "notify.after_send", "outbox.settle.before_commit"),
}
"""Where it is cut off."""


def point_of(name: str, chance: random.Random) -> str | None:
    """Somewhere on the way of a command: a failpoint, and the how manieth time it is reached."""
    points = POINTS.get(name)
    return None if points is None else f"{chance.choice(points)}={{}}@{chance.choice([1, 1, 2])}"


def do_in_child(name: str, fleet: FleetUnderTest, slug: str, failpoint: str, seed: float) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own with a failpoint armed; wait for its end."""
    urls = {each: getattr(fleet.urls, each) for each in ("owner", "app", "system", "dagster")}
    order = {"urls": urls, "home": str(fleet.home), "tenant": fleet.slug, "environment": slug, "command": name,
             "failpoint": failpoint, "now": fleet.clock.time.isoformat(), "seed": seed}
    return run_forked(f"{__name__}:main", text=json.dumps(order), timeout=300)


def main() -> None:
    order = json.loads(sys.stdin.read())
    services = services_over(Urls(**order["urls"]), SecretBox([TEST_KEY]), Path(order["home"]),
                             Clock(datetime.fromisoformat(order["now"])))
    failpoints.arm(order["failpoint"])
    context = services.context(order["tenant"], actor=ACTOR)
    command = COMMANDS[order["command"]](services, context, order["environment"], random.Random(order["seed"]))

    async def awaited() -> None:
        await command
    asyncio.run(awaited())


def _incident(services: Services, context: Context, slug: str) -> tuple[int, str]:
    environment = services.environment(context, slug)
    with services.store.read(context) as work:
        row = work.incidents.open_of(environment.id)
    if row is None:
        raise UsageError("there is no open incident")
    return row.number, row.status


def _one(services: Services, context: Context, query: str, slug: str) -> int:
    environment = services.environment(context, slug)
    with services.store.read(context) as work:
        found = work.connection.execute(text(query), {"id": environment.id}).scalar()
    if found is None:
        raise UsageError("there is none")
    return int(found)
