"""Given: an environment that may be restored, and what people restore of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from wfops_pipelines.services.promotion_execution import execute_promotion
from wfops_pipelines.services.promotion_options import PromotionOptions, PromotionReport
from wfops_pipelines.services.promotion_restore import request_restore
from wfops_pipelines.services.snapshots import SnapshotReport
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, run


def restorable_fleet(new_fleet: NewFleet, **options: Any) -> FleetUnderTest:
    """Production that may be written to, with an empty folder in Git."""
    fleet = new_fleet(("prod",), **options)
    fleet.declared("prod")["allow_production"] = True
    fleet.apply()
    return fleet


def restorable(new_fleet: NewFleet, **options: Any) -> Environment:
    """Its environment."""
    return restorable_fleet(new_fleet, **options)["prod"]


def ask(environment: Environment, snapshot: SnapshotReport | str, *, dry_run: bool = False, checksum: str | None = None,
        **options: Any) -> PromotionReport:
    """Ask for a restore."""
    fleet = environment.fleet
    snapshot_id = snapshot if isinstance(snapshot, str) else snapshot.snapshot_id
    return run(request_restore(fleet.services, fleet.context, environment.row, UUID(snapshot_id),
                               PromotionOptions(**options), dry_run=dry_run, checksum=checksum))


def restore(environment: Environment, snapshot: SnapshotReport | str, **options: Any) -> PromotionReport:
    """Ask for one, and carry it out."""
    asked = ask(environment, snapshot, **options)
    assert asked.status == "approved" and asked.number is not None, (asked.status, asked.reason)
    return run(execute_promotion(environment.fleet.services, environment.fleet.context, asked.number))


def actions(report: PromotionReport) -> dict[str, str]:
    """What was done, by name."""
    return {each["name"]: each["action"] for each in report.workflows if each["status"] == "success"}
