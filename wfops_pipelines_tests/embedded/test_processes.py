"""The processes of ``wfops up``: started in order, watched, and none left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from wfops_pipelines.domain.errors import ProcessFailed
from wfops_pipelines.embedded import processes
from wfops_pipelines.embedded.processes import Event, Program, Supervisor
from wfops_pipelines_tests.servers.processes import child_environment, eventually

# Each writes its pid to a file of that name when it is ready, and what it was told to stop to `order`.
POLITE = """
import os, pathlib, signal, sys
name = sys.argv[1]
def stop(*_):
    with open("order", "a") as order:
        order.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(name + ".new").write_text(str(os.getpid()))
os.rename(name + ".new", name)
while True:
    signal.pause()
"""
STUBBORN = POLITE.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
WITH_CHILD = POLITE.replace(
    "while True", "import subprocess; subprocess.Popen([sys.executable, '-S', '-c', %r, 'grandchild']%s)\nwhile True")

Make = Callable[..., Program]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes programs of small scripts; fails when a process of theirs is left after the test."""
    def program(name: str, script: str = POLITE, **options: Any) -> Program:
        options.setdefault("ready", (tmp_path / name).exists)
        return Program(name, [sys.executable, "-S", "-c", script, name], tmp_path / "log" / f"{name}.log",
                       directory=tmp_path, **options)

    yield program
    eventually(lambda: not left_in(tmp_path))


def left_in(directory: Path) -> list[psutil.Process]:
    """Processes that work in this directory: all that a test started, however far removed."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(directory) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def pid_of(tmp_path: Path, name: str) -> int:
    eventually((tmp_path / name).exists)
    return int((tmp_path / name).read_text())


def test_programs_start_when_the_one_before_is_ready_and_stop_in_reverse_order(make: Make, tmp_path: Path) -> None:
    told: list[Event] = []
    with Supervisor(told.append) as supervisor:
        for name in ("first", "second", "third"):
            supervisor.start(make(name))
    assert (tmp_path / "order").read_text().split() == ["third", "second", "first"]
    assert [(e.kind, e.name) for e in told] == [
        *[(kind, name) for name in ("first", "second", "third") for kind in ("started", "ready")],
        ("stopped", "third"), ("stopped", "second"), ("stopped", "first")]


def test_output_goes_to_the_log_and_the_environment_is_the_given_one(make: Make, tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        running = supervisor.start(make("one", "import os; print(sorted(os.environ))", ready=None, environment={"ONLY": "this"}))
        running.ended.wait()
        assert running.code == 0
    assert "'ONLY'" in (tmp_path / "log" / "one.log").read_text()
    assert "'PATH'" not in (tmp_path / "log" / "one.log").read_text()


def test_nothing_is_imported_from_the_directory_somebody_happens_to_be_in(make: Make, tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit(9)")
    with Supervisor() as supervisor:
        running = supervisor.start(make("one", "import queue", ready=None))
        running.ended.wait()
        assert running.code == 0


def test_a_second_signal_does_not_interrupt_what_the_first_one_ends() -> None:
    ended = []
    with pytest.raises(KeyboardInterrupt), Supervisor():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            ended.append("all of it")
    assert ended == ["all of it"]


def test_nor_does_one_after_the_wait() -> None:
    with Supervisor() as supervisor:
        supervisor.about_to_wait()
        os.kill(os.getpid(), signal.SIGTERM)
        assert supervisor.wait() is signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
        supervisor.stop_all()
        os.kill(os.getpid(), signal.SIGTERM)


def test_one_that_ends_before_it_is_ready_fails_with_its_own_words(make: Make) -> None:
    with Supervisor() as supervisor, pytest.raises(ProcessFailed, match=r"(?s)broken ended with code 3 .*no such port"):
        supervisor.start(make("broken", "import sys; print('no such port'); sys.exit(3)", ready=lambda: False))


def test_one_that_is_never_ready_is_stopped_and_named(make: Make, tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        with pytest.raises(ProcessFailed, match="slow was not ready"):
            supervisor.start(make("slow", ready=lambda: False, ready_within=0.2))
        assert not left_in(tmp_path)


def test_a_command_that_does_not_exist_fails(tmp_path: Path) -> None:
    with Supervisor() as supervisor, pytest.raises(ProcessFailed, match=r"(?s)code 127.*no-such-command"):
        supervisor.start(Program("absent", ["no-such-command"], tmp_path / "log", ready=lambda: False))


def test_one_that_ignores_sigterm_is_killed_after_its_grace(make: Make, tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(make("stubborn", STUBBORN, grace=0.2))
    assert not left_in(tmp_path)


@pytest.mark.parametrize("own_session", ["", ", start_new_session=True"], ids=["same group", "own session"])
def test_grandchildren_are_stopped_too(make: Make, tmp_path: Path, own_session: str) -> None:
    with Supervisor() as supervisor:
        supervisor.start(make("parent", WITH_CHILD % (STUBBORN, own_session), grace=1))
        pid_of(tmp_path, "grandchild")
    assert not left_in(tmp_path)


def test_one_that_dies_is_started_again(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.01)
    told: list[Event] = []

    def tell(event: Event) -> None:
        told.append(event)
        starts = [e for e in told if e.kind == "started"]
        if event.kind == "started" and len(starts) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with Supervisor(tell) as supervisor:
        supervisor.start(make("mortal", "import sys; sys.exit(5)", ready=None, restart=True))
        assert supervisor.wait() == signal.SIGTERM
    assert [(e.kind, e.code) for e in told][:4] == [("started", None), ("ready", None), ("ended", 5), ("started", None)]


def test_one_that_the_machine_has_no_room_for_is_started_later_and_the_others_go_on(
        make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(processes, "LONGEST_PAUSE", 0.01)
    told: list[str] = []
    launch, full = Supervisor._launch, [2, 1]

    def launch_if_there_is_room(supervisor: Supervisor, program: Program) -> Any:
        if told.count("ended") == 1 and full:
            full.pop()
            raise ProcessFailed(f"{program.name} could not be started: no room")
        return launch(supervisor, program)

    def tell(event: Event) -> None:
        told.append(event.kind)
        if told.count("started") == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with Supervisor(tell) as supervisor:
        supervisor.start(make("mortal", "import sys; sys.exit(5)", ready=None, restart=True))
        monkeypatch.setattr(Supervisor, "_launch", launch_if_there_is_room)
        assert supervisor.wait() == signal.SIGTERM
    assert full == [] and told[:4] == ["started", "ready", "ended", "started"]


def test_a_signal_right_before_the_wait_ends_it(make: Make) -> None:
    with Supervisor() as supervisor:
        supervisor.start(make("a"))
        supervisor.about_to_wait()
        os.kill(os.getpid(), signal.SIGINT)
        assert supervisor.wait() is signal.SIGINT


def test_a_program_is_stopped_and_launched_anew_when_another_thread_asks(make: Make, tmp_path: Path) -> None:
    events: list[Event] = []
    with Supervisor(events.append) as supervisor:
        program = make("a", restart=True)
        first = supervisor.start(program).pid

        def renew() -> None:
            supervisor.stop("a")
            (tmp_path / "a").unlink()
            supervisor.start(program)
            os.kill(os.getpid(), signal.SIGTERM)

        asking = threading.Thread(target=supervisor.ask, args=(renew,))
        asking.start()
        assert supervisor.wait() is signal.SIGTERM
        asking.join()
        assert first not in {0, supervisor._running["a"].pid}
    assert [event.kind for event in events] == ["started", "ready", "stopped", "started", "ready", "stopped"]


def test_pauses_between_restarts_grow_until_it_lived_long_enough(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with Supervisor() as supervisor:
        running = supervisor.start(make("mortal", "", ready=None, restart=True))
        running.ended.wait()
        pauses = [supervisor._pause_after(running) for _ in range(7)]
        monkeypatch.setattr(processes, "STABLE_SECONDS", 0.0)
        assert [*pauses, supervisor._pause_after(running)] == [1, 2, 4, 8, 16, 30, 30, 1]


def test_one_that_dies_and_shall_not_be_restarted_ends_the_wait(make: Make, tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(make("once"))
        os.kill(pid_of(tmp_path, "once"), signal.SIGKILL)
        with pytest.raises(ProcessFailed, match="once ended with code 137"):
            supervisor.wait()


def test_what_a_dead_program_leaves_in_its_group_is_ended(make: Make, tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        running = supervisor.start(make("parent", WITH_CHILD % (STUBBORN, "")))
        grandchild = pid_of(tmp_path, "grandchild")
        os.kill(pid_of(tmp_path, "parent"), signal.SIGKILL)
        running.ended.wait()
        eventually(lambda: not psutil.pid_exists(grandchild) or not left_in(tmp_path))


SUPERVISE = """
import sys
from pathlib import Path
from signal import SIGHUP, SIGTERM
from wfops_pipelines.embedded.processes import Program, Supervisor
with Supervisor() as supervisor:
    for name in sys.argv[2:]:
        supervisor.start(Program(name, [sys.executable, "-S", "-c", sys.argv[1], name], Path("log"), ready=Path(name).exists, grace=30,
                                 orphaned=SIGHUP if name == "orphaned" else SIGTERM))
    supervisor.about_to_wait()
    print("up", flush=True)
    supervisor.wait()
    print("stopping", flush=True)
print("down", flush=True)
"""


def supervise(tmp_path: Path, script: str, *names: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SUPERVISE, script, *names], stdout=subprocess.PIPE, text=True, cwd=tmp_path,
                            env=child_environment(), start_new_session=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_supervisor_stops_all_in_order(make: Make, tmp_path: Path, number: signal.Signals) -> None:
    with supervise(tmp_path, POLITE, "first", "second") as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "up\n"
        os.killpg(supervisor.pid, number)  # as Ctrl-C does: to the whole group of the terminal
        assert supervisor.stdout.read() == "stopping\ndown\n"
    assert supervisor.returncode == 0
    assert (tmp_path / "order").read_text().split() == ["second", "first"]


def test_a_second_signal_does_not_wait_for_the_grace(make: Make, tmp_path: Path) -> None:
    with supervise(tmp_path, STUBBORN, "stubborn") as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "up\n"
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.stdout.readline() == "stopping\n"
        while supervisor.poll() is None:  # the first one may come before it has begun to stop
            supervisor.send_signal(signal.SIGINT)
            try:
                supervisor.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
    assert not left_in(tmp_path)


@pytest.mark.parametrize("script", [POLITE, WITH_CHILD % (POLITE, "")], ids=["alone", "with children"])
def test_a_killed_supervisor_leaves_no_orphans(make: Make, tmp_path: Path, script: str) -> None:
    with supervise(tmp_path, script, "first", "second") as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "up\n"
        assert left_in(tmp_path)
        supervisor.kill()
    eventually(lambda: not left_in(tmp_path))


def test_a_program_can_be_told_by_another_signal_that_its_supervisor_is_gone(make: Make, tmp_path: Path) -> None:
    waiting = POLITE.replace("signal.pause()", "stop() if signal.sigwait({signal.SIGHUP}) else None")
    with supervise(tmp_path, waiting, "orphaned") as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "up\n"
        supervisor.kill()
    eventually(lambda: not left_in(tmp_path))
    assert (tmp_path / "order").read_text().split() == ["orphaned"]


def test_a_killed_leash_takes_its_program_along(make: Make, tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        running = supervisor.start(make("one"))
        os.kill(running.pid, signal.SIGKILL)
        running.ended.wait()
        eventually(lambda: not left_in(tmp_path))
