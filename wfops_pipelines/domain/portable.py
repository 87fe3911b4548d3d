"""A content in portable form, for diffs between environments (§8): references by canonical id, credentials by key.

The hash of it is :func:`wfops_pipelines.domain.references.portable_hash`; this is the same replacement on a content
that can still be shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from wfops_pipelines.domain.normalize import caller_ids
from wfops_pipelines.domain.references import called_workflow, error_workflow
from wfops_pipelines.domain.workflow import Content


def to_portable(content: Content, *, self_id: str | None, canonical_id_of: Mapping[str, str],
                credential_key_of: Mapping[tuple[str, str], str]) -> Content:
    """A copy of ``content`` with its references replaced; nodes without any are shared with the original."""
    def meant(workflow_id: str) -> str:
        return "itself" if workflow_id == self_id else canonical_id_of.get(workflow_id, "unknown workflow")

    settings: dict[str, Any] = dict(content.get("settings") or {})
    if handler := error_workflow(settings):
        settings["errorWorkflow"] = meant(handler)
    if callers := caller_ids(settings.get("callerIds")):
        settings["callerIds"] = ",".join(_each_once(sorted(meant(caller) for caller in set(callers))))
    nodes = [_node(node, meant, credential_key_of) for node in content["nodes"]]
    return {**content, "nodes": nodes, "settings": settings}


def _each_once(names: Iterable[str]) -> Iterator[str]:
    """Several unknown workflows look alike; the portable hash counts them, and so the diff must."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"


def _node(node: dict[str, Any], meant: Any, key_of: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    if called := called_workflow(node):
        changed["parameters"] = {**node["parameters"], "workflowId": meant(called)}
    credentials = node.get("credentials")
    if isinstance(credentials, dict) and key_of:
        changed["credentials"] = {kind: _credential(kind, reference, key_of) for kind, reference in credentials.items()}
    return {**node, **changed} if changed else node


def _credential(kind: str, reference: Any, key_of: Mapping[tuple[str, str], str]) -> Any:
    name = reference.get("name") if isinstance(reference, dict) else reference
    key = key_of.get((kind, name)) if isinstance(name, str) else None
    return reference if key is None else {"name": f"key:{key}"}  # not to be taken for a credential of that name
