"""The least data that n8n takes for a credential that is to be filled in by a person (§11.5). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wfops_pipelines.domain.workflow import JsonObject

_EMPTY: Final[Mapping[str, Any]] = {"string": "", "number": 0, "integer": 0, "boolean": False, "object": {}, "array": []}


def placeholder_data(schema: Mapping[str, Any]) -> JsonObject:
    """Nothing but what the schema of a type (``GET /credentials/schema/{type}``) requires, each as empty as its kind
    allows: an empty text, 0, false, the first of the values there are. What is only required where something else says
    so is given where that holds: 1.x takes a condition about what is not given as met."""
    given: JsonObject = {}
    while missing := [name for name in _required(schema, given) if name not in given]:
        for name in missing:
            given[name] = _empty(_properties(schema).get(name))
    return given


def _required(rules: Any, given: JsonObject) -> list[str]:
    if not isinstance(rules, Mapping):
        return []
    found = [str(name) for name in _listed(rules.get("required"))]
    for part in _listed(rules.get("allOf")):
        found += _required(part, given)
    if "if" in rules:
        found += _required(rules.get("then" if _holds(rules["if"], given) else "else"), given)
    return found


def _holds(condition: Any, given: JsonObject) -> bool:
    """Whether what is given meets a condition; of what is not given, JSON Schema says yes to anything but ``required``."""
    if not isinstance(condition, Mapping):
        return True
    if any(name not in given for name in _listed(condition.get("required"))):
        return False
    if not all(_holds(part, given) for part in _listed(condition.get("allOf"))):
        return False
    return all(given[name] in _listed(rule.get("enum")) for name, rule in _properties(condition).items()
               if name in given and isinstance(rule, Mapping) and "enum" in rule)


def _empty(rule: Any) -> Any:
    rule = rule if isinstance(rule, Mapping) else {}
    allowed = _listed(rule.get("enum"))
    if allowed:
        return allowed[0]
    return _EMPTY.get(str(rule.get("type")), "")


def _properties(rules: Mapping[str, Any]) -> Mapping[str, Any]:
    found = rules.get("properties")
    return found if isinstance(found, Mapping) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
