"""``wfops retention run`` (§18)."""

from __future__ import annotations

import pytest

from wfops_pipelines_tests.cli.fleet import Fleet

pytestmark = pytest.mark.xdist_group("cli-retention")


def test_retention_says_what_went_and_fails_for_a_tenant_that_is_not_there(fleet: Fleet) -> None:
    assert fleet.wfops("apply", "-f", fleet.document).code == 0
    shown = fleet.wfops("retention", "run", "--dry-run", "--json")
    assert (shown.code, shown.json) == (0, {"dry_run": True, "removed": [], "total": 0, "waiting": [], "paused": [],
                                        "failed": []})
    assert fleet.wfops("retention", "run", "acme").out == "nothing is old enough\n"
    unknown = fleet.wfops("retention", "run", "acne")
    assert unknown.code == 2 and "there is no tenant 'acne'" in unknown.err
