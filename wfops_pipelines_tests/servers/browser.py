"""A headless Chromium, driven by selenium: for the pages of the Dagster UI.

Tests that use it carry the mark ``browser``; without Chromium they are skipped with the reason, or, with
``WFOPS_REQUIRE_BROWSER=1`` (CI), fail.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webdriver import WebDriver

WIDTH, HEIGHT = 1400, 900
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
          "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
          "--force-color-profile=srgb", "--lang=en")


@contextmanager
def chromium() -> Iterator[WebDriver]:
    """A browser with a profile of its own, ended with the block."""
    binary, driver = _program("chromium"), _program("chromedriver")
    with tempfile.TemporaryDirectory(prefix="wfops-browser-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for flag in (*_FLAGS, f"--window-size={WIDTH},{HEIGHT}", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service(driver))
        try:
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                "width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False})
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
                "features": [{"name": "prefers-color-scheme", "value": "light"}]})
            yield browser
        finally:
            browser.quit()


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(f"/usr/bin/{name}")
    if found is not None:
        return found
    missing = f"{name} is not installed (Debian: chromium, chromium-driver)"
    if os.environ.get("WFOPS_REQUIRE_BROWSER") == "1":
        pytest.fail(missing)
    pytest.skip(missing)
