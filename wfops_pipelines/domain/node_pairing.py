"""Which node of one content is which node of another: the first step of a diff.

n8n knows a node by its name: connections and expressions use it. The id says who was renamed, but ids are made anew
when a workflow is copied or imported, so they only decide where names do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from wfops_pipelines.domain.canonical_json import encode
from wfops_pipelines.domain.normalize import STICKY_NOTE, clean, comparable_node
from wfops_pipelines.domain.workflow import Content, JsonObject


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One node: as it is (``raw``), as it is compared, and the encoded body, which is everything but its name."""

    name: str
    raw: JsonObject
    comparable: JsonObject
    body: bytes

    @property
    def id(self) -> str | None:
        value = self.raw.get("id")
        return value if isinstance(value, str) and value else None

    @property
    def place(self) -> bytes:
        return encode(clean(self.raw.get("position")))


@dataclass(frozen=True, slots=True)
class Pairing:
    """Every node of both sides once: ``same`` are (before, after), renamed ones among them; the rest is on one side."""

    same: list[tuple[Node, Node]]
    added: list[Node]
    removed: list[Node]

    def renames(self) -> dict[str, str]:
        """Old names to new ones, where each stands for one node only: connections are compared under these."""
        before = Counter([old.name for old, _ in self.same] + [node.name for node in self.removed])
        after = Counter([new.name for _, new in self.same] + [node.name for node in self.added])
        return {old.name: new.name for old, new in self.same
                if old.name != new.name and before[old.name] == 1 and after[new.name] == 1}


def read_nodes(content: Content) -> list[Node]:
    """The nodes that are compared, in the order of their names; sticky notes are none (§4.2)."""
    nodes = []
    for raw in content["nodes"]:
        if raw.get("type") == STICKY_NOTE:
            continue
        comparable = clean(comparable_node(raw))
        body = {key: value for key, value in comparable.items() if key != "name"}
        nodes.append(Node(name=raw["name"], raw=raw, comparable=comparable, body=encode(body)))
    return sorted(nodes, key=lambda node: (node.name, node.body))


def pair_nodes(before: list[Node], after: list[Node]) -> Pairing:
    """Pair what is equal under one name; then by name and id; by id (a rename); by name; last, by equal bodies at the
    same place on the canvas, or where there is only one such (a rename in a copy whose ids were made anew)."""
    same: list[tuple[Node, Node]] = []
    for key, unique in _RULES:
        if not before or not after:
            break
        before, after = _match(same, before, after, key, unique=unique)
    same.sort(key=lambda pair: pair[1].name)
    return Pairing(same, added=after, removed=before)


Key = Callable[[Node], Hashable]
_RULES: tuple[tuple[Key, bool], ...] = (
    (lambda node: (node.name, node.body), False),
    (lambda node: node.id and (node.name, node.id), False),
    (lambda node: node.id, True),
    (lambda node: node.name, False),
    (lambda node: (node.body, node.place), False),
    (lambda node: node.body, True),
)


def _match(same: list[tuple[Node, Node]], before: list[Node], after: list[Node], key: Key, *, unique: bool,
           ) -> tuple[list[Node], list[Node]]:
    """Move pairs with equal keys to ``same``, return the rest. ``unique``: only keys that one node of each side has."""
    waiting: dict[Hashable, list[Node]] = {}
    for node in reversed(before):
        waiting.setdefault(key(node), []).append(node)
    wanted = Counter(key(node) for node in after) if unique else {}
    paired: set[Node] = set()
    rest = []
    for node in after:
        its_key = key(node)
        candidates = waiting.get(its_key)
        if its_key is None or not candidates or (unique and (len(candidates) > 1 or wanted[its_key] > 1)):
            rest.append(node)
            continue
        old = candidates.pop()
        paired.add(old)
        same.append((old, node))
    return [node for node in before if node not in paired], rest
