"""The Celery app of workers: ``celery --app wfops_pipelines.defs.distributed.worker worker``.

A worker needs what a code server needs: the same settings, and the way to the database, to n8n and to Git.
"""

from __future__ import annotations

from dagster_celery.executor import CeleryExecutor
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task

from wfops_pipelines.defs import location
from wfops_pipelines.defs.distributed.broker import executor_config
from wfops_pipelines.settings import process_settings

_executor = CeleryExecutor.for_cli(**executor_config(process_settings()))  # type: ignore[no-untyped-call]
app = make_app(_executor.app_args())  # type: ignore[no-untyped-call]  # the library says no types
execute_plan = create_task(app)  # type: ignore[no-untyped-call]

LOADED = location.defs
"""Loaded before the worker forks: a child that is started anew costs nothing then."""
