"""What ``wfops sync`` and ``wfops drift`` say of files and workflows that are wrong: whether they count (§5.6, §9)."""

from __future__ import annotations

import pytest

from wfops_pipelines.cli.drift import compared_text
from wfops_pipelines.cli.sync import skipped_text

BROKEN = {"path": "a.json", "reason": "invalid_json", "message": "a.json: no valid JSON"}
COPY = {"path": "b.json", "reason": "duplicate_id", "message": "b.json and a.json carry the same canonical id"}
SAME_ID = {"path": "b.json", "reason": "duplicate_workflow_id", "message": "b.json has the id of a.json"}
MALFORMED = {"workflow_id": "w1", "kind": "malformed_workflow", "message": "workflow w1: a node has no name"}


@pytest.mark.parametrize(("problem", "line"), [
    (BROKEN, "skipped a.json: no valid JSON"),
    (MALFORMED, "skipped workflow w1: a node has no name"),
    (COPY, "b.json: b.json and a.json carry the same canonical id"),
    (SAME_ID, "b.json: b.json has the id of a.json"),
], ids=["broken file", "malformed workflow", "copied file", "same workflow id"])
def test_sync_says_skipped_only_of_what_was_not_read(problem: dict[str, str], line: str) -> None:
    assert skipped_text(problem) == line


@pytest.mark.parametrize(("problem", "line"), [
    (BROKEN | {"counts": "last"}, "not read, so what it last said counts: a.json: no valid JSON"),
    (BROKEN | {"counts": "nothing"}, "not read, so it is left out: a.json: no valid JSON"),
    (COPY | {"counts": "now"}, "b.json: b.json and a.json carry the same canonical id"),
], ids=["read before", "never read", "read"])
def test_drift_says_what_was_compared(problem: dict[str, str], line: str) -> None:
    assert compared_text(problem) == line
