"""The README's picture, from a running ``wfops demo``: ``python -m wfops_pipelines_tests.end_to_end.screenshot URL FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as until
from selenium.webdriver.support.wait import WebDriverWait

from wfops_pipelines.embedded.dagster_web import asset_page
from wfops_pipelines_tests.servers.browser import chromium


def take(url: str, file: Path) -> None:
    """The page of acme's production in the drift report: status, what drifted, the diff."""
    with chromium() as browser:
        wait = WebDriverWait(browser, 60)
        browser.get(asset_page(url, "drift_report", "prod|acme"))
        wait.until(until.presence_of_element_located((By.XPATH, "//*[contains(text(), 'Hide navigation')]"))).click()
        wait.until(until.presence_of_element_located((By.XPATH, "//*[contains(text(), 'parameters.options.timeout')]")))
        wait.until(until.invisibility_of_element_located((By.XPATH, "//*[contains(@class, 'Spinner')]")))
        browser.save_screenshot(str(file))


if __name__ == "__main__":
    take(sys.argv[1], Path(sys.argv[2]))
