"""Hash throughput per core, next to ``json.dumps(sort_keys=True)`` and SHA-256 of the same documents, parsed already.

``python -m wfops_pipelines_tests.benchmarks.hash_throughput`` prints the rows.
"""

from __future__ import annotations

import gc
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from wfops_pipelines.domain.errors import MalformedWorkflow
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.references import portable_hash
from wfops_pipelines.domain.workflow import Content, digest, encode_content, parse_json, read_content

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
ROUNDS = 25


def measure() -> list[dict[str, Any]]:
    """Rows ``{name, value, unit, goal, ok}``: the ratio that is asked for, and what it stands on."""
    documents = corpus() or generated()
    plain, hashed, portable, stored = _interleaved(documents, [
        lambda content: hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        content_hash,
        lambda content: portable_hash(content, self_id="self", canonical_id_of={}, credential_key_of={}),
        lambda content: digest(encode_content(content)),
    ])
    ratio = round(hashed / plain, 3)
    return [
        {"name": "content hash, next to json.dumps + SHA-256", "value": ratio, "unit": "x", "goal": "<= 0.8 (goal 0.6)",
         "ok": ratio <= 0.8},
        _row("content hash", hashed), _row("portable hash", portable), _row("storage digest", stored),
        _row("json.dumps(sort_keys=True) + SHA-256", plain),
    ]


def corpus() -> list[Content]:
    """The real workflows beside the repository; none where they are absent."""
    contents = []
    for path in sorted(CORPUS.rglob("*.json")):
        try:
            contents.append(read_content(parse_json(path.read_bytes())))
        except MalformedWorkflow:
            continue
    return contents


def generated(count: int = 280) -> list[Content]:
    """Workflows of the corpus's sizes: a median of about 10 kB and 12 nodes, some ten times that."""
    random = Random(42)
    contents = []
    for number in range(count):
        names = [f"Node {index}" for index in range(max(2, round(random.lognormvariate(2.6, 0.7))))]
        nodes = [{
            "id": f"{random.getrandbits(128):032x}", "name": name, "type": "n8n-nodes-base.httpRequest",
            "typeVersion": 4.2, "position": [random.randrange(-90, 90) * 20, random.randrange(-90, 90) * 20],
            "parameters": {"url": "https://example.com/" + "x" * random.randrange(300), "options": {}, "body": {
                f"field{index}": "=" + "y" * random.randrange(120) for index in range(random.randrange(6))}},
            **({"credentials": {"httpBasicAuth": {"id": "1", "name": "shop"}}} if random.random() < 0.2 else {}),
        } for name in names]
        connections = {name: {"main": [[
            {"node": target, "type": "main", "index": 0} for target in random.sample(names, random.choice([1, 1, 1, 2]))
        ]]} for name in names[:-1]}
        contents.append({"name": f"Generated {number}", "nodes": nodes, "connections": connections,
                         "settings": {"executionOrder": "v1"}})
    return contents


def _interleaved(documents: list[Content], sides: list[Callable[[Content], str]]) -> list[float]:
    """Median microseconds a document, one round of each side after the other."""
    times: list[list[float]] = [[] for _ in sides]
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for taken, side in zip(times, sides, strict=True):
                start = time.perf_counter()
                for content in documents:
                    side(content)
                taken.append(time.perf_counter() - start)
    finally:
        gc.enable()
    return [statistics.median(taken) / len(documents) * 1e6 for taken in times]


def _row(name: str, microseconds: float) -> dict[str, Any]:
    return {"name": f"{name}, per workflow", "value": round(microseconds, 1), "unit": "µs", "goal": "", "ok": True}


if __name__ == "__main__":
    for row in measure():
        print(f"{row['name']:55} {row['value']:>8} {row['unit']:3} {row['goal']} {'ok' if row['ok'] else 'MISSED'}")
