"""When a request is tried again, and after how long: backoff with full jitter, Retry-After honoured (§3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Answers that say "later": a rate limit, a proxy without its server, and the codes of a well-known CDN for the same.
TRANSIENT_STATUSES = frozenset({408, 425, 429, 502, 503, 504, 520, 521, 522, 523, 524})


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before attempt 2, 3, …; seconds everywhere. ``random`` gives numbers in [0, 1)."""

    random: Callable[[], float]
    base: float = 0.5
    cap: float = 8.0
    retry_after_cap: float = 30.0

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """The wait after the ``attempt``-th failure: a random part of base·2ⁿ, never less than the server asked."""
        jitter = self.random() * min(self.cap, self.base * 2.0 ** (attempt - 1))
        if retry_after is None:
            return jitter
        return min(self.retry_after_cap, retry_after) + min(jitter, 1.0)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds from a ``Retry-After`` header: a number, or a date (by the server's own clock where it sent one)."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    due = _http_date(value)
    if due is None:
        return None
    return max(0.0, (due - (_http_date(headers.get("date", "")) or now)).total_seconds())


def _http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
