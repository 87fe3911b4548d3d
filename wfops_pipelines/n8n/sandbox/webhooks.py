"""What answers outside the API: production webhooks and forms (``/webhook``, ``/form``, ``/mcp``).

Nothing is run. A call leaves an execution, which succeeds unless the live workflow holds a node that is made to stop it
(``stopAndError``), or calls a workflow that 2.x has not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wfops_pipelines.n8n.sandbox import executions
from wfops_pipelines.n8n.sandbox.activation import unpublished_calls, webhook_paths
from wfops_pipelines.n8n.sandbox.javascript import dump
from wfops_pipelines.n8n.sandbox.records import JsonObject, Workflow
from wfops_pipelines.n8n.sandbox.state import State

PREFIXES = ("/webhook/", "/form/", "/mcp/")
_JSON = "application/json"
_HTML = "text/html"
_FORM = "n8n-nodes-base.formTrigger"
_OLD_FORM = "/n8n-form"  # of version 1, which is served below /webhook
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_HINT = ("The workflow must be active for a production URL to run successfully. You can activate the workflow using the "
         "toggle in the top-right of the editor. Note that unlike test URL calls, production URL calls aren't shown on the "
         "canvas (only in the executions list)")


@dataclass(frozen=True, slots=True)
class Said:
    """An answer outside the API."""

    status: int
    content: bytes = b""
    kind: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(state: State, method: str, whole: str, headers: Mapping[str, str]) -> Said:
    """What a path below one of the prefixes answers."""
    prefix = next(prefix for prefix in PREFIXES if whole.startswith(prefix))
    path = whole.removeprefix(prefix)
    registered = sorted(taken for taken, other in state.webhooks if other == path)
    if method == "OPTIONS":
        named = {"access-control-allow-methods": ", ".join(["OPTIONS", *registered])} if "origin" in headers else {}
        return Said(204, headers=named)
    if method not in _METHODS:
        return Said(500, dump({"code": 0, "message": f"The method {method} is not supported."}))
    holder = state.webhooks.get((method, path))
    workflow = None if holder is None else state.workflows[holder]
    is_form = workflow is not None and _node(workflow, path).get("type") == _FORM
    proper = "/form/" if is_form and not path.endswith(_OLD_FORM) else "/webhook/"
    if workflow is None or (state.generation >= 2 and prefix != proper):
        return _not_registered(method, path, registered, page=prefix == "/form/")
    return _form(state, workflow, method, headers) if is_form else _run(state, workflow, path)


def _form(state: State, workflow: Workflow, method: str, headers: Mapping[str, str]) -> Said:
    """Shown, or filled in. 2.x looks at what it is given before it starts anything."""
    if method == "GET":
        return Said(200, b"<!DOCTYPE html>\n<html lang='en'><body><form></form></body></html>", _HTML)
    if headers.get("content-type", "").startswith("multipart/form-data"):
        executions.triggered(state, workflow.id, "webhook", _failure(state, workflow))
        return Said(200, b'{"status":200}')
    if state.generation >= 2:
        return Said(415, dump({"code": 415, "message": "Expected multipart/form-data"}))
    said = "Workflow Form Error: Workflow could not be started!"
    executions.triggered(state, workflow.id, "webhook", {"message": said})
    return Said(500, dump({"code": 0, "message": said}))


def _not_registered(method: str, path: str, registered: list[str], *, page: bool) -> Said:
    if page:
        return Said(404, b"<!DOCTYPE html>\n<html lang='en'><body>Problem loading form</body></html>", _HTML)
    if not registered:
        return Said(404, dump({"code": 404, "message": f'The requested webhook "{method} {path}" is not registered.',
                               "hint": _HINT}))
    others = registered[0] if len(registered) == 1 else f"{', '.join(registered[:-1])} or {registered[-1]}"
    return Said(404, dump({"code": 404, "message": f"This webhook is not registered for {method} requests. Did you mean to "
                                                   f"make a {others} request?"}))


def _run(state: State, workflow: Workflow, path: str) -> Said:
    failure = _failure(state, workflow)
    executions.triggered(state, workflow.id, "webhook", failure)
    if _node(workflow, path).get("parameters", {}).get("responseMode") != "lastNode":
        return Said(200, b'{"message":"Workflow was started"}')
    return Said(200, b"{}") if failure is None else Said(500, b'{"message":"Error in workflow"}')


def _failure(state: State, workflow: Workflow) -> JsonObject | None:
    """The error that its execution ends with."""
    nodes = _live(workflow)
    for node in nodes:
        if node.get("type") == "n8n-nodes-base.stopAndError" and not node.get("disabled"):
            message = (node.get("parameters") or {}).get("errorMessage", "")
            return {"message": message, "name": "NodeOperationError", "node": {"name": node.get("name")}}
    if state.generation >= 2:
        for name, called in unpublished_calls(state, workflow, nodes):
            return {"message": f"Workflow is not active: {called}", "name": "NodeOperationError", "node": {"name": name}}
    return None


def _live(workflow: Workflow) -> list[JsonObject]:
    return workflow.live.node_list if workflow.live is not None else []


def _node(workflow: Workflow, path: str) -> dict[str, Any]:
    names = [name for name, _, taken in webhook_paths(_live(workflow)) if taken == path]
    return next((node for node in _live(workflow) if node.get("name") in names), {})
