"""Writing and reading the audit chain (§19.3). The shapes and the chain's rule are the domain's (``domain.audit``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB

from wfops_pipelines.domain.audit import GENESIS, AuditEvent, chain_hash, encode
from wfops_pipelines.domain.context import Context
from wfops_pipelines.store.tables.audit import audit_events, audit_heads

# Of two at once, one waits here for the other, and goes on where that one ended.
_FIRST = text("""
    INSERT INTO audit_heads (tenant_id, events, head) VALUES (:tenant, 0, :genesis)
    ON CONFLICT (tenant_id) DO UPDATE SET events = audit_heads.events RETURNING events, head""")
_LOCKED = select(audit_heads.c.events, audit_heads.c.head).where(
    audit_heads.c.tenant_id == bindparam("tenant")).with_for_update()
# The encoded event is ASCII; the other columns are made storable on their way through JSON.
_APPEND = text("""
    WITH moved AS (UPDATE audit_heads SET events = :last, head = :hash WHERE tenant_id = :tenant)
    INSERT INTO audit_events (tenant_id, sequence, id, at, actor, action, subject_type, subject_id, environment,
        operation_id, run_id, encoded, previous, hash)
    SELECT :tenant, sequence, id, at, actor, action, subject_type, subject_id, environment,
        operation_id, run_id, convert_to(encoded, 'UTF8'), previous, hash
    FROM jsonb_to_recordset(:rows) AS given (sequence bigint, id uuid, at timestamptz, actor text, action text,
        subject_type text, subject_id text, environment text, operation_id uuid, run_id text, encoded text, previous text,
        hash text)""").bindparams(bindparam("rows", type_=JSONB))
READ_SIZE = 1000
COPIES = ("tenant_id", "sequence", "id", "at", "actor", "action", "subject_type", "subject_id", "environment",
          "operation_id", "run_id")
"""Columns that repeat what the encoded event says, to search by."""


class AuditTrail:
    """One tenant's chain. Events wait until the unit of work ends, so that the head is locked only for the commit."""

    def __init__(self, connection: Connection, context: Context, key: bytes) -> None:
        self._connection = connection
        self._context = context
        self._key = key
        self.pending: list[dict[str, Any]] = []

    def add(self, action: str, subject_type: str, subject_id: str, *, environment: str | None, before: str | None,
            after: str | None, details: dict[str, Any]) -> None:
        """Queue an event; it is written by :meth:`flush`."""
        self.pending.append({
            "action": action, "subject_type": subject_type, "subject_id": subject_id, "environment": environment,
            "before_hash": before, "after_hash": after, "details": details, "at": self._context.now(),
            "id": self._context.new_id(),
        })

    def flush(self) -> None:
        """Lock the chain's head, append what is pending, move the head."""
        if not self.pending:
            return
        context, tenant = self._context, self._context.tenant_id
        row = self._connection.execute(_LOCKED, {"tenant": tenant}).one_or_none()
        if row is None:  # the tenant's first event
            row = self._connection.execute(_FIRST, {"tenant": tenant, "genesis": GENESIS}).one()
        sequence, head = row
        rows = []
        for fields in self.pending:
            sequence += 1
            event = AuditEvent(
                tenant_id=tenant, sequence=sequence, actor=context.actor, impersonator=context.impersonator,
                operation_id=context.operation_id, run_id=context.run_id, step=context.step, **fields,
            )
            encoded = encode(event)
            previous, head = head, chain_hash(self._key, head, encoded)
            rows.append({
                "sequence": sequence, "id": event.id, "at": event.at, "actor": event.actor,
                "action": event.action, "subject_type": event.subject_type, "subject_id": event.subject_id,
                "environment": event.environment, "operation_id": event.operation_id, "run_id": event.run_id,
                "encoded": encoded.decode("ascii"), "previous": previous, "hash": head,
            })
        self._connection.execute(_APPEND, {"tenant": tenant, "last": sequence, "hash": head, "rows": rows})
        self.pending = []

    def chain(self) -> Iterator[tuple[int, str, str, bytes]]:
        """The stored chain in order: sequence, previous hash, hash, encoded event; in slices, so memory stays flat."""
        for row in self.rows():
            yield row.sequence, row.previous, row.hash, bytes(row.encoded)

    def rows(self) -> Iterator[Row[Any]]:
        """The stored chain in order, with the columns that repeat what ``encoded`` says (:data:`COPIES`)."""
        after = None
        while True:
            query = select(audit_events).where(audit_events.c.tenant_id == self._context.tenant_id)
            if after is not None:
                query = query.where(audit_events.c.sequence > after)
            rows = self._connection.execute(query.order_by(audit_events.c.sequence).limit(READ_SIZE)).all()
            yield from rows
            if len(rows) < READ_SIZE:
                return
            after = rows[-1].sequence

    def head(self) -> tuple[int, str]:
        """Count of events and hash of the last, as the head row says."""
        row = self._connection.execute(
            select(audit_heads.c.events, audit_heads.c.head)
            .where(audit_heads.c.tenant_id == self._context.tenant_id)
        ).one_or_none()
        return (row.events, row.head) if row else (0, GENESIS)

    def events(self, *, operation_id: Any = None, action: str | None = None, subject: tuple[str, str] | None = None,
               before: int | None = None, limit: int = 50) -> list[bytes]:
        """The newest events first, encoded, filtered; ``subject`` is its type and id, ``before`` the cursor (a sequence)."""
        query = select(audit_events.c.encoded).where(audit_events.c.tenant_id == self._context.tenant_id)
        if operation_id is not None:
            query = query.where(audit_events.c.operation_id == operation_id)
        if action is not None:
            query = query.where(audit_events.c.action == action)
        if subject is not None:
            query = query.where(audit_events.c.subject_type == subject[0], audit_events.c.subject_id == subject[1])
        if before is not None:
            query = query.where(audit_events.c.sequence < before)
        rows = self._connection.execute(query.order_by(audit_events.c.sequence.desc()).limit(limit))
        return [bytes(row.encoded) for row in rows]
