"""Tags, and the tags of workflows (facts §8). Changing them touches no workflow's ``updatedAt`` or ``versionId``."""

from __future__ import annotations

from wfops_pipelines.n8n.sandbox.errors import ApiError, not_found
from wfops_pipelines.n8n.sandbox.records import JsonObject, Tag
from wfops_pipelines.n8n.sandbox.rendering import workflow_tags
from wfops_pipelines.n8n.sandbox.state import State
from wfops_pipelines.n8n.sandbox.workflows import find


def _free_name(state: State, name: str, but: str | None = None) -> str:
    """A name of 1 to 24 characters that no other tag has; whatever is wrong, n8n says that it is taken."""
    trimmed = name.strip()
    if not 1 <= len(trimmed) <= 24 or any(tag.name == trimmed and tag.id != but for tag in state.tags.values()):
        raise ApiError(409, "Tag already exists")
    return trimmed


def known(state: State, tag_id: str) -> Tag:
    """The tag, or its 404."""
    if tag_id not in state.tags:
        raise not_found()
    return state.tags[tag_id]


def create(state: State, name: str) -> JsonObject:
    """``POST /tags``."""
    return state.tag(_free_name(state, name)).json()


def rename(state: State, tag_id: str, name: str) -> JsonObject:
    """``PUT /tags/{id}``; the answer has no ``createdAt``."""
    tag = known(state, tag_id)
    tag.name = _free_name(state, name, but=tag_id)
    tag.updated_at = state.now()
    _touch(state, tag_id)
    answer = tag.json()
    del answer["createdAt"]
    return answer


def delete(state: State, tag_id: str) -> JsonObject:
    """``DELETE /tags/{id}``: workflows lose it."""
    tag = known(state, tag_id)
    _touch(state, tag_id, remove=True)
    del state.tags[tag_id]
    return tag.json()


def _touch(state: State, tag_id: str, *, remove: bool = False) -> None:
    state.changes += 1
    for workflow in state.workflows.values():
        if tag_id in workflow.tag_ids:
            if remove:
                workflow.tag_ids.remove(tag_id)
            workflow.touched()


def tags_of(state: State, workflow_id: str) -> list[JsonObject]:
    """``GET /workflows/{id}/tags``."""
    return workflow_tags(state, find(state, workflow_id))


def replace(state: State, workflow_id: str, tag_ids: list[str]) -> list[JsonObject]:
    """``PUT /workflows/{id}/tags``: all of them, or none."""
    workflow = find(state, workflow_id)
    if len(set(tag_ids)) != len(tag_ids) or any(tag_id not in state.tags for tag_id in tag_ids):
        raise ApiError(404, "Some tags not found")
    workflow.tag_ids = list(tag_ids)
    state.changed(workflow)
    return workflow_tags(state, workflow)
