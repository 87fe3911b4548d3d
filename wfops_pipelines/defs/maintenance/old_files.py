"""Files that runs and ticks left in ``$DAGSTER_HOME/storage``: removed by age.

What goes is captured output of runs (of a ``dagster.yaml`` of the user's own, or of an
earlier version of ours) and the logs of ticks.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import dagster as dg

_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LOGS = {".out", ".err", ".complete", ".partial"}
_UNFINISHED = [status for status in dg.DagsterRunStatus if status not in {
    dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}]
_AT_ONCE = 500  # runs asked for in one query


def remove_old_files(instance: dg.DagsterInstance, *, before: float) -> int:
    """Remove what no run or tick has written to since ``before`` (seconds since the epoch); returns how many files.

    Directories of runs go whole, unless the run is not finished: its worker may write again. Elsewhere only logs go:
    a result that somebody's IO manager keeps beside them is not ours to remove.
    """
    storage = Path(instance.storage_directory())
    if not storage.is_dir():
        return 0
    places = [place for place in storage.iterdir() if place.is_dir() and not place.is_symlink()]
    runs = [place for place in places if _RUN_ID.fullmatch(place.name) and _newest(place) < before]
    at_work = _unfinished(instance, [place.name for place in runs])
    removed = 0
    for place in runs:
        if place.name not in at_work:
            removed += sum(1 for _ in _files(place))
            shutil.rmtree(place, ignore_errors=True)
    for place in places:
        if not _RUN_ID.fullmatch(place.name):
            removed += _remove_logs(place, before)
    return removed


def _unfinished(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(run_ids), _AT_ONCE):
        chosen = dg.RunsFilter(run_ids=list(run_ids[start:start + _AT_ONCE]), statuses=_UNFINISHED)
        found |= {run.run_id for run in instance.get_runs(chosen)}
    return found


def _remove_logs(place: Path, before: float) -> int:
    removed = 0
    for file in _files(place):
        with suppress(FileNotFoundError):
            if file.suffix in _LOGS and file.lstat().st_mtime < before:
                file.unlink()
                removed += 1
    return removed


def _newest(place: Path) -> float:
    """When something in a directory was last written; a file that goes while we look is old."""
    newest = 0.0
    for path in (place, *_files(place)):
        with suppress(FileNotFoundError):
            newest = max(newest, path.lstat().st_mtime)
    return newest


def _files(place: Path) -> Iterator[Path]:
    return (path for path in place.rglob("*") if path.is_symlink() or path.is_file())
