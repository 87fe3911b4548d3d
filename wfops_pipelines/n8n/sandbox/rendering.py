"""Rows and answers. A workflow's row in a listing is prepared once per change, as pieces that a page only has to join."""

from __future__ import annotations

from typing import Any, Literal

from wfops_pipelines.n8n.sandbox.javascript import dump, parse
from wfops_pipelines.n8n.sandbox.records import JsonObject, Version, Workflow
from wfops_pipelines.n8n.sandbox.state import State

OWNER = {"email": "owner@example.com", "firstName": "O", "lastName": "W"}
AUTHORS = "O W"
Shape = Literal["get", "create", "put", "activate", "deactivate", "archive", "delete"]

# What of tags, shared and activeVersion an answer has, by generation: no two of them agree.
_TAGS = {1: {"get", "put"}, 2: {"get", "put", "create"}}
_SHARED = {1: {"get", "deactivate", "delete"}, 2: {"get", "create", "deactivate", "archive", "delete"}}
_LIVE = {1: {"get", "activate", "deactivate"}, 2: {"get", "create", "put", "activate", "deactivate", "archive"}}


def row_pieces(state: State, workflow: Workflow, *, pinned: bool) -> tuple[bytes, ...]:
    """A workflow in a listing, as pieces of JSON."""
    kept = workflow.row if pinned else workflow.row_plain
    if kept is not None:
        return kept
    draft = workflow.draft
    head = dump({
        "id": workflow.id, "name": workflow.name, "active": workflow.active_id is not None,
        "activeVersionId": workflow.active_id,
        "createdAt": workflow.created_at, "updatedAt": workflow.updated_at, "isArchived": workflow.archived,
        "versionId": workflow.version_id, "triggerCount": workflow.trigger_count})
    rest = dump({"settings": workflow.settings, "tags": workflow_tags(state, workflow),
                 "shared": [_shared(state, workflow)]})
    pieces = [head[:-1], b',"nodes":', draft.nodes, b',"connections":', draft.connections, b",", rest[1:-1],
              b',"staticData":', workflow.static_data, b',"meta":', workflow.meta]
    if state.generation >= 2:
        pieces += [b',"nodeGroups":', draft.groups]
    if pinned:
        pieces += [b',"pinData":', workflow.pin_data]
    pieces.append(b',"activeVersion":')
    pieces += _version_pieces(state, workflow, workflow.live) if workflow.live else [b"null"]
    pieces.append(b"}")
    made = tuple(pieces)
    if pinned:
        workflow.row = made
    else:
        workflow.row_plain = made
    return made


def _version_pieces(state: State, workflow: Workflow, version: Version) -> list[bytes]:
    more: JsonObject = {"autosaved": False} if state.generation >= 2 else {}
    head = dump({**more, "versionId": version.id, "workflowId": workflow.id, "authors": AUTHORS, "name": version.name,
                 "description": version.description, "createdAt": version.created_at, "updatedAt": version.updated_at})
    pieces = [head[:-1], b',"nodes":', version.nodes, b',"connections":', version.connections]
    if state.generation >= 2:
        pieces += [b',"nodeGroups":', version.groups]
    return [*pieces, b"}"]


def page(state: State, workflows: list[Workflow], cursor: str | None, *, pinned: bool) -> bytes:
    """One page of the listing."""
    pieces: list[bytes] = [b'{"data":[']
    for number, workflow in enumerate(workflows):
        if number:
            pieces.append(b",")
        pieces.extend(row_pieces(state, workflow, pinned=pinned))
    pieces += [b'],"nextCursor":', dump(cursor), b"}"]
    return b"".join(pieces)


def workflow_json(state: State, workflow: Workflow, shape: Shape, *, pinned: bool = True,
                  history: bool = True) -> JsonObject:
    """A single workflow, in the shape that the endpoint of this generation answers.

    ``history=False`` leaves the publish history out, as 2.x does where a write did not publish.
    """
    generation = state.generation
    made: JsonObject = parse(b"".join(row_pieces(state, workflow, pinned=pinned)))
    made["description"] = workflow.description
    made["versionCounter"] = workflow.counter
    if generation >= 2:
        made["sourceWorkflowId"] = None
        if shape == "create":
            made["parentFolder"] = None
    if shape not in _TAGS[generation]:
        del made["tags"]
    if shape in _SHARED[generation]:
        made["shared"][0]["project"] = _project(state)
    else:
        del made["shared"]
    if shape not in _LIVE[generation]:
        del made["activeVersion"]
    elif workflow.live is not None and generation >= 2 and history:
        made["activeVersion"]["workflowPublishHistory"] = sorted(
            workflow.live.published, key=lambda entry: (entry["event"], entry["id"]))
    return made


def version_json(state: State, workflow: Workflow, version: Version) -> JsonObject:
    """One version of the history, with its nodes."""
    made: JsonObject = parse(b"".join(_version_pieces(state, workflow, version)))
    made.pop("autosaved", None)
    return made


def workflow_tags(state: State, workflow: Workflow) -> list[JsonObject]:
    """The tags of a workflow, as the API shows them."""
    return [state.tags[tag_id].json() for tag_id in workflow.tag_ids]


def _shared(state: State, workflow: Workflow) -> JsonObject:
    return {"role": "workflow:owner", "workflowId": workflow.id, "projectId": state.project_id,
            "createdAt": workflow.shared_at, "updatedAt": workflow.shared_at}


def _project(state: State) -> JsonObject:
    times = {"createdAt": state.created_at, "updatedAt": state.created_at}
    name = f"{OWNER['firstName']} {OWNER['lastName']} <{OWNER['email']}>"
    base: JsonObject = {"id": state.project_id, "name": name, "type": "personal", "icon": None, "description": None, **times}
    if state.generation >= 2:
        return {**base, "customTelemetryTags": [], "creatorId": state.owner_id}
    user: dict[str, Any] = {
        **OWNER, "id": state.owner_id, "personalizationAnswers": None, "settings": {"userActivated": False},
        "disabled": False, "mfaEnabled": False, "lastActiveAt": state.created_at[:10], "isPending": False, **times}
    return {**base, "projectRelations": [{"userId": state.owner_id, "projectId": state.project_id, "user": user, **times}]}
