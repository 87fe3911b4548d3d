"""What people do with deployments, and what the tests see of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from wfops_pipelines.services.deployment_reports import DeploymentReport, report_of
from wfops_pipelines.services.deployment_run import nobody_knows, run_deployment
from wfops_pipelines.services.deployments import cancel_deployment, schedule_deployment, schedule_promotion
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines_tests.services.fleet import ACTOR, FleetUnderTest, run


def schedule(fleet: FleetUnderTest, source: str = "dev", target: str = "prod", *, at: datetime | None = None,
             dry_run: bool = False, actor: str = ACTOR, **options: Any) -> DeploymentReport:
    """Somebody wants it deployed."""
    services = fleet.services
    return schedule_deployment(services, services.context("acme", actor=actor), fleet[source].row, fleet[target].row,
                               PromotionOptions(**options), at=at, dry_run=dry_run)


def schedule_number(fleet: FleetUnderTest, number: int | None, **more: Any) -> DeploymentReport:
    """Somebody wants an approved promotion carried out."""
    assert number is not None
    return schedule_promotion(fleet.services, fleet.context, number, **more)


def deploy(fleet: FleetUnderTest, deployment: DeploymentReport | UUID | str, *, run_id: str | None = None,
           actor: str = "system:scheduled_deployments", patience: float = 0, run_alive: Any = nobody_knows) -> DeploymentReport:
    """Its run."""
    services = fleet.services
    return run(run_deployment(services, services.context("acme", actor=actor, run_id=run_id), id_of(deployment),
                              patience=patience, run_alive=run_alive))


def cancel(fleet: FleetUnderTest, deployment: DeploymentReport | UUID | str) -> DeploymentReport:
    """Somebody calls it off."""
    return cancel_deployment(fleet.services, fleet.context, id_of(deployment))


def shown(fleet: FleetUnderTest, deployment: DeploymentReport | UUID | str) -> DeploymentReport:
    """What the store says of it."""
    return report_of(fleet.services, fleet.context, id_of(deployment))


def id_of(deployment: DeploymentReport | UUID | str) -> UUID:
    return UUID(str(deployment.deployment_id)) if isinstance(deployment, DeploymentReport) else UUID(str(deployment))


def later(fleet: FleetUnderTest, **duration: float) -> datetime:
    """A time from now on."""
    return fleet.clock.now() + timedelta(**duration)


def results(report: DeploymentReport) -> dict[str, str]:
    """What became of each workflow, by name."""
    return {each["name"]: each["status"] for each in report.workflows}
