"""Whose rows a transaction sees and writes: row-level security goes by this setting (§2.2)."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

_SET_TENANT: Final = text("SELECT set_config('wfops.tenant_id', :tenant, true)")
_SET_TENANT_UNFLUSHED: Final = text(
    "SELECT set_config('wfops.tenant_id', :tenant, true), set_config('synchronous_commit', 'off', true)")


def become(connection: Connection, tenant_id: UUID, *, flush: bool = True) -> None:
    """From here to the end of its transaction, or until the next, the connection works for this tenant. Without ``flush``
    the transaction's commit does not wait for the disk."""
    connection.execute(_SET_TENANT if flush else _SET_TENANT_UNFLUSHED, {"tenant": str(tenant_id)})
