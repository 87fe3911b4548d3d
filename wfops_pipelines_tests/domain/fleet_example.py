"""The example fleet of the contract, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from wfops_pipelines.domain.errors import InvalidDocument
from wfops_pipelines.domain.fleet import Fleet, load_fleet

# The example of the contract, as users see it.
EXAMPLE = """\
version: 1
tenants:
  - slug: acme
    name: Acme Corp
    plan: agency
    repository: {url: "file:///srv/git/acme.git", provider: git, branch: main}
    environments:
      - {slug: dev,     class: dev,        url: "http://127.0.0.1:5701", api_key: env:ACME_DEV_KEY,  folder: dev}
      - {slug: staging, class: staging,    url: "http://127.0.0.1:5702", api_key: env:ACME_STG_KEY,  folder: staging, \
variables: {API_BASE: "https://stg.example.com"}}
      - {slug: prod,    class: production, url: "http://127.0.0.1:5703", api_key: env:ACME_PROD_KEY, folder: prod, \
allow_production: true}
    credentials:
      - {key: stripe, type: httpBasicAuth, environments: {dev: {name: stripe}, staging: {name: stripe-stg}, \
prod: {name: stripe-live, id: "abc123"}}}
    pipelines:
      - name: standard
        stages:
          - {source: dev, target: staging}
          - {source: staging, target: prod, gates: {requireCleanDrift: true}, approvers: 1}
    drift_policy: {auto_create_incidents: true, severity_ttls: {critical: 24, high: 48, medium: 72, low: 168}}
"""

Path = list[str | int]
ACME: Path = ["tenants", 0]
DEV, STAGING, PROD = ([*ACME, "environments", n] for n in range(3))


def load(text: str) -> Fleet:
    return load_fleet(text, file="fleet.yaml", providers=["n8n"])


def example() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(EXAMPLE)
    return document


def at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def changed(path: Path, value: Any) -> str:
    """The example with one value set (or added)."""
    document = example()
    at(document, path[:-1])[path[-1]] = value
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def edited(*edits: Callable[[dict[str, Any]], Any]) -> str:
    """The example with its tenant edited."""
    document = example()
    for edit in edits:
        edit(document["tenants"][0])
    return yaml.safe_dump(document, sort_keys=False)


def problems(text: str) -> list[tuple[str | None, str]]:
    with pytest.raises(InvalidDocument) as refused:
        load(text)
    assert all(problem.line is not None for problem in refused.value.problems)
    return [(problem.field, problem.message) for problem in refused.value.problems]


def the_problem(text: str) -> tuple[str | None, str]:
    (problem,) = problems(text)
    return problem
