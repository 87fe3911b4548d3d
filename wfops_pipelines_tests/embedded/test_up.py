"""``wfops up``: everything comes up, is watched, and is gone afterwards, however it ends."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from pydantic import SecretStr

from wfops_pipelines.domain.errors import Blocked, InvalidSetting, StoreUnavailable, UsageError
from wfops_pipelines.embedded.dagster_web import DagsterWeb
from wfops_pipelines.embedded.processes import Event, Running, Supervisor
from wfops_pipelines.embedded.system import LONGEST_SOCKET, _socket_path, choose_ports, kept_installation, only_system
from wfops_pipelines.embedded.up import run_up
from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines.settings import Settings, system_record
from wfops_pipelines_tests.servers.postgres import TEST_KEY
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.servers.system import START_SECONDS, processes_of, program, system_up, temporary_home


@pytest.fixture
def system_home(tmp_path: Path) -> Iterator[Path]:
    with temporary_home(tmp_path) as home:
        yield home


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.system
def test_the_system_is_watched_and_stops_whole(system_home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "scripts"
    elsewhere.mkdir()
    for name in ("dagster", "wfops_pipelines", "queue", "secrets"):
        (elsewhere / f"{name}.py").write_text("raise SystemExit(9)  # somebody's own, by chance of this name")
    with system_up(system_home, tmp_path / "output", directory=elsewhere) as child:
        url = child.url()
        assert "There are no tenants yet" in child.text
        web = DagsterWeb(url)
        assert web.location_loaded()
        assert web.daemon_healthy()
        web.close()

        with pytest.raises(Blocked, match="runs already") as refused:
            run_up(Settings(home=system_home))
        assert url in str(refused.value)

        killed = program(system_home, "dagster_webserver")
        killed.kill()
        eventually(lambda: child.said("webserver ended with code 137: it is started anew"))
        eventually(lambda: _answers(url), within=START_SECONDS)
        assert program(system_home, "dagster_webserver").pid != killed.pid

        assert child.end() == 0
    assert child.text.rstrip().endswith("Stopped.")
    assert processes_of(system_home) == []
    assert not EmbeddedPostgres(system_home).status().lives
    assert {log.name for log in (system_home / "logs").iterdir()} >= {"code-server.log", "daemon.log", "webserver.log"}


@pytest.mark.system
def test_a_killed_system_leaves_nothing_behind_and_starts_again(system_home: Path, tmp_path: Path) -> None:
    with system_up(system_home, tmp_path / "first") as child:
        child.url()
        assert EmbeddedPostgres(system_home).status().held
        assert child.end(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: not processes_of(system_home))
        eventually(lambda: not EmbeddedPostgres(system_home).status().lives)
    with system_up(system_home, tmp_path / "second") as child:
        child.url()
        assert child.end(signal.SIGINT) == 0


@pytest.mark.system
def test_a_system_that_is_killed_while_it_starts_leaves_nothing_behind(system_home: Path, tmp_path: Path) -> None:
    with system_up(system_home, tmp_path / "output") as child:
        eventually(lambda: system_home.is_dir() and EmbeddedPostgres(system_home).status().serves)
        assert child.end(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: not processes_of(system_home))
        eventually(lambda: not EmbeddedPostgres(system_home).status().lives)


@pytest.mark.system
@pytest.mark.parametrize("patience", ["with time", "in a hurry"])
def test_postgresql_is_stopped_by_its_keeper_as_the_last_one_and_without_it_all_the_same(
        system_home: Path, monkeypatch: pytest.MonkeyPatch, patience: str) -> None:
    postgres, lived = EmbeddedPostgres(system_home), []
    stop = Running.stop
    if patience == "in a hurry":
        monkeypatch.setattr(Running, "stop", lambda running, hurry: stop(running, lambda: True))

    def tell(event: Event) -> None:
        if event == Event("stopped", "postgres-keeper"):
            lived.append(postgres.status().lives)

    with Supervisor(tell) as supervisor, kept_installation(Settings(home=system_home), supervisor):
        kept = program(system_home, "embedded.keeper")
        eventually(lambda: any(file.path.endswith("holders.lock") for file in kept.open_files()))
    assert lived == [False] or patience == "in a hurry"
    assert not postgres.status().lives
    assert processes_of(system_home) == []


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path, taken_port: int) -> None:
    with pytest.raises(UsageError, match=f"port {taken_port} is taken") as asked:
        choose_ports(Settings(home=tmp_path), taken_port)
    assert f"process {os.getpid()}" in str(asked.value) or not _sees_owners()
    with pytest.raises(UsageError, match=f"port {taken_port} is taken"):
        choose_ports(Settings(home=tmp_path, ui_port=taken_port), None)


def test_the_next_port_is_taken_where_none_was_asked_for(tmp_path: Path, taken_port: int) -> None:
    usual = Settings.model_construct(_fields_set=set(), home=tmp_path, ui_port=taken_port)
    assert choose_ports(usual, None)[0] > taken_port


def test_the_ui_and_the_api_have_a_port_each(tmp_path: Path) -> None:
    free_port, _ = choose_ports(Settings(home=tmp_path), 0)
    usual = Settings.model_construct(_fields_set=set(), home=tmp_path, api_port=free_port)
    ui, api = choose_ports(usual, free_port)
    assert ui == free_port != api
    with pytest.raises(UsageError, match=f"cannot both have port {free_port}"):
        choose_ports(Settings(home=tmp_path, ui_port=free_port, api_port=free_port), None)
    assert len(set(choose_ports(Settings(home=tmp_path), 0))) == 2


def test_settings_that_do_not_fit_are_refused_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="WFOPS_SECRET_KEY"):
        run_up(Settings(home=tmp_path / "home", secret_key=SecretStr("no key")), port=0)
    assert not (tmp_path / "home" / "logs").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look into homes of others")
def test_of_a_home_of_somebody_else_nothing_is_made(tmp_path: Path) -> None:
    locks = tmp_path / "home" / "postgres"
    locks.mkdir(parents=True)
    os.chown(locks, 65534, -1)
    with pytest.raises(StoreUnavailable, match="belongs to another user"):
        run_up(Settings(home=tmp_path / "home", secret_key=SecretStr(TEST_KEY)), port=0)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["postgres"]


def test_a_port_of_the_api_is_free_where_the_api_listens(tmp_path: Path) -> None:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.2", 0))
        except OSError:
            pytest.skip("this machine has no second loopback address")
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is taken"):
            choose_ports(Settings(home=tmp_path, api_host="127.0.0.2", api_port=port), 0)
        assert choose_ports(Settings(home=tmp_path, api_port=port), 0)[1] == port


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.7", "a" * 300, "http://127.0.0.1"])
def test_an_api_cannot_listen_where_this_machine_is_not(tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match=r"WFOPS_API_HOST: .* is no address of this machine"):
        choose_ports(Settings(home=tmp_path, api_host=host), 0)


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", "127.0.0.1"])
def test_an_api_can_listen_at_any_address_of_this_machine(tmp_path: Path, host: str) -> None:
    assert all(choose_ports(Settings(home=tmp_path, api_host=host), 0))


def test_a_system_that_is_being_started_is_said_to_be_one(tmp_path: Path) -> None:
    with (only_system(tmp_path), pytest.raises(Blocked, match="being started by another process"),
          only_system(tmp_path)):
        pass
    with only_system(tmp_path) as tell:
        tell("http://127.0.0.1:1")
        told = system_record(tmp_path).read_text()
    system_record(tmp_path).write_text(told)  # one that was killed leaves it
    with (only_system(tmp_path), pytest.raises(Blocked, match="being started by another process"),
          only_system(tmp_path)):
        pass
    with only_system(tmp_path):
        pass


def test_a_home_with_a_long_path_gets_a_socket_that_fits_and_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    path = _socket_path(folder)
    try:
        assert len(os.fsencode(path)) <= LONGEST_SOCKET
        assert _socket_path(folder) == path
        assert path.parent.stat().st_mode & 0o777 == 0o700
    finally:
        path.parent.rmdir()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/server_info", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _sees_owners() -> bool:
    try:
        return any(c.pid for c in psutil.net_connections("tcp"))
    except psutil.Error:
        return False
