"""Repository sync, Git → database (§7).

An unchanged head costs one request and nothing else. A changed one costs by its changed files: the tree is compared with
what is stored by blob, contents are read in one transfer, kept as payloads as they come, and then become Git states in
batches. A crash in between is an ordinary sync that finds its first part stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import MalformedFile, MalformedWorkflow, NotFound
from wfops_pipelines.domain.identity import Assignment, FileClaim, assign
from wfops_pipelines.domain.layout import WorkflowFile, read_file, select_workflow_paths
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.git.repository import EntryKind, Repository, TreeEntry
from wfops_pipelines.services.hashing import Hashed, bodies, credential_keys, encoded, hash_all
from wfops_pipelines.services.holder import monotonic_ms
from wfops_pipelines.services.linking import link_untracked
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.rehash import rehash_environment
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

DUPLICATE = "duplicate_id"  # a file whose key another file of the folder keeps


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


async def read_repository(operation: RunningOperation) -> RepositorySync:
    """The sync itself, inside whichever operation holds the environment. Git's calls block, so they get a thread."""
    return await asyncio.to_thread(_read_repository, operation)


def _read_repository(operation: RunningOperation) -> RepositorySync:
    started = monotonic_ms()
    rehash_environment(operation)
    sync = _Sync(operation)
    opened = operation.services.repository_of(operation.context, operation.environment)
    if opened is None:
        sync.result.configured, sync.result.reason = False, "not_configured"
    else:
        repository, branch, folder = opened
        try:
            sync.run(repository, branch, folder)
        finally:
            repository.close()
    sync.result.duration_ms = round(monotonic_ms() - started)
    operation.metrics.update(sync.result.as_json())
    return sync.result


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was read: everything but its content, which is stored."""

    file: WorkflowFile  # with its content taken out
    blob: str
    digest: str
    hashed: Hashed


class _Sync:
    def __init__(self, operation: RunningOperation) -> None:
        self.operation = operation
        self.services, self.context, self.environment = operation.services, operation.context, operation.environment
        self.result = RepositorySync(operation.environment.slug, str(operation.id))
        self._failed: dict[str, tuple[str, str, str]] = {}  # path → blob, reason, message

    def run(self, repository: Repository, branch: str, folder: str) -> None:
        """One sync against the branch's head."""
        with self.services.store.read(self.context) as work:
            source = self.services.source_key(self.environment, work.fleet.repositories())
            environment = work.fleet.environment(self.environment.id)
        previous = environment.git_commit if environment.git_source == source else None
        head = repository.head(branch)
        failpoints.reach("repository.head.read")
        self.result.head = head
        if head is None:
            self._branch_missing(repository, branch, previous)
            return
        if head == previous and environment.git_version == NORMALIZER_VERSION:
            self.result.unchanged_head = True
            self._count()
            return
        entries = repository.tree(head, folder)
        if previous is not None and previous != head and not repository.contains(head, previous):
            self.result.force_pushed = True
        self._sync_tree(repository, head, folder, entries)
        self._finish(head, previous, source)
        self.result.linked = link_untracked(self.operation)
        self._count()

    def _branch_missing(self, repository: Repository, branch: str, previous: str | None) -> None:
        if previous is None:
            self.result.reason = "branch_missing"  # not there yet: the first export makes it
            return
        with self.services.store.unit_of_work(self.context, "repository.branch_gone", held=self.operation.held) as work:
            work.record("repository.branch_deleted", "environment", self.environment.slug,
                        environment=self.environment.slug, before=previous, branch=branch)
        raise NotFound(f"branch {branch} is gone (it was at {previous[:12]})", target=repository.display_url,
                       fix="restore the branch, or name another one in fleet.yaml; nothing was changed here")

    # -- reading -----------------------------------------------------------------------------------------------------

    def _sync_tree(self, repository: Repository, head: str, folder: str, entries: list[TreeEntry]) -> None:
        with self.services.store.read(self.context) as work:
            stored = work.git_states.blobs(self.environment.id)
            failed = {row.path: (row.blob, row.reason) for row in work.git_states.errors(self.environment.id)}
            others = [e.folder or "" for e in work.fleet.environments() if e.id != self.environment.id
                      and e.repository_id == self.environment.repository_id and e.branch == self.environment.branch]
        files = self._select(folder, entries, [o for o in others if o])
        unchanged = {
            path for path, entry in files.items()
            if stored.get(path) == (entry.blob, True, NORMALIZER_VERSION) and failed.get(path, ("", ""))[1] != DUPLICATE
        }
        skipped = {path for path, entry in files.items()
                   if path not in unchanged and failed.get(path, ("", DUPLICATE))[1] != DUPLICATE
                   and failed[path][0] == entry.blob}
        for path in skipped:
            self._failed[path] = (failed[path][0], failed[path][1], "")
        wanted = {path: entry for path, entry in files.items() if path not in unchanged | skipped}
        reads = self._read(repository, head, wanted)
        # A file that is there and cannot be read keeps what it last said: broken JSON is an error, not a deletion.
        present = unchanged | {read.file.path for read in reads} | (set(self._failed) & set(stored))
        vanished = {path for path, (_, alive, _) in stored.items() if alive} - present
        self._store(head, reads, unchanged, vanished)
        self._store_errors(set(failed), files, head)

    def _select(self, folder: str, entries: list[TreeEntry], others: list[str]) -> dict[str, TreeEntry]:
        """Workflow files by path; links and submodules where a workflow could be are errors that name them."""
        for entry in entries:
            if _is_unstorable(entry.path):
                shown = entry.path.encode("utf-8", "backslashreplace").decode()
                self._failed[shown] = (entry.blob, "not_utf8", "the name of the file is not UTF-8; rename it")
        entries = [entry for entry in entries if not _is_unstorable(entry.path)]
        by_path = {entry.path: entry for entry in entries}
        selected = select_workflow_paths(
            (e.path for e in entries if e.kind is not EntryKind.SUBMODULE), folder, other_folders=others)
        files = {}
        for path in selected:
            entry = by_path[path]
            if entry.kind is EntryKind.SYMLINK:
                self._failed[path] = (entry.blob, "symlink", "is a symbolic link; links are not followed")
            else:
                files[path] = entry
        for entry in entries:
            if entry.kind is EntryKind.SUBMODULE:
                self._failed[entry.path] = (entry.blob, "submodule", "is a submodule; submodules are not read")
        return files

    def _read(self, repository: Repository, head: str, wanted: dict[str, TreeEntry]) -> list[_Read]:
        """Read files in one transfer; contents go to the store as they come, memory holds what is left of them."""
        paths: dict[str, list[str]] = {}
        for path, entry in wanted.items():
            paths.setdefault(entry.blob, []).append(path)
        reads: list[_Read] = []
        batch: list[tuple[WorkflowFile, str]] = []
        for blob, data in repository.read_blobs(head, list(paths)):
            failpoints.reach("repository.blob.read")
            for path in paths[blob]:
                try:
                    if data is None:
                        raise MalformedFile("is larger than n8n takes", path=path, reason="too_large",
                                            fix="remove what is not part of the workflow")
                    batch.append((read_file(path, data), blob))
                except MalformedFile as error:
                    self._failed[path] = (blob, error.reason, str(error))
            if len(batch) >= self.services.limits.batch_size:
                reads += self._keep(batch)
                batch = []
        return reads + self._keep(batch)

    def _keep(self, batch: list[tuple[WorkflowFile, str]]) -> list[_Read]:
        if not batch:
            return []
        items = {file.path: encoded(file.content) for file, _ in batch}
        with self.services.store.bookkeeping(self.context, "repository.payloads", held=self.operation.held) as work:
            work.payloads.save(bodies(items.values()))
            keys = credential_keys(work, self.environment.id)
            hashes: dict[str, Hashed] = {}
            for file, blob in batch:
                try:
                    hashes |= hash_all(work, self.environment.id, {file.path: (file.workflow_id, file.content)}, keys)
                except MalformedWorkflow as error:
                    self._failed[file.path] = (blob, "not_a_workflow", error.message)
        return [_Read(_without_content(file), blob, items[file.path].digest, hashes[file.path])
                for file, blob in batch if file.path in hashes]

    # -- storing -----------------------------------------------------------------------------------------------------

    def _store(self, head: str, reads: list[_Read], unchanged: set[str], vanished: set[str]) -> None:
        if not reads and not vanished:
            return
        with self.services.store.read(self.context) as work:
            states = {row.path: row for row in work.git_states.of_environment(self.environment.id, deleted=True)}
            assignments = self._assign(work, reads, states, unchanged, vanished)
        by_path = {read.file.path: read for read in reads}
        moved = {a.path for a in assignments if a.path in states and states[a.path].canonical_id != a.canonical_id}
        self._store_removed(vanished, vanished | moved, states)
        size = self.services.limits.batch_size
        for start in range(0, len(assignments), size):
            self._store_batch(head, assignments[start:start + size], by_path, states)

    def _assign(self, work: UnitOfWork, reads: list[_Read], states: dict[str, Row[Any]], unchanged: set[str],
                vanished: set[str]) -> list[Assignment]:
        claims = [FileClaim(r.file.path, r.file.canonical_id, r.file.workflow_id, r.hashed.portable_hash) for r in reads]
        registered = work.mappings.registered([c.portable_hash for c in claims], NORMALIZER_VERSION)
        registry = {h: {row.canonical_id for row in rows} for h, rows in registered.items()}
        mapped = {w: UUID(c) for w, c in work.mappings.canonical_ids_of(
            self.environment.id, [c.workflow_id for c in claims if c.workflow_id]).items()}
        named = {i for ids in registry.values() for i in ids}
        deleted = {i for i, row in work.mappings.canonicals(named).items() if row.deleted_at is not None}
        return assign(
            claims, known={path: row.canonical_id for path, row in states.items()}, unchanged=unchanged,
            vanished={p: (states[p].canonical_id, states[p].portable_hash) for p in vanished}, mapped=mapped,
            registry=registry, deleted=deleted, new_id=self.context.new_id,
        )

    def _store_removed(self, vanished: set[str], paths: set[str], states: dict[str, Row[Any]]) -> None:
        """Files that are gone, first: their canonical workflows may stand under another path from now on."""
        if not paths:
            return
        with self.services.store.bookkeeping(self.context, "repository.removed", held=self.operation.held) as work:
            work.git_states.mark_deleted(self.environment.id, paths, self.context.now())
            for path in sorted(vanished):
                work.record("git.file_removed", "file", path, environment=self.environment.slug,
                            before=states[path].content_hash, canonical_id=str(states[path].canonical_id))
        self.result.removed = len(vanished)

    def _store_batch(self, head: str, assignments: list[Assignment], reads: dict[str, _Read],
                     states: dict[str, Row[Any]]) -> None:
        now = self.context.now()
        with self.services.store.unit_of_work(self.context, "repository.batch", held=self.operation.held) as work:
            names = {a.canonical_id: reads[a.path].file.content["name"] for a in assignments}
            work.mappings.save_canonicals(names, now)
            work.git_states.save([self._row(head, a, reads[a.path], states.get(a.path), now) for a in assignments])
            work.mappings.register(
                ((reads[a.path].hashed.portable_hash, reads[a.path].hashed.proof, a.canonical_id) for a in assignments),
                NORMALIZER_VERSION, now)
            files = {a.path: {"canonical_id": str(a.canonical_id), "by": a.by} for a in assignments}
            work.record("git.batch_synced", "environment", self.environment.slug, environment=self.environment.slug,
                        commit=head, files=files)
        for assignment in assignments:
            known = states.get(assignment.path)
            if known is None or known.deleted_at is not None:
                self.result.added += 1
            elif known.blob != reads[assignment.path].blob:
                self.result.changed += 1
            if assignment.duplicate_of is not None:
                self._failed[assignment.path] = (reads[assignment.path].blob, DUPLICATE, (
                    f"{assignment.path} and {assignment.duplicate_of} carry the same canonical id; "
                    f"{assignment.duplicate_of} keeps it (remove the wfops key from the copy)"))

    def _row(self, head: str, assignment: Assignment, read: _Read, state: Row[Any] | None, now: Any) -> dict[str, Any]:
        file = read.file
        same_blob = state is not None and state.blob == read.blob and state.deleted_at is None
        return {
            "environment_id": self.environment.id, "path": file.path, "canonical_id": assignment.canonical_id,
            "blob": read.blob, "commit": state.commit if same_blob and state is not None else head,
            "workflow_id": file.workflow_id, "name": file.content["name"], "digest": read.digest,
            "content_hash": read.hashed.content_hash, "portable_hash": read.hashed.portable_hash,
            "normalizer_version": NORMALIZER_VERSION, "has_references": read.hashed.has_references,
            "wants_active": file.active, "tags": list(file.tags) if file.tags is not None else None,
            "read_only": file.read_only, "changed_at": now, "deleted_at": None,
        }

    def _store_errors(self, known: set[str], files: Iterable[str], head: str) -> None:
        """Which files cannot be read, now. A file that stays unreadable is recorded once."""
        fresh = {path: found for path, found in self._failed.items() if found[2]}
        cleared = known - set(self._failed)
        if not fresh and not cleared:
            return
        now = self.context.now()
        with self.services.store.bookkeeping(self.context, "repository.errors", held=self.operation.held) as work:
            work.git_states.clear_errors(self.environment.id, cleared)
            work.git_states.save_errors(self.environment.id, [
                {"path": path, "blob": blob, "reason": reason, "message": message, "since": now}
                for path, (blob, reason, message) in sorted(fresh.items())
            ])
            for path in sorted(set(fresh) - known):
                work.record("git.file_unreadable", "file", path, environment=self.environment.slug, commit=head,
                            reason=fresh[path][1], message=fresh[path][2])

    def _finish(self, head: str, previous: str | None, source: str) -> None:
        now = self.context.now()
        with self.services.store.unit_of_work(self.context, "repository.finish", held=self.operation.held) as work:
            work.fleet.set_environment(self.environment.id, git_commit=head, git_source=source,
                                       git_version=NORMALIZER_VERSION, git_synced_at=now)
            work.record("repository.force_pushed" if self.result.force_pushed else "repository.synced", "environment",
                        self.environment.slug, environment=self.environment.slug, before=previous, after=head,
                        added=self.result.added, changed=self.result.changed, removed=self.result.removed)

    def _count(self) -> None:
        with self.services.store.bookkeeping(self.context, "repository.looked", held=self.operation.held) as work:
            work.fleet.set_environment(self.environment.id, git_synced_at=self.context.now())
            self.result.files = len(work.git_states.of_environment(self.environment.id))
            errors = work.git_states.errors(self.environment.id)
        self.result.errors = len(errors)
        self.result.problems = [{"path": e.path, "reason": e.reason, "message": e.message} for e in errors[:100]]


def _without_content(file: WorkflowFile) -> WorkflowFile:
    return WorkflowFile(path=file.path, workflow_id=file.workflow_id, canonical_id=file.canonical_id,
                        active=file.active, tags=file.tags, archived=file.archived,
                        content={"name": file.content["name"]}, read_only=file.read_only)


def _is_unstorable(path: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in path)
