"""Looking at alert rules (§16): read each figure, decide, remember, and tell, in one unit of work per tenant."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row

from wfops_pipelines.domain.alerts import AlertEventKind, AlertState, evaluate
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import StoreError, UnknownTenant
from wfops_pipelines.services.alert_rules import rule_of, tell_alert
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

log = logging.getLogger("wfops.alerts")

ACTOR: Final = "system:alert_rules"


@dataclass
class Evaluated:
    """What a round found: rules looked at, those that fired or told again, those that cleared, those without a figure,
    and tenants that could not be looked at."""

    rules: int = 0
    fired: int = 0
    cleared: int = 0
    missing: int = 0
    failed: int = 0

    def words(self) -> str:
        """``4 looked at: 1 fired``."""
        named = (("fired", self.fired), ("cleared", self.cleared), ("without a figure", self.missing))
        found = ", ".join(f"{count} {name}" for name, count in named if count) or "nothing to tell"
        failed = f"; {self.failed} tenants could not be looked at" if self.failed else ""
        return f"{self.rules} looked at: {found}{failed}"


def evaluate_alerts(services: Services, *, actor: str = ACTOR, min_gap: timedelta = timedelta(0)) -> Evaluated:
    """Look at the rules of every tenant. A rule that was looked at less than ``min_gap`` ago is left alone, so that two
    schedulers at once do not count twice. What fails for a tenant is logged and keeps no other one back."""
    with services.store.system() as system:
        tenants = system.tenants_with_alert_rules()
    found = Evaluated()
    for tenant in tenants:
        try:
            evaluate_tenant(services, services.context(tenant, actor=actor), found, min_gap=min_gap)
        except UnknownTenant:  # deleted meanwhile
            continue
        except StoreError:
            log.exception("alert rules could not be looked at", extra={"tenant": tenant})
            found.failed += 1
    return found


def evaluate_tenant(services: Services, context: Context, found: Evaluated | None = None, *,
                    min_gap: timedelta = timedelta(0)) -> Evaluated:
    """Look at the rules of one tenant; all of it is stored and told, or nothing."""
    found = found if found is not None else Evaluated()
    with services.store.bookkeeping(context, "alerts.evaluate") as work:
        rows = work.alerts.enabled()
        now = services.now()  # once the rules are ours: nobody evaluates later and stores earlier
        for row in rows:
            if row.evaluated_at is None or now - row.evaluated_at >= min_gap:
                _evaluate(work, row, now, found)
    return found


def _evaluate(work: UnitOfWork, row: Row[Any], now: datetime, found: Evaluated) -> None:
    try:
        rule = rule_of(row)
    except ValueError as error:  # of a newer version
        log.error("an alert rule cannot be read: %s", error, extra={"tenant": work.context.tenant_slug, "rule": row.name})  # noqa: TRY400
        return
    figure = work.metrics.figure(rule.metric.value, row.environment_id, now)
    before = AlertState.from_json(row.state) if row.state else AlertState()
    state, event = evaluate(rule, before, figure.value, now)
    work.alerts.remember(row.id, state=state.as_json(), firing=state.firing, value=state.value, evaluated_at=now)
    found.rules += 1
    found.missing += figure.value is None
    if event is not None:
        tell_alert(work, row, event)
        found.cleared += event.kind is AlertEventKind.CLEARED
        found.fired += event.kind is not AlertEventKind.CLEARED
