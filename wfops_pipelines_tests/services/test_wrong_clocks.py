"""Clocks that are an hour apart, ours and n8n's (§25): inventory, drift and leases do not care."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from wfops_pipelines_tests.services.fleet import FleetUnderTest, workflow


@pytest.mark.parametrize("minutes", [60, -60], ids=["ahead", "behind"])
def test_a_host_whose_clock_is_an_hour_wrong_sees_every_change(fleet: FleetUnderTest, minutes: int) -> None:
    prod = fleet["prod"]
    edited, deleted = prod.in_sync(workflow("A"), workflow("B"))
    right = fleet.services
    fleet.services = replace(right, now=lambda: fleet.clock.now() + timedelta(minutes=minutes))
    assert prod.check().status == "IN_SYNC"
    prod.edit_in_n8n(edited)
    prod.delete_in_n8n(deleted)
    prod.create_in_n8n(workflow("C"))
    result = prod.sync()
    assert (result.seen, result.created, result.updated, result.missing) == (2, 1, 1, 1)
    assert prod.kinds() == {"A": "modified", "B": "missing_in_runtime", "C": "added_in_runtime"}
    fleet.services = right  # and the next host's clock is right again
    prod.edit_in_n8n(edited, "hello")
    assert prod.kinds() == {"B": "missing_in_runtime", "C": "added_in_runtime"}
    assert {row.state for row in fleet.operations()} == {"completed"}
    assert fleet.chain_verifies()
