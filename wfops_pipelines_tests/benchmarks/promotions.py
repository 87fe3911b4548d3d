"""Promotions (issue: promotions): planning 1,000 workflows, and carrying out 100 on a real n8n 2.x next to the bare calls.

The bare sequence is the HTTP calls that the same work needs, one after the other by one client with nothing else to do:

* new ones: the source's pages, the target's pages and credentials; for each workflow ``POST``, ``PUT`` (which takes the mark
  off by which a create that may have happened is found again), ``POST …/publish`` where it runs, ``GET`` to read it back;
  the target's pages;
* changed ones and their rollback: the same pages; for each ``GET`` (is it what the plan saw?), ``PUT`` (which publishes),
  ``GET``; the target's pages.

``python -m wfops_pipelines_tests.benchmarks.promotions`` prints the rows. A busy machine shows ratios that are too high.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import yaml

from wfops_pipelines.bootstrap import Installation
from wfops_pipelines.domain import masking
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.fleet import load_fleet
from wfops_pipelines.domain.gate_facts import CannotBeListed
from wfops_pipelines.embedded.n8n_server import N8nServer, default_cache, find_install
from wfops_pipelines.services.apply_fleet import apply_fleet
from wfops_pipelines.services.promotion_execution import execute_promotion
from wfops_pipelines.services.promotion_facts import Asked, Seen
from wfops_pipelines.services.promotion_look import judge_promotion, look_at_source, look_at_target
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines.services.promotion_request import request_promotion
from wfops_pipelines.services.promotion_rollback import roll_back_promotion
from wfops_pipelines_tests.benchmarks.first_sync import VERSION, installation
from wfops_pipelines_tests.benchmarks.rows import Row, Skipped, row, show
from wfops_pipelines_tests.end_to_end.real_workflows import seed, workflows
from wfops_pipelines_tests.servers.bare import make_bare

PLANNED, EXECUTED, ROUNDS = 1000, 100, 3
JsonObject = dict[str, Any]


def measure() -> list[Row]:
    """Rows; :class:`Skipped` where no n8n is installed."""
    n8n = find_install(VERSION, default_cache())
    if n8n is None:
        raise Skipped(f"n8n {VERSION} is not installed: python -m wfops_pipelines.embedded.n8n_server install {VERSION}")
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        folder = Path(directory)
        servers = {slug: running.enter_context(N8nServer.start(n8n, folder / slug)) for slug in ("dev", "staging", "twin")}
        installed = running.enter_context(installation(folder / "home"))
        repository = make_bare(folder / "acme.git")
        context = declare(installed, servers, repository.url)
        rows = executing(installed, context, servers)
        return [*rows, *planning(installed, context, servers)]


def declare(installed: Installation, servers: dict[str, N8nServer], repository: str) -> Context:
    """A tenant with dev and staging, whose workflows use no credentials that nobody knows."""
    document = {"version": 1, "tenants": [{
        "slug": "acme", "repository": {"url": repository},
        "environments": [{"slug": slug, "class": slug, "url": servers[slug].url, "api_key": f"env:{slug}", "folder": slug}
                         for slug in ("dev", "staging")]}]}
    fleet = load_fleet(yaml.safe_dump(document), file="fleet.yaml", providers=["n8n"])
    apply_fleet(installed.services, fleet, lambda reference: servers[reference.name].api_key, actor="benchmark")
    return installed.services.context("acme", actor="benchmark")


def plain(body: JsonObject) -> JsonObject:
    """A workflow as people make them, that starts by a schedule and needs no credential."""
    nodes = [{key: value for key, value in node.items() if key != "credentials"} for node in body["nodes"]
             if "trigger" not in str(node.get("type")).lower() and not str(node.get("type")).endswith(
                 (".executeWorkflow", ".toolWorkflow", ".webhook"))]
    names = {node["name"] for node in nodes}
    start = {"id": "start", "name": "Every day", "type": "n8n-nodes-base.scheduleTrigger", "typeVersion": 1.2,
             "position": [0, 0], "parameters": {"rule": {"interval": [{"field": "days"}]}}}
    connections = {name: kinds for name, kinds in body["connections"].items() if name in names and all(
        target.get("node") in names for outputs in kinds.values() for output in outputs or () for target in output or ())}
    return {**body, "nodes": [start, *({**node, "disabled": True} for node in nodes)], "connections": connections,
            "settings": {"executionOrder": "v1"}}


# -- carrying out ------------------------------------------------------------------------------------------------------


def executing(installed: Installation, context: Context, servers: dict[str, N8nServer]) -> list[Row]:
    """A hundred new ones; then, several times, a hundred changed ones and their rollback."""
    dev, staging, twin = (Bare(servers[slug]) for slug in ("dev", "staging", "twin"))
    made = seed(servers["dev"].url, servers["dev"].api_key, map(plain, workflows()), EXECUTED)
    for each in made:
        dev.tried("POST", f"/workflows/{each['id']}/activate")
    bodies = [dev.ask("GET", f"/workflows/{each['id']}") for each in made]

    _, ours_new = promoted(installed, context)
    twins, bare_new = timed(lambda: bare_create(dev, twin, bodies))
    samples: dict[str, list[float]] = {"changed": [], "changed, bare": [], "back": [], "back, bare": []}
    for number in range(ROUNDS):
        changed = [edited(dev, each, f"round {number}") for each in made]
        result, ours = promoted(installed, context)
        _, bare = timed(lambda new=changed: bare_update(dev, twin, twins, new))
        samples["changed"].append(ours)
        samples["changed, bare"].append(bare)
        _, back = timed(lambda told=int(result.number or 0): asyncio.run(roll_back_promotion(
            installed.services, context, told, reason="benchmark")))
        _, bare_back = timed(lambda old=bodies: bare_update(dev, twin, twins, old))
        samples["back"].append(back)
        samples["back, bare"].append(bare_back)
        bodies = [edited(dev, each, f"after {number}") for each in made]
        promoted(installed, context)
        bare_update(dev, twin, twins, bodies)
    for client in (dev, staging, twin):
        client.close()
    of = {name: statistics.median(taken) for name, taken in samples.items()}
    new, changed_ratio, back_ratio = ours_new / bare_new, of["changed"] / of["changed, bare"], of["back"] / of["back, bare"]
    return [
        row("promotion of 100 new workflows, next to the bare calls", new, "x", "<= 1.5", ok=new <= 1.5),
        row("promotion of 100 changed workflows, next to the bare calls", changed_ratio, "x", "<= 1.5",
            ok=changed_ratio <= 1.5),
        row("rollback of 100 workflows, next to the bare calls", back_ratio, "x", "<= 1.5", ok=back_ratio <= 1.5),
        row("promotion of 100 new workflows", ours_new, "s"), row("promotion of 100 changed workflows", of["changed"], "s"),
        row("rollback of 100 workflows", of["back"], "s"),
    ]


def promoted(installed: Installation, context: Context) -> tuple[Any, float]:
    """An approved promotion carried out, and how long that took from reading to the end."""
    services = installed.services
    dev, staging = (services.environment(context, slug) for slug in ("dev", "staging"))
    asked = asyncio.run(request_promotion(services, context, dev, staging, PromotionOptions(allow_large="benchmark")))
    assert asked.status == "approved", asked.reason
    done, taken = timed(lambda: asyncio.run(execute_promotion(services, context, int(asked.number or 0))))
    assert done.status == "completed", done.reason
    return done, taken


class Bare:
    """One client of n8n's API with nothing else to do."""

    def __init__(self, server: N8nServer) -> None:
        self._http = httpx.Client(base_url=f"{server.url}/api/v1", headers={"x-n8n-api-key": server.api_key}, timeout=60,
                                  trust_env=False)

    def ask(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        answer = self._http.request(method, path, json=body, params=params)
        answer.raise_for_status()
        return answer.json()

    def tried(self, method: str, path: str) -> None:
        """A call that n8n may refuse: some workflows cannot be published."""
        self._http.request(method, path)

    def pages(self) -> None:
        """The whole listing."""
        cursor: str | None = None
        while True:
            page = self.ask("GET", "/workflows", limit=250, **({"cursor": cursor} if cursor else {}))
            cursor = page["nextCursor"]
            if cursor is None:
                return

    def close(self) -> None:
        self._http.close()


_SENT = ("name", "nodes", "connections", "settings")


def sent(body: JsonObject) -> JsonObject:
    """What n8n takes of a workflow."""
    return {key: body[key] for key in _SENT} | {"settings": {
        key: value for key, value in body["settings"].items() if key in ("executionOrder", "callerPolicy")}}


def edited(dev: Bare, workflow: JsonObject, text: str) -> JsonObject:
    """Another version of it, in dev."""
    held = dev.ask("GET", f"/workflows/{workflow['id']}")
    nodes = [{**node, "notes": text} for node in held["nodes"]]
    nodes[0]["parameters"] = {"rule": {"interval": [{"field": "days", "triggerAtHour": len(text) % 24,
                                                     "triggerAtMinute": sum(map(ord, text)) % 60}]}}
    return dict(dev.ask("PUT", f"/workflows/{workflow['id']}", sent({**held, "nodes": nodes})))


def bare_create(source: Bare, target: Bare, bodies: list[JsonObject]) -> list[str]:
    """The calls that new workflows need."""
    ids = []
    source.pages()
    target.pages()
    target.ask("GET", "/credentials")
    for body in bodies:
        workflow_id = target.ask("POST", "/workflows", sent(body))["id"]
        target.ask("PUT", f"/workflows/{workflow_id}", sent(body))
        if body["active"]:
            target.ask("POST", f"/workflows/{workflow_id}/publish")
        target.ask("GET", f"/workflows/{workflow_id}")
        ids.append(workflow_id)
    target.pages()
    return ids


def bare_update(source: Bare, target: Bare, ids: list[str], bodies: list[JsonObject]) -> None:
    """The calls that changed workflows need."""
    source.pages()
    target.pages()
    target.ask("GET", "/credentials")
    for workflow_id, body in zip(ids, bodies, strict=True):
        target.ask("GET", f"/workflows/{workflow_id}")
        target.ask("PUT", f"/workflows/{workflow_id}", sent(body))
        target.ask("GET", f"/workflows/{workflow_id}")
    target.pages()


# -- planning ----------------------------------------------------------------------------------------------------------


def planning(installed: Installation, context: Context, servers: dict[str, N8nServer]) -> list[Row]:
    """A thousand workflows in dev: planned and judged from what was read."""
    services = installed.services
    seed(servers["dev"].url, servers["dev"].api_key, map(plain, islice(workflows(), EXECUTED, None)), PLANNED - EXECUTED)
    dev, staging = (services.environment(context, slug) for slug in ("dev", "staging"))
    seen = asyncio.run(_look(installed, context, dev, staging))

    def plan() -> Any:
        with services.store.read(context) as work:
            return judge_promotion(work, dev, staging, PromotionOptions(), seen, Asked("benchmark"), generation=2,
                                   credentials=CannotBeListed("not asked"))

    taken = []
    for number in range(ROUNDS + 1):
        masking.forget()  # a command begins knowing nothing
        judged, seconds = timed(plan)
        assert len(judged.prepared.plan.writes) >= PLANNED - EXECUTED
        if number:
            taken.append(seconds)
    seconds = statistics.median(taken)
    return [row("planning 1,000 workflows, beyond reading them", seconds, "s", "<= 2", ok=seconds <= 2)]


async def _look(installed: Installation, context: Context, dev: Any, staging: Any) -> Seen:
    services = installed.services
    return Seen(source=await look_at_source(services, context, dev), target=await look_at_target(services, context, staging))


def timed(act: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and how many seconds it took."""
    began = time.perf_counter()
    result = act()
    return result, time.perf_counter() - began


if __name__ == "__main__":
    show(measure(), "promotions")
