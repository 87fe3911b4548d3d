"""Inserts of many rows that may meet rows which are there already, each as one statement.

The rows travel as one JSON parameter: PostgreSQL takes them apart at a fraction of what as many executions of the
statement cost both sides. And the text is compiled once, while SQLAlchemy compiles an ``insert()`` with ``ON CONFLICT``
anew at each use (it has no cache key).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB


class Upsert:
    """``INSERT`` of rows that are mappings of ``columns`` (default all of the table's).

    Where a row with equal ``keys`` (a unique index) is there, its ``written`` columns are overwritten, with
    ``unless_equal`` only if that column differs; without ``written`` the row stays as it is. No two of the rows may have
    equal keys. Text that PostgreSQL does not take (NUL, lone surrogates) is made storable on the way.
    """

    def __init__(self, table: Table, *, columns: Collection[str] | None = None, keys: Sequence[str] = (),
                 written: Collection[str] = (), unless_equal: str | None = None) -> None:
        given = [column for column in table.columns if columns is None or column.name in columns]
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        names = ", ".join(f'"{column.name}"' for column in given)
        typed = ", ".join(f'"{column.name}" {column.type.compile(dialect)}' for column in given)
        target = "(" + ", ".join(f'"{key}"' for key in keys) + ")" if keys else ""
        action = "NOTHING"
        if written:
            action = "UPDATE SET " + ", ".join(f'"{name}" = excluded."{name}"' for name in sorted(written))
            if unless_equal is not None:
                action += f' WHERE {table.name}."{unless_equal}" <> excluded."{unless_equal}"'
        # The names are those of our own tables.
        sql = (f"INSERT INTO {table.name} ({names}) SELECT {names} FROM jsonb_to_recordset(:rows) AS given ({typed}) "  # noqa: S608
               f"ON CONFLICT {target} DO {action}")
        self._statement = text(sql).bindparams(bindparam("rows", type_=JSONB))

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Insert the rows, in their order (a common one keeps two writers from waiting for each other); returns how many
        were inserted or overwritten."""
        return connection.execute(self._statement, {"rows": rows}).rowcount if rows else 0
