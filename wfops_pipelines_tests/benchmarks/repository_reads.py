"""What reading a repository costs (§7), over loopback, for plain Git over HTTP and for GitHub.

Requests and API calls are counted exactly; times are medians, next to git doing the same from its command line.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wfops_pipelines.git.open import open_repository
from wfops_pipelines.git.repository import Repository, RepositorySource
from wfops_pipelines_tests.servers.bare import BareRepository
from wfops_pipelines_tests.servers.github import GitHubServer

FILES, CHANGED, ROUNDS = 1000, 20, 5
_TOKEN = "benchmark"
Row = dict[str, Any]


def measure() -> list[Row]:
    """Rows ``{name, value, unit, goal, ok}``."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as directory, GitHubServer(Path(directory) / "hub", tokens={_TOKEN: "rw"}) as server:
        bare = server.make("acme/flows")
        bare.commit({f"dev/workflows/{number}.json": _content(number, 0) for number in range(FILES)})
        for provider in ("git", "github"):
            source = RepositorySource(f"{server.url}/acme/flows.git", provider=provider, secret=_TOKEN,
                                      api_url=server.api_url)
            repository = open_repository(source, cache=Path(directory) / provider)
            rows += _measure(provider, repository, server, bare)
            repository.close()
        rows.append(_row("git clone --bare of the same, for comparison", _timed(lambda: _clone(server, directory)), "ms"))
    return rows


def _measure(provider: str, repository: Repository, server: GitHubServer, bare: BareRepository) -> list[Row]:
    known: dict[str, bytes | None] = {}
    counted: dict[str, list[tuple[int, int, float]]] = {}

    def count(name: str, act: Callable[[], object]) -> None:
        server.git.requests.clear()
        server.exchanges.clear()
        started = time.perf_counter()
        act()
        counted.setdefault(name, []).append((len(server.exchanges), len(server.git.requests),
                                             (time.perf_counter() - started) * 1000))

    def sync() -> None:
        """What a repository sync does: the head, the tree, and the contents not seen before."""
        head = repository.head("main")
        assert head is not None
        new = {entry.blob for entry in repository.tree(head, "dev")} - known.keys()
        known.update(repository.read_blobs(head, new))
        assert head == bare.head()

    count("first", sync)
    assert len(known) >= FILES
    for number in range(ROUNDS):
        count("unchanged", lambda: repository.head("main"))
        bare.commit({f"dev/workflows/{file}.json": _content(file, f"{provider}{number}") for file in range(CHANGED)})
        before = len(known)
        count("changed", sync)
        assert len(known) == before + CHANGED

    def worst(name: str, part: int) -> int:
        return max(int(sample[part]) for sample in counted[name])

    def median(name: str) -> float:
        return statistics.median(sample[2] for sample in counted[name])

    changed = f"{provider}: {CHANGED} of {FILES} files changed"
    fetches = (worst("changed", 1) - (1 if provider == "git" else 0)) / 2  # a fetch is a GET and a POST, the head a POST
    return [
        _row(f"{provider}: unchanged repository, requests", worst("unchanged", 0) + worst("unchanged", 1), "requests", 1),
        _row(f"{provider}: unchanged repository, time", median("unchanged"), "ms"),
        _row(f"{changed}, fetches", fetches, "fetches", 1),
        _row(f"{changed}, API calls", worst("changed", 0), "calls", 25),
        _row(f"{changed}, time as a part of the first read's", median("changed") / median("first"), "ratio", 1),
        _row(f"{changed}, time", median("changed"), "ms"),
        _row(f"{provider}: first read of {FILES} files, time", median("first"), "ms"),
        _row(f"{provider}: first read of {FILES} files, requests", worst("first", 0) + worst("first", 1), "requests", 6),
    ]


def _row(name: str, value: float, unit: str, goal: float | None = None) -> Row:
    return {"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "ok": goal is None or value <= goal}


def _content(file: int, version: object) -> bytes:
    """Some 15 kB, the size of a typical workflow, that compress as one does."""
    node = '{"parameters": {"value": "%s"}, "name": "Node %d", "type": "n8n-nodes-base.set", "position": [%d, 0]}'
    nodes = ",\n".join(node % (hash((file, number)), number, file) for number in range(150))
    return f'{{"name": "Flow {file}", "version": "{version}", "nodes": [{nodes}]}}\n'.encode()


def _timed(act: Callable[[], object]) -> float:
    samples = []
    for _ in range(3):
        started = time.perf_counter()
        act()
        samples.append((time.perf_counter() - started) * 1000)
    return statistics.median(samples)


def _clone(server: GitHubServer, directory: str) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as target:
        url = f"{server.url}/acme/flows.git".replace("//", f"//x:{_TOKEN}@")
        subprocess.run(["git", "clone", "--quiet", "--bare", url, f"{target}/clone"], check=True)


if __name__ == "__main__":
    for row in measure():
        print(f"{'ok ' if row['ok'] else 'BAD'} {row['name']:60} {row['value']:10} {row['unit']:9} goal {row['goal']}")
