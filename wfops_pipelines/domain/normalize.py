"""The normalised form of a workflow and the content hash over it (§4).

Two contents are the same workflow exactly when their normalised forms are equal. The form leaves out what n8n or its
editor adds (ids, positions, caches, injected settings), and everything that means nothing when the workflow runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from wfops_pipelines.domain.canonical_json import canonical_number, encode, encode_if_canonical
from wfops_pipelines.domain.execution_order import comparable_connections
from wfops_pipelines.domain.workflow import Content

NORMALIZER_VERSION: int = 1
"""Stored beside each hash; only hashes of one version are compared (§4.6). Raise it when any hash could change."""

JsonObject = dict[str, Any]

STICKY_NOTE = "n8n-nodes-base.stickyNote"

_NOT_COMPARED = ("id", "position", "webhookId", "notesInFlow", "color")
"""Node keys of the canvas or of one instance (§4.2)."""
_USUAL_KEYS = {"name", "type", "typeVersion", "parameters"}
_name = itemgetter("name")

_NODE_DEFAULTS: dict[str, Any] = {
    # An absent key means this to n8n. `onError` is not among them: an AI tool without it continues after an error,
    # one with `stopWorkflow` does not.
    "disabled": False, "executeOnce": False, "alwaysOutputData": False, "retryOnFail": False, "continueOnFail": False,
    "notes": "", "maxTries": 3, "waitBetweenTries": 1000, "parameters": {},
}

_SETTING_DEFAULTS: dict[str, tuple[Any, ...]] = {
    # Values that mean the same as an absent key, or that n8n writes by itself (§4.4, facts/n8n.md §5 and §6).
    "callerPolicy": ("workflowsFromSameOwner", ""),
    "availableInMCP": (False,),
    "timezone": ("DEFAULT", ""),
    "errorWorkflow": ("DEFAULT", ""),
    "saveDataErrorExecution": ("DEFAULT", ""),
    "saveDataSuccessExecution": ("DEFAULT", ""),
    "saveManualExecutions": ("DEFAULT", ""),
    "saveExecutionProgress": ("DEFAULT", ""),
    "executionTimeout": (-1,),
    "executionOrder": ("v0", ""),
    "engineType": ("v1", ""),
    "timeSavedMode": ("fixed", ""),
    "redactionPolicy": ("none", ""),
    "customTelemetryTags": ([],),
    "callerIds": ("",),
}
_SETTINGS_NOT_COMPARED = frozenset({"binaryMode", "credentialResolverId"})

_PICKER_CACHES = frozenset({"cachedResultName", "cachedResultUrl"})
_PICKER_CACHE = b'"cachedResult'

EditNode = Callable[[JsonObject], None]


def normalize(content: Content) -> JsonObject:
    """The normalised form: ``name``, ``nodes`` (a list, by name), ``connections``, ``settings``.

    Nodes have no canvas keys, credentials are ``{type: name}``; connections are those of
    :func:`~wfops_pipelines.domain.execution_order.comparable_connections`. Shares nothing with ``content``.
    """
    return clean(shape(content))  # type: ignore[no-any-return]


def canonical_bytes(content: Content) -> bytes:
    """The bytes that the content hash is taken over: equal exactly where the normalised forms are."""
    return shaped_bytes(shape(content))


def content_hash(content: Content) -> str:
    """SHA-256 over the normalised workflow, in hexadecimal (§1)."""
    return hashlib.sha256(canonical_bytes(content)).hexdigest()


def shaped_bytes(shaped: JsonObject) -> bytes:
    """The canonical bytes of what :func:`shape` gave, whose nodes may lose their pickers' caches by it.

    The cheap ways first; whichever is taken, the bytes are those of ``encode(clean(shaped))``.
    """
    encoded = encode_if_canonical(shaped)
    if encoded is not None and _PICKER_CACHE in encoded:
        _drop_top_level_caches(shaped["nodes"])
        encoded = encode_if_canonical(shaped)
        if encoded is not None and _PICKER_CACHE in encoded:
            encoded = None
    return encode(clean(shaped)) if encoded is None else encoded


def shape(content: Content, edit: EditNode | None = None) -> JsonObject:
    """The normalised form but for what hides inside parameters: caches of pickers, numbers (see :func:`clean`).

    ``edit`` may change the top level of each comparable node in place, before nodes are ordered.
    Below that level the result shares its parts with ``content``.
    """
    nodes, notes = [], set()
    for node in content["nodes"]:
        if node.get("type") == STICKY_NOTE:
            notes.add(node["name"])
            continue
        comparable = comparable_node(node)
        if edit:
            edit(comparable)
        nodes.append(comparable)
    nodes.sort(key=_name)
    names = set(map(_name, nodes))
    if len(names) != len(nodes):
        nodes.sort(key=lambda node: (node["name"], encode(clean(node))))
    settings = comparable_settings(content.get("settings"))
    connections = comparable_connections(
        content["connections"], (node for node in content["nodes"] if node.get("type") != STICKY_NOTE),
        by_position=settings.get("executionOrder") == "v1", ignored=notes - names)
    return {"connections": connections, "name": content["name"], "nodes": nodes, "settings": settings}


def comparable_node(node: JsonObject) -> JsonObject:
    """One node without what is not compared and without defaults; credentials by type and name (§4.2)."""
    result = node.copy()
    result.pop("id", None)
    result.pop("position", None)
    if (result.keys() == _USUAL_KEYS and result["parameters"]
            and result["type"] is not None and result["typeVersion"] is not None):
        return result  # two nodes in three
    for key in _NOT_COMPARED:
        result.pop(key, None)
    credentials = result.pop("credentials", None)
    for key in [key for key, value in result.items()
                if value is None or (key in _NODE_DEFAULTS and value == _NODE_DEFAULTS[key])]:
        del result[key]
    if credentials and (by_name := _credential_names(credentials)):
        result["credentials"] = by_name
    return result


def _credential_names(credentials: Any) -> Any:
    if credentials.__class__ is not dict:
        return credentials
    return {kind: reference.get("name") if reference.__class__ is dict else reference
            for kind, reference in credentials.items() if reference is not None}


def comparable_settings(settings: JsonObject | None) -> JsonObject:
    """Settings without what n8n injects, and without values that mean the same as an absent key (§4.4)."""
    result: JsonObject = {}
    for key, value in (settings or {}).items():
        if value is None or key in _SETTINGS_NOT_COMPARED:
            continue
        if key in _SETTING_DEFAULTS and value in _SETTING_DEFAULTS[key]:
            continue
        result[key] = value
    if result.get("executionTimeout").__class__ in (int, float) and result["executionTimeout"] <= 0:
        del result["executionTimeout"]  # any time up to 0 is none
    if result.get("callerIds").__class__ is str:
        result["callerIds"] = ",".join(sorted(set(caller_ids(result["callerIds"]))))
        if not result["callerIds"]:
            del result["callerIds"]
    return result


def caller_ids(value: Any) -> list[str]:
    """The ids in ``settings.callerIds``, which n8n splits at commas and trims."""
    if value.__class__ is not str:
        return []
    return [part for part in (piece.strip() for piece in value.split(",")) if part]


def _drop_top_level_caches(nodes: list[JsonObject]) -> None:
    """Most pickers are parameters of their node, not deeper: these lose their caches without a walk."""
    for node in nodes:
        parameters = node.get("parameters")
        if parameters.__class__ is not dict:
            continue
        cached = [key for key, value in parameters.items()
                  if value.__class__ is dict and "__rl" in value and not _PICKER_CACHES.isdisjoint(value)]
        if cached:
            node["parameters"] = parameters = parameters.copy()
            for key in cached:
                parameters[key] = {part: value for part, value in parameters[key].items()
                                   if part not in _PICKER_CACHES}


def clean(value: Any) -> Any:
    """A copy with canonical numbers, and without the caches of pickers in resource locators."""
    kind = value.__class__
    if kind is dict:
        result = {}
        for key, item in value.items():
            result[key] = item if item.__class__ is str else clean(item)
        if "__rl" in result or ("mode" in result and "value" in result):
            for cache in _PICKER_CACHES:
                result.pop(cache, None)
        return result
    if kind is list:
        items = []
        for item in value:
            items.append(item if item.__class__ is str else clean(item))
        return items
    if kind is int or kind is float:
        return canonical_number(value)
    return value
