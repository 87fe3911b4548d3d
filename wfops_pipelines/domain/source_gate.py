"""The gate that asks about the source (§11.2): what is promoted is what Git says, unless the source is where it is made."""

from __future__ import annotations

from datetime import datetime

from wfops_pipelines.domain.drift import EnvironmentDriftStatus
from wfops_pipelines.domain.gate_facts import GateFacts, StageRules
from wfops_pipelines.domain.gate_results import BLOCKED, NOT_EVALUATED, PASSED, Gate, GateResult, need, some
from wfops_pipelines.domain.shown import one_line


def source_in_sync(_: StageRules, facts: GateFacts, __: datetime) -> GateResult:
    """Whether a source that is not ``dev`` is in sync with Git: an edit made by hand there must not travel on unseen."""
    gate, source = Gate.SOURCE_IN_SYNC, need(facts.source)
    name = one_line(source.name, 80)
    if not source.follows_git:
        return GateResult(gate, NOT_EVALUATED, f"{name} is where it is made: there is nothing that it has to agree with")
    names = [one_line(workflow.name, 80) for workflow in source.drifted]
    details = {"status": None if source.status is None else str(source.status), "drifted": names}
    if source.status is EnvironmentDriftStatus.IN_SYNC:
        return GateResult(gate, PASSED, f"{name} is as Git says", None, details)
    if names:
        return GateResult(gate, BLOCKED, f"{name} has drifted: {some(names)}",
                          "bring it into Git or take it back: wfops incident reconcile, wfops export", details)
    if source.status is EnvironmentDriftStatus.UNTRACKED:
        return GateResult(gate, BLOCKED, f"nothing of {name} is in Git", "promote into it, or put it into Git: wfops export",
                          details)
    why = one_line(source.reason or "its drift is not known", 300)
    return GateResult(gate, BLOCKED, f"whether {name} is as Git says could not be told: {why}",
                      "see what `wfops drift` says of it", details)
