"""Settings: what no clock can count with is refused, by name."""

from __future__ import annotations

import pytest

from wfops_pipelines.domain.errors import InvalidSetting
from wfops_pipelines.settings import read_settings


@pytest.mark.parametrize(("variable", "value"), [
    ("WFOPS_READ_TIMEOUT_SECONDS", "inf"), ("WFOPS_READ_TIMEOUT_SECONDS", "nan"), ("WFOPS_LEASE_STALE_SECONDS", "1e12"),
    ("WFOPS_DRIFT_CHECK_INTERVAL_SECONDS", "1000000000000"), ("WFOPS_DRIFT_CHECK_INTERVAL_SECONDS", "-1"),
    ("WFOPS_LONGEST_RUN_SECONDS_BY_KIND", '{"drift_detection": -5}'), ("WFOPS_LONGEST_RUN_SECONDS_BY_KIND", '{"export": Infinity}'),
    ("WFOPS_MESSAGE_RETENTION_DAYS", "10000000")])
def test_a_duration_that_is_none_is_refused_by_its_variables_name(
        monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSetting, match=variable):
        read_settings()


def test_a_year_is_a_duration_and_none_at_all_switches_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFOPS_LONGEST_RUN_SECONDS_BY_KIND", '{"export": 0}')
    monkeypatch.setenv("WFOPS_EXPORT_INTERVAL_SECONDS", str(365 * 86_400))
    settings = read_settings()
    assert (settings.export_interval_seconds, list(settings.longest_run_seconds_by_kind.values())) == (31_536_000, [0.0])
