"""Alert rules by hand (§16): listed, set, removed, tried out; and what they said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.alerts import (
    AlertEvent,
    AlertEventKind,
    AlertRule,
    AlertState,
    Comparison,
    Metric,
    OnMissing,
    evaluate,
    metric_named,
    read_rule,
    rule_as_json,
)
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UnknownAlertRule, UsageError
from wfops_pipelines.domain.incident import Severity
from wfops_pipelines.domain.notices import AlertNotice
from wfops_pipelines.domain.shown import iso
from wfops_pipelines.services.notices import tell
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.metrics import Figure
from wfops_pipelines.store.unit_of_work import UnitOfWork

WHOLE_TENANT: Final = frozenset({Metric.OUTBOX_AGE, Metric.OUTBOX_DEAD_LETTERS})  # figures without environments


@dataclass(frozen=True, slots=True)
class RuleChange:
    """What setting or removing a rule did, or would do; ``before`` or ``after`` is none where there is no rule."""

    tenant: str
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    dry_run: bool

    @property
    def changed(self) -> bool:
        """Whether there is anything to change."""
        return self.before != self.after

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"tenant": self.tenant, "rule": self.name, "changed": self.changed, "before": self.before,
                "after": self.after, "dry_run": self.dry_run}


def rule_of(row: Row[Any]) -> AlertRule:
    """A stored rule. :class:`ValueError` for words that this version does not know."""
    return AlertRule(
        name=row.name, metric=metric_named(row.metric), comparison=Comparison(row.comparison), threshold=row.threshold,
        severity=Severity(row.severity), window=timedelta(seconds=row.window_seconds),
        cooldown=timedelta(seconds=row.cooldown_seconds), clear_threshold=row.clear_threshold,
        evaluations=row.evaluations, clear_evaluations=row.clear_evaluations, on_missing=OnMissing(row.on_missing),
        repeat=row.repeat)


def list_rules(services: Services, context: Context) -> list[dict[str, Any]]:
    """A tenant's rules by name, with their state."""
    with services.store.read(context) as work:
        rows = work.alerts.rules()
    return [_declared(row) | {
        "rule": rule_of(row).words(), "firing": bool(row.firing), "value": row.value,
        "unit": metric_named(row.metric).unit, "evaluated_at": iso(row.evaluated_at),
        "firing_since": (row.state or {}).get("firing_since"),
    } for row in rows]


def set_rule(services: Services, context: Context, name: str, given: Mapping[str, Any], *, environment: str | None = None,
             enabled: bool | None = None, dry_run: bool = False) -> RuleChange:
    """Make a rule, or change the one of that name: what is not given stays, or has its default.

    ``given`` has the fields that :func:`read_rule` reads; an ``environment`` of ``""`` is the whole tenant. A rule that
    gets another metric or environment, or is switched off, begins anew; those who heard it fire hear that.
    Raises :class:`InvalidDocument`, :class:`UnknownEnvironment`.
    """
    environment_id = services.environment(context, environment).id if environment else None
    reading = services.store.read(context) if dry_run else services.store.bookkeeping(context, "alerts.set")
    with reading as work:
        row = work.alerts.rule(name, lock=not dry_run)
        raw = {"name": name} | (rule_as_json(rule_of(row)) if row is not None else {}) | dict(given)
        rule = read_rule(raw, source=f"alert rule {name!r}")
        if environment is None and row is not None:
            environment, environment_id = row.environment, row.environment_id
        if environment_id is not None and rule.metric in WHOLE_TENANT:
            raise UsageError(f"{rule.metric.value} is a figure of the whole tenant", fix="leave the environment out")
        wanted = {**rule_as_json(rule), "environment": environment or None,
                  "enabled": (row is None or row.enabled) if enabled is None else enabled}
        change = RuleChange(context.tenant_slug, name, None if row is None else _declared(row), wanted, dry_run)
        if change.changed and not dry_run:
            if row is not None and (ended := _ended(row, rule, environment_id, enabled=wanted["enabled"])):
                _end(work, row, ended)
            _save(work, row, rule, environment_id, enabled=wanted["enabled"])
            work.record("alert_rule.created" if row is None else "alert_rule.updated", "alert_rule", name,
                        environment=environment or None, rule=rule.words(), fields=_differences(change))
    return change


def remove_rule(services: Services, context: Context, name: str, *, dry_run: bool = False) -> RuleChange:
    """Forget a rule with what it said; those who heard it fire hear that. :class:`UnknownAlertRule` names the rules that
    there are."""
    reading = services.store.read(context) if dry_run else services.store.bookkeeping(context, "alerts.remove")
    with reading as work:
        row = _known(work, name, lock=not dry_run)
        if not dry_run:
            _end(work, row, "it was removed")
            work.alerts.remove(row.id)
            work.record("alert_rule.removed", "alert_rule", name, environment=row.environment, rule=rule_of(row).words())
    return RuleChange(context.tenant_slug, name, _declared(row), None, dry_run)


def rule_history(services: Services, context: Context, name: str | None = None, *, limit: int = 50) -> list[dict[str, Any]]:
    """What a rule said, or all of them, newest first."""
    with services.store.read(context) as work:
        rows = work.alerts.events(None if name is None else _known(work, name).id, limit=limit)
    return [{"at": row.at.isoformat(), "name": row.name, "kind": row.kind, "metric": row.metric, "value": row.value,
             "unit": metric_named(row.metric).unit, "severity": row.severity} for row in rows]


def try_rules(services: Services, context: Context, name: str | None = None) -> list[dict[str, Any]]:
    """What a rule, or each of them, sees now, and what an evaluation now would make of it. Nothing is stored or told."""
    with services.store.read(context) as work:
        rows = work.alerts.rules() if name is None else [_known(work, name)]
        now = services.now()
        return [_tried(row, work.metrics.figure(row.metric, row.environment_id, now), now) for row in rows]


def _tried(row: Row[Any], figure: Figure, now: Any) -> dict[str, Any]:
    rule = rule_of(row)
    before = AlertState.from_json(row.state) if row.state else AlertState()
    state, event = evaluate(rule, before, figure.value, now)
    return {"name": rule.name, "environment": row.environment, "enabled": row.enabled, "rule": rule.words(),
            "value": figure.value, "unit": rule.metric.unit, "missing": figure.reason, "firing": state.firing,
            "verdict": _verdict(rule, state, event, figure)}


def _verdict(rule: AlertRule, state: AlertState, event: AlertEvent | None, figure: Figure) -> str:
    """In a word or two, what an evaluation makes of it."""
    if event is not None:
        return {AlertEventKind.FIRED: "fires", AlertEventKind.STILL_FIRING: "still firing",
                AlertEventKind.CLEARED: "clears"}[event.kind]
    if state.firing:
        return "firing"
    if state.breaches:
        lasting = state.breaches >= rule.evaluations and (
            state.breaching_since is not None and state.evaluated_at is not None
            and state.evaluated_at - state.breaching_since >= rule.window)
        return "breaching, within the cooldown" if lasting else "breaching, not long enough yet"
    return "quiet" if figure.value is not None else "no figure"


def _known(work: UnitOfWork, name: str, *, lock: bool = False) -> Row[Any]:
    row = work.alerts.rule(name, lock=lock)
    if row is None:
        names = [rule.name for rule in work.alerts.rules()]
        there = f"rules: {', '.join(names)}" if names else "there are none yet: `wfops alerts set` makes one"
        raise UnknownAlertRule(f"tenant {work.context.tenant_slug} has no alert rule {name!r}", fix=there)
    return row


def _save(work: UnitOfWork, row: Row[Any] | None, rule: AlertRule, environment_id: UUID | None, *, enabled: bool) -> None:
    work.alerts.save(
        id=work.context.new_id() if row is None else row.id, name=rule.name, metric=rule.metric.value,
        comparison=rule.comparison.value, threshold=rule.threshold, clear_threshold=rule.clear_threshold,
        window_seconds=round(rule.window.total_seconds()), cooldown_seconds=round(rule.cooldown.total_seconds()),
        evaluations=rule.evaluations, clear_evaluations=rule.clear_evaluations, on_missing=rule.on_missing.value,
        repeat=rule.repeat, severity=rule.severity.value, environment_id=environment_id, enabled=enabled)


def tell_alert(work: UnitOfWork, row: Row[Any], event: AlertEvent) -> None:
    """Keep what a rule says, and tell it."""
    work.alerts.add_event(id=work.context.new_id(), rule_id=row.id, kind=event.kind.value, value=event.value, at=event.at)
    tell(work, AlertNotice(work.context.tenant_slug, row.id, event, row.environment))
    if event.kind is not AlertEventKind.STILL_FIRING:  # that is a reminder, and no change
        work.record(f"alert.{event.kind}", "alert_rule", row.name, environment=row.environment, rule=event.rule.words(),
                    value=event.value, severity=event.rule.severity.value, since=event.since.isoformat(),
                    **({"ended": event.ended} if event.ended else {}))


def _ended(row: Row[Any], rule: AlertRule, environment_id: UUID | None, *, enabled: bool) -> str | None:
    """Why a rule that is changed has to begin anew; none where it goes on."""
    if row.enabled and not enabled:
        return "it was switched off"
    if row.metric != rule.metric.value or row.environment_id != environment_id:
        return "it was changed, and is about something else now"
    return None


def _end(work: UnitOfWork, row: Row[Any], ended: str) -> None:
    """Let a rule begin anew. Who heard that it fires would otherwise wait for its end for ever."""
    if row.firing:
        now, state = work.context.now(), AlertState.from_json(row.state)
        tell_alert(work, row, AlertEvent(AlertEventKind.CLEARED, rule_of(row), state.value, now, state.firing_since or now,
                                         ended))
    work.alerts.forget_state(row.id)


def _declared(row: Row[Any]) -> dict[str, Any]:
    return {**rule_as_json(rule_of(row)), "environment": row.environment, "enabled": row.enabled}


def _differences(change: RuleChange) -> dict[str, Any]:
    before, after = change.before or {}, change.after or {}
    return {key: value for key, value in after.items() if before.get(key) != value}
