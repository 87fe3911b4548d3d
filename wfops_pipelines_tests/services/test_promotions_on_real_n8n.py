"""Promotions between real n8n servers (§11): fifty workflows as people make them go from dev to staging to prod."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest

from wfops_pipelines.domain.lint_rules import lint_workflow
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.references import called_workflow
from wfops_pipelines.domain.required_credentials import REQUIRED_CREDENTIALS
from wfops_pipelines.domain.workflow import read_content, read_listed
from wfops_pipelines.domain.workflow_lint import LintContext
from wfops_pipelines.embedded.n8n_server import N8nServer
from wfops_pipelines_tests.end_to_end.real_fleet import Person
from wfops_pipelines_tests.end_to_end.real_workflows import workflows
from wfops_pipelines_tests.servers.n8n import V1, V2, installed
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet
from wfops_pipelines_tests.services.promotions import promote, promoting_fleet, request, roll_back

pytestmark = [pytest.mark.n8n, pytest.mark.xdist_group("promotions")]

JsonObject = dict[str, Any]
COUNT = 50
SUB = "n8n-nodes-base.executeWorkflowTrigger"
NOT_IN_2 = {"n8n-nodes-base.executeCommand", "n8n-nodes-base.localFileTrigger"}  # 2.x has them switched off unless told so


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, N8nServer]]:
    """dev, staging and prod on n8n 2.x, and a dev on 1.x."""
    folder = tmp_path_factory.mktemp("promotions")
    with ExitStack() as running:
        yield {slug: running.enter_context(N8nServer.start(installed(version), folder / slug)) for slug, version in (
            ("dev", V2), ("staging", V2), ("prod", V2), ("dev1", V1))}


@dataclass
class People:
    """Somebody in each n8n."""

    of: dict[str, Person]
    servers: dict[str, N8nServer]

    def listed(self, slug: str) -> dict[str, JsonObject]:
        """What an n8n holds, by name; archived ones left out."""
        found: dict[str, JsonObject] = {}
        cursor: str | None = None
        while True:
            page = self.ask(slug, "GET", "/workflows", limit=100, **({"cursor": cursor} if cursor else {}))
            found |= {each["name"]: each for each in page["data"] if not each.get("isArchived")}
            cursor = page.get("nextCursor")
            if not cursor:
                return found

    def ask(self, slug: str, method: str, path: str, body: Any = None, **params: Any) -> JsonObject:
        """A call of n8n's API."""
        return self.of[slug]._ask(method, path, body, **params)


@pytest.fixture
def people(servers: dict[str, N8nServer]) -> Iterator[People]:
    """Everything empty before and after."""
    of = {slug: Person(server) for slug, server in servers.items()}
    for person in of.values():
        person.delete_everything()
    yield People(of, servers)
    for person in of.values():
        person.delete_everything()
        person.close()


def on_real_servers(new_fleet: NewFleet, people: People, slugs: tuple[str, ...] = ("dev", "staging", "prod"), *,
                    dev: str = "dev", credentials: list[JsonObject] | None = None, **options: Any) -> FleetUnderTest:
    """A promoting fleet whose environments are the real servers, in real time."""
    fleet = promoting_fleet(new_fleet, slugs, **options)
    fleet.services = replace(fleet.services, now=lambda: datetime.now(UTC))
    for slug in slugs:
        server = people.servers[dev if slug == "dev" else slug]
        fleet.declared(slug)["url"] = server.url
        fleet.secrets[f"KEY_{slug.upper()}"] = server.api_key
    if credentials:
        fleet.tenant["credentials"] = credentials
    fleet.apply()
    return fleet


def seed(people: People, slug: str, slugs: tuple[str, ...]) -> list[JsonObject]:
    """Fifty workflows in a dev server: each fifth can be called, each third calls one (1.x takes any call, 2.x none of what
    is not published), those that n8n takes are active. Returns the credential table that they need: every credential has
    another name in each environment."""
    made: list[str] = []
    running: set[str] = set()
    used: dict[tuple[str, str], None] = {}
    for body in workflows():
        if len(made) == COUNT:
            break
        if any(node["type"] in NOT_IN_2 for node in body["nodes"]):
            continue
        nodes = [_known(node, made) for node in body["nodes"]]
        if made and len(made) % 3 == 0:
            callable_id = made[(len(made) - 1) // 5 * 5]
            nodes.append({"id": str(uuid.uuid4()), "name": "Call another", "type": "n8n-nodes-base.executeWorkflow",
                          "typeVersion": 1.2, "position": [900, 900], "parameters": {
                              "workflowId": {"__rl": True, "mode": "list", "value": callable_id}}})
        if len(made) % 5 == 0:
            nodes += [
                {"id": str(uuid.uuid4()), "name": "A hook", "type": "n8n-nodes-base.webhook", "typeVersion": 2,
                 "position": [0, 900], "webhookId": str(uuid.uuid4()), "parameters": {"path": f"hook-{len(made)}"}},
                {"id": str(uuid.uuid4()), "name": "Called by others", "type": "n8n-nodes-base.executeWorkflowTrigger",
                 "typeVersion": 1.1, "position": [0, 1100], "parameters": {"inputSource": "passthrough"}}]
        try:
            answer = people.ask(slug, "POST", "/workflows", {**body, "nodes": nodes})
        except AssertionError:
            continue  # one that this n8n refuses
        made.append(answer["id"])
        called = {called_workflow(node) for node in answer["nodes"]} - {None}
        if called <= running and runs_on_2(people, {**body, "nodes": nodes}) and activated(people, slug, answer["id"]):
            running.add(answer["id"])
        for node in answer["nodes"]:
            for kind, reference in (node.get("credentials") or {}).items():
                if isinstance(reference, dict) and reference.get("name"):
                    used[kind, reference["name"]] = None
    return [{"key": f"c{number}", "type": kind, "environments": {
        each: {"name": name if each == "dev" else f"{name} ({each})"} for each in slugs}}
        for number, (kind, name) in enumerate(used)]


def runs_on_2(people: People, body: JsonObject) -> bool:
    """Whether n8n 2.x publishes it, its calls apart: 1.x also runs what 2.x refuses (a credential that is not there)."""
    nodes = [{**node, "disabled": True} if called_workflow(node) else node for node in body["nodes"]]
    try:
        answer = people.ask("staging", "POST", "/workflows", {**body, "nodes": nodes})
    except AssertionError:
        return False
    runs = activated(people, "staging", answer["id"])
    if runs:
        people.of["staging"].deactivate(answer)
    people.of["staging"].delete(answer)
    return runs


def activated(people: People, slug: str, workflow_id: str) -> bool:
    """Whether n8n activates it."""
    answer = httpx.post(f"{people.servers[slug].url}/api/v1/workflows/{workflow_id}/activate", timeout=60, trust_env=False,
                        headers={"x-n8n-api-key": people.servers[slug].api_key})
    return answer.status_code == 200


def _known(node: JsonObject, made: list[str]) -> JsonObject:
    """A node that calls a workflow of whoever made it calls one that is here, or is switched off."""
    called = called_workflow(node)
    if called is None:
        return node
    if not made:
        return {**node, "type": "n8n-nodes-base.noOp", "parameters": {}}
    return {**node, "parameters": {**node["parameters"], "workflowId": {"__rl": True, "mode": "id", "value": made[0]}}}


def live(raw: JsonObject) -> str:
    """The hash of what runs."""
    return content_hash(read_listed(raw).live)


@pytest.mark.parametrize("dev", ["dev", "dev1"], ids=["2.x", "1.x"])
def test_fifty_workflows_go_from_dev_to_staging_to_prod(new_fleet: NewFleet, people: People, dev: str) -> None:
    slugs = ("dev", "staging", "prod")
    credentials = seed(people, dev, slugs)
    fleet = on_real_servers(new_fleet, people, slugs, dev=dev, credentials=credentials,
                            gates={"allowPlaceholderCredentials": True})
    held: dict[str, dict[str, str]] = {}
    for source, target in (("dev", "staging"), ("staging", "prod")):
        done = promote(fleet, source, target)
        assert done.status == "completed", (done.reason, done.problems, done.gates)
        assert done.drift_status == "IN_SYNC" and done.commit
        assert len(fleet[target].files()) == COUNT
        there = people.listed(target)
        assert len(there) == COUNT
        after = {each["name"]: each["after_hash"] for each in done.workflows}
        assert {name: live(raw) for name, raw in there.items()} == after
        held[target] = {name: raw["id"] for name, raw in there.items()}
        active = {name for name, raw in people.listed(dev if source == "dev" else source).items() if raw["active"]}
        assert active <= {name for name, raw in there.items() if raw["active"]} and active
        assert request(fleet, source, target).status == "unchanged"
    name, raw = next((name, raw) for name, raw in people.listed(dev).items() if re.search(r"#1$", name))
    people.of[dev].edit({**raw, "nodes": [*raw["nodes"], {
        "id": str(uuid.uuid4()), "name": "One more", "type": "n8n-nodes-base.noOp", "typeVersion": 1,
        "position": [0, 0], "parameters": {}}]})
    for source, target in (("dev", "staging"), ("staging", "prod")):
        done = promote(fleet, source, target)
        assert [each["name"] for each in done.workflows if each["status"] == "success"] == [name]
        assert {name: raw["id"] for name, raw in people.listed(target).items()} == held[target]
    before = {name: live(raw) for name, raw in people.listed("prod").items()}
    back = roll_back(fleet, done.number or 0)
    assert back.status == "rolled_back" and back.drift_status == "IN_SYNC"
    after = {name: live(raw) for name, raw in people.listed("prod").items()}
    assert {key for key in before if before[key] != after[key]} == {name}
    assert fleet.chain_verifies()


def node(name: str, kind: str, **more: Any) -> JsonObject:
    return {"id": str(uuid.uuid4()), "name": name, "type": kind, "typeVersion": 1, "position": [0, 0], "parameters": {}, **more}


def started_by(kind: str, name: str, *nodes: JsonObject, **parameters: Any) -> JsonObject:
    """A workflow that ``kind`` starts, with its nodes one after the other."""
    whole = [node("Start", kind, parameters=parameters), *nodes]
    ends = {one["name"]: {"main": [[{"node": other["name"], "type": "main", "index": 0}]]}
            for one, other in pairwise(whole)}
    return {"name": name, "nodes": whole, "connections": ends, "settings": {}}


def test_callers_and_what_they_call_are_switched_as_in_the_source(new_fleet: NewFleet, people: People) -> None:
    fleet = on_real_servers(new_fleet, people, ("dev", "prod"))
    dev, made = people.of["dev"], {}
    every_day = {"rule": {"interval": [{}]}}
    for name in ("Sub", "Another"):
        made[name] = dev.create(started_by(SUB, name, node("Say", "n8n-nodes-base.noOp")))
        assert activated(people, "dev", made[name]["id"])
    call = node("Call", "n8n-nodes-base.executeWorkflow", typeVersion=1.2, parameters={
        "workflowId": {"__rl": True, "mode": "list", "value": made["Sub"]["id"]}})
    made["Top"] = dev.create(started_by("n8n-nodes-base.scheduleTrigger", "Top", call, **every_day))
    assert activated(people, "dev", made["Top"]["id"])
    assert promote(fleet).status == "completed"
    assert running(people, "prod") == {"Sub", "Another", "Top"}
    for name in ("Top", "Sub"):
        dev.deactivate(made[name])
    assert request(fleet).status == "unchanged"
    off = promote(fleet, activation="source")
    assert [each["name"] for each in off.workflows if each["status"] == "success"] == ["Top", "Sub"]
    assert off.drift_status == "IN_SYNC" and running(people, "prod") == {"Another"}
    assert roll_back(fleet, off.number or 0).status == "rolled_back"
    assert running(people, "prod") == {"Sub", "Another", "Top"}
    promote(fleet, activation="source")
    for name in ("Sub", "Top"):
        assert activated(people, "dev", made[name]["id"])
    on = promote(fleet, activation="source")
    assert [each["name"] for each in on.workflows if each["status"] == "success"] == ["Sub", "Top"]
    assert on.drift_status == "IN_SYNC" and running(people, "prod") == {"Sub", "Another", "Top"}


def running(people: People, slug: str) -> set[str]:
    """The names of what runs."""
    return {name for name, raw in people.listed(slug).items() if raw["active"]}


def test_n8n_2_refuses_what_the_lint_says_that_it_refuses(people: People) -> None:
    for kind in [*sorted(REQUIRED_CREDENTIALS)[::25], *sorted(NOT_IN_2)]:
        body = started_by("n8n-nodes-base.webhook", kind, node("Needs", kind), path=str(uuid.uuid4()))
        report = lint_workflow(read_content(body), LintContext(active=True, generation=2))
        assert {str(each.rule) for each in report.errors} & {"missing-credential", "switched-off-node-type"}, kind
        made = people.ask("staging", "POST", "/workflows", body)
        answer = httpx.post(f"{people.servers['staging'].url}/api/v1/workflows/{made['id']}/activate", timeout=60,
                            trust_env=False, headers={"x-n8n-api-key": people.servers["staging"].api_key})
        assert answer.status_code == 400, (kind, answer.text)
        assert "Missing required credential" in answer.text or "Unrecognized node type" in answer.text, (kind, answer.text)
