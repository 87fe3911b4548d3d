"""When a scheduled snapshot is due (§13, §24)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

RETRY: Final = timedelta(hours=1)
"""After one that failed the next is begun: n8n may be down for long, and each try costs a run."""


def snapshot_due(hours: int, *, last_taken: datetime | None, last_failed: datetime | None, now: datetime) -> bool:
    """Whether an environment of which one shall be taken every so many ``hours`` (0: none) is to have its next.

    ``last_taken`` is when the newest scheduled one was taken, ``last_failed`` when the last was begun that failed; aware
    times, not after ``now``.
    """
    if hours <= 0:
        return False
    taken_lately = last_taken is not None and now - last_taken < timedelta(hours=hours)
    failed_lately = last_failed is not None and now - last_failed < RETRY
    return not taken_lately and not failed_lately
