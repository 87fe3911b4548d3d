"""``wfops hash`` and ``wfops diff`` of files, as processes: exit codes, streams, pipes, encodings (§22, §25)."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wfops_pipelines.domain.normalize import NORMALIZER_VERSION, content_hash
from wfops_pipelines.domain.workflow import read_content

ROOT = Path(__file__).resolve().parents[2]
APP = """\
import sys
from wfops_pipelines.cli.main import main
try:
    main()
finally:
    heavy = [name for name in ("dagster", "sqlalchemy", "pandas", "httpx") if name in sys.modules]
    assert not heavy, heavy
"""


def wfops(*arguments: str | Path, cwd: Path, text_input: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "COLUMNS": "200", **environment}
    return subprocess.run([sys.executable, "-c", APP, *map(str, arguments)], cwd=cwd, env=env, input=text_input,
                          capture_output=True, text=True, encoding="utf-8", check=False)


def workflow(name: str = "Orders", **parameters: Any) -> dict[str, Any]:
    node = {"id": "1", "name": "A", "type": "t", "position": [0, 0], "parameters": parameters}
    return {"name": name, "nodes": [node], "connections": {}, "settings": {}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.json").write_text(json.dumps(workflow(url="x")))
    (tmp_path / "b.json").write_text(json.dumps(workflow(url="y")))
    (tmp_path / "moved.json").write_text(json.dumps(workflow(url="x")).replace("[0, 0]", "[9, 9]"))
    return tmp_path


class TestHash:
    def test_prints_hash_name_and_file(self, folder: Path) -> None:
        done = wfops("hash", "a.json", "moved.json", cwd=folder)
        digest = content_hash(read_content(workflow(url="x")))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{digest}  Orders  a.json\n{digest}  Orders  moved.json\n"

    def test_json_has_the_stable_keys(self, folder: Path) -> None:
        done = wfops("hash", "--json", "a.json", cwd=folder)
        assert json.loads(done.stdout) == [{"file": "a.json", "name": "Orders", "normalizer_version": NORMALIZER_VERSION,
                                            "hash": content_hash(read_content(workflow(url="x")))}]

    def test_a_folder_is_its_workflow_files_in_order(self, folder: Path) -> None:
        (folder / "prod" / "workflows" / "deep").mkdir(parents=True)
        for name in ("prod/workflows/z.json", "prod/workflows/deep/ü b.JSON", "prod/tags.json"):
            (folder / name).write_text(json.dumps(workflow()))
        (folder / "prod" / "link.json").symlink_to(folder / "a.json")
        done = wfops("hash", "prod", cwd=folder)
        assert [line.split("  ")[2] for line in done.stdout.splitlines()] == [
            "prod/workflows/deep/ü b.JSON", "prod/workflows/z.json"]

    def test_an_empty_folder_says_so(self, tmp_path: Path) -> None:
        done = wfops("hash", ".", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "")
        assert "no workflow files" in done.stderr

    def test_a_malformed_file_is_reported_and_the_rest_goes_on(self, folder: Path) -> None:
        (folder / "aa.json").write_text("{")
        done = wfops("hash", ".", cwd=folder)
        assert done.returncode == 1
        assert len(done.stdout.splitlines()) == 3
        assert done.stderr.startswith("error: aa.json: no valid JSON")
        done = wfops("hash", "--json", "aa.json", "a.json", cwd=folder)
        assert done.returncode == 1
        assert [row.get("reason") for row in json.loads(done.stdout)] == ["invalid_json", None]

    def test_a_missing_file_is_a_usage_error_and_the_rest_goes_on(self, folder: Path) -> None:
        done = wfops("hash", "gone.json", "a.json", cwd=folder)
        assert done.returncode == 2
        assert done.stderr == "error: gone.json: no such file\n"
        assert len(done.stdout.splitlines()) == 1

    def test_a_reader_that_leaves_early_sees_no_traceback(self, folder: Path) -> None:
        command = f"'{sys.executable}' -c \"$APP\" hash {'a.json ' * 3000} | head -n 1; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False,
                              env={**os.environ, "PYTHONPATH": str(ROOT), "APP": APP})
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == 1

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
    def test_every_name_can_be_printed_everywhere(self, tmp_path: Path, encoding: str) -> None:
        name = "🏳️ שלום \ud800\0\x1b[31m\n"
        (tmp_path / "a.json").write_text(json.dumps(workflow(name)))
        assert wfops("hash", "a.json", cwd=tmp_path, PYTHONIOENCODING=encoding).stdout.count("\n") == 1
        (row,) = json.loads(wfops("hash", "--json", "a.json", cwd=tmp_path, PYTHONIOENCODING=encoding).stdout)
        assert row["name"] == name


class TestDiff:
    def test_files_that_mean_the_same_are_equal(self, folder: Path) -> None:
        done = wfops("diff", "a.json", "moved.json", cwd=folder)
        assert (done.returncode, done.stdout) == (0, "No differences; 1 cosmetic difference not shown.\n")

    def test_a_difference_is_shown_with_exit_code_3(self, folder: Path) -> None:
        done = wfops("diff", "a.json", "b.json", cwd=folder)
        assert (done.returncode, done.stderr) == (3, "")
        assert done.stdout == ('--- a.json\n+++ b.json\n~ node "A"\n~   parameters.url: "x" → "y"\n\n'
                               "1 change: 1 node field changed.\n")

    def test_json_has_the_stable_keys(self, folder: Path) -> None:
        done = wfops("diff", "a.json", "b.json", "--json", cwd=folder)
        assert done.returncode == 3
        assert json.loads(done.stdout) == {"equal": False, "cosmetic": 0, "changes": [
            {"kind": "node_changed", "node": "A", "path": "parameters.url", "before": "x", "after": "y"}]}

    def test_a_pipe_can_be_one_side(self, folder: Path) -> None:
        done = wfops("diff", "/dev/stdin", "a.json", cwd=folder, text_input=json.dumps(workflow(url="x")))
        assert (done.returncode, done.stdout) == (0, "No differences.\n")

    @pytest.mark.parametrize(("before", "exit_code", "message"), [
        ("gone.json", 2, "gone.json: no such file"), (".", 2, ".: a folder, not a file\nfix: name one workflow file"),
        ("broken.json", 1, "broken.json: no valid JSON"), ("a.json/x", 1, "a.json/x: cannot be read: Not a directory"),
    ])
    def test_a_file_that_cannot_be_read_is_named(self, folder: Path, before: str, exit_code: int, message: str) -> None:
        (folder / "broken.json").write_text("{")
        done = wfops("diff", before, "a.json", cwd=folder)
        assert (done.returncode, done.stdout) == (exit_code, "")
        assert done.stderr.startswith(f"error: {message}")

    def test_no_colours_without_a_terminal(self, folder: Path) -> None:
        assert "\x1b" not in wfops("diff", "a.json", "b.json", cwd=folder, TERM="xterm-256color").stdout

    @pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
    def test_a_terminal_gets_colours_unless_it_wants_none(self, folder: Path, environment: dict[str, str], coloured: bool) -> None:
        master, terminal = pty.openpty()
        env = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        env |= {"PYTHONPATH": str(ROOT), "TERM": "xterm", **environment}
        done = subprocess.run([sys.executable, "-c", APP, "diff", "a.json", "b.json"], cwd=folder, env=env, stdout=terminal,
                              check=False)
        os.close(terminal)
        shown = os.read(master, 10_000)
        os.close(master)
        assert done.returncode == 3
        assert (b"\x1b[" in shown) is coloured

    def test_help_shows_examples_and_exit_codes(self, folder: Path) -> None:
        shown = re.sub(r"\s+", " ", wfops("diff", "--help", cwd=folder, TERM="dumb").stdout)
        assert "wfops diff dev/order-intake.json prod/order-intake.json" in shown
        assert "3 different" in shown
