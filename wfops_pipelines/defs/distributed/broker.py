"""How this installation talks to Celery: one configuration for who asks for steps and for who carries them out.

A step is handed out until somebody said that it is done: a worker that dies, or whose machine does, takes nothing with it.
Somebody else gets the step at once when only the process that worked on it died, else after
``WFOPS_CELERY_REDELIVERY_SECONDS``. So a step may begin twice; what it does is made for that (``distributed.jobs``).
"""

from __future__ import annotations

from typing import Any, Final

import dagster as dg
from dagster._core.execution.retries import RetryMode
from dagster_celery.executor import CeleryExecutor

from wfops_pipelines.domain.errors import InvalidSetting
from wfops_pipelines.settings import Settings, process_settings

LOOK_AGAIN_SECONDS: Final = 10
"""How often workers look for steps whose worker is gone."""


def celery_settings(settings: Settings) -> dict[str, Any]:
    """What is asked of Celery, beside where it is."""
    redelivery = settings.celery_redelivery_seconds
    return {
        "task_acks_late": True,  # a step is done when it ended, not when it was handed out
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,  # no step waits in one worker while another has nothing to do
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "broker_connection_retry_on_startup": True,
        "result_expires": 86_400,
        "broker_transport_options": {
            "visibility_timeout": redelivery,
            "unacked_restore_interval": min(LOOK_AGAIN_SECONDS, redelivery),
            "unacked_restore_throttle": 1,
        },
    }


def executor_config(settings: Settings) -> dict[str, Any]:
    """The configuration of Dagster's Celery executor. It goes into no run: the broker's URL may hold a password.

    Raises :class:`InvalidSetting` where no broker is set.
    """
    if settings.celery_broker_url is None:
        raise InvalidSetting("WFOPS_CELERY_BROKER_URL is not set",
                             fix="set it to the broker's URL, for example redis://redis:6379/0")
    broker = settings.celery_broker_url.get_secret_value()
    results = settings.celery_result_url or settings.celery_broker_url
    return {"broker": broker, "backend": results.get_secret_value(), "config_source": celery_settings(settings)}


@dg.executor(name="celery", requirements=dg.multiple_process_executor_requirements())
def installation_celery(_: dg.InitExecutorContext) -> CeleryExecutor:
    """Dagster's Celery executor, which finds its configuration by itself."""
    made: CeleryExecutor = CeleryExecutor(  # type: ignore[no-untyped-call]  # the library says no types
        retries=RetryMode.ENABLED, **executor_config(process_settings()))
    return made
