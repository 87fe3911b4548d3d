"""Small workflows in portable form, and plans over them, for the tests of plans and snapshots."""

from __future__ import annotations

from typing import Any

from wfops_pipelines.domain.lift import hash_portable
from wfops_pipelines.domain.promotion_plan import BothSides, Plan, PlannedChange, PortableWorkflow
from wfops_pipelines.domain.promotion_planning import make_plan
from wfops_pipelines.domain.transform_terms import workflow_term

JsonObject = dict[str, Any]
EXECUTE = "n8n-nodes-base.executeWorkflow"
TRIGGER, SUB = "n8n-nodes-acme.acmeTrigger", "n8n-nodes-base.executeWorkflowTrigger"


def content(name: str, *, value: Any = 1, calls: tuple[str, ...] = (), start: str = TRIGGER, **settings: Any) -> JsonObject:
    """A workflow that ``start`` starts, that sets ``value`` and calls the workflows ``calls``."""
    nodes: list[JsonObject] = [{"id": "n1", "name": "Set", "type": "n8n-nodes-base.set", "typeVersion": 1,
                                "position": [0, 0], "parameters": {"value": value}}]
    nodes += [{"id": f"c-{called}", "name": f"Call {called}", "type": EXECUTE, "typeVersion": 1, "position": [0, 100],
               "parameters": {"workflowId": workflow_term(called)}} for called in calls]
    nodes.append({"id": "t1", "name": "Start", "type": start, "typeVersion": 1, "position": [0, 200], "parameters": {}})
    return {"name": name, "nodes": nodes, "connections": {}, "settings": settings}


def held(inner: JsonObject, *, active: bool = True, **more: Any) -> PortableWorkflow:
    """One side that holds ``inner``."""
    return PortableWorkflow(inner, active, **more)


def new(key: str, **more: Any) -> BothSides:
    """Only the source has it."""
    return BothSides(key, held(content(key.upper(), **more)), None)


def same(key: str, **more: Any) -> BothSides:
    """Both have it, and alike."""
    return BothSides(key, held(content(key.upper(), **more)), held(content(key.upper(), **more), workflow_id=f"id-{key}"))


def changed(key: str, *, value: Any = 2, **more: Any) -> BothSides:
    """The source went on from what the target has."""
    old = content(key.upper(), **more)
    return BothSides(key, held(content(key.upper(), value=value, **more)), held(old, workflow_id=f"id-{key}"),
                     base_hash=hash_portable(old))


def extra(key: str, **more: Any) -> BothSides:
    """Only the target has it."""
    return BothSides(key, None, held(content(key.upper(), **more), workflow_id=f"id-{key}"))


def planned(*sides: BothSides, **options: Any) -> Plan:
    """The plan from dev to staging, an n8n 2.x."""
    return make_plan(sides, **{"source": "acme/dev", "target": "acme/staging", "generation": 2, **options})


def change_of(plan: Plan, key: str) -> PlannedChange:
    """The change of one workflow."""
    return next(change for change in plan.changes if change.key == key)


def actions(plan: Plan) -> dict[str, str]:
    """What is done to each workflow, in order."""
    return {change.key: str(change.action) for change in plan.changes}
