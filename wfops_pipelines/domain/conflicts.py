"""Conflicts (§5.3): two claims to one canonical workflow in one environment, or one workflow claimed as two.

=====================  ========================================================================================
``claimed_by_file``    a file says that the workflow is a canonical one which another workflow is
``linked_otherwise``   the workflow is linked to one canonical workflow, its file says another
``several_files``      several files of the folder name its n8n id
``already_mapped``     it is untracked: its content is that of a canonical workflow which another workflow is
``ambiguous``          it is untracked: its content is that of several canonical workflows
``collision``          it is untracked: its hash stands for another content
=====================  ========================================================================================

:func:`find_conflicts` finds them, :func:`settle` says what has to change to end one. What somebody put aside (ignored,
unlinked by hand) and what is deleted is in no conflict.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from wfops_pipelines.domain.errors import Blocked, UsageError
from wfops_pipelines.domain.mapping import UnlinkedReason


class Keep(StrEnum):
    """In favour of what a conflict is resolved."""

    GIT = "git"  # the file says what the workflow is
    RUNTIME = "runtime"  # the named workflow is it, whatever files say
    SPLIT = "split"  # two canonical workflows from now on; the named one gets the new one


class ConflictKind(StrEnum):
    """What contradicts what; see the module."""

    CLAIMED_BY_FILE = "claimed_by_file"
    LINKED_OTHERWISE = "linked_otherwise"
    SEVERAL_FILES = "several_files"
    ALREADY_MAPPED = "already_mapped"
    AMBIGUOUS = "ambiguous"
    COLLISION = "collision"


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow of the environment that is there. ``candidates`` are the canonical workflows that the registry names for
    its content; ``aside`` says that it is ignored: it holds what it is linked to, and is in no conflict itself."""

    workflow_id: str
    name: str
    canonical_id: UUID | None
    reason: str | None = None
    candidates: frozenset[UUID] = frozenset()
    aside: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A file of the environment's folder: what it stands for, and the n8n id it names."""

    path: str
    canonical_id: UUID
    workflow_id: str | None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """One workflow's conflict: the canonical workflows in question, the n8n ids that hold one of them, the files."""

    workflow_id: str
    name: str
    kind: ConflictKind
    canonical_ids: tuple[UUID, ...]
    holders: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass
class Outcome:
    """What ends a conflict: canonical ids by n8n id (none: untracked, by hand), of files that stand for another one from
    now on, files whose n8n id counts no more, and the canonical workflow that begins."""

    links: dict[str, UUID | None] = field(default_factory=dict)
    files: dict[str, UUID] = field(default_factory=dict)
    unclaimed: set[str] = field(default_factory=set)
    created: UUID | None = None


class Sides:
    """An environment's workflows and files, with deleted canonical workflows left out."""

    def __init__(self, workflows: Iterable[Workflow], files: Iterable[File], deleted: Collection[UUID] = ()) -> None:
        self.workflows = {w.workflow_id: w for w in workflows}
        self.files = sorted((f for f in files if f.canonical_id not in deleted), key=lambda f: f.path)
        self.deleted = frozenset(deleted)
        self._holders = {w.canonical_id: w.workflow_id for w in self.workflows.values() if w.canonical_id is not None}
        self._naming: dict[str, list[File]] = {}
        for file in self.files:
            if file.workflow_id is not None:
                self._naming.setdefault(file.workflow_id, []).append(file)

    def naming(self, workflow_id: str) -> list[File]:
        """Files that name an n8n id."""
        return self._naming.get(workflow_id, [])

    def holders(self, canonical_ids: Iterable[UUID], but: str) -> tuple[str, ...]:
        """The other workflows that are these canonical ones."""
        return tuple(sorted({h for i in canonical_ids if (h := self._holders.get(i)) is not None and h != but}))


def find_conflicts(sides: Sides) -> list[Conflict]:
    """Every conflict of an environment, by name and n8n id."""
    found = (_conflict_of(sides, w) for w in sides.workflows.values())
    return sorted((c for c in found if c is not None), key=lambda c: (c.name, c.workflow_id))


def _conflict_of(sides: Sides, workflow: Workflow) -> Conflict | None:
    if workflow.aside or workflow.reason == UnlinkedReason.BY_HAND:
        return None
    files = sides.naming(workflow.workflow_id)
    said = {file.canonical_id for file in files}
    looks = workflow.candidates if workflow.canonical_id is None else frozenset[UUID]()
    contested = (said or looks) - {workflow.canonical_id}
    holders = sides.holders(contested, workflow.workflow_id)
    kind: ConflictKind | None = None
    if len(files) > 1:
        kind = ConflictKind.SEVERAL_FILES
    elif workflow.canonical_id is not None:
        kind = ConflictKind.LINKED_OTHERWISE if files and contested else None
    elif files:
        kind = ConflictKind.CLAIMED_BY_FILE if holders else None
    elif workflow.reason in set(ConflictKind) and (holders or workflow.reason != ConflictKind.ALREADY_MAPPED):
        kind = ConflictKind(str(workflow.reason))
    if kind is None:
        return None
    return Conflict(workflow.workflow_id, workflow.name, kind, tuple(sorted(contested | said, key=str)), holders,
                    tuple(file.path for file in files))


def settle(sides: Sides, workflow_id: str, keep: Keep, *, new_id: UUID, path: str | None = None) -> Outcome | None:
    """What has to change for the named workflow's conflict to end; none where it is in no conflict.

    The named one either contradicts something itself, or is what another contradicts. ``path`` says which file counts
    where several name the workflow. :class:`UsageError` when more has to be said, :class:`Blocked` when nothing speaks for
    that way out, or when it would not last.
    """
    conflicts = find_conflicts(sides)
    own = next((c for c in conflicts if c.workflow_id == workflow_id), None)
    against = [c for c in conflicts if workflow_id in c.holders]
    if own is None and not against:
        return None
    case = _Case(sides, sides.workflows[workflow_id], path)
    if keep is Keep.SPLIT:
        case.split(new_id)
    elif own is not None:
        (case.as_git_says if keep is Keep.GIT else case.as_it_runs)(own)
    elif keep is Keep.GIT:
        case.as_git_says_of(against)
    else:
        case.against_all(against)
    case.refuse_read_only()
    return case.outcome


class _Case:
    """One conflict while it is settled."""

    def __init__(self, sides: Sides, workflow: Workflow, path: str | None) -> None:
        self._sides, self._workflow, self._path = sides, workflow, path
        self._files = sides.naming(workflow.workflow_id)
        self.outcome = Outcome()

    def split(self, new_id: UUID) -> None:
        """The workflow begins a canonical one of its own; no file that there is speaks of it."""
        self.outcome.created = new_id
        self.outcome.links[self._workflow.workflow_id] = new_id
        self._drop(self._files)

    def as_git_says(self, conflict: Conflict) -> None:
        """The workflow is what its file says."""
        if self._files:
            file = self._chosen(self._files)
        else:
            candidates = [f for f in self._sides.files if f.canonical_id in conflict.canonical_ids]
            if any(f.workflow_id in conflict.holders for f in candidates):
                self.outcome.links[self._workflow.workflow_id] = None  # the file says that it is the other one
                return
            candidates = [f for f in candidates if not self._names_another(f)]
            if not candidates:
                raise Blocked(f"no file of the folder says what {self._shown} is",
                              fix="--keep runtime or --keep split, or put its n8n id into the file that is its own")
            file = self._chosen(candidates)
        self._give(file.canonical_id)
        self._drop(f for f in self._files if f.path != file.path)

    def as_git_says_of(self, conflicts: Sequence[Conflict]) -> None:
        """The workflow has what files say another one is; or the other one merely looks like it."""
        claims = [c for c in conflicts if any(
            f.canonical_id == self._workflow.canonical_id for f in self._sides.naming(c.workflow_id))]
        if any(f.canonical_id == self._workflow.canonical_id for f in self._files) or not claims:
            if not self._files:
                raise Blocked(f"no file of the folder says what {self._shown} is", fix="--keep runtime or --keep split")
            self.against_all(conflicts)
            return
        if len(claims) > 1:
            raise UsageError(f"several workflows claim what {self._shown} is: {', '.join(c.workflow_id for c in claims)}",
                             fix="name the one that has it from now on, with --keep git")
        other = _Case(self._sides, self._sides.workflows[claims[0].workflow_id], self._path)
        other.as_git_says(claims[0])
        self.outcome = other.outcome

    def as_it_runs(self, conflict: Conflict) -> None:
        """The workflow is what it is linked to, else what is in question; files that say otherwise are overruled."""
        target = self._workflow.canonical_id or self._in_question(conflict)
        self._give(target)
        wrong = [f for f in self._files if f.canonical_id != target]
        if len(wrong) == 1 and not any(f.canonical_id == target for f in self._sides.files):
            self.outcome.files[wrong[0].path] = target
        else:
            self._drop(wrong)
        self._drop(f for f in self._sides.files if f.canonical_id == target and self._names_another(f))

    def against_all(self, conflicts: Sequence[Conflict]) -> None:
        """The workflow stays what it is; who claims the same does so no more."""
        canonical_id = self._workflow.canonical_id
        for conflict in conflicts:
            self._drop(f for f in self._sides.naming(conflict.workflow_id) if f.canonical_id == canonical_id)
            other = self._sides.workflows[conflict.workflow_id]
            if other.canonical_id is None and (not conflict.paths or canonical_id in other.candidates):
                self.outcome.links[other.workflow_id] = None  # its content would claim the same again

    def refuse_read_only(self) -> None:
        """What n8n's Source Control writes, it writes again as it was: to overrule it would not last."""
        touched = set(self.outcome.files) | self.outcome.unclaimed
        kept = [f.path for f in self._sides.files if f.read_only and f.path in touched]
        if kept:
            raise Blocked(f"{kept[0]} is written by n8n's own Source Control, so what it says cannot be overruled",
                          fix="--keep git, or change it where it is pushed from; or give the environment another folder")

    # -- what these are made of ---------------------------------------------------------------------------------------

    @property
    def _shown(self) -> str:
        return f"{self._workflow.name!r} ({self._workflow.workflow_id})"

    def _give(self, canonical_id: UUID) -> None:
        for holder in self._sides.holders([canonical_id], self._workflow.workflow_id):
            self.outcome.links[holder] = None
        if self._workflow.canonical_id != canonical_id:
            self.outcome.links[self._workflow.workflow_id] = canonical_id

    def _drop(self, files: Iterable[File]) -> None:
        self.outcome.unclaimed |= {f.path for f in files if f.workflow_id is not None}

    def _names_another(self, file: File) -> bool:
        return file.workflow_id not in (None, self._workflow.workflow_id) and file.workflow_id in self._sides.workflows

    def _chosen(self, files: Sequence[File]) -> File:
        wanted = [f for f in files if self._path in (None, f.path)]
        if len(wanted) == 1:
            return wanted[0]
        paths = ", ".join(f.path for f in files)
        if self._path is not None:
            raise UsageError(f"{self._path} does not say what {self._shown} is", fix=f"--file is one of: {paths}")
        raise UsageError(f"{len(files)} files may say what {self._shown} is: {paths}", fix="--file PATH says which counts")

    def _in_question(self, conflict: Conflict) -> UUID:
        """The canonical workflow that an untracked one is by the only claim there is."""
        wanted = {i for i in conflict.canonical_ids if i not in self._sides.deleted}
        if len(conflict.paths) > 1:  # files contradict each other: its content decides
            wanted &= self._workflow.candidates
        free = {i for i in wanted if not self._sides.holders([i], self._workflow.workflow_id)}
        for found in (wanted, free):
            if len(found) == 1:
                return found.pop()
        named = ", ".join(sorted(str(i) for i in wanted)) or "none is known"
        raise Blocked(f"which canonical workflow {self._shown} is cannot be told: {named}",
                      fix="`wfops link` says which; --keep split makes it one of its own"
                          + ("; --keep git --file PATH takes what a file says" if conflict.paths else ""))
