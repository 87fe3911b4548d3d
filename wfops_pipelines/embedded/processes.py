"""The processes of ``wfops up`` and ``wfops demo``: started in order, watched, started anew, stopped in reverse.

Each program runs behind a leash (``leash.py``), in a session of its own: a Ctrl-C of the terminal reaches the
supervisor alone, which then stops the programs in order; and when the supervisor is killed (``kill -9``), the leash
ends the program and its children. Whatever happens, nothing is left behind.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Literal, Self

import psutil

from wfops_pipelines.domain.errors import ProcessFailed

LEASH = Path(__file__).with_name("leash.py")
POLL_SECONDS = 0.05  # between two looks whether a program is ready, or has ended where nothing tells us
KILL_SECONDS = 5.0       # a killed process still has to be cleared away
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
STABLE_SECONDS = 60.0    # a program that lived this long begins again with the first pause
_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. ``environment`` is the whole environment (default: ours), but for PYTHONSAFEPATH: Python imports nothing
    from the directory that the user happens to be in. ``log`` gets output and errors, appended.

    ``ready`` is asked again and again until it says True; ``restart`` starts the program anew, with a growing pause,
    when it ends by itself; ``grace`` is how many seconds it has between SIGTERM and SIGKILL. ``orphaned`` is the signal
    in place of SIGTERM when the supervisor is gone, for a program that has something to do then; it begins with this one
    blocked. (A process that was killed is seen as running for some time after what it held is given back, so that nobody
    can look for himself.)
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] | None = None
    directory: Path | None = None
    ready: Callable[[], bool] | None = None
    ready_within: float = 60.0
    restart: bool = False
    grace: float = 10.0
    orphaned: signal.Signals = signal.SIGTERM


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell the user: a program started, became ready, ended by itself (``code``), or was stopped."""

    kind: Literal["started", "ready", "ended", "stopped"]
    name: str
    code: int | None = None


class Running:
    """One generation of a program. Started by :class:`Supervisor`; ``ended`` is set when nothing of it is left."""

    def __init__(self, program: Program, on_end: Callable[[Running], None]) -> None:
        self.program = program
        self.since = time.monotonic()
        self.ended = threading.Event()
        self._reaping = threading.Lock()
        self._on_end = on_end
        reading, self._life_line = os.pipe()
        try:
            self._process = self._spawn(reading)
        except OSError as error:
            os.close(self._life_line)
            raise ProcessFailed(f"{program.name} cannot be started: {error.strerror}: {error.filename}") from None
        finally:
            os.close(reading)
        threading.Thread(target=self._watch, name=f"watch {program.name}", daemon=True).start()

    def _spawn(self, life_line: int) -> subprocess.Popen[bytes]:
        program = self.program
        environment = os.environ if program.environment is None else program.environment
        program.log.parent.mkdir(parents=True, exist_ok=True)
        with program.log.open("ab") as output:
            self._log_start = output.tell()
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(LEASH), str(life_line), str(int(program.orphaned)), str(program.grace),
                 *program.command],
                cwd=program.directory, env={**environment, "PYTHONSAFEPATH": "1"}, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, pass_fds=(life_line,), start_new_session=True)

    @property
    def pid(self) -> int:
        """The pid of the leash, which is the id of the program's process group."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code (128 + signal when it was killed), or None while it runs."""
        return self._process.returncode if self.ended.is_set() else None

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """SIGTERM to the group; after the grace, or when ``hurry()`` says so, SIGKILL, to descendants outside too."""
        family = self._descendants()
        deadline = time.monotonic() + self.program.grace
        self._signal(signal.SIGTERM)
        while not self.ended.wait(POLL_SECONDS) and time.monotonic() < deadline and not hurry():
            pass
        self._signal(signal.SIGKILL)
        for process in family:
            with suppress(psutil.Error):
                process.kill()  # psutil makes sure that it is the same process still
        self.ended.wait()
        psutil.wait_procs(family, timeout=KILL_SECONDS)

    def log_tail(self, lines: int = 12) -> str:
        """The last lines that this generation wrote."""
        with self.program.log.open("rb") as file:
            file.seek(self._log_start)
            text = file.read()[-16384:].decode("utf-8", "replace")
        return "\n".join(text.strip().splitlines()[-lines:])

    def _watch(self) -> None:
        """Wait for the end of the leash, end what is left of its group, and say so."""
        if hasattr(os, "waitid"):
            # Not reaped before the group is ended: until then nobody else can have its id.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            self._signal(signal.SIGKILL)
            with self._reaping:
                self._process.wait()
        else:  # macOS before Python 3.13
            while not self._reaped():
                time.sleep(POLL_SECONDS)
        os.close(self._life_line)
        self.ended.set()
        self._on_end(self)

    def _reaped(self) -> bool:
        with self._reaping:
            if self._process.poll() is None:
                return False
            _kill_group(self.pid, signal.SIGKILL)
            return True

    def _signal(self, number: signal.Signals) -> None:
        with self._reaping:
            if self._process.returncode is None:  # the group is still ours
                _kill_group(self.pid, number)

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def _kill_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(group, number)


class Supervisor:
    """Runs programs. Leaving its ``with`` block stops all of them, the last started first.

    Inside the block, in the main thread, SIGTERM and SIGHUP end the block like Ctrl-C does
    (:class:`KeyboardInterrupt`), except in :meth:`wait`, which returns. Further signals do not interrupt what ends
    things then: while programs are being stopped, one kills them at once.
    """

    def __init__(self, on_event: Callable[[Event], None] = lambda event: None) -> None:
        self._tell = on_event
        self._running: dict[str, Running] = {}
        self._ended: queue.SimpleQueue[Running | signal.Signals | Callable[[], None]] = queue.SimpleQueue()
        self._pauses: dict[str, float] = {}
        self._due: dict[str, tuple[float, Program]] = {}  # ended programs: when to start them anew
        self._phase: Literal["working", "waiting", "stopping"] = "working"
        self._hurry = False
        self._handlers: dict[signal.Signals, object] = {}

    def start(self, program: Program) -> Running:
        """Start a program and wait until it is ready.

        Raises :class:`ProcessFailed`, with the end of its log, when it ends before or is not ready in time; it is
        stopped then.
        """
        running = self.launch(program)
        self.wait_ready(running)
        return running

    def launch(self, program: Program) -> Running:
        """Start a program and do not wait: :meth:`wait_ready` does that, after something else was done meanwhile."""
        if program.name in self._running:
            raise ValueError(f"{program.name} runs already")
        return self._launch(program)

    def wait_ready(self, running: Running) -> None:
        """Wait until a launched program is ready; raises as :meth:`start` does."""
        program = running.program
        deadline = time.monotonic() + program.ready_within
        while program.ready is not None and not program.ready():
            if running.ended.wait(POLL_SECONDS):
                self._running.pop(program.name, None)
                raise _failed(running, f"ended with code {running.code} before it was ready")
            if time.monotonic() > deadline:
                self.stop(program.name)
                raise _failed(running, f"was not ready within {program.ready_within:.0f} s")
        self._tell(Event("ready", program.name))

    def about_to_wait(self) -> None:
        """A signal from here on is for :meth:`wait`: call it before people are told that everything is ready."""
        self._phase = "waiting"

    def wait(self) -> signal.Signals:
        """Watch the programs until a signal says to stop, and return it.

        A program that ends by itself is started anew after a pause if it wants to be; else :class:`ProcessFailed` is
        raised.
        """
        self.about_to_wait()
        due = self._due
        try:
            while True:
                pause = min((when for when, _ in due.values()), default=None)
                try:
                    news = self._ended.get(timeout=None if pause is None else max(0.0, pause - time.monotonic()))
                except queue.Empty:
                    for name in [name for name, (when, _) in due.items() if when <= time.monotonic()]:
                        self._launch_again(due.pop(name)[1])
                    continue
                if isinstance(news, signal.Signals):
                    return news
                if not isinstance(news, Running):
                    news()
                elif self._running.get(news.program.name) is news:
                    due[news.program.name] = (time.monotonic() + self._pause_after(news), news.program)
        finally:
            self._phase = "stopping"

    def _launch_again(self, program: Program) -> None:
        """What the machine has no room for now, it has later: the others go on meanwhile."""
        try:
            self._launch(program)
        except (ProcessFailed, OSError):
            self._due[program.name] = (time.monotonic() + LONGEST_PAUSE, program)

    def ask(self, act: Callable[[], None]) -> None:
        """Have :meth:`wait` do something, such as to stop a program and launch it anew; from any thread."""
        self._ended.put(act)

    def stop(self, name: str) -> None:
        """Stop one program; nothing to do if it does not run."""
        self._due.pop(name, None)
        running = self._running.pop(name, None)
        if running is not None:
            running.stop(lambda: self._hurry)
            self._tell(Event("stopped", name))

    def stop_all(self, *, but: str | None = None) -> None:
        """Stop all programs, the last started first, ``but`` the one of that name."""
        before, self._phase = self._phase, "stopping"
        try:
            for name in reversed([name for name in self._running if name != but]):
                self.stop(name)
        finally:
            self._phase, self._hurry = before, False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._on_signal) for number in _HANDLED}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            self.stop_all()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned
            self._handlers = {}

    def _launch(self, program: Program) -> Running:
        running = Running(program, self._ended.put)
        self._running[program.name] = running
        self._tell(Event("started", program.name))
        return running

    def _pause_after(self, ended: Running) -> float:
        """Seconds until an ended program is started anew; raises when it does not want to be."""
        program = ended.program
        self._tell(Event("ended", program.name, ended.code))
        if not program.restart:
            del self._running[program.name]
            raise _failed(ended, f"ended with code {ended.code}")
        stable = time.monotonic() - ended.since >= STABLE_SECONDS
        pause = FIRST_PAUSE if stable else self._pauses.get(program.name, FIRST_PAUSE)
        self._pauses[program.name] = min(pause * 2, LONGEST_PAUSE)
        return pause

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._phase == "waiting":
            self._ended.put(signal.Signals(number))
        elif self._phase == "stopping":
            self._hurry = True
        else:
            self._phase = "stopping"
            raise KeyboardInterrupt


def _failed(running: Running, what: str) -> ProcessFailed:
    return ProcessFailed(f"{running.program.name} {what}:\n{running.log_tail()}", fix=f"see {running.program.log}")
