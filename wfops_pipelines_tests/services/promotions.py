"""Given: dev, staging and prod of one tenant with a pipeline between them, and what people do with promotions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from wfops_pipelines.cli.promotion_screen import promotion_text
from wfops_pipelines.services.promotion_execution import execute_promotion
from wfops_pipelines.services.promotion_options import PromotionOptions, PromotionReport
from wfops_pipelines.services.promotion_reports import show_promotion
from wfops_pipelines.services.promotion_request import cancel_promotion, decide_promotion, report_of, request_promotion
from wfops_pipelines.services.promotion_rollback import roll_back_promotion
from wfops_pipelines_tests.services.fleet import ACTOR, Environment, FleetUnderTest, NewFleet, run

ORDER = ("dev", "staging", "prod")


def promoting_fleet(new_fleet: NewFleet, slugs: tuple[str, ...] = ORDER, *, gates: dict[str, Any] | None = None,
                    stage: dict[str, Any] | None = None, atomic: bool = True, **options: Any) -> FleetUnderTest:
    """A tenant with a stage from each environment to the next; production may be written to."""
    fleet = new_fleet(slugs, **options)
    for slug in slugs:
        fleet.declared(slug)["allow_production"] = True
    fleet.document["tenants"][0]["pipelines"] = [{"name": "standard", "atomic": atomic, "stages": [
        {"source": one, "target": other, **({"gates": gates} if gates else {}), **(stage or {})}
        for one, other in pairwise(slugs)]}]
    fleet.apply()
    return fleet


def dev_to_prod(new_fleet: NewFleet) -> FleetUnderTest:
    """The same of two environments, with nothing said of the stage: to go back to."""
    return promoting_fleet(new_fleet, ("dev", "prod"))


def request(fleet: FleetUnderTest, source: str = "dev", target: str = "prod", *, dry_run: bool = False,
            actor: str = ACTOR, **options: Any) -> PromotionReport:
    """Ask for a promotion."""
    services = fleet.services
    return run(request_promotion(services, services.context("acme", actor=actor), fleet[source].row, fleet[target].row,
                                 PromotionOptions(**options), dry_run=dry_run))


def execute(fleet: FleetUnderTest, number: int | None, *, actor: str = ACTOR, **more: Any) -> PromotionReport:
    """Carry one out."""
    assert number is not None
    services = fleet.services
    return run(execute_promotion(services, services.context("acme", actor=actor), number, **more))


def promote(fleet: FleetUnderTest, source: str = "dev", target: str = "prod", **options: Any) -> PromotionReport:
    """Ask for one, and carry it out."""
    asked = request(fleet, source, target, **options)
    assert asked.status == "approved", (asked.status, asked.reason)
    return execute(fleet, asked.number)


def decide(fleet: FleetUnderTest, number: int, *, approve: bool = True, actor: str = "local:grace",
           **more: Any) -> PromotionReport:
    """Somebody else decides."""
    services = fleet.services
    return decide_promotion(services, services.context("acme", actor=actor), number, approve=approve, **more)


def cancel(fleet: FleetUnderTest, number: int) -> PromotionReport:
    """Somebody calls it off."""
    return cancel_promotion(fleet.services, fleet.context, number)


def roll_back(fleet: FleetUnderTest, number: int, *, reason: str = "it was wrong", dry_run: bool = False) -> PromotionReport:
    """Somebody wants it undone."""
    return run(roll_back_promotion(fleet.services, fleet.context, number, reason=reason, dry_run=dry_run))


def told(fleet: FleetUnderTest, number: int) -> PromotionReport:
    """What the store says of it."""
    return report_of(fleet.services, fleet.context, number)


def held(environment: Environment) -> dict[str, tuple[str, Any, Any, bool, bool]]:
    """All that n8n holds, by id: name, draft, what runs, whether it runs, whether it is archived."""
    return {i: (record.name, record.draft.node_list, record.live.node_list if record.live else None,
                record.active_id is not None, record.archived)
            for i, record in environment.sandbox.state.workflows.items()}


def by_name(environment: Environment) -> dict[str, str]:
    """n8n ids by name, of what is not archived."""
    return {record.name: i for i, record in environment.sandbox.state.workflows.items() if not record.archived}


def calls(environment: Environment, name: str) -> str:
    """The n8n id that a workflow calls."""
    nodes = environment.sandbox.state.workflows[by_name(environment)[name]].draft.node_list
    (called,) = [node["parameters"]["workflowId"]["value"] for node in nodes if "workflowId" in node["parameters"]]
    return str(called)


def screen(fleet: FleetUnderTest, number: int = 2) -> str:
    """`wfops promotion show`."""
    return promotion_text(show_promotion(fleet.services, fleet.context, number), colour=False)
