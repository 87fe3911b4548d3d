"""Given: a promotion with every kind of write, approved; and where n8n stands between before and after it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wfops_pipelines import failpoints
from wfops_pipelines.n8n.sandbox.javascript import parse
from wfops_pipelines_tests.services.fleet import (
    Environment,
    FleetUnderTest,
    NewFleet,
    calling,
    with_credential,
    workflow,
)
from wfops_pipelines_tests.services.promotions import by_name, execute, promote, promoting_fleet, request, told

CREDENTIALS = [{"key": "stripe", "type": "httpBasicAuth", "environments": {
    "dev": {"name": "stripe-test"}, "prod": {"name": "stripe-live", "id": "live-1"}}},
    {"key": "crm", "type": "httpBasicAuth", "environments": {
        "dev": {"name": "crm-test"}, "prod": {"name": "crm-live"}}}]
CALLED = {"id": "a", "name": "Start", "type": "n8n-nodes-base.executeWorkflowTrigger", "typeVersion": 1,
          "position": [0, 0], "parameters": {}}


def called(name: str, **more: Any) -> dict[str, Any]:
    """A workflow that only others start."""
    made = workflow(name, **more)
    return {**made, "nodes": [CALLED, *made["nodes"][1:]]}


def every_kind_of_write(new_fleet: NewFleet) -> FleetUnderTest:
    """From dev to prod, both n8n 2.x: created, created and calling another new one, two that call each other, one that calls
    itself; updated while active, while inactive, over an unpublished draft, and switched on because it is called now;
    brought back from the archive, and archived by ``--prune``."""
    fleet = _two(new_fleet)
    dev, prod = fleet["dev"], fleet["prod"]
    ids = dict(zip(FIRST, dev.create_in_n8n(
        workflow("Steady", active=True), workflow("Running", active=True), with_credential("Resting", "stripe-test"),
        workflow("Drafted", active=True), called("Sleeper"), workflow("Shelved"), workflow("Pruned", active=True)),
        strict=True))
    _cycle(dev, "Old ping", "Old pong")
    assert promote(fleet).status == "completed"
    there = by_name(prod)
    prod.archive_in_n8n(there["Shelved"])
    prod.push_files({"workflows/shelved.json": None})
    assert prod.check().status == "IN_SYNC"
    prod.edit_in_n8n(there["Drafted"], "nobody published this", publish=False)
    _edit(fleet, ids)
    dev.edit_in_n8n(ids["Shelved"], "back again")
    (new,) = dev.create_in_n8n(with_credential("New", "crm-test", "c2", active=True, tags=["billing", "live"]))
    dev.create_in_n8n(calling("New caller", new, active=True))
    _cycle(dev, "Ping", "Pong", "Looper")
    asked = request(fleet, prune=True, allow_large="a test")
    assert asked.status == "approved", asked.reason
    return fleet


FIRST = ("Steady", "Running", "Resting", "Drafted", "Sleeper", "Shelved", "Pruned")


def every_kind_of_write_1(new_fleet: NewFleet) -> FleetUnderTest:
    """The same as far as n8n 1.x in prod goes: what is pruned is deleted, also what another one called until then, and one
    that calls itself."""
    fleet = _two(new_fleet, generation=1)
    dev, prod = fleet["dev"], fleet["prod"]
    ids = dict(zip(FIRST[:3] + FIRST[-1:], dev.create_in_n8n(
        workflow("Steady", active=True), workflow("Running", active=True), with_credential("Resting", "stripe-test"),
        workflow("Pruned", active=True)), strict=True))
    _cycle(dev, "Caller", "Pruned loop", "Pruned loop")
    assert promote(fleet).status == "completed"
    assert prod.check().status == "IN_SYNC"
    dev.edit_in_n8n(ids["Running"], "better")
    dev.edit_in_n8n(ids["Resting"], "better", node=("Say", {"text": "better"}), settings={"timezone": "Asia/Tokyo"})
    dev.edit_in_n8n(by_name(dev)["Caller"], nodes=workflow("Caller")["nodes"], connections=workflow("Caller")["connections"])
    for name in RENEWED:
        dev.delete_in_n8n(by_name(dev)[name])
    (new,) = dev.create_in_n8n(with_credential("New", "stripe-test", active=True, tags=["billing"]))
    dev.create_in_n8n(calling("New caller", new, active=True))
    asked = request(fleet, prune=True, allow_large="a test", allow_irreversible=True)
    assert asked.status == "approved", asked.reason
    return fleet


def _two(new_fleet: NewFleet, **options: Any) -> FleetUnderTest:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), credentials=CREDENTIALS, **options)
    for key, slug, name in (("c1", "dev", "stripe-test"), ("c2", "dev", "crm-test"), ("live-1", "prod", "stripe-live"),
                            ("live-2", "prod", "crm-live")):
        fleet[slug].sandbox.state.seed_credential(name, "httpBasicAuth", id=key)
    return fleet


def _edit(fleet: FleetUnderTest, ids: Mapping[str, str]) -> None:
    dev = fleet["dev"]
    dev.edit_in_n8n(ids["Resting"], node=("Say", {"text": "better"}), settings={"timezone": "Asia/Tokyo"})
    dev.edit_in_n8n(ids["Drafted"], "better")
    dev.edit_in_n8n(ids["Sleeper"], "awake")
    dev.activate_in_n8n(ids["Sleeper"])
    caller = calling("Running on", ids["Sleeper"], text="better")
    dev.edit_in_n8n(ids["Running"], name="Running on", nodes=caller["nodes"])
    for name in ("Pruned", "Old ping", "Old pong"):
        dev.delete_in_n8n(by_name(dev)[name])


def _cycle(dev: Environment, one: str, other: str, *loopers: str) -> None:
    """Two that call each other, and some that call themselves, all of them active."""
    called_by = {one: other, other: one, **{name: name for name in loopers}}
    ids = dict(zip(called_by, dev.create_in_n8n(*(calling(name, "nobody yet") for name in called_by)), strict=True))
    for name, called_name in called_by.items():
        dev.edit_in_n8n(ids[name], node=("Call", {"workflowId": {"__rl": True, "mode": "list", "value": ids[called_name]}}))
    for workflow_id in ids.values():
        dev.activate_in_n8n(workflow_id)


# -- where n8n stands --------------------------------------------------------------------------------------------------


def picture(prod: Environment) -> dict[str, str]:
    """All that an n8n holds, workflow by workflow, with the ids of those that the promotion creates replaced by their names.
    What was there before is under its id."""
    state = prod.sandbox.state
    held = {i: record.name for i, record in state.workflows.items()}
    assert max(Counter(held.values()).values()) == 1, f"made twice: {held}"
    # What n8n 1.x has deleted comes back under another id.
    renewed = (*CREATED, *RENEWED) if state.generation < 2 else CREATED
    new = {i: f"<{name}>" for i, name in held.items() if name in renewed}
    tags = {tag.id: tag.name for tag in state.tags.values()}
    found = {}
    for workflow_id, record in state.workflows.items():
        live = record.live
        text = json.dumps({
            "name": record.name, "draft": record.draft.node_list, "draft_connections": parse(record.draft.connections),
            "live": None if live is None else live.node_list, "live_connections": live and parse(live.connections),
            "archived": record.archived, "settings": record.settings, "static": parse(record.static_data),
            "tags": sorted(tags[i] for i in record.tag_ids)}, sort_keys=True)
        for i, name in new.items():
            text = text.replace(i, name)
        found[new.get(workflow_id, workflow_id)] = text
    return found


RENEWED = ("Pruned", "Pruned loop")
CREATED = ("New", "New caller", "Ping", "Pong", "Looper")


@dataclass(frozen=True)
class Ends:
    """The pictures before and after what a test walks through, and what that passes: failpoints, and requests to n8n."""

    before: Mapping[str, str] = field(repr=False)
    after: Mapping[str, str] = field(repr=False)
    points: Sequence[str]
    requests: Sequence[str]

    def where(self, prod: Environment) -> str:
        """``before``, ``after``, or what is neither."""
        now = picture(prod)
        if now == self.before:
            return "before"
        if now == self.after:
            return "after"
        return "between:\n" + "\n".join(self._between(now))

    def _between(self, now: Mapping[str, str]) -> Iterator[str]:
        for key in sorted({*now, *self.before, *self.after}):
            sides = [name for name, side in (("before", self.before), ("after", self.after))
                     if side.get(key) == now.get(key)]
            if not sides:
                yield f"  {key} is {now.get(key)}\n    before {self.before.get(key)}\n    after {self.after.get(key)}"
            elif len(sides) == 1:
                yield f"  {key} as {sides[0]}"


Act = Callable[[FleetUnderTest], Any]
Build = Callable[[NewFleet], FleetUnderTest]
_ends: dict[tuple[Build, str], Ends] = {}


def ends_of(new_fleet: NewFleet, scene: Build, act: Act) -> Ends:
    """Where an act on a scene begins and ends, once per process."""
    key = (scene, act.__name__)
    if key not in _ends:
        fleet = new_fleet.as_left_by(scene)
        prod = fleet["prod"]
        asked = fleet.host.requests[prod.url.rpartition("/")[2]]
        asked.clear()
        before = picture(prod)
        met = failpoints.record()
        act(fleet)
        failpoints.disarm()
        passed = [f"{name}@{n}" for name in sorted(met) for n in range(1, met[name] + 1)]
        _ends[key] = Ends(before, picture(prod), [each for each in passed if not each.startswith(NOT_WALKED)], list(asked))
    return _ends[key]


NOT_WALKED = ("store.statement", "operation.heartbeat")
"""Every commit is walked; that statements fail too is the store's own test."""


# -- what has to hold afterwards ---------------------------------------------------------------------------------------


def assert_whole(fleet: FleetUnderTest, ends: Ends, point: str, *, back: bool = False) -> str:
    """Somebody looks at the target, which finishes what was left: it is all before or all after, and everything says so.
    Tells which. ``back``: what was walked through is the rollback of a promotion."""
    prod = fleet["prod"]
    check = prod.check()
    where = ends.where(prod)
    assert where in ("before", "after"), (point, where)
    report = told(fleet, 2)
    if back:
        assert report.status == ("rolled_back" if where == "after" else "completed"), (point, where, report.status)
    else:
        assert report.status == "completed" if where == "after" else report.status in UNDONE, (point, where, report.status)
    assert not report.rollback_incomplete, point
    # Drafts that nobody published are no drift, and those that the target had are there before.
    assert {each["kind"] for each in check.workflows} <= {"unpublished_changes"}, (point, where, check.workflows)
    assert check.error is None, (point, check.error)
    assert prod.row.writes_blocked_at is None, point
    assert not fleet.reading(lambda work: work.journal.unfinished(prod.row.id)), point
    assert not fleet.reading(lambda work: work.promotions.with_git_left(prod.row.id)), point
    assert fleet.reading(lambda work: work.promotions.running_on(prod.row.id)) is None, point
    assert_mapped_once(prod, point)
    assert fleet.chain_verifies(), point
    return where


UNDONE = ("rolled_back", "failed", "approved", "blocked")


def assert_mapped_once(prod: Environment, point: str) -> None:
    """Every workflow of n8n has one mapping, every canonical workflow at most one of them, and no mapping says that a
    workflow is there which is not."""
    rows = prod.fleet.reading(lambda work: work.mappings.of_environment(prod.row.id))
    there = Counter(row.workflow_id for row in rows if row.missing_at is None and row.deleted_at is None)
    assert there == Counter(list(prod.sandbox.state.workflows)), (point, there)
    linked = Counter(row.canonical_id for row in rows if row.canonical_id is not None and row.status == "linked")
    assert not linked or max(linked.values()) == 1, (point, linked)


def try_again(fleet: FleetUnderTest, ends: Ends, point: str) -> None:
    """The same once more, now that nothing is in the way."""
    if told(fleet, 2).status == "approved":
        done = execute(fleet, 2)
    else:
        asked = request(fleet, prune=True, allow_large="a test", allow_irreversible=True)
        assert asked.status == "approved", (point, asked.reason)
        done = execute(fleet, asked.number)
    assert done.status == "completed", (point, done.reason)
    prod = fleet["prod"]
    where = ends.where(prod)
    assert where == "after", (point, where)
    assert_mapped_once(prod, point)
