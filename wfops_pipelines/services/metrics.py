"""What ``GET /metrics`` answers: the figures of ``domain.metrics``, read from the store when they are asked for (§15).

Nothing is counted in this process alone: workers and runs are other processes, and what they did is in the store. Several
that scrape within a moment get the same reading. Where the database does not answer, ``wfops_store_up`` says so, and only
counters are told, as far as they had come.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry

from wfops_pipelines import __version__
from wfops_pipelines.domain.circuit import is_left_alone
from wfops_pipelines.domain.drift import EnvironmentDriftStatus
from wfops_pipelines.domain.errors import StoreError
from wfops_pipelines.domain.metrics import BY_NAME, METRICS, Metric
from wfops_pipelines.domain.pause import Pauses
from wfops_pipelines.domain.promotion import PromotionStatus
from wfops_pipelines.domain.sweep import jitter_of, next_due, phase_of
from wfops_pipelines.services.metric_totals import Totals
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.exposition import ExpositionReads
from wfops_pipelines.store.sweeps import KEPT_SWEEPS

RunCounts = Callable[[], Mapping[str, int]]
Values = dict[tuple[str, ...], float]
_LAST_SWEEP = timedelta(hours=1)
_SKEW = timedelta(minutes=10)  # between clocks of hosts; what is later was written by a clock that was wrong
_ALWAYS: Mapping[str, Iterable[tuple[str, ...]]] = {
    "wfops_open_incidents": [(severity,) for severity in ("critical", "high", "medium", "low")],
    "wfops_promotions": [(str(status),) for status in PromotionStatus],
    "wfops_outbox_messages": [("pending",), ("dead",)],
    "wfops_instance_circuits": [("open",), ("half_open",), ("closed",)],
    "wfops_environments": [(c, str(status)) for c in ("dev", "staging", "production") for status in EnvironmentDriftStatus],
}
"""Samples that are there from the beginning, so that a query for them answers 0 and not nothing."""


@dataclass(frozen=True, slots=True)
class MetricOptions:
    """How figures are exported: with the tenant's slug as a label (one series a tenant), read anew after ``cache`` seconds;
    ``interval`` seconds lie between drift checks."""

    interval: float
    tenants: bool = False
    cache: float = 10.0


class Exposition(Collector):
    """The figures of an installation, for a registry of Prometheus' client. ``runs`` counts Dagster's runs by status."""

    def __init__(self, services: Services, options: MetricOptions, *, runs: RunCounts | None = None) -> None:
        self._services = services
        self._options = options
        self._runs = runs
        self._totals = Totals(services.now())
        self._alone = threading.Lock()
        self._read: tuple[float, list[Family]] | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """The answer to a scrape in the format that it accepts, and its content type. Raises nothing of the store's."""
        encode, content_type = _encoder_for(accept)
        return encode(self._registry), content_type

    def describe(self) -> Iterable[Family]:
        """What there is, without reading it."""
        return [_family(metric, metric.labels) for metric in METRICS]

    def collect(self) -> Iterable[Family]:
        """The figures as they are, or were a moment ago."""
        with self._alone:
            if self._read is None or time.monotonic() - self._read[0] > self._options.cache:
                self._read = time.monotonic(), list(self._families())
            return self._read[1]

    def _families(self) -> Iterator[Family]:
        begun = time.perf_counter()
        values: dict[str, Values] = {"wfops_info": {(__version__,): 1.0}, "wfops_store_up": {(): 1.0},
                                     "wfops_drift_check_interval_seconds": {(): self._options.interval}}
        try:
            self._read_store(values)
        except StoreError:
            values["wfops_store_up"] = {(): 0.0}
        values |= self._totals.counters()
        if self._runs is not None and values["wfops_store_up"][()]:
            values["wfops_runs"] = {(status,): float(count) for status, count in self._runs().items()}
        values["wfops_read_seconds"] = {(): time.perf_counter() - begun}
        durations = self._totals.durations()
        for metric in METRICS:
            labels = ("tenant", *metric.labels) if metric.of_tenants and self._options.tenants else metric.labels
            family = _family(metric, labels)
            if isinstance(family, HistogramMetricFamily):
                for key, measured in durations.get(metric.name, {}).items():
                    family.add_metric(key, measured.cumulative, measured.total)
            else:
                for key, value in sorted(values.get(metric.name, {}).items()):
                    family.add_metric(key, value)
            yield family

    def _read_store(self, values: dict[str, Values]) -> None:
        now = self._services.now()
        with self._services.store.system() as system:
            self._gauges(system.exposition, values)
            values["wfops_repository_branches_failing"] = {(): float(len(system.pushes.unreadable()))}
            self._due(system.exposition, system.pauses(), values)
            last = (system.exposition.last_sweeps(now - _LAST_SWEEP, now + _SKEW)
                    or system.exposition.last_sweeps(now - KEPT_SWEEPS, now + _SKEW))  # long ago: somebody wants to know
            operations = system.exposition.ended_operations(self._totals.since, self._totals.ended)
            sweeps = system.exposition.ended_sweeps(self._totals.since)  # both since the scrape before, however long ago
        self._totals.add_operations(operations, now)
        self._totals.add_sweeps(sweeps, now)
        for name, column in (("duration", "duration_ms"), ("lag", "lag_ms"), ("mean_lag", "mean_lag_ms")):
            values[f"wfops_sweep_last_{name}_seconds"] = {
                (row.kind,): getattr(row, column) / 1000 for row in last if getattr(row, column) is not None}
        values["wfops_sweep_last_end_timestamp_seconds"] = {(row.kind,): row.ended_at.timestamp() for row in last}

    def _gauges(self, reads: ExpositionReads, values: dict[str, Values]) -> None:
        tenants = self._options.tenants
        incidents, environments = reads.incidents(self._services.now(), tenants=tenants), reads.environments(tenants=tenants)
        values["wfops_environments"] = self._by_tenant("wfops_environments", environments, "class", "status")
        values["wfops_open_incidents"] = self._by_tenant("wfops_open_incidents", incidents, "severity")
        values["wfops_promotions"] = self._by_tenant("wfops_promotions", reads.promotions(tenants=tenants), "status")
        values["wfops_overdue_incidents"] = {(): float(sum(row.overdue for row in incidents))}
        values["wfops_environment_errors"] = _counted(reads.environment_errors(), "error")
        values["wfops_instance_circuits"] = _counted(reads.circuits(), "state", _ALWAYS["wfops_instance_circuits"])
        values["wfops_drifted_workflows"] = _counted(reads.drifted_workflows(), "kind")
        values["wfops_operations_running"] = _counted(reads.running_operations(), "kind")
        values["wfops_outbox_messages"] = _counted(reads.outbox(), "status", _ALWAYS["wfops_outbox_messages"])
        values["wfops_webhook_deliveries_waiting"] = {(): float(reads.waiting_deliveries())}

    def _by_tenant(self, name: str, rows: Iterable[Any], *columns: str) -> Values:
        """Counts by these columns: with the tenant where that is wanted, else of all tenants together."""
        labels = ("tenant", *columns) if self._options.tenants else columns
        found: Values = {} if self._options.tenants else dict.fromkeys(_ALWAYS.get(name, ()), 0.0)
        return found | {tuple(row._mapping[label] for label in labels): float(row.number) for row in rows}

    def _due(self, reads: ExpositionReads, pauses: Pauses, values: dict[str, Values]) -> None:
        """Environments that wait for their check: not those of tenants that are paused, nor those whose instance is left
        alone for now. What waited for the end of a pause is late from then on."""
        interval, now = self._options.interval, self._services.now()
        waits: list[float] = []
        if interval > 0:
            for row in reads.last_checks():
                if row.tenant_id in pauses or is_left_alone(row.left_alone_until, now):
                    continue
                due = next_due(row.last_drift_check_at, interval=interval, phase=phase_of(row.id, interval))
                waits.append((now - pauses.due_since(row.tenant_id, due or row.created_at)).total_seconds())
        late = [wait for wait in waits if wait > jitter_of(interval)]
        values["wfops_drift_checks_overdue"] = {(): float(len(late))}
        values["wfops_oldest_due_seconds"] = {(): max(0.0, *waits) if waits else 0.0}


def _counted(rows: Iterable[Any], column: str, always: Iterable[tuple[str, ...]] = ()) -> Values:
    found: defaultdict[tuple[str, ...], float] = defaultdict(float, dict.fromkeys(always, 0.0))
    for row in rows:
        found[(str(row._mapping[column]),)] += float(row.number)
    return dict(found)


def _encoder_for(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """How a scrape wants to be answered; as text where what it accepts is a version that is none."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        return choose_encoder("")


def _family(metric: Metric, labels: Iterable[str]) -> Any:
    made = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "histogram": HistogramMetricFamily}[metric.kind]
    return made(metric.name, metric.help, labels=list(labels))


def known_samples() -> frozenset[str]:
    """Every name that a query may use."""
    return frozenset(name for metric in BY_NAME.values() for name in metric.samples)
