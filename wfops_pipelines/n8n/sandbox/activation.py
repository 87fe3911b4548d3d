"""Activation and publication: what may start a workflow, who holds a webhook path, and when 2.x gets round to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wfops_pipelines.n8n.sandbox.errors import ApiError
from wfops_pipelines.n8n.sandbox.node_types import KNOWN, counts_as_trigger, starts_workflow
from wfops_pipelines.n8n.sandbox.records import JsonObject, Version, Workflow
from wfops_pipelines.n8n.sandbox.rendering import workflow_json
from wfops_pipelines.n8n.sandbox.state import State

_WEBHOOK = "n8n-nodes-base.webhook"
_FORM = "n8n-nodes-base.formTrigger"
_NO_TRIGGER_2 = ("Workflow cannot be activated because it has no trigger node. At least one trigger, webhook, or polling "
                 "node is required.")


def trigger_count(nodes: list[JsonObject]) -> int:
    """The number that ``triggerCount`` shows once the triggers are registered."""
    return sum(not node.get("disabled") and counts_as_trigger(node.get("type", "")) for node in nodes)


def webhook_paths(nodes: list[JsonObject]) -> Iterator[tuple[str, str, str]]:
    """(node name, HTTP method, path) of each production webhook."""
    for node in nodes:
        kind = node.get("type", "")
        if node.get("disabled") or not counts_as_trigger(kind):
            continue
        parameters = node.get("parameters") or {}
        name, webhook_id = node.get("name", ""), str(node.get("webhookId") or "")
        if kind == _WEBHOOK:
            path = str(parameters.get("path") or webhook_id).strip("/")
            methods = parameters.get("httpMethod", "GET")
            for method in methods if isinstance(methods, list) else [methods]:
                yield name, str(method), f"{webhook_id}/{path}" if ":" in path else path
        elif kind == _FORM:
            path = str(parameters.get("path") or (parameters.get("options") or {}).get("path") or webhook_id)
            path += "/n8n-form" if node.get("typeVersion", 1) < 2 else ""
            yield name, "GET", path
            yield name, "POST", path
        elif kind.endswith("chatTrigger"):
            yield name, "GET", f"{webhook_id}/chat"
            yield name, "POST", f"{webhook_id}/chat"
        elif kind.endswith("mcpTrigger"):
            path = str(parameters.get("path") or webhook_id)
            old = node.get("typeVersion", 1) < 2
            yield name, "DELETE", path
            yield name, "GET", f"{path}/sse" if old else path
            yield name, "POST", f"{path}/messages" if old else path


def register(state: State, workflow: Workflow) -> None:
    """Let the webhooks of the live version answer, and count its triggers."""
    state.release(workflow.id)
    live = workflow.live
    if live is not None:
        nodes = live.node_list
        for _, method, path in webhook_paths(nodes):
            state.webhooks.setdefault((method, path), workflow.id)
        if not any(_is_no_cron(node) for node in nodes):  # else it stays what it was, and nothing else tells
            workflow.trigger_count = trigger_count(nodes)
    state.changed(workflow)


def settle(state: State) -> None:
    """Do what 2.x does some time after its answer, as far as that time has come."""
    if not state.pending:
        return
    now = state.clock()
    for workflow_id in [key for key, due in state.pending.items() if due <= now]:
        del state.pending[workflow_id]
        register(state, state.workflows[workflow_id])


def _later(state: State, workflow: Workflow) -> None:
    state.pending[workflow.id] = state.clock() + state.registration_delay
    settle(state)


def _check_types(nodes: list[JsonObject]) -> None:
    for node in nodes:
        if node.get("type") not in KNOWN:
            raise ApiError(400, f"Unrecognized node type: {node.get('type')}")


def _taken(state: State, workflow: Workflow, nodes: list[JsonObject]) -> str | None:
    """The name of a node whose path another workflow holds."""
    for name, method, path in webhook_paths(nodes):
        if state.webhooks.get((method, path), workflow.id) != workflow.id:
            return name
    return None


# --- 1.x --------------------------------------------------------------------------------------------------------------


def activate_1(state: State, workflow: Workflow) -> JsonObject:
    """1.x: at once or not at all. The answer is older than the registration: it shows the former ``triggerCount``."""
    if workflow.active_id == workflow.version_id:
        return workflow_json(state, workflow, "deactivate")
    workflow.active_id = workflow.version_id
    workflow.counter += 1
    state.changed(workflow)
    answer = workflow_json(state, workflow, "activate")
    start_1(state, workflow)
    return answer


def start_1(state: State, workflow: Workflow) -> None:
    """Start the triggers of a 1.x workflow that is marked active; if that fails it is not active any more."""
    nodes = workflow.live.node_list if workflow.live is not None else []
    workflow.counter += 1
    try:
        _check_types(nodes)
        if not any(not node.get("disabled") and starts_workflow(node.get("type", ""), 1) for node in nodes):
            raise ApiError(400, f'Workflow "{workflow.name}" (ID: {workflow.id}) has no node to start the workflow - at '
                                "least one trigger, poller or webhook node is required")
        taken = _taken(state, workflow, nodes)
        if any(_is_no_cron(node) for node in nodes):
            raise ApiError(400, 'There was a problem activating the workflow: "Invalid cron expression"')
        if taken is not None:
            raise ApiError(400, f'The URL path that the "{taken}" node uses is already taken. Please change it to something '
                                "else.")
    except ApiError:
        workflow.active_id = None
        state.release(workflow.id)
        state.changed(workflow)
        raise
    register(state, workflow)


def deactivate(state: State, workflow: Workflow) -> JsonObject:
    """Both generations; nothing happens to one that is not active."""
    if workflow.active_id is not None:
        if state.generation >= 2:
            _unpublish(state, workflow)
        else:
            workflow.active_id = None
            workflow.counter += 1
            state.release(workflow.id)
        state.changed(workflow)
    return workflow_json(state, workflow, "deactivate")


# --- 2.x --------------------------------------------------------------------------------------------------------------


def publish(state: State, workflow: Workflow, *, version_id: str | None = None, name: str | None = None,
            description: str | None = None) -> JsonObject:
    """2.x: publish a version (the draft unless named). Its webhooks answer some time later."""
    if workflow.archived:
        raise ApiError(400, "Cannot activate an archived workflow.")
    version = workflow.versions.get(version_id or workflow.version_id)
    if version is None:
        raise ApiError(404, "Version not found")
    nodes = version.node_list
    _check_types(nodes)
    if _taken(state, workflow, nodes) is not None:
        raise ApiError(409, "There is a conflict with one of the webhooks.")
    if not any(not node.get("disabled") and starts_workflow(node.get("type", ""), 2) for node in nodes):
        raise ApiError(400, _NO_TRIGGER_2)
    _check_called(state, workflow, nodes)
    if workflow.live is not None:
        _note(state, workflow, workflow.live, "deactivated")
    workflow.active_id = version.id
    _note(state, workflow, version, "activated")
    version.name = version.name if name is None else name
    version.description = version.description if description is None else description
    state.changed(workflow)
    answer = workflow_json(state, workflow, "activate")
    _later(state, workflow)
    return answer


def _unpublish(state: State, workflow: Workflow) -> None:
    if workflow.live is not None:
        _note(state, workflow, workflow.live, "deactivated")
    workflow.active_id = None
    _later(state, workflow)


def archive(state: State, workflow: Workflow) -> None:
    """2.x: archived ones are never active."""
    if workflow.active_id is not None:
        _unpublish(state, workflow)
    workflow.archived = True


def _note(state: State, workflow: Workflow, version: Version, event: str) -> None:
    state.published += 1
    version.published.append({"id": state.published, "workflowId": workflow.id, "versionId": version.id, "event": event,
                              "userId": state.owner_id, "createdAt": state.now()})


def _check_called(state: State, workflow: Workflow, nodes: list[JsonObject]) -> None:
    """2.x refuses to publish a workflow that calls an unpublished one."""
    problems = []
    for name, called in unpublished_calls(state, workflow, nodes):
        other = state.workflows.get(called)
        named = f' ("{other.name}")' if other is not None else ""
        problems.append(f'Node "{name}" references workflow {called}{named} which is not published')
    if problems:
        raise ApiError(400, f"Cannot publish workflow: {'; '.join(problems)}. Please publish all referenced sub-workflows "
                            "first.")


def unpublished_calls(state: State, workflow: Workflow, nodes: list[JsonObject]) -> Iterator[tuple[str, str]]:
    """The nodes that call what is not published, connected or not, and what they call. A URL is taken for an id."""
    for node in nodes:
        if node.get("type") != "n8n-nodes-base.executeWorkflow" or node.get("disabled"):
            continue
        called = _called_id(node.get("parameters") or {})
        if called is not None and called != workflow.id:
            other = state.workflows.get(called)
            if other is None or other.active_id is None:
                yield str(node.get("name")), called


def _is_no_cron(node: JsonObject) -> bool:
    """Whether a schedule cannot be registered: one whose cron expression has not five or six parts."""
    if node.get("type") != "n8n-nodes-base.scheduleTrigger" or node.get("disabled"):
        return False
    rules = ((node.get("parameters") or {}).get("rule") or {}).get("interval")
    texts = [rule.get("expression") for rule in rules if isinstance(rule, dict) and rule.get("field") == "cronExpression"] \
        if isinstance(rules, list) else []
    return any(isinstance(text, str) and not text.startswith("=") and len(text.split()) not in (5, 6) for text in texts)


def _called_id(parameters: dict[str, Any]) -> str | None:
    source = parameters.get("source")
    if isinstance(source, str) and source not in {"", "database"}:
        return None
    given = parameters.get("workflowId")
    value = given.get("value") if isinstance(given, dict) else given
    return value if isinstance(value, str) and value and not value.startswith("=") else None
