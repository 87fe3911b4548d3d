"""Opening an installation, and its keys (§2.5): made once, rotated without losing anything, and a wrong one refused (§25)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from wfops_pipelines.bootstrap import Installation, open_installation, read_keys
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import InvalidSetting, SecretUnreadable
from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines.services.audit_trail import verify_tenant
from wfops_pipelines.settings import Settings, system_record
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.secrets import SecretBox, generate_key, key_id
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.servers.postgres import FAST, TEST_KEY, reachable_base
from wfops_pipelines_tests.servers.processes import child_environment
from wfops_pipelines_tests.store.stores import context_for, open_store

OPEN = """
import hashlib, json
from wfops_pipelines.bootstrap import open_installation
with open_installation() as installation:
    print(json.dumps([hashlib.sha256(installation.services.store.audit_key).hexdigest(), installation.urls.app]))
"""


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The administrator's URL of a server where an installation may have the usual names."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("server") / "home", base=reachable_base(), settings=FAST)
    with server.acquire(ephemeral=True) as holder:
        yield holder.admin_url()


@pytest.fixture
def database_url(server_url: str) -> str:
    """The server, without anything of ours on it."""
    with psycopg.connect(server_url, autocommit=True) as admin:
        for database in ("wfops", "dagster"):
            admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)".encode())
        for role in ("owner", "app", "system", "dagster"):
            admin.execute(f"DROP ROLE IF EXISTS wfops_{role}".encode())
    return server_url


def settings_for(home: Path, database_url: str | None, *keys: str) -> Settings:
    return Settings(home=home, database_url=None if database_url is None else SecretStr(database_url),
                    secret_key=SecretStr(",".join(keys)) if keys else None)


def new_tenant(installation: Installation) -> Context:
    context = context_for(uuid4(), "acme")
    with installation.services.store.unit_of_work(context, "test.tenant") as work:
        work.fleet.save_tenant(slug="acme", name="Acme")
        work.fleet.save_secret("environment/prod/api_key", "hunter2")
        work.record("tenant.created", "tenant", "acme")
    return context


# -- keys ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["database_url", "database_owner_url"])
def test_an_external_database_without_a_key_refuses_to_start(tmp_path: Path, setting: str) -> None:
    settings = settings_for(tmp_path, None).model_copy(update={setting: SecretStr("postgresql://db.example.com/x")})
    with pytest.raises(InvalidSetting, match="WFOPS_SECRET_KEY is not set") as caught:
        open_installation(settings)
    assert "wfops secrets generate" in str(caught.value.fix)
    assert list(tmp_path.iterdir()) == [], "no key is made that nobody would keep"


def test_the_embedded_database_gets_a_key_of_its_own(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home", None)
    assert read_keys(settings).key_ids == read_keys(settings).key_ids
    assert (tmp_path / "home" / "secret.key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_none_is_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="WFOPS_SECRET_KEY") as caught:
        read_keys(settings_for(tmp_path, None, "hunter2"))
    assert "hunter2" not in str(caught.value)


# -- opening -------------------------------------------------------------------------------------------------------------


def test_opening_twice_changes_nothing(tmp_path: Path, database_url: str) -> None:
    settings, seen = settings_for(tmp_path, database_url, TEST_KEY), set()
    for _ in range(2):
        with open_installation(settings) as installation, psycopg.connect(database_url) as admin:
            row = admin.execute("SELECT string_agg(xmin::text, ',' ORDER BY rolname) FROM pg_authid"
                                " WHERE rolname LIKE 'wfops%'").fetchone()
            seen.add((installation.urls.app, installation.services.store.audit_key, row))
    assert len(seen) == 1


def test_links_point_to_where_the_homes_system_listens_unless_a_setting_says_where(tmp_path: Path, database_url: str) -> None:
    def link(**more: str) -> str:
        with open_installation(settings_for(tmp_path, database_url, TEST_KEY).model_copy(update=more)) as installation:
            return installation.ui_url

    assert link() == "http://127.0.0.1:3000"
    system_record(tmp_path).parent.mkdir()
    system_record(tmp_path).write_text(json.dumps({"url": "http://127.0.0.1:3007", "pid": 1}))
    assert link() == "http://127.0.0.1:3007"
    assert link(ui_url="https://wfops.example/") == "https://wfops.example"
    for broken in ("", "[]", '{"pid": 1}'):
        system_record(tmp_path).write_text(broken)
        assert link() == "http://127.0.0.1:3000"


def test_two_processes_that_open_an_empty_server_at_once_agree(tmp_path: Path, database_url: str) -> None:
    environment = {**child_environment(), "WFOPS_DATABASE_URL": database_url, "WFOPS_SECRET_KEY": TEST_KEY,
                   "WFOPS_HOME": str(tmp_path)}
    children = [subprocess.Popen([sys.executable, "-c", OPEN], env=environment, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = []
    for child in children:
        output, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
        said.append(json.loads(output))
    assert said[0] == said[1]


def test_no_repr_shows_a_password_or_key(tmp_path: Path, database_url: str) -> None:
    with open_installation(settings_for(tmp_path, database_url, TEST_KEY)) as installation:
        password = str(psycopg.conninfo.conninfo_to_dict(installation.urls.app)["password"])
        for thing in (installation, installation.urls, installation.secrets, installation.settings):
            assert password not in repr(thing)
            assert TEST_KEY not in repr(thing)


# -- a wrong key ---------------------------------------------------------------------------------------------------------


def test_a_wrong_key_is_refused_and_locks_nobody_out(tmp_path: Path, database_url: str) -> None:
    wrong = generate_key()
    with open_installation(settings_for(tmp_path, database_url, TEST_KEY)) as installation:
        acme = new_tenant(installation)
        with pytest.raises(SecretUnreadable, match="WFOPS_SECRET_KEY is not the key of this database") as caught:
            open_installation(settings_for(tmp_path, database_url, wrong))
        assert key_id(TEST_KEY) in str(caught.value), "the key that is missing is named"
        assert "set WFOPS_SECRET_KEY to the key this database was made with" in str(caught.value.fix)
        assert wrong not in str(caught.value)
        psycopg.connect(installation.urls.app).close()  # a new connection: the passwords are what they were
        with installation.services.store.read(acme) as work:
            assert work.fleet.secret("environment/prod/api_key") == "hunter2"


def test_a_wrong_key_with_roles_made_by_hand_is_refused_too(tmp_path: Path, database_url: str) -> None:
    with open_installation(settings_for(tmp_path, database_url, TEST_KEY)) as installation:
        urls = installation.urls
        by_hand = Settings(
            home=tmp_path, database_url=None, secret_key=SecretStr(generate_key()), database_owner_url=SecretStr(urls.owner),
            database_app_url=SecretStr(urls.app), database_system_url=SecretStr(urls.system),
            dagster_database_url=SecretStr(urls.dagster))
        with pytest.raises(SecretUnreadable, match="not the key of this database"):
            open_installation(by_hand)
        with open_installation(by_hand.model_copy(update={"secret_key": SecretStr(TEST_KEY)})) as again:
            assert again.services.store.audit_key == installation.services.store.audit_key


def test_a_secret_that_no_key_opens_is_named_and_can_be_set_again(store: Store, acme: Context) -> None:
    lost = generate_key()
    with store.bookkeeping(acme, "test.secret") as work:
        work.fleet.save_secret("environment/prod/api_key", "old")
        work.connection.exec_driver_sql("UPDATE secrets SET token = %(token)s", {"token": f"{key_id(lost)}.gAAAA"})
        with pytest.raises(SecretUnreadable, match=f"secret environment/prod/api_key: .*{key_id(lost)}") as caught:
            work.fleet.secret("environment/prod/api_key")
        assert "set the secret again" in str(caught.value.fix)
        with pytest.raises(SecretUnreadable, match="secret environment/prod/api_key"):
            work.fleet.rotate_secrets()
        assert work.fleet.save_secret("environment/prod/api_key", "new")
        assert work.fleet.secret("environment/prod/api_key") == "new"


# -- rotation ------------------------------------------------------------------------------------------------------------


def test_after_a_rotation_and_without_the_old_key_everything_is_still_readable(tmp_path: Path, database_url: str) -> None:
    new = generate_key()
    with open_installation(settings_for(tmp_path, database_url, TEST_KEY)) as installation:
        acme = new_tenant(installation)
        anchor = verify_tenant(installation.services, acme)

    with open_installation(settings_for(tmp_path, database_url, new, TEST_KEY)) as installation:
        store = installation.services.store
        with store.system() as system:
            assert system.secret_keys() == {key_id(TEST_KEY): 1}
        with store.unit_of_work(acme, "test.rotate") as work:
            assert work.fleet.rotate_secrets() == 1
            assert work.fleet.rotate_secrets() == 0
            work.record("secrets.rotated", "tenant", "acme")
        assert (installation.rotate_secrets(), installation.rotate_secrets()) == (1, 0)
        with store.system() as system:
            assert system.secret_keys() == {key_id(new): 1}

    with open_installation(settings_for(tmp_path, database_url, new)) as installation:
        store = installation.services.store
        with store.unit_of_work(acme, "test.after") as work:
            assert work.fleet.secret("environment/prod/api_key") == "hunter2"
            work.record("environment.synced", "environment", "prod")
        verdict = verify_tenant(installation.services, acme)
        assert (verdict.ok, verdict.events) == (True, anchor.events + 2)

    with pytest.raises(SecretUnreadable, match="not the key of this database"):
        open_installation(settings_for(tmp_path, database_url, TEST_KEY))


def test_a_key_dropped_before_the_rotation_is_refused(tmp_path: Path, database_url: str) -> None:
    new = generate_key()
    with open_installation(settings_for(tmp_path, database_url, TEST_KEY)):
        pass
    with open_installation(settings_for(tmp_path, database_url, new, TEST_KEY)):
        pass
    with pytest.raises(SecretUnreadable) as caught:
        open_installation(settings_for(tmp_path, database_url, new))
    assert "secrets rotate" in str(caught.value.fix)


def test_a_rotation_that_fails_half_way_leaves_every_secret_as_it_was(store: Store, store_urls: Urls, acme: Context) -> None:
    with store.bookkeeping(acme, "test.secrets") as work:
        for name in ("a", "b", "c"):
            work.fleet.save_secret(name, name)
        work.connection.exec_driver_sql("UPDATE secrets SET token = 'damaged' WHERE name = 'b'")
    rotated = open_store(store_urls, SecretBox([generate_key(), TEST_KEY]))
    try:
        with pytest.raises(SecretUnreadable, match="secret b"), rotated.unit_of_work(acme, "test.rotate") as work:
            work.fleet.rotate_secrets()
            work.record("secrets.rotated", "tenant", "acme")
        with store.read(acme) as work:
            assert (work.fleet.secret("a"), work.fleet.secret("c")) == ("a", "c")
    finally:
        rotated.close()
