"""n8n 1.x and 2.x in one fleet: one workflow is one workflow, whichever generation runs it."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from wfops_pipelines.embedded.n8n_server import N8nServer
from wfops_pipelines_tests.end_to_end.real_fleet import Person, RealFleet, own_home
from wfops_pipelines_tests.end_to_end.real_workflows import workflows
from wfops_pipelines_tests.servers.bare import make_bare

pytestmark = [pytest.mark.n8n, pytest.mark.xdist_group("n8n1")]

WORKFLOWS = 12


def test_a_1x_dev_and_a_2x_staging_show_the_same_hash_and_no_difference(
        n8n_v1: N8nServer, n8n_v2: N8nServer, tmp_path: Path) -> None:
    with own_home(tmp_path) as wfops, closing(Person(n8n_v1)) as dev, closing(Person(n8n_v2)) as staging:
        fleet = RealFleet(wfops, {"dev": n8n_v1, "staging": n8n_v2})
        for person in (dev, staging):
            person.delete_everything()
        names = []
        for workflow in islice(workflows(), WORKFLOWS):
            dev.create(workflow)
            staging.create(workflow)
            names.append(workflow["name"])
        assert fleet.declare("acme", {"url": make_bare(tmp_path / "acme.git").url, "branch": "main"},
                             ["dev", "staging"]).code == 0
        assert fleet.run("export", "acme", "dev")["files"]

        rows = {row["environment"]: row for row in fleet.run("sync", "acme")}
        assert {slug: row["linked"] for slug, row in rows.items()} == {"dev": WORKFLOWS, "staging": WORKFLOWS}
        assert rows["staging"]["diff"]["stages"] == {"dev": {"unchanged": WORKFLOWS}}
        matrix = fleet.run("matrix", "acme")
        assert sorted(row["name"] for row in matrix) == sorted(names)
        for row in matrix:
            cells = row["environments"]
            assert cells["dev"]["hash"] == cells["staging"]["hash"], row["name"]
        assert fleet.run("diff", "acme/dev", "acme/staging", "--workflow", names[0])["equal"]
