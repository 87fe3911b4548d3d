"""Creating, changing, archiving and deleting workflows as each generation does it (facts §5, §6)."""

from __future__ import annotations

import json
from typing import Any

import orjson

from wfops_pipelines.n8n.sandbox import activation
from wfops_pipelines.n8n.sandbox.bodies import NODE_ORDER, SETTINGS_ORDER, check_name, check_structure
from wfops_pipelines.n8n.sandbox.credentials import repair
from wfops_pipelines.n8n.sandbox.errors import ApiError, not_found
from wfops_pipelines.n8n.sandbox.javascript import parse
from wfops_pipelines.n8n.sandbox.records import JsonObject, Version, Workflow, raw, stamp
from wfops_pipelines.n8n.sandbox.rendering import workflow_json
from wfops_pipelines.n8n.sandbox.state import State

# Values that mean "as the instance has it", and take a setting away.
_DEFAULTABLE = ("timezone", "saveDataErrorExecution", "saveDataSuccessExecution", "saveManualExecutions",
                "saveExecutionProgress")


def same(one: Any, other: Any) -> bool:
    """Deep equality as lodash sees it: key order means nothing, ``true`` is not 1."""
    return one is other or _canonical(one) == _canonical(other)


def _canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(value, sort_keys=True).encode()


def find(state: State, workflow_id: str, verb: str | None = None) -> Workflow:
    """The workflow, or the 404 of this generation: 2.x speaks of permission where something is done to one."""
    workflow = state.workflows.get(workflow_id)
    if workflow is not None:
        return workflow
    if verb is None or state.generation < 2:
        raise not_found()
    raise ApiError(404, f"You do not have permission to {verb} this workflow. Ask the owner to share it with you.")


def _ordered(value: JsonObject, order: tuple[str, ...]) -> JsonObject:
    """The keys as a 2.x answer has them; other keys were refused before."""
    return {key: value[key] for key in order if key in value}


def _settings_2(body: JsonObject, stored: JsonObject | None) -> JsonObject:
    settings = _ordered(body["settings"], SETTINGS_ORDER)
    if settings.get("redactionPolicy") != (stored or {}).get("redactionPolicy"):
        settings.pop("redactionPolicy", None)  # needs a licence
    return settings


def _with_defaults_1(settings: JsonObject) -> JsonObject:
    """1.x fills in what its schema has defaults for, whatever was stored."""
    return {**settings, "callerPolicy": settings.get("callerPolicy", "workflowsFromSameOwner"),
            "availableInMCP": settings.get("availableInMCP", False)}


def _without_defaults(settings: JsonObject, generation: int) -> JsonObject:
    names = (*_DEFAULTABLE, "errorWorkflow") if generation >= 2 else _DEFAULTABLE
    return {key: value for key, value in settings.items()
            if not (key in names and value == "DEFAULT") and not (key == "executionTimeout" and value == -1)}


def _static_data(value: Any, generation: int) -> bytes:
    """As it is stored: a text is the JSON in it, of which 2.x keeps objects alone."""
    if not isinstance(value, str):
        return raw(value)
    said = parse(value.encode("utf-8", "surrogatepass"))
    return raw(said if generation < 2 or isinstance(said, dict) else None)


def create(state: State, body: JsonObject) -> JsonObject:
    """``POST /workflows`` with a body that fits the whitelist."""
    nodes = body["nodes"]
    if state.generation >= 2:
        nodes = [_ordered(node, NODE_ORDER) for node in nodes]
        check_name(body["name"])
        if body.get("projectId", state.project_id) != state.project_id:
            raise ApiError(404, "Project not found")
        settings = _settings_2(body, None)
    else:
        settings = _with_defaults_1(body["settings"])
    repair(state, nodes)
    state.complete_nodes(nodes)
    if state.generation >= 2:
        check_structure(nodes, body["connections"])
        if body.get("parentFolderId"):
            raise ApiError(404, f"Could not find the folder: {body['parentFolderId']}")
    now = state.now()
    version = Version(state.new_uuid(), raw(nodes), raw(body["connections"]), now, now,
                      groups=raw(body.get("nodeGroups", [])))
    workflow = Workflow(state.free_id(), body["name"], version.id, now, now, {version.id: version}, shared_at=now,
                        settings=settings, static_data=_static_data(body.get("staticData"), state.generation),
                        pin_data=raw(body.get("pinData")))
    state.add(workflow)
    answer = workflow_json(state, workflow, "create")
    if state.generation < 2:  # 1.x answers these as they were sent
        answer |= {key: body[key] for key in ("shared", "staticData") if key in body}
    return answer


def put(state: State, workflow_id: str, body: JsonObject, *, publish: bool) -> JsonObject:
    """``PUT /workflows/{id}`` with a body that fits the whitelist."""
    workflow = find(state, workflow_id, "update")
    return update(state, workflow.id, body, publish=publish)


def update(state: State, workflow_id: str, body: JsonObject, *, publish: bool = True) -> JsonObject:
    """Write the keys of ``body``, as the API and the editor do. After a 400 of 2.x the draft may be saved."""
    workflow = state.workflows[workflow_id]
    if workflow.archived and state.generation >= 2:
        raise ApiError(400, "Cannot update an archived workflow.")
    nodes = body.get("nodes")
    if nodes is not None:
        nodes = [_ordered(node, NODE_ORDER) for node in nodes] if state.generation >= 2 else nodes
        repair(state, nodes)
    if state.generation >= 2:
        return _update_2(state, workflow, body, nodes, publish=publish)
    return _update_1(state, workflow, body, nodes)


def _structure_changed(workflow: Workflow, body: JsonObject, nodes: list[JsonObject] | None) -> bool:
    draft = workflow.draft
    pairs = ((nodes, draft.nodes), (body.get("connections"), draft.connections), (body.get("nodeGroups"), draft.groups))
    return any(new is not None and not same(new, parse(old)) for new, old in pairs)


def _save_version(state: State, workflow: Workflow, body: JsonObject, nodes: list[JsonObject] | None) -> None:
    draft, now = workflow.draft, state.now()
    version = Version(
        state.new_uuid(), draft.nodes if nodes is None else raw(nodes),
        raw(body["connections"]) if "connections" in body else draft.connections, now, now,
        groups=raw(body["nodeGroups"]) if "nodeGroups" in body else draft.groups)
    workflow.versions[version.id] = version
    workflow.version_id, workflow.unversioned = version.id, None


def _save_rest(state: State, workflow: Workflow, body: JsonObject, settings: JsonObject) -> None:
    workflow.settings = settings
    workflow.name = body.get("name", workflow.name)
    workflow.description = body.get("description", workflow.description)
    if "staticData" in body:
        workflow.static_data = _static_data(body["staticData"], state.generation)
    if "pinData" in body:
        workflow.pin_data = raw(body["pinData"])
    workflow.updated_at = state.now()
    state.changed(workflow)


def _update_2(state: State, workflow: Workflow, body: JsonObject, nodes: list[JsonObject] | None, *,
              publish: bool) -> JsonObject:
    new_version = _structure_changed(workflow, body, nodes)
    if nodes is not None:
        state.complete_nodes(nodes)
    if new_version:
        check_structure(workflow.draft.node_list if nodes is None else nodes,
                        body.get("connections", parse(workflow.draft.connections)))
    settings = workflow.settings
    if "settings" in body:
        settings = _without_defaults({**settings, **_settings_2(body, settings)}, 2)
    if body.get("name"):
        check_name(body["name"])
    settings_changed = not same(settings, workflow.settings)
    workflow.counter += new_version or settings_changed
    if new_version:
        _save_version(state, workflow, body, nodes)
    _save_rest(state, workflow, body, settings)
    published = workflow.active_id is not None and publish
    if published:
        activation.publish(state, workflow)
    elif workflow.active_id is not None and settings_changed:
        activation.publish(state, workflow, version_id=workflow.active_id)
    return workflow_json(state, workflow, "put", history=published)


def _update_1(state: State, workflow: Workflow, body: JsonObject, nodes: list[JsonObject] | None) -> JsonObject:
    sent: JsonObject = dict(body)
    if "settings" in body:
        sent["settings"] = _with_defaults_1(body["settings"])
    stored = {"name": workflow.name, "settings": workflow.settings, "staticData": parse(workflow.static_data),
              "pinData": parse(workflow.pin_data)}
    other = {key: value for key, value in sent.items() if key not in {"nodes", "connections", "nodeGroups"}}
    changed = (_structure_changed(workflow, body, nodes)
               or any(not same(value, stored.get(key)) for key, value in other.items()))
    if nodes is not None:
        state.complete_nodes(nodes)
    if body.get("name"):
        check_name(body["name"])
    settings = _without_defaults({**workflow.settings, **sent.get("settings", {})}, 1)
    was_active, former = workflow.active_id is not None, workflow.version_id
    workflow.counter += 1
    if changed:
        _save_version(state, workflow, body, nodes)
    if was_active:
        workflow.active_id = workflow.version_id
    _save_rest(state, workflow, body, settings)
    answer = workflow_json(state, workflow, "put")
    if was_active:
        try:
            activation.start_1(state, workflow)
        except ApiError:
            _take_version_back(workflow, former)
            raise
    return answer


def _take_version_back(workflow: Workflow, former: str) -> None:
    """1.x, when what was saved cannot be started: the new content stays, under the former ``versionId``. That version of
    the history stays too, and is what an activation starts from then on."""
    if workflow.version_id != former:
        workflow.unversioned = workflow.versions.pop(workflow.version_id)
        workflow.unversioned.id = workflow.version_id = former


def archive(state: State, workflow_id: str) -> JsonObject:
    """``POST /workflows/{id}/archive`` (2.x); again is no change."""
    workflow = _known(state, workflow_id)
    if not workflow.archived:
        activation.archive(state, workflow)
        _new_version_of_same(state, workflow)
    return workflow_json(state, workflow, "archive")


def unarchive(state: State, workflow_id: str) -> JsonObject:
    """``POST /workflows/{id}/unarchive`` (2.x)."""
    workflow = _known(state, workflow_id)
    if not workflow.archived:
        raise ApiError(400, "Workflow is not archived.")
    workflow.archived = False
    _new_version_of_same(state, workflow)
    return workflow_json(state, workflow, "archive")


def _known(state: State, workflow_id: str) -> Workflow:
    workflow = state.workflows.get(workflow_id)
    if workflow is None:
        raise ApiError(404, "Workflow not found")
    return workflow


def _new_version_of_same(state: State, workflow: Workflow) -> None:
    _save_version(state, workflow, {}, None)
    workflow.updated_at = stamp(state.clock(), whole_seconds=True)
    state.changed(workflow)


def delete(state: State, workflow_id: str) -> JsonObject:
    """``DELETE /workflows/{id}``; 2.x wants it unpublished, and the unpublishing finished, first."""
    workflow = find(state, workflow_id)
    if state.generation >= 2 and workflow.active_id is not None:
        raise ApiError(409, "Cannot delete a published workflow. Unpublish it before deleting.")
    if state.generation >= 2 and workflow_id in state.pending:
        raise ApiError(409, "Workflow is still being unpublished. Please try again in a few moments.")
    answer = workflow_json(state, workflow, "delete")
    state.remove(workflow_id)
    return answer
