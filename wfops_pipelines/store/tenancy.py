"""Whose rows a transaction sees and writes: row-level security goes by this setting (§2.2)."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

BECOME: Final = {
    True: "SELECT set_config('wfops.tenant_id', :tenant, true) AS tenant",
    False: "SELECT set_config('wfops.tenant_id', :tenant, true) AS tenant, set_config('synchronous_commit', 'off', true)",
}
"""By ``flush``: :func:`become` as SQL, for statements that begin with it. Answers the ``tenant``, as text."""
_BECOME: Final = {flush: text(sql) for flush, sql in BECOME.items()}


def become(connection: Connection, tenant_id: UUID, *, flush: bool = True) -> None:
    """From here to the end of its transaction, or until the next, the connection works for this tenant. Without ``flush``
    the transaction's commit does not wait for the disk."""
    connection.execute(_BECOME[flush], {"tenant": str(tenant_id)})
