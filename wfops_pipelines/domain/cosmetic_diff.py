"""How many differences two contents have that mean nothing when the workflow runs (§4.2): counted, never listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any, Final

from wfops_pipelines.domain.canonical_json import canonical_numbers, encode
from wfops_pipelines.domain.node_pairing import Node, Pairing
from wfops_pipelines.domain.normalize import STICKY_NOTE, comparable_settings
from wfops_pipelines.domain.value_diff import same_value
from wfops_pipelines.domain.workflow import Content, JsonObject

_CANVAS_KEYS: Final = ("id", "position", "webhookId", "notesInFlow", "color")


def count_cosmetic(before: Content, after: Content, pairing: Pairing, *, moved: Collection[str]) -> int:
    """One for each canvas key that differs in a node, for its cached names, and for its credential ids; one for each
    sticky note put up, taken down or changed; one for each group and each injected setting. A move of a node in
    ``moved`` is no cosmetic one: it changed the order of execution."""
    nodes = sum(_in_node(old, new, moved) for old, new in pairing.same)
    return nodes + _in_notes(before, after) + _in_groups(before, after) + _in_settings(before, after)


def _in_node(old: Node, new: Node, moved: Collection[str]) -> int:
    count = 0
    for key in _CANVAS_KEYS:
        if key == "position" and new.name in moved:
            continue
        count += not _equal(old.raw.get(key), new.raw.get(key))
    if _equal(old.comparable.get("parameters"), new.comparable.get("parameters")):
        count += not _equal(old.raw.get("parameters") or {}, new.raw.get("parameters") or {})
    if _equal(old.comparable.get("credentials"), new.comparable.get("credentials")):
        count += _credential_ids(old.raw) != _credential_ids(new.raw)
    return count


def _credential_ids(node: JsonObject) -> dict[str, bytes]:
    references = node.get("credentials")
    if not isinstance(references, dict):
        return {}
    return {kind: encode(reference["id"]) for kind, reference in references.items()
            if isinstance(reference, dict) and reference.get("id") is not None}


def _in_notes(before: Content, after: Content) -> int:
    """Notes are told apart by id, or else by name."""
    old, new = _notes(before), _notes(after)
    gone, come = old - new, new - old
    changed = Counter(key for key, _ in gone.elements()) & Counter(key for key, _ in come.elements())
    return gone.total() + come.total() - changed.total()


def _notes(content: Content) -> Counter[tuple[str, bytes]]:
    notes = (node for node in content["nodes"] if node.get("type") == STICKY_NOTE)
    return Counter((str(note.get("id") or note["name"]), encode(note)) for note in notes)


def _in_groups(before: Content, after: Content) -> int:
    return int(not _equal(before.get("nodeGroups"), after.get("nodeGroups")))


def _in_settings(before: Content, after: Content) -> int:
    """Settings that n8n writes by itself, or that say what is the default anyway."""
    compared = {*comparable_settings(before["settings"]), *comparable_settings(after["settings"])}
    keys = {*before["settings"], *after["settings"]} - compared
    return sum(not _equal(before["settings"].get(key), after["settings"].get(key)) for key in keys)


def _equal(one: Any, other: Any) -> bool:
    """Equal as JSON with doubles for numbers."""
    return one is other or same_value(one, other) or encode(canonical_numbers(one)) == encode(canonical_numbers(other))
