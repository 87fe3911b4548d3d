"""The README's walk-through, run from its own code blocks on three real n8n: what it says is what one sees (§11)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from wfops_pipelines_tests.end_to_end.real_fleet import RealFleet

pytestmark = [pytest.mark.n8n, pytest.mark.xdist_group("walkthrough")]

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^<!-- walk-through( says)? -->\n```(?:bash|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXIT = re.compile(r"^(?P<command>.*?)\s+# exit (?P<code>\d+)$", re.MULTILINE)
_FAILED, _STEP = "::failed ", "::step"
_BEFORE = f"""set -o pipefail
trap 'echo "{_FAILED}$? $BASH_COMMAND"' ERR
"""  # commands that end with something else than 0 are told, and the next one is run, as it is for somebody who types them


@dataclass(frozen=True)
class Step:
    """What one block has to type, and the lines that the README says one sees; … stands for anything."""

    commands: str
    says: tuple[str, ...]

    @property
    def failing(self) -> list[tuple[int, str]]:
        """The commands that end with another exit code than 0, as the block says."""
        return [(int(found["code"]), found["command"].strip()) for found in _EXIT.finditer(self.commands)]


@dataclass(frozen=True)
class Walked:
    """The steps with what each of them printed, and where they were walked."""

    steps: list[tuple[Step, str]]
    folder: Path


def steps_of(readme: str) -> list[Step]:
    """The blocks of the walk-through, in their order."""
    steps: list[Step] = []
    for says, text in _BLOCK.findall(readme):
        if says:
            steps[-1] = Step(steps[-1].commands, tuple(text.splitlines()))
        else:
            steps.append(Step(text, ()))
    return steps


@pytest.fixture(scope="module")
def walked(real_fleet: RealFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    """All blocks typed into one bash, in an empty directory, as somebody who has installed ``wfops``."""
    steps = steps_of((ROOT / "README.md").read_text())
    folder = tmp_path_factory.mktemp("walk")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "wfops").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wfops_pipelines.cli.main "$@"\n')
    (programs / "wfops").chmod(0o755)
    variables = real_fleet.wfops.environment(LC_ALL="C.UTF-8")
    variables["PATH"] = f"{programs}:{variables['PATH']}"
    variables["PYTHONPATH"] = str(ROOT)
    for slug, server in real_fleet.servers.items():
        variables |= {f"{slug.upper()}_URL": server.url, f"{slug.upper()}_KEY": server.api_key}
    place = folder / "empty"
    place.mkdir()
    script = _BEFORE + "".join(f"echo; echo {_STEP}\n{step.commands}" for step in steps)
    done = subprocess.run(["bash", "-c", script], cwd=place, env=variables, stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
    printed = done.stdout.split(f"\n{_STEP}\n")[1:]
    assert len(printed) == len(steps), done.stdout[-3000:]
    yield Walked(list(zip(steps, printed, strict=True)), place)


def test_it_has_the_steps_that_it_promises() -> None:
    steps = steps_of((ROOT / "README.md").read_text())
    assert len(steps) == 8
    assert [code for step in steps for code, _ in step.failing] == [3, 4]


def test_every_command_ends_as_the_text_says(walked: Walked) -> None:
    for step, printed in walked.steps:
        failed = [(int(code), command) for code, _, command in (
            line.removeprefix(_FAILED).partition(" ") for line in printed.splitlines() if line.startswith(_FAILED))]
        assert failed == step.failing, printed


def test_one_sees_what_the_text_says(walked: Walked) -> None:
    for step, printed in walked.steps:
        lines = printed.splitlines()
        for said in step.says:
            pattern = re.compile(".*".join(re.escape(part) for part in said.split("…")))
            assert any(pattern.fullmatch(line) for line in lines), (said, printed)


def test_the_rollback_brings_back_the_hotfix(walked: Walked, real_fleet: RealFleet) -> None:
    hotfix, later, held = (_urls(real_fleet, slug) for slug in ("prod", "dev", "staging"))
    assert hotfix == {"https://backup.example.com/v1"}
    assert later == held == {"https://api.example.com/v2"}
    folder = subprocess.run(["git", "-C", "shop.git", "show", "main:prod/workflows/orders.json"], cwd=walked.folder, check=True,
                            capture_output=True, encoding="utf-8").stdout
    assert "https://backup.example.com/v1" in folder


def _urls(fleet: RealFleet, slug: str) -> set[str]:
    """What the live workflows of an n8n call."""
    found = fleet.people[slug]._ask("GET", "/workflows", active="true")["data"]
    return {node["parameters"]["url"] for workflow in found for node in workflow["nodes"] if "url" in node["parameters"]}
