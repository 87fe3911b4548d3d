"""Snapshots as people look into them: what is shown, what differs, and that looking is audited (§13, §19.3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wfops_pipelines.domain.errors import Broken, UnknownSnapshot, UnknownWorkflow, UsageError
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.snapshot import SnapshotKind
from wfops_pipelines.services import snapshot_reports
from wfops_pipelines.services.snapshot_reports import (
    SnapshotComparison,
    compare_snapshots,
    content_of,
    find_snapshot,
    list_snapshots,
    read_time,
    show_snapshot,
)
from wfops_pipelines.store.tables.payloads import payloads
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.snapshots import snapshot


@pytest.fixture
def prod(fleet: FleetUnderTest) -> Environment:
    return fleet["prod"]


def found(environment: Environment, name: str | None = None, **options: Any) -> str:
    """The id of the snapshot that a name stands for."""
    fleet = environment.fleet
    return fleet.reading(lambda work: str(find_snapshot(work, fleet.context, environment.row, name, **options).id))


def compared(environment: Environment, before: str | None = None, after: str | None = None) -> SnapshotComparison:
    return compare_snapshots(environment.fleet.services, environment.fleet.context, environment.slug, before, after)


def changes(comparison: SnapshotComparison) -> dict[str, list[str]]:
    """What differs, by name."""
    return {each["name"]: each["changes"] for each in comparison.workflows}


# -- which one is meant --------------------------------------------------------------------------------------------------

def test_a_snapshot_is_named_by_its_id_its_beginning_latest_or_a_time(fleet: FleetUnderTest, prod: Environment) -> None:
    first = snapshot(prod)
    fleet.clock.pass_time(hours=1)
    second = snapshot(prod)
    for name in (first.snapshot_id, first.snapshot_id[:8], first.snapshot_id.upper(), first.snapshot_id.replace("-", "")[:20]):
        assert found(prod, name) == first.snapshot_id
    assert found(prod) == found(prod, "latest") == second.snapshot_id
    taken = datetime.fromisoformat(first.taken_at)
    assert found(prod, at=taken) == found(prod, at=taken + timedelta(minutes=30)) == first.snapshot_id
    with pytest.raises(UnknownSnapshot, match="has no snapshot from"):
        found(prod, at=taken - timedelta(microseconds=1))


def test_a_beginning_that_several_share_is_refused_with_their_ids(
        fleet: FleetUnderTest, prod: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = snapshot(prod), snapshot(prod)
    rows: list[Any] = fleet.reading(lambda work: work.snapshots.listed(prod.row.id))

    def both(*_: Any, **__: Any) -> list[Any]:
        return rows

    monkeypatch.setattr("wfops_pipelines.store.snapshots.Snapshots.between", both)
    with pytest.raises(UsageError, match="several") as caught:
        found(prod, one.snapshot_id[:8])
    assert one.snapshot_id in str(caught.value.fix) and other.snapshot_id in str(caught.value.fix)


def test_the_snapshot_of_another_environment_is_not_found(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))
    report = snapshot(fleet["dev"])
    with pytest.raises(UnknownSnapshot, match="acme/prod has no snapshot"):
        found(fleet["prod"], report.snapshot_id)


@pytest.mark.parametrize("name", ["", "abc", "zzzzzzzz", "1" * 33, "0000000g"])
def test_what_can_be_no_name_says_what_can(prod: Environment, name: str) -> None:
    with pytest.raises(UsageError, match="names no snapshot"):
        found(prod, name)


def test_a_time_without_a_zone_is_utc() -> None:
    assert read_time("2026-11-20T18:00") == read_time("2026-11-20T19:00+01:00") == datetime(2026, 11, 20, 18, tzinfo=UTC)
    assert read_time(" 2026-11-20 ") == datetime(2026, 11, 20, tzinfo=UTC)
    with pytest.raises(UsageError, match="is no time"):
        read_time("last week")


# -- what there is and what one holds ------------------------------------------------------------------------------------

def test_the_list_is_by_time_and_goes_on_where_a_page_ended(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))
    ids = [snapshot(fleet[slug], kind=kind).snapshot_id for slug, kind in (
        ("dev", SnapshotKind.SCHEDULED), ("prod", SnapshotKind.MANUAL_BACKUP), ("dev", SnapshotKind.MANUAL_BACKUP))][::-1]

    def listed(*arguments: Any, **options: Any) -> list[str]:
        return [row["snapshot_id"] for row in list_snapshots(fleet.services, fleet.context, *arguments, **options)]

    assert listed() == ids and listed("dev") == [ids[0], ids[2]] and listed(kind=SnapshotKind.SCHEDULED) == [ids[2]]
    last = fleet.reading(lambda work: work.snapshots.listed(limit=2))[-1]
    assert listed(limit=2) + listed(before=last.id) == ids


def test_looking_into_a_snapshot_is_audited_and_listing_them_is_not(fleet: FleetUnderTest, prod: Environment) -> None:
    (workflow_id,) = prod.create_in_n8n(workflow("Orders"))
    report = snapshot(prod)
    list_snapshots(fleet.services, fleet.context)
    assert fleet.events("snapshot.read") == []
    shown = show_snapshot(fleet.services, fleet.context, "prod")
    assert [each["name"] for each in shown["workflows"]] == ["Orders"]
    (event,) = fleet.events("snapshot.read")
    assert (event.subject_id, event.details) == (report.snapshot_id, {"purpose": "show"})

    content_of(fleet.services, fleet.context, "prod", "Orders")
    (event,) = fleet.events("payload.read")
    assert (event.subject_id, event.details["snapshot"]) == (workflow_id, report.snapshot_id)
    compared(prod)
    assert fleet.events("snapshot.read")[-1].details == {"purpose": "compare", "other": "now"}


def test_a_content_comes_out_as_it_was_live_or_draft(fleet: FleetUnderTest, prod: Environment) -> None:
    (workflow_id,) = prod.create_in_n8n(workflow("Orders", text="runs"))
    prod.activate_in_n8n(workflow_id)
    prod.edit_in_n8n(workflow_id, "drafted", publish=False)
    snapshot(prod)
    prod.edit_in_n8n(workflow_id, "since")
    prod.sync()

    def text(**options: Any) -> Any:
        content = content_of(fleet.services, fleet.context, "prod", workflow_id, **options)
        return content["nodes"][1]["parameters"]["text"]

    assert (text(), text(draft=True)) == ("runs", "drafted")


def test_a_workflow_of_a_snapshot_is_named_by_id_or_by_a_name_that_it_alone_has(
        fleet: FleetUnderTest, prod: Environment) -> None:
    first, second = prod.in_sync(workflow("Orders"), workflow("Orders", text="other"))
    snapshot(prod)

    def content(name: str) -> Any:
        return content_of(fleet.services, fleet.context, "prod", name)

    assert content_hash(content(first)) == prod.mapping(first).live_hash
    assert content(str(prod.mapping(second).canonical_id)) == content(second)
    with pytest.raises(UsageError, match="has 2 workflows 'Orders'"):
        content("Orders")
    with pytest.raises(UnknownWorkflow, match="has no workflow 'Billing'"):
        content("Billing")


def test_a_content_that_is_gone_says_so(fleet: FleetUnderTest, prod: Environment) -> None:
    (workflow_id,) = prod.create_in_n8n(workflow("Orders"))
    snapshot(prod)
    gone = prod.mapping(workflow_id).live_digest
    prod.edit_in_n8n(workflow_id, "since")
    prod.sync()
    fleet.writing(lambda work: work.connection.execute(payloads.delete().where(payloads.c.digest == gone)))
    with pytest.raises(Broken, match="the content of 'Orders' is not stored any more"):
        content_of(fleet.services, fleet.context, "prod", "Orders")
    with pytest.raises(Broken, match=f"the content {gone} of 'Orders' is not stored any more"):
        compared(prod)
    assert fleet.events("payload.read") == [] == fleet.events("snapshot.read")


# -- what differs --------------------------------------------------------------------------------------------------------

def test_what_differs_is_told_by_workflow(fleet: FleetUnderTest, prod: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_reports, "_COMPARED_AT_ONCE", 2)
    edited, gone, tagged, drafted, renamed = prod.create_in_n8n(
        *map(workflow, ["Edited", "Gone", "Tagged", "Drafted", "Renamed"]))
    prod.activate_in_n8n(drafted)
    before = snapshot(prod)
    prod.edit_in_n8n(edited, "sk_live_51H8abcdefghijklmnopqrstuv")
    prod.delete_in_n8n(gone)
    prod.tag_in_n8n(tagged, "finance")
    prod.activate_in_n8n(tagged)
    prod.edit_in_n8n(drafted, "soon", publish=False)
    prod.edit_in_n8n(renamed, name="Called otherwise")
    prod.create_in_n8n(workflow("New"))
    assert compared(prod).equal  # of n8n nothing was read since
    prod.sync()
    found_ = compared(prod)
    assert changes(found_) == {"Called otherwise": ["content", "name"], "Drafted": ["draft"], "Edited": ["content"],
                               "Gone": ["removed"], "New": ["added"], "Tagged": ["active", "tags"]}
    shown = {each["name"]: each for each in found_.as_json()["workflows"]}
    assert [change["path"] for change in shown["Edited"]["diff"]["changes"]] == ["parameters.text"]
    assert "sk_live_51H8" not in str(found_.as_json())
    assert [change["after"] for change in shown["Drafted"]["draft_diff"]["changes"]] == ["soon"]
    assert "diff" not in shown["Tagged"] and "diff" not in shown["Drafted"] and "draft_diff" not in shown["Edited"]
    assert (str(found_.before), str(found_.after)) == (f"snapshot {before.snapshot_id[:8]}", "now")

    after = snapshot(prod)
    between = compared(prod, before.snapshot_id, after.snapshot_id)
    assert changes(between) == changes(found_) and str(between.after) == f"snapshot {after.snapshot_id[:8]}"
    assert changes(compared(prod, after.snapshot_id, before.snapshot_id))["Gone"] == ["added"]
    assert compared(prod, "latest", "now").equal
