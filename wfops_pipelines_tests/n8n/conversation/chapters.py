"""The whole conversation, and how it is recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx

from wfops_pipelines_tests.n8n.conversation import living, writing
from wfops_pipelines_tests.n8n.conversation.talk import Conversation, Json

CHAPTERS = (writing.doors, writing.bodies, writing.structure, writing.life, writing.numbers, living.activation, living.tags,
            living.listing, living.credentials, living.nodes, living.runs, living.others)
#: What real servers answered, by generation.
RECORDINGS = {2: Path(__file__).parent / "n8n-2.41.1.json", 1: Path(__file__).parent / "n8n-1.123.81.json"}


def chapters(http: httpx.Client, key: str, generation: int) -> Iterator[tuple[str, list[dict[str, Json]]]]:
    """Hold the whole conversation; after each chapter every workflow is deleted."""
    for chapter in CHAPTERS:
        c = Conversation(http, key, generation)
        chapter(c)
        yield chapter.__name__, c.transcript()
        headers = {"x-n8n-api-key": key}
        for row in http.get("/api/v1/workflows", params={"limit": 250}, headers=headers).json()["data"]:
            c.remove(row["id"])


def recorded(generation: int) -> dict[str, list[dict[str, Json]]]:
    """A real server's side, by chapter."""
    answers: dict[str, list[dict[str, Json]]] = json.loads(RECORDINGS[generation].read_text(encoding="utf-8"))
    return answers


def record(url: str, key: str, generation: int, file: Path) -> None:
    """Write a server's side of the conversation, an answer a line."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
        answers = dict(chapters(http, key, generation))
    blocks = [f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(answer, sort_keys=True) for answer in chapter) + "\n]"
              for name, chapter in answers.items()]
    file.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")
