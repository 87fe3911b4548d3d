"""The gates of incidents, of time, of people and of the tenant's plan (§11.5). See ``gates`` for what they say."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from wfops_pipelines.domain.entitlements import Answer
from wfops_pipelines.domain.freeze_windows import state
from wfops_pipelines.domain.gate_facts import Decision, GateFacts, StageRules
from wfops_pipelines.domain.gate_results import BLOCKED, HELD, NOT_EVALUATED, PASSED, Gate, GateResult, need, some
from wfops_pipelines.domain.shown import moment, one_line


def incident_ttl(_: StageRules, facts: GateFacts, now: datetime) -> GateResult:
    """Whether the open incident is past its TTL, where the policy asks (enforce_ttl)."""
    gate = Gate.INCIDENT_TTL
    if not need(facts.policy).enforce_ttl:
        return GateResult(gate, NOT_EVALUATED, "the policy does not ask for it (enforce_ttl)")
    incident = need(facts.incident).incident
    if incident is None:
        return GateResult(gate, PASSED, "the target has no open incident")
    details = {"incident": incident.number, "expires_at": incident.expires_at.isoformat()}
    end = moment(incident.expires_at)
    if now >= incident.expires_at:
        return GateResult(gate, BLOCKED, f"incident {incident.number} is past its TTL, which ended at {end}",
                          "reconcile or close it, or extend its TTL with a reason", details)
    return GateResult(gate, PASSED, f"incident {incident.number} is open until {end}", None, details)


def active_incident(_: StageRules, facts: GateFacts, __: datetime) -> GateResult:
    """Whether an incident is open at all, where the policy asks (block_on_active_drift)."""
    gate = Gate.ACTIVE_INCIDENT
    if not need(facts.policy).block_on_active_drift:
        return GateResult(gate, NOT_EVALUATED, "the policy does not ask for it (block_on_active_drift)")
    incident = need(facts.incident).incident
    if incident is None:
        return GateResult(gate, PASSED, "the target has no open incident")
    return GateResult(gate, BLOCKED, f"incident {incident.number} is open ({incident.status})", "reconcile or close it",
                      {"incident": incident.number, "status": str(incident.status)})


def freeze_window(_: StageRules, facts: GateFacts, now: datetime) -> GateResult:
    """Whether the stage's freeze windows let it run now."""
    gate = Gate.FREEZE_WINDOW
    windows = need(facts.freeze_windows)
    if not windows:
        return GateResult(gate, NOT_EVALUATED, "the stage has no freeze windows")
    found = state(windows, now)
    details = {"windows": [one_line(name) for name in found.windows],
               "opens_at": None if found.opens_at is None else found.opens_at.isoformat()}
    if found.open:
        return GateResult(gate, PASSED, found.reason, None, details)
    if found.opens_at is None:
        return GateResult(gate, BLOCKED, found.reason, "change the stage's freeze windows", details)
    return GateResult(gate, HELD, found.reason, "wait, or schedule it for then", details)


def soak_time(rules: StageRules, facts: GateFacts, now: datetime) -> GateResult:
    """Whether the source has run what is promoted for as long as the stage asks."""
    gate = Gate.SOAK_TIME
    if rules.soak <= timedelta(0):
        return GateResult(gate, NOT_EVALUATED, "the stage asks for no soak time")
    workflows = need(facts.soaked)
    unknown = [one_line(workflow.name, 80) for workflow in workflows if workflow.live_since is None]
    details: dict[str, Any] = {"soak_seconds": int(rules.soak.total_seconds()), "unknown": unknown}
    if unknown:
        return GateResult(gate, BLOCKED, f"nobody knows since when the source runs it: {some(unknown)}",
                          "synchronise the source, and plan again", details)
    due = {one_line(workflow.name, 80): workflow.live_since + rules.soak for workflow in workflows if workflow.live_since}
    waiting = [name for name, over in due.items() if over > now]
    if not waiting:
        return GateResult(gate, PASSED, f"the source has run all of it for {rules.soak} or longer", None, details)
    over = max(due.values())
    return GateResult(gate, HELD, f"the source has not run it for {rules.soak} yet: {some(waiting)}",
                      f"wait until {moment(over)}", {**details, "waiting": waiting, "until": over.isoformat()})


def approvals(rules: StageRules, facts: GateFacts, _: datetime) -> GateResult:
    """Whether as many different people as the stage asks for approved this very plan, the requester not among them."""
    gate = Gate.APPROVALS
    if rules.approvers <= 0:
        return GateResult(gate, NOT_EVALUATED, "the stage asks for no approval")
    known = need(facts.approvals)
    current = [decision for decision in known.decisions if decision.checksum == known.checksum]
    rejecting = sorted({one_line(decision.by, 80) for decision in current if not decision.approve})
    asking = _people(known.requested_by, known.requested_through)
    counted = [decision for decision in current if decision.approve and not asking & _of_decision(decision)]
    people = _distinct(counted)
    details = {"checksum": known.checksum, "needed": rules.approvers, "approved": len(people), "rejected_by": rejecting,
               "approved_by": sorted({one_line(decision.by, 80) for decision in counted}),
               "of_another_plan": sum(decision.checksum != known.checksum for decision in known.decisions)}
    if rejecting:
        return GateResult(gate, BLOCKED, f"rejected by {some(rejecting)}", "change what they object to, and ask anew",
                          details)
    if len(people) >= rules.approvers:
        return GateResult(gate, PASSED, f"{len(people)} of {rules.approvers} have approved this plan", None, details)
    stale = f"; {details['of_another_plan']} decided on another plan" if details["of_another_plan"] else ""
    return GateResult(gate, HELD, f"{len(people)} of {rules.approvers} have approved this plan{stale}",
                      "somebody else than the requester approves it: wfops approve", details)


def entitlement(_: StageRules, facts: GateFacts, __: datetime) -> GateResult:
    """Whether the tenant's plan has promotions (workflow_ci_cd)."""
    return _answered(Gate.ENTITLEMENT, need(facts.entitlement))


def budget(_: StageRules, facts: GateFacts, __: datetime) -> GateResult:
    """Whether the tenant's limits and budget allow one more."""
    return _answered(Gate.BUDGET, need(facts.budget))


def _answered(gate: Gate, answer: Answer) -> GateResult:
    reason = one_line(answer.reason, 300)
    return GateResult(gate, PASSED, reason) if answer.allowed else GateResult(
        gate, BLOCKED, reason, answer.fix or "ask whoever administers the tenant's plan")


def _people(*names: str | None) -> frozenset[str]:
    return frozenset(name.strip().casefold() for name in names if name)


def _of_decision(decision: Decision) -> frozenset[str]:
    return _people(decision.by, decision.through)


def _distinct(decisions: Iterable[Decision]) -> list[frozenset[str]]:
    """The different people behind the decisions: identities that one decision joins are those of one person."""
    people: list[frozenset[str]] = []
    for decision in decisions:
        one = _of_decision(decision)
        same = [person for person in people if person & one]
        people = [person for person in people if not person & one]
        people.append(one.union(*same))
    return people
