"""Runs one command and ends it, with all of its process group, when the process that started the leash is gone.

``python -I -S leash.py PIPE SIGNAL GRACE COMMAND…``: PIPE is the descriptor of a pipe's reading end whose writing end
only the supervisor holds, so that it closes when the supervisor dies, however it dies. (Linux's PR_SET_PDEATHSIG does
less: it reaches the child alone, goes by the starting *thread*, and does not exist elsewhere.) SIGNAL is the number of
the signal that says so (another one than SIGTERM is blocked when the command begins, so that it waits for whoever wants
it), GRACE the seconds until SIGKILL. The leash is the leader of a session and process group; its
command and what that starts are members. It has the standard library only and stays small.

Exit code: the command's (128 + signal when it was killed), 127 when it cannot be started.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

CATCHABLE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main(arguments: list[str]) -> int:
    """Run the command; return the exit code."""
    pipe, farewell, grace, command = int(arguments[0]), int(arguments[1]), float(arguments[2]), arguments[3:]
    early: list[int] = []
    awake = _wake_on_signals(early)
    waits = {farewell} - {int(signal.SIGTERM)}
    signal.pthread_sigmask(signal.SIG_BLOCK, waits)
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waits)
    for number in early:  # arrived before there was a command to get them
        child.send_signal(number)
    while child.poll() is None:
        readable, _, _ = select.select([pipe, awake], [], [])
        if awake in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(awake, 512)
        if pipe in readable:  # nobody writes to it: this is its end
            _end_group(child, farewell, grace)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _wake_on_signals(early: list[int]) -> int:
    """A descriptor that becomes readable with each signal.

    A signal to the group reaches the command by itself; here it must only not kill. A handler, unlike SIG_IGN, is not
    inherited by the command.
    """
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in CATCHABLE:
        signal.signal(number, lambda received, _: early.append(received))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reading


def _end_group(child: subprocess.Popen[bytes], farewell: int, grace: float) -> None:
    """The signal, then SIGKILL for everybody in the group, the leash included."""
    os.killpg(0, farewell)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
