"""Content-addressed storage of workflow contents (design decision 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

import zstandard
from sqlalchemy import Connection, select

from wfops_pipelines.store.tables.payloads import payloads
from wfops_pipelines.store.upsert import upsert

_SAVE = upsert(payloads)
_LEVEL = 1  # level 3 halves the speed for 5 % of the size


class Payloads:
    """Bodies by digest. Reading checks nothing: the digest was made from the body when it was written."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def save(self, bodies: Mapping[str, bytes]) -> None:
        """Store bodies under their digests; those already there cost a look-up and nothing else."""
        if not bodies:
            return
        present = set(self._connection.execute(
            select(payloads.c.digest)
            .where(payloads.c.tenant_id == self._tenant_id, payloads.c.digest.in_(list(bodies)))
        ).scalars())
        compressor = zstandard.ZstdCompressor(level=_LEVEL)
        rows = [
            {"tenant_id": self._tenant_id, "digest": digest, "body": compressor.compress(body), "size": len(body)}
            for digest, body in sorted(bodies.items()) if digest not in present  # sorted: no deadlock between writers
        ]
        if rows:
            self._connection.execute(_SAVE, rows)

    def load(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Bodies by digest; digests that are not stored are left out."""
        decompressor = zstandard.ZstdDecompressor()
        rows = self._connection.execute(
            select(payloads.c.digest, payloads.c.body, payloads.c.size)
            .where(payloads.c.tenant_id == self._tenant_id, payloads.c.digest.in_(list(set(digests))))
        )
        return {
            row.digest: decompressor.decompress(bytes(row.body), max_output_size=max(row.size, 1)) for row in rows
        }
