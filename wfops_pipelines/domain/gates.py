"""The gates of a promotion (§11.5): every one is evaluated, every reason is shown, and what cannot be told blocks.

What a gate says is one of:

* ``passed``;
* ``held``: not now. Time or people will decide (a freeze window, a soak time, approvals): the promotion waits;
* ``blocked``: no, as things are. So too where a fact is missing, or judging it fails;
* ``not_evaluated``: the stage or the policy does not ask for it, or the target cannot answer; the reason says which.

One that blocks makes the whole blocked, else one that holds makes it held. This is pure: the facts are in
``gate_facts``, and ``now`` is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from wfops_pipelines.domain import source_gate, target_gates, waiting_gates
from wfops_pipelines.domain.errors import Blocked
from wfops_pipelines.domain.gate_facts import GateFacts, Missing, StageRules, missing_after
from wfops_pipelines.domain.gate_results import (
    BLOCKED,
    HELD,
    NOT_EVALUATED,
    PASSED,
    FactMissing,
    Gate,
    GateOutcome,
    GateResult,
)

__all__ = ["Gate", "GateOutcome", "GateReport", "GateResult", "evaluate", "evaluate_all"]

_MARKS: Final = {PASSED: "✓", HELD: "…", BLOCKED: "✗", NOT_EVALUATED: "-"}
_GATES: Final[Mapping[Gate, Callable[[StageRules, GateFacts, datetime], GateResult]]] = MappingProxyType({
    Gate.ENTITLEMENT: waiting_gates.entitlement,
    Gate.BUDGET: waiting_gates.budget,
    Gate.WRITE_BLOCK: target_gates.write_block,
    Gate.SOURCE_IN_SYNC: source_gate.source_in_sync,
    Gate.DRIFT_CLEAN: target_gates.drift_clean,
    Gate.HOTFIX: target_gates.hotfix,
    Gate.CONFLICT: target_gates.conflict,
    Gate.CREDENTIALS: target_gates.credentials,
    Gate.PLACEHOLDERS: target_gates.placeholders,
    Gate.INCIDENT_TTL: waiting_gates.incident_ttl,
    Gate.ACTIVE_INCIDENT: waiting_gates.active_incident,
    Gate.LINT: target_gates.lint,
    Gate.FREEZE_WINDOW: waiting_gates.freeze_window,
    Gate.SOAK_TIME: waiting_gates.soak_time,
    Gate.APPROVALS: waiting_gates.approvals,
})


@dataclass(frozen=True, slots=True)
class GateReport:
    """All results in the order of :class:`Gate`. ``verdict`` is ``passed``, ``held`` or ``blocked``."""

    results: tuple[GateResult, ...]

    @property
    def verdict(self) -> GateOutcome:
        """The worst that a gate says."""
        return BLOCKED if self.refusals else HELD if self.waits else PASSED

    @property
    def refusals(self) -> tuple[GateResult, ...]:
        """The gates that block."""
        return tuple(result for result in self.results if result.outcome is BLOCKED)

    @property
    def waits(self) -> tuple[GateResult, ...]:
        """The gates that hold."""
        return tuple(result for result in self.results if result.outcome is HELD)

    def of(self, gate: Gate) -> GateResult:
        """What one gate says."""
        return next(result for result in self.results if result.gate is gate)

    def as_json(self) -> dict[str, Any]:
        """``{"verdict": …, "gates": [{"gate", "outcome", "reason", "fix", "details"}, …]}``."""
        return {"verdict": str(self.verdict), "gates": [result.as_json() for result in self.results]}

    def as_text(self) -> str:
        """A line for each gate, with the way out where there is one to find, and the verdict as the last."""
        width = max(len(gate) for gate in Gate)
        lines = [f"{_MARKS[r.outcome]} {r.gate:<{width}}  {r.reason}" + (f" ({r.fix})" if r.fix else "")
                 for r in self.results]
        return "\n".join([*lines, f"gates: {self.verdict}"])

    def check(self) -> None:
        """Pass when nothing blocks or holds; :class:`Blocked` with every reason otherwise."""
        if against := [*self.refusals, *self.waits]:
            fixes = dict.fromkeys(result.fix for result in against if result.fix)
            raise Blocked("; ".join(f"{r.gate}: {r.reason}" for r in against), fix="; ".join(fixes) or None)


def evaluate_all(rules: StageRules, facts: GateFacts, now: datetime) -> GateReport:
    """Every gate, whatever the others say; ``now`` is an aware time. Never raises: a gate that cannot be judged blocks."""
    return GateReport(tuple(evaluate(gate, rules, facts, now) for gate in Gate))


def evaluate(gate: Gate, rules: StageRules, facts: GateFacts, now: datetime) -> GateResult:
    """One gate alone, as :func:`evaluate_all` does it."""
    try:
        if now.tzinfo is None:
            raise FactMissing(Missing("the time it is now has no time zone"))
        return _GATES[gate](rules, facts, now)
    except FactMissing as error:
        missing = error.missing
    except Exception as error:  # fail closed: whatever went wrong, nobody has judged this
        missing = missing_after(error)
    return GateResult(gate, BLOCKED, f"this could not be evaluated: {missing.reason}", missing.fix, {"missing": True})
