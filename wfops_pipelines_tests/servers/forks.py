"""Python processes that start warm: a parent with the code already imported forks one for every call.

A fresh interpreter spends one to three seconds of a core on imports before it does what a test asks of it; a fork of a
warm one spends milliseconds. What is forked is a process of its own all the same: its own environment, directory, standard
streams, signals and exit code, and the interpreter's ordinary end. Tests about processes themselves (signals, terminals,
closed pipes, what a command imports) start fresh ones.

One parent per test process, started at the first call. It only imports, and holds no thread, connection or event loop that
a fork could break; it ends when the test process does.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import psutil

from wfops_pipelines.settings import process_settings
from wfops_pipelines_tests.servers.processes import child_environment

WARM = (
    "wfops_pipelines.cli.main", "wfops_pipelines.bootstrap", "wfops_pipelines.services.apply_fleet",
    "wfops_pipelines.services.send_notifications", "wfops_pipelines.services.deployment_batches",
    "wfops_pipelines.services.evaluate_alerts", "wfops_pipelines.services.promotion_due",
    "wfops_pipelines.services.push_dispatch", "wfops_pipelines.services.repository_poll",
    "wfops_pipelines.services.snapshot_sweep", "wfops_pipelines.defs.deployment.jobs", "wfops_pipelines.defs.drift.checks",
    "wfops_pipelines.defs.drift.jobs", "wfops_pipelines.defs.incidents.jobs", "wfops_pipelines.defs.inventory.assets",
    "wfops_pipelines.defs.inventory.jobs", "wfops_pipelines.defs.maintenance.dead_runs",
    "wfops_pipelines.defs.maintenance.resuming", "wfops_pipelines.defs.observability.assets",
    "wfops_pipelines.defs.promotion.jobs", "wfops_pipelines.defs.snapshots.restore", "wfops_pipelines.defs.storage",
    "wfops_pipelines.cli.deployments", "wfops_pipelines.cli.promotion_runs", "dagster_postgres", "dagster._grpc.client",
    "dagster._core.execution.execute_in_process", "dagster._core.instance.factory",
    "dagster._core.storage.local_compute_log_manager", "dagster._grpc.server", "anyio._backends._asyncio",
    "fsspec.implementations.local", "httpcore", "psycopg2.extras", "trio", "upath.implementations.local",
    "wfops_pipelines_tests.services.child", "wfops_pipelines_tests.services.outbox_child")
"""What takes long to import. Schedules and sensors are not among it: what they are is said by the settings of a process."""


@dataclass
class Forked:
    """A running child; its output goes to files, so that it never waits for a reader."""

    pid: int
    _reply: socket.socket
    _streams: tuple[IO[bytes], IO[bytes]]
    returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or the negative number of the signal that ended it. Raises ``TimeoutError``."""
        if self.returncode is None:
            self._reply.settimeout(timeout)
            said = self._reply.makefile().readline()
            assert said, "the parent of the forks is gone"
            self.returncode = int(said)
            self._reply.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it printed on its standard output and error stream, after its end."""
        self.wait(timeout)
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read().decode("utf-8"))
        return texts[0], texts[1]


def run_forked(function: str, *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None,
               text: str | None = None, stdin: int | None = None,
               timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Call ``module:function`` in a forked process with these arguments on its command line, and wait for its end."""
    child = start_forked(function, *arguments, cwd=cwd, environment=environment, text=text, stdin=stdin)
    out, err = child.communicate(timeout)
    return subprocess.CompletedProcess([function, *arguments], child.wait(), out, err)


def start_forked(function: str, *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None,
                 text: str | None = None, stdin: int | None = None) -> Forked:
    """The same, without waiting. ``text`` is its standard input, which is empty without; ``stdin`` is an open file, such as a
    terminal, in place of that. ``environment`` is all of it."""
    order = {"function": function, "arguments": [function, *arguments], "cwd": str(cwd or Path.cwd()),
             "environment": dict(child_environment() if environment is None else environment)}
    given, out, err = (tempfile.TemporaryFile() for _ in range(3))  # noqa: SIM115 - the child's end closes them
    given.write((text or "").encode())
    given.seek(0)
    ours, theirs = socket.socketpair()
    with given, theirs:
        socket.send_fds(_parent(), [b"."], [given.fileno() if stdin is None else stdin, out.fileno(), err.fileno(), theirs.fileno()])
    ours.sendall(json.dumps(order).encode() + b"\n")
    pid = ours.makefile("rb", buffering=0).readline()
    assert pid, "the parent of the forks is gone"
    return Forked(int(pid), ours, (out, err))


@functools.cache
def _parent() -> socket.socket:
    """The socket of this test process's parent of forks."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno()), *WARM], pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL, env={**child_environment(), "OPENBLAS_NUM_THREADS": "1"})

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def serve(control: socket.socket) -> dict[str, Any]:
    """Fork a child for every request until nobody can ask any more. Returns in the children alone, with their order."""
    selector = selectors.DefaultSelector()
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which then lets go of us
    selector.register(control, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    waiting: dict[int, socket.socket] = {}
    while True:
        ready = [key.fileobj for key, _ in selector.select()]
        if woken in ready:
            woken.recv(4096)
            _tell_the_dead(waiting)
        if control not in ready:
            continue
        asked, files, _, _ = socket.recv_fds(control, 1, 4)
        if not asked:
            sys.exit()
        reply = socket.socket(fileno=files.pop())
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            selector.close()
            for other in (control, woken, wake, *waiting.values()):
                other.close()
            return _take_order(reply, files)
        for file in files:
            os.close(file)
        waiting[pid] = reply


def _tell_the_dead(waiting: dict[int, socket.socket]) -> None:
    while waiting:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with waiting.pop(pid) as reply, contextlib.suppress(OSError):  # whoever asked may be gone
            reply.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _take_order(reply: socket.socket, files: Sequence[int]) -> dict[str, Any]:
    """In a child: read what to do, with the streams of whoever asks in place of the parent's."""
    with reply:
        order: dict[str, Any] = json.loads(reply.makefile("rb").readline())
        reply.sendall(b"%d\n" % os.getpid())
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    return order


def become(order: dict[str, Any]) -> NoReturn:
    """Do as ordered, as a fresh interpreter would with this environment, directory and command line. At its end threads are
    waited for and exit functions run, too; only that modules are not taken apart one by one, which would copy all of the
    parent's memory, differs."""
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    sys.argv = order["arguments"]
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = os.fdopen(0, encoding=encoding, closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding=encoding, closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding, "backslashreplace", closefd=False)
    module, _, name = order["function"].partition(":")
    code = 0
    try:
        getattr(importlib.import_module(module), name)()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def main() -> NoReturn:
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        importlib.import_module(name)
    assert len(psutil.Process().threads()) == 1, "an import has started threads"
    assert process_settings.cache_info().currsize == 0, "an import has read the settings, which are the children's own"
    gc.collect()
    gc.freeze()  # a collection in a child does not copy what it shares
    become(serve(control))


if __name__ == "__main__":
    main()
