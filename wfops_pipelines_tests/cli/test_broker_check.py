"""`wfops doctor` and the broker that sweeps are shared by."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from wfops_pipelines.cli.installation_checks import check_broker
from wfops_pipelines.services.diagnose import Finding
from wfops_pipelines.settings import Settings
from wfops_pipelines_tests.servers.redis import running_redis


def looked_at(url: str) -> Finding:
    return check_broker(Settings(celery_broker_url=SecretStr(url)))


def test_a_broker_that_takes_connections_is_well(tmp_path: Path) -> None:
    with running_redis(tmp_path) as url:
        finding = looked_at(url)
    assert finding.ok and finding.message.endswith(f"{url.partition('://')[2]} takes connections")


@pytest.mark.parametrize(("url", "said"), [
    ("redis://:s3cret@127.0.0.1:1/0", "refused"), ("amqp://ada:s3cret@127.0.0.1:1//", "refused"),
    ("nix://ada:s3cret@broker", "No such transport: nix")])
def test_one_that_does_not_is_named_with_the_setting_and_without_its_password(url: str, said: str) -> None:
    finding = looked_at(url)
    assert not finding.ok and said in finding.message and "WFOPS_CELERY_BROKER_URL" in str(finding.fix)
    assert "s3cret" not in finding.message
