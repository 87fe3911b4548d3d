"""Bodies against a schema, with the words of 1.x (Ajv) and of 2.x (Zod).

A schema is data: :class:`Obj`, :class:`Arr`, or the name of a simple kind. Both generations report one problem, which of
several they report differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wfops_pipelines.n8n.sandbox.errors import ApiError

Schema = Any
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Obj:
    """An object; without ``open_`` other keys are refused. ``read_only`` keys are refused by name."""

    keys: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    open_: bool = False


@dataclass(frozen=True)
class Arr:
    """An array of items of one schema."""

    items: Schema


@dataclass(frozen=True)
class Choice:
    """One of these strings."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Nullable:
    """The schema, or null."""

    schema: Schema


@dataclass(frozen=True)
class Custom:
    """A check of its own: gives the message, or none."""

    check: Callable[[Any, bool], str | None]


def json_kind(value: Any) -> str:
    """What Zod calls the kind of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def check_body(schema: Schema, value: Any, generation: int) -> None:
    """Raise the 400 that this generation answers for a body that does not fit."""
    problem = next(_problems(schema, value, (), generation), None)
    if problem is not None:
        path, message = problem
        raise ApiError(400, f"request/body{''.join(f'/{part}' for part in path)}{message}")


def _problems(schema: Schema, value: Any, path: Path, generation: int) -> Iterator[tuple[Path, str]]:
    match schema:
        case Nullable(inner):
            if value is not None:
                yield from _problems(inner, value, path, generation)
        case Custom(check):
            message = check(value, generation >= 2)
            if message is not None:
                yield path, message
        case Choice():
            yield from _choice(schema, value, path, generation)
        case Arr(items) if isinstance(value, list):
            for index, item in enumerate(value):
                yield from _problems(items, item, (*path, index), generation)
        case Obj() if isinstance(value, dict):
            yield from _zod_object(schema, value, path) if generation >= 2 else _ajv_object(schema, value, path)
        case _:
            kind = "array" if isinstance(schema, Arr) else "object" if isinstance(schema, Obj) else schema
            if json_kind(value) != kind:
                yield path, _wrong(kind, value, generation)


def _wrong(kind: str, value: Any, generation: int) -> str:
    return f" Expected {kind}, received {json_kind(value)}" if generation >= 2 else f" must be {kind}"


def _choice(schema: Choice, value: Any, path: Path, generation: int) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str) and value in schema.values:
        return
    if generation < 2:
        if not isinstance(value, str):
            yield path, " must be string"
        yield path, f" must be equal to one of the allowed values: {', '.join(schema.values)}"
    else:
        expected = " | ".join(f"'{name}'" for name in schema.values)
        if isinstance(value, str):
            yield path, f" Invalid enum value. Expected {expected}, received '{value}'"
        else:
            yield path, f" Expected {expected}, received {json_kind(value)}"


def _zod_object(schema: Obj, value: dict[str, Any], path: Path) -> Iterator[tuple[Path, str]]:
    for key, inner in schema.keys.items():
        if key in value:
            yield from _problems(inner, value[key], (*path, key), 2)
        elif key in schema.required:
            if isinstance(inner, Custom):
                yield from _problems(inner, None, (*path, key), 2)
            else:
                yield path, f" must have required property '{key}'"
    for key in schema.read_only:
        if key in value:
            yield (*path, key), " is read-only"
    unknown = [key for key in value if key not in schema.keys and key not in schema.read_only]
    if unknown and not schema.open_:
        yield path, f" Unrecognized key(s) in object: {', '.join(repr_js(key) for key in unknown)}"


def _ajv_object(schema: Obj, value: dict[str, Any], path: Path) -> Iterator[tuple[Path, str]]:
    for key in schema.required:
        if key not in value:
            yield path, f" must have required property '{key}'"
    if not schema.open_ and any(key not in schema.keys and key not in schema.read_only for key in value):
        yield path, " must NOT have additional properties"
    for key in schema.read_only:
        if key in value:
            stamp = key in {"createdAt", "updatedAt"} and not isinstance(value[key], str)
            yield (*path, key), " must be string" if stamp else " is read-only"
    for key, inner in schema.keys.items():
        if key in value:
            yield from _problems(inner, value[key], (*path, key), 1)


def repr_js(key: str) -> str:
    """A key in single quotes."""
    return f"'{key}'"
