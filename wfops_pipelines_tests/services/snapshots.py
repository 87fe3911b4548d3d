"""Given: snapshots of environments, and what they hold."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from wfops_pipelines.domain.snapshot import Snapshot, SnapshotWorkflow
from wfops_pipelines.services.snapshots import SnapshotReport, load, take_snapshot
from wfops_pipelines_tests.services.fleet import Environment, run


def snapshot(environment: Environment, **options: Any) -> SnapshotReport:
    """Take one."""
    fleet = environment.fleet
    return run(take_snapshot(fleet.services, fleet.context, environment.row, **options))


def held(environment: Environment, report: SnapshotReport) -> Snapshot:
    """What a snapshot holds."""
    return environment.fleet.reading(lambda work: load(work, work.snapshots.by_id(UUID(report.snapshot_id))))


def by_name(snapshot: Snapshot) -> dict[str, SnapshotWorkflow]:
    """Its workflows by name."""
    return {each.name: each for each in snapshot.workflows}


def rows(environment: Environment) -> list[Any]:
    """The environment's snapshots, newest first."""
    found: list[Any] = environment.fleet.reading(lambda work: work.snapshots.listed(environment.row.id))
    return found
