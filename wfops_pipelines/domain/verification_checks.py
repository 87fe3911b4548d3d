"""What is looked at after a promotion, and what the target's answers mean (§11.1).

Pure: the services ask n8n, and these functions say what to ask and what was said. Facts behind them, measured on n8n 1.123
and 2.41:

- n8n 2.x answers 200 to a publication, says ``active``, and only then registers what triggers the workflow. A trigger that
  cannot be registered (a cron expression that is none, a service that refuses) leaves no trace but ``triggerCount``, which
  stays what it was, 0 for a new workflow; 1.x refuses at once.
- Which methods a webhook's path has can be asked without starting anything; whether a schedule is registered cannot.
- An answer of 200 to a webhook says that the workflow was started. Whether it succeeded is in its execution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final

from wfops_pipelines.domain.entry_points import EntryPoint, entry_points, other_trigger, schedules
from wfops_pipelines.domain.masking import mask_text
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.domain.workflow import Content, JsonObject, ListedWorkflow

_SHOWN: Final = 300  # characters of what n8n says
_NOT_NAMED_SO: Final = frozenset({"n8n-nodes-base.emailReadImap"})  # triggers all the same


class Check(StrEnum):
    """What is looked at."""

    CONTENT = "content"
    WEBHOOK = "webhook"
    TRIGGER = "trigger"
    SMOKE_WORKFLOW = "smoke_workflow"


class Outcome(StrEnum):
    """What was found. ``not_checked`` is neither: n8n, or what stands before it, does not tell."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True, slots=True)
class ToVerify:
    """A workflow that was promoted: the hash of the content that shall be live, and whether it shall run. ``new`` says
    that the promotion created it; of another one n8n shows what it may have shown before."""

    workflow_id: str
    name: str
    live_hash: str
    active: bool = True
    new: bool = False


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """One thing that was looked at. ``node`` and ``path`` where it is about one; ``fix`` where there is a way out."""

    check: Check
    outcome: Outcome
    reason: str
    workflow_id: str | None
    workflow: str
    node: str | None = None
    path: str | None = None
    fix: str | None = None

    def as_json(self) -> JsonObject:
        """As the promotion's record and ``--json`` show it."""
        return asdict(self) | {"check": str(self.check), "outcome": str(self.outcome)}


def failed(results: Sequence[VerificationResult]) -> list[VerificationResult]:
    """Those that speak against the promotion. What could not be checked does not."""
    return [result for result in results if result.outcome is Outcome.FAILED]


# -- content ---------------------------------------------------------------------------------------------------------------


def content_result(wanted: ToVerify, seen: ListedWorkflow | None, live_hash: str | None) -> VerificationResult:
    """Whether what runs is what was promoted. ``seen`` is none where the workflow is gone."""
    if seen is None:
        return _of(wanted, Check.CONTENT, Outcome.FAILED, "it is gone from the target", fix="sync the environment")
    if seen.active is not wanted.active:
        said = "it does not run" if wanted.active else "it runs, and should not"
        return _of(wanted, Check.CONTENT, Outcome.FAILED, said, fix="somebody switched it since it was written")
    if live_hash != wanted.live_hash:
        return _of(wanted, Check.CONTENT, Outcome.FAILED, "what is live is not what was promoted",
                   fix="somebody changed it since it was written: compare it")
    return _of(wanted, Check.CONTENT, Outcome.PASSED,
               "what was promoted is live" if wanted.active else "what was promoted is there, switched off")


def unreadable(wanted: ToVerify, why: str) -> VerificationResult:
    """What n8n shows of it is no workflow."""
    return _of(wanted, Check.CONTENT, Outcome.FAILED, shown(why))


# -- webhooks --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Webhook:
    """A path that a node of a running workflow serves. ``methods`` is empty where an expression decides."""

    node: str
    path: str | None
    methods: frozenset[str]
    expression: str | None = None

    @property
    def is_dynamic(self) -> bool:
        """Whether parts of the path are parameters: n8n then shows one of its methods only."""
        return self.path is not None and "/:" in self.path

    @property
    def can_be_asked_for(self) -> bool:
        """Whether the path leads where it says."""
        return self.path is not None and not {".", ".."}.intersection(self.path.split("/"))


def webhooks(live: Content, workflow_id: str) -> list[Webhook]:
    """The paths that a workflow serves once it runs, each node's by itself, in the order of the nodes."""
    found: dict[tuple[str, str | None], Webhook] = {}
    for point in _points(live, workflow_id):
        key = (point.node, point.path)
        methods = frozenset() if point.method is None else frozenset({point.method})
        known = found.get(key)
        found[key] = Webhook(point.node, point.path, methods | (known.methods if known else frozenset()), point.expression)
    return list(found.values())


def webhook_result(wanted: ToVerify, webhook: Webhook, registered: frozenset[str] | None) -> VerificationResult:
    """What the methods that n8n has on the path mean; none where it is not n8n that answers."""
    if not webhook.can_be_asked_for:
        made = f"an expression makes its path: {one_line(webhook.expression or '', 80)}" if webhook.path is None else (
            "its path holds steps that lead elsewhere")
        return _at(wanted, webhook, Outcome.NOT_CHECKED, made)
    if registered is None:
        return _at(wanted, webhook, Outcome.NOT_CHECKED,
                   "what answers there is not n8n: something before it answers in its place, or webhooks are served "
                   "elsewhere", "let OPTIONS requests to webhooks through to that n8n")
    if is_registered(webhook, registered):
        return _at(wanted, webhook, Outcome.PASSED, f"n8n takes {_methods(webhook.methods or registered)}")
    if registered:
        return _at(wanted, webhook, Outcome.FAILED,
                   f"n8n takes {_methods(registered)} there, and not {_methods(webhook.methods - registered)}",
                   "another workflow may hold the path: switch one of the two off and on again in n8n")
    return _at(wanted, webhook, Outcome.FAILED, "it is not registered",
               "the log of that n8n says why; switching the workflow off and on registers it again")


def is_registered(webhook: Webhook, registered: frozenset[str] | None) -> bool:
    """Whether there is nothing left to wait for."""
    if not registered:
        return False
    if not webhook.methods:
        return True
    return bool(webhook.methods & registered) if webhook.is_dynamic else webhook.methods <= registered


# -- other triggers --------------------------------------------------------------------------------------------------------


def other_triggers(live: Content) -> list[str]:
    """The names of the nodes that start a workflow by something else than a path: schedules, services, queues."""
    return [str(node.get("name")) for node in _enabled(live)
            if node.get("type") in _NOT_NAMED_SO or other_trigger(node) or any(schedules(node))]


def are_counted(trigger_count: Any) -> bool:
    """Whether n8n counts any triggers. It counts all of them once all are registered, and none before."""
    return isinstance(trigger_count, int) and trigger_count > 0


def trigger_result(wanted: ToVerify, names: Sequence[str], trigger_count: Any, *, generation: int) -> VerificationResult:
    """What ``triggerCount`` means, of a workflow that says it is active and has these triggers."""
    those = ", ".join(one_line(name, 80) for name in names[:5]) + (", …" if len(names) > 5 else "")
    if generation < 2:  # it is not active with a trigger that could not be registered
        return _of(wanted, Check.TRIGGER, Outcome.PASSED, f"registered: {those}", node=names[0])
    if not are_counted(trigger_count):
        return _of(wanted, Check.TRIGGER, Outcome.FAILED, f"not registered, or not all of them: {those}", node=names[0],
                   fix="the log of that n8n says why; a credential, an address or a schedule may be wrong")
    if wanted.new:
        return _of(wanted, Check.TRIGGER, Outcome.PASSED, f"registered: {those}", node=names[0])
    return _of(wanted, Check.TRIGGER, Outcome.NOT_CHECKED,
               f"whether {those} is registered anew, n8n 2.x does not tell of a workflow that was there before",
               node=names[0])


# -- smoke workflow --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SmokeCall:
    """How the smoke workflow is started: a form by its fields, a webhook by an empty object."""

    webhook: Webhook
    method: str
    fields: tuple[tuple[str, str], ...] | None = None  # of a form


def smoke_call(seen: ListedWorkflow) -> SmokeCall | str:
    """The call, or why there is none."""
    if not seen.active:
        return "it does not run"
    if seen.live.get("settings", {}).get("saveDataSuccessExecution") == "none":
        return "its settings keep no successful executions, so that success could not be told"
    found: list[SmokeCall] = []
    for node in _enabled(seen.live):
        parameters = _object(node.get("parameters"))
        points = [p for p in entry_points(node, seen.id) if p.kind in ("webhook", "form") and p.path and p.method]
        if not points or parameters.get("authentication", "none") != "none":
            continue
        form = points[0].kind == "form"
        methods = frozenset(str(point.method) for point in points)
        webhook = Webhook(points[0].node, points[0].path, methods)
        if webhook.is_dynamic or not webhook.can_be_asked_for:
            continue
        method = "POST" if "POST" in methods else sorted(methods)[0]
        found.append(SmokeCall(webhook, method, _fields(parameters) if form else None))
    return found[0] if found else "it has no webhook or form with a path of its own that anybody may call"


def smoke_answer(call: SmokeCall, status: int, text: str) -> str | None:
    """What an answer says against it; none where it may have started the workflow."""
    if status < 400:
        return None
    return f"its {'form' if call.fields is not None else 'webhook'} answered {status}: {shown(text)}"


def execution_verdict(execution: Mapping[str, Any]) -> Outcome | None:
    """Whether an execution succeeded; none while it goes on."""
    status = execution.get("status")
    if status == "success":
        return Outcome.PASSED
    return None if status in ("new", "running", "waiting") else Outcome.FAILED


def newer(executions: Sequence[Mapping[str, Any]], after: int) -> list[Mapping[str, Any]]:
    """The executions with an id beyond this one, oldest first. n8n counts them up."""
    found = [one for one in executions if execution_number(one) > after]
    return sorted(found, key=execution_number)


def execution_number(execution: Mapping[str, Any]) -> int:
    """The id of an execution, as a number; 0 for what is none."""
    text = str(execution.get("id", ""))
    return int(text) if text.isascii() and text.isdigit() else 0


def why_it_failed(execution: Mapping[str, Any]) -> str:
    """The failing node and what it said, of an execution with its data."""
    result = _object(_object(execution.get("data")).get("resultData"))
    error = _object(result.get("error"))
    node = _object(error.get("node"))
    name = node.get("name") or result.get("lastNodeExecuted")
    said = shown(str(error["message"])) if error.get("message") else f"n8n says {one_line(str(execution.get('status')), 40)}"
    return f"{one_line(str(name), 80)}: {said}" if name else said


def smoke_result(workflow_id: str | None, name: str, outcome: Outcome, reason: str,
                 fix: str | None = None) -> VerificationResult:
    """What came of the smoke workflow."""
    return VerificationResult(Check.SMOKE_WORKFLOW, outcome, reason, workflow_id, name, fix=fix)


def shown(text: str) -> str:
    """What n8n or a workflow said, fit to be kept: one line, not long, without what looks like a secret."""
    return one_line(mask_text(text), _SHOWN)


# -- inside ----------------------------------------------------------------------------------------------------------------


def _of(wanted: ToVerify, check: Check, outcome: Outcome, reason: str, *, node: str | None = None,
        fix: str | None = None) -> VerificationResult:
    return VerificationResult(check, outcome, reason, wanted.workflow_id, wanted.name, node=node, fix=fix)


def _at(wanted: ToVerify, webhook: Webhook, outcome: Outcome, reason: str, fix: str | None = None) -> VerificationResult:
    return replace(_of(wanted, Check.WEBHOOK, outcome, reason, node=webhook.node, fix=fix), path=webhook.path)


def _object(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _enabled(live: Content) -> Iterator[JsonObject]:
    return (node for node in live["nodes"] if not node.get("disabled"))


def _points(live: Content, workflow_id: str) -> Iterator[EntryPoint]:
    for node in _enabled(live):
        yield from entry_points(node, workflow_id)


def _methods(methods: frozenset[str]) -> str:
    return ", ".join(sorted(methods)) or "no method"


def _fields(parameters: JsonObject) -> tuple[tuple[str, str], ...]:
    """Something for each field of a form, of its type: n8n names them by their position."""
    listed = _object(parameters.get("formFields")).get("values")
    fields = [field for field in listed if isinstance(field, dict)] if isinstance(listed, list) else []
    return tuple((f"field-{number}", _something(field)) for number, field in enumerate(fields))


def _something(field: JsonObject) -> str:
    choices = _object(field.get("fieldOptions")).get("values")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return str(choices[0].get("option", ""))
    kinds = {"number": "0", "date": "2000-01-01", "email": "wfops@example.com"}
    return kinds.get(str(field.get("fieldType")), "wfops")
