"""``wfops up`` and ``wfops demo`` as child processes of tests, with homes of their own that are gone afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines_tests.servers.processes import child_environment, eventually

START_SECONDS = 180.0  # with the other core busy
_UP = """
import sys
from wfops_pipelines.embedded.up import run_up
from wfops_pipelines.settings import read_settings
sys.exit(run_up(read_settings(), port=0))
"""


@dataclass
class Child:
    """A running ``wfops up``: its output is in ``output``."""

    process: subprocess.Popen[bytes]
    home: Path
    output: Path

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.output.read_text(errors="replace")

    def said(self, words: str) -> bool:
        """Whether it has printed these words; fails when it ended without having done so."""
        if words in self.text:
            return True
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.text}"
        return False

    def url(self) -> str:
        """Where the UI is, as soon as everything is ready."""
        eventually(lambda: self.said("Ctrl-C stops everything"), within=START_SECONDS)
        found = re.search(r"Dagster UI: +(http://\S+)", self.text)
        assert found is not None
        return found[1]

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait, and give the exit code."""
        self.process.send_signal(how)
        return self.process.wait(START_SECONDS)


def clean_environment(home: Path, **settings: str) -> dict[str, str]:
    """The environment of a child: none of our WFOPS_ and DAGSTER_ variables but these."""
    ours = {k: v for k, v in child_environment().items() if not k.startswith(("WFOPS_", "DAGSTER_"))}
    return ours | {"WFOPS_HOME": str(home), **settings}


@contextmanager
def system_up(home: Path, output: Path, settings: Mapping[str, str] | None = None, *,
              directory: Path | None = None) -> Iterator[Child]:
    """``wfops up`` on a free port, by somebody who is in ``directory``. However the block is left, nothing of it is left."""
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-P", "-c", _UP], env=clean_environment(home, **(settings or {})), stdout=file,
                                   stderr=subprocess.STDOUT, start_new_session=True, cwd=directory)
    try:
        yield Child(process, home, output)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def processes_of(home: Path) -> list[psutil.Process]:
    """The processes that belong to a home: by their WFOPS_HOME or their command line. PostgreSQL's are not among them."""
    found = []
    for process in psutil.process_iter():
        try:
            belongs = process.environ().get("WFOPS_HOME") == str(home) or str(home) in " ".join(process.cmdline())
            if belongs and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def program(home: Path, words: str) -> psutil.Process:
    """The process of a home whose command line has these words, and not its leash."""
    return next(p for p in processes_of(home) if words in " ".join(p.cmdline()) and "leash.py" not in " ".join(p.cmdline()))


@contextmanager
def temporary_home(folder: Path) -> Iterator[Path]:
    """A home whose PostgreSQL, wherever its data are, is gone afterwards."""
    home = folder / "home"
    try:
        yield home
    finally:
        if home.is_dir():
            EmbeddedPostgres(home).destroy()
