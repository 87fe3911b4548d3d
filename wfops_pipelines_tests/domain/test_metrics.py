"""The list of figures, and durations in buckets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from wfops_pipelines.domain.metrics import METRICS, SHORT, Durations

SECONDS = st.floats(min_value=-10, max_value=10_000, allow_nan=False)


def test_names_are_told_apart_and_end_in_their_unit() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    samples = [sample for metric in METRICS for sample in metric.samples]
    assert len(samples) == len(set(samples))
    for metric in METRICS:
        assert not metric.name.endswith(("_ms", "_minutes", "_hours"))
        assert ("_seconds" in metric.name) == (metric.name.endswith("_seconds"))
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(metric.buckets)


@settings(deadline=None)
@given(st.lists(SECONDS))
def test_buckets_count_what_is_not_above_them(seconds: list[float]) -> None:
    durations = Durations(SHORT)
    for one in seconds:
        durations.add(one)
    found = durations.cumulative
    assert [bound for bound, _ in found] == [*map(str, SHORT), "+Inf"]
    for bound, count in found:
        assert count == sum(max(0.0, one) <= float(bound) for one in seconds)
    assert abs(durations.total - sum(max(0.0, one) for one in seconds)) < 1e-6 * max(1.0, durations.total)
