"""The tables of a database as its catalogue describes them, and valid rows for each, made from that description alone.

A new table is covered without a word here, as long as its columns are of types that :func:`_value` knows; one that is
not makes the tests fail, which is the point.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

Connection = psycopg.Connection[TupleRow]
Row = dict[str, Any]


BEFOREHAND = {"promotion_decisions": "UPDATE promotions SET status = 'pending_approval' WHERE tenant_id = %s"}
"""What rows of a table need of those before them: decided is what waits for it."""
GIVEN = {("promotions", "checksum"): "the plan", ("promotion_decisions", "checksum"): "the plan"}
"""Values that have to be the same in several tables."""


@dataclass(frozen=True)
class ForeignKey:
    """Columns that refer to columns of another table, in pairs."""

    name: str
    target: str
    columns: tuple[str, ...]
    target_columns: tuple[str, ...]


@dataclass
class Table:
    """A table: its columns with their types, which of them must be given, references and allowed values."""

    name: str
    columns: dict[str, str] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    foreign_keys: list[ForeignKey] = field(default_factory=list)
    allowed: dict[str, str] = field(default_factory=dict)
    primary_key: tuple[str, ...] = ()
    either: list[tuple[str, ...]] = field(default_factory=list)  # columns of which just one is given
    computed: set[str] = field(default_factory=set)  # by the database, which refuses a value for them

    @property
    def is_tenants(self) -> bool:
        """Whether the rows carry a tenant."""
        return "tenant_id" in self.columns


def read_catalogue(connection: Connection) -> dict[str, Table]:
    """Every table of every schema that is not PostgreSQL's own."""
    tables: dict[str, Table] = {}
    for (name,) in connection.execute(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"):
        tables[name] = Table(name)
    for name, column, type_, required, computed in connection.execute(
            "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull AND NOT atthasdef"
            " AND attidentity = '', attgenerated <> ''"
            " FROM pg_attribute WHERE attrelid::regclass::text = ANY(%s) AND attnum > 0 AND NOT attisdropped"
            " ORDER BY attrelid, attnum", (list(tables),)):
        tables[name].columns[column] = type_
        if required:
            tables[name].required.add(column)
        if computed:
            tables[name].computed.add(column)
    for name, constraint, kind, target, columns, target_columns, definition in connection.execute(
            "SELECT conrelid::regclass::text, conname, contype::text, confrelid::regclass::text,"
            " ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY k(num, i)"
            "       JOIN pg_attribute ON attrelid = conrelid AND attnum = k.num ORDER BY k.i),"
            " ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY k(num, i)"
            "       JOIN pg_attribute ON attrelid = confrelid AND attnum = k.num ORDER BY k.i),"
            " pg_get_constraintdef(oid)"
            " FROM pg_constraint WHERE conrelid::regclass::text = ANY(%s) ORDER BY conname", (list(tables),)):
        _constrain(tables[name], constraint, kind, target, tuple(columns), tuple(target_columns), definition)
    return tables


def _constrain(table: Table, name: str, kind: str, target: str, columns: tuple[str, ...],
               target_columns: tuple[str, ...], definition: str) -> None:
    if kind == "f":
        table.foreign_keys.append(ForeignKey(name, target, columns, target_columns))
    elif kind == "p":
        table.primary_key = columns
    elif kind == "c" and len(columns) == 1 and (found := re.search(r"ANY \(ARRAY\['([^']*)'", definition)):
        table.allowed[columns[0]] = found[1]
    elif kind == "c" and re.search(r"IS NULL\) <> \(\w+ IS NULL", definition):
        table.either.append(columns)


def in_order(tables: dict[str, Table]) -> Iterator[Table]:
    """Tables of tenants, each after those it refers to."""
    owned = {name: table for name, table in tables.items() if table.is_tenants}
    graph = {name: {fk.target for fk in table.foreign_keys} - {name} for name, table in owned.items()}
    return (owned[name] for name in TopologicalSorter(graph).static_order())


_counter = itertools.count(1)


def insert_graph(connection: Connection, tables: dict[str, Table], tenant_id: UUID) -> dict[str, list[Row]]:
    """Insert two rows (one where the tenant is the whole key) into each table for a tenant, and return them."""
    rows: dict[str, list[Row]] = {}
    for table in in_order(tables):
        several = table.primary_key != ("tenant_id",)
        if table.name in BEFOREHAND:
            connection.execute(BEFOREHAND[table.name], (tenant_id,))
        rows[table.name] = [insert(connection, table, make_row(table, tenant_id, rows, i)) for i in range(1 + several)]
    return rows


def make_row(table: Table, tenant_id: UUID, rows: dict[str, list[Row]], number: int) -> Row:
    """A valid row that refers to ``rows``. Two references to one table get different rows of it."""
    row: Row = {"tenant_id": str(tenant_id)}
    used: dict[str, int] = {}
    for key in table.foreign_keys:
        if key.columns == ("tenant_id",):
            continue
        targets = rows[key.target]
        target = targets[(number + used.setdefault(key.target, 0)) % len(targets)]
        used[key.target] += 1
        row |= {column: target[other] for column, other in zip(key.columns, key.target_columns, strict=True)}
    for _, *others in table.either:
        row = {column: value for column, value in row.items() if column not in others}
    row |= {column: value for (name, column), value in GIVEN.items() if name == table.name}
    for column in sorted(table.required - set(row)):
        row[column] = table.allowed.get(column) or _value(table.columns[column], f"{table.name}.{column}")
    return row


def _value(type_: str, where: str) -> Any:
    number = next(_counter)
    match type_:
        case "uuid":
            return str(uuid4())
        case "text":
            return f"v{number}-{uuid4().hex}"
        case "integer" | "bigint" | "smallint" | "numeric" | "double precision":
            return number
        case "boolean":
            return True
        case "timestamp with time zone":
            return datetime(2026, 11, 21, tzinfo=UTC).isoformat()
        case "jsonb":
            return {}
        case "bytea":
            return "\\x00ff"
        case "text[]" | "uuid[]":
            return []
        case _:
            raise NotImplementedError(f"{where} is of type {type_}: teach the tests of tenancy a value for it")


def insert(connection: Connection, table: Table, row: Row) -> Row:
    """Insert a row that leaves other columns to their defaults; returns it whole."""
    columns = sql.SQL(", ").join(map(sql.Identifier, row))
    statement = sql.SQL("INSERT INTO {name} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{name}, %s)"
                        " RETURNING to_jsonb({name})").format(name=sql.Identifier(table.name), columns=columns)
    stored = connection.execute(statement, (json.dumps(row),)).fetchone()
    assert stored is not None
    return dict(stored[0])
