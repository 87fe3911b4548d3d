"""What the code location has for sweeps over several machines: nothing, until a broker is set."""

from __future__ import annotations

import importlib.util

import dagster as dg

from wfops_pipelines.domain.errors import InvalidSetting
from wfops_pipelines.settings import process_settings

CHOSEN = process_settings().celery_broker_url is not None
"""Whether sweeps go to Celery workers (``WFOPS_CELERY_BROKER_URL``)."""


def jobs() -> list[dg.JobDefinition]:
    """The job of a sweep in chunks; :class:`InvalidSetting` where the libraries are missing."""
    if not CHOSEN:
        return []
    require_celery()
    from wfops_pipelines.defs.distributed.jobs import distributed_sweep_job  # noqa: PLC0415 - an extra

    return [distributed_sweep_job]


def require_celery() -> None:
    """:class:`InvalidSetting` where a broker is set and the libraries for it are missing."""
    if importlib.util.find_spec("dagster_celery") is None:
        raise InvalidSetting("WFOPS_CELERY_BROKER_URL is set, and dagster-celery is not installed",
                             fix="install the extra: pip install 'wfops[celery]'")


def sweeping(schedule: dg.ScheduleDefinition) -> dg.ScheduleDefinition:
    """The schedule of sweeps, with the job that workers carry out where a broker is set."""
    found = jobs()
    return schedule.with_updated_job(found[0]) if found else schedule
