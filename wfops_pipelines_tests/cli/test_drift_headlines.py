"""The line that ``wfops drift`` begins with reads by itself (§9)."""

from __future__ import annotations

from typing import Any

import pytest

from wfops_pipelines.cli.drift import headline


def said(status: str, *kinds: str, in_sync: int = 0, ignored: int = 0, **more: Any) -> str:
    drifted = sum(kind != "unpublished_changes" for kind in kinds)
    counts = {"workflows": in_sync + drifted, "files": 0, "in_sync": in_sync, "drifted": drifted, "ignored": ignored}
    return headline({"tenant": "acme", "environment": "prod", "status": status, "reason": None, "counts": counts,
                     "workflows": [{"kind": kind} for kind in kinds], **more})


@pytest.mark.parametrize(("line", "expected"), [
    (said("IN_SYNC"), "no workflows here, and none in Git"),
    (said("IN_SYNC", in_sync=1), "the only workflow is as in Git"),
    (said("IN_SYNC", in_sync=7, ignored=2), "all 7 workflows are as in Git, 2 ignored"),
    (said("IN_SYNC", "unpublished_changes", in_sync=3), "all 3 workflows are as in Git, 1 draft not published"),
    (said("DRIFT_DETECTED", "modified"), "1 of 1 workflow differs from Git (1 modified)"),
    (said("DRIFT_DETECTED", "modified", in_sync=2), "1 of 3 workflows differs from Git (1 modified)"),
    (said("DRIFT_DETECTED", "modified", "missing_in_runtime", "modified", in_sync=9, ignored=1),
     "3 of 12 workflows differ from Git (1 missing in runtime, 2 modified), 1 ignored"),
    (said("DRIFT_INCIDENT_ACTIVE", "activation", in_sync=1), "1 of 2 workflows differs from Git (1 activation)"),
    (said("UNTRACKED") , "0 workflows, nothing in Git yet: wfops export acme prod writes the first baseline"),
    (said("UNKNOWN", counts={}), "nothing to compare with: give the tenant or the environment a repository in fleet.yaml"),
    (said("ERROR", counts={}), "not checked"),
    (said("ERROR", counts={}, last_good_status=None, last_good_at=None), "not checked, and never was before"),
])
def test_a_headline_reads_by_itself(line: str, expected: str) -> None:
    assert line == expected


def test_an_error_says_what_the_status_was_when_it_was_last_checked() -> None:
    line = said("ERROR", counts={}, last_good_status="IN_SYNC", last_good_at="2026-01-01T00:00:00+00:00")
    assert line.startswith("not checked; IN_SYNC when it last was, ") and line.endswith("d ago")
