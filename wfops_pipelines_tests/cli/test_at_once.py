"""Commands beside each other, and beside other users of the database."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from wfops_pipelines.store import migrate
from wfops_pipelines_tests.cli.fleet import Fleet
from wfops_pipelines_tests.servers.processes import eventually

pytestmark = pytest.mark.xdist_group("cli-at-once")


@pytest.fixture(scope="module")
def empty(fleet: Fleet) -> Iterator[Fleet]:
    """A fleet of three tenants whose database has its schema and nothing in it."""
    with fleet.document.open("a") as document:
        document.write("  - slug: beta\n  - slug: gamma\n")
    assert fleet.wfops("tenants", "--json").json == []
    yield fleet


class TestTwoApplies:
    def test_two_processes_that_apply_one_new_fleet_at_once_both_succeed_and_make_it_once(self, empty: Fleet) -> None:
        with psycopg.connect(empty.database["WFOPS_DATABASE_OWNER_URL"]) as gate:
            gate.execute("SELECT pg_advisory_xact_lock(hashtextextended('acme', 1))")  # both plan, and meet at the first tenant
            children = [subprocess.Popen(
                empty.wfops.command("apply", "-f", empty.document), cwd=empty.wfops.cwd, env=empty.wfops.environment(),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
            eventually(lambda: waiting(empty) == 2)
            gate.rollback()
        for child in children:
            _, said = child.communicate(timeout=120)
            assert (child.returncode, said) == (0, ""), said
        assert [row["tenant"] for row in empty.wfops("tenants", "--json").json] == ["acme", "beta", "gamma"]
        created = empty.wfops("audit", "list", "acme", "--action", "environment.created", "--json").json
        assert sorted(event["environment"] for event in created) == ["dev", "prod", "staging"]
        assert empty.wfops("audit", "verify").code == 0
        again = empty.wfops("apply", "-f", empty.document, "--json")
        assert (again.code, again.json["changes"]) == (0, [])


class TestMigrations:
    def test_one_that_is_held_up_names_who_holds_the_table_and_leaves_the_schema(self, empty: Fleet) -> None:
        owner = empty.database["WFOPS_DATABASE_OWNER_URL"]
        migrate.downgrade(owner, revision="0002")
        with psycopg.connect(owner, application_name="a-report") as other:
            other.execute("SELECT count(*) FROM tenants")
            done = empty.wfops("tenants")
            assert (done.code, done.out) == (1, "")
            assert done.err.startswith("error: the migration up to revision 0003 ") and "Traceback" not in done.err
            assert f"process {other.info.backend_pid} (wfops_owner, a-report) holds" in done.err and "\nfix: " in done.err
        assert empty.wfops("tenants").code == 0

    def test_one_that_fails_says_what_postgresql_said(self, empty: Fleet) -> None:
        owner = empty.database["WFOPS_DATABASE_OWNER_URL"]
        migrate.downgrade(owner)
        with psycopg.connect(owner, autocommit=True) as other:
            other.execute("CREATE TABLE tenants (in_the_way int)")
            done = empty.wfops("tenants")
            assert (done.code, done.out) == (1, "")
            assert 'revision 0001 ' in done.err and '"tenants" already exists' in done.err and "Traceback" not in done.err
            doctor = empty.wfops("doctor", "--offline", "--json")
            assert [finding["check"] for finding in doctor.json if not finding["ok"]] == ["database"]
            other.execute("DROP TABLE tenants")
        assert empty.wfops("tenants").code == 0


def waiting(fleet: Fleet) -> int:
    """How many sessions of the fleet's database wait for an advisory lock."""
    with psycopg.connect(fleet.database["WFOPS_DATABASE_OWNER_URL"]) as look:
        row = look.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database ="
                           " (SELECT oid FROM pg_database WHERE datname = current_database())").fetchone()
    assert row is not None
    return int(row[0])
