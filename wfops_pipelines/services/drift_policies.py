"""The drift policy that holds for an environment, from what its tenant and it have declared (§10.8)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.drift_policy import DriftPolicy, Stored, effective
from wfops_pipelines.store.unit_of_work import UnitOfWork


def stored_policies(work: UnitOfWork, environment: Row[Any]) -> tuple[Stored | None, Stored | None]:
    """What the tenant said, and what the environment says otherwise."""
    policies = {row.environment_id: row.policy for row in work.fleet.policies()}
    return policies.get(None), policies.get(environment.id)


def policy_of(work: UnitOfWork, environment: Row[Any]) -> DriftPolicy:
    """What holds for the environment."""
    tenant, own = stored_policies(work, environment)
    return effective(tenant, own, environment._mapping["class"], environment.drift_handling_mode)
