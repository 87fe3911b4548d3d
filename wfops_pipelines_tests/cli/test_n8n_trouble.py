"""An n8n that answers wrongly, and a wrong key, at each kind of command (§25). What the first test file of failures has is
not repeated here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wfops_pipelines.n8n.sandbox import Fault
from wfops_pipelines_tests.cli.fleet import Fleet, workflow

pytestmark = pytest.mark.xdist_group("cli-trouble")

OTHER_KEY = "YW5vdGhlciBrZXkgdGhhdCBvcGVucyBub3RoaW5nISE="


@pytest.fixture(scope="module")
def synced(fleet: Fleet) -> Fleet:
    """The fleet, applied, and read once: ten workflows in prod."""
    fleet.sandboxes["prod"].state.seed_workflows([workflow(f"Flow {n}") for n in range(7)])
    assert fleet.wfops("apply", "-f", fleet.document).code == 0
    assert [row["seen"] for row in fleet.wfops("sync", "acme", "--json").json] == [3, 3, 10]
    return fleet


@contextmanager
def troubles(fleet: Fleet, **kinds: tuple[str, dict[str, object]]) -> Iterator[dict[str, Fault]]:
    """Something else goes wrong on the way to each n8n."""
    try:
        yield {slug: fleet.sandboxes[slug].faults.add(kind, **options) for slug, (kind, options) in kinds.items()}
    finally:
        for slug in kinds:
            fleet.sandboxes[slug].faults.clear()


def test_redirects_other_json_and_listings_cut_off_are_told_apart_and_nothing_becomes_missing(synced: Fleet) -> None:
    attempts = {"WFOPS_REQUEST_ATTEMPTS": "1", "WFOPS_PAGE_SIZE": "4"}
    with troubles(synced, dev=("redirect", {}), staging=("wrong_json", {}), prod=("cut", {"method": "GET", "path": "/workflows$", "after": 1})) as faults:
        done = synced.wfops("sync", "acme", "--json", **attempts)
        checked = synced.wfops("drift", "acme", "dev", "staging", "prod", "--json", **attempts)
    assert all(fault.hits for fault in faults.values())
    rows = {row["environment"]: row for row in done.json}
    assert (done.code, done.err) == (5, "")
    assert {slug: row["error"]["kind"] for slug, row in rows.items()} == {
        "dev": "not_n8n", "staging": "not_n8n", "prod": "incomplete_read"}
    for slug, row in rows.items():
        assert synced.urls[slug] in row["error"]["message"] and row["seen"] is None, row
    assert checked.code == 5 and {row["status"] for row in checked.json} == {"ERROR"}
    assert [row["workflows"] for row in checked.json] == [[], [], []]
    row, = synced.wfops("sync", "acme", "prod", "--json").json
    assert (row["seen"], row["unchanged"], row["missing"]) == (10, 10, 0)


@pytest.mark.parametrize("command", [
    ("sync", "acme"), ("drift", "acme"), ("export", "acme", "prod"), ("audit", "verify")], ids=" ".join)
def test_a_wrong_key_stops_each_kind_of_command_before_it_does_anything(synced: Fleet, command: tuple[str, ...]) -> None:
    done = synced.wfops(*command, WFOPS_SECRET_KEY=OTHER_KEY)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ") and "WFOPS_SECRET_KEY" in done.err and "Traceback" not in done.err
    assert OTHER_KEY not in done.err


def test_a_declaration_with_a_wrong_key_changes_nothing_and_locks_nobody_out(synced: Fleet) -> None:
    changed = synced.document.read_text().replace("name: Acme Corp", "name: Somebody else")
    done = synced.wfops("apply", "-f", "-", text=changed, WFOPS_SECRET_KEY=OTHER_KEY)
    assert (done.code, done.out) == (1, "") and "WFOPS_SECRET_KEY" in done.err
    again = synced.wfops("apply", "-f", synced.document, "--json")
    assert (again.code, again.json["changes"]) == (0, [])
