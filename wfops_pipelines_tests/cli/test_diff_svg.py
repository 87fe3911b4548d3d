"""``wfops diff --svg``: the picture beside the diff, or alone (§8, §22)."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from wfops_pipelines.cli.main import app


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    def write(name: str, url: str) -> str:
        node = {"name": "HTTP", "type": "n8n-nodes-base.httpRequest", "position": [0, 0], "parameters": {"url": url}}
        file = tmp_path / name
        file.write_text(json.dumps({"name": "Orders", "nodes": [node], "connections": {}, "settings": {}}))
        return str(file)
    return [write("a.json", "https://a"), write("b.json", "https://b")]


def wfops(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["diff", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})


def test_the_picture_is_written_beside_the_diff(pair: list[str], tmp_path: Path) -> None:
    file = tmp_path / "diff.svg"
    done = wfops(*pair, "--svg", str(file))
    assert done.exit_code == 3 and "parameters.url" in done.stdout and str(file) in done.stderr
    assert 'class="node changed"' in file.read_text(encoding="utf-8")


def test_json_stays_json(pair: list[str], tmp_path: Path) -> None:
    done = wfops(*pair, "--json", "--svg", str(tmp_path / "diff.svg"))
    assert json.loads(done.stdout)["changes"] and (tmp_path / "diff.svg").exists()


def test_a_dash_prints_the_picture_alone(pair: list[str]) -> None:
    done = wfops(*pair, "--svg", "-")
    assert done.exit_code == 3 and ElementTree.fromstring(done.stdout).tag.endswith("svg")


def test_equal_workflows_have_a_picture_too(pair: list[str]) -> None:
    done = wfops(pair[0], pair[0], "--svg", "-")
    assert done.exit_code == 0 and 'class="node unchanged"' in done.stdout


def test_a_place_that_cannot_be_written_is_told(pair: list[str], tmp_path: Path) -> None:
    done = wfops(*pair, "--svg", str(tmp_path / "nowhere" / "diff.svg"))
    assert done.exit_code == 2 and "cannot be written" in done.stderr


def test_two_results_on_one_output_are_refused(pair: list[str]) -> None:
    assert wfops(*pair, "--svg", "-", "--json").exit_code == 2
