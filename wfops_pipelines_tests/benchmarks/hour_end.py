"""What has to hold when the real hour is over: nothing is stuck, the chains are whole, nothing was leaked, memory is flat."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from wfops_pipelines_tests.benchmarks.hour_watch import LONG_LIVED, MB, UNENDED, Sample, Watched, sample
from wfops_pipelines_tests.benchmarks.rows import Row, row
from wfops_pipelines_tests.cli.fleet import CommandLine

WARM = 20.0  # minutes until memory has to be flat; in a shorter run, a third of it
FIRST = 10.0  # minutes whose largest figures bound those of the end
MAY_GROW, MAY_GROW_MB = 0.10, 20.0  # whichever is larger
MOST_SHARED_MB = 160  # by processes of PostgreSQL: 128 of cache (postgres/server.py), and its program

NAMED = "t.slug || '/' || e.slug"
OF_ENVIRONMENTS = "FROM environments e JOIN tenants t USING (tenant_id)"
STUCK = {
    "a lease held": f"SELECT {NAMED}, l.holder::text {OF_ENVIRONMENTS} JOIN environment_leases l ON l.environment_id = e.id "
                    "WHERE l.released_at IS NULL",
    "an operation not ended": "SELECT t.slug, o.kind, o.state, o.id::text, o.created_at::text, o.run_id FROM operations o JOIN tenants t USING (tenant_id) "
                              "WHERE o.state IN ('queued', 'running')",
    "a promotion not ended": "SELECT t.slug, p.number, p.status, p.reason FROM promotions p JOIN tenants t USING (tenant_id) "
                             "WHERE p.status IN ('pending', 'approved', 'running')",
    "a write not settled": f"SELECT {NAMED}, j.action, j.state, j.name, j.error, j.operation_id::text {OF_ENVIRONMENTS} "
                           "JOIN runtime_journal j ON j.environment_id = e.id "
                           "WHERE j.state IN ('intended', 'done') OR (j.state = 'failed' AND e.writes_blocked_at IS NULL)",
    "writes blocked without an incident": f"SELECT {NAMED}, e.writes_blocked_reason {OF_ENVIRONMENTS} WHERE e.writes_blocked_at IS NOT NULL "
                                          "AND NOT EXISTS (SELECT FROM drift_incidents i WHERE i.environment_id = e.id "
                                          "AND i.status NOT IN ('closed', 'cancelled'))",
    "a check overdue": f"SELECT {NAMED}, e.last_drift_check_at::text, e.drift_status, e.drift_error, c.state, c.probe_at::text {OF_ENVIRONMENTS} "
                       "LEFT JOIN instance_circuits c ON c.environment_id = e.id WHERE e.class <> 'dev' "
                       "AND (e.last_drift_check_at IS NULL OR e.last_drift_check_at < now() - 3 * interval '{interval} seconds')",
    "a check that ended in an error": f"SELECT {NAMED}, e.drift_status, e.drift_reason, e.drift_error {OF_ENVIRONMENTS} "
                                      "WHERE e.class <> 'dev' AND e.drift_status IN ('ERROR', 'UNKNOWN')",
    "a sweep not ended": "SELECT kind, state, started_at::text FROM sweeps WHERE state = 'running' AND started_at < now() - interval '3 minutes'",
    "a webhook not launched": "SELECT t.slug, d.status, d.received_at::text FROM webhook_deliveries d JOIN tenants t USING (tenant_id) "
                              "WHERE d.status = 'received'",
    "a message not sent": "SELECT t.slug, b.event, b.status, b.attempts, b.last_error FROM outbox b JOIN tenants t USING (tenant_id) "
                          "WHERE b.status = 'dead' OR (b.status = 'pending' AND b.created_at < now() - interval '5 minutes')",
    "a circuit open": f"SELECT {NAMED}, c.state, c.probe_at::text, c.message {OF_ENVIRONMENTS} JOIN instance_circuits c ON c.environment_id = e.id "
                      "WHERE c.state <> 'closed'",
}
COUNTED: dict[str, Callable[[Sample], int]] = {
    "processes": lambda one: sum(one["counts"].values()),
    "connections to PostgreSQL": lambda one: sum(one["connections"].values()),
    "temporary files": lambda one: int(one["temporary_files"]),
    "open files": lambda one: sum(each["files"] for each in one["processes"].values()),
    "threads": lambda one: sum(each["threads"] for each in one["processes"].values()),
}


def stuck(watched: Watched, interval: float) -> dict[str, list[list[str]]]:
    """What is stuck, by what it is."""
    found = {name: watched.ask("store", query.replace("{interval}", f"{interval:g}")) for name, query in STUCK.items()}
    return {name: [[str(value) for value in each] for each in rows] for name, rows in found.items() if rows}


def unended_runs(watched: Watched, older: float = 0.0) -> list[list[str]]:
    """Runs of Dagster that have not ended, begun so many seconds ago or earlier."""
    rows = watched.ask("dagster", "SELECT run_id, status, pipeline_name, create_timestamp::text FROM runs WHERE status = ANY(%s) "
                                  "AND create_timestamp < (now() AT TIME ZONE 'utc') - make_interval(secs => %s)", list(UNENDED), older)
    return [[str(value) for value in each] for each in rows]


def wait_until_quiet(watched: Watched, interval: float, patience: float) -> tuple[float, dict[str, list[list[str]]]]:
    """Seconds until nothing is on the way any more, or the patience is over, and what is stuck then. Sweeps go on by schedule:
    what one of them holds at a moment is not stuck."""
    began = time.monotonic()
    while True:
        found = stuck(watched, interval)
        if (not found and not unended_runs(watched)) or time.monotonic() > began + patience:
            return time.monotonic() - began, found
        time.sleep(2)


def quiet_sample(watched: Watched, began: float, patience: float = 120.0) -> Sample:
    """How the processes are between two runs: each that is at work has pipes and connections in the others. The last look
    where there is always one."""
    deadline = time.monotonic() + patience
    while True:
        one = sample(watched, began)
        if not {"worker", "submitter"} & set(one["counts"]) or time.monotonic() > deadline:
            return one
        time.sleep(0.5)


def broken_chains(wfops: CommandLine) -> tuple[int, Any]:
    """How many tenants' audit chains do not hold, and what the command says of them."""
    done = wfops("audit", "verify", "--json")
    try:
        said = done.json
    except ValueError:
        return 1, {"code": done.code, "err": done.err[-2000:]}
    tenants = said.get("tenants", [])
    return sum(not each["ok"] for each in tenants) + (not said["ok"] and not tenants), {"code": done.code, "ok": said["ok"], "tenants": len(tenants)}


def growth_rows(samples: Sequence[Sample], quiet: Sample) -> list[Row]:
    """Memory (RSS: what a process has for itself seems less while a child of it shares it) from when it was warm to the end:
    medians of five samples. A process that was started anew has no growth that could be told. What PostgreSQL's processes
    share is its cache, which is filled by what is read until it is full, and its program: that has a bound, not a growth. What
    they have for themselves goes by how many there are, three megabytes a connection: quiet moments are compared."""
    warm = min(WARM, samples[-1]["minute"] / 3)
    rows = []
    for name in LONG_LIVED:
        first = samples[0]["processes"][name]["pid"]
        same = quiet["processes"].get(name, {}).get("pid") == first
        figures = [(each["minute"], each["processes"][name]["rss"]) for each in samples
                   if each["processes"].get(name, {}).get("pid") == first]
        rows += _growth(name, figures, warm, same=same)
    before = min(each["postgres"]["anon"] for each in samples if warm - 0.5 <= each["minute"] < warm + 10)
    own, shared = quiet["postgres"]["anon"], max(each["postgres"]["pss"] - each["postgres"]["anon"] for each in samples)
    return [*rows, row("PostgreSQL's processes, each by itself, memory at the quiet end", own, "MB"),
            row(f"PostgreSQL's processes, each by itself, growth from the quietest of the ten minutes from {warm:.0f} on", own - before,
                "MB", f"< {MAY_GROW_MB:.0f}", ok=own - before < MAY_GROW_MB),
            row("PostgreSQL, what its processes share, at most", shared, "MB", f"< {MOST_SHARED_MB}", ok=shared < MOST_SHARED_MB)]


def _growth(name: str, figures: Sequence[tuple[float, float]], warm: float, *, same: bool) -> list[Row]:
    before = statistics.median([value for minute, value in figures if minute >= warm - 0.5][:5])
    after = statistics.median([value for _, value in figures][-5:])
    bound = max(MAY_GROW_MB, MAY_GROW * before)
    grown = row(f"{name}, growth from minute {warm:.0f} to the end", after - before, "MB", f"< {bound:.0f}",
                ok=same and after - before < bound)
    lately = after - statistics.median([value for minute, value in figures if minute >= figures[-1][0] - 12.5][:5])
    return [row(f"{name}, memory at the end", after, "MB"), grown if same else {**grown, "name": f"{name} was started anew"},
            row(f"{name}, of it in the last ten minutes", lately, "MB")]


def leak_rows(samples: Sequence[Sample], quiet: Sample) -> list[Row]:
    """The quiet end against the largest figures of the first minutes."""
    first = [each for each in samples if each["minute"] <= FIRST]
    rows = []
    for name, read in COUNTED.items():
        bound = max(map(read, first))
        rows.append(row(f"{name} at the quiet end", read(quiet), "", f"<= {bound}, as in the first {FIRST:.0f} minutes", ok=read(quiet) <= bound))
    storage = quiet["dagster_storage"]
    rows.append(row("Dagster's files at the end", storage["files"], ""))
    rows.append(row("Dagster's files at the end, size", storage["bytes"] / MB, "MB"))
    return rows

