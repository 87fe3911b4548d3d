"""Cancelling runs of Dagster from another process, and what a run is whose operation was cancelled (§20)."""

import dagster as dg

from wfops_pipelines.defs.run_process import PID_TAG
from wfops_pipelines.domain.errors import Cancelled, ForbiddenTransition, WfopsError
from wfops_pipelines.domain.run_tags import ENVIRONMENT_TAG, TARGET_TAG

_WAITING = {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED}
_ONE_TARGET = (ENVIRONMENT_TAG, TARGET_TAG)  # a run with one of these tags works for one environment


def run_status(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """The status of a run, in Dagster's word; none if there is none such."""
    run = instance.get_run_by_id(run_id)
    return None if run is None else run.status.value


def refuse_ended(instance: dg.DagsterInstance, run_id: str) -> None:
    """:class:`ForbiddenTransition` for a run that has ended."""
    run = instance.get_run_by_id(run_id)
    if run is not None and run.is_finished:
        status = run.status.value.lower()
        raise ForbiddenTransition(f"run {run_id} has ended: {status}", before=status, after="canceled",
                                  fix="there is nothing to cancel")


def cancel_run(instance: dg.DagsterInstance, run_id: str) -> str:
    """Cancel a run as the UI does; its status afterwards. One that waits never starts. One of a command's own process hears
    of it through its operations; others are told by the launcher."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return run.status.value if run is not None else "absent"
    if run.status in _WAITING:
        instance.report_run_canceling(run, "It was cancelled before it began.")
        instance.report_run_canceled(run)
    elif PID_TAG in run.tags:
        instance.report_run_canceling(run)
    else:
        try:
            stopped = instance.run_launcher.terminate(run_id)
        except Exception as error:  # the launcher's own; what it says is told
            raise WfopsError(f"run {run_id} could not be told: {type(error).__name__}",
                             fix="its operations were asked to stop, and do so at their next heartbeat") from error
        if not stopped:
            instance.report_run_canceling(run)
    return run_status(instance, run_id) or "absent"


def run_of_operation_stops(instance: dg.DagsterInstance, run_id: str | None) -> bool:
    """Say of an operation's run that it is being cancelled, where it works for that environment alone; whether it does."""
    run = instance.get_run_by_id(run_id) if run_id is not None else None
    if run is None or run.is_finished or not any(tag in run.tags for tag in _ONE_TARGET):
        return False
    instance.report_run_canceling(run)
    return True


def end_as_cancelled(context: dg.OpExecutionContext, error: WfopsError | None) -> None:
    """Where an operation was cancelled and its run with it, the run ends as Dagster's cancelled runs do."""
    if isinstance(error, Cancelled):
        run = context.instance.get_run_by_id(context.run_id)
        if run is not None and run.status is dg.DagsterRunStatus.CANCELING:
            raise dg.DagsterExecutionInterruptedError(str(error))
