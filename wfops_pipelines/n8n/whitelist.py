"""The keys that n8n takes: anything else in a body is refused with a 400 (facts §6).

What ``GET`` or Git gives can therefore not be sent as it is; this drops what this generation does not take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NODE = frozenset({
    "id", "name", "webhookId", "disabled", "notesInFlow", "notes", "type", "typeVersion", "executeOnce",
    "alwaysOutputData", "retryOnFail", "maxTries", "waitBetweenTries", "continueOnFail", "onError", "position",
    "parameters", "credentials",
})
_SETTINGS = frozenset({
    "saveExecutionProgress", "saveManualExecutions", "saveDataErrorExecution", "saveDataSuccessExecution",
    "executionTimeout", "errorWorkflow", "timezone", "executionOrder", "callerPolicy", "callerIds",
    "timeSavedPerExecution", "availableInMCP",
})
_TOP = frozenset({"name", "nodes", "connections", "settings", "staticData"})
_DEFAULTS: Mapping[str, Any] = {"nodes": [], "connections": {}, "settings": {}}

NODE_KEYS: Mapping[int, frozenset[str]] = {1: _NODE, 2: _NODE | {"customTelemetryTags"}}
SETTINGS_KEYS: Mapping[int, frozenset[str]] = {
    1: _SETTINGS,
    2: _SETTINGS | {"timeSavedMode", "redactionPolicy", "customTelemetryTags", "binaryMode", "credentialResolverId"},
}
#: Without ``projectId`` and ``parentFolderId``, which 2.x takes, too: ids of another instance mean nothing here.
CREATE_KEYS: Mapping[int, frozenset[str]] = {1: _TOP, 2: _TOP | {"nodeGroups", "pinData"}}
UPDATE_KEYS: Mapping[int, frozenset[str]] = {1: _TOP, 2: _TOP | {"nodeGroups", "pinData", "description"}}
CREDENTIAL_KEYS: Mapping[int, frozenset[str]] = {1: frozenset({"name", "type", "data"}),
                                                 2: frozenset({"id", "name", "type", "data"})}
#: Null clears these two (facts §6); anywhere else at the top null is refused.
_CLEARED_BY_NULL = frozenset({"staticData", "pinData"})


def create_body(workflow: Mapping[str, Any], generation: int) -> dict[str, Any]:
    """The body of ``POST /workflows`` for a workflow in any of n8n's shapes."""
    return _body(workflow, CREATE_KEYS[generation], generation)


def update_body(workflow: Mapping[str, Any], generation: int) -> dict[str, Any]:
    """The body of ``PUT /workflows/{id}``."""
    return _body(workflow, UPDATE_KEYS[generation], generation)


def credential_body(credential: Mapping[str, Any], generation: int) -> dict[str, Any]:
    """The body of ``POST /credentials``; only 2.x takes a chosen id."""
    return {key: value for key, value in credential.items() if key in CREDENTIAL_KEYS[generation] and value is not None}


def _body(workflow: Mapping[str, Any], keys: frozenset[str], generation: int) -> dict[str, Any]:
    body = {key: value for key, value in workflow.items()
            if key in keys and (value is not None or key in _CLEARED_BY_NULL)}
    for key, value in _DEFAULTS.items():
        body.setdefault(key, value)
    if isinstance(body["nodes"], list):
        body["nodes"] = [_node(node, NODE_KEYS[generation]) for node in body["nodes"]]
    if isinstance(body["settings"], Mapping):
        body["settings"] = {key: value for key, value in body["settings"].items()
                            if key in SETTINGS_KEYS[generation] and value is not None}
    return body


def _node(node: Any, keys: frozenset[str]) -> Any:
    if not isinstance(node, Mapping):
        return node  # n8n's refusal says which
    sent = {key: value for key, value in node.items() if key in keys and value is not None}
    if isinstance(sent.get("credentials"), Mapping):
        # Where there is no "id" at all, n8n takes the first credential of the type, whatever its name; null makes it look.
        sent["credentials"] = {kind: {"id": None, **reference} if isinstance(reference, Mapping) else reference
                               for kind, reference in sent["credentials"].items()}
    sent.setdefault("position", [0, 0])  # old exports hold null; 2.x wants one, and it means nothing by itself
    return sent
