"""How much more memory a first sync of 10,000 workflows takes than one of 1,000 (§6: flat in their number).

Each sync is a process of its own, so that peaks do not mix; the sandbox that holds the workflows is another.

``python -m wfops_pipelines_tests.benchmarks.sync_memory`` prints the rows.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wfops_pipelines.n8n.sandbox import create_sandbox
from wfops_pipelines.n8n.sandbox.generated import generate_workflow
from wfops_pipelines.n8n.sandbox.serve import serve
from wfops_pipelines.services.sync_environment import sync_environment
from wfops_pipelines_tests.benchmarks.first_sync import installation, tenant
from wfops_pipelines_tests.benchmarks.rows import Row, row, show
from wfops_pipelines_tests.servers.processes import child_environment

FEW, MANY = 1_000, 10_000
GOAL = 50.0  # MB
_MODULE = "wfops_pipelines_tests.benchmarks.sync_memory"
_DIFFERENT = 500  # workflows that are made; the others are these under other names


def measure() -> list[Row]:
    """Rows: the growth that is asked for, and the peaks it stands on."""
    few, many = peak(FEW), peak(MANY)
    return [
        row(f"peak memory of a first sync, {MANY:,} workflows more than {FEW:,}", many - few, "MB", f"< {GOAL:.0f}",
            ok=many - few < GOAL),
        row(f"peak memory of a first sync of {FEW:,} workflows", few, "MB"),
        row(f"peak memory of a first sync of {MANY:,} workflows", many, "MB"),
    ]


def peak(count: int) -> float:
    """Megabytes (10^6 bytes) that a process which syncs so many workflows has in memory at most."""
    with _child("host", str(count)) as host:
        assert host.stdout is not None
        url = host.stdout.readline().strip()
        with _child("sync", url, str(count)) as child:
            assert child.stdout is not None
            answer: dict[str, Any] = json.loads(child.stdout.readline())
    return float(answer["peak"]) / 1e6


@contextmanager
def _child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """This module as a process, until it is no longer needed."""
    process = subprocess.Popen([sys.executable, "-m", _MODULE, *arguments], stdin=subprocess.PIPE, text=True,
                               stdout=subprocess.PIPE, env=child_environment())
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()  # its leash
        process.wait(120)


def host(count: int) -> None:
    """A sandbox with so many workflows; prints its URL and serves until the standard input ends."""
    rng = random.Random(7)
    made = [generate_workflow(rng) for _ in range(_DIFFERENT)]
    sandbox = create_sandbox(rng=rng, api_key="benchmark")
    sandbox.state.seed_workflows({**made[n % _DIFFERENT], "name": f"{made[n % _DIFFERENT]['name']} {n}"} for n in range(count))
    with serve(sandbox) as url:
        print(url, flush=True)
        sys.stdin.read()


def sync(url: str, count: int) -> None:
    """A first sync; prints this process's peak."""
    with tempfile.TemporaryDirectory() as directory, installation(Path(directory)) as installed:
        context = tenant(installed, "acme", url, "benchmark")
        environment = installed.services.environment(context, "dev")
        result = asyncio.run(sync_environment(installed.services, context, environment))
        assert result.created == count
    scale = 1 if sys.platform == "darwin" else 1024
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["host"]:
        host(int(sys.argv[2]))
    elif sys.argv[1:2] == ["sync"]:
        sync(sys.argv[2], int(sys.argv[3]))
    else:
        show(measure(), "sync_memory")
