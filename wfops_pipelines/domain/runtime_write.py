"""Bringing a workflow of n8n into a wanted state, one call at a time (§11.6, design decision 7).

What has to be called next follows from what n8n holds and from what it shall hold, and from nothing else. So a write
that was killed anywhere is finished by asking again, and undone by asking for the state before. A 200 is no proof: the
loop ends when the state that was read back is the wanted one, and fails when a call changed nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from wfops_pipelines.domain.normalize import comparable_settings, content_hash
from wfops_pipelines.domain.workflow import Content

JsonObject = dict[str, Any]


class WriteAction(StrEnum):
    """What a write does to a workflow, for people and the journal."""

    UPDATE = "update"
    CREATE = "create"
    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    DELETE = "delete"


class Call(StrEnum):
    """One call to n8n."""

    CREATE = "create"
    PUT = "put"  # goes live at once where the workflow is active
    PUT_DRAFT = "put_draft"  # 2.x: what runs stays
    PUBLISH = "publish"  # makes the draft what runs, and activates
    DEACTIVATE = "deactivate"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class RuntimeState:
    """What n8n holds of a workflow, as far as a write decides about it: content hashes of what runs and of the draft
    (equal while there is nothing unpublished, and while it is inactive)."""

    live_hash: str
    draft_hash: str
    active: bool
    archived: bool = False

    def as_json(self) -> JsonObject:
        """For the journal."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RuntimeState:
        """What :meth:`as_json` gave; other keys are allowed."""
        return cls(document["live_hash"], document["draft_hash"], document["active"], document.get("archived", False))


def next_call(current: RuntimeState | None, wanted: RuntimeState | None) -> Call | None:
    """The call that leads from ``current`` towards ``wanted`` (``None``: not there); none when nothing is left to do.

    A workflow that shall be off is switched off before its content changes, one that shall be on is switched on after:
    what nobody wants never runs.
    """
    if wanted is None:
        return None if current is None else Call.DELETE
    if current is None:
        return Call.CREATE
    if wanted.archived or current.archived:
        return _towards_archived(current, wanted) if wanted.archived else Call.UNARCHIVE
    if current.active and not wanted.active:
        return Call.DEACTIVATE
    if not wanted.active:
        return Call.PUT if current.draft_hash != wanted.draft_hash else None
    return _towards_running(current, wanted)


def _towards_archived(current: RuntimeState, wanted: RuntimeState) -> Call | None:
    """What is archived cannot be changed any more: its content first. Archiving deactivates by itself."""
    if current.archived:
        return None
    if current.draft_hash == wanted.draft_hash:
        return Call.ARCHIVE
    return Call.DEACTIVATE if current.active else Call.PUT


def _towards_running(current: RuntimeState, wanted: RuntimeState) -> Call | None:
    if not current.active:
        return Call.PUT if current.draft_hash != wanted.live_hash else Call.PUBLISH
    if current.live_hash != wanted.live_hash:
        return Call.PUBLISH if current.draft_hash == wanted.live_hash else Call.PUT
    return Call.PUT_DRAFT if current.draft_hash != wanted.draft_hash else None


def explained(current: RuntimeState | None, before: RuntimeState | None, after: RuntimeState | None,
              on_the_way: Collection[str] = ()) -> bool:
    """Whether ``current`` can be what a write from ``before`` to ``after`` left when it was interrupted; ``on_the_way`` are
    hashes of contents that it has in between. If not, somebody else was there, and their work must not be overwritten."""
    if current is None:
        return before is None or after is None
    known = {h for state in (before, after) if state is not None for h in (state.live_hash, state.draft_hash)} | {
        *on_the_way}
    return {current.live_hash, current.draft_hash} <= known


# What n8n takes for "as if it were not there": settings are merged, leaving a key out keeps it (facts/n8n.md §6).
_CLEARED: Final[Mapping[str, Any]] = {
    "callerPolicy": "workflowsFromSameOwner", "availableInMCP": False, "timezone": "DEFAULT", "executionTimeout": -1,
    "executionOrder": "v0", "callerIds": "",
}
_CLEARED_2: Final[Mapping[str, Any]] = {**_CLEARED, "errorWorkflow": "DEFAULT", "redactionPolicy": "none",
                                        "timeSavedMode": "fixed", "customTelemetryTags": []}


def content_to_write(wanted: Content, current: Mapping[str, Any] | None, *, generation: int) -> JsonObject:
    """The body that makes ``current`` (as n8n gives it) into ``wanted``.

    Node ids and webhook ids that ``wanted`` does not say are carried over by node name: n8n would make new ones, and
    forms, chats and webhooks would change their address. Settings that are there and shall not be are cleared as far as
    n8n's API can.
    """
    if current is None:
        return dict(wanted)
    there = {node.get("name"): node for node in current.get("nodes") or () if isinstance(node, dict)}
    nodes = [_carried(node, there.get(node.get("name"))) for node in wanted["nodes"]]
    return {**wanted, "nodes": nodes, "settings": _settings(wanted, current, generation)}


def _carried(node: JsonObject, there: Mapping[str, Any] | None) -> JsonObject:
    if there is None or there.get("type") != node.get("type"):
        return node
    return {key: there[key] for key in ("id", "webhookId") if not node.get(key) and there.get(key)} | {
        key: value for key, value in node.items() if value is not None or key not in ("id", "webhookId")}


def _settings(wanted: Content, current: Mapping[str, Any], generation: int) -> JsonObject:
    settings = dict(wanted.get("settings") or {})
    there = current.get("settings") or {}
    cleared = _CLEARED if generation < 2 else _CLEARED_2
    for key in comparable_settings(there):
        if settings.get(key) is None and key in cleared:
            settings[key] = cleared[key]
    return settings


def kept_settings(wanted: Content, actual: Content) -> list[str]:
    """Settings that n8n still has although ``wanted`` does not: what its API cannot clear, by name."""
    return sorted(set(comparable_settings(actual.get("settings"))) - set(comparable_settings(wanted.get("settings"))))


def unclearable_settings(wanted: Content, actual: Content, *, generation: int) -> list[str]:
    """Settings that a write of ``wanted`` over ``actual`` would leave as they are, by name: n8n's API cannot clear them."""
    cleared = _CLEARED if generation < 2 else _CLEARED_2
    return [key for key in kept_settings(wanted, actual) if key not in cleared]


def differs_by_kept_settings(actual: Content, wanted: Content, before: Content) -> bool:
    """Whether ``actual`` is what a write of ``wanted`` makes of ``before`` where n8n keeps settings: the same but for
    some that ``before`` had and ``wanted`` has not."""
    there, had = actual.get("settings") or {}, before.get("settings") or {}
    kept = kept_settings(wanted, actual)
    if not kept or any(key not in had or had[key] != there[key] for key in kept):
        return False
    settings = {key: value for key, value in there.items() if key not in kept}
    return content_hash({**actual, "settings": settings}) == content_hash(wanted)
