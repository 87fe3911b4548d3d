"""How a workflow is started from outside: webhook, form, chat and MCP paths, schedules, other triggers (§10).

Paths are those n8n 2.x registers for an active workflow, after its own nodes and ``getNodeWebhookPath``, with the
default prefixes (``/webhook``, ``/form``, ``/mcp``). A disabled node starts nothing and is left out. What an expression
will yield is not known before it runs: such a path or time is ``None`` here, and listed as unknown by its expression.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeGuard
from urllib.parse import quote

from wfops_pipelines.domain.workflow import JsonObject

EntryKind = Literal["webhook", "form", "chat", "mcp"]

_METHODS: Final = ("GET", "POST")
_DAYS: Final = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_SCHEDULES: Final = frozenset({"n8n-nodes-base.scheduleTrigger", "n8n-nodes-base.cron", "n8n-nodes-base.interval"})
_WEBHOOK: Final = "n8n-nodes-base.webhook"
_FORM: Final = "n8n-nodes-base.formTrigger"
_CHAT: Final = "@n8n/n8n-nodes-langchain.chatTrigger"
_MCP: Final = "@n8n/n8n-nodes-langchain.mcpTrigger"
_INSIDE: Final = frozenset({  # started by hand, by another workflow or by an error: nothing from outside
    "n8n-nodes-base.manualTrigger", "n8n-nodes-base.executeWorkflowTrigger", "n8n-nodes-base.errorTrigger",
    "n8n-nodes-base.evaluationTrigger", "@n8n/n8n-nodes-langchain.manualChatTrigger",
})


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A path that n8n answers for a workflow. ``path`` is ``None`` where an expression makes it, which is then in
    ``expression``; the same goes for ``method``."""

    kind: EntryKind
    method: str | None
    path: str | None
    node: str
    expression: str | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a workflow starts by itself, in words (``every 6 hours``) or as cron (``cron 0 8 * * 1-5``), in the
    workflow's own time zone; ``None`` where an expression decides, which is then in ``expression``."""

    when: str | None
    node: str
    expression: str | None = None


@dataclass(frozen=True, slots=True)
class OtherTrigger:
    """A trigger of a service or of n8n itself (``n8n-nodes-base.telegramTrigger``): it starts the workflow by ways of its
    own."""

    type: str
    node: str


def entry_points(node: JsonObject, workflow_id: str) -> Iterator[EntryPoint]:
    """The paths that a node serves once its workflow is active."""
    kind, parameters = node.get("type"), _parameters(node)
    if kind == _WEBHOOK:
        yield from _webhook(node, parameters, workflow_id)
    elif kind == _FORM:
        yield from _form(node, parameters, workflow_id)
    elif kind == _CHAT:
        yield from _chat(node, parameters, workflow_id)
    elif kind == _MCP:
        yield from _mcp(node, parameters, workflow_id)


def schedules(node: JsonObject) -> Iterator[Schedule]:
    """The times at which a node starts its workflow."""
    kind, parameters, name = node.get("type"), _parameters(node), str(node.get("name"))
    if kind == "n8n-nodes-base.interval":
        yield _schedule(name, parameters, _every(parameters.get("interval", 1), str(parameters.get("unit", "seconds"))))
        return
    if kind == "n8n-nodes-base.scheduleTrigger":
        rules = _listed(parameters.get("rule"), "interval")
    elif kind == "n8n-nodes-base.cron":
        rules = _listed(parameters.get("triggerTimes"), "item")
    else:
        return
    describe = _rule if kind == "n8n-nodes-base.scheduleTrigger" else _cron_item
    for rule in rules:
        yield _schedule(name, rule, describe(rule) if isinstance(rule, dict) else None)


def other_trigger(node: JsonObject) -> OtherTrigger | None:
    """What else starts a workflow from outside, by the name n8n gives such nodes."""
    kind = node.get("type")
    if not isinstance(kind, str) or not kind.endswith("Trigger") or kind in _INSIDE:
        return None
    if kind in _SCHEDULES or kind in (_FORM, _CHAT, _MCP):
        return None
    return OtherTrigger(kind, str(node.get("name")))


def is_expression(value: Any) -> TypeGuard[str]:
    """Whether n8n computes this value when the workflow runs."""
    return isinstance(value, str) and value.lstrip().startswith("=")


def first_expression(value: Any) -> str | None:
    """The first expression anywhere in a JSON value."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if is_expression(item):
            return str(item)
        if isinstance(item, dict):
            waiting.extend(reversed(list(item.values())))
        elif isinstance(item, list):
            waiting.extend(reversed(item))
    return None


def _webhook(node: JsonObject, parameters: JsonObject, workflow_id: str) -> Iterator[EntryPoint]:
    if parameters.get("multipleMethods") is True:
        chosen = parameters.get("httpMethod", list(_METHODS))
        methods = chosen if isinstance(chosen, list) else [chosen]
    else:
        methods = [parameters.get("httpMethod", "GET")]
    for method in methods:
        yield _entry("webhook", method, parameters.get("path", ""), node, workflow_id)


def _form(node: JsonObject, parameters: JsonObject, workflow_id: str) -> Iterator[EntryPoint]:
    if _version(node) < 2:
        path = parameters.get("path", "")
        path = path if is_expression(path) else f"{path}/n8n-form"
        for method in _METHODS:
            yield _entry("form", method, path, node, workflow_id, prefix="webhook")
        return
    options = parameters.get("options")
    inner = options.get("path") if isinstance(options, dict) else None
    for method in _METHODS:
        yield _entry("form", method, parameters.get("path") or inner or "", node, workflow_id, prefix="form")


def _chat(node: JsonObject, parameters: JsonObject, workflow_id: str) -> Iterator[EntryPoint]:
    public = parameters.get("public", False)
    if is_expression(public):
        yield EntryPoint("chat", None, None, str(node.get("name")), public)
    elif public is True:  # otherwise only those signed in to the editor may talk to it
        for method in _METHODS:
            yield _entry("chat", method, "chat", node, workflow_id, full=False)


def _mcp(node: JsonObject, parameters: JsonObject, workflow_id: str) -> Iterator[EntryPoint]:
    path = parameters.get("path", "")
    old = _version(node) < 2
    for method, suffix in (("GET", "/sse" if old else ""), ("POST", "/messages" if old else "")):
        yield _entry("mcp", method, path if is_expression(path) else f"{path}{suffix}", node, workflow_id, prefix="mcp")


def _entry(kind: EntryKind, method: Any, path: Any, node: JsonObject, workflow_id: str, *, prefix: str = "webhook",
           full: bool = True) -> EntryPoint:
    name = str(node.get("name"))
    expression = first_expression([path, method])
    known = None if is_expression(path) or not isinstance(path, str) else (
        f"/{prefix}/{_registered(path.strip('/'), node, workflow_id, full=full)}")
    return EntryPoint(kind, method if isinstance(method, str) and not is_expression(method) else None, known, name,
                      expression)


def _registered(path: str, node: JsonObject, workflow_id: str, *, full: bool) -> str:
    """n8n's own rule: a path that does not stand for itself is put behind the webhook's id, else behind the workflow's."""
    webhook_id = node.get("webhookId")
    if not isinstance(webhook_id, str) or not webhook_id:
        return f"{workflow_id}/{quote(str(node.get('name')).lower(), safe='', errors='replace')}/{path}"
    if full and not (path.startswith(":") or "/:" in path):
        return path or webhook_id
    return f"{webhook_id}/{path}"


def _schedule(name: str, rule: Any, when: str | None) -> Schedule:
    expression = first_expression(rule)
    return Schedule(None if expression else when or "at times that its rule does not tell", name, expression)


def _rule(item: JsonObject) -> str | None:
    """One rule of a Schedule Trigger; n8n leaves values out that are its defaults."""
    unit = item.get("field", "days")
    if unit == "cronExpression":
        return f"cron {item.get('expression', '')}".strip()
    defaults = {"seconds": 30, "minutes": 5, "hours": 1, "days": 1, "weeks": 1, "months": 1}
    if unit not in defaults:
        return None
    clock = _clock(item.get("triggerAtHour", 0), item.get("triggerAtMinute", 0))
    at = {
        "hours": f" at minute {item.get('triggerAtMinute', 0)}", "days": f" at {clock}",
        "weeks": f" on {_day_names(item.get('triggerAtDay', [0]))} at {clock}",
        "months": f" on day {item.get('triggerAtDayOfMonth', 1)} at {clock}",
    }
    return _every(item.get(f"{unit}Interval", defaults[unit]), unit) + at.get(unit, "")


def _cron_item(item: JsonObject) -> str | None:
    """One item of the older Cron node."""
    mode = item.get("mode", "everyDay")
    clock = _clock(item.get("hour", 14), item.get("minute", 0))
    if mode == "custom":
        return f"cron {item.get('cronExpression', '')}".strip()
    if mode == "everyX":
        return _every(item.get("value", 2), str(item.get("unit", "hours")))
    return {
        "everyMinute": "every minute", "everyHour": f"every hour at minute {item.get('minute', 0)}",
        "everyDay": f"every day at {clock}", "everyWeek": f"every week on {_day_names([item.get('weekday', 1)])} at {clock}",
        "everyMonth": f"every month on day {item.get('dayOfMonth', 1)} at {clock}",
    }.get(str(mode))


def _every(count: Any, unit: str) -> str:
    return f"every {unit.removesuffix('s')}" if count == 1 else f"every {count} {unit}"


def _clock(hour: Any, minute: Any) -> str:
    def two(value: Any) -> str:
        return str(value).rjust(2, "0")

    return f"{two(hour)}:{two(minute)}"


def _day_names(days: Any) -> str:
    listed = days if isinstance(days, list) else [days]
    return ", ".join(_DAYS[int(day) % 7] if str(day).isdigit() and str(day).isascii() else str(day) for day in listed)


def _listed(value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else value
    if found is None:
        return [{}]  # n8n's default: one rule with default values
    return found if isinstance(found, list) else [found]


def _parameters(node: JsonObject) -> JsonObject:
    parameters = node.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _version(node: JsonObject) -> float:
    version = node.get("typeVersion", 1)
    return float(version) if isinstance(version, int | float) and not isinstance(version, bool) else 1.0
