"""Who holds a lease, and whether that process still lives.

On the same host, boot and pid are looked up: a killed process is noticed at once. From another host, or from a container
that shares the host's name and has pids of its own, only the heartbeat speaks.
"""

from __future__ import annotations

import os
import socket
import time
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import psutil

_STARTTIME = 19  # of what /proc/PID/stat tells after the name of the program, in ticks
_SAME = 0.5  # seconds


@cache
def boot_id() -> str:
    """One value per start of this machine."""
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.exists() else str(int(psutil.boot_time()))


@cache
def pid_namespace() -> str:
    """In which namespace pids of this process are meant: containers have their own. Empty where there are none."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def this_process() -> dict[str, Any]:
    """Host, boot, PID namespace, pid and start time of this process."""
    return {"host": socket.gethostname(), "boot": boot_id(), "namespace": pid_namespace(), "pid": os.getpid(),
            "began": began(psutil.Process())}


def began(process: psutil.Process) -> float:
    """When a process of this boot began, in a measure that the clock does not move: on Linux, seconds since the boot (what
    psutil calls its creation time is counted from a boot that a clock that is set moves, too)."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return process.create_time()  # gone, or no Linux
    return int(stat.rpartition(")")[2].split()[_STARTTIME]) / os.sysconf("SC_CLK_TCK")


def is_alive(holder: dict[str, Any], heartbeat_at: datetime, now: datetime, stale_after: float) -> bool:
    """Whether the holder of a lease still works. ``stale_after`` in seconds is for holders elsewhere, and for those
    that hang."""
    if (now - heartbeat_at).total_seconds() > stale_after:
        return False
    if holder.get("host") != socket.gethostname():
        return True
    if holder.get("boot") != boot_id():
        return False
    if holder.get("namespace", pid_namespace()) != pid_namespace():
        return True
    return lives(int(holder["pid"]), float(holder.get("began", 0.0)))


def lives(pid: int, began_at: float) -> bool:
    """Whether the process with this number, of this host, boot and namespace, is still the one that :func:`began` then."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(began(process) - began_at) < _SAME
    except psutil.NoSuchProcess:
        return False


def monotonic_ms() -> float:
    """Milliseconds for measuring durations."""
    return time.perf_counter() * 1000
