"""The running system of one home: PostgreSQL's keeper, Dagster's code server, daemon and webserver, and the API.

One at a time per home; a second one is told where the first is. The code server listens on a socket in the home (one
that is known by its path, so that its runs are known, too); the UI on loopback, since it has no login. The API, which
takes webhooks, is for a proxy to pass on (``WFOPS_API_HOST``).
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from wfops_pipelines.bootstrap import Installation, fitting_keys, open_installation
from wfops_pipelines.defs import launch
from wfops_pipelines.defs.maintenance.dead_runs import report_dead_runs
from wfops_pipelines.defs.maintenance.future_ticks import set_back_future_ticks
from wfops_pipelines.defs.partitions import sync_partitions
from wfops_pipelines.domain.errors import Blocked, ProcessFailed, UsageError
from wfops_pipelines.embedded import keeper
from wfops_pipelines.embedded.dagster_web import DagsterWeb
from wfops_pipelines.embedded.processes import Program, Running, Supervisor
from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines.postgres.locks import opened
from wfops_pipelines.postgres.place import find_place
from wfops_pipelines.settings import Settings, system_record

HOST = "127.0.0.1"
_KEEPER = "postgres-keeper"
NEXT_PORTS = 100         # how many ports after the usual one are tried
LARGEST_LOG = 5_000_000  # bytes; a log that is larger at the start is set aside
LONGEST_SOCKET = 100     # characters that a socket's address holds everywhere
READY_SECONDS = 120.0
_POLL_SECONDS = 0.1  # between two looks whether what is waited for holds


class System:
    """Starts and watches the programs of an installation, by a supervisor. ``port`` is where the UI listens, ``api_port``
    where the API does."""

    def __init__(self, installation: Installation, supervisor: Supervisor, *, port: int, api_port: int) -> None:
        self._supervisor = supervisor
        self._home = installation.settings.home
        self.url = f"http://{HOST}:{port}"
        self._port = port
        host = installation.settings.api_host
        self._api = (HOST if host in {"0.0.0.0", "::"} else host, api_port)  # noqa: S104 - where it is asked, not served
        self.api_url = f"http://{f'[{host}]' if ':' in self._api[0] else self._api[0]}:{api_port}/api/v1"
        self.logs = self._home / "logs"
        self._socket = _socket_path(_run_folder(self._home))
        self._environment = _environment(installation, self.url)
        self._workspace = _run_folder(self._home) / "workspace.yaml"
        self._code_server: Running | None = None
        self._daemon: Program | None = None
        self._installation = installation
        with launch.dagster_instance(installation) as instance:
            self.set_back = set_back_future_ticks(instance, time.time())
            self.dead_runs = report_dead_runs(instance, gone_code_server=str(self._socket))
            sync_partitions(instance, installation.services)

    def start_code_server(self) -> None:
        """Start what the others need, without waiting for it."""
        self._socket.unlink(missing_ok=True)
        self._workspace.write_text(json.dumps({  # JSON is YAML, and quotes any path
            "load_from": [{"grpc_server": {"socket": str(self._socket), "location_name": "wfops"}}]}))
        self._code_server = self._supervisor.launch(self._program(
            "code-server", "dagster", "api", "grpc", "--socket", str(self._socket), "--module-name",
            "wfops_pipelines.definitions", "--location-name", "wfops", "--log-level", "warning",
            "--working-directory", str(self._workspace.parent),  # where Dagster imports from, before all else
            ready=lambda: _listens(self._socket)))

    def start(self) -> DagsterWeb:
        """Start the rest, and wait until the UI shows our definitions and every part of the daemon works."""
        if self._code_server is None:
            self.start_code_server()
        assert self._code_server is not None  # noqa: S101 - it was started right above
        self._supervisor.wait_ready(self._code_server)
        web = DagsterWeb(self.url)
        self._daemon = self._program("daemon", "dagster._daemon", "run", "-w", str(self._workspace))
        daemon = self._supervisor.launch(self._daemon)
        webserver = self._supervisor.launch(self._program(
            "webserver", "dagster_webserver", "-h", HOST, "-p", str(self._port), "-w", str(self._workspace),
            ready=web.answers))
        api = self._supervisor.launch(self._program(
            "api", "wfops_pipelines.api", str(self._api[1]), ready=lambda: _connects(self._api)))
        self._supervisor.wait_ready(webserver)
        self._supervisor.wait_ready(api)
        self._wait(web.location_loaded, webserver, "the UI has not loaded the definitions")
        self._wait(web.daemon_healthy, daemon, "the daemon has not come to work")
        return web

    def follow_clock(self) -> list[str]:
        """The clock of the host was set back: the daemon starts anew, and sensors and schedules wait no longer for the times
        that it showed before. Returns their names; raises what the storage raises."""
        assert self._daemon is not None  # noqa: S101 - the system was started
        self._supervisor.stop(self._daemon.name)
        try:
            with launch.dagster_instance(self._installation) as instance:
                return set_back_future_ticks(instance, time.time())
        finally:
            self._supervisor.launch(self._daemon)

    def _program(self, name: str, module: str, *arguments: str, ready: Callable[[], bool] | None = None) -> Program:
        return Program(name, [sys.executable, "-m", module, *arguments], _log(self._home, name),
                       environment=self._environment, ready=ready, ready_within=READY_SECONDS, restart=True)

    def _wait(self, holds: Callable[[], bool], needed: Running, otherwise: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not holds():
            if needed.ended.wait(_POLL_SECONDS) or time.monotonic() > deadline:
                raise ProcessFailed(f"{otherwise}:\n{needed.log_tail()}", fix=f"see {needed.program.log}")


def refuse_what_cannot_run(settings: Settings) -> None:
    """Raises what :func:`kept_installation` would, of keys and of a home of somebody else, before anything is made."""
    fitting_keys(settings)
    if settings.embedded_database:
        find_place(settings.home)


@contextmanager
def kept_installation(settings: Settings, supervisor: Supervisor) -> Iterator[Installation]:
    """The installation of a supervisor that may be killed, and at its end all programs stopped, which use it. What keeps an
    embedded PostgreSQL for it is launched before this process holds it itself, and stopped when it holds it no more.

    Raises what ``open_installation`` raises.
    """
    refuse_what_cannot_run(settings)
    if settings.embedded_database:
        supervisor.launch(Program(
            _KEEPER, [sys.executable, "-m", "wfops_pipelines.embedded.keeper", str(settings.home)],
            _log(settings.home, _KEEPER), restart=True, grace=30.0, orphaned=keeper.SUPERVISOR_GONE))
    try:
        with open_installation(settings) as installation:
            try:
                yield installation
            finally:
                supervisor.stop_all(but=_KEEPER)
    finally:
        if settings.embedded_database:
            supervisor.stop_all()
            EmbeddedPostgres(settings.home).stop_if_unheld()  # somebody in a hurry had the keeper killed


def _log(home: Path, program: str) -> Path:
    """A program's log; one that has become large is set aside."""
    log = home / "logs" / f"{program}.log"
    with suppress(FileNotFoundError):
        if log.stat().st_size > LARGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
    return log


@contextmanager
def only_system(home: Path) -> Iterator[Callable[[str], None]]:
    """Be the only system of a home; gives a function that says its URL to a second one.

    Raises :class:`Blocked` with that URL when there is one already.
    """
    folder = _run_folder(home)
    record = system_record(home)
    with opened(folder / "up.lock") as lock:
        if not lock.try_exclusive():
            with suppress(FileNotFoundError, ValueError):
                where = json.loads(record.read_text())
                raise Blocked(f"the system of {home} runs already at {where['url']} (process {where['pid']})",
                              fix="use it, or stop it first")
            raise Blocked(f"the system of {home} is being started by another process", fix="wait for it, or stop it first")
        record.unlink(missing_ok=True)  # of one that was killed

        def tell(url: str) -> None:
            record.write_text(json.dumps({"url": url, "pid": os.getpid()}))

        try:
            yield tell
        finally:
            record.unlink(missing_ok=True)


def choose_ports(settings: Settings, asked: int | None) -> tuple[int, int]:
    """The ports for the UI and for the API: those asked for, else the usual ones or the next that are free.

    One that was asked for, here for the UI or by ``WFOPS_UI_PORT`` and ``WFOPS_API_PORT``, and is taken raises
    :class:`UsageError`, and so does the same one for both; 0 is any free one, and for the UI alone it is so for both. A
    ``WFOPS_API_HOST`` where nothing can listen raises it, too.
    """
    host = _of_this_machine(settings.api_host)
    given = asked is None and "ui_port" in settings.model_fields_set
    ui = _port(settings.ui_port if given else asked, settings.ui_port, "choose another one with --port, or none at all")
    wanted = settings.api_port if "api_port" in settings.model_fields_set else 0 if asked == 0 else None
    return ui, _port(wanted, settings.api_port, "set WFOPS_API_PORT to another one", not_this=ui, host=host)


def _of_this_machine(host: str) -> str:
    """The address of a host, at which something here can listen."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.bind(address)
            return str(address[0])
    except (OSError, UnicodeError):  # the latter: no name of a host at all
        raise UsageError(f"WFOPS_API_HOST: {host!r} is no address of this machine",
                         fix="set it to 127.0.0.1, to 0.0.0.0 for all, or to one that this machine has") from None


def _port(asked: int | None, usual: int, fix: str, *, not_this: int | None = None, host: str = HOST) -> int:
    if asked is not None and asked == not_this:
        raise UsageError(f"the UI and the API cannot both have port {asked}", fix=fix)
    if asked is not None:
        free = _free_port(asked, host)
        if free is None:
            raise UsageError(f"port {asked} is taken{_by_whom(asked)}", fix=fix)
        return free
    tried = (_free_port(port, host) for port in range(usual, min(usual + NEXT_PORTS, 65536)) if port != not_this)
    return next((port for port in tried if port is not None), None) or _free_port(0, host) or usual


def _free_port(port: int, host: str) -> int | None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections do not count
        try:
            probe.bind((host, port))
        except OSError:
            return None
        return int(probe.getsockname()[1])


def _by_whom(port: int) -> str:
    """`` by NAME (process N)``, where the system lets us see it."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _connects(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=2):
            return True
    except OSError:
        return False


def _run_folder(home: Path) -> Path:
    folder = home / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _socket_path(folder: Path) -> Path:
    """In the home, or if that is too long for a socket, in a folder of ours that is the same each time."""
    path = folder / "code.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET:
        return path
    record = folder / "socket-folder"
    with suppress(FileNotFoundError):
        known = Path(record.read_text())
        if known.is_dir() and known.stat().st_uid == os.geteuid():
            return known / "code.sock"
    made = Path(tempfile.mkdtemp(prefix="wfops-", dir="/tmp"))  # a name of its own, mode 0700
    record.write_text(str(made))
    return made / "code.sock"


def _environment(installation: Installation, url: str) -> dict[str, str]:
    """What Dagster's processes need. With bytecode: without it a run worker needs three times as long."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= launch.dagster_environment(installation) | {"PYTHONUNBUFFERED": "1"}
    if "ui_url" not in installation.settings.model_fields_set:
        environment["WFOPS_UI_URL"] = url
    return environment
