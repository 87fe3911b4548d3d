"""Rules of the lint about what n8n 2.x looks at when it publishes, node by node (§11.5); see ``lint_rules``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from wfops_pipelines.domain.normalize import STICKY_NOTE
from wfops_pipelines.domain.required_credentials import REQUIRED_CREDENTIALS
from wfops_pipelines.domain.workflow import Content, JsonObject
from wfops_pipelines.domain.workflow_lint import LintContext, LintFinding, LintRule, LintSeverity

_SWITCHED_OFF: Final = frozenset({"n8n-nodes-base.executeCommand", "n8n-nodes-base.localFileTrigger"})  # as of 2.41
_STARTING: Final = ("Trigger", "emailReadImap")  # ends of the types that n8n looks at without a connection


def switched_off_types(content: Content, context: LintContext) -> Iterator[LintFinding]:
    """n8n 2.x knows nothing of some of its own types unless its ``NODES_EXCLUDE`` says so: ``Unrecognized node type``."""
    if context.generation < 2:
        return
    for node in content["nodes"]:
        kind = node.get("type")
        if kind.__class__ is not str or kind not in _SWITCHED_OFF:
            continue
        if kind in context.running_types or kind in (context.known_types or ()):
            continue
        refused = context.active and node.get("disabled") is not True
        yield LintFinding(
            LintRule.SWITCHED_OFF_NODE_TYPE, _severity(refused=refused), node["name"],
            f"n8n 2.x has the node type {kind} switched off by default"
            + (", and then refuses to publish the workflow" if refused else ""),
            "replace the node; where the target has it switched on (NODES_EXCLUDE), waive this")


def required_credentials(content: Content, context: LintContext) -> Iterator[LintFinding]:
    """n8n 2.x refuses to publish a node without a credential that it requires, if the node is enabled, and connected or a
    trigger; 1.x finds out when it runs."""
    connected = _connected(content["connections"])
    for node in content["nodes"]:
        kind, name = node.get("type"), node.get("name")
        if kind.__class__ is not str or kind == STICKY_NOTE or node.get("disabled") is True:
            continue
        required = REQUIRED_CREDENTIALS.get(kind)
        if required is None or not (name in connected or kind.endswith(_STARTING)) or _has(node, required):
            continue
        refused = context.active and context.generation >= 2
        yield LintFinding(
            LintRule.MISSING_CREDENTIAL, _severity(refused=refused), node["name"],
            f"the node has no credential, and needs one of type {required}"
            + (": n8n refuses to publish the workflow" if refused else ""),
            "choose a credential in the source's n8n, or disable the node")


def _severity(*, refused: bool) -> LintSeverity:
    return LintSeverity.ERROR if refused else LintSeverity.WARNING


def _connected(connections: Any) -> set[Any]:
    """Names of nodes that a connection starts or ends at; what has not the form of one is left out."""
    found: set[Any] = set()
    for source, kinds in connections.items():
        outputs = [output for each in kinds.values() if isinstance(each, list) for output in each] if isinstance(
            kinds, dict) else []
        ends = {target["node"] for output in outputs if isinstance(output, list) for target in output
                if isinstance(target, dict) and isinstance(target.get("node"), str)}
        if ends:
            found |= {source, *ends}
    return found


def _has(node: JsonObject, kind: str) -> bool:
    """Whether it names a credential of that type: n8n finds one by its name where the id is none."""
    owned = node.get("credentials")
    reference = owned.get(kind) if isinstance(owned, dict) else None
    return bool(reference.get("id") or reference.get("name")) if isinstance(reference, dict) else bool(reference)
