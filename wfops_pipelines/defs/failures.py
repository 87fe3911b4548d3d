"""Our errors at Dagster's edge: permanent ones are not tried again (one bounded layer of retries, not three stacked)."""

import dagster as dg

from wfops_pipelines.domain.errors import OutsideError, WfopsError


def as_failure(error: WfopsError) -> dg.Failure:
    """A Dagster failure that carries the error's kind and way out; only transient ones may be retried."""
    return dg.Failure(description=str(error), metadata=error_metadata(error), allow_retries=error.transient)


def error_metadata(error: WfopsError) -> dict[str, str | bool]:
    """What metadata says of an error; never a secret, since messages hold none."""
    metadata: dict[str, str | bool] = {"error": error.kind, "message": error.message, "transient": error.transient}
    if error.fix:
        metadata["fix"] = error.fix
    if isinstance(error, OutsideError):
        metadata["target"] = error.target
    return metadata
