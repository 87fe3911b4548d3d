"""What a tenant's plan and budget allow (§17), as an interface: who asks gets an :class:`Answer`, who answers is given from
outside. :class:`EverythingAllowed` answers where nothing else is set up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Feature(StrEnum):
    """A feature that a plan has or has not."""

    DRIFT_DETECTION = "drift_detection"
    DRIFT_INCIDENTS = "drift_incidents"
    WORKFLOW_CI_CD = "workflow_ci_cd"


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether it is allowed. A refusal's ``reason`` names the plan and the limit, its ``fix`` the way out."""

    allowed: bool
    reason: str
    fix: str = ""


class Entitlements(Protocol):
    """Knows which features a tenant (by slug) has."""

    def feature(self, tenant: str, feature: Feature) -> Answer:
        """Whether the tenant's plan has the feature."""


class Budgets(Protocol):
    """Knows what a tenant (by slug) may still use up."""

    def promotion(self, tenant: str, workflows: int) -> Answer:
        """Whether one more promotion, of so many workflows, is within its limits and its budget."""


class EverythingAllowed:
    """Every feature, without a limit: what holds while no plans are kept."""

    def feature(self, tenant: str, feature: Feature) -> Answer:
        """Yes."""
        del tenant
        return Answer(True, f"no plan limits {feature}")

    def promotion(self, tenant: str, workflows: int) -> Answer:
        """Yes."""
        del tenant, workflows
        return Answer(True, "no budget is set")
