"""A tenant, or everything, at rest (§20).

While it lasts no work begins: what runs goes on to its end, and what was written halfway by a process that died is finished
or undone all the same, for nothing may stay half-written. What became due meanwhile is due when the pause ends, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from wfops_pipelines.domain.errors import Paused
from wfops_pipelines.domain.shown import one_line

EVERYTHING = "everything"
_REASON = 200  # characters of it, in messages


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause; ``tenant`` is a slug, none for everything. It is over once it has ``resumed_at``."""

    tenant: str | None
    paused_at: datetime
    paused_by: str
    reason: str | None = None
    resumed_at: datetime | None = None

    @property
    def over(self) -> bool:
        """Whether it was resumed."""
        return self.resumed_at is not None

    def __str__(self) -> str:
        """``acme is paused by local:ada (maintenance)``"""
        why = f" ({one_line(self.reason, _REASON)})" if self.reason else ""
        return f"{self.tenant or EVERYTHING} is paused by {self.paused_by}{why}"

    def refusal(self) -> Paused:
        """Why nothing begins, and the way out."""
        return Paused(f"{self} since {self.paused_at:%Y-%m-%d %H:%M} UTC: no work begins until it is resumed",
                      fix=f"wfops resume{' ' + self.tenant if self.tenant else ''}, or wfops --even-paused COMMAND for this "
                          "command alone")


@dataclass(frozen=True, slots=True)
class Pauses:
    """The last pause of everything, and of each tenant that ever had one."""

    everything: Pause | None = None
    tenants: Mapping[UUID, Pause] = field(default_factory=dict)

    def of(self, tenant_id: UUID) -> Pause | None:
        """What keeps a tenant at rest now; the tenant's own pause first."""
        return next((pause for pause in (self.tenants.get(tenant_id), self.everything)
                     if pause is not None and not pause.over), None)

    def __contains__(self, tenant_id: object) -> bool:
        return isinstance(tenant_id, UUID) and self.of(tenant_id) is not None

    def due_since(self, tenant_id: UUID, due_at: datetime) -> datetime:
        """Since when something was kept from beginning by nothing but itself: what waited for the end of a pause is not
        late on account of it."""
        ends = [pause.resumed_at for pause in (self.tenants.get(tenant_id), self.everything)
                if pause is not None and pause.resumed_at is not None]
        return max([due_at, *ends])
