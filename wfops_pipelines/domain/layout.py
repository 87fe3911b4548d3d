"""Workflow files in a repository (§5.6, §7): which paths are workflows, and how one file is read and written.

An environment has a folder. Two layouts are read there:

- **Source Control's**, when the folder has a ``workflows/`` directory with JSON in it: ``workflows/**.json``, and JSON
  directly in the folder that is not one of n8n's own tables (``tags.json``, …);
- **plain**, otherwise: every JSON file below the folder. Real collections sort files by category, so it is read
  recursively, but for hidden directories and n8n's directories of other things.

A file that WorkflowOps writes carries ``"wfops": {"canonical_id", "active", "tags"}``, which n8n and the hash ignore.
Bytes in, bytes out: nothing here touches a disk.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

import orjson

from wfops_pipelines.domain.errors import MalformedFile, MalformedWorkflow
from wfops_pipelines.domain.file_names import file_name
from wfops_pipelines.domain.workflow import LONGEST_ID, Content, parse_json, read_content

__all__ = ["MAX_FILE_BYTES", "FileReason", "WorkflowFile", "file_name", "find_duplicate_ids", "is_workflow_path",
           "read_file", "render_file", "select_workflow_paths"]

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""Largest file that is read: n8n takes no larger body (``N8N_PAYLOAD_SIZE_MAX``)."""

FileReason = Literal["not_utf8", "invalid_json", "not_a_workflow", "too_large", "invalid_key"]

_WORKFLOWS: Final = "workflows"
_OTHER_FILES: Final = frozenset({  # n8n's tables beside workflows/, and the manifest of its packages
    "variable_stubs.json", "tags.json", "folders.json", "workflow_owners.json", "manifest.json",
})
_OTHER_DIRECTORIES: Final = frozenset({
    "credential_stubs", "projects", "datatables", "data-tables", "credentials", "variables", "tags", "node_modules",
})
_PACKAGE_WORKFLOW, _PACKAGE_METADATA = "workflow.json", "workflow-metadata.json"  # n8n packages: a directory for each


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """One file as it says of itself.

    ``workflow_id`` is n8n's own id, ``canonical_id`` ours; ``active`` and ``tags`` are what the ``wfops`` key wants,
    ``None`` where it does not say (the top-level ``active`` of an export says what was, not what should be).
    ``read_only`` marks a file that n8n's Source Control writes: it drops our key when it exports, and refuses files
    without its ``versionId``.
    """

    path: str
    workflow_id: str | None
    canonical_id: UUID | None
    active: bool | None
    tags: tuple[str, ...] | None
    archived: bool
    content: Content
    read_only: bool


def is_workflow_path(path: str, folder: str) -> bool:
    """Whether ``path`` (from the repository's root) may be a workflow file of the environment in ``folder``.

    Looks at one path alone: whether a plain file in a subdirectory is read depends on the layout, so a whole listing
    goes through :func:`select_workflow_paths`.
    """
    inside = _inside(path, folder)
    if inside is None or inside[-1][-5:].lower() != ".json" or any(part.startswith(".") for part in inside):
        return False
    if inside[0] == _WORKFLOWS and len(inside) > 1:
        return True
    if len(inside) == 1:
        return inside[0] not in _OTHER_FILES
    return inside[0] not in _OTHER_DIRECTORIES and "node_modules" not in inside


def select_workflow_paths(paths: Iterable[str], folder: str, *, other_folders: Collection[str] = ()) -> list[str]:
    """The workflow files among ``paths``, sorted, by the layout the folder has (see the module).

    ``other_folders`` are those of the tenant's other environments on the same branch: where one lies inside ``folder``
    (the root, say), its files are not read here.
    """
    inner = [other for other in other_folders if _inside(other, folder)]
    found = {path for path in paths
             if is_workflow_path(path, folder) and not any(_inside(path, other) for other in inner)}
    relative = {path: _inside(path, folder) or () for path in found}
    if any(parts[0] == _WORKFLOWS and len(parts) > 1 for parts in relative.values()):
        found = {path for path, parts in relative.items() if parts[0] == _WORKFLOWS or len(parts) == 1}
    packages = {path.removesuffix(_PACKAGE_WORKFLOW) for path in found if path.endswith("/" + _PACKAGE_WORKFLOW)}
    return sorted(path for path in found
                  if not (path.endswith("/" + _PACKAGE_METADATA) and path.removesuffix(_PACKAGE_METADATA) in packages))


def read_file(path: str, data: bytes) -> WorkflowFile:
    """One workflow file: with or without byte order mark, any line ends, the workflow itself or a list of just one.

    Raises :class:`MalformedFile` with a ``reason`` of :data:`FileReason`; the message never quotes the file.
    """
    if len(data) > MAX_FILE_BYTES:
        raise _malformed(path, "too_large", f"{len(data):,} bytes; n8n takes no workflow above {MAX_FILE_BYTES:,}",
                         fix="remove what is not part of the workflow, such as pinned data")
    raw = _only_workflow(path, _parse(path, data))
    try:
        content = read_content(raw)
    except MalformedWorkflow as error:
        raise _malformed(path, "not_a_workflow", error.message, fix=error.fix) from error
    wanted = _wfops_key(path, raw)
    return WorkflowFile(
        path=path, workflow_id=_workflow_id(raw.get("id")), canonical_id=wanted.canonical_id, active=wanted.active,
        tags=wanted.tags, archived=raw.get("isArchived") is True, content=content,
        read_only="wfops" not in raw and "versionId" in raw and "owner" in raw,
    )


def render_file(content: Content, *, workflow_id: str | None, canonical_id: UUID | None, active: bool | None,
                tags: Iterable[str] | None, archived: bool = False) -> bytes:
    """The bytes of a workflow file: the same input gives the same bytes, and :func:`read_file` gives it back.

    Keys sorted, two spaces, a final newline, Unicode as it is (lone surrogates and NUL escaped: the file is valid
    UTF-8). Nodes whole, with ids, positions and webhook ids; nothing else that belongs to one instance but its id.
    """
    document: dict[str, Any] = dict(content)
    if workflow_id is not None:
        document["id"] = workflow_id
    if archived:
        document["isArchived"] = True
    key: dict[str, Any] = {}
    if canonical_id is not None:
        key["canonical_id"] = str(canonical_id)
    if active is not None:
        key["active"] = active
    if tags is not None:
        key["tags"] = sorted(set(tags))
    document["wfops"] = key
    return _pretty(document)


def find_duplicate_ids(files: Iterable[tuple[str, UUID | None]]) -> dict[UUID, list[str]]:
    """Canonical ids that several files of one folder claim, with their paths sorted (§5.6: an error that names them
    all; which of them keeps the id is decided by the path it had before)."""
    claims: dict[UUID, list[str]] = {}
    for path, canonical_id in files:
        if canonical_id is not None:
            claims.setdefault(canonical_id, []).append(path)
    return {canonical_id: sorted(paths) for canonical_id, paths in claims.items() if len(paths) > 1}


@dataclass(frozen=True, slots=True)
class _WfopsKey:
    canonical_id: UUID | None = None
    active: bool | None = None
    tags: tuple[str, ...] | None = None


def _wfops_key(path: str, raw: Mapping[str, Any]) -> _WfopsKey:
    """Our object in the file; keys of later versions are passed over, null says nothing."""
    if "wfops" not in raw:
        return _WfopsKey()
    key = raw["wfops"]
    if not isinstance(key, dict):
        raise _malformed(path, "invalid_key", "wfops is no object",
                         fix='write it as {"canonical_id", "active", "tags"}, or remove it')
    active, tags = key.get("active"), key.get("tags")
    if active is not None and not isinstance(active, bool):
        raise _malformed(path, "invalid_key", "wfops.active is neither true nor false")
    if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        raise _malformed(path, "invalid_key", "wfops.tags is no list of texts")
    return _WfopsKey(canonical_id=_canonical_id(path, key.get("canonical_id")), active=active,
                     tags=None if tags is None else tuple(sorted(set(tags))))


def _canonical_id(path: str, value: Any) -> UUID | None:
    if value is None:
        return None
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise _malformed(path, "invalid_key", "wfops.canonical_id is no UUID",
                         fix="restore it from the file's history, or remove the line to have one given") from None


def _workflow_id(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # n8n before 0.214 numbered them
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_ID else None


def _parse(path: str, data: bytes) -> Any:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(path, "not_utf8", f"not UTF-8 (byte {error.start})", fix="save the file as UTF-8") from None
    try:
        return parse_json(data)
    except MalformedWorkflow as error:
        raise _malformed(path, "invalid_json", error.message, fix=_way_out(data)) from error


def _way_out(data: bytes) -> str | None:
    start = data[:200].lstrip()
    if not start:
        return "the file is empty"
    if start.startswith(b"version https://git-lfs"):
        return "the file is a Git LFS pointer: workflows must be stored in Git itself"
    if b"\n<<<<<<< " in data or start.startswith(b"<<<<<<< "):
        return "the file holds conflict markers of a merge: resolve them"
    return None


def _only_workflow(path: str, document: Any) -> Mapping[str, Any]:
    """n8n exports a list; with one workflow in it the file is that workflow's."""
    if isinstance(document, list):
        if len(document) != 1:
            raise _malformed(path, "not_a_workflow", f"a list of {len(document)} entries, not one workflow",
                             fix="one workflow a file: n8n export:workflow --separate")
        document = document[0]
    if not isinstance(document, dict):
        raise _malformed(path, "not_a_workflow", "JSON, but no workflow")
    return document


def _malformed(path: str, reason: FileReason, message: str, fix: str | None = None) -> MalformedFile:
    return MalformedFile(message, path=path, reason=reason, fix=fix)


def _pretty(document: Mapping[str, Any]) -> bytes:
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    try:
        return orjson.dumps(document, option=options)
    except TypeError:  # lone surrogates, integers beyond 64 bits, deep nesting: the same form, slower
        text = json.dumps(document, ensure_ascii=False, sort_keys=True, indent=2)
        return text.encode("utf-8", "backslashreplace") + b"\n"


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _inside(path: str, folder: str) -> Sequence[str] | None:
    """The parts of ``path`` below ``folder``; ``None`` when it is not below it."""
    parts, above = _parts(path), _parts(folder)
    if ".." in parts or len(parts) <= len(above) or parts[:len(above)] != above:
        return None
    return parts[len(above):]
