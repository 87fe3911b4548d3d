"""The semantic diff of two contents (§8): what changed for the workflow that runs, named as its author would.

It is taken over the normalised forms (§4), so that it is empty exactly where the content hashes are equal; what the
normalised form leaves out (moves, sticky notes, ids, …) is only counted, as ``cosmetic``. A rename is one change: what
else changed in the node is listed under its new name, and connections are compared as if it had always had that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from wfops_pipelines.domain.connection_diff import EdgeChange, compare_connections
from wfops_pipelines.domain.cosmetic_diff import count_cosmetic
from wfops_pipelines.domain.masking import mask_known, mask_text
from wfops_pipelines.domain.node_pairing import Node, Pairing, pair_nodes, read_nodes
from wfops_pipelines.domain.normalize import canonical_bytes, normalize
from wfops_pipelines.domain.value_diff import ABSENT, Leaf, compare_values, same_value
from wfops_pipelines.domain.workflow import Content, JsonObject

__all__ = ["ABSENT", "Change", "ChangeKind", "WorkflowDiff", "as_json", "diff", "from_json", "masked"]


class ChangeKind(StrEnum):
    """What a change is about; the words are stable (``--json``, stored diffs)."""

    WORKFLOW_ADDED = "workflow_added"
    WORKFLOW_REMOVED = "workflow_removed"
    NAME_CHANGED = "name_changed"
    NODE_ADDED = "node_added"
    NODE_REMOVED = "node_removed"
    NODE_RENAMED = "node_renamed"
    NODE_CHANGED = "node_changed"
    CREDENTIALS_CHANGED = "credentials_changed"
    CONNECTION_ADDED = "connection_added"
    CONNECTION_REMOVED = "connection_removed"
    EXECUTION_ORDER_CHANGED = "execution_order_changed"
    SETTINGS_CHANGED = "settings_changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One change. ``node`` is the node's (new) name, of a connection the source's.

    ``path`` says where: ``parameters.assignments[2].value`` in a node, the key of a setting, the type of a credential,
    ``main[0] -> Target (main[0])`` of a connection. ``before`` and ``after`` are JSON values, or ``ABSENT``. They are
    **not masked** here, and so not shown by ``repr``; ``secret`` says that the whole value is one. Renderings go
    through :func:`masked`.
    """

    kind: ChangeKind
    node: str | None = None
    path: str | None = None
    before: Any = field(default=ABSENT, repr=False)
    after: Any = field(default=ABSENT, repr=False)
    secret: bool = False


@dataclass(frozen=True, slots=True)
class WorkflowDiff:
    """``equal`` iff the content hashes are; then there are no ``changes``. ``cosmetic`` counts differences that mean
    nothing when the workflow runs."""

    equal: bool
    changes: tuple[Change, ...] = ()
    cosmetic: int = 0


def diff(before: Content | None, after: Content | None) -> WorkflowDiff:
    """What has to be done to ``before`` to get ``after``; ``None`` is a workflow that is not there.

    Never raises on what ``read_content`` lets through; takes time in proportion to the size of both.
    """
    if before is None and after is None:
        return WorkflowDiff(equal=True)
    if before is None:
        return WorkflowDiff(False, (Change(ChangeKind.WORKFLOW_ADDED, after=_summary(after)),))
    if after is None:
        return WorkflowDiff(False, (Change(ChangeKind.WORKFLOW_REMOVED, before=_summary(before)),))
    pairing = pair_nodes(read_nodes(before), read_nodes(after))
    if canonical_bytes(before) == canonical_bytes(after):
        return WorkflowDiff(equal=True, cosmetic=count_cosmetic(before, after, pairing, moved=frozenset()))
    old, new = normalize(before), normalize(after)
    edges = compare_connections(old, new, pairing.renames())
    changes = (*_workflow_changes(old, new), *_node_changes(pairing), *(_edge_change(edge) for edge in edges))
    moved = frozenset(name for edge in edges if edge.kind == "order" for name in edge.targets)
    return WorkflowDiff(False, changes or _unnamed(old, new), count_cosmetic(before, after, pairing, moved=moved))


def as_json(result: WorkflowDiff) -> JsonObject:
    """``{"equal", "changes": [{"kind", "node"?, "path"?, "before"?, "after"?}], "cosmetic"}`` with secrets masked."""
    return {
        "equal": result.equal,
        "changes": [_change_json(masked(change)) for change in result.changes],
        "cosmetic": result.cosmetic,
    }


def from_json(stored: JsonObject) -> WorkflowDiff:
    """A diff as :func:`as_json` wrote it, to be rendered again; what was masked stays masked."""
    return WorkflowDiff(bool(stored["equal"]), tuple(
        Change(ChangeKind(change["kind"]), change.get("node"), change.get("path"), change.get("before", ABSENT),
               change.get("after", ABSENT)) for change in stored["changes"]), stored.get("cosmetic", 0))


def masked(change: Change) -> Change:
    """The change as it may be shown: secrets hidden. It stays a change, also where both sides then look alike."""
    before, after = _masked_value(change, change.before), _masked_value(change, change.after)
    return Change(change.kind, _mask_name(change.node), _mask_name(change.path), before, after, change.secret)


def _masked_value(change: Change, value: Any) -> Any:
    if value is ABSENT:
        return value
    shown = mask_known(value, secret=change.secret)
    if change.kind in (ChangeKind.NODE_ADDED, ChangeKind.NODE_REMOVED) and isinstance(value.get("credentials"), dict):
        # Types and names of credentials: a type such as jwtAuth says nothing about what stands under it.
        names = {kind: mask_known(name, secret=False) for kind, name in value["credentials"].items()}
        return {**shown, "credentials": names}
    return shown


def _mask_name(name: str | None) -> str | None:
    return None if name is None else mask_text(name)


def _change_json(change: Change) -> JsonObject:
    shown: JsonObject = {"kind": change.kind.value}
    if change.node is not None:
        shown["node"] = change.node
    if change.path is not None:
        shown["path"] = change.path
    if change.before is not ABSENT:
        shown["before"] = change.before
    if change.after is not ABSENT:
        shown["after"] = change.after
    return shown


def _summary(content: Content | None) -> JsonObject:
    content = content or {}
    return {"name": content.get("name", ""), "nodes": len(content.get("nodes", []))}


def _workflow_changes(old: JsonObject, new: JsonObject) -> Iterator[Change]:
    if old["name"] != new["name"]:
        yield Change(ChangeKind.NAME_CHANGED, before=old["name"], after=new["name"])
    for leaf in compare_values(old["settings"], new["settings"]):
        yield Change(ChangeKind.SETTINGS_CHANGED, None, leaf.path, leaf.before, leaf.after, leaf.secret)


def _node_changes(pairing: Pairing) -> Iterator[Change]:
    for node in pairing.removed:
        yield Change(ChangeKind.NODE_REMOVED, node.name, before=_without_name(node))
    for node in pairing.added:
        yield Change(ChangeKind.NODE_ADDED, node.name, after=_without_name(node))
    for old, new in pairing.same:
        if old.name != new.name:
            yield Change(ChangeKind.NODE_RENAMED, new.name, before=old.name, after=new.name)
        if old.body != new.body:
            yield from _changes_within(old, new)


def _without_name(node: Node) -> JsonObject:
    return {key: value for key, value in node.comparable.items() if key != "name"}


def _changes_within(old: Node, new: Node) -> Iterator[Change]:
    one, other = _without_name(old), _without_name(new)
    credentials = one.pop("credentials", {}), other.pop("credentials", {})
    for side in (one, other):
        side.setdefault("parameters", {})
    for leaf in compare_values(one, other):
        yield Change(ChangeKind.NODE_CHANGED, new.name, leaf.path, leaf.before, leaf.after, leaf.secret)
    if all(isinstance(side, dict) for side in credentials):
        for kind in sorted({*credentials[0], *credentials[1]}):
            was, is_now = credentials[0].get(kind, ABSENT), credentials[1].get(kind, ABSENT)
            if not same_value(was, is_now):
                yield Change(ChangeKind.CREDENTIALS_CHANGED, new.name, kind, was, is_now)
    elif not same_value(*credentials):
        yield Change(ChangeKind.CREDENTIALS_CHANGED, new.name, "credentials", *credentials)


def _edge_change(edge: EdgeChange) -> Change:
    if edge.kind == "order":
        return Change(ChangeKind.EXECUTION_ORDER_CHANGED, edge.source, edge.path, edge.before, edge.after)
    kind = ChangeKind.CONNECTION_ADDED if edge.kind == "added" else ChangeKind.CONNECTION_REMOVED
    return Change(kind, edge.source, edge.path)


def _unnamed(old: JsonObject, new: JsonObject) -> tuple[Change, ...]:
    """Contents differ and nothing above could say in what: connections of a shape no n8n writes. Name the place."""
    leaves = compare_values(old["connections"], new["connections"]) or [Leaf("connections", ABSENT, ABSENT, False)]
    return tuple(Change(ChangeKind.EXECUTION_ORDER_CHANGED, None, leaf.path, leaf.before, leaf.after, leaf.secret)
                 for leaf in leaves)
