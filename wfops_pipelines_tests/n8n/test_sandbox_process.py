"""The sandbox as a process of its own: ``python -m wfops_pipelines.n8n.sandbox``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx


@contextmanager
def process(*arguments: str) -> Iterator[str]:
    """Its URL until the block is left."""
    with subprocess.Popen([sys.executable, "-m", "wfops_pipelines.n8n.sandbox", *arguments], stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            address = json.loads(started.stdout.readline())
            assert address["pid"] == started.pid
            yield address["url"]
        finally:
            started.send_signal(signal.SIGTERM)
            started.wait(20)


def test_it_serves_the_samples_and_keeps_its_state_over_a_restart(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("from-a-file\n")
    arguments = ("--api-key-file", str(key), "--seed", "samples", "--state", str(tmp_path / "state.json"))
    headers = {"x-n8n-api-key": "from-a-file"}
    with process(*arguments) as url:
        rows = httpx.get(f"{url}/api/v1/workflows", headers=headers, trust_env=False).json()["data"]
        assert len(rows) == 12
        gone = next(row["id"] for row in rows if not row["active"])
        assert httpx.delete(f"{url}/api/v1/workflows/{gone}", headers=headers, trust_env=False).status_code == 200
    with process(*arguments) as url:
        again = httpx.get(f"{url}/api/v1/workflows", headers=headers, trust_env=False).json()["data"]
    assert [row["id"] for row in again] == [row["id"] for row in rows if row["id"] != gone]


def test_it_seeds_from_a_folder_of_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.json").write_text('\ufeff{"name": "one", "nodes": [], "connections": {}}', encoding="utf-8")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "package.json").write_text("{}")
    with process("--seed", str(tmp_path), "--generation", "1") as url:
        rows = httpx.get(f"{url}/api/v1/workflows", headers={"x-n8n-api-key": "sandbox-key"}, trust_env=False).json()["data"]
    assert [row["name"] for row in rows] == ["one"]
