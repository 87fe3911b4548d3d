"""Drift (§9): what one environment runs against what Git says it should run.

Both sides are compared as the store holds them: content hashes of one normaliser version, concrete (what this
environment holds), not portable. Three steps: match the workflows of both sides, judge each match, and make the
environment's status from that and from what else is known about it.

**Matching.** Each workflow of either side is in at most one pair. In this order, and within a step in an order that
does not depend on the order of the input:

1. *by mapping*: both name the same canonical workflow. Two runtime workflows that claim one: the first has it (not
   ignored before ignored, live before archived, then the one whose id the file holds, then by id), the second is
   ``added_in_runtime``.
2. *by file*: the file's own ``id`` is the n8n id, unless mapping and file name two different canonical workflows: then
   they are different workflows, whatever ids say (so a conflict that was resolved by splitting stays split).
3. *by name*: only a workflow that is not linked, and only where no other live workflow and no other file has its name,
   matched or not. A name that two share tells nothing about either; and so linking one workflow never changes
   how its namesake is judged.

**An archived workflow is not live**: it takes part in steps 1 and 2 (its file is then known to be missing in the
runtime, and which workflow it was), but without a file it is nothing. **An ignored one** takes its file with it out of
the comparison. One that is gone from n8n is still ignored: give it here as archived, so that its file is not
``missing_in_runtime``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from uuid import UUID


class DriftKind(StrEnum):
    """What is different, in the order that decides the main kind. All but the last are drift."""

    MODIFIED = "modified"  # live content is not the file's
    ADDED_IN_RUNTIME = "added_in_runtime"  # live, and not in Git
    MISSING_IN_RUNTIME = "missing_in_runtime"  # in Git, and not live (gone or archived)
    ACTIVATION = "activation"  # active is not what the file's `wfops` key wants
    UNPUBLISHED_CHANGES = "unpublished_changes"  # the draft differs from what runs: no drift by itself


@dataclass(frozen=True, slots=True)
class RuntimeWorkflow:
    """A workflow as the environment holds it. ``live_hash`` is the content hash of what runs (of the draft when it is
    not active), ``draft_hash`` of the draft; ``canonical_id`` is set when it is linked."""

    workflow_id: str
    name: str
    canonical_id: UUID | None
    live_hash: str
    draft_hash: str
    active: bool
    archived: bool = False
    ignored: bool = False

    @property
    def has_unpublished_changes(self) -> bool:
        """Whether its draft is not what runs."""
        return self.active and self.draft_hash != self.live_hash


@dataclass(frozen=True, slots=True)
class GitWorkflow:
    """A workflow as Git holds it for the environment. ``wants_active`` and ``workflow_id`` as far as the file says."""

    path: str
    name: str
    canonical_id: UUID | None
    content_hash: str
    wants_active: bool | None = None
    workflow_id: str | None = None


@dataclass(frozen=True, slots=True)
class WorkflowDrift:
    """What differs for one workflow: ``kind`` is the first of ``kinds``. ``workflow_id`` is none when n8n has it no
    more, ``path`` when Git has not; one of the two is there and tells it from every other of the same comparison."""

    name: str
    canonical_id: UUID | None
    workflow_id: str | None
    path: str | None
    kind: DriftKind
    kinds: tuple[DriftKind, ...]
    runtime_hash: str | None
    git_hash: str | None
    active: bool | None
    wants_active: bool | None

    @property
    def is_drift(self) -> bool:
        """Whether it counts: unpublished changes alone do not, what runs is right."""
        return self.kind is not DriftKind.UNPUBLISHED_CHANGES


@dataclass(frozen=True, slots=True)
class Matching:
    """Which workflow is which. Every workflow of both sides is in exactly one place of it."""

    pairs: tuple[tuple[RuntimeWorkflow, GitWorkflow], ...]
    only_runtime: tuple[RuntimeWorkflow, ...]
    only_git: tuple[GitWorkflow, ...]


def match_workflows(runtime: Iterable[RuntimeWorkflow], files: Iterable[GitWorkflow]) -> Matching:
    """Pair the workflows of both sides, as the module says."""
    return _Matcher(runtime, files).run()


def compare_environment(runtime: Iterable[RuntimeWorkflow],
                        files: Iterable[GitWorkflow]) -> tuple[WorkflowDrift, ...]:
    """Everything that differs between an environment and its Git content, ordered by name."""
    return judge(match_workflows(runtime, files))


def judge(matching: Matching) -> tuple[WorkflowDrift, ...]:
    """What differs in each match, ordered by name; what is equal, ignored, or archived and not in Git is left out."""
    found = [_judge_pair(workflow, file) for workflow, file in matching.pairs]
    found += [_judge_runtime(workflow) for workflow in matching.only_runtime]
    found += [_missing(file, None) for file in matching.only_git]
    return tuple(sorted((drift for drift in found if drift is not None),
                        key=lambda drift: (drift.name, drift.workflow_id or "", drift.path or "")))


def has_drift(drifts: Iterable[WorkflowDrift]) -> bool:
    """Whether any of it is drift."""
    return any(drift.is_drift for drift in drifts)


@dataclass(frozen=True, slots=True)
class DriftCounts:
    """What a comparison was about, for the history. ``workflows`` are the live ones, ignored ones among them;
    ``in_sync`` and ``drifted`` are those looked at, ``kinds`` how often each kind holds."""

    workflows: int
    files: int
    in_sync: int
    drifted: int
    ignored: int
    kinds: dict[DriftKind, int]


def count(matching: Matching, drifts: Sequence[WorkflowDrift]) -> DriftCounts:
    """Figures of a comparison; ``drifts`` are those of ``judge(matching)``."""
    paired = [workflow for workflow, _ in matching.pairs]
    everywhere = [*paired, *matching.only_runtime]
    drifted = sum(drift.is_drift for drift in drifts)
    compared = sum(not w.ignored for w in paired) + sum(_is_live(w) for w in matching.only_runtime)
    kinds = Counter(kind for drift in drifts for kind in drift.kinds)
    return DriftCounts(
        workflows=sum(not w.archived for w in everywhere), files=len(matching.pairs) + len(matching.only_git),
        in_sync=compared + len(matching.only_git) - drifted, drifted=drifted,
        ignored=sum(w.ignored for w in everywhere), kinds={kind: kinds[kind] for kind in DriftKind},
    )


class EnvironmentDriftStatus(StrEnum):
    """Drift status of an environment (§9)."""

    UNKNOWN = "UNKNOWN"
    ERROR = "ERROR"
    DRIFT_INCIDENT_ACTIVE = "DRIFT_INCIDENT_ACTIVE"
    DRIFT_INCIDENT_ACKNOWLEDGED = "DRIFT_INCIDENT_ACKNOWLEDGED"
    UNTRACKED = "UNTRACKED"
    DRIFT_DETECTED = "DRIFT_DETECTED"
    IN_SYNC = "IN_SYNC"


NOT_CONFIGURED = "not_configured"


def environment_status(*, repository_configured: bool, error_kind: str | None,
                       open_incident: Literal["active", "acknowledged"] | None, ever_mapped: bool, has_files: bool,
                       has_drift: bool) -> tuple[EnvironmentDriftStatus, str | None]:
    """The first row of §9's table that holds, and the reason that goes with it.

    ``error_kind`` is the kind of the error that kept the check from seeing both sides. ``ever_mapped``: a workflow
    of the environment is or was mapped to a canonical one. ``has_files``: its Git folder holds a file that is, or
    should be, a workflow; a malformed one counts, since whoever put it there meant Git to say something.
    """
    rows = (
        (not repository_configured, EnvironmentDriftStatus.UNKNOWN, NOT_CONFIGURED),
        (error_kind is not None, EnvironmentDriftStatus.ERROR, error_kind),
        (open_incident == "active", EnvironmentDriftStatus.DRIFT_INCIDENT_ACTIVE, None),
        (open_incident == "acknowledged", EnvironmentDriftStatus.DRIFT_INCIDENT_ACKNOWLEDGED, None),
        (not ever_mapped and not has_files, EnvironmentDriftStatus.UNTRACKED, None),
        (has_drift, EnvironmentDriftStatus.DRIFT_DETECTED, None),
    )
    return next(((status, reason) for holds, status, reason in rows if holds), (EnvironmentDriftStatus.IN_SYNC, None))


def _judge_pair(workflow: RuntimeWorkflow, file: GitWorkflow) -> WorkflowDrift | None:
    if workflow.ignored:
        return None
    if workflow.archived:
        return _missing(file, workflow)
    kinds = []
    if workflow.live_hash != file.content_hash:
        kinds.append(DriftKind.MODIFIED)
    if file.wants_active is not None and workflow.active != file.wants_active:
        kinds.append(DriftKind.ACTIVATION)
    if workflow.has_unpublished_changes:
        kinds.append(DriftKind.UNPUBLISHED_CHANGES)
    if not kinds:
        return None
    return WorkflowDrift(
        workflow.name, workflow.canonical_id or file.canonical_id, workflow.workflow_id, file.path, kinds[0],
        tuple(kinds), workflow.live_hash, file.content_hash, workflow.active, file.wants_active,
    )


def _judge_runtime(workflow: RuntimeWorkflow) -> WorkflowDrift | None:
    if not _is_live(workflow):
        return None
    kinds = [DriftKind.ADDED_IN_RUNTIME]
    if workflow.has_unpublished_changes:
        kinds.append(DriftKind.UNPUBLISHED_CHANGES)
    return WorkflowDrift(workflow.name, workflow.canonical_id, workflow.workflow_id, None, kinds[0], tuple(kinds),
                         workflow.live_hash, None, workflow.active, None)


def _missing(file: GitWorkflow, archived: RuntimeWorkflow | None) -> WorkflowDrift:
    # Without an archived workflow there is no n8n id to name: the file's own may by now be another workflow's.
    kind = DriftKind.MISSING_IN_RUNTIME
    canonical_id = file.canonical_id or (archived.canonical_id if archived else None)
    return WorkflowDrift(file.name, canonical_id, archived.workflow_id if archived else None, file.path, kind, (kind,),
                         None, file.content_hash, None, file.wants_active)


def _is_live(workflow: RuntimeWorkflow) -> bool:
    """Whether it counts when Git has it not."""
    return not workflow.ignored and not workflow.archived


class _Matcher:
    """The two sides while they are matched: what is taken from them goes into pairs."""

    def __init__(self, runtime: Iterable[RuntimeWorkflow], files: Iterable[GitWorkflow]) -> None:
        self._runtime = sorted(runtime, key=lambda w: (w.ignored, w.archived, w.workflow_id))
        self._files = sorted(files, key=lambda f: f.path)
        live_names = Counter(w.name for w in self._runtime if not w.archived)
        file_names = Counter(f.name for f in self._files)
        self._unique = {name for name, times in file_names.items() if times == 1 and live_names[name] == 1}
        self._pairs: list[tuple[RuntimeWorkflow, GitWorkflow]] = []

    def run(self) -> Matching:
        # The first step is the second one narrowed: of several claims, that of the workflow the file was written for.
        self._take(lambda w: (w.canonical_id, w.workflow_id, w.ignored, w.archived) if w.canonical_id else None,
                   lambda f: (f.canonical_id, f.workflow_id, False, False) if f.canonical_id else None)
        self._take(lambda w: w.canonical_id, lambda f: f.canonical_id)
        self._take(lambda w: w.workflow_id if w.canonical_id is None else None, lambda f: f.workflow_id)
        self._take(lambda w: w.workflow_id, lambda f: f.workflow_id if f.canonical_id is None else None)
        self._take(lambda w: w.name if w.canonical_id is None and not w.archived and w.name in self._unique else None,
                   lambda f: f.name if f.name in self._unique else None)
        return Matching(tuple(self._pairs), tuple(self._runtime), tuple(self._files))

    def _take(self, workflow_key: Callable[[RuntimeWorkflow], object],
              file_key: Callable[[GitWorkflow], object]) -> None:
        """Pair what has the same key (none is no key), first with first, and keep the rest for the next step."""
        waiting: dict[object, list[GitWorkflow]] = {}
        for file in reversed(self._files):
            key = file_key(file)
            if key is not None:
                waiting.setdefault(key, []).append(file)
        rest, taken = [], set()
        for workflow in self._runtime:
            candidates = waiting.get(workflow_key(workflow))
            if candidates:
                file = candidates.pop()
                self._pairs.append((workflow, file))
                taken.add(file.path)
            else:
                rest.append(workflow)
        self._runtime = rest
        self._files = [file for file in self._files if file.path not in taken]
