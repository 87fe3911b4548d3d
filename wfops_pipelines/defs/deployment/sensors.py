"""Starting deployments at their time, moving batches on, ending what a dead run left (§12, §24)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import dagster as dg
from sqlalchemy import Row

from wfops_pipelines.defs.cadence import sensor_status_of
from wfops_pipelines.defs.deployment.jobs import AHEAD, DeploymentConfig, deployment_job, deployment_tags, run_alive_in
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.resources import ACTOR_TAG, Wfops
from wfops_pipelines.domain.errors import ForbiddenTransition
from wfops_pipelines.domain.run_tags import DEPLOYMENT_TAG
from wfops_pipelines.services.deployment_batches import move_batches
from wfops_pipelines.services.deployment_run import end_stale
from wfops_pipelines.services.deployments import cancel_deployment, due_deployments, fail_missed, fail_unstarted
from wfops_pipelines.services.pausing import said_of_pauses
from wfops_pipelines.services.services import Services
from wfops_pipelines.settings import process_settings

ACTOR: Final = "system:scheduled_deployments"
ATTEMPTS: Final = 3
"""Runs that are asked for of a deployment, when the ones before ended without having begun it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The runs that were asked for of a deployment that has not begun: how many ended, whether one still may begin, and
    whether somebody cancelled the last."""

    ended: int = 0
    open: bool = False
    cancelled: bool = False


def asked_of(statuses: Iterable[dg.DagsterRunStatus]) -> Asked:
    """What runs, the newest first, tell. The decision alone: the sensor fetches and emits."""
    found = list(statuses)
    finished = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
    return Asked(sum(status in finished for status in found), any(status not in finished for status in found),
                 bool(found) and found[0] is dg.DagsterRunStatus.CANCELED)


@dg.sensor(name="scheduled_deployments", job=deployment_job, owners=OWNERS, tags=TAGS,
           # Dagster looks each 5 seconds who is due: who asks for 5, and is a moment early, waits for 10.
           minimum_interval_seconds=max(4, process_settings().deployment_check_interval_seconds - 1),
           default_status=sensor_status_of(process_settings().deployment_check_interval_seconds),
           description="Asks for a run of each deployment whose time has come, lets batches begin their next wave, and ends "
                       "deployments whose run died once their promotion is recovered. It looks each "
                       "WFOPS_DEPLOYMENT_CHECK_INTERVAL_SECONDS (default 5; 0 switches it off), 10 seconds ahead: a "
                       "deployment starts within 15 seconds of its time. One that nothing started within an hour fails.")
def scheduled_deployments(context: dg.SensorEvaluationContext, wfops: Wfops) -> Iterator[Any]:
    services, now = wfops.services, wfops.services.now()
    for name, ended in end_stale(services, actor=ACTOR, run_alive=run_alive_in(context.instance)).items():
        context.log.warning(f"the run of deployment {name} died: " + (
            "ended as its promotion did" if ended else "its promotion has to be recovered first"))
    for line in move_batches(services, actor=ACTOR):
        context.log.info(line)
    rows = due_deployments(services, now + AHEAD)
    missed = fail_missed(services, rows, now, actor=ACTOR)
    requests = [request for row in rows if row.id not in missed
                if (request := _start(context, services, row)) is not None]
    if requests:
        yield from requests
    else:
        waiting = len(rows) - len(missed)
        yield dg.SkipReason(f"{len(missed)} deployments missed their time" if missed else
                            f"{waiting} deployments wait for their run" if waiting else
                            "no deployment is due" + said_of_pauses(services))


def _start(context: dg.SensorEvaluationContext, services: Services, row: Row[Any]) -> dg.RunRequest | None:
    """Its run, one at a time: none where one may still begin, and none after somebody cancelled it."""
    deployment_id = str(row.id)
    asked = asked_of(run.status for run in context.instance.get_runs(dg.RunsFilter(tags={DEPLOYMENT_TAG: deployment_id})))
    if asked.open:
        return None
    acting = services.context(row.tenant_slug, actor=ACTOR)
    if asked.cancelled:
        try:
            cancel_deployment(services, acting, row.id, reason="its run was cancelled before it began")
        except ForbiddenTransition:
            context.log.info(f"deployment {deployment_id} has begun meanwhile")
        return None
    if asked.ended >= ATTEMPTS:
        fail_unstarted(services, acting, row.id, f"{asked.ended} runs ended before they could begin it")
        return None
    return dg.RunRequest(
        run_key=deployment_id if not asked.ended else f"{deployment_id}-{asked.ended}",
        run_config=dg.RunConfig({"deploy": DeploymentConfig(deployment=deployment_id, at_its_time=True)}),
        tags={ACTOR_TAG: ACTOR, **deployment_tags(row.tenant_slug, row.source, row.target, deployment_id,
                                                  str(row.batch_id) if row.batch_id else None)})
