"""Settings: what no clock can count with is refused, by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from wfops_pipelines.bootstrap import open_installation
from wfops_pipelines.domain.errors import InvalidSetting
from wfops_pipelines.settings import Settings, read_settings

KEY = SecretStr(Fernet.generate_key().decode())


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


@pytest.mark.parametrize("variable", ["WFOPS_HOME", "WFOPS_API_HOST", "WFOPS_DATABASE_URL", "WFOPS_METRICS_TOKEN", "WFOPS_UI_PORT",
                                      "WFOPS_CELERY_BROKER_URL", "WFOPS_LONGEST_RUN_SECONDS_BY_KIND"])
@pytest.mark.parametrize("value", ["", " "])
def test_a_variable_that_is_set_and_empty_is_refused_by_its_name(
        monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSetting, match=rf"{variable}: (is set and empty|must be JSON)"):
        read_settings()


@pytest.mark.parametrize(("variable", "value", "said"), [
    ("WFOPS_LONGEST_RUN_SECONDS_BY_KIND", "abc", "must be JSON"),
    ("WFOPS_LONGEST_RUN_SECONDS_BY_KIND", '{"nix": 3}', "'nix': Input should be"),
    ("WFOPS_CELERY_BROKER_URL", "redis", "must be a URL"), ("WFOPS_CELERY_RESULT_URL", "host:6379", "must be a URL")])
def test_what_has_not_the_form_of_its_setting_is_refused_by_its_name(
        monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSetting, match=f"^{variable}: {said}"):
        read_settings()


def test_urls_of_roles_are_all_there_or_none(tmp_path: Path) -> None:
    url = SecretStr("postgresql://ada@127.0.0.1:1/x")
    with pytest.raises(InvalidSetting, match="WFOPS_DATABASE_OWNER_URL stands alone"):
        open_installation(Settings(home=tmp_path, database_owner_url=url, secret_key=KEY))
    for given in ({"database_app_url": url}, {"database_system_url": url}, {"dagster_database_url": url}):
        with pytest.raises(InvalidSetting, match="without WFOPS_DATABASE_OWNER_URL"):
            open_installation(Settings(home=tmp_path, **given))
    assert list(tmp_path.iterdir()) == [], "not even a key"


def test_a_year_is_a_duration_and_none_at_all_switches_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFOPS_LONGEST_RUN_SECONDS_BY_KIND", '{"export": 0}')
    monkeypatch.setenv("WFOPS_EXPORT_INTERVAL_SECONDS", str(365 * 86_400))
    settings = read_settings()
    assert (settings.export_interval_seconds, list(settings.longest_run_seconds_by_kind.values())) == (31_536_000, [0.0])
