"""Refreshing partitions from a run: shared by the assets and the jobs of sweeps.

What a run over several partitions does, its environments do concurrently, each on its own: one that fails is a failed
check on its partition and an error in the log, and no failure of its neighbours.
"""

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import dagster as dg

from wfops_pipelines import calls
from wfops_pipelines.defs import metadata
from wfops_pipelines.defs.failures import error_metadata
from wfops_pipelines.defs.interrupts import run_interruptibly
from wfops_pipelines.defs.partitions import Key
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.domain.errors import Paused, StoreUnavailable, UnknownEnvironment, UnknownTenant
from wfops_pipelines.services.detect_drift import UNSEEN, CheckType, DriftCheck
from wfops_pipelines.services.refresh import Outcome, Part, Target, refresh
from wfops_pipelines.services.sweep_reports import SweepReport
from wfops_pipelines.services.sweeps import sweep

COMPLETE = "inventory_complete"
NO_DRIFT = "no_drift"
NO_UNMANAGED = "no_unmanaged_workflows"
_LOGGED = 50


def targets_of(wfops: Wfops, run: dg.DagsterRun, keys: Sequence[Key], *, step: str) -> tuple[list[Target], list[Key]]:
    """The environments behind partition keys, and the keys that no environment stands behind."""
    by_tenant: dict[str, list[Key]] = {}
    for key in keys:
        by_tenant.setdefault(key.tenant, []).append(key)
    targets: list[Target] = []
    absent: list[Key] = []
    for tenant, wanted in by_tenant.items():
        try:
            context = wfops.context_of(tenant, run, step=step)
        except UnknownTenant:
            absent += wanted
            continue
        rows = {row.slug: row for row in wfops.services.environments(context)}
        for key in wanted:
            if key.environment in rows:
                targets.append(Target(context, rows[key.environment]))
            else:
                absent.append(key)
    return targets, absent


def refresh_targets(wfops: Wfops, log: dg.DagsterLogManager, targets: Sequence[Target], parts: Collection[Part], *,
                    check_type: CheckType, patience: float = 0.0, git_seconds: float | None = None) -> list[Outcome]:
    """Refresh, with a line in the log for what failed. ``patience`` are seconds to wait for an environment that is held, if
    that is longer than others wait; what is begun is begun within ``git_seconds``, and twice that later calls to Git end."""
    limits = wfops.services.limits
    services = replace(wfops.services, limits=replace(limits, lease_wait=max(limits.lease_wait, patience)))

    def report(outcome: Outcome) -> None:
        if isinstance(outcome.error, StoreUnavailable):
            return  # the run's log is in the same server: each line would wait some ten seconds for it
        if outcome.error is not None:
            level = logging.INFO if isinstance(outcome.error, Paused) else logging.ERROR
            log.log(level, f"{outcome.part} of {outcome.target.name}: {outcome.error.kind}: {outcome.error}")

    async def in_time() -> list[Outcome]:
        begin_by = None if git_seconds is None else time.monotonic() + git_seconds
        if git_seconds is not None:
            calls.end_by(time.monotonic() + 2 * git_seconds)
        return await refresh(services, targets, parts, check_type=check_type, begin_by=begin_by, report=report)
    return run_interruptibly(in_time())


def sweep_fleet(wfops: Wfops, log: dg.DagsterLogManager, run: dg.DagsterRun, *,
                step: str) -> tuple[SweepReport, list[Outcome]]:
    """Sweep what is due; the outcomes that are worth events. What failed otherwise than before is told in the log, in one
    line: each costs the store a write."""
    told: list[Outcome] = []
    report = run_interruptibly(sweep(
        wfops.services, interval=wfops.settings.drift_check_interval_seconds, actor=wfops.actor_of(run), run_id=run.run_id,
        step=step, report=told.append))
    errors = [(o.target.name, o.error or getattr(o.result, "error", None)) for o in told if o.part is Part.DRIFT]
    failed = [f"{name}: {error.kind}: {error}" for name, error in errors if error is not None]
    if failed:
        more = f"\n… and {len(failed) - _LOGGED} more" if len(failed) > _LOGGED else ""
        log.warning("\n".join(failed[:_LOGGED]) + more)
    return report, told


def key_of(outcome: Outcome) -> str:
    """The partition of an outcome."""
    return str(Key(outcome.target.context.tenant_slug, outcome.target.environment.slug))


def materialization(outcome: Outcome, wfops: Wfops) -> dg.AssetMaterialization:
    """The event of a part that was refreshed."""
    return dg.AssetMaterialization(asset_key=str(outcome.part), partition=key_of(outcome),
                                   metadata=metadata.of_outcome(outcome, wfops.services))


def evaluations(outcomes: Sequence[Outcome]) -> Iterator[dg.AssetCheckEvaluation]:
    """The checks that the outcomes decide, per partition. What was refused, stopped, not begun in time, or failed on our
    side decides none: nobody looked, and the next event of a partition that stays as it is may be a day away."""
    for outcome in outcomes:
        if outcome.error is not None and not isinstance(outcome.error, UNSEEN):
            continue
        key = key_of(outcome)
        if outcome.part is Part.ENVIRONMENT:
            yield _evaluation(Part.ENVIRONMENT, COMPLETE, outcome, key, passed=outcome.error is None and _no_errors(outcome))
        elif outcome.part is Part.DRIFT:
            check = outcome.result if isinstance(outcome.result, DriftCheck) else None
            passed = outcome.error is None and check is not None and check.error is None and not check.drifted
            yield _evaluation(Part.DRIFT, NO_DRIFT, outcome, key, passed=passed)
            if check is not None and check.error is None:
                unmanaged = [w["name"] for w in check.workflows if "added_in_runtime" in w["kinds"]]
                yield dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey(str(Part.DRIFT)), check_name=NO_UNMANAGED, passed=not unmanaged, partition=key,
                    metadata={"workflows": len(unmanaged), "names": ", ".join(unmanaged[:20])},
                    severity=dg.AssetCheckSeverity.WARN)


def _evaluation(part: Part, name: str, outcome: Outcome, key: str, *, passed: bool) -> dg.AssetCheckEvaluation:
    error = outcome.error or getattr(outcome.result, "error", None)
    details = error_metadata(error) if error is not None else metadata.of_outcome(outcome)
    return dg.AssetCheckEvaluation(asset_key=dg.AssetKey(str(part)), check_name=name, passed=passed, partition=key,
                                   metadata=details, severity=dg.AssetCheckSeverity.ERROR)


def _no_errors(outcome: Outcome) -> bool:
    return getattr(outcome.result, "errors", 0) == 0


def log_events(context: dg.OpExecutionContext, wfops: Wfops, outcomes: Sequence[Outcome]) -> None:
    """Log the checks that outcomes decide, and a materialisation of each part that was refreshed."""
    for evaluation in evaluations(outcomes):
        context.log_event(evaluation)  # type: ignore[arg-type]  # it takes them; the annotation lags behind
    for outcome in outcomes:
        if outcome.result is not None:
            context.log_event(materialization(outcome, wfops))


def unknown(keys: Sequence[Key]) -> UnknownEnvironment:
    """The error for partitions that are none of an environment."""
    names = ", ".join(str(key) for key in keys)
    return UnknownEnvironment(f"no environment stands behind {names}",
                              fix="partitions are the cross product of tenants and environments; this pair does not exist")
