"""``wfops secrets rotate``: everything encrypted anew with the first key (§2.5).

One unit of work per tenant, so that a tenant is rotated whole or not at all; what was rotated already costs a look.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.errors import SecretUnreadable
from wfops_pipelines.domain.operation import OperationKind, OperationState
from wfops_pipelines.services.services import Services


@dataclass
class Rotation:
    """How many secrets were encrypted anew, or with ``dry_run`` would be, by tenant; and the installation's own."""

    key_id: str
    tenants: dict[str, int] = field(default_factory=dict)
    installation: int = 0
    dry_run: bool = False

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.tenants.values()) + self.installation

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"key_id": self.key_id, "rotated": self.total, "tenants": self.tenants, "installation": self.installation,
                "dry_run": self.dry_run}


def rotate_secrets(services: Services, own: Callable[[bool], int], *, actor: str, dry_run: bool = False) -> Rotation:
    """Rotate the secrets of every tenant, of deleted ones too, and with ``own`` (given ``dry_run``) the installation's.

    :class:`SecretUnreadable` names the tenant and the key that is missing; tenants before it are done.
    """
    rotation = Rotation(services.store.secrets.key_id, dry_run=dry_run)
    with services.store.system() as system:
        tenants = system.tenants(deleted=True)
        stale = system.secrets_not_under(services.store.secrets.key_id)
    for tenant in tenants:
        count = stale.get(tenant.tenant_id, 0)
        if count and not dry_run:
            count = _rotate_tenant(services, tenant, actor)
        if count:
            rotation.tenants[tenant.slug] = rotation.tenants.get(tenant.slug, 0) + count
    rotation.installation = own(dry_run)
    return rotation


def _rotate_tenant(services: Services, tenant: Row[Any], actor: str) -> int:
    context = services.context_of(tenant.tenant_id, tenant.slug, actor)
    operation_id = services.new_id()
    try:
        with services.store.bookkeeping(context.within(operation_id), "secrets.rotate") as work:
            rotated = work.fleet.rotate_secrets()
            if rotated:
                now = context.now()
                work.operations.create(operation_id, OperationKind.SECRETS_ROTATION, environment_id=None, actor=actor,
                                       run_id=None, now=now)
                work.operations.start(operation_id, run_id=None, now=now)
                work.operations.end(operation_id, OperationState.COMPLETED, now=now, metrics={"secrets": rotated})
                work.record("secrets.rotated", "tenant", tenant.slug, secrets=rotated, key_id=services.store.secrets.key_id)
    except SecretUnreadable as error:
        raise SecretUnreadable(f"tenant {tenant.slug}: {error.message}", fix=error.fix) from None
    return rotated
