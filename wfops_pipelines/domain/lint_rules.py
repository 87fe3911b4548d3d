"""The rules of the lint (§11.5): each looks at a workflow and says what it finds. See ``workflow_lint`` for what a finding
is; measured on n8n 2.41 is what that version refuses.

The content to give is the one that is to be written to the target, with the target's webhook ids.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeGuard

from wfops_pipelines.domain.certain_secrets import is_placeholder, providers_of_secrets
from wfops_pipelines.domain.entry_points import EntryPoint, entry_points
from wfops_pipelines.domain.lint_publishing import required_credentials, switched_off_types
from wfops_pipelines.domain.masking import mask
from wfops_pipelines.domain.normalize import STICKY_NOTE
from wfops_pipelines.domain.references import error_workflow
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.domain.starting_nodes import can_be_active, only_workflows_start
from wfops_pipelines.domain.workflow import Content, JsonObject
from wfops_pipelines.domain.workflow_lint import LintContext, LintFinding, LintReport, LintRule, LintSeverity

Rule = Callable[[Content, LintContext], Iterator[LintFinding]]

ERROR, WARNING, INFO = LintSeverity.ERROR, LintSeverity.WARNING, LintSeverity.INFO
_NAME_LIMIT: Final = 128  # UTF-16 units, as n8n counts
_NODE_NAME_LIMIT: Final = 100
_SHOWN: Final = 3  # places that one message names
_WRITING: Final = re.compile(
    r"(?:create|update|delete|upsert|append|insert|send|post|add|remove|upload|write|move|copy|put|publish|replace|invite"
    r"|reply|clear|archive|set|share|rename|execute(?:Command)?$|push|edit|import)(?![a-z])")
_WRITING_SQL: Final = re.compile(r"=?\s*(?:insert|update|delete|merge|truncate|drop|alter|create|replace)\b", re.IGNORECASE)
_ALWAYS_WRITING: Final = frozenset({"n8n-nodes-base.emailSend", "n8n-nodes-base.writeBinaryFile",
                                    "n8n-nodes-base.executeCommand"})
_READING_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def lint_workflow(content: Content, context: LintContext) -> LintReport:
    """Everything that is wrong with a workflow, the worst first, then by rule and node; no waiver is applied yet."""
    findings = [finding for rule in RULES for finding in rule(content, context)]
    order = list(LintSeverity)
    findings.sort(key=lambda finding: (order.index(finding.severity), finding.rule, finding.node or "", finding.message))
    skipped = []
    if context.known_types is None:
        skipped.append(f"{LintRule.UNKNOWN_NODE_TYPE}: the node types that the target has are not known")
    if context.taken_paths is None:
        skipped.append(f"{LintRule.WEBHOOK_PATH_TAKEN}: the paths that the target serves are not known")
    return LintReport(str(content.get("name") or ""), tuple(findings), skipped=tuple(skipped))


# -- what n8n refuses to take ------------------------------------------------------------------------------------------


def _workflow_name(content: Content, _: LintContext) -> Iterator[LintFinding]:
    length = len(str(content.get("name") or "").encode("utf-16-le", "surrogatepass")) // 2
    if length == 0:
        yield _finding(LintRule.WORKFLOW_NAME, ERROR, None, "the workflow has no name", "give it one; n8n 2.x asks for it")
    elif length > _NAME_LIMIT:
        yield _finding(LintRule.WORKFLOW_NAME, ERROR, None, f"its name has {length} characters",
                       f"n8n 2.x takes {_NAME_LIMIT}: shorten it")


def _incomplete_nodes(content: Content, _: LintContext) -> Iterator[LintFinding]:
    """Fields without which, or with which, n8n takes no node. Null is as good as absent: it is not sent."""
    for node in content["nodes"]:
        wrong = [field for field, is_right in _NODE_FIELDS.items() if not is_right(node.get(field))]
        if wrong:
            yield _finding(LintRule.INCOMPLETE_NODE, ERROR, node["name"],
                           f"the node has no usable {' and no usable '.join(wrong)}",
                           "n8n 2.x refuses such nodes: open and save the workflow in its editor")


def _duplicates(content: Content, context: LintContext) -> Iterator[LintFinding]:
    """n8n 2.x refuses both; 1.x takes both, but by name it then connects one of the nodes only."""
    names = Counter(str(node.get("name")) for node in content["nodes"])
    for name, times in names.items():
        if times > 1:
            yield _finding(LintRule.DUPLICATE_NODE_NAME, ERROR, name, f"{times} nodes have this name",
                           "rename all but one: connections and expressions go by the name")
    ids: dict[str, list[str]] = {}
    for node in content["nodes"]:
        if isinstance(node_id := node.get("id"), str) and node_id:
            ids.setdefault(node_id, []).append(str(node.get("name")))
    for sharing in ids.values():
        if len(sharing) > 1:
            yield _finding(LintRule.DUPLICATE_NODE_ID, ERROR if context.generation >= 2 else WARNING, sharing[0],
                           f"{len(sharing)} nodes have one id: {_some(sharing)}",
                           "copy one of them inside n8n's editor and delete the original, so that it gets an id of its own")


def _connections(content: Content, _: LintContext) -> Iterator[LintFinding]:
    names = {node.get("name") for node in content["nodes"]}
    for source, kinds in content["connections"].items():
        if source not in names:
            yield _finding(LintRule.DANGLING_CONNECTION, ERROR, source, "connections start at a node that is not there",
                           "remove them, or give the node back its name")
        for target in _targets(kinds):
            if not isinstance(target, dict) or not _is_target(target):
                yield _finding(LintRule.MALFORMED_CONNECTION, ERROR, source,
                               "one of its connections names no node, no type or no index", "draw it again in n8n's editor")
            elif target["node"] not in names:
                yield _finding(LintRule.DANGLING_CONNECTION, ERROR, source,
                               f"it is connected with '{one_line(target['node'], 80)}', which is not there",
                               "remove the connection, or give the node back its name")


# -- what n8n refuses to run -------------------------------------------------------------------------------------------


def _trigger(content: Content, context: LintContext) -> Iterator[LintFinding]:
    if not context.active or (can := can_be_active(content, generation=context.generation)):
        return
    if can is None:
        yield _finding(LintRule.NO_TRIGGER, WARNING, None, "the workflow shall be active, and no node is known to start it",
                       "add a trigger, or promote it as inactive")
    elif only_workflows_start(content):
        yield _finding(LintRule.NO_TRIGGER, ERROR, None,
                       "the workflow shall be active, and only other workflows start it: n8n 1.x refuses to activate it",
                       "promote it as inactive: it can be called all the same")
    else:
        yield _finding(LintRule.NO_TRIGGER, ERROR, None,
                       "the workflow shall be active, and no enabled node starts it: n8n refuses to activate it",
                       "add a trigger, or promote it as inactive")


def _unknown_types(content: Content, context: LintContext) -> Iterator[LintFinding]:
    if context.known_types is None:
        return
    for node in content["nodes"]:
        kind = node.get("type")
        if not isinstance(kind, str) or kind == STICKY_NOTE or kind in context.known_types:
            continue
        refused = context.active and node.get("disabled") is not True
        yield _finding(LintRule.UNKNOWN_NODE_TYPE, ERROR if refused else WARNING, node["name"],
                       f"the target has no node type {one_line(kind, 100)}"
                       + (": n8n refuses to activate the workflow" if refused else ""),
                       "install the community package of that node in the target, or replace the node")


def _webhook_paths(content: Content, context: LintContext) -> Iterator[LintFinding]:
    severity = ERROR if context.active else WARNING
    own: dict[tuple[str, str], str] = {}
    seen: set[tuple[str, str, str]] = set()
    for node in _enabled(content):
        for entry in entry_points(node, context.workflow_id or ""):
            if entry.path is None or entry.method is None:
                continue
            first = own.setdefault((entry.method, entry.path), entry.node)
            if first != entry.node and (entry.node, entry.path, "") not in seen:
                seen.add((entry.node, entry.path, ""))
                yield _finding(LintRule.WEBHOOK_PATH_TWICE, severity, entry.node,
                               f"{_served(entry)} is that of '{one_line(first, 80)}' too", "give one of them another path")
            for taken in (context.taken_paths or {}).get((entry.method, entry.path), ()):
                mine = (entry.node, entry.path, taken.workflow_id)
                if mine in seen or taken.workflow_id == context.workflow_id:
                    continue
                seen.add(mine)
                refused = context.active and taken.active
                yield _finding(LintRule.WEBHOOK_PATH_TAKEN, ERROR if refused else WARNING, entry.node,
                               f"{_served(entry)} is served by '{one_line(taken.workflow_name, 80)}' in the target"
                               + ("" if refused else " once both are active"),
                               "give it another path, or deactivate the other workflow")


# -- secrets -----------------------------------------------------------------------------------------------------------


def _secrets(content: Content, _: LintContext) -> Iterator[LintFinding]:
    for node in content["nodes"]:
        certain: dict[str, list[str]] = {}
        likely: list[str] = []
        parameters = node.get("parameters")
        prose = node.get("type") == STICKY_NOTE  # not worth the time that masking takes: only what is certain counts there
        for path, text in _leaves(parameters, "") if prose else _hidden(parameters, mask(parameters), ""):
            if providers := providers_of_secrets(text):
                for provider in providers:
                    certain.setdefault(provider, []).append(path)
            elif not prose and not is_placeholder(text):
                likely.append(path)
        if providers := providers_of_secrets(str(node.get("notes") or "")):
            certain.setdefault(providers[0], []).append("notes")
        for provider, paths in certain.items():
            yield _finding(LintRule.HARD_CODED_SECRET, ERROR, node["name"],
                           f"{_whose(provider)} stands in {_some(paths)}",
                           "revoke it, and put its successor into a credential of n8n")
        if likely:
            yield _finding(LintRule.LIKELY_SECRET, WARNING, node["name"],
                           f"what looks like a secret stands in {_some(likely)}",
                           "put it into a credential of n8n, if it is one")


# -- what goes wrong later ---------------------------------------------------------------------------------------------


def _error_workflow(content: Content, context: LintContext) -> Iterator[LintFinding]:
    handles = any(node.get("type") == "n8n-nodes-base.errorTrigger" for node in _enabled(content))
    settings = content.get("settings") or {}
    if context.active and not handles and error_workflow(settings) is None:
        yield _finding(LintRule.NO_ERROR_WORKFLOW, WARNING, None, "nobody is told when the workflow fails",
                       "set an error workflow in its settings")


def _errors_ignored(content: Content, _: LintContext) -> Iterator[LintFinding]:
    for node in _enabled(content):
        mode = node.get("onError") or ("continueRegularOutput" if node.get("continueOnFail") is True else None)
        handled = mode == "continueErrorOutput" and _has_second_output(content, node)
        if mode in {"continueRegularOutput", "continueErrorOutput"} and not handled and _writes(node):
            yield _finding(LintRule.ERRORS_IGNORED, WARNING, node["name"],
                           "the node writes, and the workflow goes on as if nothing were wrong when that fails",
                           "stop on errors, or connect its error output")


def _disabled_in_path(content: Content, _: LintContext) -> Iterator[LintFinding]:
    enabled = {node["name"] for node in _enabled(content)}
    disabled = {node["name"] for node in content["nodes"] if node.get("disabled") is True}
    after: dict[str, set[str]] = {}
    for source, kinds in content["connections"].items():
        main = kinds.get("main") if isinstance(kinds, dict) else None
        after[source] = {target["node"] for target in _targets({"main": main})
                         if isinstance(target, dict) and _is_target(target)}
    for name in sorted(disabled):
        before = any(name in targets for source, targets in after.items() if source in enabled)
        if before and after.get(name, set()) & enabled:
            yield _finding(LintRule.DISABLED_IN_PATH, WARNING, name, "the node is disabled: data passes it unchanged",
                           "enable it, or remove it and connect its neighbours")


def _pinned(content: Content, context: LintContext) -> Iterator[LintFinding]:
    for name in sorted(set(context.pinned_nodes) & {node["name"] for node in content["nodes"]}):
        yield _finding(LintRule.PINNED_DATA, INFO, name, "the node has pinned data: runs by hand use it in place of its own",
                       "unpin it in the editor when the test is over")


def _long_node_names(content: Content, _: LintContext) -> Iterator[LintFinding]:
    for node in content["nodes"]:
        if len(node["name"]) > _NODE_NAME_LIMIT:
            yield _finding(LintRule.LONG_NODE_NAME, INFO, node["name"], f"its name has {len(node['name'])} characters",
                           f"up to {_NODE_NAME_LIMIT} can be read in the editor and in lists")


RULES: Final[tuple[Rule, ...]] = (
    _workflow_name, _incomplete_nodes, _duplicates, _connections, _trigger, _unknown_types, switched_off_types,
    required_credentials, _webhook_paths, _secrets, _error_workflow, _errors_ignored, _disabled_in_path, _pinned,
    _long_node_names,
)


# -- what these are made of --------------------------------------------------------------------------------------------


def _finding(rule: LintRule, severity: LintSeverity, node: str | None, message: str, fix: str) -> LintFinding:
    return LintFinding(rule, severity, node, message, fix)


def _enabled(content: Content) -> Iterator[JsonObject]:
    return (node for node in content["nodes"] if node.get("disabled") is not True and node.get("type") != STICKY_NOTE)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_position(value: Any) -> bool:
    return value is None or (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)))


_NODE_FIELDS: Final[Mapping[str, Callable[[Any], bool]]] = MappingProxyType({
    "name": _is_text, "type": _is_text, "position": _is_position,  # none becomes the origin when it is written
    "typeVersion": lambda value: value is None or _is_number(value),
    "parameters": lambda value: value is None or isinstance(value, dict),
    "disabled": lambda value: value is None or isinstance(value, bool),
    "id": lambda value: value is None or isinstance(value, str),
})


def _targets(kinds: Any) -> Iterator[Any]:
    """Every end of the connections of one node; what has not their form comes as ``None``."""
    if not isinstance(kinds, dict):
        yield None
        return
    for outputs in kinds.values():
        if not isinstance(outputs, list):
            yield None
            continue
        for targets in outputs:
            if targets is None:  # an output that is not used
                continue
            yield from targets if isinstance(targets, list) else [None]


def _is_target(target: JsonObject) -> bool:
    index = target.get("index")
    return (all(isinstance(target.get(field), str) and target[field] for field in ("node", "type"))
            and _is_number(index) and index >= 0 and index % 1 == 0)


def _served(entry: EntryPoint) -> str:
    return f"{entry.method} {one_line(entry.path or '', 120)}"


def _has_second_output(content: Content, node: JsonObject) -> bool:
    kinds = content["connections"].get(node["name"])
    outputs = kinds.get("main") if isinstance(kinds, dict) else None
    return isinstance(outputs, list) and any(outputs[1:])


def _writes(node: JsonObject) -> bool:
    """Whether a node changes something outside, as far as its parameters say; n8n leaves out what is the default."""
    kind, parameters = node.get("type"), node.get("parameters")
    if kind in _ALWAYS_WRITING:
        return True
    if not isinstance(parameters, dict):
        return False
    if kind == "n8n-nodes-base.httpRequest":
        method = parameters.get("method", parameters.get("requestMethod", "GET"))
        return isinstance(method, str) and not method.startswith("=") and method.upper() not in _READING_METHODS
    operation, query = parameters.get("operation"), parameters.get("query")
    if operation == "executeQuery":
        return isinstance(query, str) and _WRITING_SQL.match(query) is not None
    return isinstance(operation, str) and _WRITING.match(operation) is not None


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text of a JSON value, with its path."""
    if isinstance(value, str):
        yield path or "parameters", value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else f"parameters.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")


def _hidden(value: Any, masked: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text of a JSON value that masking changed, with its path. What it did not change is the same object."""
    if masked is value:
        return
    if isinstance(value, str):
        yield path or "parameters", value
    elif isinstance(value, dict):
        alike = len(masked) < len(value)  # keys that hold secrets, and are one when masked
        sides = [mask(item, key) for key, item in value.items()] if alike else masked.values()
        for (key, item), shown in zip(value.items(), sides, strict=True):
            yield from _hidden(item, shown, f"{path}.{key}" if path else f"parameters.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _hidden(item, masked[index], f"{path}[{index}]")


def _whose(provider: str) -> str:
    return provider if provider.startswith("a ") else f"a secret of {provider}"


def _some(places: list[str]) -> str:
    """The first places, and how many more there are."""
    shown = ", ".join(one_line(place, 120) for place in places[:_SHOWN])
    return shown if len(places) <= _SHOWN else f"{shown} and {len(places) - _SHOWN} more"
