"""What lift and lower have in common: the portable terms, places in a workflow, and what is reported (§11.4).

Portable content is content in n8n's own shapes with terms in it: ``{{wfops.workflow.ID}}`` for a workflow (``self`` for
itself), ``{"name": "key:KEY"}`` for a credential, ``{{wfops.base_url}}`` and ``{{env.NAME}}`` in texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from wfops_pipelines.domain.masking import mask, mask_text
from wfops_pipelines.domain.parameter_paths import Place
from wfops_pipelines.domain.references import CALLING_NODES, called_workflow
from wfops_pipelines.domain.transform_tables import KEY_PREFIX
from wfops_pipelines.domain.transform_texts import Piece
from wfops_pipelines.domain.workflow import JsonObject

ITSELF: Final = "self"
"""Stands for the workflow itself where another's canonical id stands."""

PICKER_CACHES: Final = ("cachedResultName", "cachedResultUrl")

_WORKFLOW: Final = re.compile(r"\{\{wfops\.workflow\.([^{}\s]+)\}\}")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_$][\w$-]*")


class Kind(StrEnum):
    """What was transformed, or could not be; the words are stable."""

    CREDENTIAL = "credential"
    WORKFLOW = "workflow"
    BASE_URL = "base_url"
    VARIABLE = "variable"
    PLACEHOLDER = "placeholder"  # one that nothing is known of
    INLINE_WORKFLOW = "inline_workflow"  # a workflow in a text, a file or behind a URL


@dataclass(frozen=True, slots=True)
class Transformation:
    """One replacement. ``node`` is none for settings; ``before`` and ``after`` are masked."""

    node: str | None
    path: str
    kind: Kind
    before: str
    after: str

    def as_json(self) -> JsonObject:
        """``{"node", "path", "kind", "from", "to"}``."""
        return {**_where(self.node, self.path), "kind": self.kind.value, "from": self.before, "to": self.after}


@dataclass(frozen=True, slots=True)
class Unresolved:
    """What has no counterpart: it blocks a promotion. ``what`` is masked, ``fix`` says the way out.

    ``term`` is the bare thing for whoever decides further: a credential's key (or name, where it has no key), a canonical
    id (or n8n's, where it has none), a placeholder.
    """

    kind: Kind
    node: str | None
    path: str
    what: str
    fix: str
    term: str = field(default="", repr=False)

    def as_json(self) -> JsonObject:
        """``{"kind", "node", "path", "what", "fix"}``."""
        return {"kind": self.kind.value, **_where(self.node, self.path), "what": self.what, "fix": self.fix}


@dataclass(frozen=True, slots=True)
class Unknown:
    """What nobody can tell before it runs, or no more: it is promoted as it is. ``what`` is masked."""

    kind: Kind
    node: str | None
    path: str
    what: str
    why: str

    def as_json(self) -> JsonObject:
        """``{"kind", "node", "path", "what", "why"}``."""
        return {"kind": self.kind.value, **_where(self.node, self.path), "what": self.what, "why": self.why}


def _where(node: str | None, path: str) -> JsonObject:
    return {"node": None if node is None else mask_text(node), "path": mask_text(path)}


def workflow_term(canonical_id: str) -> str:
    """What stands in portable content for a workflow's id."""
    return f"{{{{wfops.workflow.{canonical_id}}}}}"


def canonical_of(term: str) -> str | None:
    """The canonical id that a term names (``self`` for itself); none for an n8n id."""
    found = _WORKFLOW.fullmatch(term)
    return found[1] if found else None


def credential_key(reference: Any) -> str | None:
    """The key in a portable credential reference; none for one of an environment, whose name may read alike."""
    if reference.__class__ is not dict or reference.keys() != {"name"}:
        return None
    name = reference["name"]
    return name.removeprefix(KEY_PREFIX) if name.__class__ is str and name.startswith(KEY_PREFIX) else None


def credential_name(reference: Any) -> str | None:
    """The name in an environment's credential reference: a text, or an object with or without an id."""
    name = reference.get("name") if reference.__class__ is dict else reference
    return name if name.__class__ is str and name else None


def selecting(selected: Any, workflow_id: str) -> Any:
    """The value of a picker (plain id, locator by list, id or URL) with another workflow chosen; its caches dropped.

    One by URL becomes one by id, which means the same: n8n 2.x takes the URL itself for an id when it publishes, and
    refuses the caller, whatever is published.
    """
    if selected.__class__ is not dict:
        return workflow_id
    changed = {"value": workflow_id, **({"mode": "id"} if selected.get("mode") == "url" else {})}
    return {key: changed.get(key, kept) for key, kept in selected.items() if key not in PICKER_CACHES}


def picks(node: JsonObject) -> bool:
    """Whether a node calls a workflow that it picks; one in a text, a file or behind a URL is not picked."""
    kind = node.get("type")
    if kind.__class__ is not str or kind not in CALLING_NODES or node.get("parameters").__class__ is not dict:
        return False
    return bool(node["parameters"].get("source", "database") == "database")


def picked_place(node: JsonObject) -> str:
    """Where a calling node says which workflow it calls."""
    locator = node["parameters"].get("workflowId").__class__ is dict
    return "parameters.workflowId.value" if locator else "parameters.workflowId"


def picking(node: JsonObject, workflow_id: str) -> JsonObject | None:
    """The parameters of a calling node with another workflow picked; none where it then would not read back."""
    parameters = {**node["parameters"], "workflowId": selecting(node["parameters"]["workflowId"], workflow_id)}
    return parameters if called_workflow({**node, "parameters": parameters}) == workflow_id else None


def with_ids_once(nodes: list[JsonObject]) -> list[JsonObject]:
    """The nodes, each id once: n8n 1.x keeps what shares one, 2.x refuses it. The first has it; n8n makes the others'."""
    seen: set[str] = set()
    result = []
    for node in nodes:
        node_id = node.get("id")
        again = node_id.__class__ is str and node_id in seen
        result.append({key: value for key, value in node.items() if key != "id"} if again else node)
        if node_id.__class__ is str and node_id:
            seen.add(node_id)
    return result


def map_texts(value: Any, place: Place, edit: Callable[[str, Place], str]) -> Any:
    """A JSON value with every text replaced; what does not change is shared. Caches of pickers whose value changed go."""
    kind = value.__class__
    if kind is str:
        return edit(value, place)
    changed: dict[Any, Any] = {}
    if kind is dict or kind is list:
        for key, item in value.items() if kind is dict else enumerate(value):
            if item.__class__ in (str, dict, list):
                new = map_texts(item, (*place, key), edit)
                if new is not item:
                    changed[key] = new
    if not changed:
        return value
    if kind is list:
        return [changed.get(index, item) for index, item in enumerate(value)]
    stale = PICKER_CACHES if "value" in changed and "__rl" in value else ()
    return {key: changed.get(key, item) for key, item in value.items() if key not in stale}


def texts(value: Any, place: Place) -> Iterator[tuple[str, Place]]:
    """Every text in a JSON value, with its place."""
    found: list[tuple[str, Place]] = []

    def note(text: str, at: Place) -> str:
        found.append((text, at))
        return text

    map_texts(value, place, note)
    yield from found


def place_text(place: Place) -> str:
    """A place as the semantic diff writes it."""
    path = ""
    for step in place:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not _PLAIN_KEY.fullmatch(step):
            path += f"[{json.dumps(step, ensure_ascii=False)}]"
        else:
            path += f".{step}" if path else step
    return path


def shown_value(piece: Piece) -> str:
    """The value of a piece as it may be shown."""
    return str(mask(piece.value, piece.name))
