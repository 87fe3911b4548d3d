"""Looking up many values at once.

Statements that a sync executes for every batch stand at the head of their module, with named parameters: to put one
together anew costs several times what its execution does.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, any_, bindparam
from sqlalchemy.dialects.postgresql import ARRAY


def any_of(column: ColumnElement[Any], values: Collection[Any]) -> ColumnElement[bool]:
    """``column = ANY(values)``: one parameter and one statement for any number of values.

    ``column.in_(values)`` makes a statement of its own for each number of values, at the cost of writing it anew each
    time, and PostgreSQL takes no more than 65,535 parameters.
    """
    return column == any_(bindparam(None, list(values), type_=ARRAY(column.type), unique=True))


def any_in(column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
    """The same for a statement that is written once: ``parameter`` names the list it is executed with."""
    return column == any_(bindparam(parameter, type_=ARRAY(column.type)))
