"""Finishing by itself what a process that died left in an environment (§11.8): n8n first, then Git."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.promotion_look import look_within
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork


@dataclass
class RecoveryReport:
    """What was left in an environment, and what is left of it now.

    Each of ``before`` and ``after`` has ``operations`` (whose writes are unfinished), ``promotions`` (that say they run),
    ``blocked`` (why nothing may be written, or none) and ``commits`` (promotions whose commit is to be made)."""

    tenant: str
    environment: str
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    drift_status: str | None = None
    operation_id: str | None = None

    @property
    def nothing_left(self) -> bool:
        """Whether all of it is finished."""
        return not any(self.after.values())

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` and metadata show it."""
        return {**asdict(self), "nothing_left": self.nothing_left}


async def recover_environment(services: Services, context: Context, environment: Row[Any]) -> RecoveryReport:
    """Finish or undo the writes that are unfinished, make the commits that are left, and compare both sides.

    Raises what stands in the way: what n8n says, :class:`RollbackIncomplete`, :class:`OperationRunning` while somebody
    living holds the environment. What Git refuses is no error: it is in ``after``."""
    report = RecoveryReport(context.tenant_slug, environment.slug)
    with services.store.read(context) as work:
        report.before = _left(work, environment)
    async with run_operation(services, context, OperationKind.RECOVERY, environment) as operation:
        report.operation_id = str(operation.id)
        check = await look_within(operation)  # n8n's side was finished when the operation began
        report.drift_status = str(check.status)
        report.after = await asyncio.to_thread(_now, operation)
        operation.metrics.update({"before": report.before, "after": report.after})
    return report


def _now(operation: RunningOperation) -> dict[str, Any]:
    with operation.services.store.read(operation.context) as work:
        return _left(work, operation.environment)


def _left(work: UnitOfWork, environment: Row[Any]) -> dict[str, Any]:
    running = work.promotions.running_on(environment.id)
    tenant = work.context.tenant_slug
    return {
        "operations": [str(found) for found in work.journal.unfinished(environment.id)],
        "promotions": [f"{tenant}/p{running.number}"] if running is not None else [],
        "blocked": work.fleet.environment(environment.id).writes_blocked_reason,
        "commits": [f"{tenant}/p{row.number}" for row in work.promotions.with_git_left(environment.id)],
    }
