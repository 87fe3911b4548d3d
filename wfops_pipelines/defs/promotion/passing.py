"""How the ops of one promotion hand on what they know: in the memory of the run's process, and nowhere else."""

from typing import Any

import dagster as dg

WITHIN_RUN = "within_run_io_manager"


class WithinRun(dg.IOManager):
    """Keeps outputs until the process ends: what has to last is in the store."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], Any] = {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keep it for the next op of this run."""
        self._kept[tuple(context.get_identifier())] = obj

    def load_input(self, context: dg.InputContext) -> Any:
        """What the op before gave; a run that begins in the middle has nothing, and says how to go on."""
        upstream = context.upstream_output
        kept = self._kept.get(tuple(upstream.get_identifier())) if upstream is not None else None
        if kept is None:
            raise dg.Failure("the ops before this one did not run in this run: launch the job anew; with `promotion` in the "
                             "config of `plan` it goes on with one that exists", allow_retries=False)
        return kept
