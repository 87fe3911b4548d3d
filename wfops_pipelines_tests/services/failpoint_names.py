"""The failpoints that the code of the package names, found by reading it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import wfops_pipelines

PACKAGE = Path(wfops_pipelines.__file__).parent
NAMED_BY_ARGUMENT = {
    "services/canonical_deletion.py: name": ("canonical.delete", "canonical.undelete"),
    "services/declaring.py: name": ("policy.change", "credentials.map"),
    "services/incident_steps.py: name": ("incident.acknowledge", "incident.stabilize", "incident.close", "incident.cancel",
                                         "incident.extend", "incident.decide"),
    "services/mapping_commands.py: action": ("mapping.linked", "mapping.unlinked", "mapping.ignored", "mapping.unignored"),
}
"""Units of work that get their names from whoever calls: what they are called."""


@cache
def failpoints_of_the_package() -> tuple[str, ...]:
    """Every name; with ``*`` where a part of it is the name of a call. Those of a unit of work end in ``_commit``."""
    found: set[str] = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        where = str(path.relative_to(PACKAGE))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                found.update(_names_of(node, where))
    return tuple(sorted(found - {"*.before_commit", "*.after_commit"}))


def _names_of(node: ast.Call, where: str) -> list[str]:
    function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if function == "reach" and len(node.args) == 1 and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
        return [_pattern(node.args[0])]
    if function in ("unit_of_work", "bookkeeping") and len(node.args) > 1:
        return [f"{name}.{end}_commit" for name in _units(node.args[1], where) for end in ("before", "after")]
    return []


def _pattern(node: ast.Constant | ast.JoinedStr) -> str:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in parts)


def _units(node: ast.expr, where: str) -> tuple[str, ...]:
    if isinstance(node, ast.Constant):
        return (str(node.value),)
    place = f"{where}: {ast.unparse(node)}"
    return NAMED_BY_ARGUMENT.get(place, (place,))
