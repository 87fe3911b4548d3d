"""Given: a production environment whose drift is followed up as an incident, and what people do about it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.incident import IncidentEvent, Resolution
from wfops_pipelines.services import incident_steps
from wfops_pipelines.services.incident_resolution import Choice, Reconciliation, reconcile_incident
from wfops_pipelines_tests.services.fleet import ACTOR, Environment, FleetUnderTest, NewFleet, run, workflow

POLICY = {"auto_create_incidents": True}
BOSS = "local:grace"


def fleet_with_incidents(new_fleet: NewFleet, slugs: Any = ("prod",), **options: Any) -> FleetUnderTest:
    """A tenant whose policy opens incidents, and whose production may be written to."""
    policy = POLICY | options.pop("policy", {})
    fleet = new_fleet(slugs, drift_policy=policy, **options)
    for slug in fleet.environments:
        fleet.declared(slug)["allow_production"] = True
    fleet.apply()
    return fleet


def one_incident(new_fleet: NewFleet) -> FleetUnderTest:
    """A was edited by hand, and a check found it."""
    fleet = fleet_with_incidents(new_fleet)
    drifted(fleet["prod"], workflow("A"))
    return fleet


def open_incident(environment: Environment) -> Row[Any]:
    """The environment's open incident."""
    row: Row[Any] | None = environment.fleet.reading(lambda work: work.incidents.open_of(environment.row.id))
    assert row is not None
    return row


def incident(environment: Environment, number: int) -> Row[Any]:
    """An incident, open or not."""
    return environment.fleet.reading(lambda work: work.incidents.by_number(number))


def drifted(environment: Environment, *workflows: dict[str, Any], text: str = "edited by hand") -> tuple[int, list[str]]:
    """Given these workflows in sync, then each edited in n8n, and a check: the incident's number, and the n8n ids."""
    ids = environment.in_sync(*workflows)
    for workflow_id in ids:
        environment.edit_in_n8n(workflow_id, text)
    environment.check()
    return open_incident(environment).number, ids


def acknowledge(environment: Environment, number: int, *, actor: str = ACTOR, **more: Any) -> incident_steps.IncidentStep:
    """Somebody takes care."""
    return step(environment, number, IncidentEvent.ACKNOWLEDGE, actor=actor, **more)


def step(environment: Environment, number: int, event: IncidentEvent, *, actor: str = ACTOR,
         **more: Any) -> incident_steps.IncidentStep:
    """A step of the lifecycle."""
    services = environment.fleet.services
    return incident_steps.take(services, services.context("acme", actor=actor), number, event, **more)


def resolve(environment: Environment, number: int, resolution: str, *, dry_run: bool = False, actor: str = ACTOR,
            **choice: Any) -> Reconciliation:
    """Reconcile an incident."""
    services = environment.fleet.services
    return run(reconcile_incident(services, services.context("acme", actor=actor), number,
                                  Choice(Resolution(resolution), **choice), dry_run=dry_run))


def said(environment: Environment, workflow_id: str) -> str:
    """What runs in n8n: the text that the node of a small workflow says."""
    record = environment.raw(workflow_id)
    nodes = (record.live or record.draft).node_list
    text: str = next(node["parameters"]["text"] for node in nodes if node["name"] == "Say")
    return text
