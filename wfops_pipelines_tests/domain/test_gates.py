"""The gates of a promotion (§11.5): every gate against every outcome, all evaluated, and what cannot be told blocks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfops_pipelines.domain.drift import EnvironmentDriftStatus as Drift
from wfops_pipelines.domain.drift_policy import effective
from wfops_pipelines.domain.entitlements import Answer
from wfops_pipelines.domain.errors import Blocked, Unreachable
from wfops_pipelines.domain.freeze_windows import read_windows
from wfops_pipelines.domain.gate_facts import (
    ApprovalFacts,
    CannotBeListed,
    CredentialFacts,
    CredentialUse,
    Decision,
    DriftFacts,
    GateFacts,
    IncidentFacts,
    Missing,
    NamedWorkflow,
    OpenIncident,
    SoakedWorkflow,
    SourceFacts,
    StageRules,
    TargetCredential,
    UnresolvedIn,
    WriteBlock,
    look_up,
)
from wfops_pipelines.domain.gates import Gate, GateOutcome, GateReport, evaluate, evaluate_all
from wfops_pipelines.domain.incident import IncidentStatus
from wfops_pipelines.domain.transform_terms import Kind, Unresolved
from wfops_pipelines.domain.workflow_lint import (
    LintFinding,
    LintReport,
    LintRule,
    LintSeverity,
    LintWaiver,
    apply_waivers,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PASSED, HELD, BLOCKED, NOT_EVALUATED = GateOutcome
ORDERS, INVOICES = NamedWorkflow("c-1", "Orders"), NamedWorkflow("c-2", "Invoices")


def policy(mode: str = "warn_only", **said: Any) -> Any:
    return effective(said, None, "production", mode)


def incident(status: IncidentStatus = IncidentStatus.DETECTED, *, expires: timedelta = DAY, reason: str | None = None) -> IncidentFacts:
    return IncidentFacts(OpenIncident(7, status, NOW + expires, reason))


def drifted(status: Drift = Drift.DRIFT_DETECTED, *, fresh: bool = True, **more: Any) -> DriftFacts:
    return DriftFacts(status, fresh, **{"drifted": (ORDERS,), **more})


def use(name: str | None = "stripe-live", credential_id: str | None = "1", kind: str = "stripeApi") -> CredentialUse:
    return CredentialUse("stripe", kind, name, credential_id, ("Orders",))


STRIPE = TargetCredential("1", "stripeApi", "stripe-live")


def credentials(*uses: CredentialUse, present: Any = (STRIPE,)) -> CredentialFacts:
    return CredentialFacts(uses, present)


def unresolved(kind: Kind) -> list[UnresolvedIn]:
    return [UnresolvedIn("Orders", Unresolved(kind, "Call", "parameters.url", "{{env.API}}", "give prod the variable API"))]


def windows(**window: Any) -> Any:
    return read_windows([{"name": "window", **window}])


def linted(severity: LintSeverity) -> LintReport:
    return LintReport("Orders", (LintFinding(LintRule.NO_TRIGGER, severity, None, "nothing starts it", "add a trigger"),))


def waived(report: LintReport, days: int) -> LintReport:
    waiver = LintWaiver.model_validate({"rule": "no-trigger", "workflow": "*", "owner": "ann", "reason": "moving",
                                        "expires_at": NOW + days * DAY})
    return apply_waivers(report, [waiver], now=NOW)


def asked(*decisions: Decision, by: str = "ann", through: str | None = None) -> ApprovalFacts:
    return ApprovalFacts("sum", by, through, decisions)


def yes(by: str, checksum: str = "sum", through: str | None = None) -> Decision:
    return Decision(by, checksum, True, through)


def no(by: str, checksum: str = "sum") -> Decision:
    return Decision(by, checksum, False)


CLEAN = GateFacts(
    policy=policy(), drift=DriftFacts(Drift.IN_SYNC, True), incident=IncidentFacts(None), hotfixes=(), conflicts=(),
    credentials=credentials(), unresolved=(), freeze_windows=(), approvals=asked(), soaked=(), lint=(),
    write_block=WriteBlock(False), source=SourceFacts("staging", True, Drift.IN_SYNC))


@dataclass(frozen=True)
class Case:
    gate: Gate
    outcome: GateOutcome
    what: str
    said: str
    facts: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.gate}-{self.outcome}-{self.what}"


OVERRIDE, ATTEST = policy("manual_override"), policy("require_attestation")
ACKED, DETECTED = IncidentStatus.ACKNOWLEDGED, IncidentStatus.DETECTED
TWO = {"approvers": 2}
SAME_NAME = (TargetCredential("8", "stripeApi", "stripe-live"), TargetCredential("9", "stripeApi", "stripe-live"))

CASES = [
    Case(Gate.DRIFT_CLEAN, PASSED, "in sync", "as Git says"),
    Case(Gate.DRIFT_CLEAN, PASSED, "untracked", "tracked", {"drift": DriftFacts(Drift.UNTRACKED, True)}),
    Case(Gate.DRIFT_CLEAN, PASSED, "empty", "empty", {"drift": drifted(target_is_empty=True)}),
    Case(Gate.DRIFT_CLEAN, PASSED, "empty without Git", "empty", {"drift": DriftFacts(Drift.UNKNOWN, True, target_is_empty=True)}),
    Case(Gate.DRIFT_CLEAN, PASSED, "overwritten by the plan", "hotfix and conflict",
         {"drift": drifted(overwritten=frozenset({"c-1"}))}),
    Case(Gate.DRIFT_CLEAN, PASSED, "an incident about what the plan overwrites", "hotfix and conflict",
         {"drift": drifted(Drift.DRIFT_INCIDENT_ACTIVE, overwritten=frozenset({"c-1"})), "policy": ATTEST}),
    Case(Gate.DRIFT_CLEAN, BLOCKED, "drift", "Orders", {"drift": drifted()}),
    Case(Gate.DRIFT_CLEAN, BLOCKED, "drift beside the plan", "Invoices",
         {"drift": drifted(drifted=(ORDERS, INVOICES), overwritten=frozenset({"c-1"}))}),
    Case(Gate.DRIFT_CLEAN, BLOCKED, "error", "n8n is down", {"drift": DriftFacts(Drift.ERROR, True, reason="n8n is down")}),
    Case(Gate.DRIFT_CLEAN, BLOCKED, "error of an empty target", "checked",
         {"drift": DriftFacts(Drift.ERROR, True, target_is_empty=True)}),
    Case(Gate.DRIFT_CLEAN, BLOCKED, "unknown", "not_configured", {"drift": DriftFacts(Drift.UNKNOWN, True, reason="not_configured")}),
    Case(Gate.DRIFT_CLEAN, BLOCKED, "stale", "not checked", {"drift": DriftFacts(Drift.IN_SYNC, False)}),
    Case(Gate.DRIFT_CLEAN, BLOCKED, "nobody says what drifted", "not said", {"drift": DriftFacts(Drift.DRIFT_DETECTED, True)}),
    Case(Gate.DRIFT_CLEAN, BLOCKED, "override without reason", "Orders", {"drift": drifted(override_reason=" "), "policy": OVERRIDE}),
    Case(Gate.DRIFT_CLEAN, PASSED, "override with a reason", "overridden: release",
         {"drift": drifted(override_reason="release"), "policy": OVERRIDE}),
    Case(Gate.DRIFT_CLEAN, BLOCKED, "an override where attestation is asked", "no incident follows",
         {"drift": drifted(override_reason="release"), "policy": ATTEST}),
    Case(Gate.DRIFT_CLEAN, BLOCKED, "nobody acknowledged", "acknowledged",
         {"drift": drifted(Drift.DRIFT_INCIDENT_ACTIVE), "policy": ATTEST, "incident": incident()}),
    Case(Gate.DRIFT_CLEAN, BLOCKED, "acknowledged without a reason", "without a reason",
         {"drift": drifted(Drift.DRIFT_INCIDENT_ACKNOWLEDGED), "policy": ATTEST, "incident": incident(ACKED)}),
    Case(Gate.DRIFT_CLEAN, PASSED, "attested", "acknowledged: known",
         {"drift": drifted(Drift.DRIFT_INCIDENT_ACKNOWLEDGED), "policy": ATTEST, "incident": incident(ACKED, reason="known")}),
    Case(Gate.DRIFT_CLEAN, BLOCKED, "the target's own policy stays", "Orders", {"drift": drifted(), "policy": OVERRIDE},
         {"require_clean_drift": False}),
    Case(Gate.DRIFT_CLEAN, NOT_EVALUATED, "not required", "only warns", {"drift": drifted()}, {"require_clean_drift": False}),
    Case(Gate.HOTFIX, PASSED, "none", "no edits"),
    Case(Gate.HOTFIX, PASSED, "allowed", "allowOverwritingHotfixes", {"hotfixes": [ORDERS]}, {"allow_overwriting_hotfixes": True}),
    Case(Gate.HOTFIX, BLOCKED, "one", "Orders", {"hotfixes": [ORDERS]}, {"allow_force_promotion_on_conflicts": True}),
    Case(Gate.CONFLICT, PASSED, "none", "no changes"),
    Case(Gate.CONFLICT, PASSED, "allowed", "allowForce", {"conflicts": [ORDERS]}, {"allow_force_promotion_on_conflicts": True}),
    Case(Gate.CONFLICT, BLOCKED, "one", "Orders", {"conflicts": [ORDERS]}, {"allow_overwriting_hotfixes": True}),
    Case(Gate.CREDENTIALS, PASSED, "none", "none is used"),
    Case(Gate.CREDENTIALS, PASSED, "there by id", "all 1", {"credentials": credentials(use("renamed since"))}),
    Case(Gate.CREDENTIALS, PASSED, "there by name", "all 1", {"credentials": credentials(use(credential_id=None))}),
    Case(Gate.CREDENTIALS, PASSED, "created empty", "filled in", {"credentials": credentials(use("other", None))},
         {"allow_placeholder_credentials": True}),
    Case(Gate.CREDENTIALS, BLOCKED, "not mapped", "stripe", {"credentials": credentials(use(None, None))},
         {"allow_placeholder_credentials": True}),
    Case(Gate.CREDENTIALS, BLOCKED, "without a counterpart", "not mapped", {"unresolved": unresolved(Kind.CREDENTIAL)}),
    Case(Gate.CREDENTIALS, BLOCKED, "not there", "not in the target", {"credentials": credentials(use("other", None))}),
    Case(Gate.CREDENTIALS, BLOCKED, "of another type", "not in the target", {"credentials": credentials(use(kind="httpBasicAuth"))}),
    Case(Gate.CREDENTIALS, BLOCKED, "two of the name", "several", {"credentials": credentials(use(credential_id=None), present=SAME_NAME)}),
    Case(Gate.CREDENTIALS, BLOCKED, "1.x without an id", "id", {"credentials": credentials(use(credential_id=None), present=CannotBeListed())}),
    Case(Gate.CREDENTIALS, PASSED, "1.x and none used", "none", {"credentials": credentials(present=CannotBeListed())}),
    Case(Gate.CREDENTIALS, NOT_EVALUATED, "1.x", "1.x does not list", {"credentials": credentials(use(), present=CannotBeListed())}),
    Case(Gate.PLACEHOLDERS, PASSED, "none", "counterpart"),
    Case(Gate.PLACEHOLDERS, PASSED, "a credential is another's", "counterpart", {"unresolved": unresolved(Kind.CREDENTIAL)}),
    Case(Gate.PLACEHOLDERS, BLOCKED, "a variable", "{{env.API}} in Orders", {"unresolved": unresolved(Kind.VARIABLE)}),
    Case(Gate.INCIDENT_TTL, NOT_EVALUATED, "not asked", "enforce_ttl", {"incident": incident(expires=-DAY)}),
    Case(Gate.INCIDENT_TTL, PASSED, "none", "no open incident", {"policy": policy(enforce_ttl=True)}),
    Case(Gate.INCIDENT_TTL, PASSED, "in time", "incident 7", {"policy": policy(enforce_ttl=True), "incident": incident()}),
    Case(Gate.INCIDENT_TTL, BLOCKED, "at its end", "past its TTL", {"policy": policy(enforce_ttl=True),
                                                                    "incident": incident(ACKED, expires=timedelta(0))}),
    Case(Gate.ACTIVE_INCIDENT, NOT_EVALUATED, "not asked", "block_on_active_drift", {"incident": incident()}),
    Case(Gate.ACTIVE_INCIDENT, PASSED, "none", "no open incident", {"policy": policy(block_on_active_drift=True)}),
    Case(Gate.ACTIVE_INCIDENT, BLOCKED, "one", "incident 7 is open", {"policy": policy(block_on_active_drift=True),
                                                                      "incident": incident(ACKED)}),
    Case(Gate.FREEZE_WINDOW, NOT_EVALUATED, "none", "no freeze windows"),
    Case(Gate.FREEZE_WINDOW, PASSED, "outside", "covers", {"freeze_windows": windows(start="18:00", end="08:00")}),
    Case(Gate.FREEZE_WINDOW, HELD, "inside", "opens at 2026-11-21 14:00 UTC", {"freeze_windows": windows(start="10:00", end="14:00")}),
    Case(Gate.FREEZE_WINDOW, BLOCKED, "for ever", "does not open", {"freeze_windows": windows(start="00:00", end="00:00")}),
    Case(Gate.APPROVALS, NOT_EVALUATED, "not asked", "no approval"),
    Case(Gate.APPROVALS, HELD, "nobody yet", "0 of 2", rules=TWO),
    Case(Gate.APPROVALS, HELD, "one of two", "1 of 2", {"approvals": asked(yes("bob"))}, TWO),
    Case(Gate.APPROVALS, PASSED, "two of two", "2 of 2", {"approvals": asked(yes("bob"), yes("eve"))}, TWO),
    Case(Gate.APPROVALS, HELD, "one twice", "1 of 2", {"approvals": asked(yes("bob"), yes(" BOB "))}, TWO),
    Case(Gate.APPROVALS, HELD, "the requester", "1 of 2", {"approvals": asked(yes("bob"), yes("Ann"))}, TWO),
    Case(Gate.APPROVALS, HELD, "the admin behind the requester", "1 of 2",
         {"approvals": asked(yes("bob"), yes("root"), through="root")}, TWO),
    Case(Gate.APPROVALS, HELD, "the requester behind somebody", "1 of 2",
         {"approvals": asked(yes("bob"), yes("eve", through="ann"))}, TWO),
    Case(Gate.APPROVALS, HELD, "one admin as two people", "1 of 2",
         {"approvals": asked(yes("bob", through="root"), yes("eve", through="root"))}, TWO),
    Case(Gate.APPROVALS, HELD, "of another plan", "1 decided on another plan", {"approvals": asked(yes("bob"), yes("eve", "old"))}, TWO),
    Case(Gate.APPROVALS, PASSED, "another plan was rejected", "2 of 2",
         {"approvals": asked(no("zoe", "old"), yes("bob"), yes("eve"))}, TWO),
    Case(Gate.APPROVALS, BLOCKED, "rejected", "rejected by zoe", {"approvals": asked(yes("bob"), yes("eve"), no("zoe"))}, TWO),
    Case(Gate.SOAK_TIME, NOT_EVALUATED, "not asked", "no soak time"),
    Case(Gate.SOAK_TIME, PASSED, "long enough", "or longer", {"soaked": [SoakedWorkflow("Orders", NOW - DAY)]}, {"soak": DAY}),
    Case(Gate.SOAK_TIME, HELD, "not yet", "Invoices", {"soaked": [
        SoakedWorkflow("Orders", NOW - DAY), SoakedWorkflow("Invoices", NOW)]}, {"soak": DAY}),
    Case(Gate.SOAK_TIME, BLOCKED, "nobody knows", "since when", {"soaked": [SoakedWorkflow("Orders", None)]}, {"soak": DAY}),
    Case(Gate.ENTITLEMENT, PASSED, "by default", "no plan"),
    Case(Gate.ENTITLEMENT, BLOCKED, "not in the plan", "free", {"entitlement": Answer(False, "the plan free has no workflow_ci_cd")}),
    Case(Gate.BUDGET, PASSED, "by default", "no budget"),
    Case(Gate.BUDGET, BLOCKED, "used up", "10 of 10", {"budget": Answer(False, "10 of 10 promotions a month", "next month")}),
    Case(Gate.LINT, PASSED, "clean", "no errors"),
    Case(Gate.LINT, PASSED, "a warning", "remarks: 1", {"lint": [linted(LintSeverity.WARNING)]}),
    Case(Gate.LINT, PASSED, "waived", "waived: 1", {"lint": [waived(linted(LintSeverity.ERROR), 1)]}),
    Case(Gate.LINT, BLOCKED, "an expired waiver", "have expired", {"lint": [waived(linted(LintSeverity.ERROR), -1)]}),
    Case(Gate.LINT, BLOCKED, "an error", "Orders: nothing starts it [no-trigger]", {"lint": [linted(LintSeverity.ERROR)]}),
    Case(Gate.SOURCE_IN_SYNC, PASSED, "as Git says", "staging is as Git says"),
    Case(Gate.SOURCE_IN_SYNC, NOT_EVALUATED, "dev", "where it is made", {"source": SourceFacts("dev", False)}),
    Case(Gate.SOURCE_IN_SYNC, BLOCKED, "drifted", "staging has drifted: Orders",
         {"source": SourceFacts("staging", True, Drift.DRIFT_DETECTED, (ORDERS,))}),
    Case(Gate.SOURCE_IN_SYNC, BLOCKED, "untracked", "nothing of staging is in Git",
         {"source": SourceFacts("staging", True, Drift.UNTRACKED)}),
    Case(Gate.SOURCE_IN_SYNC, BLOCKED, "unknown", "could not be told: Git does not answer",
         {"source": SourceFacts("staging", True, Drift.ERROR, reason="Git does not answer")}),
    Case(Gate.WRITE_BLOCK, PASSED, "none", "takes writes"),
    Case(Gate.WRITE_BLOCK, BLOCKED, "incomplete", "since 2026-11-21 12:00 UTC",
         {"write_block": WriteBlock(True, "rollback incomplete", NOW)}),
]

POSSIBLE = {  # which outcomes a gate can have; every gate blocks where its facts are missing
    Gate.DRIFT_CLEAN: {PASSED, BLOCKED, NOT_EVALUATED}, Gate.HOTFIX: {PASSED, BLOCKED}, Gate.CONFLICT: {PASSED, BLOCKED},
    Gate.CREDENTIALS: {PASSED, BLOCKED, NOT_EVALUATED}, Gate.PLACEHOLDERS: {PASSED, BLOCKED},
    Gate.INCIDENT_TTL: {PASSED, BLOCKED, NOT_EVALUATED}, Gate.ACTIVE_INCIDENT: {PASSED, BLOCKED, NOT_EVALUATED},
    Gate.FREEZE_WINDOW: {PASSED, HELD, BLOCKED, NOT_EVALUATED}, Gate.APPROVALS: {PASSED, HELD, BLOCKED, NOT_EVALUATED},
    Gate.SOAK_TIME: {PASSED, HELD, BLOCKED, NOT_EVALUATED}, Gate.ENTITLEMENT: {PASSED, BLOCKED}, Gate.BUDGET: {PASSED, BLOCKED},
    Gate.SOURCE_IN_SYNC: {PASSED, BLOCKED, NOT_EVALUATED}, Gate.LINT: {PASSED, BLOCKED}, Gate.WRITE_BLOCK: {PASSED, BLOCKED},
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_gate_says_what_its_facts_mean_and_the_way_out(case: Case) -> None:
    rules, facts = StageRules(**case.rules), replace(CLEAN, **case.facts)
    result = evaluate_all(rules, facts, NOW).of(case.gate)
    assert (result.outcome, case.said in result.reason) == (case.outcome, True), result
    assert bool(result.fix) == (case.outcome in {HELD, BLOCKED})
    assert json.loads(json.dumps(result.as_json())) == result.as_json()


def test_every_possible_outcome_of_every_gate_has_a_case_and_no_other_comes_up() -> None:
    found: dict[Gate, set[GateOutcome]] = {}
    for case in CASES:
        found.setdefault(case.gate, set()).add(case.outcome)
    assert found == POSSIBLE
    assert set(POSSIBLE) == set(Gate)


ASKS_FOR_ALL = StageRules(approvers=1, soak=DAY)
NEEDS = {
    Gate.DRIFT_CLEAN: {"drift", "policy"}, Gate.HOTFIX: {"hotfixes"}, Gate.CONFLICT: {"conflicts"},
    Gate.CREDENTIALS: {"credentials", "unresolved"}, Gate.PLACEHOLDERS: {"unresolved"}, Gate.INCIDENT_TTL: {"policy", "incident"},
    Gate.ACTIVE_INCIDENT: {"policy", "incident"}, Gate.FREEZE_WINDOW: {"freeze_windows"}, Gate.APPROVALS: {"approvals"},
    Gate.SOAK_TIME: {"soaked"}, Gate.ENTITLEMENT: {"entitlement"}, Gate.BUDGET: {"budget"}, Gate.LINT: {"lint"},
    Gate.WRITE_BLOCK: {"write_block"}, Gate.SOURCE_IN_SYNC: {"source"},
}
STRICT = replace(CLEAN, policy=policy(enforce_ttl=True, block_on_active_drift=True))


def test_every_fact_is_needed_by_a_gate() -> None:
    assert set().union(*NEEDS.values()) == {fact.name for fact in fields(GateFacts)}


@pytest.mark.parametrize(("gate", "fact"), [(gate, fact) for gate, facts in NEEDS.items() for fact in sorted(facts)])
def test_a_gate_whose_fact_is_missing_blocks_with_the_reason_and_the_others_go_on(gate: Gate, fact: str) -> None:
    lost = Missing("n8n did not answer", "try later")
    report = evaluate_all(ASKS_FOR_ALL, replace(STRICT, **{fact: lost}), NOW)
    result = report.of(gate)
    assert (result.outcome, result.fix) == (BLOCKED, "try later")
    assert "n8n did not answer" in result.reason
    assert [r.gate for r in report.results] == list(Gate)
    unaffected = [other for other in Gate if fact not in NEEDS[other]]
    before = evaluate_all(ASKS_FOR_ALL, STRICT, NOW)
    assert all(report.of(other) == before.of(other) for other in unaffected)


@pytest.mark.parametrize("gate", list(Gate))
def test_a_gate_whose_facts_make_no_sense_blocks_without_repeating_them(gate: Gate) -> None:
    broken: dict[str, Any] = {fact: object() for fact in NEEDS[gate]}
    result = evaluate(gate, ASKS_FOR_ALL, replace(STRICT, **broken), NOW)
    assert result.outcome is BLOCKED
    assert "could not be evaluated" in result.reason
    assert "object at" not in result.reason


def test_with_no_facts_at_all_everything_blocks_but_what_is_allowed_by_default_or_not_asked_for() -> None:
    report = evaluate_all(StageRules(), GateFacts(), NOW)
    let_through = {r.gate: r.outcome for r in report.results if r.outcome is not BLOCKED}
    assert let_through == {Gate.ENTITLEMENT: PASSED, Gate.BUDGET: PASSED, Gate.APPROVALS: NOT_EVALUATED,
                           Gate.SOAK_TIME: NOT_EVALUATED}
    assert report.verdict is BLOCKED


def test_a_time_without_a_zone_passes_nothing() -> None:
    assert {r.outcome for r in evaluate_all(StageRules(), CLEAN, datetime(2026, 11, 21, 12)).results} == {BLOCKED}


def raising(error: Exception) -> Callable[[], WriteBlock]:
    def read() -> WriteBlock:
        raise error
    return read


def test_a_look_up_that_fails_is_a_missing_fact_and_shows_only_what_is_ours() -> None:
    ours = look_up(raising(Unreachable("no answer", target="https://n8n.example", fix="start it")))
    assert ours == Missing("https://n8n.example: no answer", "start it")
    foreign = look_up(raising(ValueError("password=hunter2")))
    assert isinstance(foreign, Missing)
    assert "hunter2" not in foreign.reason
    assert "ValueError" in foreign.reason
    assert look_up(lambda: WriteBlock(False)) == WriteBlock(False)


def test_the_verdict_is_the_worst_and_every_reason_is_shown() -> None:
    assert evaluate_all(StageRules(), CLEAN, NOW).verdict is PASSED
    held = evaluate_all(StageRules(approvers=1), CLEAN, NOW)
    assert (held.verdict, [r.gate for r in held.waits]) == (HELD, [Gate.APPROVALS])
    blocked = evaluate_all(StageRules(approvers=1), replace(CLEAN, hotfixes=[ORDERS], drift=drifted()), NOW)
    assert (blocked.verdict, [r.gate for r in blocked.refusals]) == (BLOCKED, [Gate.DRIFT_CLEAN, Gate.HOTFIX])
    text = blocked.as_text()
    assert [line.split()[1] for line in text.splitlines()[:-1]] == [str(gate) for gate in Gate]
    assert text.splitlines()[-1] == "gates: blocked"
    with pytest.raises(Blocked) as refused:
        blocked.check()
    assert all(f"{gate}: " in refused.value.message for gate in (Gate.DRIFT_CLEAN, Gate.HOTFIX, Gate.APPROVALS))
    evaluate_all(StageRules(), CLEAN, NOW).check()


def test_names_of_workflows_are_shown_without_secrets_and_control_characters() -> None:
    nasty = NamedWorkflow("c", "Or\x1b[31mders\nghp_" + "aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW2xYz")
    report = evaluate_all(StageRules(), replace(CLEAN, hotfixes=[nasty]), NOW)
    shown = report.as_text() + json.dumps(report.as_json())
    assert "aB3dE5f" not in shown
    assert "\x1b" not in shown
    assert len(report.as_text().splitlines()) == len(Gate) + 1


@given(st.lists(st.sampled_from(CASES), max_size=6))
@settings(deadline=None)
def test_a_report_of_anything_is_complete_and_its_verdict_follows_from_its_results(cases: list[Case]) -> None:
    facts, rules = CLEAN, StageRules()
    for case in cases:
        facts, rules = replace(facts, **case.facts), replace(rules, **case.rules)
    report = evaluate_all(rules, facts, NOW)
    assert [result.gate for result in report.results] == list(Gate)
    outcomes = {result.outcome for result in report.results}
    assert report.verdict is (BLOCKED if BLOCKED in outcomes else HELD if HELD in outcomes else PASSED)
    assert all(result.outcome in POSSIBLE[result.gate] for result in report.results)
    assert report == evaluate_all(rules, facts, NOW)
    assert isinstance(report, GateReport)


@given(st.lists(st.builds(Decision, st.sampled_from("abcd"), st.sampled_from(["sum", "old"]), st.just(True),
                          st.none() | st.sampled_from("abcd")), max_size=8), st.integers(1, 4))
@settings(deadline=None)
def test_no_quorum_is_reached_by_fewer_people_than_it_asks_for(decisions: list[Decision], quorum: int) -> None:
    facts = replace(CLEAN, approvals=ApprovalFacts("sum", "a", None, tuple(decisions)))
    result = evaluate(Gate.APPROVALS, StageRules(approvers=quorum), facts, NOW)
    others = {name for d in decisions if d.checksum == "sum" and "a" not in (d.by, d.through) for name in (d.by, d.through) if name}
    assert result.details["approved"] <= len(others)
    assert (result.outcome is PASSED) == (result.details["approved"] >= quorum)
    turned = replace(CLEAN, approvals=ApprovalFacts("sum", "a", None, tuple(reversed(decisions))))
    assert evaluate(Gate.APPROVALS, StageRules(approvers=quorum), turned, NOW) == result
