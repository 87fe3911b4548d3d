"""When a scheduled snapshot is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from wfops_pipelines.domain.snapshot_schedule import RETRY, snapshot_due

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(("hours", "taken", "failed", "due"), [
    (0, None, None, False),
    (24, None, None, True),
    (24, timedelta(hours=24), None, True),
    (24, timedelta(hours=24) - SECOND, None, False),
    (1, timedelta(days=30), None, True),
    (24, None, RETRY - SECOND, False),
    (24, None, RETRY, True),
    (24, timedelta(days=3), RETRY - SECOND, False),
    (24, timedelta(days=3), RETRY, True),
    (24, timedelta(hours=1), RETRY, False),
])
def test_one_is_due_when_its_hours_have_passed_and_none_has_failed_lately(
        hours: int, taken: timedelta | None, failed: timedelta | None, due: bool) -> None:
    assert snapshot_due(hours, last_taken=None if taken is None else NOW - taken,
                        last_failed=None if failed is None else NOW - failed, now=NOW) is due
