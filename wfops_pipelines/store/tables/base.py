"""Columns and constraints that the tables share."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Column, DateTime, Dialect, ForeignKeyConstraint, MetaData, Text, TypeDecorator, func
from sqlalchemy.dialects.postgresql import UUID

_UNSTORABLE = re.compile("[\ud800-\udbff][\udc00-\udfff]|[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Text as PostgreSQL takes it: NUL and lone surrogates, which n8n keeps and payloads preserve, become U+FFFD; two
    surrogates that make a character are that character."""
    return _UNSTORABLE.sub(_stored, text)


def _stored(found: re.Match[str]) -> str:
    character = found[0]
    return "\ufffd" if len(character) == 1 else character.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


class DisplayText(TypeDecorator[str]):
    """Text of any origin, for people and for searching: made storable on the way in, and in comparisons."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what PostgreSQL refuses."""
        return None if value is None else storable(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def tenant_column() -> Column[Any]:
    """``tenant_id``: every row of a tenant carries it, and row-level security reads it (§2.1)."""
    return Column("tenant_id", UUID(as_uuid=True), primary_key=True)


def id_column() -> Column[Any]:
    """The row's own id, unique within the tenant."""
    return Column("id", UUID(as_uuid=True), primary_key=True)


def uuid_column(name: str, *, nullable: bool = False) -> Column[Any]:
    """A UUID that is not the row's own."""
    return Column(name, UUID(as_uuid=True), nullable=nullable)


def time_column(name: str, *, nullable: bool = True, now: bool = False) -> Column[Any]:
    """An instant, in UTC."""
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=func.now() if now else None)


def text_column(name: str, *, nullable: bool = False, default: str | None = None) -> Column[Any]:
    """Text of any length."""
    return Column(name, Text, nullable=nullable, server_default=default)


def display_column(name: str, *, nullable: bool = False) -> Column[Any]:
    """Text of any origin, for people and for searching."""
    return Column(name, DisplayText, nullable=nullable)


def owned_by_tenant() -> ForeignKeyConstraint:
    """The tenant exists, and is never deleted under its rows."""
    return ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"])


def refers(column: str, table: str, *, ondelete: str | None = None) -> ForeignKeyConstraint:
    """A composite foreign key: a plain one would let a reference into another tenant in."""
    return ForeignKeyConstraint(["tenant_id", column], [f"{table}.tenant_id", f"{table}.id"], ondelete=ondelete)
