"""The outbox and the alert rules (§16, §24): work inside a tick, which says what it did where a run would be."""

from datetime import timedelta

import dagster as dg

from wfops_pipelines.defs.cadence import sensor_status_of
from wfops_pipelines.defs.inventory.jobs import refresh_job
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.services.evaluate_alerts import evaluate_alerts
from wfops_pipelines.services.send_notifications import send_waiting
from wfops_pipelines.settings import process_settings


@dg.sensor(name="outbox", job=refresh_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=max(5, process_settings().outbox_interval_seconds),
           default_status=sensor_status_of(process_settings().outbox_interval_seconds),
           description="Sends the notifications that wait, each WFOPS_OUTBOX_INTERVAL_SECONDS (default 30; 0 switches it "
                       "off). What fails is tried again with growing pauses for about six hours, then it is a dead letter: "
                       "`wfops notify outbox TENANT --status dead`. Launches no runs.")
def outbox(context: dg.SensorEvaluationContext, wfops: Wfops) -> dg.SkipReason:
    done = send_waiting(wfops.services)
    if done.dead:
        context.log.warning(f"{done.dead} notifications were given up: see `wfops notify outbox TENANT --status dead`")
    return dg.SkipReason(done.words() or "nothing is due")


@dg.sensor(name="alert_rules", job=refresh_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=max(30, process_settings().alert_rules_evaluation_interval_seconds),
           default_status=sensor_status_of(process_settings().alert_rules_evaluation_interval_seconds),
           description="Looks at every tenant's alert rules, each WFOPS_ALERT_RULES_EVALUATION_INTERVAL_SECONDS (default 5 "
                       "minutes; 0 switches it off), and puts what fires and what clears into the outbox. Launches no runs.")
def alert_rules(context: dg.SensorEvaluationContext, wfops: Wfops) -> dg.SkipReason:
    interval = wfops.settings.alert_rules_evaluation_interval_seconds
    found = evaluate_alerts(wfops.services, min_gap=timedelta(seconds=interval / 2))
    if found.fired:
        context.log.warning(f"{found.fired} alert rules fired")
    return dg.SkipReason(found.words() if found.rules or found.failed else "no alert rule is due")
