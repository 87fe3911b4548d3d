"""The export as Dagster runs it, by schedule or by hand: the first baseline, and what it leaves out (§7)."""

from __future__ import annotations

from typing import Any

import dagster as dg

from wfops_pipelines.defs.location import defs
from wfops_pipelines_tests.defs.conftest import Given, workflow


def export(given: Given, environment: str, **config: Any) -> tuple[dict[str, Any], list[str]]:
    """The metadata of the step, and the warnings in its log."""
    result = defs.resolve_job_def("export").execute_in_process(
        instance=given.instance,
        run_config={"ops": {"export_to_git": {"config": {"partition": f"{environment}|acme", "dry_run": False, **config}}}})
    assert result.success
    (done,) = (e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_OUTPUT)
    logged = [entry.user_message for entry in given.instance.all_logs(result.run_id) if entry.level == 30]
    return {name: value.value for name, value in done.step_output_data.metadata.items()}, logged


def test_a_first_baseline_has_new_ones_and_a_workflow_imported_twice_is_left_out_with_a_warning(given: Given) -> None:
    metadata, warnings = export(given, "dev")
    assert (metadata["new"], metadata["ambiguous"], metadata["files"], warnings) == (2, 0, 2, [])
    given.sandboxes["dev"].state.seed_workflows([workflow("Orders"), workflow("Other")])
    metadata, (warning,) = export(given, "dev")
    assert (metadata["new"], metadata["ambiguous"], metadata["files"]) == (1, 1, 1)
    assert "Orders" in warning and "wfops resolve acme dev" in warning
    metadata, warnings = export(given, "dev", ambiguous_as_new=True)
    assert (metadata["new"], metadata["ambiguous"], metadata["files"], warnings) == (1, 1, 1, [])
    metadata, warnings = export(given, "dev")
    assert (metadata["new"], metadata["ambiguous"], metadata["files"], warnings) == (0, 0, 0, [])
