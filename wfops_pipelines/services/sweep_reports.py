"""What a sweep did, in figures: as the run's metadata shows it, and as it is stored (§24)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from wfops_pipelines.domain.sweep import Done


@dataclass
class SweepReport:
    """A sweep. ``counts`` is environments by what was done with them, ``statuses`` by drift status afterwards; ``lags`` are
    the seconds that each visit was behind its due time."""

    sweep_id: UUID
    started_at: datetime
    due: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    lags: list[float] = field(default_factory=list)
    duration_ms: int = 0

    def count(self, done: Done, status: str | None) -> None:
        """One environment."""
        self.counts[str(done)] += 1
        self.statuses[status or "UNKNOWN"] += 1

    @property
    def lag_ms(self) -> int:
        """How far the latest visit was behind."""
        return round(1000 * max(self.lags, default=0.0))

    @property
    def mean_lag_ms(self) -> int:
        """How far visits were behind on average."""
        return round(1000 * sum(self.lags) / len(self.lags)) if self.lags else 0

    def as_columns(self) -> dict[str, Any]:
        """As the table ``sweeps`` has it."""
        return {"due": self.due, "counts": dict(self.counts), "statuses": dict(self.statuses),
                "duration_ms": self.duration_ms, "lag_ms": self.lag_ms, "mean_lag_ms": self.mean_lag_ms}

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` and metadata show it."""
        return {"sweep_id": str(self.sweep_id), "started_at": self.started_at.isoformat(), **self.as_columns()}
