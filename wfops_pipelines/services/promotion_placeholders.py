"""Empty credentials in the target, where the stage lets a promotion create those that are missing (§11.5)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from wfops_pipelines.domain.gate_facts import CannotBeListed, TargetCredential
from wfops_pipelines.domain.transform_tables import CredentialRow
from wfops_pipelines.n8n.provider import WorkflowProvider
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.services.placeholder_credentials import create_placeholders
from wfops_pipelines.services.promotion_look import Judged
from wfops_pipelines.services.promotion_plans import lower_plan


async def create_missing_credentials(operation: RunningOperation, provider: WorkflowProvider, found: Judged) -> Judged:
    """Create what the target misses, and plan again with the ids that these have. Nothing to do where the stage does not
    allow it: the gate has blocked then."""
    there, rows = found.prepared.credentials, found.prepared.target.tables.credential_rows
    if not found.stage.rules.allow_placeholder_credentials or isinstance(there, CannotBeListed):
        return found
    missing = []
    for used in found.prepared.plan.credentials:
        row = rows.get((used.type, used.name.removeprefix("key:")))
        if row is not None and not _is_there(row, there):
            missing.append((row.type, row.name))
    if not missing:
        return found
    async with operation.step("placeholder-credentials") as told:
        made = await create_placeholders(provider, missing)
        told["created"] = [{"type": kind, "name": name} for kind, name in made]
        await asyncio.to_thread(_record, operation, missing)
    prepared = found.prepared
    present = (*there, *(TargetCredential(made[kind, name], kind, name) for kind, name in missing))
    lifted = {} if prepared.source is None else {key: each.unresolved for key, each in prepared.source.lifted.items()}
    again = lower_plan(prepared.plan, prepared.source, prepared.target, present, lifted)
    return replace(found, prepared=again)


def _is_there(row: CredentialRow, there: tuple[TargetCredential, ...]) -> bool:
    return any(each.type == row.type and (each.id == row.id or each.name == row.name) for each in there)


def _record(operation: RunningOperation, missing: list[tuple[str, str]]) -> None:
    slug = operation.environment.slug
    with operation.services.store.unit_of_work(operation.context, "promotion.credentials", held=operation.held) as work:
        work.record("credential.placeholder_created", "environment", slug, environment=slug,
                    credentials=[{"type": kind, "name": name} for kind, name in missing])
