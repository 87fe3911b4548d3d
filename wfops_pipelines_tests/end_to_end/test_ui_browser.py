"""The Dagster UI as people use it: a tenant's environments in one choice, and a daemon that finds drift by itself.

One system for all tests of this file, as ``wfops up`` starts it: tenant ``acme`` with dev, staging and prod, ``globex``
with prod alone; acme's prod is in Git, and was edited by hand afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support import expected_conditions as until
from selenium.webdriver.support.wait import WebDriverWait

from wfops_pipelines.bootstrap import Installation, open_installation
from wfops_pipelines.domain.fleet import load_fleet
from wfops_pipelines.embedded.dagster_web import DagsterWeb, asset_page
from wfops_pipelines.n8n.sandbox import create_sandbox
from wfops_pipelines.n8n.sandbox.samples import samples, seed_samples
from wfops_pipelines.n8n.sandbox.serve import serve_many
from wfops_pipelines.services.apply_fleet import apply_fleet
from wfops_pipelines.services.export_environment import export_environment
from wfops_pipelines.settings import Settings
from wfops_pipelines_tests.servers.bare import make_bare
from wfops_pipelines_tests.servers.browser import chromium
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.servers.system import START_SECONDS, system_up, temporary_home

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("dagster-ui")]

ENVIRONMENTS = {("acme", "dev"): "dev", ("acme", "staging"): "staging", ("acme", "prod"): "production",
                ("globex", "prod"): "production"}
WORKFLOWS = 3
EDITED = "Order intake"
_RUNS = "{ runsOrError(limit: 50) { ... on Runs { results { runId status tags { key value } } } } }"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterWeb]:
    folder = tmp_path_factory.mktemp("ui")
    repository = make_bare(folder / "acme.git")
    with ExitStack() as stack:
        home = stack.enter_context(temporary_home(folder))
        sandboxes = {pair: create_sandbox(api_key="key") for pair in ENVIRONMENTS}
        ids = {pair: seed_samples(sandbox.state, samples()[:WORKFLOWS]) for pair, sandbox in sandboxes.items()}
        urls = dict(zip(sandboxes, stack.enter_context(serve_many(list(sandboxes.values()))), strict=True))
        installation = stack.enter_context(open_installation(Settings(home=home)))
        _apply(installation, urls, repository.url)
        _export(installation, "acme", "prod")
        sandboxes["acme", "prod"].state.edit(ids["acme", "prod"]["orders"], node=("Create in shop", {"method": "PUT"}))
        child = stack.enter_context(system_up(home, folder / "output", {
            "WFOPS_DRIFT_CHECK_INTERVAL_SECONDS": "60", "WFOPS_GIT_POLL_INTERVAL_SECONDS": "0"}))
        opened = DagsterWeb(child.url())
        stack.callback(opened.close)
        yield opened


@pytest.fixture
def browser() -> Iterator[WebDriver]:
    with chromium() as driver:
        yield driver


@pytest.mark.browser
def test_a_tenant_with_all_its_environments_is_one_choice_and_one_run(browser: WebDriver, web: DagsterWeb) -> None:
    before = {run["runId"] for run in _runs(web)}
    browser.get(asset_page(web.url, "environment_workflows"))
    _press(browser, "Materialize")
    _press(browser, "All", of="environment")
    _choose(browser, "tenant", "acme")
    _wait(browser).until(lambda _: _partitions_chosen(browser) == "3 partitions")
    _press(browser, "Launch backfill")

    eventually(lambda: bool(_backfill_runs(web, before)), within=START_SECONDS)
    (run,) = _backfill_runs(web, before)
    eventually(lambda: web.run_status(run["runId"]) in {"SUCCESS", "FAILURE", "CANCELED"}, within=START_SECONDS)
    assert web.run_status(run["runId"]) == "SUCCESS"
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert tags["dagster/asset_partition_range_start"] == "dev|acme"
    assert tags["dagster/asset_partition_range_end"] == "prod|acme"
    for environment in ("dev", "staging", "prod"):
        shown = web.last_materialization("environment_workflows", f"{environment}|acme")
        assert shown is not None
        assert shown.run_id == run["runId"]
        assert shown.metadata["workflows"] == WORKFLOWS
    assert len(_backfill_runs(web, before)) == 1

    browser.get(asset_page(web.url, "environment_workflows", "staging|acme"))
    _wait(browser).until(until.visibility_of_element_located((By.XPATH, "//*[text()='received_bytes']")))
    _wait(browser).until(until.visibility_of_element_located((By.XPATH, f"//*[contains(text(), '{run['runId'][:8]}')]")))


def test_the_schedule_finds_drift_by_itself(web: DagsterWeb) -> None:
    eventually(lambda: web.last_materialization("drift_report", "prod|acme") is not None, within=START_SECONDS)
    shown = web.last_materialization("drift_report", "prod|acme")
    assert shown is not None
    assert shown.metadata["status"] == "DRIFT_DETECTED"
    assert shown.metadata["drifted"] == 1
    assert EDITED in shown.metadata["diff"]
    run = next(run for run in _runs(web) if run["runId"] == shown.run_id)
    assert {"key": "wfops/actor", "value": "system:drift_detection"} in run["tags"]


def test_of_a_range_only_the_environments_that_exist_are_materialised(web: DagsterWeb) -> None:
    run_id = web.materialize("environment_workflows", "dev|globex", "prod|globex")
    eventually(lambda: web.run_status(run_id) in {"SUCCESS", "FAILURE", "CANCELED"}, within=START_SECONDS)
    assert web.run_status(run_id) == "SUCCESS"
    shown = web.last_materialization("environment_workflows", "prod|globex")
    assert shown is not None
    assert shown.run_id == run_id
    assert web.last_materialization("environment_workflows", "dev|globex") is None


def _apply(installation: Installation, urls: dict[tuple[str, str], str], repository: str) -> None:
    lines = ["version: 1", "tenants:"]
    for tenant in dict.fromkeys(tenant for tenant, _ in ENVIRONMENTS):
        lines += [f"  - slug: {tenant}", f"    repository: {{url: '{repository}', branch: {tenant}}}", "    environments:"]
        lines += [f"      - {{slug: {slug}, class: {ENVIRONMENTS[t, slug]}, url: '{urls[t, slug]}', api_key: 'env:KEY', "
                  f"folder: {slug}}}" for t, slug in ENVIRONMENTS if t == tenant]
    fleet = load_fleet("\n".join(lines), file="fleet.yaml")
    apply_fleet(installation.services, fleet, lambda reference: "key", actor="local:test")


def _export(installation: Installation, tenant: str, environment: str) -> None:
    services = installation.services
    context = services.context(tenant, actor="local:test")
    asyncio.run(export_environment(services, context, services.environment(context, environment)))


def _runs(web: DagsterWeb) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = web.ask(_RUNS)["runsOrError"]["results"]
    return found


def _backfill_runs(web: DagsterWeb, before: set[str]) -> list[dict[str, Any]]:
    return [run for run in _runs(web) if run["runId"] not in before
            and any(tag["key"] == "dagster/backfill" for tag in run["tags"])]


# The page draws itself anew while it loads: what was found may be gone, or covered, when it is used. Then it is looked for
# again, the finding and the use together.
_REDRAWN = (NoSuchElementException, StaleElementReferenceException, ElementClickInterceptedException)


def _wait(browser: WebDriver) -> WebDriverWait[WebDriver]:
    return WebDriverWait(browser, 60, ignored_exceptions=_REDRAWN)


def _click(browser: WebDriver, path: str) -> None:
    """Click what is at a path, once it can be clicked."""
    def found_and_clicked(driver: WebDriver) -> bool:
        element = until.element_to_be_clickable((By.XPATH, path))(driver)
        if not element:
            return False
        element.click()
        return True
    _wait(browser).until(found_and_clicked)


def _press(browser: WebDriver, text: str, *, of: str | None = None) -> None:
    """Press a button by how its text begins; ``of`` a dimension's section of the dialog."""
    section = "" if of is None else f"//span[text()='{of}']/ancestor::*[.//button[.='All']][1]"
    _click(browser, f"{section}//button[starts-with(normalize-space(.), '{text}')]")


def _choose(browser: WebDriver, dimension: str, key: str) -> None:
    """Open a dimension's list, look for the key, tick it."""
    section = f"//span[text()='{dimension}']/ancestor::*[.//button[.='All']][1]"
    _click(browser, f"{section}//*[contains(text(), 'Select a partition')]")
    _wait(browser).until(until.element_to_be_clickable((By.XPATH, "//input[@placeholder='Filter partitions']"))).send_keys(key)
    row = f"//span[text()='{key}']/ancestor::*[.//input[@type='checkbox']][1]//label"
    _click(browser, row)
    _wait(browser).until(until.presence_of_element_located((By.XPATH, f"{section}//*[text()='{key}']")))


def _partitions_chosen(browser: WebDriver) -> str:
    return browser.find_element(
        By.XPATH, "//*[text()='Partition selection']/ancestor::*[contains(., 'partitions')][1]//*[contains(text(), 'partitions')]").text
