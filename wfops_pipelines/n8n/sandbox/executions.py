"""Executions: newest first, by a cursor of the last id (facts §8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfops_pipelines.n8n.sandbox.errors import ApiError, not_found
from wfops_pipelines.n8n.sandbox.javascript import dump
from wfops_pipelines.n8n.sandbox.query import MAX_LIMIT, decode_cursor, encode_cursor
from wfops_pipelines.n8n.sandbox.records import Execution, JsonObject
from wfops_pipelines.n8n.sandbox.state import State

STATUSES = {1: ("canceled", "error", "running", "success", "waiting"),
            2: ("canceled", "crashed", "error", "new", "running", "success", "unknown", "waiting")}
#: Only listed when asked for by their status.
_ASKED_FOR = {1: ("running", "waiting"), 2: ("running",)}


def execution_json(state: State, run: Execution, *, data: bool, listed: bool = False) -> JsonObject:
    """An execution as an answer shows it."""
    made: JsonObject = {
        "id": str(run.id), "finished": run.status == "success", "mode": run.mode, "retryOf": run.retry_of,
        "retrySuccessId": None, "status": run.status, "startedAt": run.started_at, "stoppedAt": run.stopped_at,
        "workflowId": run.workflow_id, "waitTill": None}
    if not listed:
        made |= {"createdAt": run.started_at, "deletedAt": None}
    if not listed and state.generation >= 2:
        made |= {"storedAt": "db", "jsonSizeBytes": len(dump(run.data)), "workflowVersionId": run.version_id,
                 "tracingContext": None, "deduplicationKey": None, "binaryDataSizeBytes": 0, "usedPrivateCredentials": False}
    if data:
        workflow = state.workflows[run.workflow_id]
        made["data"] = run.data if run.data is not None else {"resultData": {"runData": {}}}
        made["workflowData"] = {"id": workflow.id, "name": workflow.name, "nodes": workflow.draft.node_list}
        made["customData"] = {}
    return made


def list_executions(state: State, query: Mapping[str, Any]) -> JsonObject:
    """One page."""
    limit, last = query.get("limit"), None
    if query.get("cursor"):
        said = decode_cursor(query["cursor"])
        limit = said["limit"] if isinstance(said.get("limit"), int) else limit
        last = int(said["lastId"]) if str(said.get("lastId", "")).isdigit() else None
    limit = 100 if limit is None else min(max(limit, 1), MAX_LIMIT)
    status, workflow_id = query.get("status"), query.get("workflowId")
    runs = [run for key, run in sorted(state.executions.items(), reverse=True)
            if (last is None or key < last)
            and (run.status == status if status else run.status not in _ASKED_FOR[state.generation])
            and (workflow_id is None or run.workflow_id == workflow_id)
            and ("startedAfter" not in query or run.started_at > query["startedAfter"])
            and ("startedBefore" not in query or run.started_at < query["startedBefore"])
            and ("projectId" not in query or query["projectId"] == state.project_id)]
    shown = runs[:limit]
    cursor = encode_cursor(lastId=str(shown[-1].id), limit=limit) if len(runs) > len(shown) else None
    data = bool(query.get("includeData"))
    return {"data": [execution_json(state, run, data=data, listed=True) for run in shown], "nextCursor": cursor}


def find(state: State, text: str) -> Execution:
    """The execution of an id."""
    if not text.isdigit():
        said = "id must be number" if state.generation < 2 else "executionId must be a positive integer"
        raise ApiError(400, f"request/params/{said}")
    run = state.executions.get(int(text))
    if run is None:
        raise not_found()
    return run


def delete(state: State, text: str) -> JsonObject:
    """``DELETE /executions/{id}``; the id comes back as a number."""
    run = find(state, text)
    answer = execution_json(state, run, data=False) | {"id": run.id}
    del state.executions[run.id]
    state.changes += 1
    return answer


def retry(state: State, text: str) -> JsonObject:
    """``POST /executions/{id}/retry``: a new run that succeeds; a success is not retried."""
    if state.generation >= 2 and state.workflows and text.isdigit() and int(text) not in state.executions:
        raise ApiError(404, f"The execution with the ID \"{text}\" does not exist.")
    run = find(state, text)
    if run.status == "success":
        raise ApiError(400 if state.generation < 2 else 409, "The execution succeeded, so it cannot be retried.")
    number, now = max(state.executions) + 1, state.now()
    made = Execution(number, run.workflow_id, "success", "retry", now, now, retry_of=str(run.id), version_id=run.version_id)
    state.executions[number] = made
    state.changes += 1
    return execution_json(state, made, data=False)


def triggered(state: State, workflow_id: str, mode: str, error: JsonObject | None = None) -> None:
    """A run that a webhook started, with the error that it ended with. A success leaves nothing where the workflow says
    so."""
    workflow = state.workflows[workflow_id]
    if error is None and workflow.settings.get("saveDataSuccessExecution") == "none":
        return
    number, now = max(state.executions, default=0) + 1, state.now()
    data: JsonObject | None = None
    if error is not None:
        node = (error.get("node") or {}).get("name")
        data = {"resultData": {"runData": {}, "error": error, "lastNodeExecuted": node}}
    state.executions[number] = Execution(number, workflow_id, "success" if error is None else "error", mode, now, now,
                                         data=data, version_id=workflow.active_id)
    state.changes += 1
