"""What the real hour is measured by: the processes of a home, its PostgreSQL, its files, and Dagster's runs, once a minute."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines_tests.servers.system import processes_of

Sample = dict[str, Any]
MB = 1_000_000
LONG_LIVED = {"code server": "run/code.sock", "daemon": "dagster._daemon", "webserver": "dagster_webserver",
              "receiver": "wfops_pipelines.api", "keeper": "wfops_pipelines.embedded.keeper", "up": "import run_up"}
OTHERS = {"leash": "leash.py", "worker": "multiprocessing.spawn", "tracker": "multiprocessing.resource_tracker",
          "submitter": "dagster job launch", "submitter's code server": "dagster api grpc"}  # of commands with --detach
_MEMORY = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)
UNENDED = ("NOT_STARTED", "QUEUED", "STARTING", "STARTED", "CANCELING")


@dataclass
class Watched:
    """A running home, and where what belongs to it is found."""

    home: Path
    temporary: Path
    admin_url: str
    databases: dict[str, str]  # store, dagster: names

    def ask(self, database: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, as the superuser; ``database`` is ``store`` or ``dagster``."""
        address = psycopg.conninfo.make_conninfo(self.admin_url, dbname=self.databases[database])
        with psycopg.connect(address) as connection:
            return connection.execute(query.encode(), values).fetchall()


def role_of(process: psutil.Process) -> str:
    """What a process of a home is there for."""
    words = " ".join(process.cmdline())
    if "leash.py" in words:
        return "leash"
    return next((role for role, known in (LONG_LIVED | OTHERS).items() if known in words), f"other: {words[:120]}")


def workers_of(watched: Watched) -> list[psutil.Process]:
    """The run workers, which live for one run."""
    found = []
    for process in processes_of(watched.home):
        with suppress(psutil.Error):
            if role_of(process) == "worker":
                found.append(process)
    return found


def sample(watched: Watched, began: float) -> Sample:
    """One minute's figures. Memory in MB: ``uss`` is what would be free if the process ended."""
    processes: dict[str, dict[str, Any]] = {}
    counts: dict[str, int] = {}
    for process in processes_of(watched.home):
        with suppress(psutil.Error):
            role = role_of(process)
            counts[role] = counts.get(role, 0) + 1
            if role in LONG_LIVED:
                processes[role] = _process(process)
    files = _files(watched.temporary)
    store = _files(watched.home / "dagster" / "storage")
    return {
        "minute": round((time.monotonic() - began) / 60, 2), "at": time.strftime("%H:%M:%S"), "load": os.getloadavg()[0],
        "processes": processes, "counts": counts, "postgres": _postgres(watched), "connections": connections(watched),
        "temporary_files": len(files), "temporary": [str(path) for path in files[:20]],
        "dagster_storage": {"files": len(store), "bytes": sum(_size(path) for path in store)},
        "home_files": {folder.name: len(_files(folder)) for folder in sorted(watched.home.iterdir()) if folder.is_dir()},
        "database_mb": {name: round(watched.ask(name, "SELECT pg_database_size(current_database())")[0][0] / MB, 1)
                        for name in watched.databases},
        "runs": dict(watched.ask("dagster", "SELECT status, count(*) FROM runs GROUP BY 1 ORDER BY 1")),
    }


def connections(watched: Watched) -> dict[str, int]:
    """By database; those that look are not counted."""
    names = {name: kind for kind, name in watched.databases.items()}
    found = watched.ask("store", "SELECT datname, count(*) FROM pg_stat_activity WHERE datname IS NOT NULL AND pid <> pg_backend_pid() GROUP BY 1")
    return {names.get(name, name): count for name, count in found}


def temporary_files(watched: Watched) -> list[Path]:
    """What the home's processes have left in their ``TMPDIR``."""
    return _files(watched.temporary)


def postgres_processes(home: Path) -> list[psutil.Process]:
    """The server's first process and those of its connections."""
    pid = EmbeddedPostgres(home).status().pid
    if pid is None:
        return []
    with suppress(psutil.Error):
        server = psutil.Process(pid)
        return [server, *server.children(recursive=True)]
    return []


def _process(process: psutil.Process) -> dict[str, Any]:
    memory = process.memory_full_info()
    return {"pid": process.pid, "uss": round(memory.uss / MB, 1), "pss": round(memory.pss / MB, 1), "rss": round(memory.rss / MB, 1),
            "files": process.num_fds(), "threads": process.num_threads(), "cpu": round(sum(process.cpu_times()[:2]), 1)}


def _postgres(watched: Watched) -> dict[str, Any]:
    """All of it in MB, what is shared counted once: what processes have for themselves (``anon``: a page of the cache that only
    one of them has looked at is none of these), the cache and what else they share (``shmem``), and the program (``file``)."""
    total = {"processes": 0, "pss": 0.0, "anon": 0.0, "shmem": 0.0, "file": 0.0}
    for process in postgres_processes(watched.home):
        with suppress(OSError):  # it ended
            said = dict(_MEMORY.findall(Path(f"/proc/{process.pid}/smaps_rollup").read_text()))
            total["processes"] += 1
            for name, key in (("pss", "Pss"), ("anon", "Pss_Anon"), ("shmem", "Pss_Shmem"), ("file", "Pss_File")):
                total[name] += int(said[key]) * 1024 / MB
    return {name: round(value, 1) for name, value in total.items()}


def _files(folder: Path) -> list[Path]:
    return sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        yield from (Path(where, name) for name in names)
        if not folders and not names and where != str(folder):
            yield Path(where)  # an empty folder is left, too


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0
