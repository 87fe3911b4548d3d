"""The figures that monitoring reads: their names, what they mean, and how durations are counted.

Names follow Prometheus' conventions: ``wfops_`` first, the unit last, ``_total`` for what only grows. Counters and
histograms begin at nothing when the process that exports them starts; Prometheus knows that of counters.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["gauge", "counter", "histogram"]
SHORT: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
SWEEP: Final = (1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure. A counter's ``name`` is without ``_total``, which its samples have; ``labels`` are those of every sample,
    ``tenant`` apart where it is asked for (``of_tenants``)."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    of_tenants: bool = False
    buckets: tuple[float, ...] = ()

    @property
    def samples(self) -> frozenset[str]:
        """The names that queries may use."""
        if self.kind == "counter":
            return frozenset({f"{self.name}_total"})
        if self.kind == "histogram":
            return frozenset(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return frozenset({self.name})


METRICS: Final[tuple[Metric, ...]] = (
    Metric("wfops_info", "gauge", "The version that runs here; always 1.", ("version",)),
    Metric("wfops_store_up", "gauge", "Whether the database answered when this was asked for: 1 or 0."),
    Metric("wfops_read_seconds", "gauge", "How long it took to read these figures from the database."),
    # the fleet
    Metric("wfops_environments", "gauge", "Environments by class and drift status.", ("class", "status"), of_tenants=True),
    Metric("wfops_environment_errors", "gauge", "Environments in status ERROR by the kind of error.", ("error",)),
    Metric("wfops_instance_circuits", "gauge", "n8n instances that did not answer lately, by the state of their circuit.",
           ("state",)),
    Metric("wfops_drifted_workflows", "gauge", "Workflows that differ from Git by the kind of drift.", ("kind",)),
    Metric("wfops_repository_branches_failing", "gauge", "Branches whose last look failed."),
    # sweeps
    Metric("wfops_drift_check_interval_seconds", "gauge", "Time between two drift checks of an environment; 0: off."),
    Metric("wfops_drift_checks_overdue", "gauge", "Environments whose drift check should have begun by now."),
    Metric("wfops_oldest_due_seconds", "gauge",
           "How long the environment that is due longest has waited for its drift check."),
    Metric("wfops_sweep_duration_seconds", "histogram", "How long sweeps took.", ("kind",), buckets=SWEEP),
    Metric("wfops_sweeps", "counter", "Sweeps by how they ended.", ("kind", "state")),
    Metric("wfops_sweep_environments", "counter", "Environments by what sweeps did with them.", ("kind", "outcome")),
    Metric("wfops_sweep_last_duration_seconds", "gauge", "How long the last sweep took.", ("kind",)),
    Metric("wfops_sweep_last_lag_seconds", "gauge",
           "How far the latest environment of the last sweep was behind its due time.", ("kind",)),
    Metric("wfops_sweep_last_mean_lag_seconds", "gauge", "How far environments of the last sweep were behind on average.",
           ("kind",)),
    Metric("wfops_sweep_last_end_timestamp_seconds", "gauge", "When the last sweep ended.", ("kind",)),
    # operations and calls
    Metric("wfops_operations", "counter", "Operations by kind and how they ended.", ("kind", "outcome")),
    Metric("wfops_operation_errors", "counter", "Operations that failed by the kind of error.", ("kind", "error")),
    Metric("wfops_operation_duration_seconds", "histogram", "How long operations took, attempts together.", ("kind",),
           buckets=SHORT),
    Metric("wfops_operations_running", "gauge", "Operations that hold an environment.", ("kind",)),
    Metric("wfops_calls", "counter",
           "Calls to n8n and Git made by operations, by what came of them: ok or the kind of error.",
           ("service", "outcome")),
    # work that waits
    Metric("wfops_runs", "gauge", "Runs in Dagster's queue and at work by status.", ("status",)),
    Metric("wfops_promotions", "gauge", "Promotions by status.", ("status",), of_tenants=True),
    Metric("wfops_open_incidents", "gauge", "Open drift incidents by severity.", ("severity",), of_tenants=True),
    Metric("wfops_overdue_incidents", "gauge", "Open drift incidents past their time to live."),
    Metric("wfops_outbox_messages", "gauge", "Notifications that wait (pending) or were given up (dead).", ("status",)),
    Metric("wfops_webhook_deliveries_waiting", "gauge", "Deliveries of webhooks that were received and not acted on yet."),
)
BY_NAME: Final[Mapping[str, Metric]] = {metric.name: metric for metric in METRICS}


@dataclass
class Durations:
    """A histogram: how many durations are in each bucket, and their sum."""

    buckets: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.buckets) + 1)

    def add(self, seconds: float) -> None:
        """Count one; a negative one (a clock was set back) counts as nothing."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(self.buckets, seconds)] += 1
        self.total += seconds

    @property
    def cumulative(self) -> list[tuple[str, float]]:
        """Upper bounds and how many are not above, as the exposition has them."""
        found: list[tuple[str, float]] = []
        sofar = 0
        for bound, count in zip((*map(str, self.buckets), "+Inf"), self.counts, strict=True):
            sofar += count
            found.append((bound, sofar))
        return found
