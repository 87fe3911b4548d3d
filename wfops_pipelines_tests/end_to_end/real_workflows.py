"""Workflows as people make them, for tests and benchmarks on real n8n servers: the corpus beside the repository, repeated
under other names, or generated ones where it is absent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from wfops_pipelines.domain.errors import MalformedWorkflow, Rejected
from wfops_pipelines.domain.workflow import parse_json, read_content
from wfops_pipelines.n8n.adapter import N8nProvider
from wfops_pipelines.n8n.provider import Connection
from wfops_pipelines.n8n.sandbox.generated import generate_workflow

JsonObject = dict[str, Any]
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
_WRITABLE = ("name", "nodes", "connections", "settings")
_LONGEST_NAME = 128  # of a workflow in n8n 2.x


def workflows() -> Iterator[JsonObject]:
    """Workflows without end, ``name, nodes, connections, settings`` each, no two with one name."""
    bodies = _corpus() or _generated()
    for number in count():
        body = bodies[number % len(bodies)]
        yield {**body, "name": f"{body['name'][:_LONGEST_NAME - 8]} #{number}"}


def _corpus() -> list[JsonObject]:
    found = []
    for path in sorted(CORPUS.rglob("*.json")):
        try:
            raw = parse_json(path.read_bytes())
            read_content(raw)
        except MalformedWorkflow:
            continue
        found.append({key: raw.get(key) or {} for key in _WRITABLE} | {"name": raw.get("name") or path.stem})
    return found


def _generated() -> list[JsonObject]:
    rng = random.Random(42)
    return [generate_workflow(rng) for _ in range(300)]


def seed(url: str, api_key: str, bodies: Iterator[JsonObject], wanted: int) -> list[JsonObject]:
    """Create ``wanted`` workflows through the API and return n8n's answers. Ones that this n8n refuses (dangling
    connections, names given twice) are left out."""
    return asyncio.run(_seed(N8nProvider(Connection(url, api_key)), bodies, wanted))


async def _seed(provider: N8nProvider, bodies: Iterator[JsonObject], wanted: int) -> list[JsonObject]:
    created: list[JsonObject] = []

    async def one(body: JsonObject) -> JsonObject | None:
        try:
            return await provider.create_workflow(body)
        except Rejected:
            return None

    try:
        while len(created) < wanted:
            answers = await asyncio.gather(*map(one, islice(bodies, min(40, wanted - len(created)))))
            created += [answer for answer in answers if answer is not None]
    finally:
        await provider.aclose()
    return created
