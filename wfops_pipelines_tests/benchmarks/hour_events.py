"""What happens in the real hour: what people do, and what goes wrong, by chance from a seed. The order of events is the
seed's; how they meet is the machine's."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import psycopg

from wfops_pipelines_tests.benchmarks.hour_fleet import Tenant
from wfops_pipelines_tests.benchmarks.hour_watch import Watched, workers_of
from wfops_pipelines_tests.cli.fleet import CommandLine, Done, workflow
from wfops_pipelines_tests.servers.forks import start_forked

AT_ONCE = 3  # events under way, at most
TOLD = {0, 1, 2, 3, 4, 5, 6, 7, 8}  # exit codes that a command may end with
WEIGHTS = {"edit": 30, "push": 14, "export": 8, "promote": 12, "incident": 12, "pause": 3, "apply": 4, "snapshot": 3, "sync": 3,
           "drift": 4, "look": 8}
FAULTS = {"n8n": 12, "worker_killed": 4, "backend_ended": 4, "ctrl_c": 5, "command_killed": 2}
N8N_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "reset"}, {"kind": "status", "status": 503}, {"kind": "status", "status": 502, "html": True},
    {"kind": "latency", "ms": 90_000}, {"kind": "latency", "ms": 3_000}, {"kind": "refuse"}, {"kind": "cut"},
    {"kind": "late_reset", "method": "PUT"}, {"kind": "late_reset", "method": "POST"}, {"kind": "rate_limit", "retry_after": 2},
    {"kind": "reset", "method": "PUT", "after": 1}, {"kind": "wrong_json"},
    {"kind": "drip"}, {"kind": "endless", "method": "GET", "path": "/workflows$"})
FOUND = (("ack", "--reason", "seen"), ("ack", "--reason", "seen"), ("close", "--reason", "done"))
SEEN = (("close", "--reason", "done"), ("stabilize", "--reason", "no harm"), ("reconcile", "--resolution", "revert", "--yes"),
        ("reconcile", "--resolution", "promote", "--yes"), ("reconcile", "--resolution", "revert", "--yes", "--detach"),
        ("reconcile", "--resolution", "acknowledge", "--reason", "it stays", "--yes"))


@dataclass
class Events:
    """Counts of what was done and how it ended, and what nobody would have expected."""

    tenants: list[Tenant]
    wfops: CommandLine
    watched: Watched
    ui: str
    api: str
    rng: random.Random
    done: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: Counter[str] = field(default_factory=Counter)
    surprises: list[dict[str, Any]] = field(default_factory=list)
    later: list[tuple[float, str, Callable[[], None]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def go_on(self, seconds: float, *, pause: float, fault_pause: float, each: Callable[[], None]) -> None:
        """For so long; ``pause`` and ``fault_pause`` are mean seconds between events. ``each`` is called ten times a second."""
        end = time.monotonic() + seconds
        action = fault = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            running: set[Future[None]] = set()
            while time.monotonic() < end:
                each()
                now = time.monotonic()
                running = {future for future in running if not future.done()}
                if now >= action and len(running) < AT_ONCE:
                    action = now + self.rng.expovariate(1 / pause)
                    running.add(self._begin(pool, self._chosen(WEIGHTS)))
                if now >= fault and len(running) < AT_ONCE:
                    fault = now + self.rng.expovariate(1 / fault_pause)
                    running.add(self._begin(pool, f"fault_{self._chosen(FAULTS)}"))
                self._what_is_due(now)
                time.sleep(0.1)

    def quieten(self) -> None:
        """No more faults, and nobody's work is at rest."""
        for tenant in self.tenants:
            for n8n in tenant.n8n.values():
                n8n.recover()
        self.later.clear()
        for tenant in self.tenants:
            self.command("resume", tenant.slug)

    def command(self, *arguments: str, name: str = "") -> Done:
        """A command of somebody, written down by how it ended."""
        done = self.wfops(*arguments)
        self.note(name or arguments[0], done, arguments)
        return done

    def note(self, name: str, done: Done, arguments: tuple[str, ...]) -> None:
        """Write down how a command ended; one that failed by a fault of its own is a surprise."""
        surprising = done.code not in TOLD or "Traceback" in done.err + done.out or "bug" in done.err or done.code == 1
        with self._lock:
            self.done[name][str(done.code)] += 1
            if surprising and len(self.surprises) < 200:
                self.surprises.append({"at": time.strftime("%H:%M:%S"), "command": list(arguments), "code": done.code,
                                       "out": done.out[-600:], "err": done.err[-1500:]})

    def _chosen(self, weights: dict[str, int]) -> str:
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def _begin(self, pool: ThreadPoolExecutor, name: str) -> Future[None]:
        """Each event has chance of its own, so that threads do not change the order of what is drawn."""
        return pool.submit(self._do, name, random.Random(self.rng.random()))

    def _do(self, name: str, rng: random.Random) -> None:
        try:
            getattr(self, f"_{name}")(rng.choice(self.tenants), rng)
        except (httpx.HTTPError, OSError) as error:  # they, too, meet the n8n that fails
            with self._lock:
                self.done[name][f"met {type(error).__name__}"] += 1
        except Exception as error:  # the hour goes on, and tells of it
            with self._lock:
                self.surprises.append({"at": time.strftime("%H:%M:%S"), "event": name, "err": repr(error)[:1500]})

    def _after(self, seconds: float, name: str, work: Callable[[], None]) -> None:
        with self._lock:
            self.later.append((time.monotonic() + seconds, name, work))

    def _what_is_due(self, now: float) -> None:
        with self._lock:
            due = [each for each in self.later if each[0] <= now]
            self.later = [each for each in self.later if each[0] > now]
        for _, _, work in due:
            with suppress(httpx.HTTPError):
                work()

    # -- people --------------------------------------------------------------------------------------------------------

    def _edit(self, tenant: Tenant, rng: random.Random) -> None:
        n8n = tenant.n8n[rng.choices(("dev", "staging", "prod"), (6, 1, 2))[0]]
        found = rng.choice(n8n.workflows())
        how = rng.choices(("parameters", "name", "switch", "create", "delete"), (12, 2, 4, 1, 1))[0]
        if how == "create":
            n8n.create(workflow(f"New {rng.randrange(10**6)}"))
        elif how == "delete" and found["name"].startswith("New"):
            n8n.delete(found)
        elif how == "switch":
            n8n.switch(found)
        else:
            if how == "name":
                found["name"] = f"{found['name'].split(' (')[0]} ({rng.randrange(1000)})"
            rng.choice(found["nodes"])["parameters"]["note"] = f"edited {rng.random()}"
            n8n.save(found)
        with self._lock:
            self.done["edit"][n8n.slug] += 1

    def _push(self, tenant: Tenant, rng: random.Random) -> None:
        if rng.random() < 0.3:
            tenant = rng.choice([each for each in self.tenants if each.api_url is not None])
        pushed = tenant.push(rng)
        told = "no file"
        if pushed is not None:
            told = "poll"
            if tenant.api_url is not None and rng.random() < 0.8:
                told = f"webhook {tenant.deliver(self.api, *pushed)}"
        with self._lock:
            self.done["push"][told] += 1

    def _export(self, tenant: Tenant, rng: random.Random) -> None:
        slug = rng.choice(("dev", "dev", "staging", "prod"))
        self.command("export", tenant.slug, slug, *(["--detach"] if rng.random() < 0.3 else []), "--json")

    def _promote(self, tenant: Tenant, rng: random.Random) -> None:
        source, target = rng.choice((("dev", "staging"), ("staging", "prod")))
        options = rng.choice(([], [], ["--detach"], ["--dry-run"]))
        one = rng.choice(tenant.n8n[source].workflows())
        if source == "dev":  # so that there is something to promote
            rng.choice(one["nodes"])["parameters"]["note"] = f"for the next stage {rng.random()}"
            tenant.n8n[source].save(one)
        done = self.command("promote", tenant.slug, "--from", source, "--to", target, "--workflow", one["id"], "--yes",
                            "--reason", "it is time", *options, "--json")
        if done.code in {0, 3} and not options and rng.random() < 0.5:
            listed = self.command("promotion", "list", tenant.slug, "--status", "completed", "--limit", "1", "--json")
            if listed.code == 0 and listed.json:
                self.command("rollback", listed.json[0]["name"], "--reason", "it was not", "--yes", "--json")

    def _incident(self, tenant: Tenant, rng: random.Random) -> None:
        listed = self.command("incident", "list", "--json", name="incident list")
        if listed.code != 0 or not listed.json:
            return
        one = rng.choice(listed.json)
        step = rng.choice(SEEN if one["status"] != "detected" else FOUND)
        self.command("incident", step[0], one["name"], *step[1:], "--json", name=f"incident {' '.join(step[:3:2])}")
        del tenant

    def _pause(self, tenant: Tenant, rng: random.Random) -> None:
        self.command("pause", tenant.slug, "--json")
        self._after(rng.uniform(20, 90), "resume", lambda: self.note("resume", self.wfops("resume", tenant.slug), ("resume",)))

    def _apply(self, tenant: Tenant, rng: random.Random) -> None:
        tenant.declare(rng)
        self.command("apply", "-f", str(tenant.document), "--json")

    def _snapshot(self, tenant: Tenant, rng: random.Random) -> None:
        self.command("snapshot", "create", tenant.slug, rng.choice(tuple(tenant.n8n)), "--json")

    def _sync(self, tenant: Tenant, rng: random.Random) -> None:
        self.command("sync", tenant.slug, *(["--detach"] if rng.random() < 0.3 else []), "--json")

    def _drift(self, tenant: Tenant, rng: random.Random) -> None:
        self.command("drift", tenant.slug, *(["--detach"] if rng.random() < 0.5 else []), "--json")

    def _look(self, tenant: Tenant, rng: random.Random) -> None:
        what = rng.choice(("matrix", "operation", "ui", "metrics"))
        if what == "matrix":
            self.command("matrix", tenant.slug, "--json")
        elif what == "operation":
            self.command("operation", "list", tenant.slug, "--json")
        else:
            answer = httpx.post(f"{self.ui}/graphql", timeout=30, json={
                "query": "{ runsOrError(limit: 25) { ... on Runs { results { runId status tags { key value } } } } }"}) \
                if what == "ui" else httpx.get(f"{self.api.removesuffix('/api/v1')}/metrics", timeout=30)
            with self._lock:
                self.done[f"look {what}"][str(answer.status_code)] += 1

    # -- faults --------------------------------------------------------------------------------------------------------

    def _fault_n8n(self, tenant: Tenant, rng: random.Random) -> None:
        n8n, fault = tenant.n8n[rng.choice(tuple(tenant.n8n))], rng.choice(N8N_FAULTS)
        n8n.fail(**fault)
        self._count(f"n8n {fault['kind']}")
        self._after(rng.uniform(10, 60), "recover", n8n.recover)

    def _fault_worker_killed(self, tenant: Tenant, rng: random.Random) -> None:
        workers = workers_of(self.watched)
        if workers:
            with suppress(psutil.NoSuchProcess):
                rng.choice(workers).kill()
                self._count("run worker killed")
        del tenant

    def _fault_backend_ended(self, tenant: Tenant, rng: random.Random) -> None:
        with psycopg.connect(self.watched.admin_url, autocommit=True) as admin:
            found = admin.execute("SELECT pid, datname FROM pg_stat_activity WHERE datname <> 'postgres' AND pid <> pg_backend_pid()")
            backends = sorted(found.fetchall())
            if backends:
                pid, database = rng.choice(backends)
                admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
                self._count(f"backend of {'Dagster' if 'dagster' in database else 'the store'} ended")
        del tenant

    def _fault_ctrl_c(self, tenant: Tenant, rng: random.Random) -> None:
        self._interrupted(tenant, rng, signal.SIGINT, "Ctrl-C")

    def _fault_command_killed(self, tenant: Tenant, rng: random.Random) -> None:
        self._interrupted(tenant, rng, signal.SIGKILL, "command killed")

    def _interrupted(self, tenant: Tenant, rng: random.Random, how: signal.Signals, name: str) -> None:
        command = rng.choice((("sync", tenant.slug), ("export", tenant.slug, "dev"), ("drift", tenant.slug), (
            "promote", tenant.slug, "--from", "dev", "--to", "staging", "--yes"), ("snapshot", "create", tenant.slug, "prod")))
        child = start_forked("wfops_pipelines.cli.main:main", *command, cwd=self.wfops.cwd, environment=self.wfops.environment())
        time.sleep(rng.uniform(0.1, 3))
        if child.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(child.pid, how)
        done = Done(child.wait(300), *child.communicate())
        self._count(name)
        if how == signal.SIGINT:
            self.note(name, done, command)
        else:
            with self._lock:
                self.done[name][str(done.code)] += 1

    def _count(self, fault: str) -> None:
        with self._lock:
            self.faults[fault] += 1
