"""Promotions that wait to be carried out, and what dead ones left (§11.8, §24)."""

from datetime import timedelta

import dagster as dg

from wfops_pipelines.defs.cadence import sensor_status_of
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.promotion.jobs import PromoteConfig, RecoverConfig, promote_job, recover_job, target_tags
from wfops_pipelines.defs.resources import ACTOR_TAG, Wfops
from wfops_pipelines.domain.run_tags import PROMOTION_TAG, SOURCE_TAG
from wfops_pipelines.services.promotion_due import ReadyPromotion, ready_promotions, unfinished_environments
from wfops_pipelines.settings import process_settings

_OFTEN, _SELDOM = timedelta(minutes=5), timedelta(hours=1)  # between two attempts: at first, and after an hour
_GIVE_UP = timedelta(days=2)
_AGAIN = 60  # seconds in which a recovery is asked for once


@dg.sensor(name="approved_promotions", job=promote_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=max(5, process_settings().promotion_check_interval_seconds),
           default_status=sensor_status_of(process_settings().promotion_check_interval_seconds),
           description="Carries out promotions that are approved by now, or whose freeze window or soak time is over, each "
                       "WFOPS_PROMOTION_CHECK_INTERVAL_SECONDS (default 10; 0 switches it off); those asked for with "
                       "--manual wait for somebody. What could not begin is tried again each 5 minutes, after an "
                       "hour each hour, for two days.")
def approved_promotions(context: dg.SensorEvaluationContext, wfops: Wfops) -> dg.SensorResult | dg.SkipReason:
    ready, waiting = ready_promotions(wfops.services)
    requests = []
    for one in ready:
        request = _carry_out(wfops, one)
        if request is None:
            waiting.append(f"{one.name}: given up after {_GIVE_UP.days} days: wfops promotion execute {one.name}")
        else:
            requests.append(request)
    if not requests:
        return dg.SkipReason("; ".join(waiting[:10]) or "no promotion is ready")
    return dg.SensorResult(run_requests=requests)


def _carry_out(wfops: Wfops, one: ReadyPromotion) -> dg.RunRequest | None:
    """A run for it, the same one until the next attempt is due."""
    since = wfops.services.now() - one.opened_at
    if since > _GIVE_UP:
        return None
    period = _OFTEN if since < _SELDOM else _SELDOM
    attempt = f"{period // timedelta(minutes=1)}.{int(since / period)}"
    return dg.RunRequest(
        run_key=f"promotion-{one.promotion_id}-{one.opened_at.timestamp():.0f}-{attempt}",
        run_config=dg.RunConfig({"plan": PromoteConfig(promotion=one.name, dry_run=False)}),
        tags={**target_tags(one.tenant, one.target), SOURCE_TAG: one.source, PROMOTION_TAG: one.name,
              ACTOR_TAG: "system:approved_promotions"})


@dg.sensor(name="unfinished_promotions", job=recover_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=max(10, process_settings().recovery_check_interval_seconds),
           default_status=sensor_status_of(process_settings().recovery_check_interval_seconds),
           description="Asks for a run of the job recover where something was left: writes to n8n by a process that died, a "
                       "promotion that says it runs and has no process, a rollback that is incomplete, a commit that Git "
                       "refused. It looks each WFOPS_RECOVERY_CHECK_INTERVAL_SECONDS (default 30; 0 switches it off); what "
                       "failed is tried again after ten minutes.")
def unfinished_promotions(context: dg.SensorEvaluationContext, wfops: Wfops) -> dg.SensorResult | dg.SkipReason:
    left = unfinished_environments(wfops.services)
    if not left:
        return dg.SkipReason("nothing is left unfinished")
    period = int(wfops.services.now().timestamp()) // _AGAIN
    requests = []
    for one in left:
        context.log.warning(f"{one.tenant}/{one.environment}: {', '.join(one.what)}")
        tried = f"{one.tried_at.timestamp():.0f}" if one.tried_at is not None else "never"
        requests.append(dg.RunRequest(
            run_key=f"recover-{one.tenant}-{one.environment}-{tried}-{period}",
            run_config=dg.RunConfig({"finish": RecoverConfig(tenant=one.tenant, environment=one.environment)}),
            tags={**target_tags(one.tenant, one.environment), ACTOR_TAG: "system:unfinished_promotions"}))
    return dg.SensorResult(run_requests=requests)
