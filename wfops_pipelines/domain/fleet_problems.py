"""What a schema error says to whoever wrote the document: in their words, with the way out, without their values."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from wfops_pipelines.domain.yaml_lines import Path, shown

Problem = tuple[Path, str]

_WORDS = {
    "missing": "is required",
    "model_type": "should be a mapping (key: value)",
    "dict_type": "should be a mapping (key: value)",
    "list_type": "should be a list",
    "string_type": "should be text (put it in quotes)",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
}


def of_schema(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Path and message of every problem that pydantic found in a document for ``model``."""
    found = []
    for detail in error.errors(include_url=False, include_context=True, include_input=False):
        path: Path = [step for step in detail["loc"] if step != "[key]"]
        if detail["type"] == "extra_forbidden":
            message = _unknown_field(model, path)
        else:
            message = _WORDS.get(detail["type"]) or _said(detail["msg"])
            if detail["type"] == "value_error":
                path, message = _at_field(model, path, message)
        found.append((path, message))
    return found


def dotted(path: Path) -> str | None:
    """``["tenants", 0, "slug"]`` → ``tenants[0].slug``; none for the document itself."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "").replace("-", "").isalnum() and len(step) <= 60:
            text += f".{step}" if text else step
        else:
            text += f"[{shown(step)}]"
    return text or None


def _said(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _at_field(model: type[BaseModel], path: Path, message: str) -> Problem:
    """What does not fit between the fields of one part begins with the one to change (``to: must be after from``)."""
    field, colon, said = message.partition(": ")
    return ([*path, field], said) if colon and field in _fields_at(model, path) else (path, message)


def _unknown_field(model: type[BaseModel], path: Path) -> str:
    known = _fields_at(model, path[:-1])
    close = get_close_matches(str(path[-1]), known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
    return f"is no field here ({hint})"


def _fields_at(model: type[BaseModel], path: Path) -> list[str]:
    """The field names of the model that stands at ``path`` of a document for ``model``."""
    here: Any = model
    for step in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = next((field.annotation for name, field in here.model_fields.items()
                         if (field.alias or name) == step), None)
        else:  # a list or a dictionary: what its items are
            here = get_args(here)[-1] if get_args(here) else None
        here = _without_none(here)
    return list(_names(here))


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in {Union, UnionType}:
        return next((part for part in get_args(annotation) if part is not type(None)), None)
    return annotation


def _names(model: Any) -> Iterator[str]:
    if isinstance(model, type) and issubclass(model, BaseModel):
        yield from (field.alias or name for name, field in model.model_fields.items())
