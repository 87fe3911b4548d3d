"""An n8n without workflows and one with two thousand, the whole way by the command line (§6, §7, §25)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wfops_pipelines_tests.cli.fleet import Fleet, running_fleet, workflow
from wfops_pipelines_tests.servers.postgres import PostgresServer

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("sizes")]

MANY = 2_000


@pytest.fixture(scope="module")
def sizes(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """``staging`` has no workflow, ``prod`` has two thousand."""
    with running_fleet(postgres_server, tmp_path_factory.mktemp("sizes")) as fleet:
        fleet.sandboxes["prod"].state.seed_workflows([workflow(f"Flow {n}", active=n % 2 == 0) for n in range(MANY)])
        assert fleet.wfops("apply", "-f", fleet.document).code == 0
        yield fleet


def test_none_and_two_thousand_are_read_exported_once_and_in_sync(sizes: Fleet) -> None:
    staging, prod = sizes.wfops("sync", "acme", "staging", "prod", "--json").json
    assert (staging["seen"], staging["created"], staging["missing"]) == (0, 0, 0) and "error" not in staging
    assert (prod["seen"], prod["created"], prod["missing"], prod["errors"]) == (MANY, MANY, 0, 0)

    nothing = sizes.wfops("export", "acme", "staging", "--json")
    assert (nothing.code, nothing.json["commit"], nothing.json["files"]) == (0, None, [])
    everything = sizes.wfops("export", "acme", "prod", "--json")
    assert (everything.code, len(everything.json["files"]), everything.json["commit"]) == (0, MANY, sizes.repository.head())
    assert sizes.repository.text("rev-list", "--count", "main") == "1"
    assert len(sizes.repository.text("ls-tree", "-r", "--name-only", "main").splitlines()) == MANY

    again = sizes.wfops("export", "acme", "prod", "--json")
    assert (again.code, again.json["commit"], again.json["unchanged"]) == (0, None, MANY)
    assert sizes.repository.text("rev-list", "--count", "main") == "1"

    sizes.edit("prod", f"Flow {MANY - 1}", node=("Call", {"url": "https://elsewhere.example"}))
    checked = sizes.wfops("drift", "acme", "--json")
    states = {row["environment"]: (row["status"], [w["name"] for w in row["workflows"]]) for row in checked.json}
    assert (checked.code, states["prod"]) == (3, ("DRIFT_DETECTED", [f"Flow {MANY - 1}"]))
    assert states["staging"][1] == []
