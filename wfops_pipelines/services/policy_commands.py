"""Drift policies by hand (§10.8): what holds and who said so, and setting or taking back single fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.drift_policy import DEFAULTS, check_policy, effective, origins
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.incident import Severity
from wfops_pipelines.services.declaring import declaring
from wfops_pipelines.services.drift_policies import stored_policies
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

TTLS: Final = "severity_ttls"
FIELDS: Final = (*(f"{TTLS}.{severity}" for severity in reversed(Severity)), *DEFAULTS)
"""The fields by the names in which they are set, one by one."""


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What a tenant or an environment said before and says after; ``environment`` none for the tenant's own."""

    tenant: str
    environment: str | None
    before: dict[str, Any]
    after: dict[str, Any]
    dry_run: bool

    @property
    def changed(self) -> bool:
        """Whether there was something to do."""
        return self.before != self.after

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"tenant": self.tenant, "environment": self.environment, "before": self.before, "after": self.after,
                "changed": self.changed, "dry_run": self.dry_run}


def show_policies(services: Services, context: Context, environment: str | None = None) -> list[dict[str, Any]]:
    """What holds in each environment, or in one, with where each field comes from: ``environment``, ``tenant``,
    ``default``. ``said`` is what the environment itself says."""
    shown = []
    for row in services.environments(context, [environment] if environment is not None else None):
        with services.store.read(context) as work:
            tenant, own = stored_policies(work, row)
        policy = effective(tenant, own, row._mapping["class"], row.drift_handling_mode).as_json()
        shown.append({"tenant": context.tenant_slug, "environment": row.slug, "policy": policy,
                      "origins": origins(tenant, own), "said": check_policy(own or {}),
                      "said_by_tenant": check_policy(tenant or {})})
    return shown


def set_fields(services: Services, context: Context, fields: Mapping[str, Any], *, environment: str | None = None,
               dry_run: bool = False) -> PolicyChange:
    """Say fields of the tenant's policy or of an environment's: ``{"severity_ttls.high": 24, "enforce_ttl": True}``.
    :class:`InvalidFields` names every field that does not fit."""
    def change(said: dict[str, Any]) -> dict[str, Any]:
        for name, value in fields.items():
            _known(name)
            whole, _, severity = name.partition(".")
            said[whole] = {**said.get(whole, {}), severity: value} if severity else value
        return said

    return _change(services, context, environment, change, "policy.set", dry_run=dry_run)


def unset_fields(services: Services, context: Context, names: Sequence[str], *, environment: str | None = None,
                 dry_run: bool = False) -> PolicyChange:
    """Take back what was said of fields, so that the tenant's or the default holds; ``severity_ttls`` is all of them."""
    def change(said: dict[str, Any]) -> dict[str, Any]:
        for name in names:
            _known(name, whole=True)
            whole, _, severity = name.partition(".")
            if severity:
                said[whole] = {key: value for key, value in said.get(whole, {}).items() if key != severity}
            else:
                said.pop(whole, None)
        return said

    return _change(services, context, environment, change, "policy.unset", dry_run=dry_run)


def _known(name: str, *, whole: bool = False) -> None:
    if name not in FIELDS and not (whole and name == TTLS):
        raise UsageError(f"a drift policy has no field {name!r}", fix=f"one of {', '.join(FIELDS)}")


def _change(services: Services, context: Context, environment: str | None, change: Any, action: str, *,
            dry_run: bool) -> PolicyChange:
    row = services.environment(context, environment) if environment is not None else None
    whose = f"drift policy of {context.tenant_slug}{f'/{environment}' if environment else ''}"
    with declaring(services, context, "policy.change", dry_run=dry_run) as work:
        stored = {policy.environment_id: policy.policy for policy in work.fleet.policies()}
        key = row.id if row is not None else None
        before = check_policy(stored.get(key) or {}, whose=whose)
        after = check_policy(change(dict(before)), whose=whose)
        result = PolicyChange(context.tenant_slug, environment, before, after, dry_run)
        if result.changed and not dry_run:
            _save(work, {**stored, key: after})
            work.record(action, "drift_policy", environment or context.tenant_slug, environment=environment,
                        was=before, now=after)
    return result


def _save(work: UnitOfWork, policies: Mapping[UUID | None, dict[str, Any]]) -> None:
    """Who says nothing any more has no policy: fleet.yaml would not have it either."""
    work.fleet.replace_policies([{"id": work.context.new_id(), "environment_id": environment_id, "policy": policy}
                                 for environment_id, policy in policies.items() if policy])
