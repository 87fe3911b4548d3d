"""``wfops link``, ``unlink``, ``ignore``, ``unignore`` (§5.3) and ``secrets rotate`` (§2.5)."""

from __future__ import annotations

import pytest

from wfops_pipelines_tests.cli.fleet import Fleet
from wfops_pipelines_tests.servers.postgres import TEST_KEY

pytestmark = pytest.mark.xdist_group("cli-mappings")

NEW_KEY = "YSBuZXcga2V5IHRoYXQgaXMgcHV0IGluIGZyb250ISE="


@pytest.fixture(scope="module")
def exported(fleet: Fleet) -> Fleet:
    """dev and prod are in Git, and linked."""
    assert fleet.wfops("apply", "-f", fleet.document).code == 0
    for environment in ("dev", "prod"):
        assert fleet.wfops("export", "acme", environment).code == 0
    return fleet


def test_unlinking_is_kept_by_the_next_sync_and_hides_no_drift(exported: Fleet) -> None:
    shown = exported.wfops("unlink", "acme", "prod", "Orders", "--dry-run", "--json")
    assert (shown.json["changed"], shown.json["dry_run"], shown.json["after"]["status"]) == (True, True, "untracked")
    done = exported.wfops("unlink", "acme", "prod", "Orders", "--json")
    canonical_id = done.json["before"]["canonical_id"]
    assert (done.json["before"]["status"], done.json["after"]) == ("linked", {"status": "untracked", "canonical_id": None})
    exported.edit("prod", "Orders", node=("Call", {"url": "https://elsewhere.example"}))
    drift = exported.wfops("drift", "acme", "prod", "--json")
    assert (drift.code, [(w["name"], w["kind"]) for w in drift.json[0]["workflows"]]) == (3, [("Orders", "modified")])
    exported.edit("prod", "Orders", node=("Call", {"url": "https://example.com"}))
    synced = exported.wfops("sync", "acme", "prod", "--json").json[0]
    assert (synced["linked"], synced["untracked"]) == (2, 1)
    linked = exported.wfops("link", "acme", "prod", exported.workflow_id("prod", "Orders"), "Orders", "--json")
    assert linked.json["after"] == {"status": "linked", "canonical_id": canonical_id}
    actions = {event["action"] for event in exported.wfops("audit", "list", "acme", "--json").json}
    assert actions >= {"mapping.unlinked", "mapping.linked"}


def test_a_conflict_is_refused_and_says_with_whom(exported: Fleet) -> None:
    taken = exported.wfops("link", "acme", "dev", "Invoices", "Reports")
    assert taken.code == 4 and "linked to another canonical workflow" in taken.err
    assert f"fix: wfops unlink acme dev {exported.workflow_id('dev', 'Invoices')}" in taken.err
    unknown = exported.wfops("link", "acme", "dev", "Nothing", "Reports")
    assert unknown.code == 2 and "acme/dev has no workflow 'Nothing'" in unknown.err
    nobody = exported.wfops("link", "acme", "dev", "Invoices", "Nothing")
    assert nobody.code == 2 and "no canonical workflow 'Nothing'" in nobody.err


def test_what_is_ignored_does_not_drift_and_is_counted(exported: Fleet) -> None:
    assert exported.wfops("ignore", "acme", "prod", "Reports").out.startswith("ignored: Reports (")
    exported.edit("prod", "Reports", node=("Call", {"url": "https://elsewhere.example"}))
    drift = exported.wfops("drift", "acme", "prod", "--json")
    assert drift.json[0]["counts"]["ignored"] == 1
    assert "Reports" not in {w["name"] for w in drift.json[0]["workflows"]}
    assert exported.wfops("ignore", "acme", "prod", "Reports").out.startswith("nothing to change")
    assert exported.wfops("unignore", "acme", "prod", "Reports", "--json").json["after"]["status"] == "linked"
    exported.edit("prod", "Reports", node=("Call", {"url": "https://example.com"}))


def test_secrets_are_encrypted_anew_and_the_old_key_can_go(exported: Fleet) -> None:
    both = {"WFOPS_SECRET_KEY": f"{NEW_KEY},{TEST_KEY}"}
    shown = exported.wfops("secrets", "rotate", "--dry-run", "--json", **both).json
    assert (shown["tenants"], shown["installation"], shown["dry_run"]) == ({"acme": 3}, 1, True)
    done = exported.wfops("secrets", "rotate", "--json", **both).json
    assert (done["tenants"], done["installation"], done["rotated"]) == ({"acme": 3}, 1, 4)
    new = {"WFOPS_SECRET_KEY": NEW_KEY}
    assert "nothing to do" in exported.wfops("secrets", "rotate", **new).out
    assert exported.wfops("audit", "verify", **new).code == 0
    assert exported.wfops("sync", "acme", "dev", **new).code == 0
    back = exported.wfops("secrets", "rotate", WFOPS_SECRET_KEY=f"{TEST_KEY},{NEW_KEY}")
    assert back.code == 0
