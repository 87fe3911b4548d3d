"""Where nothing may be written (§11.7, §20): production that fleet.yaml does not open, and what waits to be restored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked
from wfops_pipelines.domain.fleet_fields import EnvironmentClass
from wfops_pipelines.store.unit_of_work import UnitOfWork

CLOSED: Final = "is a production environment, and nothing may be written to it"
OPEN_IT: Final = "set allow_production: true on it in fleet.yaml, and run `wfops apply`"


def is_closed(environment: Row[Any]) -> bool:
    """Whether it is production that nobody allowed to be written to."""
    return bool(environment._mapping["class"] == EnvironmentClass.PRODUCTION and not environment.allow_production)


def production_refusal(context: Context, target: Row[Any]) -> Blocked | None:
    """Why nothing may be written to a production environment, or none."""
    if not is_closed(target):
        return None
    return Blocked(f"{context.tenant_slug}/{target.slug} {CLOSED}", fix=OPEN_IT)


def refuse_production(context: Context, target: Row[Any]) -> None:
    """Writes to production need ``allow_production`` (§20): :class:`Blocked` without."""
    refusal = production_refusal(context, target)
    if refusal is not None:
        raise refusal


def refuse_writes(context: Context, target: Row[Any]) -> None:
    """The same, and :class:`Blocked` while a rollback there is incomplete (§11.7)."""
    refuse_production(context, target)
    if target.writes_blocked_at is not None:
        raise Blocked(f"{context.tenant_slug}/{target.slug} takes no writes: {target.writes_blocked_reason}",
                      fix="`wfops drift` tries to restore it once n8n answers again; `wfops unblock` gives up on that")


def block_writes(work: UnitOfWork, target: Row[Any], lost: Sequence[str]) -> None:
    """No writes to an environment while something there is not as it was: ``lost`` names it, and why (§11.7)."""
    why = f"rollback incomplete: {'; '.join(lost[:5])}"
    if work.fleet.environment(target.id).writes_blocked_reason == why:
        return  # told already, by whoever tried before
    work.fleet.set_environment(target.id, writes_blocked_at=work.context.now(), writes_blocked_reason=why)
    work.record("environment.writes_blocked", "environment", target.slug, environment=target.slug,
                reason="rollback_incomplete", workflows=list(lost[:50]))


def allow_writes(work: UnitOfWork, target: Row[Any], reason: str, **details: Any) -> bool:
    """Let writes into an environment again; whether they were blocked. ``details`` are for the audit trail."""
    if work.fleet.environment(target.id).writes_blocked_at is None:
        return False
    work.fleet.set_environment(target.id, writes_blocked_at=None, writes_blocked_reason=None)
    work.record("environment.writes_unblocked", "environment", target.slug, environment=target.slug, reason=reason,
                **details)
    return True
