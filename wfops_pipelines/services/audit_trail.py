"""Proving a tenant's audit chain (§19.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.audit import Anchor, Verdict, contradictions, decode, verify
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Broken
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.audit import COPIES
from wfops_pipelines.store.tables.base import storable
from wfops_pipelines.store.unit_of_work import UnitOfWork


def verify_tenant(services: Services, context: Context, anchor: Anchor | None = None) -> Verdict:
    """Prove the chain of the context's tenant, up to the head row, and that it contains ``anchor`` (an exported one).

    The verdict names the first sequence where something was changed, removed, inserted, reordered or cut off. It covers
    the searchable copies beside each event too: what a listing shows is what was proved.
    """
    with services.store.read(context) as work:
        count, head = work.audit.head()
        reading = _Reading(work)
        verdict = verify(services.store.audit_key, reading, anchor, head=Anchor(context.tenant_id, count, head),
                         tenant_id=context.tenant_id)
    if reading.contradiction is None:
        return verdict
    row, names = reading.contradiction
    if verdict.sequence is not None and verdict.sequence <= row.sequence:
        return verdict
    return Verdict(False, row.sequence - 1, row.previous, sequence=row.sequence, problem=(
        f"event {row.sequence} was changed: {', '.join(names)} beside it {'says' if len(names) == 1 else 'say'} "
        "something else than the event itself"))


class _Reading:
    """The chain as :func:`verify` reads it. It ends at the first event whose copies contradict it."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work
        self.contradiction: tuple[Row[Any], list[str]] | None = None

    def __iter__(self) -> Iterator[tuple[int, str, str, bytes]]:
        for row in self._work.audit.rows():
            encoded = bytes(row.encoded)
            yield row.sequence, row.previous, row.hash, encoded
            names = _contradicting(encoded, row)
            if names:
                self.contradiction = (row, names)
                return


def _contradicting(encoded: bytes, row: Row[Any]) -> list[str]:
    try:
        names = contradictions(encoded, {name: getattr(row, name) for name in COPIES})
        if not names:
            return []
        event = decode(encoded)
    except Broken:
        return []  # the bytes were changed: that the chain itself says
    said = {name: getattr(event, name) for name in names}
    return [name for name in names
            if not (isinstance(said[name], str) and storable(said[name]) == getattr(row, name))]
