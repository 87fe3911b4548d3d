"""What ``POST`` and ``PUT /workflows`` take, by generation (facts §6), and the structure that 2.x checks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from wfops_pipelines.n8n.sandbox.errors import ApiError
from wfops_pipelines.n8n.sandbox.schema import Arr, Choice, Custom, Nullable, Obj, check_body, json_kind

JsonObject = dict[str, Any]
_RECORD = Obj(open_=True)
_TELEMETRY = Arr(Obj({"key": "string", "value": "string"}, required=("key", "value")))


def _static_data(value: Any, zod: bool) -> str | None:
    if isinstance(value, dict) or (value is None):
        return None
    if not isinstance(value, str):
        return " Invalid input" if zod else (
            " must be string, request/body/staticData must be object, request/body/staticData must match a schema in anyOf")
    try:
        json.loads(value)
    except ValueError:
        return " must be a JSON string" if zod else (
            ' must match format "jsonString", request/body/staticData must be object, '
            "request/body/staticData must match a schema in anyOf")
    return None


def _object(value: Any, zod: bool) -> str | None:
    return None if isinstance(value, dict) else " must be object"


_NODE_KEYS: dict[str, Any] = {
    "id": "string", "name": "string", "webhookId": "string", "disabled": "boolean", "notesInFlow": "boolean",
    "notes": "string", "type": "string", "typeVersion": "number", "executeOnce": "boolean", "alwaysOutputData": "boolean",
    "retryOnFail": "boolean", "maxTries": "number", "waitBetweenTries": "number", "continueOnFail": "boolean",
    "onError": "string", "position": Arr("number"), "parameters": _RECORD, "credentials": _RECORD,
}
_SETTINGS_KEYS: dict[str, Any] = {
    "saveExecutionProgress": "boolean", "saveManualExecutions": "boolean",
    "saveDataErrorExecution": Choice(("all", "none")), "saveDataSuccessExecution": Choice(("all", "none")),
    "executionTimeout": "number", "errorWorkflow": "string", "timezone": "string", "executionOrder": "string",
    "callerPolicy": Choice(("any", "none", "workflowsFromAList", "workflowsFromSameOwner")), "callerIds": "string",
    "timeSavedPerExecution": "number", "availableInMCP": "boolean",
}
_SETTINGS_KEYS_2: dict[str, Any] = {
    "saveExecutionProgress": "boolean", "saveManualExecutions": "boolean",
    "saveDataErrorExecution": Choice(("all", "none")), "saveDataSuccessExecution": Choice(("all", "none")),
    "executionTimeout": "number", "errorWorkflow": "string", "timezone": "string", "executionOrder": "string",
    "binaryMode": Choice(("separate", "combined")), "callerPolicy": _SETTINGS_KEYS["callerPolicy"], "callerIds": "string",
    "timeSavedMode": Choice(("fixed", "dynamic")), "timeSavedPerExecution": "number",
    "redactionPolicy": Choice(("none", "non-manual", "manual-only", "all")), "availableInMCP": "boolean",
    "customTelemetryTags": _TELEMETRY, "credentialResolverId": "string",
}
_NODE_1 = Obj(_NODE_KEYS, read_only=("createdAt", "updatedAt"))
_NODE_2 = Obj({**_NODE_KEYS, "customTelemetryTags": Obj({"tag": _TELEMETRY})}, read_only=("createdAt", "updatedAt"))
_GROUP = Obj({"id": "string", "name": "string", "description": "string", "nodeIds": Arr("string")},
             required=("id", "name", "nodeIds"))
_REQUIRED = ("name", "nodes", "connections", "settings")
_CREATE_1 = Obj(
    {"name": "string", "nodes": Arr(_NODE_1), "connections": Custom(_object), "settings": Obj(_SETTINGS_KEYS),
     "staticData": Custom(_static_data), "shared": Arr(_RECORD)},
    required=_REQUIRED, read_only=("id", "active", "createdAt", "updatedAt", "tags", "activeVersion"))
_KEYS_2: dict[str, Any] = {
    "name": "string", "nodes": Arr(_NODE_2), "connections": Custom(_object), "settings": Obj(_SETTINGS_KEYS_2),
    "nodeGroups": Arr(_GROUP), "staticData": Custom(_static_data), "pinData": Nullable(_RECORD), "shared": Arr(_RECORD),
    "parentFolderId": Nullable("string"),
}
_READ_ONLY_2 = ("id", "active", "createdAt", "updatedAt", "isArchived", "versionId", "triggerCount", "meta", "tags",
                "activeVersion")
_CREATE_2 = Obj({**_KEYS_2, "projectId": "string"}, required=_REQUIRED, read_only=_READ_ONLY_2)
_UPDATE_2 = Obj({**_KEYS_2, "description": "string"}, required=_REQUIRED, read_only=_READ_ONLY_2)

#: The order in which 2.x writes a node's keys; ids that it makes itself come last.
NODE_ORDER = tuple(_NODE_2.keys)
SETTINGS_ORDER = tuple(key for key in _SETTINGS_KEYS_2 if key not in {"binaryMode", "credentialResolverId"})


def check_workflow(body: Any, generation: int, *, update: bool) -> JsonObject:
    """The body, fit for this generation's whitelist; else its 400."""
    schema = _CREATE_1 if generation < 2 else _UPDATE_2 if update else _CREATE_2
    check_body(schema, body, generation)
    assert isinstance(body, dict)  # noqa: S101 - the schema says so
    return body


PUBLISH = Obj({"versionId": "string", "name": "string", "description": "string"}, open_=True)
TAG = Obj({"name": "string"}, required=("name",), read_only=("id", "createdAt", "updatedAt"))
TAG_IDS = Arr(Obj({"id": "string"}, required=("id",)))
CREDENTIAL_1 = Obj({"name": "string", "type": "string", "data": _RECORD}, required=("name", "type", "data"),
                   read_only=("id", "createdAt", "updatedAt"), open_=True)
CREDENTIAL_2 = Obj({"id": "string", "name": "string", "type": "string", "data": _RECORD, "isResolvable": "boolean",
                    "projectId": "string"},
                   required=("name", "type", "data"), read_only=("createdAt", "updatedAt"), open_=True)
CREDENTIAL_PATCH = Obj({"name": "string", "type": "string", "data": _RECORD, "isGlobal": "boolean",
                        "isResolvable": "boolean", "isPartialData": "boolean"}, open_=True)


def check_name(name: str) -> None:
    """1 to 128 characters; a surrogate pair is one."""
    if not 1 <= len(name) <= 128:
        raise ApiError(400, "Workflow name must be 1 to 128 characters long.")


def check_structure(nodes: list[JsonObject], connections: Mapping[str, Any]) -> None:
    """2.x alone: nodes have name, type and position, names and ids are unique, connections lead somewhere."""
    issues = list(_shape_issues(nodes, connections)) or list(_reference_issues(nodes, connections))
    if issues:
        raise ApiError(400, "Workflow structure is invalid. " + "; ".join(issues))


def _kind(at: str, value: Any, kind: str) -> Iterator[str]:
    if value is _ABSENT:
        yield f"{at} (invalid_type): Required"
    elif json_kind(value) != kind:
        yield f"{at} (invalid_type): Expected {kind}, received {json_kind(value)}"


_ABSENT: Any = object()


def _text(at: str, value: Any) -> Iterator[str]:
    yield from _kind(at, value, "string")
    if value == "":
        yield f"{at} (too_small): String must contain at least 1 character(s)"


def _shape_issues(nodes: list[JsonObject], connections: Mapping[str, Any]) -> Iterator[str]:
    for index, node in enumerate(nodes):
        at = f"nodes[{index}]"
        yield from _text(f"{at}.name", node.get("name", _ABSENT))
        yield from _text(f"{at}.type", node.get("type", _ABSENT))
        position = node.get("position", _ABSENT)
        yield from _kind(f"{at}.position", position, "array")
        if isinstance(position, list) and len(position) != 2:
            few = len(position) < 2
            yield (f"{at}.position ({'too_small' if few else 'too_big'}): Array must contain at "
                   f"{'least' if few else 'most'} 2 element(s)")
    for source, outputs in connections.items():
        at = f"connections.{source}"
        yield from _kind(at, outputs, "object")
        for kind, buckets in outputs.items() if isinstance(outputs, dict) else ():
            yield from _kind(f"{at}.{kind}", buckets, "array")
            for number, bucket in enumerate(buckets if isinstance(buckets, list) else ()):
                if bucket is not None:
                    yield from _bucket_issues(f"{at}.{kind}[{number}]", bucket)


def _bucket_issues(at: str, bucket: Any) -> Iterator[str]:
    yield from _kind(at, bucket, "array")
    for number, target in enumerate(bucket if isinstance(bucket, list) else ()):
        here = f"{at}[{number}]"
        yield from _kind(here, target, "object")
        if not isinstance(target, dict):
            continue
        yield from _text(f"{here}.node", target.get("node", _ABSENT))
        yield from _text(f"{here}.type", target.get("type", _ABSENT))
        index = target.get("index", _ABSENT)
        yield from _kind(f"{here}.index", index, "number")
        if isinstance(index, float):
            yield f"{here}.index (invalid_type): Expected integer, received float"
        if isinstance(index, int | float) and not isinstance(index, bool) and index < 0:
            yield f"{here}.index (too_small): Number must be greater than or equal to 0"


def _reference_issues(nodes: list[JsonObject], connections: Mapping[str, Any]) -> Iterator[str]:
    names: set[str] = set()
    ids: dict[str, str] = {}
    for index, node in enumerate(nodes):
        name, node_id = node["name"], node.get("id")
        if node_id:
            if node_id in ids:
                yield (f'nodes[{index}].id (duplicate_node_id): Nodes "{ids[node_id]}" and "{name}" share the node ID '
                       f'"{node_id}"')
            ids.setdefault(node_id, name)
        if name in names:
            yield f'nodes[{index}].name (duplicate_node_name): Duplicate node name "{name}"'
        names.add(name)
    for source, outputs in connections.items():
        if source not in names:
            yield (f'connections.{source} (unknown_connection_source): Connection source "{source}" does not reference '
                   "an existing node")
        for kind, buckets in outputs.items():
            for number, bucket in enumerate(buckets):
                for place, target in enumerate(bucket or ()):
                    if target["node"] not in names:
                        yield (f"connections.{source}.{kind}[{number}][{place}].node (unknown_connection_target): "
                               f'Connection target "{target["node"]}" does not reference an existing node')
