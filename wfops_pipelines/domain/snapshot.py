"""Snapshots (§13): what an environment held at a time, their differences, and restoring from one.

A snapshot says for each workflow which stored contents ran and stood as draft, whether it ran, whether it was archived,
and its tags. Contents are stored once, under their digest; a snapshot holds digests alone. Its own address is that of
what it holds, so that two snapshots of an unchanged environment have one address.

Restoring from one is in ``snapshot_restore``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from wfops_pipelines.domain.canonical_json import encode
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.domain.workflow import JsonObject

_ADDRESS_VERSION: Final = 1


class SnapshotKind(StrEnum):
    """Why a snapshot was taken."""

    PRE_PROMOTION = "pre_promotion"
    POST_PROMOTION = "post_promotion"
    MANUAL_BACKUP = "manual_backup"
    SCHEDULED = "scheduled"


@dataclass(frozen=True, slots=True)
class SnapshotWorkflow:
    """One workflow as it was. ``live_digest`` addresses the content that ran (of an inactive one, the draft),
    ``draft_digest`` the draft; ``content_hash`` is that of the live content (§1); ``canonical_id`` as text, where it was
    linked; ``tags`` are ordered."""

    workflow_id: str
    canonical_id: str | None
    name: str
    live_digest: str
    draft_digest: str
    content_hash: str
    active: bool
    archived: bool = False
    tags: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What plans call it: the canonical id, else n8n's."""
        return self.canonical_id or self.workflow_id

    @property
    def has_draft(self) -> bool:
        """Whether there were changes that were not published."""
        return self.live_digest != self.draft_digest

    def as_json(self) -> JsonObject:
        """Plain JSON; :meth:`from_json` reads it."""
        return {"workflow_id": self.workflow_id, "canonical_id": self.canonical_id, "name": self.name,
                "live_digest": self.live_digest, "draft_digest": self.draft_digest, "content_hash": self.content_hash,
                "active": self.active, "archived": self.archived, "tags": list(self.tags)}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> SnapshotWorkflow:
        """What :meth:`as_json` gave."""
        fields = {**document, "tags": tuple(document["tags"])}  # type: ignore[arg-type]
        return cls(**fields)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Snapshot:
    """All workflows of an environment at one time (aware), archived ones and ones without a canonical workflow included.

    ``environment`` is its id as text; :class:`UsageError` when one n8n id or key is there twice.
    """

    environment: str
    kind: SnapshotKind
    taken_at: datetime
    workflows: tuple[SnapshotWorkflow, ...]

    def __post_init__(self) -> None:
        for ids in ([each.workflow_id for each in self.workflows], [each.key for each in self.workflows]):
            if len(set(ids)) != len(ids):
                twice = sorted({each for each in ids if ids.count(each) > 1})
                raise UsageError(f"a snapshot holds {', '.join(twice)} twice", fix="read the environment again")

    @property
    def address(self) -> str:
        """SHA-256 over the workflows, whatever their order; kind, time and environment make no difference."""
        rows = sorted((each.as_json() for each in self.workflows), key=lambda row: str(row["workflow_id"]))
        return hashlib.sha256(encode([_ADDRESS_VERSION, rows])).hexdigest()

    def digests(self) -> frozenset[str]:
        """The contents that must be kept as long as the snapshot is."""
        return frozenset(digest for each in self.workflows for digest in (each.live_digest, each.draft_digest))


def as_of(snapshots: Iterable[Snapshot], at: datetime) -> Snapshot | None:
    """The newest snapshot that is not newer than ``at``; of several of one time, the last given."""
    found: Snapshot | None = None
    for each in snapshots:
        if each.taken_at <= at and (found is None or each.taken_at >= found.taken_at):
            found = each
    return found


# -- differences -----------------------------------------------------------------------------------------------------------

class SnapshotChange(StrEnum):
    """What differs in a workflow between two snapshots."""

    ADDED = "added"
    REMOVED = "removed"
    CONTENT = "content"  # what runs is another workflow (by content hash)
    COSMETIC = "cosmetic"  # what runs differs in what means nothing when it runs
    DRAFT = "draft"  # only the draft differs
    NAME = "name"
    ACTIVE = "active"
    ARCHIVED = "archived"
    TAGS = "tags"
    REPLACED = "replaced"  # the same canonical workflow under another n8n id
    LINK = "link"  # the same n8n workflow as another canonical workflow, or as none


@dataclass(frozen=True, slots=True)
class SnapshotDifference:
    """One workflow that differs, by all that does."""

    before: SnapshotWorkflow | None
    after: SnapshotWorkflow | None
    changes: tuple[SnapshotChange, ...]

    @property
    def name(self) -> str:
        """As it is called now, else as it was."""
        held = self.after or self.before
        return held.name if held is not None else ""

    def as_json(self) -> JsonObject:
        """``{"name", "key", "changes", "before"?, "after"?}``; the name masked."""
        held = self.after or self.before
        shown: JsonObject = {"name": one_line(self.name, 200), "key": held.key if held is not None else "",
                             "changes": [str(change) for change in self.changes]}
        for side, workflow in (("before", self.before), ("after", self.after)):
            if workflow is not None:
                shown[side] = {**workflow.as_json(), "name": one_line(workflow.name, 200)}
        return shown


def diff_snapshots(before: Iterable[SnapshotWorkflow], after: Iterable[SnapshotWorkflow]) -> tuple[SnapshotDifference, ...]:
    """What differs, by name. A workflow is the same by its n8n id; one that was created anew, by its canonical id."""
    found = []
    for old, new in pair(before, after):
        if changes := tuple(_changes(old, new)):
            found.append(SnapshotDifference(old, new, changes))
    return tuple(sorted(found, key=lambda each: (each.name, (each.after or each.before or _NOBODY).workflow_id)))


_NOBODY: Final = SnapshotWorkflow("", None, "", "", "", "", active=False)


def pair(before: Iterable[SnapshotWorkflow], after: Iterable[SnapshotWorkflow]) -> Iterator[
        tuple[SnapshotWorkflow | None, SnapshotWorkflow | None]]:
    """What is one workflow on both sides: by n8n id, else by canonical id; ``None`` where a side does not have it."""
    left = {each.workflow_id: each for each in after}
    gone = []
    for old in before:
        new = left.pop(old.workflow_id, None)
        if new is None:
            gone.append(old)
        else:
            yield old, new
    by_canonical = {each.canonical_id: each for each in left.values() if each.canonical_id is not None}
    for old in gone:
        new = by_canonical.pop(old.canonical_id, None) if old.canonical_id is not None else None
        if new is not None:
            del left[new.workflow_id]
        yield old, new
    for new in left.values():
        yield None, new


def _changes(old: SnapshotWorkflow | None, new: SnapshotWorkflow | None) -> Iterator[SnapshotChange]:
    if old is None or new is None:
        yield SnapshotChange.ADDED if old is None else SnapshotChange.REMOVED
        return
    if old.content_hash != new.content_hash:
        yield SnapshotChange.CONTENT
    elif old.live_digest != new.live_digest:
        yield SnapshotChange.COSMETIC
    elif old.draft_digest != new.draft_digest:
        yield SnapshotChange.DRAFT
    for change, differs in (
            (SnapshotChange.NAME, old.name != new.name), (SnapshotChange.ACTIVE, old.active != new.active),
            (SnapshotChange.ARCHIVED, old.archived != new.archived), (SnapshotChange.TAGS, set(old.tags) != set(new.tags)),
            (SnapshotChange.REPLACED, old.workflow_id != new.workflow_id),
            (SnapshotChange.LINK, old.canonical_id != new.canonical_id)):
        if differs:
            yield change
