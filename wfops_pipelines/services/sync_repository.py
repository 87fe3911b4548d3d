"""Repository sync, Git → database (§7).

An unchanged head costs one request and nothing else. A changed one costs by its changed files: the tree is compared with
what is stored by blob, contents are read in one transfer, kept as payloads as they come, and then become Git states in
batches. A crash in between is an ordinary sync that finds its first part stored.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import NotFound
from wfops_pipelines.domain.identity import Assignment, FileClaim, Standing, assign, unless_overruled
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.git.repository import Repository
from wfops_pipelines.services.holder import monotonic_ms
from wfops_pipelines.services.linking import link_untracked
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.rehash import is_behind, rehash_environment
from wfops_pipelines.services.repository_files import FileProblem, FolderReader, ReadFile
from wfops_pipelines.services.same_id_files import SAME_ID, note_same_ids
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork
from wfops_pipelines.unwaited import in_own_thread

DUPLICATE = "duplicate_id"  # a file whose key another file of the folder keeps
LOOK_AGAIN = 0  # in place of the normaliser's version: the next sync looks at every file, whatever the head


@dataclass
class RepositorySync:
    """What a repository sync did; ``files`` counts the workflow files of the folder as it stands. Milliseconds."""

    environment: str
    operation_id: str
    configured: bool = True
    reason: str | None = None  # not_configured, branch_missing
    head: str | None = None
    unchanged_head: bool = False
    force_pushed: bool = False
    files: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    errors: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)
    linked: int = 0
    duration_ms: int = 0

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` and metadata show it."""
        return asdict(self)


async def sync_repository(services: Services, context: Context, environment: Row[Any]) -> RepositorySync:
    """Read one environment's Git folder into the store, as an operation of its own.

    Raises the ``OutsideError`` tree when Git cannot be read; :class:`NotFound` when a branch that was there is gone.
    """
    async with run_operation(services, context, OperationKind.REPOSITORY_SYNC, environment) as operation:
        return await read_repository(operation)


def branch_gone(repository: Repository, branch: str, last: str) -> NotFound:
    """The error of a branch that was read at the commit ``last`` and is not there any more."""
    return NotFound(f"branch {branch} is gone (it was at {last[:12]})", target=repository.display_url,
                    fix="restore the branch, or name another one in fleet.yaml; nothing was changed here")


async def read_repository(operation: RunningOperation) -> RepositorySync:
    """The sync itself, inside whichever operation holds the environment. Git's calls block, for minutes at worst."""
    return await in_own_thread(_read_repository, operation)


def _read_repository(operation: RunningOperation) -> RepositorySync:
    started = monotonic_ms()
    services, context, environment = operation.services, operation.context, operation.environment
    configured = environment.repository_id is not None
    with services.store.read(context) as work:
        behind, stored = is_behind(work, environment), work.fleet.environment(environment.id)
        declared = services.declared_repository(work, environment) if configured else None
    if behind:
        rehash_environment(operation)
    sync = _Sync(operation)
    if declared is None:
        sync.result.configured, sync.result.reason = False, "not_configured"
    else:
        repository, branch, folder = services.repository_as(context, environment, *declared)
        try:
            sync.run(repository, branch, folder, stored, services.source_key(environment, declared[0]))
        finally:
            repository.close()
    sync.result.duration_ms = round(monotonic_ms() - started)
    operation.metrics.update(sync.result.as_json())
    return sync.result


@dataclass(frozen=True, slots=True)
class _Folder:
    """The environment's folder as it was and as it was read."""

    head: str
    states: dict[str, Row[Any]]  # by path, deleted ones too
    reads: dict[str, ReadFile]  # what was added or changed
    staying: set[str]  # as they were: unchanged, or unreadable now
    vanished: set[str]
    overruled: list[Row[Any]]  # of what vanished, what had been overruled

    def standing(self, path: str, workflow_id: str | None) -> Standing | None:
        """What a path was known as; a new one as the file with the same n8n id that vanished, for it was that before."""
        before = [self.states[path]] if path in self.states else [
            state for state in self.overruled
            if workflow_id is not None and workflow_id in (state.workflow_id, state.overruled_workflow_id)]
        if len(before) != 1:
            return None
        return Standing(before[0].canonical_id, before[0].workflow_id, before[0].overruled_canonical_id,
                        before[0].overruled_workflow_id)


class _Sync:
    def __init__(self, operation: RunningOperation) -> None:
        self.operation = operation
        self.services, self.context, self.environment = operation.services, operation.context, operation.environment
        self.result = RepositorySync(operation.environment.slug, str(operation.id))
        self._asked_at = self.context.now()  # a look of the poll's after it is a newer one
        self._problems: dict[str, FileProblem] = {}
        self._known_problems: dict[str, tuple[str, str]] = {}  # path → blob, reason
        self._collisions: set[str] = set()

    def run(self, repository: Repository, branch: str, folder: str, environment: Row[Any], source: str) -> None:
        """One sync against the branch's head. ``environment`` is as it is stored now; ``source`` what it is read from."""
        previous = environment.git_commit if environment.git_source == source else None
        head = repository.head(branch)
        failpoints.reach("repository.head.read")
        self.result.head = head
        if head is None:
            self._branch_missing(repository, branch, environment, source)
            return
        known = environment.git_version == NORMALIZER_VERSION
        if head == previous and known:
            self.result.unchanged_head = True
            self._count()
            return
        self._store(self._read(FolderReader(self.operation, repository, head), head, folder,
                               retry=previous is None or not known))
        self.result.force_pushed = previous is not None and not repository.contains(head, previous)
        self._finish(head, previous, source)
        self.result.linked = link_untracked(self.operation)
        self._count()

    def _branch_missing(self, repository: Repository, branch: str, environment: Row[Any], source: str) -> None:
        """Not there yet: the first export makes it. Not there any more: an error, and nothing is changed."""
        if environment.git_source != source:
            self._leave_source(source, known=environment.git_source is not None)
        if environment.git_source != source or environment.git_commit is None:
            self.result.reason = "branch_missing"
            self._count()
            return
        if environment.git_version != LOOK_AGAIN:  # told once
            with self.services.store.unit_of_work(self.context, "repository.branch_gone", held=self.operation.held) as work:
                work.fleet.set_environment(self.environment.id, git_version=LOOK_AGAIN)
                work.record("repository.branch_deleted", "environment", self.environment.slug,
                            environment=self.environment.slug, before=environment.git_commit, branch=branch)
        raise branch_gone(repository, branch, environment.git_commit)

    def _leave_source(self, source: str, *, known: bool) -> None:
        """Another repository, branch or folder was declared, and nothing is there yet: what the old one held is gone."""
        with self.services.store.bookkeeping(self.context, "repository.source_left", held=self.operation.held) as work:
            paths = [state.path for state in work.git_states.of_environment(self.environment.id)]
            work.git_states.mark_deleted(self.environment.id, paths, self.context.now())
            work.git_states.clear_errors(self.environment.id,
                                         [row.path for row in work.git_states.errors(self.environment.id)])
            work.fleet.set_environment(self.environment.id, git_commit=None, git_source=source)
            if known:
                work.record("repository.source_changed", "environment", self.environment.slug,
                            environment=self.environment.slug, removed=sorted(paths))

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read(self, reader: FolderReader, head: str, folder: str, *, retry: bool) -> _Folder:
        """What is new in the folder. ``retry`` reads files again that could not be read before."""
        with self.services.store.read(self.context) as work:
            states = {row.path: row for row in work.git_states.of_environment(self.environment.id, deleted=True)}
            self._known_problems = {r.path: (r.blob, r.reason) for r in work.git_states.errors(self.environment.id)
                                    if r.reason != SAME_ID}
            repositories = work.fleet.repositories()
            place = (self.environment.repository_id, _branch(self.environment, repositories))
            others = [e.folder or "" for e in work.fleet.environments() if e.id != self.environment.id
                      and e.repository_id is not None and (e.repository_id, _branch(e, repositories)) == place]
        files = reader.select(folder, others)
        alive = {path for path, state in states.items() if state.deleted_at is None}
        unchanged = {path for path, entry in files.items() if path in alive and states[path].blob == entry.blob
                     and states[path].normalizer_version == NORMALIZER_VERSION and not self._is_duplicate(path)}
        for path, entry in files.items():
            blob, reason = self._known_problems.get(path, ("", DUPLICATE))
            if not retry and reason != DUPLICATE and blob == entry.blob:
                reader.problems[path] = FileProblem(blob, reason, "")
        skipped = unchanged | set(reader.problems)
        reads = reader.read({path: entry for path, entry in files.items() if path not in skipped})
        self._problems = reader.problems
        # A file that is there and cannot be read keeps what it last said: broken JSON is an error, not a deletion.
        staying = unchanged | (set(reader.problems) & alive)
        vanished = alive - staying - {read.file.path for read in reads}
        overruled = [states[path] for path in sorted(vanished)
                     if states[path].overruled_canonical_id is not None or states[path].overruled_workflow_id is not None]
        return _Folder(head, states, {read.file.path: read for read in reads}, staying, vanished, overruled)

    def _is_duplicate(self, path: str) -> bool:
        return self._known_problems.get(path, ("", ""))[1] == DUPLICATE

    # -- storing -----------------------------------------------------------------------------------------------------

    def _store(self, folder: _Folder) -> None:
        """Files in batches. Whoever had a canonical workflow before leaves in the transaction in which the next one
        gets it, so that a crash never loses which file was renamed to which."""
        with self.services.store.read(self.context) as work:
            assignments = self._assign(work, folder)
        failpoints.reach("repository.assigned")
        holders = {state.canonical_id: path for path, state in folder.states.items() if state.deleted_at is None}
        left: set[str] = set()
        size = self.services.limits.batch_size
        for start in range(0, len(assignments), size):
            batch = assignments[start:start + size]
            batch, leaving = self._store_batch(folder, batch, holders)
            left |= leaving
            moved = leaving | {a.path for a in batch}
            holders = {i: path for i, path in holders.items() if path not in moved} | {a.canonical_id: a.path for a in batch}
        self._store_removed(folder, folder.vanished - left)
        self.result.removed = len(folder.vanished)
        self._store_problems(folder.head)

    def _assign(self, work: UnitOfWork, folder: _Folder) -> list[Assignment]:
        reads, states = folder.reads.values(), folder.states
        claims = [FileClaim(r.file.path, *self._claimed(folder, r), r.hashed.portable_hash) for r in reads]
        registered = work.mappings.registered([c.portable_hash for c in claims], NORMALIZER_VERSION)
        proofs = {r.hashed.portable_hash: r.hashed.proof for r in reads}
        colliding = {h for h, rows in registered.items() if any(row.proof != proofs[h] for row in rows)}
        self._collisions = {c.path for c in claims if c.portable_hash in colliding}
        registry = {h: {row.canonical_id for row in rows} for h, rows in registered.items() if h not in colliding}
        mapped = {w: UUID(c) for w, c in work.mappings.canonical_ids_of(
            self.environment.id, [c.workflow_id for c in claims if c.workflow_id]).items()}
        named = {i for ids in registry.values() for i in ids}
        return assign(
            claims, held={path: states[path].canonical_id for path in folder.staying},
            known={path: row.canonical_id for path, row in states.items() if row.deleted_at is None},
            formerly={path: row.canonical_id for path, row in states.items() if row.deleted_at is not None},
            vanished={p: (states[p].canonical_id, states[p].portable_hash) for p in folder.vanished}, mapped=mapped,
            registry=registry, new_id=self.context.new_id,
            deleted={i for i, row in work.mappings.canonicals(named).items() if row.deleted_at is not None},
        )

    def _claimed(self, folder: _Folder, read: ReadFile) -> tuple[UUID | None, str | None]:
        """The key and the n8n id of a file, without what it was overruled in."""
        path, workflow_id = read.file.path, read.file.workflow_id
        return unless_overruled(read.file.canonical_id, workflow_id, folder.standing(path, workflow_id),
                                duplicate=self._is_duplicate(path))

    def _store_batch(self, folder: _Folder, assignments: list[Assignment],
                     holders: dict[UUID, str]) -> tuple[list[Assignment], set[str]]:
        """Returns the assignments as they were stored, and the paths that left their canonical workflows to others."""
        now, reads = self.context.now(), folder.reads
        with self.services.store.unit_of_work(self.context, "repository.batch", held=self.operation.held) as work:
            assignments = self._known_meanwhile(work, folder, assignments, holders)
            leaving = {holders[a.canonical_id] for a in assignments if holders.get(a.canonical_id, a.path) != a.path}
            work.mappings.save_canonicals({a.canonical_id: reads[a.path].file.content["name"] for a in assignments}, now)
            self._remove(work, folder, leaving)
            work.git_states.save([self._row(folder, a, reads[a.path], now) for a in assignments])
            work.mappings.register(
                ((reads[a.path].hashed.portable_hash, reads[a.path].hashed.proof, a.canonical_id) for a in assignments),
                NORMALIZER_VERSION, now)
            work.record("git.batch_synced", "environment", self.environment.slug, environment=self.environment.slug,
                        commit=folder.head,
                        files={a.path: {"canonical_id": str(a.canonical_id), "by": a.by} for a in assignments})
            for assignment in assignments:
                self._note(work, folder, assignment)
        for assignment in assignments:
            known = folder.states.get(assignment.path)
            if known is None or known.deleted_at is not None:
                self.result.added += 1
            elif known.blob != reads[assignment.path].blob:
                self.result.changed += 1
        return assignments, leaving

    def _known_meanwhile(self, work: UnitOfWork, folder: _Folder, assignments: list[Assignment],
                         holders: dict[UUID, str]) -> list[Assignment]:
        """What would begin a canonical workflow is looked up once more: another environment may have met the same file."""
        work.mappings.lock_registry()
        new = {a.path: folder.reads[a.path].hashed for a in assignments if a.by == "new" and a.duplicate_of is None}
        registered = work.mappings.registered([hashed.portable_hash for hashed in new.values()], NORMALIZER_VERSION)
        canonicals = work.mappings.canonicals({row.canonical_id for rows in registered.values() for row in rows})
        taken = set(holders) | {a.canonical_id for a in assignments}
        decided = []
        for assignment in assignments:
            hashed = new.get(assignment.path)
            rows = registered.get(hashed.portable_hash, []) if hashed is not None else []
            found = {row.canonical_id for row in rows if canonicals[row.canonical_id].deleted_at is None}
            if hashed is not None and len(found) == 1 and not found & taken and all(r.proof == hashed.proof for r in rows):
                taken |= found
                decided.append(replace(assignment, canonical_id=found.pop(), by="hash"))
            else:
                decided.append(assignment)
        return decided

    def _note(self, work: UnitOfWork, folder: _Folder, assignment: Assignment) -> None:
        """What is wrong with a file that was stored all the same."""
        path, read = assignment.path, folder.reads[assignment.path]
        if path in self._collisions:
            work.record("hash.collision", "file", path, environment=self.environment.slug, after=read.hashed.content_hash,
                        portable_hash=read.hashed.portable_hash)
        if assignment.duplicate_of is not None:
            message = (f"{path} and {assignment.duplicate_of} carry the same canonical id; "
                       f"{assignment.duplicate_of} keeps it (remove the wfops key from the copy)")
            self._save_problems(work, folder.head, {path: FileProblem(read.blob, DUPLICATE, message)})
            self._problems[path] = FileProblem(read.blob, DUPLICATE, "")

    def _store_removed(self, folder: _Folder, paths: set[str]) -> None:
        if paths:
            with self.services.store.unit_of_work(self.context, "repository.removed", held=self.operation.held) as work:
                self._remove(work, folder, paths)

    def _remove(self, work: UnitOfWork, folder: _Folder, paths: set[str]) -> None:
        """These paths no longer stand for their canonical workflows; of those that are gone, an event tells."""
        work.git_states.mark_deleted(self.environment.id, paths, self.context.now())
        for path in sorted(paths & folder.vanished):
            work.record("git.file_removed", "file", path, environment=self.environment.slug, commit=folder.head,
                        before=folder.states[path].content_hash, canonical_id=str(folder.states[path].canonical_id))

    def _row(self, folder: _Folder, assignment: Assignment, read: ReadFile, now: Any) -> dict[str, Any]:
        file, state = read.file, folder.states.get(read.file.path)
        same_blob = state is not None and state.blob == read.blob and state.deleted_at is None
        key, workflow_id = self._claimed(folder, read)
        return {
            "environment_id": self.environment.id, "path": file.path, "canonical_id": assignment.canonical_id,
            "blob": read.blob, "commit": state.commit if same_blob and state is not None else folder.head,
            "workflow_id": workflow_id, "overruled_workflow_id": file.workflow_id if workflow_id is None else None,
            "overruled_canonical_id": file.canonical_id if key is None else None,
            "name": file.content["name"], "digest": read.digest,
            "content_hash": read.hashed.content_hash, "portable_hash": read.hashed.portable_hash,
            "normalizer_version": NORMALIZER_VERSION, "has_references": read.hashed.has_references,
            "wants_active": file.active, "tags": list(file.tags) if file.tags is not None else None,
            "read_only": file.read_only, "changed_at": now, "deleted_at": None,
        }

    def _store_problems(self, head: str) -> None:
        """Which files cannot be read, now."""
        fresh = {path: problem for path, problem in self._problems.items() if problem.message}
        cleared = set(self._known_problems) - set(self._problems)
        if not fresh and not cleared:
            return
        with self.services.store.bookkeeping(self.context, "repository.errors", held=self.operation.held) as work:
            work.git_states.clear_errors(self.environment.id, cleared)
            self._save_problems(work, head, fresh)

    def _save_problems(self, work: UnitOfWork, head: str, problems: dict[str, FileProblem]) -> None:
        """A file that stays unreadable in the same way is one event."""
        now = self.context.now()
        work.git_states.save_errors(self.environment.id, [
            {"path": path, "blob": problem.blob, "reason": problem.reason, "message": problem.message, "since": now}
            for path, problem in sorted(problems.items())
        ])
        for path, problem in sorted(problems.items()):
            if self._known_problems.get(path) != (problem.blob, problem.reason):
                work.record("git.file_unreadable", "file", path, environment=self.environment.slug, commit=head,
                            reason=problem.reason, message=problem.message)

    def _finish(self, head: str, previous: str | None, source: str) -> None:
        with self.services.store.unit_of_work(self.context, "repository.finish", held=self.operation.held) as work:
            work.fleet.set_environment(self.environment.id, git_commit=head, git_source=source,
                                       git_version=NORMALIZER_VERSION, git_synced_at=self._asked_at)
            work.record("repository.force_pushed" if self.result.force_pushed else "repository.synced", "environment",
                        self.environment.slug, environment=self.environment.slug, before=previous, after=head,
                        added=self.result.added, changed=self.result.changed, removed=self.result.removed)

    def _count(self) -> None:
        with self.services.store.bookkeeping(self.context, "repository.looked", held=self.operation.held) as work:
            work.fleet.set_environment(self.environment.id, git_synced_at=self._asked_at)
            errors = note_same_ids(work, self.context, self.environment)
            self.result.files = work.git_states.count(self.environment.id)
        self.result.errors = len(errors)
        self.result.problems = [{"path": e.path, "reason": e.reason, "message": e.message} for e in errors[:100]]


def _branch(environment: Row[Any], repositories: dict[UUID, Row[Any]]) -> str:
    return str(environment.branch or repositories[environment.repository_id].branch)
