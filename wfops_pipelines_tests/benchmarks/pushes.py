"""Pushes (issue: fleet scale), with the real daemon: from the answer to the webhook to the start of the run, and from the push
to the updated drift status. One environment, a repository on a GitHub of this machine, pushes one after the other.

Also how long the receiver takes to answer, alone and a hundred at once, and what a delivery costs it.

``python -m wfops_pipelines_tests.benchmarks.pushes`` prints the rows. A busy machine shows times that are too long.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wfops_pipelines_tests.benchmarks.rows import Row, row, show
from wfops_pipelines_tests.end_to_end.pushed_system import PushedSystem, pushed_system
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.servers.system import program

PUSHES, BURST = 20, 100
PATIENCE = 600.0  # seconds, on a machine that has other things to do
GOAL_START, GOAL_STATUS, GOAL_ANSWER = 5.0, 10.0, 1.0  # seconds


def measure() -> list[Row]:
    """Rows: p95 of each way, and the burst."""
    with tempfile.TemporaryDirectory() as directory, pushed_system(Path(directory)) as system:
        answers, starts, statuses = zip(*(_one(system, number) for number in range(PUSHES)), strict=True)
        return [
            _p95("answer to a webhook", answers, GOAL_ANSWER),
            _p95("answer to start of the run", starts, GOAL_START),
            _p95("push to updated drift status", statuses, GOAL_STATUS),
            *_burst(system),
        ]


def _p95(name: str, seconds: Sequence[float], goal: float) -> Row:
    value = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    print(f"{name}: {', '.join(f'{each:.2f}' for each in seconds)}")
    return row(f"{name}, p95 of {len(seconds)}", value, "s", f"< {goal:g}", ok=value < goal)


def _one(system: PushedSystem, number: int) -> tuple[float, float, float]:
    """Seconds to the answer, from it to the run's start, and from the push to the status."""
    known = {run["runId"] for run in system.runs()}
    before, after, path = system.push(f"push {number}")
    pushed = time.time()
    response = system.deliver(before, after, path)
    answered = time.time()
    assert response.status_code == 202, response.text
    eventually(lambda: system.read_at(after), within=PATIENCE)
    updated = time.time()
    eventually(lambda: all(run["status"] == "SUCCESS" for run in system.runs()), within=PATIENCE)
    started = [float(run["startTime"]) for run in system.runs() if run["runId"] not in known]
    assert len(started) == 1
    return answered - pushed, max(0.0, started[0] - answered), updated - pushed


def _burst(system: PushedSystem) -> list[Row]:
    """A hundred at once, of one environment."""
    known = {run["runId"] for run in system.runs()}
    before, after, path = system.push("the last of many")
    receiver = program(system.child.home, "wfops_pipelines.api")
    used = sum(receiver.cpu_times()[:2])

    def deliver(number: int) -> float:
        began = time.time()
        response = system.deliver(before, after if number == 0 else f"{number:040x}", path)
        assert response.status_code == 202, response.text
        return time.time() - began

    with ThreadPoolExecutor(BURST) as pool:
        answers = list(pool.map(deliver, range(BURST)))
    spent = (sum(receiver.cpu_times()[:2]) - used) / BURST * 1000
    eventually(lambda: system.read_at(after), within=PATIENCE)
    eventually(lambda: all(run["status"] == "SUCCESS" for run in system.runs()), within=PATIENCE)
    runs = len([run for run in system.runs() if run["runId"] not in known])
    return [row(f"{BURST} deliveries at once, the slowest answer", max(answers), "s"),
            row(f"{BURST} deliveries at once, runs", runs, "", "<= 3", ok=runs <= 3),
            row("CPU of the receiver per delivery", spent, "ms")]


if __name__ == "__main__":
    show(measure(), "pushes")
