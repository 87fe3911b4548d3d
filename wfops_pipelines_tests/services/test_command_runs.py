"""A command's run says that it lives, and nobody takes it for dead before it was silent for many looks (§20)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wfops_pipelines.domain.errors import StoreError
from wfops_pipelines.services.command_runs import SILENT_LOOKS, forget, living_run, silent_runs
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.servers.postgres import PostgresServer
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.services.fleet import NewFleet
from wfops_pipelines_tests.services.test_store_lost import outage_of

NEVER = 3600.0


def looked(store: Store, times: int) -> list[str]:
    """The silent runs after so many looks."""
    return [silent_runs(store) for _ in range(times)][-1]


def speaks(store: Store, run_id: str) -> Callable[[], bool]:
    """Whether a run said that it lives since it was last looked at."""
    def said() -> bool:
        with store.command_runs() as runs:
            return run_id not in runs.look(silent_after=2)
    return said


def test_a_run_is_silent_after_so_many_looks_in_a_row_and_until_it_is_forgotten(new_fleet: NewFleet) -> None:
    store = new_fleet().services.store
    with living_run(store, "long", every=NEVER), living_run(store, "longer", every=NEVER):
        assert looked(store, SILENT_LOOKS - 1) == []
        with store.command_runs() as runs:
            runs.speak("long")
        assert looked(store, 1) == ["longer"]
        assert looked(store, SILENT_LOOKS - 1) == ["long", "longer"]
        forget(store, ["longer"])
        assert looked(store, 1) == ["long"]
        with store.command_runs() as runs:
            runs.speak("longer")  # it was stopped for a while, and goes on
        assert looked(store, SILENT_LOOKS) == ["long", "longer"]
    assert looked(store, SILENT_LOOKS) == []


def test_a_run_that_fails_is_forgotten(new_fleet: NewFleet) -> None:
    store = new_fleet().services.store
    with pytest.raises(ZeroDivisionError), living_run(store, "one", every=NEVER):
        raise ZeroDivisionError
    assert looked(store, SILENT_LOOKS) == []


def test_a_database_that_is_away_for_a_while_ends_no_run_and_silences_none(new_fleet: NewFleet,
                                                                          postgres_server: PostgresServer) -> None:
    fleet = new_fleet()
    store, outage = fleet.services.store, outage_of(fleet, postgres_server)
    with living_run(store, "one", every=0.01):
        outage.begin(lasting=True)
        with pytest.raises(StoreError):
            silent_runs(store)
        outage.end()
        for _ in range(3):
            eventually(speaks(store, "one"))
    with living_run(store, "two", every=0.01):
        outage.begin(lasting=True)
    outage.end()
    assert looked(store, SILENT_LOOKS) == ["two"]  # it could not say that it ended: whoever looks forgets it
    forget(store, ["two"])
    assert looked(store, SILENT_LOOKS) == []
