"""What a workflow is to WorkflowOps (§1): its content, and what a listing of n8n says about it.

Content is JSON in n8n's own shapes, nodes whole: with ids, positions and webhook ids, so that it can be written back.
What of it is compared is the business of ``normalize``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from wfops_pipelines.domain.canonical_json import MAX_DEPTH, depth_exceeds, encode, parse_json
from wfops_pipelines.domain.errors import MalformedWorkflow

__all__ = ["LONGEST_ID", "Content", "JsonObject", "ListedWorkflow",
           "decode_content", "digest", "encode_content", "parse_json",
           "read_content", "read_listed"]

LONGEST_ID = 200  # characters; n8n's own are 16, and it stores at most 36

JsonObject = dict[str, Any]
Content = dict[str, Any]
"""``name``, ``nodes``, ``connections``, ``settings``, and ``nodeGroups`` where a workflow has some."""


@dataclass(frozen=True, slots=True)
class ListedWorkflow:
    """One workflow as a listing of n8n shows it.

    ``live`` is the content that runs: of an active workflow the published version (nodes and connections; name and
    settings have no versions), of an inactive one the draft. Where both are the same, ``live is draft``.
    ``published_version_id`` is set while the workflow is active.
    """

    id: str
    name: str
    active: bool
    archived: bool
    tags: tuple[str, ...]
    updated_at: str | None
    version_id: str | None
    published_version_id: str | None
    draft: Content
    live: Content


def read_listed(raw: Mapping[str, Any]) -> ListedWorkflow:
    """One entry of ``GET /workflows`` or the answer of ``GET /workflows/{id}``, n8n 1.x or 2.x.

    Raises :class:`MalformedWorkflow`, which names the workflow and what is wrong with it.
    """
    if not isinstance(raw, Mapping):
        raise MalformedWorkflow(f"a workflow of the listing is no object but {_kind(raw)}")
    workflow_id = raw.get("id")
    if isinstance(workflow_id, int) and not isinstance(workflow_id, bool):
        workflow_id = str(workflow_id)  # n8n before 0.214 numbered them
    if not isinstance(workflow_id, str) or not workflow_id:
        raise MalformedWorkflow(f"a workflow of the listing has no id (its name: {raw.get('name')!r:.80})")
    if len(workflow_id) > LONGEST_ID:
        raise MalformedWorkflow(f"a workflow of the listing has an id of {len(workflow_id):,} characters: {workflow_id:.40}")
    try:
        draft = read_content(raw)
        active = raw.get("active") is True
        version = raw.get("activeVersion") if active else None
        live = _published(draft, version) if version is not None else draft
        tags = _tag_names(raw.get("tags"))
    except MalformedWorkflow as error:
        raise MalformedWorkflow(f"workflow {workflow_id}: {error.message}", fix=error.fix) from error
    published = _text(raw.get("activeVersionId"))
    if published is None and isinstance(version, Mapping):
        published = _text(version.get("versionId"))
    return ListedWorkflow(
        id=workflow_id, name=draft["name"], active=active, archived=raw.get("isArchived") is True, tags=tags,
        updated_at=_text(raw.get("updatedAt")), version_id=_text(raw.get("versionId")),
        published_version_id=published if active else None, draft=draft, live=live,
    )


def read_content(raw: Mapping[str, Any]) -> Content:
    """The content of a workflow document: a file, or what an API answered.

    Tolerates what n8n tolerates: no name, no settings, null parameters, names given twice, dangling connections,
    unknown types. Raises :class:`MalformedWorkflow` for what n8n would refuse to import.
    """
    if not isinstance(raw, Mapping):
        raise MalformedWorkflow(f"no workflow: not an object but {_kind(raw)}")
    name = raw.get("name")
    if name is None:
        name = ""  # copied from the editor's canvas, a workflow has none
    elif not isinstance(name, str):
        raise MalformedWorkflow(f"name is no text but {_kind(name)}")
    settings = raw.get("settings")
    if settings is None:
        settings = {}
    elif not isinstance(settings, dict):
        raise MalformedWorkflow(f"settings are no object but {_kind(settings)}")
    content: Content = {
        "name": name,
        "nodes": _nodes(raw.get("nodes")),
        "connections": _connections(raw.get("connections")),
        "settings": settings,
    }
    groups = raw.get("nodeGroups")
    if groups:
        content["nodeGroups"] = groups
    _refuse_deep_nesting(content)
    return content


def _published(draft: Content, version: Any) -> Content:
    """What runs of an active workflow: the published nodes and connections under today's name and settings."""
    if not isinstance(version, Mapping):
        raise MalformedWorkflow(f"activeVersion is no object but {_kind(version)}")
    live: Content = dict(draft)
    live["nodes"] = _nodes(version.get("nodes"), "activeVersion.nodes")
    live["connections"] = _connections(version.get("connections"), "activeVersion.connections")
    if "nodeGroups" in version:  # 2.x versions carry the groups too
        live.pop("nodeGroups", None)
        if version["nodeGroups"]:
            live["nodeGroups"] = version["nodeGroups"]
    if live == draft:
        return draft
    _refuse_deep_nesting(live)
    return live


def _nodes(nodes: Any, where: str = "nodes") -> list[JsonObject]:
    if not isinstance(nodes, list):
        raise MalformedWorkflow(f"{where} is no list but {_kind(nodes)}")
    for index, node in enumerate(nodes):
        if not isinstance(node, dict):
            raise MalformedWorkflow(f"{where}[{index}] is no object but {_kind(node)}")
        if not isinstance(node.get("name"), str):
            raise MalformedWorkflow(f"{where}[{index}] has no name (its type: {node.get('type')!r:.80})")
    return nodes


def _connections(connections: Any, where: str = "connections") -> JsonObject:
    if not isinstance(connections, dict):
        raise MalformedWorkflow(f"{where} is no object but {_kind(connections)}")
    return connections


def _tag_names(tags: Any) -> tuple[str, ...]:
    if not tags:
        return ()
    if not isinstance(tags, list):
        raise MalformedWorkflow(f"tags are no list but {_kind(tags)}")
    names = [tag.get("name") if isinstance(tag, Mapping) else tag for tag in tags]
    return tuple(sorted({name for name in names if isinstance(name, str)}))


def _refuse_deep_nesting(content: Content) -> None:
    try:
        orjson.dumps(content)  # refuses more than 254 levels, at a tenth of what walking the content costs
    except TypeError:
        if depth_exceeds(content, MAX_DEPTH):
            raise MalformedWorkflow(f"nested deeper than {MAX_DEPTH} levels",
                                    fix="flatten the JSON in its parameters") from None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _kind(value: Any) -> str:
    if value is None:
        return "missing or null"
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def encode_content(content: Content) -> bytes:
    """Content for storage: compact JSON with sorted keys, UTF-8, nothing left out; :func:`decode_content` undoes it."""
    return encode(content)


def decode_content(encoded: bytes) -> Content:
    """The content that :func:`encode_content` wrote."""
    content: Content = parse_json(encoded)
    return content


def digest(encoded: bytes) -> str:
    """The address of stored content: SHA-256 of the encoded bytes, in hexadecimal (§4.8)."""
    return hashlib.sha256(encoded).hexdigest()
