"""The files of ``deploy/``, read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from wfops_pipelines_tests.servers.processes import REPOSITORY

DEPLOY = REPOSITORY / "deploy"


def read(name: str) -> Any:
    """A YAML or JSON file with one document."""
    text = (DEPLOY / name).read_text()
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


def read_all(name: str) -> list[Any]:
    """Every document of a YAML file."""
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def all_files() -> list[Path]:
    """Every file."""
    return sorted(path for path in DEPLOY.rglob("*") if path.is_file())


def worker_command() -> list[str]:
    """The command of a Celery worker, as Compose starts it."""
    command: list[str] = read("compose.celery.yaml")["services"]["worker"]["command"]
    return command
