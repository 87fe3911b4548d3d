"""``deploy/kubernetes/roles.sql`` makes the roles and databases that an installation with a URL for each role needs (§2.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from wfops_pipelines.bootstrap import open_installation
from wfops_pipelines.domain.fleet import load_fleet
from wfops_pipelines.services.apply_fleet import apply_fleet
from wfops_pipelines.settings import Settings
from wfops_pipelines.store.roles import Role, powers, role_url
from wfops_pipelines.store.secrets import generate_key
from wfops_pipelines_tests.deploy.files import DEPLOY, read
from wfops_pipelines_tests.servers.postgres import PostgresServer

TEXT = (DEPLOY / "kubernetes/roles.sql").read_text()
ROLES = ("owner", "app", "system", "dagster")


def statements(prefix: str, passwords: dict[str, str]) -> list[str]:
    """What psql sends, with another prefix than the tests' own installation has."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith(("--", "\\"))).replace("wfops", prefix)
    filled = re.sub(r":'(\w+)'", lambda found: f"'{passwords[found[1]]}'", lines)
    return [one.strip() for one in filled.split(";") if one.strip()]


@pytest.fixture
def urls(postgres_server: PostgresServer) -> Iterator[dict[str, str]]:
    """The URL of each role that the file made."""
    prefix = f"r{token_hex(4)}"
    passwords = {role: token_hex(12) for role in ROLES}
    with psycopg.connect(postgres_server.admin_url, autocommit=True) as admin:
        for statement in statements(prefix, passwords):
            admin.execute(statement.encode())
        yield {role: role_url(postgres_server.admin_url, Role(f"{prefix}_{role}", role == "owner", passwords[role]),
                              f"{prefix}_dagster" if role == "dagster" else prefix) for role in ROLES}
        for database in (prefix, f"{prefix}_dagster"):
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))
        for role in ROLES:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(f"{prefix}_{role}")))


def test_an_installation_opens_and_a_fleet_is_applied(urls: dict[str, str], tmp_path: Path) -> None:
    given = {name: SecretStr(url) for name, url in urls.items()}
    settings = Settings(home=tmp_path, secret_key=SecretStr(generate_key()), database_owner_url=given["owner"],
                        database_app_url=given["app"], database_system_url=given["system"],
                        dagster_database_url=given["dagster"], role_prefix=powers(urls["owner"]).name.removesuffix("_owner"))
    fleet = load_fleet("version: 1\ntenants:\n  - slug: acme\n    environments:\n"
                       "      - {slug: prod, class: production, url: 'http://127.0.0.1:1', api_key: 'env:KEY'}\n", file="fleet.yaml")
    with open_installation(settings) as installation:
        apply_fleet(installation.services, fleet, lambda _: "key", actor="local:test")
        with installation.services.store.system() as system:
            assert [row.slug for row in system.environments()] == ["prod"]
    with psycopg.connect(urls["dagster"]) as dagster:
        dagster.execute("CREATE TABLE runs (id int)")


def test_only_the_owner_passes_row_level_security_and_nobody_is_a_superuser(urls: dict[str, str]) -> None:
    found = {role: powers(url) for role, url in urls.items()}
    assert {role: one.bypasses_rls for role, one in found.items()} == {
        "owner": True, "app": False, "system": False, "dagster": False}
    assert not any(one.superuser for one in found.values())


def test_dagsters_database_is_that_of_the_chart() -> None:
    told = read("kubernetes/values.yaml")["postgresql"]
    assert f"CREATE DATABASE {told['postgresqlDatabase']} OWNER {told['postgresqlUsername']} " in TEXT
