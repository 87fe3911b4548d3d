"""Content-addressed payloads: a workflow's content is stored once, whoever refers to it."""

from __future__ import annotations

from sqlalchemy import Column, Integer, LargeBinary, Table, Text

from wfops_pipelines.store.tables.base import metadata, owned_by_tenant, tenant_column

payloads = Table(
    "payloads",
    metadata,
    tenant_column(),
    Column("digest", Text, primary_key=True),  # SHA-256 of the uncompressed bytes, hex
    Column("body", LargeBinary, nullable=False),  # zstd; bytea, since jsonb refuses NUL and lone surrogates
    Column("size", Integer, nullable=False),  # bytes before compression
    owned_by_tenant(),
)
