"""``GET /metrics``: what Prometheus asks of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from wfops_pipelines.api.app import create_app
from wfops_pipelines.api.dispatcher import Dispatcher
from wfops_pipelines.api.metrics import MetricsRoute
from wfops_pipelines.domain.metrics import METRICS
from wfops_pipelines.services.metrics import Exposition, MetricOptions
from wfops_pipelines_tests.services.fleet import FleetUnderTest


def ask(fleet: FleetUnderTest, *, token: str | None = None, **headers: str) -> httpx.Response:
    """One scrape of an API over a fleet."""
    figures = Exposition(fleet.services, MetricOptions(interval=300.0), runs=lambda: {"QUEUED": 1})
    app = create_app(fleet.services, Dispatcher(fleet.services, no_queue), metrics=MetricsRoute(figures, token))

    async def scrape() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
            return await client.get("/metrics", headers=headers)

    return asyncio.run(scrape())


@contextmanager
def no_queue() -> Iterator[Any]:
    """Nothing is launched here."""
    raise AssertionError
    yield


def test_a_scrape_gets_every_figure_as_text(fleet: FleetUnderTest) -> None:
    answer = ask(fleet)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.headers["content-type"].startswith("text/plain")
    assert {family.name for family in text_string_to_metric_families(answer.text)} == {metric.name for metric in METRICS}
    assert 'wfops_runs{status="QUEUED"} 1.0' in answer.text


def test_a_scrape_that_prefers_openmetrics_gets_it(fleet: FleetUnderTest) -> None:
    answer = ask(fleet, Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize("version", ["x", "1.x", "", "1.0.0.x"])
def test_a_scrape_that_accepts_a_version_that_is_none_is_answered(fleet: FleetUnderTest, version: str) -> None:
    answer = ask(fleet, Accept=f"application/openmetrics-text;version={version}")
    assert answer.status_code == 200
    assert "wfops_runs" in answer.text


@pytest.mark.parametrize("given", ["", "Bearer other", "Bearer s3cret ", "Basic s3cret"])
def test_where_a_token_is_set_others_get_nothing(fleet: FleetUnderTest, given: str) -> None:
    answer = ask(fleet, token="s3cret", Authorization=given)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "wfops_" not in answer.text


def test_who_has_the_token_reads(fleet: FleetUnderTest) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):  # RFC 7235: the scheme knows no case
        assert ask(fleet, token="s3cret", Authorization=f"{scheme} s3cret").status_code == 200
