"""What a gate says (§11.5), and what the gates have in common. The gates are in ``target_gates`` and ``waiting_gates``; they
are evaluated by ``gates``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeVar

from wfops_pipelines.domain.gate_facts import Missing

_Fact = TypeVar("_Fact")
_SHOWN: Final = 3  # names that one reason shows; details hold all


class Gate(StrEnum):
    """The gates, in the order in which they are shown."""

    ENTITLEMENT = "entitlement"
    BUDGET = "budget"
    WRITE_BLOCK = "write_block"
    SOURCE_IN_SYNC = "source_in_sync"
    DRIFT_CLEAN = "drift_clean"
    HOTFIX = "hotfix"
    CONFLICT = "conflict"
    CREDENTIALS = "credentials"
    PLACEHOLDERS = "placeholders"
    INCIDENT_TTL = "incident_ttl"
    ACTIVE_INCIDENT = "active_incident"
    LINT = "lint"
    FREEZE_WINDOW = "freeze_window"
    SOAK_TIME = "soak_time"
    APPROVALS = "approvals"


class GateOutcome(StrEnum):
    """What a gate says."""

    PASSED = "passed"
    HELD = "held"
    BLOCKED = "blocked"
    NOT_EVALUATED = "not_evaluated"


PASSED, HELD, BLOCKED, NOT_EVALUATED = GateOutcome
"""The outcomes by their short names, as the gates write them."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """What a gate says and why. ``fix`` is the way out of ``held`` and ``blocked``; ``details`` are plain JSON. Nothing in
    it is a secret."""

    gate: Gate
    outcome: GateOutcome
    reason: str
    fix: str | None = None
    details: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"gate": str(self.gate), "outcome": str(self.outcome), "reason": self.reason, "fix": self.fix,
                "details": dict(self.details)}


class FactMissing(Exception):
    """A gate needs a fact that is not there."""

    def __init__(self, missing: Missing) -> None:
        super().__init__(missing.reason)
        self.missing = missing


def need(fact: _Fact | Missing) -> _Fact:
    """The fact, or :class:`FactMissing`."""
    if isinstance(fact, Missing):
        raise FactMissing(fact)
    return fact


def some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
