"""Inserts that meet rows which are there already, written once.

SQLAlchemy compiles an ``insert()`` with an ``ON CONFLICT`` clause anew at each use (it has no cache key), which costs
more than the statement itself; text with typed parameters is compiled once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Table, TextClause, bindparam, text


def upsert(table: Table, *, columns: Collection[str] | None = None, keys: Sequence[str] = (),
           written: Collection[str] = (), unless_equal: str | None = None) -> TextClause:
    """``INSERT`` of rows that are dictionaries of ``columns`` (default all of the table's).

    Where a row with equal ``keys`` (a unique index) is there, its ``written`` columns are overwritten, with
    ``unless_equal`` only if that column differs; without ``written`` the row stays as it is.
    """
    given = [column for column in table.columns if columns is None or column.name in columns]
    names = ", ".join(f'"{column.name}"' for column in given)
    values = ", ".join(f":{column.name}" for column in given)
    target = "(" + ", ".join(f'"{key}"' for key in keys) + ")" if keys else ""
    action = "NOTHING"
    if written:
        action = "UPDATE SET " + ", ".join(f'"{name}" = excluded."{name}"' for name in sorted(written))
        if unless_equal is not None:
            action += f' WHERE {table.name}."{unless_equal}" <> excluded."{unless_equal}"'
    # The names are those of our own tables.
    sql = f'INSERT INTO {table.name} ({names}) VALUES ({values}) ON CONFLICT {target} DO {action}'  # noqa: S608
    return text(sql).bindparams(*(bindparam(column.name, type_=column.type) for column in given))
