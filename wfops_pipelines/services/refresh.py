"""Refreshing many environments at once: sync, repository, reconciliation, drift, as a sweep (``facts/dagster`` §12).

Environments run concurrently, bounded; each one's failure stays its own. The inventories come first, then the
comparisons that look at two environments of a tenant.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.drift import EnvironmentDriftStatus
from wfops_pipelines.domain.errors import Broken, NotFound, OperationRunning, TimedOut, WfopsError
from wfops_pipelines.domain.fleet_fields import EnvironmentClass
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.detect_drift import CheckType, DriftCheck, check_drift, compare_stored
from wfops_pipelines.services.reconcile import reconcile
from wfops_pipelines.services.retrying import with_retries
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sync_environment import sync_environment
from wfops_pipelines.services.sync_repository import sync_repository

log = logging.getLogger("wfops.refresh")


class Part(StrEnum):
    """What can be refreshed of an environment; the values are the asset keys."""

    REPOSITORY = "repository_workflows"
    ENVIRONMENT = "environment_workflows"
    DIFF = "workflow_diff"
    DRIFT = "drift_report"


@dataclass(frozen=True, slots=True)
class Target:
    """An environment to refresh."""

    context: Context
    environment: Row[Any]

    @property
    def name(self) -> str:
        """``tenant/environment``."""
        return f"{self.context.tenant_slug}/{self.environment.slug}"


class Result(Protocol):
    """What a use case answers."""

    def as_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """One part of one environment: a result, or the error that stood in the way."""

    target: Target
    part: Part
    result: Result | None
    error: WfopsError | None = None


Report = Callable[[Outcome], None]
HolderOf = Callable[[Target], WfopsError | None]


async def refresh(services: Services, targets: Sequence[Target], parts: Collection[Part], *,
                  check_type: CheckType = "manual", begin_by: float | None = None,
                  report: Report = lambda _: None) -> list[Outcome]:
    """Refresh ``parts`` of every target; ``report`` hears each outcome as it comes. An error becomes an outcome, one that
    nobody expected as :class:`Broken`, with its trace in the log. What was not begun at ``begin_by`` (monotonic seconds) is
    not begun any more: :class:`TimedOut`. No tenant has more than a quarter of the places."""
    gate = asyncio.Semaphore(services.limits.sweep_concurrency)
    tenants: defaultdict[str, asyncio.Semaphore] = defaultdict(
        lambda: asyncio.Semaphore(max(1, services.limits.sweep_concurrency // 4)))
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        report(outcome)

    def holder_of(target: Target) -> WfopsError | None:
        """The operation that holds a target: who waited for it once does not wait again for each of its parts."""
        return next((o.error for o in outcomes if o.target is target and isinstance(o.error, OperationRunning)), None)

    async def bounded(work: Callable[[Target], Any], target: Target) -> None:
        async with tenants[target.context.tenant_slug], gate:
            await work(target)

    async def inventory(target: Target) -> None:
        if begin_by is not None and time.monotonic() > begin_by:
            late = TimedOut(f"{target.name} was not begun in time: others took too long", fix="it is looked at again")
            for part in Part:
                if part in parts and part is not Part.DIFF:
                    tell(Outcome(target, part, None, late))
            return
        await _inventory(services, target, parts, check_type, tell, holder_of)

    async def compare(target: Target) -> None:
        await _one(target, Part.DIFF, lambda: reconcile(services, target.context, target.environment), tell, holder_of)

    await _all(bounded(inventory, target) for target in targets)
    if Part.DIFF in parts:
        await _all(bounded(compare, target) for target in targets)
    return outcomes


async def _inventory(services: Services, target: Target, parts: Collection[Part], check_type: CheckType,
                     tell: Report, holder_of: HolderOf) -> None:
    context, environment = target.context, target.environment
    if {Part.REPOSITORY, Part.ENVIRONMENT, Part.DRIFT} <= set(parts) and environment.repository_id is not None:
        await _drift_with_inventory(services, target, check_type, tell)
        return
    read: list[Outcome] = []
    if Part.REPOSITORY in parts:
        await _one(target, Part.REPOSITORY, lambda: sync_repository(services, context, environment), read.append, holder_of)
        tell(read[0])
    if Part.ENVIRONMENT in parts:
        await _one(target, Part.ENVIRONMENT, lambda: with_retries(
            services, context, environment, OperationKind.ENVIRONMENT_SYNC,
            lambda use: sync_environment(services, use, environment)), tell, holder_of)
    if Part.DRIFT in parts and not _is_left_alone(environment, check_type):
        compare = check_drift if _is_gone_or_back(environment, read) else compare_stored
        await _one(target, Part.DRIFT, lambda: compare(services, context, environment, check_type=check_type), tell,
                   holder_of)


def _is_left_alone(environment: Row[Any], check_type: CheckType) -> bool:
    """Whether nobody but people compares the environment: in dev n8n is the truth, and no schedule looks at it (§1, §9), so
    what a push made of its status would stand for ever."""
    return check_type == "scheduled" and environment._mapping["class"] == EnvironmentClass.DEV


def _is_gone_or_back(environment: Row[Any], read: Sequence[Outcome]) -> bool:
    """Whether what was just read says that the branch or its repository is not there, or is there again: no comparison of
    what the store holds can tell that, and a check can (§9)."""
    if not read:
        return False
    if read[0].error is not None:
        return isinstance(read[0].error, NotFound)
    return bool(environment.drift_status == EnvironmentDriftStatus.ERROR and environment.drift_reason == NotFound.kind)


async def _drift_with_inventory(services: Services, target: Target, check_type: CheckType, tell: Report) -> None:
    """A check refreshes both sides itself, in one operation: its parts are told as the parts they are."""
    found: list[Outcome] = []
    await _one(target, Part.DRIFT,
               lambda: check_drift(services, target.context, target.environment, check_type=check_type), found.append)
    outcome = found[0]
    check = outcome.result if isinstance(outcome.result, DriftCheck) else None
    error = outcome.error or (check.error if check is not None else None)
    repository = check.repository if check is not None else None
    inventory = check.inventory if check is not None else None
    tell(Outcome(target, Part.REPOSITORY, repository, None if repository is not None else error))
    tell(Outcome(target, Part.ENVIRONMENT, inventory, None if inventory is not None else error))
    tell(outcome)


async def _one(target: Target, part: Part, work: Callable[[], Any], tell: Report,
               holder_of: HolderOf = lambda _: None) -> None:
    if (held := holder_of(target)) is not None:
        tell(Outcome(target, part, None, held))
        return
    try:
        tell(Outcome(target, part, await work()))
    except WfopsError as error:
        tell(Outcome(target, part, None, error))
    except failpoints.FailpointReached:
        raise
    except Exception as error:
        log.exception("%s of %s", part, target.name, extra={"tenant": target.context.tenant_slug})
        tell(Outcome(target, part, None, Broken.by(error)))


async def _all(work: Any) -> None:
    """Everything to its end, then the first error that none of them could tell: what ends the process."""
    unexpected = [e for e in await asyncio.gather(*work, return_exceptions=True) if isinstance(e, BaseException)]
    if unexpected:
        raise unexpected[0]
