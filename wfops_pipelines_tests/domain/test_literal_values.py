"""Values of variables that a promotion carries on as they are (§11.4): found, named, never shown."""

from __future__ import annotations

from typing import Any

import pytest

from wfops_pipelines.domain.literal_values import literal_values
from wfops_pipelines.domain.transform_tables import EnvironmentTables
from wfops_pipelines.domain.transform_texts import values_in

VARIABLES = {"HOST": "api.dev.example.com", "URL": "https://api.dev.example.com/v1", "REGION": "eu", "PORT": "5432"}


@pytest.mark.parametrize(("text", "found"), [
    ("api.dev.example.com", ["HOST"]),
    ("=api.dev.example.com", ["HOST"]),
    ("call api.dev.example.com now", ["HOST"]),
    ("https://api.dev.example.com/v1", ["URL"]),
    ("https://api.dev.example.com/v1/orders", ["URL"]),  # the longest alone
    ("https://api.dev.example.com/v2", ["HOST"]),
    ("https://xapi.dev.example.com", []),
    ("api.dev.example.com.evil.net", []),
    ("eu", ["REGION"]),
    ("neutral, eu and so on", []),  # may mean anything
    ("5432", ["PORT"]),
    ("port 5432", []),
    ("", []),
])
def test_a_value_is_found_where_it_can_be_told_from_chance(text: str, found: list[str]) -> None:
    assert values_in(text, VARIABLES) == found


def content(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"name": "Orders", "nodes": list(nodes), "connections": {}, "settings": {}}


def test_places_are_named_and_values_are_not() -> None:
    node = {"name": "To api.dev.example.com", "type": "n8n-nodes-base.set",
            "parameters": {"api.dev.example.com": ["x", "api.dev.example.com"], "url": "{{env.HOST}}"}}
    note = {"name": "Note", "type": "n8n-nodes-base.stickyNote", "parameters": {"content": "api.dev.example.com"}}
    (literal,) = literal_values("k", content(node, note), EnvironmentTables("dev", variables=VARIABLES), EnvironmentTables("prod"))
    assert (literal.key, literal.variable) == ("k", "HOST")
    assert literal.node == "To …" and "api.dev" not in str(literal.as_json())


def test_a_value_that_the_target_has_too_is_right_as_it_is() -> None:
    node = {"name": "Call", "type": "n8n-nodes-base.set", "parameters": {"url": "api.dev.example.com"}}
    dev, prod = EnvironmentTables("dev", variables=VARIABLES), EnvironmentTables("prod", variables={"HOST": VARIABLES["HOST"]})
    assert list(literal_values("k", content(node), dev, prod)) == []
    assert list(literal_values("k", content(node), EnvironmentTables("dev"), prod)) == []
