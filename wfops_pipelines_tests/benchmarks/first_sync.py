"""The first sync of 1,000 workflows from a real n8n 2.x, next to downloading the same pages (issue: speed and memory).

Everything in one process after start-up, rounds interleaved, medians. Each first sync is one into a fresh tenant. The
download is a bare ``httpx`` client in a loop: it does nothing with a page but look for the cursor of the next. Both ask
for uncompressed pages, which is the faster way on one machine (``httpx`` by itself asks for compressed ones).

A machine that is busy with other things shows ratios that are too high: the sync, PostgreSQL and n8n want two cores.

``python -m wfops_pipelines_tests.benchmarks.first_sync`` prints the rows.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from wfops_pipelines.bootstrap import Installation, open_installation
from wfops_pipelines.domain.context import Context
from wfops_pipelines.embedded.n8n_server import N8nServer, default_cache, find_install
from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines.services.environment_sync import EnvironmentSync
from wfops_pipelines.services.sync_environment import sync_environment
from wfops_pipelines.settings import Settings
from wfops_pipelines_tests.benchmarks.rows import Row, Skipped, row, show
from wfops_pipelines_tests.end_to_end.real_workflows import seed, workflows

WORKFLOWS, ROUNDS = 1000, 7
VERSION = "2.41.1"


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds on the clock, and of this process's CPU."""

    wall: float
    cpu: float


def measure() -> list[Row]:
    """Rows of ratios and of what they stand on; :class:`Skipped` where no n8n is installed."""
    n8n = find_install(VERSION, default_cache())
    if n8n is None:
        raise Skipped(f"n8n {VERSION} is not installed: python -m wfops_pipelines.embedded.n8n_server install {VERSION}")
    with tempfile.TemporaryDirectory() as directory, N8nServer.start(n8n, Path(directory) / "n8n") as server:
        made = seed(server.url, server.api_key, workflows(), WORKFLOWS)
        assert len(made) == WORKFLOWS
        with installation(Path(directory) / "home") as installed:
            return measured(installed, server.url, server.api_key)


@contextmanager
def installation(home: Path) -> Iterator[Installation]:
    """An installation with an embedded PostgreSQL of its own in its default settings, deleted in the end."""
    try:
        with open_installation(Settings(home=home, database_url=None)) as opened:
            yield opened
    finally:
        EmbeddedPostgres(home).destroy()


def measured(installed: Installation, url: str, key: str, rounds: int = ROUNDS) -> list[Row]:
    """The rows, given an n8n that holds the workflows."""
    samples: dict[str, list[Sample]] = {"download": [], "first": [], "again": [], "compressed": []}
    for number in range(rounds + 1):  # the first round warms up: code, caches, connections
        context = tenant(installed, f"round-{number}", url, key)
        environment = installed.services.environment(context, "dev")

        def sync(context: Context = context, environment: Any = environment) -> Coroutine[Any, Any, EnvironmentSync]:
            return sync_environment(installed.services, context, environment)

        taken = {"download": timed(lambda: download(url, key)), "first": timed(sync), "again": timed(sync),
                 "compressed": timed(lambda: download(url, key, "gzip, deflate"))}
        assert taken["download"][1] == taken["compressed"][1] == WORKFLOWS
        assert (taken["first"][1].created, taken["again"][1].unchanged) == (WORKFLOWS, WORKFLOWS)
        for name, (sample, _) in taken.items():
            if number:
                samples[name].append(sample)
    wall = {name: statistics.median(s.wall for s in taken) for name, taken in samples.items()}
    cpu = {name: statistics.median(s.cpu for s in taken) for name, taken in samples.items()}
    first, again = wall["first"] / wall["download"], wall["again"] / wall["download"]
    ours = cpu["first"] / WORKFLOWS * 1000
    return [
        row("first sync, next to a bare download of the same pages", first, "x", "<= 1.5 (goal 1.3)", ok=first <= 1.5),
        row("unchanged re-sync, next to a bare download", again, "x", "<= 1.1", ok=again <= 1.1),
        row("first sync, CPU of this process per workflow", ours, "ms", "<= 1.5", ok=ours <= 1.5),
        row("unchanged re-sync, CPU of this process per workflow", cpu["again"] / WORKFLOWS * 1000, "ms"),
        row("bare download, CPU of this process per workflow", cpu["download"] / WORKFLOWS * 1000, "ms"),
        row("bare download of 1,000 workflows", wall["download"], "s"),
        row("bare download of 1,000 workflows as httpx asks for them (gzip)", wall["compressed"], "s"),
        row("first sync of 1,000 workflows", wall["first"], "s"),
        row("unchanged re-sync of 1,000 workflows", wall["again"], "s"),
    ]


def tenant(installed: Installation, slug: str, url: str, key: str) -> Context:
    """A new tenant with one environment, ``dev``."""
    services = installed.services
    context = Context(services.new_id(), slug, "benchmark", services.now, services.new_id)
    with services.store.unit_of_work(context, "benchmark.tenant") as work:
        work.fleet.save_tenant(slug=slug, name=slug)
        work.fleet.save_secret("environment/dev/api_key", key)
        work.fleet.save_environment(id=services.new_id(), slug="dev", name="dev", **{"class": "dev"}, base_url=url,
                                    api_key_secret="environment/dev/api_key")
        work.record("tenant.created", "tenant", slug)
    return context


async def download(url: str, key: str, encoding: str = "identity") -> int:
    """All pages with a bare client; returns how many workflows they hold."""
    count, cursor = 0, None
    headers = {"x-n8n-api-key": key, "accept-encoding": encoding}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
        while True:
            answer = await http.get("/api/v1/workflows", params={"limit": 250} | ({"cursor": cursor} if cursor else {}))
            page = orjson.loads(answer.content)
            count, cursor = count + len(page["data"]), page["nextCursor"]
            if cursor is None:
                return count


def timed(act: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Sample, Any]:
    """Run it in an event loop of its own."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    result = asyncio.run(act())
    return Sample(time.perf_counter() - wall, time.process_time() - cpu), result


if __name__ == "__main__":
    show(measure(), "first_sync")
