"""How long the installation keeps what no drift policy speaks of (§18)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeepDays:
    """Days."""

    drift_checks: int = 90  # the newest entry of an environment stays
    messages: int = 30  # sent or dropped
    dead_messages: int = 90  # that could not be sent
    operations: int = 90  # that have ended, and that nothing refers to any more
    deleted: int = 90  # of tenants and environments that were deleted
    deliveries: int = 7  # of webhooks; a replay of one that is gone is a hint once more
