"""``wfops snapshot create``, ``list``, ``show``, ``diff`` (§13)."""

from __future__ import annotations

import pytest

from wfops_pipelines_tests.cli.fleet import Fleet

pytestmark = pytest.mark.xdist_group("cli-snapshots")


@pytest.fixture(scope="module")
def applied(fleet: Fleet) -> Fleet:
    assert fleet.wfops("apply", "-f", fleet.document).code == 0
    return fleet


def test_the_story_of_a_snapshot(applied: Fleet) -> None:
    wfops = applied.wfops
    none = wfops("snapshot", "show", "acme", "prod")
    assert none.code == 2 and "acme/prod has no snapshot" in none.err and "wfops snapshot create acme prod" in none.err
    assert wfops("snapshot", "list", "acme", "prod").out == "there is no snapshot of acme/prod\n"

    made = wfops("snapshot", "create", "acme", "prod", "--name", "before the move", "--json")
    assert made.code == 0 and made.quiet
    assert (made.json["workflows"], made.json["active"], made.json["same_as"]) == (3, 2, None)
    first = made.json["snapshot_id"]
    again = wfops("snapshot", "create", "acme", "prod")
    assert again.code == 0 and f"it holds the same as snapshot {first[:8]}\n" in again.out

    listed = wfops("snapshot", "list", "acme", "prod", "--json").json
    assert [row["name"] for row in listed] == [None, "before the move"] and listed[1]["snapshot_id"] == first
    assert listed[0]["address"] == listed[1]["address"]
    older = wfops("snapshot", "list", "acme", "--before", listed[0]["snapshot_id"])
    assert "before the move" in older.out and listed[0]["snapshot_id"][:8] not in older.out

    shown = wfops("snapshot", "show", "acme", "prod", first[:8])
    assert shown.code == 0 and "manual backup: before the move" in shown.out
    assert [line.split()[0] for line in shown.out.splitlines()[4:]] == ["Invoices", "Orders", "Reports"]
    content = wfops("snapshot", "show", "acme", "prod", first, "--workflow", "Orders").json
    assert (content["name"], [node["name"] for node in content["nodes"]]) == ("Orders", ["Start", "Call"])
    assert wfops("snapshot", "diff", "acme", "prod", first, "latest").code == 0

    applied.edit("prod", "Orders", node=("Call", {"url": "https://elsewhere.example"}))
    applied.delete("prod", "Invoices")
    stored = wfops("snapshot", "diff", "acme", "prod", "--stored")
    assert stored.code == 0 and stored.out.startswith("nothing differs between snapshot ")
    changed = wfops("snapshot", "diff", "acme", "prod")
    assert changed.code == 3
    assert "D Invoices  removed\n" in changed.out and "M Orders  content\n" in changed.out
    assert "https://elsewhere.example" in changed.out and "2 workflows changed\n" in changed.out
    as_json = wfops("snapshot", "diff", "acme", "prod", first[:8], "--json")
    assert as_json.code == 3 and not as_json.json["equal"]
    assert [(each["name"], each["changes"]) for each in as_json.json["workflows"]] == [
        ("Invoices", ["removed"]), ("Orders", ["content"])]

    reads = [event["action"] for event in wfops("audit", "list", "acme", "--json").json]
    assert reads.count("snapshot.taken") == 2 and "snapshot.read" in reads and "payload.read" in reads


def test_a_name_that_stands_for_no_snapshot_is_refused_with_the_way_out(applied: Fleet) -> None:
    made = applied.wfops("snapshot", "create", "acme", "dev", "--json").json
    for arguments, message in [
            (["show", "acme", "dev", "abc"], "'abc' names no snapshot"),
            (["show", "acme", "dev", "00000000"], "acme/dev has no snapshot '00000000'"),
            (["show", "acme", "staging", made["snapshot_id"]], "acme/staging has no snapshot"),
            (["show", "acme", "dev", "--at", "2020-01-01"], "no snapshot from 2020-01-01 00:00:00 UTC or before"),
            (["show", "acme", "dev", "--at", "yesterday"], "'yesterday' is no time"),
            (["show", "acme", "dev", "latest", "--at", "2020-01-01"], "not by both"),
            (["show", "acme", "dev", "--draft"], "--draft is about one workflow"),
            (["show", "acme", "dev", "--workflow", "Nothing"], "has no workflow 'Nothing'"),
            (["list", "acme", "--before", "00000000-0000-0000-0000-000000000000"], "tenant acme has no snapshot"),
            (["create", "acme", "nowhere"], "no environment 'nowhere'"),
    ]:
        done = applied.wfops("snapshot", *arguments)
        assert done.code == 2 and message in done.err and "fix:" in done.err, (arguments, done)


def test_an_n8n_that_refuses_or_is_down_leaves_no_snapshot(applied: Fleet) -> None:
    faults = applied.sandboxes["staging"].faults
    for fault, code in (({"status": 401}, 6), ({"status": 503}, 5)):
        faults.add("status", **fault)
        done = applied.wfops("snapshot", "create", "acme", "staging", WFOPS_REQUEST_ATTEMPTS="1")
        assert done.code == code and "error:" in done.err, done
        faults.clear()
    assert applied.wfops("snapshot", "list", "acme", "staging", "--json").json == []


def test_a_time_names_the_newest_that_is_not_newer(applied: Fleet) -> None:
    made = applied.wfops("snapshot", "create", "acme", "dev", "--json").json
    applied.wfops("snapshot", "create", "acme", "dev")
    shown = applied.wfops("snapshot", "show", "acme", "dev", "--at", made["taken_at"], "--json").json
    assert shown["snapshot_id"] == made["snapshot_id"]
