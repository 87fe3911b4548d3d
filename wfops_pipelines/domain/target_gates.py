"""The gates that ask about the target (§11.5): its drift, what the plan overwrites, whether it takes writes, and whether it
has what the workflows need. See ``gates`` for what they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from wfops_pipelines.domain.credential_presence import CredentialPresence, find_credential
from wfops_pipelines.domain.drift import EnvironmentDriftStatus
from wfops_pipelines.domain.drift_policy import DriftPolicy, check_touch
from wfops_pipelines.domain.errors import Blocked
from wfops_pipelines.domain.fleet_fields import DriftHandlingMode
from wfops_pipelines.domain.gate_facts import (
    CannotBeListed,
    CredentialUse,
    DriftFacts,
    GateFacts,
    Missing,
    NamedWorkflow,
    StageRules,
    TargetCredential,
)
from wfops_pipelines.domain.gate_results import BLOCKED, NOT_EVALUATED, PASSED, Gate, GateResult, need, some
from wfops_pipelines.domain.shown import moment, one_line
from wfops_pipelines.domain.transform_terms import Kind


def drift_clean(rules: StageRules, facts: GateFacts, _: datetime) -> GateResult:
    """Whether the target is as Git says, apart from what the plan writes anyway.

    A stage that does not ask for that still leaves the target's own rules (``drift_handling_mode``, §10.7). Where the stage
    asks, ``warn_only`` has no way past it; ``manual_override`` has an admin's reason, ``require_attestation`` an
    acknowledged incident with one.
    """
    gate = Gate.DRIFT_CLEAN
    policy = need(facts.policy)
    warns = policy.drift_handling_mode is DriftHandlingMode.WARN_ONLY
    if warns and not rules.require_clean_drift:
        drifted = () if isinstance(facts.drift, Missing) else _names(facts.drift.drifted)
        return GateResult(gate, NOT_EVALUATED, "the stage does not require a clean target, and its policy only warns", None,
                          {"drifted": list(drifted)})
    drift = need(facts.drift)
    details = {"status": str(drift.status), "drifted": list(_names(drift.drifted)), "mode": str(policy.drift_handling_mode)}
    if (unknown := _why_unknown(drift)) is not None:
        return GateResult(gate, BLOCKED, *unknown, details)
    if drift.target_is_empty or drift.status is EnvironmentDriftStatus.UNTRACKED:
        reason = "the target is empty" if drift.target_is_empty else "nothing of the target is tracked yet"
        return GateResult(gate, PASSED, reason, None, details)
    left = [workflow for workflow in drift.drifted if workflow.key not in drift.overwritten]
    if not left:
        reason = ("only what the plan writes has drifted: hotfix and conflict judge it" if drift.drifted else
                  "the target is as Git says")
        return GateResult(gate, PASSED, reason, None, details)
    said = f"the target has drifted: {some(_names(left))}"
    if warns:
        return GateResult(gate, BLOCKED, said, "reconcile it, or let the stage not require it (requireCleanDrift)", details)
    return _touched(drift, policy, facts, said, details)


def _touched(drift: DriftFacts, policy: DriftPolicy, facts: GateFacts, said: str, details: Mapping[str, Any]) -> GateResult:
    """What the target's own policy says to writing over drift."""
    attests = policy.drift_handling_mode is DriftHandlingMode.REQUIRE_ATTESTATION
    incident = need(facts.incident).incident if attests else None
    reason = (None if incident is None else incident.reason) if attests else drift.override_reason
    try:
        check_touch(policy, drifted=True, incident=None if incident is None else incident.status,
                    incident_reason=reason if attests else None, override_reason=None if attests else reason)
    except Blocked as refused:
        why = f"{said}; {refused.message}" if attests else said
        return GateResult(Gate.DRIFT_CLEAN, BLOCKED, why, refused.fix, details)
    how = "acknowledged" if attests else "overridden"
    return GateResult(Gate.DRIFT_CLEAN, PASSED, f"{said}; {how}: {one_line(reason or '', 200)}", None,
                      {**details, "override_reason": one_line(reason or "")})


def _why_unknown(drift: DriftFacts) -> tuple[str, str] | None:
    """Why nobody can say whether the target has drifted, and the way out."""
    status, reason = drift.status, one_line(drift.reason or "no reason is known", 300)
    if not drift.fresh:
        return "its drift was not checked for this promotion", "check it again: wfops drift"
    if status is EnvironmentDriftStatus.ERROR:
        return f"its drift could not be checked: {reason}", "wait until n8n and Git answer, and plan again"
    if status is EnvironmentDriftStatus.UNKNOWN and not drift.target_is_empty:
        return (f"its drift is not known: {reason}",
                "configure Git for the target, or let the stage not require it (requireCleanDrift)")
    if status is EnvironmentDriftStatus.DRIFT_DETECTED and not drift.drifted:
        return "it has drifted, and what drifted was not said", "check it again: wfops drift"
    return None


def hotfix(rules: StageRules, facts: GateFacts, _: datetime) -> GateResult:
    """Whether the plan overwrites edits made in the target (§8: target_hotfix)."""
    return _overwrites(Gate.HOTFIX, need(facts.hotfixes), "edits made in the target", "allowOverwritingHotfixes",
                       allowed=rules.allow_overwriting_hotfixes)


def conflict(rules: StageRules, facts: GateFacts, _: datetime) -> GateResult:
    """Whether the plan overwrites workflows that changed on both sides, or nobody knows from where (§8: conflict)."""
    return _overwrites(Gate.CONFLICT, need(facts.conflicts), "changes made on both sides", "allowForcePromotionOnConflicts",
                       allowed=rules.allow_force_promotion_on_conflicts)


def _overwrites(gate: Gate, workflows: Sequence[NamedWorkflow], what: str, option: str, *, allowed: bool) -> GateResult:
    names = _names(workflows)
    details = {"workflows": list(names)}
    if not names:
        return GateResult(gate, PASSED, f"the plan overwrites no {what}", None, details)
    said = f"the plan overwrites {what}: {some(names)}"
    if allowed:
        return GateResult(gate, PASSED, f"{said}; the stage allows it ({option})", None, details)
    return GateResult(gate, BLOCKED, said, "bring them back into the source first, or leave these workflows out", details)


def write_block(_: StageRules, facts: GateFacts, __: datetime) -> GateResult:
    """Whether the target takes writes at all (§11.7)."""
    block = need(facts.write_block)
    if not block.blocked:
        return GateResult(Gate.WRITE_BLOCK, PASSED, "the target takes writes")
    since = "" if block.since is None else f" since {moment(block.since)}"
    why = one_line(block.reason or "a rollback is incomplete", 300)
    fix = block.fix or "recovery lifts this when it succeeds; an admin can unblock the environment with a reason"
    return GateResult(Gate.WRITE_BLOCK, BLOCKED, f"the target takes no writes{since}: {why}", fix)


# -- what the target needs ---------------------------------------------------------------------------------------------


def credentials(rules: StageRules, facts: GateFacts, _: datetime) -> GateResult:
    """Whether every credential is mapped, and in the target as far as that can be asked."""
    gate = Gate.CREDENTIALS
    known, unresolved = need(facts.credentials), need(facts.unresolved)
    unmapped = [_of(use) for use in known.uses if not use.name]
    unmapped += [f"{problem.problem.what} in {one_line(problem.workflow, 80)}" for problem in unresolved
                 if problem.problem.kind is Kind.CREDENTIAL]
    unmapped = list(dict.fromkeys(unmapped))  # several nodes may use one
    details: dict[str, Any] = {"used": [_of(use) for use in known.uses], "unmapped": unmapped}
    if unmapped:
        return GateResult(gate, BLOCKED, f"not mapped to the target: {some(unmapped)}",
                          "say what it is called there: wfops credentials map", details)
    if isinstance(known.present, CannotBeListed):
        return _unlisted(known.uses, known.present, details)
    absent, unclear = _absent(known.uses, known.present)
    details |= {"absent": absent, "ambiguous": unclear}
    if unclear:
        return GateResult(gate, BLOCKED, f"several of the target's credentials have this type and name: {some(unclear)}",
                          "put the id of the right one into the credential map", details)
    if absent and rules.allow_placeholder_credentials:
        return GateResult(gate, PASSED, f"created empty in the target, to be filled in: {some(absent)}", None, details)
    if absent:
        return GateResult(gate, BLOCKED, f"not in the target: {some(absent)}",
                          "create it there, or let the stage create empty ones (allowPlaceholderCredentials)", details)
    return GateResult(gate, PASSED, f"all {len(known.uses)} are mapped and in the target" if known.uses else "none is used",
                      None, details)


def _unlisted(uses: Sequence[CredentialUse], present: CannotBeListed, details: dict[str, Any]) -> GateResult:
    """Nothing repairs a reference there, so it has to hold an id; whether that id exists, nobody can tell."""
    if not uses:
        return GateResult(Gate.CREDENTIALS, PASSED, "none is used", None, details)
    why = one_line(present.reason, 200)
    details |= {"not_listed": why, "without_id": [_of(use) for use in uses if not use.id]}
    if details["without_id"]:
        return GateResult(Gate.CREDENTIALS, BLOCKED, f"without an id in the target: {some(details['without_id'])}; {why}, "
                          "so a name alone finds nothing", "put its id there into the credential map: wfops credentials map",
                          details)
    return GateResult(Gate.CREDENTIALS, NOT_EVALUATED,
                      f"all {len(uses)} are mapped; whether they are in the target could not be checked: {why}", None,
                      details)


def _absent(uses: Sequence[CredentialUse], present: Sequence[TargetCredential]) -> tuple[list[str], list[str]]:
    """The used ones that the target has not, and those that it has several of."""
    found = [(_of(use), find_credential(use, present)) for use in uses]
    return ([name for name, where in found if where is CredentialPresence.ABSENT],
            [name for name, where in found if where is CredentialPresence.AMBIGUOUS])


def placeholders(_: StageRules, facts: GateFacts, __: datetime) -> GateResult:
    """Whether everything that is no credential has its counterpart in the target."""
    left = [problem for problem in need(facts.unresolved) if problem.problem.kind is not Kind.CREDENTIAL]
    if not left:
        return GateResult(Gate.PLACEHOLDERS, PASSED, "everything has its counterpart in the target")
    details = {"unresolved": [{"workflow": one_line(p.workflow, 200), **p.problem.as_json()} for p in left]}
    said = some([f"{p.problem.what} in {one_line(p.workflow, 80)}" for p in left])
    fixes = dict.fromkeys(p.problem.fix for p in left)
    return GateResult(Gate.PLACEHOLDERS, BLOCKED, f"without a counterpart in the target: {said}", "; ".join([*fixes][:3]),
                      details)


def lint(_: StageRules, facts: GateFacts, __: datetime) -> GateResult:
    """Whether a workflow has an error that nobody waived. Warnings and remarks never block."""
    reports = need(facts.lint)
    expired = sum(len(report.expired) for report in reports)
    over = f"; {expired} waivers have expired" if expired else ""
    errors = [f"{one_line(report.workflow, 80)}: {finding.message} [{finding.rule}]"
              for report in reports for finding in report.errors]
    details = {"workflows": [report.as_json() for report in reports
                             if report.findings or report.waived or report.expired or report.skipped]}
    if errors:
        return GateResult(Gate.LINT, BLOCKED, some(errors) + over,
                          "mend it in the source, or waive it for a while with a reason", details)
    warnings = sum(len(report.findings) for report in reports)
    waived = sum(len(report.waived) for report in reports)
    return GateResult(Gate.LINT, PASSED, f"no errors; warnings and remarks: {warnings}, waived: {waived}{over}", None,
                      details)


def _names(workflows: Iterable[NamedWorkflow]) -> tuple[str, ...]:
    return tuple(one_line(workflow.name, 80) for workflow in workflows)


def _of(use: CredentialUse) -> str:
    called = one_line(use.name or use.key, 80)
    by = f" (used by {some([one_line(name, 80) for name in use.used_by])})" if use.used_by else ""
    return f"{one_line(use.type, 60)} '{called}'{by}"
