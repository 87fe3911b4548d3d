"""A code location whose sensor and schedule only look."""

from __future__ import annotations

import dagster as dg


@dg.op
def nothing() -> None:
    """Nothing."""


@dg.job
def nothing_job() -> None:
    """Nothing."""
    nothing()


@dg.sensor(job=nothing_job, minimum_interval_seconds=10, default_status=dg.DefaultSensorStatus.RUNNING)
def a_sensor() -> dg.SkipReason:
    """Looks."""
    return dg.SkipReason("looked")


@dg.schedule(cron_schedule="* * * * *", job=nothing_job, default_status=dg.DefaultScheduleStatus.RUNNING)
def a_schedule() -> dg.SkipReason:
    """Looks."""
    return dg.SkipReason("looked")


defs = dg.Definitions(jobs=[nothing_job], sensors=[a_sensor], schedules=[a_schedule])
