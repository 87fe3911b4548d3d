"""Workflows that a promotion begins: their canonical workflows, and the links of both ends to them (§5.2, §11)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.promotion_plans import Prepared
from wfops_pipelines.services.services import Services


async def adopt_at_request(services: Services, context: Context, source: Row[Any], target: Row[Any],
                           prepared: Prepared) -> None:
    """The same when a promotion is asked for, whatever comes of it: what is equal at both ends is one workflow from then
    on, and what would be created can be linked by its canonical id."""
    if not any(row.canonical_id is None for row in (prepared.source.rows if prepared.source else {}).values()):
        return
    async with run_operation(services, context, OperationKind.MAPPING, target) as operation:
        await adopt_new_ones(services, context, source, operation, prepared)


async def adopt_new_ones(services: Services, context: Context, source: Row[Any], operation: RunningOperation,
                         prepared: Prepared) -> None:
    """Make the canonical workflows that the plan's new ones begin, and link them, in the source and where the target has
    the same already. Done before anything is written: a promotion that fails leaves them linked, as an export would."""
    assert prepared.source is not None  # noqa: S101 - a restore begins nothing
    written = {change.key for change in prepared.plan.changes if not change.action.removes}
    begun = {UUID(key): row for key, row in prepared.source.rows.items() if row.canonical_id is None and key in written}
    if not begun:
        return
    there = {UUID(key): row for key, row in prepared.target.rows.items() if row.canonical_id is None and UUID(key) in begun}
    async with run_operation(services, context, OperationKind.MAPPING, source) as linking:
        await asyncio.to_thread(_link, linking, begun)
    await asyncio.to_thread(_link, operation, there)


def _link(operation: RunningOperation, rows: Mapping[UUID, Row[Any]]) -> None:
    if not rows:
        return
    with operation.services.store.unit_of_work(operation.context, "promotion.link", held=operation.held) as work:
        work.mappings.save_canonicals({canonical_id: row.name for canonical_id, row in rows.items()}, work.context.now())
        for canonical_id, row in rows.items():
            work.mappings.change(row.id, canonical_id=canonical_id, status=MappingStatus.LINKED, unlinked_reason=None)
            work.record("mapping.linked", "workflow", row.workflow_id, environment=operation.environment.slug,
                        after=row.live_hash, name=row.name, canonical_id=str(canonical_id), by="promotion")
        work.fleet.set_environment(operation.environment.id, ever_mapped=True)
