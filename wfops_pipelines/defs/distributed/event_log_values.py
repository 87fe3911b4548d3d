"""Small values between steps on different machines: they travel in the event log, which every worker reaches."""

from __future__ import annotations

from typing import Any, Final

import dagster as dg
from dagster._core.events import HandledOutputData

EVENT_LOG: Final = "event_log_io_manager"
_VALUE, _MAPPING = "value", "mapping_key"


class EventLogValues(dg.IOManager):
    """Keeps a JSON value as metadata of the event that says that it was handled: no disk that workers would have to share,
    and a run that is tried again finds what the one before it handed on."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Put it into the event."""
        context.add_output_metadata({_VALUE: dg.MetadataValue.json(obj), _MAPPING: context.mapping_key or ""})

    def load_input(self, context: dg.InputContext) -> Any:
        """Read it back from the run that made it."""
        source = context.upstream_output
        if source is None:
            raise dg.DagsterInvariantViolationError("only what another step of the run handed on can be read")
        mapping = source.mapping_key or ""
        records = context.instance.get_records_for_run(source.run_id, of_type=dg.DagsterEventType.HANDLED_OUTPUT).records
        for record in reversed(records):  # of a step that was begun twice, the later one
            event = record.event_log_entry.get_dagster_event()
            handled = event.event_specific_data
            if (isinstance(handled, HandledOutputData) and event.step_key == source.step_key
                    and handled.output_name == source.name and handled.metadata[_MAPPING].value == mapping):
                return handled.metadata[_VALUE].value
        raise dg.DagsterInvariantViolationError(f"{source.step_key} of run {source.run_id} handed on nothing")
