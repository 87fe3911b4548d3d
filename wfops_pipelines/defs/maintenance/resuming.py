"""The job that goes on with an operation that failed (§20)."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import dagster as dg
from pydantic import Field

from wfops_pipelines.defs.failures import as_failure
from wfops_pipelines.defs.interrupts import run_interruptibly
from wfops_pipelines.defs.maintenance.cancelling import end_as_cancelled
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.resources import DISCARDING, Wfops
from wfops_pipelines.domain.errors import UsageError, WfopsError
from wfops_pipelines.domain.run_tags import NEVER_AGAIN, PRIORITY_TAG
from wfops_pipelines.services.operation_control import resume_operation


class ResumeConfig(dg.Config):
    """Which operation is gone on with."""

    tenant: str = Field(description="The tenant's slug, as in acme.")
    operation: str = Field(description="The operation's id.")
    afresh: bool = Field(default=False, description="Begin from the beginning where its checkpoint is gone.")


@dg.op(name="go_on", tags=TAGS, out=dg.Out(list, io_manager_key=DISCARDING, is_required=False),
       description="Go on with an operation that failed, under its id, from its last finished batch or its journal.")
def go_on(context: dg.OpExecutionContext, wfops: Wfops, config: ResumeConfig) -> Iterator[Any]:
    try:
        use = wfops.context_of(config.tenant, context.run, step=context.op.name, person=True)
        done = run_interruptibly(resume_operation(wfops.services, use, _id(config.operation), afresh=config.afresh))
    except WfopsError as error:
        yield dg.Output([{"result": None, "error": error}])
        end_as_cancelled(context, error)
        raise as_failure(error) from error
    context.add_output_metadata({"kind": done.kind, "environment": f"{done.tenant}/{done.environment}", "state": done.state,
                                 "attempts": done.attempts, "afresh": done.afresh})
    yield dg.Output([{"result": done.as_json(), "error": None}])


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"{text!r} is no operation's id", fix="`wfops operation list TENANT` lists them") from None


@dg.job(name="resume_operation", executor_def=dg.in_process_executor, owners=OWNERS,
        tags={**TAGS, **NEVER_AGAIN, PRIORITY_TAG: "15"},
        description="Go on with an operation that failed: from the last finished batch of a sync, from its journal.")
def resume_operation_job() -> None:
    go_on()
