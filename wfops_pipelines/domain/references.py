"""What a workflow refers to by name or id, and the portable hash that does not depend on either (§4.7).

Ids of workflows and names of credentials differ from environment to environment. The portable form says which
canonical workflow and which logical credential is meant, so that the same workflow hashes the same everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from wfops_pipelines.domain.normalize import STICKY_NOTE, JsonObject, caller_ids, shape, shaped_bytes
from wfops_pipelines.domain.workflow import Content

CALLING_NODES = frozenset({
    "n8n-nodes-base.executeWorkflow",
    "@n8n/n8n-nodes-langchain.toolWorkflow",
    "@n8n/n8n-nodes-langchain.retrieverWorkflow",
})
"""Node types whose parameter ``workflowId`` names another workflow (n8n's ``workflowSelector``)."""

_ITSELF = "self"
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class References:
    """n8n ids of the workflows a workflow calls, names or lets call it, and its credentials as (type, name)."""

    workflow_ids: frozenset[str]
    credentials: frozenset[tuple[str, str]]


def references(content: Content) -> References:
    """The references of a workflow. What an expression will yield when it runs is unknown and left out."""
    credentials: set[tuple[str, str]] = set()
    for node in content["nodes"]:
        if node.get("type") == STICKY_NOTE:
            continue
        owned = node.get("credentials")
        if owned.__class__ is dict:
            for credential_type, reference in owned.items():
                name = reference.get("name") if reference.__class__ is dict else reference
                if name.__class__ is str:
                    credentials.add((credential_type, name))
    callers = caller_ids((content.get("settings") or {}).get("callerIds"))
    return References(frozenset({*needed_workflows(content), *callers}), frozenset(credentials))


def needed_workflows(content: Content) -> set[str]:
    """The n8n ids of the workflows that it calls, or that handle its errors: without them it does not do what it did."""
    needed = {called_workflow(node) for node in content["nodes"]}
    needed.add(error_workflow(content.get("settings") or {}))
    return {each for each in needed if each}


def called_workflow(node: JsonObject) -> str | None:
    """The id of the workflow that a node calls; none for other nodes, for an expression, for inline JSON."""
    kind = node.get("type")
    if kind.__class__ is not str or kind not in CALLING_NODES:
        return None
    parameters = node.get("parameters")
    if parameters.__class__ is not dict or parameters.get("source", "database") != "database":
        return None
    return _workflow_id(parameters.get("workflowId"))


def error_workflow(settings: Mapping[str, Any]) -> str | None:
    """The id of the workflow that handles errors, if one is set."""
    handler = settings.get("errorWorkflow")
    return handler if handler.__class__ is str and handler not in ("", "DEFAULT") and handler[0] != "=" else None


def _workflow_id(selected: Any) -> str | None:
    mode = None
    if selected.__class__ is dict:
        mode, selected = selected.get("mode"), selected.get("value")
    if selected.__class__ is int:
        selected = str(selected)  # n8n before 0.214 numbered workflows
    if selected.__class__ is not str:
        return None
    selected = selected.strip()
    if selected.startswith("="):
        return None
    if mode == "url":
        try:
            path = urlsplit(selected).path
        except ValueError:  # "https://[" is no URL
            return None
        return path.rstrip("/").rpartition("/")[2] or None
    return selected or None


def portable_bytes(
    content: Content, *, self_id: str | None, canonical_id_of: Mapping[str, str],
    credential_key_of: Mapping[tuple[str, str], str],
) -> bytes:
    """The canonical bytes with every reference in portable form.

    ``self_id`` is the workflow's own n8n id, ``canonical_id_of`` gives the canonical id of an n8n id of this
    environment, ``credential_key_of`` the tenant's key of a credential's (type, name). A workflow that is not in the
    table is masked: all unknown ones look alike. A credential that is not in the table keeps its name. Without any
    reference these are the bytes of the content hash.
    """
    def portable(workflow_id: str) -> JsonObject:
        meant = _ITSELF if workflow_id == self_id else canonical_id_of.get(workflow_id, _UNKNOWN)
        return {"workflow": meant}

    def edit(node: JsonObject) -> None:
        if called := called_workflow(node):
            node["parameters"] = {**node["parameters"], "workflowId": portable(called)}
        if credential_key_of and "credentials" in node:
            node["credentials"] = _by_key(node["credentials"], credential_key_of)

    shaped = shape(content, edit)
    settings = shaped["settings"]
    if handler := error_workflow(settings):
        settings["errorWorkflow"] = portable(handler)
    if callers := caller_ids(settings.get("callerIds")):
        settings["callerIds"] = sorted((portable(caller) for caller in callers), key=lambda ref: str(ref["workflow"]))
    return shaped_bytes(shaped)


def portable_hash(
    content: Content, *, self_id: str | None, canonical_id_of: Mapping[str, str],
    credential_key_of: Mapping[tuple[str, str], str],
) -> str:
    """SHA-256 over :func:`portable_bytes`, in hexadecimal: equal in every environment for the same workflow."""
    return hashlib.sha256(portable_bytes(
        content, self_id=self_id, canonical_id_of=canonical_id_of, credential_key_of=credential_key_of)).hexdigest()


def _by_key(credentials: Any, key_of: Mapping[tuple[str, str], str]) -> Any:
    if credentials.__class__ is not dict:
        return credentials
    return {kind: {"key": key_of[kind, name]} if name.__class__ is str and (kind, name) in key_of else name
            for kind, name in credentials.items()}
