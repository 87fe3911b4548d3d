"""What a restore brings back is what the snapshot holds, to the letter; and a killed one comes to an end (§11.8, §13)."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from wfops_pipelines.domain.canonical_json import encode
from wfops_pipelines.n8n.sandbox.javascript import parse
from wfops_pipelines_tests.end_to_end.real_workflows import CORPUS, workflows
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, calling, with_credential, workflow
from wfops_pipelines_tests.services.promotions import by_name, held, promote, promoting_fleet, request, told
from wfops_pipelines_tests.services.restores import ask, restorable, restorable_fleet, restore
from wfops_pipelines_tests.services.snapshots import held as held_by
from wfops_pipelines_tests.services.snapshots import snapshot

COUNT = 40
CREDENTIALS = [{"key": "crm", "type": "httpBasicAuth", "environments": {
    "dev": {"name": "crm-test"}, "prod": {"name": "crm-live", "id": "live-1"}}}]


def contents(environment: Environment) -> dict[str, bytes]:
    """What n8n holds, by name, every key of every node; what settings mean is in the hash."""
    return {name: encode([record.draft.node_list, parse(record.draft.connections)])
            for name, i in by_name(environment).items() if (record := environment.raw(i))}


def hashes(environment: Environment, report: Any) -> dict[str, str]:
    """Content hashes of a snapshot, by name."""
    return {each.name: each.content_hash for each in held_by(environment, report).workflows}


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real workflows is not there (../shared/corpus)")
@pytest.mark.parametrize("how", ["edited", "deleted"])
def test_real_workflows_come_back_to_the_letter(new_fleet: NewFleet, how: str) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    ids = prod.create_in_n8n(*islice(workflows(), COUNT))
    before = snapshot(prod)
    was = contents(prod)
    for each in ids:
        if how == "edited":
            prod.edit_in_n8n(each, nodes=workflow("x")["nodes"], connections={}, settings={"executionOrder": "v1"})
        else:
            prod.delete_in_n8n(each)
    done = restore(prod, before, allow_large="a test", allow_irreversible=True)
    assert done.status == "completed" and sum(each["status"] == "success" for each in done.workflows) == COUNT
    assert contents(prod) == was
    assert hashes(prod, snapshot(prod)) == hashes(prod, before)
    assert ask(prod, before).status == "unchanged"


def test_placeholders_addresses_and_credentials_stay_as_they_were(new_fleet: NewFleet) -> None:
    prod = restorable(new_fleet, credentials=[{**CREDENTIALS[0], "environments": {"prod": {"name": "crm-live", "id": "new"}}}])
    prod.fleet.declared("prod")["variables"] = {"HOST": "https://crm.example"}
    prod.fleet.apply()
    for key in ("old", "new"):
        prod.sandbox.state.seed_credential(f"crm-{key}", "httpBasicAuth", id=key)
    texts = ["{{env.HOST}}/x {{wfops.base_url}}", f"{prod.url}/webhook/1", "https://crm.example/y"]
    ids = prod.create_in_n8n(with_credential("One", "crm-old", "old", text=texts[0]),
                             *(workflow(f"T{number}", text=text) for number, text in enumerate(texts)))
    before = snapshot(prod)
    was = contents(prod)
    for each in ids:
        prod.edit_in_n8n(each, nodes=workflow("x")["nodes"])
    restore(prod, before)
    assert contents(prod) == was


def test_a_credential_that_is_gone_is_named_and_keeps_nothing_from_coming_back(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    prod.sandbox.state.seed_credential("crm-live", "httpBasicAuth", id="live-1")
    (one,) = prod.in_sync(with_credential("One", "crm-live", "live-1"))
    before = snapshot(prod)
    prod.edit_in_n8n(one)
    assert not ask(prod, before, dry_run=True).notes
    del prod.sandbox.state.credentials["live-1"]
    warned = ask(prod, before, dry_run=True)
    assert warned.status == "approved" and "crm-live" in warned.notes[0]
    assert restore(prod, before).status == "completed"


def test_a_promotion_after_a_restore_promotes_again_what_the_restore_took_back(new_fleet: NewFleet) -> None:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), credentials=CREDENTIALS)
    dev, prod = fleet["dev"], fleet["prod"]
    dev.sandbox.state.seed_credential("crm-test", "httpBasicAuth", id="test-1")
    prod.sandbox.state.seed_credential("crm-live", "httpBasicAuth", id="live-1")
    (one,) = dev.create_in_n8n(with_credential("One", "crm-test", "test-1"))
    promote(fleet)
    first = snapshot(prod)
    was = contents(prod)
    dev.edit_in_n8n(one, "second")
    promote(fleet)
    second = contents(prod)
    restore(prod, first)
    assert contents(prod) == was and prod.check().status == "IN_SYNC"
    again = request(fleet)
    assert again.status == "approved" and again.plan["counts"]["update"] == 1
    assert promote(fleet).status == "completed" and contents(prod) == second
    assert request(fleet).status == "unchanged"


def changed_since(new_fleet: NewFleet) -> FleetUnderTest:
    """A restore with an update, two creates of which one calls the other, and an archive; approved as p2."""
    prod = restorable(new_fleet)
    one, called = prod.in_sync(workflow("One"), workflow("Called"))
    (caller,) = prod.create_in_n8n(calling("Caller", called))
    prod.sync()
    prod.export()
    before = snapshot(prod)
    prod.edit_in_n8n(one, "worse")
    prod.delete_in_n8n(called)
    prod.delete_in_n8n(caller)
    prod.create_in_n8n(workflow("New"))
    for _ in range(2):
        assert ask(prod, before, prune=True).status == "approved"
    return prod.fleet


@pytest.mark.parametrize("failpoint", [
    "runtime.create.after", "runtime.put.after", "promotion.complete.before", "promotion.complete.after"])
def test_a_killed_restore_is_brought_to_its_end(new_fleet: NewFleet, failpoint: str) -> None:
    fleet = new_fleet.as_left_by(changed_since)
    prod = fleet["prod"]
    killed = run_in_child(prod, "execute", f"{failpoint}=kill@1")
    assert killed.returncode != 0, killed.stderr
    fleet.clock.pass_time(minutes=30)
    assert prod.check().error is None
    report = told(fleet, 2)
    assert report.status == "completed", (report.status, report.reason)
    names = by_name(prod)
    assert sorted(names) == ["Called", "Caller", "One"] and len(held(prod)) == 4
    assert prod.raw(names["Caller"]).draft.node_list[2]["parameters"]["workflowId"]["value"] == names["Called"]
    assert prod.check().status == "IN_SYNC"
