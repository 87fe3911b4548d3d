"""The endpoints: which path and method does what, in which generation, and with which query parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wfops_pipelines.n8n.sandbox import activation, credentials, executions, listing, tags, workflows
from wfops_pipelines.n8n.sandbox.bodies import (
    CREDENTIAL_1,
    CREDENTIAL_2,
    CREDENTIAL_PATCH,
    PUBLISH,
    TAG,
    TAG_IDS,
    check_workflow,
)
from wfops_pipelines.n8n.sandbox.errors import ApiError, not_found, unlicensed
from wfops_pipelines.n8n.sandbox.javascript import dump
from wfops_pipelines.n8n.sandbox.query import Spec, Window
from wfops_pipelines.n8n.sandbox.records import JsonObject
from wfops_pipelines.n8n.sandbox.rendering import OWNER, version_json, workflow_json
from wfops_pipelines.n8n.sandbox.schema import check_body
from wfops_pipelines.n8n.sandbox.state import State


@dataclass(frozen=True, slots=True)
class Call:
    """A request that passed the door: the key is right, the query is read, the body is JSON."""

    state: State
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any

    def checked(self, schema: Any) -> Any:
        """The body, if it fits."""
        check_body(schema, self.given, self.state.generation)
        return self.given

    @property
    def given(self) -> Any:
        """The body; none at all, and ``null``, are an empty object to n8n."""
        return {} if self.body is None else self.body


Answer = bytes | JsonObject | list[Any]
Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Route:
    """An endpoint. ``body`` says whether one is needed; ``generations`` where it exists."""

    method: str
    pattern: re.Pattern[str]
    handle: Handler
    query: Spec = field(default_factory=dict)
    body: bool = False
    status: int = 200
    generations: tuple[int, ...] = (1, 2)


ROUTES: list[Route] = []
_PAGED: Spec = {"limit": "limit", "cursor": "text"}


def _route(method: str, path: str, **options: Any) -> Callable[[Handler], Handler]:
    pattern = re.compile("".join(f"(?P<{part[1:-1]}>[^/]+)" if part.startswith("{") else part
                                 for part in re.split(r"(\{\w+\})", path)) + "/?")

    def add(handle: Handler) -> Handler:
        ROUTES.append(Route(method, pattern, handle, **options))
        return handle

    return add


def _paged(call: Call, rows: list[JsonObject]) -> JsonObject:
    window = Window.of(call.query)
    return {"data": rows[window.part], "nextCursor": window.next_cursor(len(rows))}


# --- workflows --------------------------------------------------------------------------------------------------------

_FILTERS: Spec = {**_PAGED, "active": "flag", "tags": "text", "name": "text", "projectId": "text",
                  "excludePinnedData": "flag"}


@_route("GET", "/workflows", query=_FILTERS, generations=(1,))
@_route("GET", "/workflows", query={**_FILTERS, "offset": "limit"}, generations=(2,))
def _list(call: Call) -> Answer:
    return listing.workflow_page(call.state, call.query)


@_route("POST", "/workflows", body=True)
def _create(call: Call) -> Answer:
    return workflows.create(call.state, check_workflow(call.given, call.state.generation, update=False))


@_route("GET", "/workflows/{id}", query={"excludePinnedData": "flag"})
def _get(call: Call) -> Answer:
    workflow = workflows.find(call.state, call.path["id"])
    return workflow_json(call.state, workflow, "get", pinned=not call.query.get("excludePinnedData"))


@_route("PUT", "/workflows/{id}", body=True, generations=(1,))
@_route("PUT", "/workflows/{id}", body=True, query={"publishIfActive": "flag"}, generations=(2,))
def _put(call: Call) -> Answer:
    body = check_workflow(call.given, call.state.generation, update=True)
    return workflows.put(call.state, call.path["id"], body, publish=call.query.get("publishIfActive", True))


@_route("DELETE", "/workflows/{id}")
def _delete(call: Call) -> Answer:
    return workflows.delete(call.state, call.path["id"])


@_route("POST", "/workflows/{id}/activate")
@_route("POST", "/workflows/{id}/publish", generations=(2,))
def _activate(call: Call) -> Answer:
    if call.state.generation < 2:
        return activation.activate_1(call.state, workflows.find(call.state, call.path["id"]))
    body = call.checked(PUBLISH)
    workflow = workflows.find(call.state, call.path["id"], "activate")
    return activation.publish(call.state, workflow, version_id=body.get("versionId"), name=body.get("name"),
                              description=body.get("description"))


@_route("POST", "/workflows/{id}/deactivate")
@_route("POST", "/workflows/{id}/unpublish", generations=(2,))
def _deactivate(call: Call) -> Answer:
    return activation.deactivate(call.state, workflows.find(call.state, call.path["id"], "deactivate"))


@_route("POST", "/workflows/{id}/archive", generations=(2,))
def _archive(call: Call) -> Answer:
    return workflows.archive(call.state, call.path["id"])


@_route("POST", "/workflows/{id}/unarchive", generations=(2,))
def _unarchive(call: Call) -> Answer:
    return workflows.unarchive(call.state, call.path["id"])


@_route("GET", "/workflows/{id}/tags")
def _tags_of(call: Call) -> Answer:
    return tags.tags_of(call.state, call.path["id"])


@_route("PUT", "/workflows/{id}/tags", body=True)
def _set_tags(call: Call) -> Answer:
    return tags.replace(call.state, call.path["id"], [item["id"] for item in call.checked(TAG_IDS)])


@_route("PUT", "/workflows/{id}/transfer", body=True)
@_route("PUT", "/credentials/{id}/transfer", body=True)
def _transfer(call: Call) -> Answer:
    raise ApiError(404, "Could not find any project with that ID: there is one personal project here")


@_route("GET", "/workflows/{id}/history", query=_PAGED, generations=(2,))
def _history(call: Call) -> Answer:
    workflow = workflows.find(call.state, call.path["id"])
    rows = []
    for version in reversed(workflow.versions.values()):
        row = version_json(call.state, workflow, version)
        rows.append({key: value for key, value in row.items() if key not in {"nodes", "connections", "nodeGroups"}})
    return _paged(call, rows)


@_route("GET", "/workflows/{id}/versions/{version}", generations=(2,))
def _version(call: Call) -> Answer:
    workflow = call.state.workflows.get(call.path["id"])
    if workflow is None:
        raise ApiError(404, "Workflow not found")
    return _old_version(call)


@_route("GET", "/workflows/{id}/{version}")
def _old_version(call: Call) -> Answer:
    workflow = call.state.workflows.get(call.path["id"])
    version = workflow.versions.get(call.path["version"]) if workflow is not None else None
    if workflow is None or version is None:
        raise ApiError(404, "Version not found")
    return version_json(call.state, workflow, version)


# --- tags and credentials ---------------------------------------------------------------------------------------------


@_route("GET", "/tags", query=_PAGED)
def _list_tags(call: Call) -> Answer:
    return _paged(call, [tag.json() for _, tag in sorted(call.state.tags.items())])


@_route("POST", "/tags", body=True, status=201)
def _create_tag(call: Call) -> Answer:
    return tags.create(call.state, call.checked(TAG)["name"])


@_route("GET", "/tags/{id}")
def _get_tag(call: Call) -> Answer:
    return tags.known(call.state, call.path["id"]).json()


@_route("PUT", "/tags/{id}", body=True)
def _rename_tag(call: Call) -> Answer:
    return tags.rename(call.state, call.path["id"], call.checked(TAG)["name"])


@_route("DELETE", "/tags/{id}")
def _delete_tag(call: Call) -> Answer:
    return tags.delete(call.state, call.path["id"])


@_route("GET", "/credentials", query=_PAGED, generations=(2,))
def _list_credentials(call: Call) -> Answer:
    newest = sorted(call.state.credentials.values(), key=lambda item: item.created_at, reverse=True)
    owner = f"{OWNER['firstName']} {OWNER['lastName']} <{OWNER['email']}>"
    return _paged(call, [credentials.listed_json(call.state, item, owner) for item in newest])


@_route("POST", "/credentials", body=True)
def _create_credential(call: Call) -> Answer:
    return credentials.create(call.state, call.checked(CREDENTIAL_1 if call.state.generation < 2 else CREDENTIAL_2))


@_route("GET", "/credentials/schema/{type}")
def _credential_schema(call: Call) -> Answer:
    known = credentials.schema(call.state, call.path["type"])
    if known is None:
        raise not_found()
    return known


@_route("GET", "/credentials/{id}", generations=(2,))
def _get_credential(call: Call) -> Answer:
    found = call.state.credentials.get(call.path["id"])
    if found is None:
        raise ApiError(404, "Credential not found")
    return credentials.credential_json(call.state, found)


@_route("PATCH", "/credentials/{id}", body=True, generations=(2,))
def _patch_credential(call: Call) -> Answer:
    return credentials.change(call.state, call.path["id"], call.checked(CREDENTIAL_PATCH))


@_route("DELETE", "/credentials/{id}")
def _delete_credential(call: Call) -> Answer:
    return credentials.delete(call.state, call.path["id"])


@_route("POST", "/credentials/{id}/test", generations=(2,))
def _test_credential(call: Call) -> Answer:
    return credentials.test(call.state, call.path["id"])


# --- executions, users, audit, what needs a licence -------------------------------------------------------------------

_RUNS: Spec = {**_PAGED, "includeData": "flag", "workflowId": "text", "projectId": "text"}


@_route("GET", "/executions", query={**_RUNS, "status": executions.STATUSES[1]}, generations=(1,))
@_route("GET", "/executions", generations=(2,),
        query={**_RUNS, "status": executions.STATUSES[2], "startedAfter": "text", "startedBefore": "text"})
def _list_executions(call: Call) -> Answer:
    return executions.list_executions(call.state, call.query)


@_route("GET", "/executions/{id}", query={"includeData": "flag"})
def _get_execution(call: Call) -> Answer:
    run = executions.find(call.state, call.path["id"])
    return executions.execution_json(call.state, run, data=bool(call.query.get("includeData")))


@_route("DELETE", "/executions/{id}")
def _delete_execution(call: Call) -> Answer:
    return executions.delete(call.state, call.path["id"])


@_route("POST", "/executions/{id}/retry")
def _retry_execution(call: Call) -> Answer:
    return executions.retry(call.state, call.path["id"])


def _owner(state: State) -> JsonObject:
    more = {"mfaEnabled": False} if state.generation >= 2 else {}
    times = {"createdAt": state.created_at, "updatedAt": state.created_at}
    return {"id": state.owner_id, **OWNER, **times, "isPending": False, **more}


@_route("GET", "/users", query={**_PAGED, "includeRole": "flag", "projectId": "text"})
def _list_users(call: Call) -> Answer:
    return _paged(call, [_owner(call.state)])


@_route("GET", "/users/{id}", query={"includeRole": "flag"})
def _get_user(call: Call) -> Answer:
    owner = _owner(call.state)
    if call.path["id"] not in {owner["id"], owner["email"]}:
        raise ApiError(404, f"Could not find user with id: {call.path['id']}")
    return owner


@_route("POST", "/audit")
def _audit(call: Call) -> Answer:
    return {"Instance Risk Report": {"risk": "instance", "sections": []}}


@_route("GET", "/variables", query=_PAGED)
@_route("POST", "/variables")
def _variables(call: Call) -> Answer:
    raise unlicensed("feat:variables")


@_route("GET", "/projects", query=_PAGED)
@_route("POST", "/projects")
def _projects(call: Call) -> Answer:
    raise unlicensed("feat:projectRole:admin")


@_route("GET", "/projects/{id}/folders", query=_PAGED, generations=(2,))
def _folders(call: Call) -> Answer:
    raise unlicensed("feat:folders")


@_route("POST", "/source-control/pull")
def _source_control(call: Call) -> Answer:
    if call.state.generation >= 2:
        raise unlicensed("feat:sourceControl")
    said = "Source Control feature is not licensed"
    raise ApiError(401, said, body={"status": "Error", "message": said})


_SCOPES: Mapping[str, tuple[str, ...]] = {
    "credential": ("create", "delete", "list", "read", "update"), "execution": ("delete", "list", "read", "retry"),
    "securityAudit": ("generate",), "tag": ("create", "delete", "list", "read", "update"), "user": ("list", "read"),
    "workflow": ("activate", "create", "deactivate", "delete", "list", "read", "update"), "workflowTags": ("list", "update"),
}


@_route("GET", "/discover", generations=(2,))
def _discover(call: Call) -> Answer:
    scopes = [f"{resource}:{operation}" for resource, operations in _SCOPES.items() for operation in operations]
    resources = {resource: {"operations": operations, "endpoints": []} for resource, operations in _SCOPES.items()}
    return {"data": {"scopes": scopes, "resources": resources, "filters": {}, "specUrl": "/api/v1/openapi.yml"}}


@_route("GET", "/openapi.yml")
def _openapi(call: Call) -> Answer:
    return dump({"openapi": "3.0.0", "info": {"title": "n8n Public API", "version": "1.1.1"},
                 "servers": [{"url": "/api/v1"}], "paths": {}})
