"""A sandbox's state in a file, so that a demo's servers survive a restart."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

from wfops_pipelines.n8n.sandbox.activation import register
from wfops_pipelines.n8n.sandbox.javascript import dump, parse
from wfops_pipelines.n8n.sandbox.records import Credential, Execution, Tag, Version, Workflow
from wfops_pipelines.n8n.sandbox.state import State

_BYTES = frozenset({"nodes", "connections", "groups", "static_data", "pin_data", "meta"})
_NOT_KEPT = frozenset({"row", "row_plain", "versions"})


def _row(record: Any) -> dict[str, Any]:
    """A record as JSON; what is kept as bytes is JSON already."""
    return {name: _written(getattr(record, name)) for name in type(record).__slots__ if name not in _NOT_KEPT}


def _written(value: Any) -> Any:
    if isinstance(value, Version):
        return _row(value)
    return orjson.Fragment(value) if isinstance(value, bytes) else value


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {name: dump(value) if name in _BYTES else value for name, value in row.items()}
    if kept.get("unversioned"):
        kept["unversioned"] = Version(**_kept(kept["unversioned"]))
    return kept


def save(state: State, file: Path) -> None:
    """Write the state; a reader sees the old file or the new one."""
    workflows = [{**_row(workflow), "versions": [_row(version) for version in workflow.versions.values()]}
                 for workflow in state.workflows.values()]
    content = orjson.dumps({
        "generation": state.generation, "owner_id": state.owner_id, "project_id": state.project_id,
        "created_at": state.created_at, "published": state.published, "workflows": workflows,
        "tags": [_row(tag) for tag in state.tags.values()],
        "credentials": [_row(credential) for credential in state.credentials.values()],
        "executions": [_row(run) for run in state.executions.values()]})
    beside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    beside.write_bytes(content)
    beside.replace(file)


def load(state: State, file: Path) -> None:
    """Fill a new state from a file; :class:`ValueError` for one of another generation."""
    kept = parse(file.read_bytes())
    if kept["generation"] != state.generation:
        raise ValueError(f"{file} holds an n8n {kept['generation']}.x, not {state.generation}.x")
    state.owner_id, state.project_id = kept["owner_id"], kept["project_id"]
    state.created_at, state.published = kept["created_at"], kept["published"]
    state.tags = {row["id"]: Tag(**row) for row in kept["tags"]}
    state.credentials = {row["id"]: Credential(**row) for row in kept["credentials"]}
    for row in kept["workflows"]:
        versions = [Version(**_kept(version)) for version in row.pop("versions")]
        workflow = Workflow(**_kept(row), versions={version.id: version for version in versions})
        state.add(workflow)
        if workflow.active_id is not None:
            register(state, workflow)
    state.executions = {row["id"]: Execution(**row) for row in kept["executions"]}
