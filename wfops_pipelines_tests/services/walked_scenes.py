"""Given: moments at which much is to be done, so that whoever begins there passes many failpoints."""

from __future__ import annotations

from wfops_pipelines_tests.services.fleet import (
    FleetUnderTest,
    NewFleet,
    calling,
    file_bytes,
    with_credential,
    workflow,
)
from wfops_pipelines_tests.services.promotions import promote, promoting_fleet
from wfops_pipelines_tests.services.snapshots import snapshot

NAMES = ("Edited", "Deleted", "Archived", "Switched")


def _two(new_fleet: NewFleet) -> FleetUnderTest:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), drift_policy={"auto_create_incidents": True})
    fleet.with_limits(batch_size=2)
    return fleet


def busy(new_fleet: NewFleet) -> FleetUnderTest:
    """Both sides went on since prod was read: n8n has a new, an edited, a missing, a returning and a copied workflow and
    one that calls another; Git has a changed, a moved, a removed, a broken and two new files, one of them for a workflow
    that nobody knew."""
    fleet = _two(new_fleet)
    dev, prod = fleet["dev"], fleet["prod"]
    first, second, third, _, gone = prod.in_sync(*(workflow(name) for name in ("One", "Two", "Three", "Four", "Gone")))
    prod.delete_in_n8n(gone)
    (loose,) = prod.create_in_n8n(workflow("Loose"))
    assert prod.check().status == "DRIFT_INCIDENT_ACTIVE"
    dev.create_in_n8n(workflow("One", text="newer"), workflow("Only dev"))
    dev.export()
    prod.edit_in_n8n(first, "edited by hand")
    prod.delete_in_n8n(second)
    prod.create_in_n8n(workflow("Gone", id=gone), workflow("Three"), calling("Caller", third), with_credential("Keyed", "k"))
    files = prod.files()
    paths = {name: next(path for path in files if name in path) for name in ("one", "two", "three", "four")}
    prod.push_files({
        paths["three"]: files[paths["three"]].replace(b"hello", b"from Git"), paths["two"]: None,
        "workflows/moved.json": files[paths["four"]], paths["four"]: None, "workflows/broken.json": b"{ not JSON",
        "workflows/loose.json": file_bytes(workflow("Loose", id=loose)),
        "workflows/caller.json": file_bytes(calling("Git's caller", third))})
    return fleet


def detected(new_fleet: NewFleet) -> FleetUnderTest:
    """An incident about an edited, a deleted, an archived and a switched-on workflow."""
    fleet = _two(new_fleet)
    prod = fleet["prod"]
    ids = dict(zip(NAMES, prod.in_sync(*(workflow(name, text="right") for name in NAMES)), strict=True))
    prod.edit_in_n8n(ids["Edited"], "wrong")
    prod.delete_in_n8n(ids["Deleted"])
    prod.archive_in_n8n(ids["Archived"])
    prod.activate_in_n8n(ids["Switched"])
    assert prod.check().incident is not None
    return fleet


def promotable(new_fleet: NewFleet) -> FleetUnderTest:
    """Two promotions were carried out, dev went on since, and there is a snapshot."""
    fleet = _two(new_fleet)
    dev, prod = fleet["dev"], fleet["prod"]
    one, two = dev.create_in_n8n(workflow("One", active=True), workflow("Two"))
    assert promote(fleet).status == "completed"
    snapshot(prod, name="before")
    dev.edit_in_n8n(one, "better")
    dev.edit_in_n8n(two, "better")
    assert promote(fleet).status == "completed"
    snapshot(prod, name="after")
    dev.edit_in_n8n(one, "best")
    dev.create_in_n8n(workflow("Three"))
    return fleet
