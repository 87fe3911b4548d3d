"""Reading workflow files out of a repository: which there are, their contents into the store, and what is wrong with
those that cannot be read (§7)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import MalformedFile, MalformedWorkflow
from wfops_pipelines.domain.layout import WorkflowFile, read_file, select_workflow_paths
from wfops_pipelines.git.repository import EntryKind, Repository, TreeEntry
from wfops_pipelines.services.hashing import Hashed, bodies, credential_keys, encoded, hash_all
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.store.tables.base import storable

_LONGEST_PATH = 2400  # bytes; an index takes some 2,700


@dataclass(frozen=True, slots=True)
class FileProblem:
    """Why a path of the folder is no workflow. Without a message it was recorded before."""

    blob: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file that was read: everything but its content, which is stored."""

    file: WorkflowFile  # of its content only the name
    blob: str
    digest: str
    hashed: Hashed


class FolderReader:
    """Reads an environment's folder at one commit; ``problems`` fills as it goes, by path."""

    def __init__(self, operation: RunningOperation, repository: Repository, head: str) -> None:
        self._operation = operation
        self._repository = repository
        self._head = head
        self.problems: dict[str, FileProblem] = {}

    def select(self, folder: str, other_folders: Iterable[str]) -> dict[str, TreeEntry]:
        """Workflow files by path; links and submodules where a workflow could be are errors that name them."""
        entries = []
        for entry in self._repository.tree(self._head, folder):
            if storable(entry.path) == entry.path:
                entries.append(entry)
            else:
                shown = entry.path.encode("utf-8", "backslashreplace").decode()
                self.problems[_shown(shown)] = FileProblem(
                    entry.blob, "not_utf8", "the name of the file is not UTF-8; rename it")
        by_path = {entry.path: entry for entry in entries}
        selected = select_workflow_paths((e.path for e in entries if e.kind is not EntryKind.SUBMODULE), folder,
                                         other_folders=[other for other in other_folders if other])
        files = {}
        for path in selected:
            entry = by_path[path]
            if _shown(path) != path:
                self.problems[_shown(path)] = FileProblem(
                    entry.blob, "path_too_long", f"{_shown(path)}: longer than {_LONGEST_PATH} bytes; shorten the path")
            elif entry.kind is EntryKind.SYMLINK:
                self.problems[path] = FileProblem(entry.blob, "symlink",
                                                  f"{path}: is a symbolic link; links are not followed")
            else:
                files[path] = entry
        for entry in entries:
            if entry.kind is EntryKind.SUBMODULE:
                self.problems[_shown(entry.path)] = FileProblem(
                    entry.blob, "submodule", f"{_shown(entry.path)}: is a submodule; submodules are not read")
        return files

    def read(self, wanted: dict[str, TreeEntry]) -> list[ReadFile]:
        """Read files in one transfer; contents go to the store as they come, memory holds what is left of them."""
        paths: dict[str, list[str]] = {}
        for path, entry in wanted.items():
            paths.setdefault(entry.blob, []).append(path)
        reads: list[ReadFile] = []
        batch: list[tuple[WorkflowFile, str]] = []
        for blob, data in self._repository.read_blobs(self._head, list(paths)):
            failpoints.reach("repository.blob.read")
            for path in paths[blob]:
                try:
                    batch.append((_parsed(path, data), blob))
                except MalformedFile as error:
                    self.problems[path] = FileProblem(blob, error.reason, str(error))
            if len(batch) >= self._operation.services.limits.batch_size:
                reads += self._keep(batch)
                batch = []
        return reads + self._keep(batch)

    def _keep(self, batch: list[tuple[WorkflowFile, str]]) -> list[ReadFile]:
        if not batch:
            return []
        operation, environment_id = self._operation, self._operation.environment.id
        items = {file.path: encoded(file.content) for file, _ in batch}
        with operation.services.store.bookkeeping(operation.context, "repository.payloads", held=operation.held) as work:
            work.payloads.save(bodies(items.values()))
            keys = credential_keys(work, environment_id)
            hashes: dict[str, Hashed] = {}
            for file, blob in batch:
                try:
                    hashes |= hash_all(work, environment_id, {file.path: (file.workflow_id, file.content)}, keys)
                except MalformedWorkflow as error:
                    self.problems[file.path] = FileProblem(blob, "not_a_workflow", f"{file.path}: {error.message}")
        return [ReadFile(replace(file, content={"name": file.content["name"]}), blob, items[file.path].digest,
                         hashes[file.path]) for file, blob in batch if file.path in hashes]


def _shown(path: str) -> str:
    """What a path is known by: itself, or where no index takes it, its beginning and what makes it its own."""
    encoded = path.encode()
    if len(encoded) <= _LONGEST_PATH:
        return path
    return f"{path[:150]}…{hashlib.sha256(encoded).hexdigest()[:12]}"


def _parsed(path: str, data: bytes | None) -> WorkflowFile:
    if data is None:
        raise MalformedFile("is larger than n8n takes", path=path, reason="too_large",
                            fix="remove what is not part of the workflow, such as pinned data")
    return read_file(path, data)
