"""What drift says of a file that claims another canonical workflow (§5.3, §9)."""

from __future__ import annotations

import json
import uuid

from wfops_pipelines_tests.services.fleet import FleetUnderTest, workflow
from wfops_pipelines_tests.services.test_detect_drift import the_file


def test_a_file_that_claims_another_canonical_workflow_is_hinted_at_in_both_rows(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    path, document = the_file(prod)
    other = uuid.uuid4()
    prod.push_files({path: json.dumps({**document, "wfops": {**document["wfops"], "canonical_id": str(other)}}).encode()})
    check = prod.check()
    rows = {row["kind"]: row for row in check.workflows}
    assert set(rows) == {"added_in_runtime", "missing_in_runtime"}
    assert rows["added_in_runtime"]["hint"] == rows["missing_in_runtime"]["hint"]
    for told in (path, one, str(other), f"wfops resolve acme prod {one} --keep git|runtime|split"):
        assert told in rows["added_in_runtime"]["hint"]
    assert [p["reason"] for p in check.problems] == ["conflict"]


def test_what_differs_without_a_conflict_has_no_hint(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    prod.edit_in_n8n(one, "wrong")
    assert [row["hint"] for row in prod.check().workflows] == [None]
