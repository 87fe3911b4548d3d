"""The blast radius of a change (§10): who calls the affected workflows, what starts them, which credentials they share.

It is read from the contents of **one environment**, since n8n ids and credential names mean something only there.
Disabled nodes do nothing and are left out; archived workflows do not run and should not be given.

An expression that names a workflow, a path or a credential decides only when it runs. It is never taken for "nothing":
it is listed under ``unknown``, for every workflow of the environment where it could be a call of an affected one, and
for the affected ones where it is a path, a time or a credential. The one expression that is known is
``{{ $workflow.id }}``: the workflow itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeVar

from wfops_pipelines.domain.canonical_json import parse_json
from wfops_pipelines.domain.entry_points import (
    EntryPoint,
    OtherTrigger,
    Schedule,
    entry_points,
    first_expression,
    is_expression,
    other_trigger,
    schedules,
)
from wfops_pipelines.domain.errors import MalformedWorkflow
from wfops_pipelines.domain.normalize import STICKY_NOTE
from wfops_pipelines.domain.references import CALLING_NODES, called_workflow, error_workflow
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.domain.workflow import Content, JsonObject

_Item = TypeVar("_Item")
UnknownKind = Literal["call", "error_workflow", "path", "schedule", "credential"]

_ITSELF: Final = re.compile(r"\s*=\s*\{\{\s*\$workflow\.id\s*\}\}\s*")
_MAX_INLINE_DEPTH: Final = 5  # workflows as JSON inside a node of a workflow as JSON …


@dataclass(frozen=True, slots=True)
class EnvironmentWorkflow:
    """A workflow of the environment: ``content`` is what runs (the live one), as ``read_content`` gives it."""

    workflow_id: str
    name: str
    active: bool
    content: Content = field(repr=False)


@dataclass(frozen=True, slots=True)
class WorkflowRef:
    """A workflow by n8n id; ``name`` is ``None`` where the environment does not hold it (any more)."""

    workflow_id: str
    name: str | None
    active: bool


@dataclass(frozen=True, slots=True)
class Caller:
    """A workflow that calls an affected one, by itself (``distance`` 1) or through others (2, 3, …). ``calls`` are the
    n8n ids it calls that lead there, ``nodes`` the nodes that do."""

    workflow: WorkflowRef
    distance: int
    calls: tuple[str, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ErrorHandling:
    """``workflow`` names an affected one (``handler``) as its error workflow."""

    workflow: WorkflowRef
    handler: str


@dataclass(frozen=True, slots=True)
class Served:
    """A path that an affected workflow answers."""

    workflow: WorkflowRef
    entry: EntryPoint


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A time at which an affected workflow starts."""

    workflow: WorkflowRef
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Triggered:
    """Another trigger of an affected workflow."""

    workflow: WorkflowRef
    trigger: OtherTrigger


@dataclass(frozen=True, slots=True)
class CredentialUse:
    """A credential by type and name, the affected workflows that use it and the others that do."""

    type: str
    name: str
    used_by: tuple[WorkflowRef, ...]
    others: tuple[WorkflowRef, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A reference that only a run can tell: an expression, a sub-workflow from a file or URL. ``node`` is ``None`` for a
    setting."""

    kind: UnknownKind
    workflow: WorkflowRef
    node: str | None
    expression: str


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a change reaches; every list is ordered and says each thing once."""

    affected: tuple[WorkflowRef, ...]
    callers: tuple[Caller, ...]
    handles_errors_of: tuple[ErrorHandling, ...]
    entry_points: tuple[Served, ...]
    schedules: tuple[Scheduled, ...]
    triggers: tuple[Triggered, ...]
    credentials: tuple[CredentialUse, ...]
    unknown: tuple[Unknown, ...]

    def as_json(self) -> JsonObject:
        """Plain JSON with the fields' names as keys; names and expressions are masked and on one line."""
        shown: JsonObject = _cleaned(asdict(self))
        return shown

    def affected_elsewhere(self) -> int:
        """Number of workflows beside the affected ones that the change reaches: callers and those whose errors they
        handle."""
        own = {ref.workflow_id for ref in self.affected}
        reached = {c.workflow.workflow_id for c in self.callers} | {e.workflow.workflow_id for e in self.handles_errors_of}
        return len(reached - own)


def reach(workflows: Iterable[EnvironmentWorkflow], affected: Collection[str]) -> Reach:
    """How far a change of the ``affected`` workflows (n8n ids; gone ones too) reaches in their environment.

    Takes time in proportion to the contents, and holds one of them at a time; cycles and calls of oneself are fine.
    Nothing is raised on what ``read_content`` lets through.
    """
    read = [(WorkflowRef(w.workflow_id, w.name, w.active), _facts(w)) for w in workflows]
    read.sort(key=lambda known: (known[0].name or "", known[0].workflow_id))
    refs = {ref.workflow_id: ref for ref, _ in read}
    facts = {ref.workflow_id: found for ref, found in read}
    targets = set(affected)
    own = [(ref, found) for ref, found in read if ref.workflow_id in targets]
    gone = [WorkflowRef(workflow_id, None, False) for workflow_id in sorted(targets - refs.keys())]
    return Reach(
        affected=(*(ref for ref, _ in own), *gone),
        callers=_callers(facts, refs, targets),
        handles_errors_of=tuple(ErrorHandling(refs[w], f.error_workflow) for w, f in facts.items()
                                if f.error_workflow in targets),
        entry_points=_once(Served(ref, entry) for ref, f in own for entry in f.entries),
        schedules=_once(Scheduled(ref, schedule) for ref, f in own for schedule in f.schedules),
        triggers=_once(Triggered(ref, trigger) for ref, f in own for trigger in f.triggers),
        credentials=_credentials(facts, refs, targets),
        unknown=_once(Unknown(kind, refs[w], node, expression) for w, f in facts.items()
                      for kind, node, expression in f.unknown
                      if w in targets or kind in ("call", "error_workflow")),
    )


def render(found: Reach, limit: int = 10) -> str:
    """A few lines for people: one heading per kind with at most ``limit`` entries, the rest counted; ends without a new
    line. Masked."""
    parts = [
        ("called by", [_caller_line(c, found) for c in found.callers]),
        ("handles errors of", [_name(e.workflow) for e in found.handles_errors_of]),
        ("serves", [f"{s.entry.method or 'any method'} {s.entry.path or _expression(s.entry.expression)} "
                    f"({s.entry.kind} of {_name(s.workflow)})" for s in found.entry_points]),
        ("runs", [f"{_schedule_words(s.schedule)} ({_name(s.workflow)})" for s in found.schedules]),
        ("started by", [f"{t.trigger.type.rpartition('.')[2]} ({_name(t.workflow)})" for t in found.triggers]),
        ("uses credentials", [_credential_line(c) for c in found.credentials]),
        ("not known before it runs", [_unknown_line(u) for u in found.unknown]),
    ]
    lines: list[str] = []
    for heading, entries in parts:
        if entries:
            lines.append(f"{heading} ({len(entries)}):")
            lines += [f"  {one_line(entry, 160)}" for entry in entries[:limit]]
            if len(entries) > limit:
                lines.append(f"  and {len(entries) - limit} more")
    return "\n".join(lines) or "nothing else is known to depend on it"


@dataclass(slots=True)
class _Facts:
    """What one workflow refers to and is started by."""

    calls: dict[str, list[str]] = field(default_factory=dict)  # called id: nodes
    error_workflow: str = ""
    entries: list[EntryPoint] = field(default_factory=list)
    schedules: list[Schedule] = field(default_factory=list)
    triggers: list[OtherTrigger] = field(default_factory=list)
    credentials: set[tuple[str, str]] = field(default_factory=set)
    unknown: list[tuple[UnknownKind, str | None, str]] = field(default_factory=list)


def _facts(workflow: EnvironmentWorkflow) -> _Facts:
    facts = _Facts()
    settings = workflow.content.get("settings") or {}
    facts.error_workflow = error_workflow(settings) or ""
    handler = settings.get("errorWorkflow")
    if is_expression(handler):
        facts.unknown.append(("error_workflow", None, handler))
    _read_nodes(facts, workflow.content["nodes"], workflow.workflow_id, within=None)
    return facts


def _read_nodes(facts: _Facts, nodes: Iterable[Any], workflow_id: str, *, within: str | None, depth: int = 0) -> None:
    """``within`` is the node of the workflow whose parameter holds these nodes as inline JSON, ``None`` for its own."""
    for node in nodes:
        if not isinstance(node, dict) or node.get("disabled") is True or node.get("type") == STICKY_NOTE:
            continue
        name = within or str(node.get("name"))
        _read_credentials(facts, node.get("credentials"), name)
        kind = node.get("type")
        if isinstance(kind, str) and kind in CALLING_NODES:
            _read_call(facts, node, name, workflow_id, depth)
        if within is None:  # the triggers of an inline workflow start nothing
            _read_starts(facts, node, workflow_id)


def _read_starts(facts: _Facts, node: JsonObject, workflow_id: str) -> None:
    name = str(node.get("name"))
    for entry in entry_points(node, workflow_id):
        facts.entries.append(entry)
        if entry.expression:
            facts.unknown.append(("path", name, entry.expression))
    for schedule in schedules(node):
        facts.schedules.append(schedule)
        if schedule.expression:
            facts.unknown.append(("schedule", name, schedule.expression))
    if trigger := other_trigger(node):
        facts.triggers.append(trigger)


def _read_call(facts: _Facts, node: JsonObject, name: str, workflow_id: str, depth: int) -> None:
    called = called_workflow(node)
    if called:
        facts.calls.setdefault(called, []).append(name)
        return
    parameters = node.get("parameters")
    if not isinstance(parameters, dict):
        return
    source = parameters.get("source", "database")
    if source == "database":
        expression = first_expression(parameters.get("workflowId"))
        if expression is not None and _ITSELF.fullmatch(expression):
            facts.calls.setdefault(workflow_id, []).append(name)
        elif expression is not None:
            facts.unknown.append(("call", name, expression))
    elif source == "parameter":
        _read_inline(facts, parameters.get("workflowJson"), name, workflow_id, depth)
    else:  # localFile, url, an expression: what is there when it runs
        where = parameters.get("workflowPath") or parameters.get("workflowUrl") or source
        facts.unknown.append(("call", name, where if isinstance(where, str) else str(source)))


def _read_inline(facts: _Facts, document: Any, name: str, workflow_id: str, depth: int) -> None:
    if is_expression(document) or depth >= _MAX_INLINE_DEPTH:
        facts.unknown.append(("call", name, document if isinstance(document, str) else "a workflow as JSON"))
        return
    if isinstance(document, str):
        try:
            document = parse_json(document)
        except MalformedWorkflow:
            document = None  # n8n would not run it either
    nodes = document.get("nodes") if isinstance(document, dict) else None
    if isinstance(nodes, list):
        _read_nodes(facts, nodes, workflow_id, within=name, depth=depth + 1)


def _read_credentials(facts: _Facts, owned: Any, name: str) -> None:
    if not isinstance(owned, dict):
        return
    for kind, reference in owned.items():
        if isinstance(reference, dict):
            expression = first_expression([reference.get("id"), reference.get("name")])
            credential = reference.get("name") or reference.get("id")
        else:
            expression, credential = first_expression(reference), reference
        if expression is not None:
            facts.unknown.append(("credential", name, expression))
        elif isinstance(credential, str):
            facts.credentials.add((kind, credential))


def _callers(facts: dict[str, _Facts], refs: dict[str, WorkflowRef], targets: set[str]) -> tuple[Caller, ...]:
    """Breadth first against the direction of calls; an affected workflow that calls an affected one is a caller too."""
    callers_of: dict[str, list[str]] = {}
    for caller, found in facts.items():
        for called in found.calls:
            callers_of.setdefault(called, []).append(caller)
    distance: dict[str, int] = {}
    leads: set[str] = set(targets)  # called by a workflow, these lead to an affected one
    frontier, step = sorted(targets), 0
    while frontier:
        step += 1
        reached = dict.fromkeys(caller for called in frontier for caller in callers_of.get(called, ()))
        fresh = [caller for caller in reached if caller not in distance]
        distance.update((caller, step) for caller in fresh)
        frontier = [caller for caller in fresh if caller not in leads]
        leads.update(fresh)
    result = []
    for caller, steps in distance.items():
        calls = sorted(called for called in facts[caller].calls if called in targets or distance.get(called, steps) < steps)
        nodes = dict.fromkeys(node for called in calls for node in facts[caller].calls[called])
        result.append(Caller(refs[caller], steps, tuple(calls), tuple(nodes)))
    return tuple(sorted(result, key=lambda c: (c.distance, c.workflow.name or "", c.workflow.workflow_id)))


def _credentials(facts: dict[str, _Facts], refs: dict[str, WorkflowRef], targets: set[str]) -> tuple[CredentialUse, ...]:
    users: dict[tuple[str, str], list[str]] = {}
    for workflow_id, found in facts.items():
        for credential in found.credentials:
            users.setdefault(credential, []).append(workflow_id)
    return tuple(
        CredentialUse(kind, name, tuple(refs[w] for w in using if w in targets),
                      tuple(refs[w] for w in using if w not in targets))
        for (kind, name), using in sorted(users.items()) if any(w in targets for w in using))


def _once(items: Iterator[_Item]) -> tuple[_Item, ...]:
    return tuple(dict.fromkeys(items))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return one_line(value, 500)
    if isinstance(value, dict):
        return {key: _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


def _name(ref: WorkflowRef) -> str:
    name = ref.workflow_id if ref.name is None else ref.name or f"without name ({ref.workflow_id})"
    return name if ref.active else f"{name}, not active"


def _expression(text: str | None) -> str:
    return f"a path that an expression makes: {text}"


def _schedule_words(schedule: Schedule) -> str:
    return schedule.when or f"at times that an expression makes: {schedule.expression}"


def _caller_line(caller: Caller, found: Reach) -> str:
    if caller.distance > 1:
        names = {c.workflow.workflow_id: c.workflow.name for c in found.callers}
        return f"{_name(caller.workflow)}, through {', '.join(names.get(c) or c for c in caller.calls)}"
    return f"{_name(caller.workflow)} (node {', '.join(caller.nodes)})"


def _credential_line(use: CredentialUse) -> str:
    shared = f", as do {len(use.others)} others: {', '.join(_name(ref) for ref in use.others[:3])}" if use.others else ""
    return f"{use.name or 'without name'} ({use.type}){shared}"


def _unknown_line(unknown: Unknown) -> str:
    where = f", node {unknown.node}" if unknown.node else ""
    return f"{unknown.kind.replace('_', ' ')} by {_name(unknown.workflow)}{where}: {unknown.expression}"
