"""A blast radius that was stored as JSON, to be rendered again."""

from __future__ import annotations

from wfops_pipelines.domain.entry_points import EntryPoint, OtherTrigger, Schedule
from wfops_pipelines.domain.reach import (
    Caller,
    CredentialUse,
    ErrorHandling,
    Reach,
    Scheduled,
    Served,
    Triggered,
    Unknown,
    WorkflowRef,
)
from wfops_pipelines.domain.workflow import JsonObject


def reach_from_json(stored: JsonObject) -> Reach:
    """What :meth:`~wfops_pipelines.domain.reach.Reach.as_json` gave; what was masked or cut there stays so."""
    def ref(of: JsonObject) -> WorkflowRef:
        return WorkflowRef(**of["workflow"])

    def refs(all_of: list[JsonObject]) -> tuple[WorkflowRef, ...]:
        return tuple(WorkflowRef(**each) for each in all_of)

    return Reach(
        affected=refs(stored["affected"]),
        callers=tuple(Caller(ref(each), each["distance"], tuple(each["calls"]), tuple(each["nodes"]))
                      for each in stored["callers"]),
        handles_errors_of=tuple(ErrorHandling(ref(each), each["handler"]) for each in stored["handles_errors_of"]),
        entry_points=tuple(Served(ref(each), EntryPoint(**each["entry"])) for each in stored["entry_points"]),
        schedules=tuple(Scheduled(ref(each), Schedule(**each["schedule"])) for each in stored["schedules"]),
        triggers=tuple(Triggered(ref(each), OtherTrigger(**each["trigger"])) for each in stored["triggers"]),
        credentials=tuple(CredentialUse(each["type"], each["name"], refs(each["used_by"]), refs(each["others"]))
                          for each in stored["credentials"]),
        unknown=tuple(Unknown(each["kind"], ref(each), each["node"], each["expression"]) for each in stored["unknown"]),
    )
