"""Who made a workflow drift, and when, as far as n8n and Git tell (§10).

Nothing here is proof of a person: n8n's history names the display names of whoever saved (of the owner of an API key,
for a change made through the API), Git the author that a commit claims. What is certain is only what our own checks
saw: the **bounds**, the last check without this drift and the first one with it, and which side changed between them.

- The *kind* follows from the sides that changed, where both checks know that; else from dated traces inside the bounds.
- *When*: the bounds; narrower where n8n's history holds versions, or Git the commit, inside them.
- n8n's ``updatedAt`` is a hint that is shown and never narrows anything: saving the same content moves it, activation
  and deletion do not.
- *Confidence*: ``certain`` when our checks saw which side changed; ``likely`` when a version or a commit inside the
  bounds says so; ``possible`` when only a hint does, or the situation allows one reading alone; else ``unknown``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.domain.shown import iso, moment, one_line

SKEW: Final = timedelta(minutes=2)
"""How far the clocks of n8n and of authors may be from ours before a time counts as outside the bounds."""

_NOBODY: Final = frozenset({"", "import", "null", "undefined", "undefined undefined", "unknown"})
"""What n8n writes as authors where it has none: importing from its command line, users without a name."""


class CauseKind(StrEnum):
    """What happened; the words are stable."""

    EDITED_IN_N8N = "edited_in_n8n"
    CREATED_IN_N8N = "created_in_n8n"  # by hand: Git never had it
    DELETED_IN_N8N = "deleted_in_n8n"
    ARCHIVED_IN_N8N = "archived_in_n8n"
    ACTIVATED_IN_N8N = "activated_in_n8n"
    DEACTIVATED_IN_N8N = "deactivated_in_n8n"
    NOT_DEPLOYED = "not_deployed"  # changed or added in Git, and not brought to n8n
    REMOVED_FROM_GIT = "removed_from_git"  # and n8n still has it
    CHANGED_ON_BOTH_SIDES = "changed_on_both_sides"
    UNKNOWN = "unknown"

    @property
    def words(self) -> str:
        """For people."""
        return _WORDS[self]


_WORDS: Final = {
    CauseKind.EDITED_IN_N8N: "edited in n8n", CauseKind.CREATED_IN_N8N: "created by hand in n8n",
    CauseKind.DELETED_IN_N8N: "deleted in n8n", CauseKind.ARCHIVED_IN_N8N: "archived in n8n",
    CauseKind.ACTIVATED_IN_N8N: "activated in n8n", CauseKind.DEACTIVATED_IN_N8N: "deactivated in n8n",
    CauseKind.NOT_DEPLOYED: "changed in Git and not deployed", CauseKind.REMOVED_FROM_GIT: "removed from Git, still in n8n",
    CauseKind.CHANGED_ON_BOTH_SIDES: "changed both in n8n and in Git", CauseKind.UNKNOWN: "not known",
}


class Confidence(StrEnum):
    """How sure a cause is, the surest first."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Aware times: the last check without this drift (``None``: none was ever made) and the first check with it."""

    last_without: datetime | None
    first_with: datetime

    def hold(self, at: datetime) -> bool:
        """Whether a time of another clock lies within, give or take :data:`SKEW`."""
        return (self.last_without is None or at >= self.last_without - SKEW) and at <= self.first_with + SKEW

    def clamp(self, at: datetime) -> datetime:
        """The nearest time within."""
        return min(max(at, self.last_without) if self.last_without else at, self.first_with)


@dataclass(frozen=True, slots=True)
class Version:
    """An entry of n8n's version history; ``authors`` as n8n names them, ``None`` where it names nobody."""

    version_id: str
    created_at: datetime
    authors: str | None


@dataclass(frozen=True, slots=True)
class PublishEvent:
    """An entry of n8n 2.x's ``workflowPublishHistory``: when an active state began or ended. It holds a user's id at
    most, which the public API gives no name for to an ordinary key; so ``who`` is usually ``None``."""

    activated: bool
    at: datetime
    who: str | None = None


@dataclass(frozen=True, slots=True)
class FileCommit:
    """The last commit that touched (or removed) the workflow's file. ``at`` is the author's date."""

    sha: str
    author: str
    at: datetime
    subject: str


@dataclass(frozen=True, slots=True)
class DriftFacts:
    """What is known about one drifting workflow.

    ``runtime_changed`` and ``git_changed`` say whether that side differs between the two checks of ``bounds``: ``None``
    where the earlier state is not known. ``was_in_runtime`` and ``was_in_git``: whether that side ever had it.
    """

    kind: DriftKind
    bounds: Bounds
    active: bool | None = None
    archived: bool = False
    runtime_changed: bool | None = None
    git_changed: bool | None = None
    was_in_runtime: bool | None = None
    was_in_git: bool | None = None
    updated_at: datetime | None = None
    versions: tuple[Version, ...] = ()
    publish_events: tuple[PublishEvent, ...] = ()
    commit: FileCommit | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that a source says: ``source`` is ``checks``, ``n8n`` or ``git``; ``text`` is masked, on one line."""

    source: str
    text: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """``who`` is ``None`` where nobody tells. The change happened between ``earliest`` (``None``: open) and ``latest``."""

    kind: CauseKind
    confidence: Confidence
    who: str | None
    earliest: datetime | None
    latest: datetime
    evidence: tuple[Evidence, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Plain JSON with the fields' names as keys, times in ISO 8601."""
        return {
            "kind": self.kind.value, "confidence": self.confidence.value, "who": self.who,
            "earliest": iso(self.earliest), "latest": iso(self.latest),
            "evidence": [{"source": e.source, "text": e.text, "at": iso(e.at)} for e in self.evidence],
        }

    def words(self) -> str:
        """One line: ``likely edited in n8n by Ada Lovelace, between 2026-01-01 10:00 and 10:05 UTC``."""
        if self.kind is CauseKind.UNKNOWN:
            return f"cause not known, {_span(self.earliest, self.latest)}"
        by = f" by {self.who}" if self.who else ""
        return f"{_ADVERBS[self.confidence]}{self.kind.words}{by}, {_span(self.earliest, self.latest)}"


_ADVERBS: Final = {Confidence.CERTAIN: "", Confidence.LIKELY: "likely ", Confidence.POSSIBLE: "possibly ",
                   Confidence.UNKNOWN: "possibly "}


def cause_of(facts: DriftFacts) -> Cause:
    """The cause as far as the facts carry; never more certain than they are."""
    kind, confidence = _classify(facts)
    earliest, latest, who = facts.bounds.last_without, facts.bounds.first_with, None
    traces = _traces(facts, kind)
    if traces:
        earliest, latest = facts.bounds.clamp(traces[0][0]), facts.bounds.clamp(traces[-1][0])
        names = dict.fromkeys(name for _, name in traces if name)
        who = ", ".join(names) or None
    elif kind in (CauseKind.NOT_DEPLOYED, CauseKind.REMOVED_FROM_GIT) and facts.commit:
        who = _person(facts.commit.author)  # its date is older than the push: it says who, not when
    return Cause(kind, confidence, who, earliest, latest, _evidence(facts))


def read_version(raw: Mapping[str, Any]) -> Version | None:
    """One entry of n8n's ``/workflows/{id}/history`` or a version; ``None`` where its time or id cannot be read."""
    at, version_id = read_time(raw.get("createdAt")), raw.get("versionId")
    if at is None or not isinstance(version_id, str):
        return None
    return Version(version_id, at, _person(raw.get("authors")))


def read_publish_event(raw: Mapping[str, Any]) -> PublishEvent | None:
    """One entry of ``activeVersion.workflowPublishHistory``; ``None`` where it cannot be read."""
    at, event = read_time(raw.get("createdAt")), raw.get("event")
    return None if at is None or event not in ("activated", "deactivated") else PublishEvent(event == "activated", at)


def read_time(text: Any) -> datetime | None:
    """A time as n8n writes it (ISO 8601 in UTC); ``None`` for anything else, and for a time without a zone."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
        return None if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _classify(facts: DriftFacts) -> tuple[CauseKind, Confidence]:
    match facts.kind:
        case DriftKind.MISSING_IN_RUNTIME:
            return _classify_missing(facts)
        case DriftKind.ADDED_IN_RUNTIME:
            return _classify_added(facts)
        case DriftKind.ACTIVATION:
            in_n8n = CauseKind.ACTIVATED_IN_N8N if facts.active else CauseKind.DEACTIVATED_IN_N8N
            return _by_side(facts, in_n8n)
        case DriftKind.MODIFIED | DriftKind.UNPUBLISHED_CHANGES:
            return _by_side(facts, CauseKind.EDITED_IN_N8N)


def _classify_missing(facts: DriftFacts) -> tuple[CauseKind, Confidence]:
    gone = CauseKind.ARCHIVED_IN_N8N if facts.archived else CauseKind.DELETED_IN_N8N
    if facts.archived or facts.runtime_changed:
        return gone, Confidence.CERTAIN  # our own checks saw it live before, or see it archived now
    if facts.was_in_runtime:
        # It was gone before; now Git wants it: the file came, or came back.
        return (CauseKind.NOT_DEPLOYED, Confidence.CERTAIN) if facts.git_changed else (gone, Confidence.LIKELY)
    if facts.was_in_runtime is False:
        return CauseKind.NOT_DEPLOYED, Confidence.CERTAIN if facts.git_changed else Confidence.LIKELY
    if _commit_inside(facts):
        return CauseKind.NOT_DEPLOYED, Confidence.POSSIBLE
    return CauseKind.UNKNOWN, Confidence.UNKNOWN


def _classify_added(facts: DriftFacts) -> tuple[CauseKind, Confidence]:
    if facts.git_changed or (facts.was_in_git and not facts.runtime_changed):
        return CauseKind.REMOVED_FROM_GIT, Confidence.CERTAIN if facts.git_changed else Confidence.LIKELY
    if facts.was_in_git is False:
        return CauseKind.CREATED_IN_N8N, Confidence.CERTAIN if facts.runtime_changed else Confidence.LIKELY
    if facts.runtime_changed:
        return CauseKind.CREATED_IN_N8N, Confidence.LIKELY
    return CauseKind.CREATED_IN_N8N, Confidence.POSSIBLE


def _by_side(facts: DriftFacts, in_n8n: CauseKind) -> tuple[CauseKind, Confidence]:
    if facts.runtime_changed is not None and facts.git_changed is not None:
        seen = (facts.runtime_changed, facts.git_changed)
        if seen == (False, False):  # neither: the drift is older than both checks
            return CauseKind.UNKNOWN, Confidence.UNKNOWN
        return {(True, True): CauseKind.CHANGED_ON_BOTH_SIDES, (True, False): in_n8n,
                (False, True): CauseKind.NOT_DEPLOYED}[seen], Confidence.CERTAIN
    runtime = facts.runtime_changed if facts.runtime_changed is not None else bool(_traces(facts, in_n8n))
    git = facts.git_changed if facts.git_changed is not None else _commit_inside(facts)
    if runtime and git:
        return CauseKind.CHANGED_ON_BOTH_SIDES, Confidence.POSSIBLE
    if runtime or git:
        return in_n8n if runtime else CauseKind.NOT_DEPLOYED, Confidence.LIKELY
    moved = facts.updated_at is not None and facts.bounds.last_without is not None and facts.bounds.hold(facts.updated_at)
    if in_n8n is CauseKind.EDITED_IN_N8N and moved and facts.runtime_changed is None:
        return in_n8n, Confidence.POSSIBLE
    return CauseKind.UNKNOWN, Confidence.UNKNOWN


def _traces(facts: DriftFacts, kind: CauseKind) -> list[tuple[datetime, str | None]]:
    """When and by whom, inside the bounds, oldest first, as far as it can have been this kind of change."""
    found: list[tuple[datetime, str | None]] = []
    if kind in (CauseKind.EDITED_IN_N8N, CauseKind.CHANGED_ON_BOTH_SIDES):
        found = [(version.created_at, version.authors) for version in facts.versions]
    elif kind is CauseKind.CREATED_IN_N8N and facts.versions:
        first = min(facts.versions, key=lambda version: version.created_at)
        found = [(first.created_at, first.authors)]
    elif kind is CauseKind.ARCHIVED_IN_N8N and facts.versions:  # archiving saves a version, and the last one
        last = max(facts.versions, key=lambda version: version.created_at)
        found = [(last.created_at, last.authors)]
    elif kind in (CauseKind.ACTIVATED_IN_N8N, CauseKind.DEACTIVATED_IN_N8N):
        wanted = kind is CauseKind.ACTIVATED_IN_N8N
        inside = [e for e in facts.publish_events if e.activated is wanted and facts.bounds.hold(e.at)]
        found = [(event.at, event.who) for event in sorted(inside, key=lambda e: e.at)[-1:]]  # the one that still holds
    if kind in (CauseKind.NOT_DEPLOYED, CauseKind.REMOVED_FROM_GIT, CauseKind.CHANGED_ON_BOTH_SIDES) and facts.commit:
        found.append((facts.commit.at, _person(facts.commit.author)))
    if facts.bounds.last_without is None and kind is not CauseKind.CREATED_IN_N8N:
        return []  # open bounds: any version of any age would count
    held = sorted(((at, who) for at, who in found if facts.bounds.hold(at)), key=lambda trace: trace[0])
    since = facts.bounds.last_without
    # What is older than the last check without the drift is it only where nothing newer can be: a clock may be behind ours.
    return [trace for trace in held if since is None or trace[0] >= since] or held


def _commit_inside(facts: DriftFacts) -> bool:
    bounds = facts.bounds
    return facts.commit is not None and bounds.last_without is not None and bounds.hold(facts.commit.at)


def _evidence(facts: DriftFacts) -> tuple[Evidence, ...]:
    bounds, found = facts.bounds, []
    if bounds.last_without is not None:
        found.append(Evidence("checks", "last check without this drift", bounds.last_without))
    found.append(Evidence("checks", "first check with this drift", bounds.first_with))
    for side, changed in (("n8n", facts.runtime_changed), ("Git", facts.git_changed)):
        if changed is not None:
            found.append(Evidence("checks", f"between the two, {side} {'changed' if changed else 'did not change'}"))
    inside = [v for v in facts.versions if bounds.hold(v.created_at)]
    for version in sorted(inside, key=lambda v: v.created_at)[-5:]:
        by = version.authors or "nobody it names"
        found.append(Evidence("n8n", f"version {one_line(version.version_id, 40)} saved by {by}", version.created_at))
    for event in sorted((e for e in facts.publish_events if bounds.hold(e.at)), key=lambda e: e.at)[-5:]:
        by = f" by {_person(event.who)}" if _person(event.who) else ""
        found.append(Evidence("n8n", f"{'activated' if event.activated else 'deactivated'}{by}", event.at))
    if facts.updated_at is not None:
        found.append(Evidence("n8n", "updatedAt of the workflow (a hint: saving the same content moves it too)",
                              facts.updated_at))
    if facts.commit is not None:
        author = _person(facts.commit.author) or "an author without name"
        found.append(Evidence("git", f"last commit of the file: {one_line(facts.commit.sha[:12])} by {author}: "
                                     f"{one_line(facts.commit.subject, 120)}", facts.commit.at))
    return tuple(found)


def _person(name: Any) -> str | None:
    if not isinstance(name, str) or name.strip().lower() in _NOBODY:
        return None
    return one_line(name, 100) or None



def _span(earliest: datetime | None, latest: datetime) -> str:
    if earliest is None:
        return f"before {moment(latest)}"
    if earliest == latest:
        return f"at {moment(latest)}"
    return f"between {moment(earliest)} and {moment(latest)}"
