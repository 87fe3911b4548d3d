"""The disk is full (§25): the database's, and the one that holds the clones. A clear error that names what is full, nothing
half-done, and the same use case ends well once there is room."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from wfops_pipelines.domain.errors import StoreUnavailable
from wfops_pipelines_tests.servers.postgres import PostgresServer
from wfops_pipelines_tests.services.fleet import FleetUnderTest, file_bytes, workflow

FULL = Path("/dev/full")  # takes nothing: every write is answered with "No space left on device"

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full to stand for a full disk")


@contextmanager
def no_room_for(server: PostgresServer, fleet: FleetUnderTest, file_of: str) -> Iterator[None]:
    """PostgreSQL finds no room to extend a file that is still empty; ``file_of`` is SQL for its path."""
    database = str(conninfo_to_dict(fleet.urls.app)["dbname"])
    with psycopg.connect(server.admin_url, dbname=database, autocommit=True) as admin:
        data, file = admin.execute(
            sql.SQL("SELECT current_setting('data_directory'), pg_relation_filepath({})").format(
                sql.SQL(file_of))).fetchone() or ("", "")
    path = Path(data, file)
    assert path.stat().st_size == 0, "a file that holds something cannot be swapped"

    def forget_open_files() -> None:
        with psycopg.connect(server.admin_url, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", (database,))

    aside = path.with_name(f"{path.name}-aside")
    path.rename(aside)
    path.symlink_to(FULL)
    forget_open_files()
    try:
        yield
    finally:
        path.unlink()
        aside.rename(path)
        forget_open_files()


PAYLOADS = "'payloads'::regclass"
LARGE_PAYLOADS = "(SELECT reltoastrelid FROM pg_class WHERE oid = 'payloads'::regclass)"


def noise(size: int) -> str:
    """Text that no compression makes small."""
    return "".join(random.Random(size).choices(string.ascii_letters + string.digits, k=size))


@pytest.mark.parametrize("file_of", [PAYLOADS, LARGE_PAYLOADS], ids=["first_batch", "in_the_middle"])
def test_a_database_without_room_is_named_and_the_sync_goes_on_once_there_is_some(
        fleet: FleetUnderTest, postgres_server: PostgresServer, file_of: str) -> None:
    prod = fleet["prod"]
    fleet.with_limits(batch_size=1)
    prod.create_in_n8n(workflow("A"), workflow("B", text=noise(30_000)), workflow("C"))
    with no_room_for(postgres_server, fleet, file_of):
        with pytest.raises(StoreUnavailable, match=r"PostgreSQL has no room left.*No space left on device") as caught:
            prod.sync()
        assert (caught.value.fix, caught.value.exit_code) == ("free disk space", 5)
        assert (fleet.operations()[-1].state, fleet.operations()[-1].error_kind) == ("failed", "store_unavailable")
        before = set(prod.mappings())
        assert len(before) < 3
        assert not [row for row in prod.mappings().values() if row.status == "missing"]
        assert fleet.chain_verifies()
    result = prod.sync()
    assert (result.seen, result.created, result.unchanged) == (3, 3 - len(before), len(before))
    assert fleet.chain_verifies()


def test_a_database_without_room_for_files_of_git_reads_them_all_the_next_time(
        fleet: FleetUnderTest, postgres_server: PostgresServer) -> None:
    prod = fleet["prod"]
    prod.push_files({"a.json": file_bytes(workflow("A")), "b.json": file_bytes(workflow("B", text=noise(30_000)))})
    with no_room_for(postgres_server, fleet, LARGE_PAYLOADS):
        with pytest.raises(StoreUnavailable, match="no room left"):
            prod.read_git()
        assert prod.row.git_commit is None
    assert prod.read_git().added == 2
    assert set(prod.git_states()) == {"a.json", "b.json"}
    assert fleet.chain_verifies()
