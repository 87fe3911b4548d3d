"""Checks of a partition from what the store holds. Runs over several partitions log the same checks themselves."""

from typing import Any

import dagster as dg
from sqlalchemy import Row

from wfops_pipelines.defs.ownership import TAGS
from wfops_pipelines.defs.partitions import Key, tenant_environments
from wfops_pipelines.defs.refreshing import COMPLETE, NO_DRIFT, NO_UNMANAGED
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.services.listings import circuit_as_json
from wfops_pipelines.services.refresh import Part


def _environment(context: dg.AssetCheckExecutionContext, wfops: Wfops) -> tuple[Context, Row[Any]]:
    key = Key.parse(context.partition_key)
    use = wfops.context_of(key.tenant, context.run)
    return use, wfops.services.environment(use, key.environment)


@dg.asset_check(asset=str(Part.ENVIRONMENT), name=COMPLETE, partitions_def=tenant_environments, op_tags=TAGS,
                description="The last sync read every workflow of the environment, and could make sense of each.")
def inventory_complete(context: dg.AssetCheckExecutionContext, wfops: Wfops) -> dg.AssetCheckResult:
    use, environment = _environment(context, wfops)
    with wfops.services.store.read(use) as work:
        last = next((o for o in work.operations.recent(environment_id=environment.id)
                     if o.kind in ("environment_sync", "drift_detection", "export") and o.ended_at is not None), None)
    errors = (last.metrics or {}).get("errors", 0) if last is not None else 0
    return dg.AssetCheckResult(
        passed=last is not None and last.state == "completed" and not errors,
        metadata={"operation": str(last.id) if last is not None else "none yet", "errors": errors,
                  "state": last.state if last is not None else "never synced"})


@dg.asset_check(asset=str(Part.DRIFT), name=NO_DRIFT, partitions_def=tenant_environments, op_tags=TAGS,
                description="Live content is what Git says: nothing modified, added, missing, or activated otherwise.")
def no_drift(context: dg.AssetCheckExecutionContext, wfops: Wfops) -> dg.AssetCheckResult:
    use, environment = _environment(context, wfops)
    with wfops.services.store.read(use) as work:
        drifted = [row for row in work.drift.of_environment(environment.id) if row.kind != DriftKind.UNPUBLISHED_CHANGES]
        incident = work.incidents.open_of(environment.id)
        circuit = circuit_as_json(work.circuits.all().get(environment.id), environment.base_url)
    return dg.AssetCheckResult(
        passed=environment.drift_status in ("IN_SYNC", "UNTRACKED"),
        metadata={"status": environment.drift_status, "reason": environment.drift_reason or "",
                  "drifted": len(drifted), **_circuit(circuit), "workflows": ", ".join(row.name for row in drifted[:20]),
                  **({"incident": f"{use.tenant_slug}#{incident.number}", "incident_severity": incident.severity,
                      "look": f"wfops incident show {use.tenant_slug}#{incident.number}"}
                     if incident is not None else {})})


def _circuit(circuit: dict[str, Any] | None) -> dict[str, Any]:
    """Since when the instance does not answer, and when it is asked again."""
    return {f"circuit_{name}": value for name, value in (circuit or {}).items() if value is not None}


@dg.asset_check(asset=str(Part.DRIFT), name=NO_UNMANAGED, partitions_def=tenant_environments, op_tags=TAGS,
                description="Every live workflow of the environment is in Git.")
def no_unmanaged_workflows(context: dg.AssetCheckExecutionContext, wfops: Wfops) -> dg.AssetCheckResult:
    use, environment = _environment(context, wfops)
    with wfops.services.store.read(use) as work:
        names = [row.name for row in work.drift.of_environment(environment.id)
                 if DriftKind.ADDED_IN_RUNTIME in row.kinds]
    return dg.AssetCheckResult(passed=not names, severity=dg.AssetCheckSeverity.WARN,
                               metadata={"workflows": len(names), "names": ", ".join(names[:20])})
