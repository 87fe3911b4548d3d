"""What Dagster keeps as files, as ``dagster.yaml`` names it: what sensors and schedules logged, and nothing of runs.

Dagster's own class makes three files per run and one per tick for ever, and starts four processes per run to copy its
output. Our ops print nothing: they log into the event log, which is the record. What a library or a dying interpreter
prints goes where the process's output goes: to the terminal, or to the code server's log.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._serdes import ConfigurableClassData

from wfops_pipelines.settings import process_settings

STORAGE = "storage"  # in DAGSTER_HOME; where Dagster's own class keeps them, too


class TickLogs(LocalComputeLogManager):
    """Keeps no output of runs, and a tick's log once there is something in it."""

    @classmethod
    def config_type(cls) -> Any:
        """It takes no configuration."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> TickLogs:
        """Called by Dagster in every process that opens the instance."""
        return cls(base_dir=str(process_settings().dagster_home / STORAGE), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[CapturedLogContext, None, None]:
        """Leave the output of a run's process alone."""
        yield CapturedLogContext(log_key)

    def is_capture_complete(self, log_key: Sequence[str]) -> bool:
        """Nothing more comes."""
        return True

    @contextmanager
    def open_log_stream(self, log_key: Sequence[str], io_type: ComputeIOType) -> Iterator[IO[Any] | None]:
        """Where a tick logs to; the file is made by its first line."""
        stream = _Lazy(Path(self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[io_type])))
        try:
            yield cast("IO[Any]", stream)
        finally:
            stream.close()


class _Lazy:
    """A text file for appending that comes into being when it is written to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def write(self, text: str) -> int:
        """Append."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        return self._file.write(text)

    def flush(self) -> None:
        """Give what was written to the system."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()
