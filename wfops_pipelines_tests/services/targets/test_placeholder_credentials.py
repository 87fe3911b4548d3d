"""Credentials that a promotion creates empty in the target (§11.5)."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import Conflict, NotFound, Rejected
from wfops_pipelines.domain.placeholder_data import placeholder_data
from wfops_pipelines.services.placeholder_credentials import Named, create_placeholders
from wfops_pipelines_tests.n8n.conformance.target import Target, ok, unique

TYPES = ["httpBasicAuth", "telegramApi", "openAiApi", "slackOAuth2Api", "postgres", "smtp"]


def placed(n8n: Target, *missing: Named) -> dict[Named, str]:
    if n8n.is_v1:
        pytest.skip("1.x lists no credentials")
    found = n8n.provider(lambda provider: create_placeholders(provider, missing))
    for credential_id in found.values():
        n8n.forget_later(f"/credentials/{credential_id}")
    return found


def _listed(n8n: Target) -> list[tuple[str, str, str]]:
    return [(row["type"], row["name"], row["id"]) for row in ok(n8n.get("/credentials", limit=250))["data"]]


def test_they_are_created_by_type_and_name_and_found_again(n8n: Target) -> None:
    missing = [(kind, unique(kind)) for kind in TYPES]
    made = placed(n8n, *missing, missing[0])
    assert list(made) == missing
    assert {(kind, name, made[kind, name]) for kind, name in missing} <= set(_listed(n8n))
    assert placed(n8n, *missing) == made


def test_one_that_is_there_is_taken_and_one_of_another_type_is_not(n8n: Target) -> None:
    there = n8n.credential()
    named = ("httpHeaderAuth", there["name"])
    made = placed(n8n, ("httpBasicAuth", there["name"]), named)
    assert made["httpBasicAuth", there["name"]] == there["id"]
    assert made[named] != there["id"]


def test_where_several_have_the_name_nobody_chooses(n8n: Target) -> None:
    name = unique("twice")
    for _ in range(2):
        n8n.credential(name)
    with pytest.raises(Conflict, match="2 credentials"):
        placed(n8n, ("httpBasicAuth", name))


def test_a_type_that_the_target_does_not_know_is_named(n8n: Target) -> None:
    with pytest.raises(NotFound, match="no credentials of the type 'fromElsewhereApi'"):
        placed(n8n, ("fromElsewhereApi", "any"))


def test_one_that_was_created_before_the_process_died_is_found(n8n: Target) -> None:
    named = ("httpBasicAuth", unique("broken off"))
    failpoints.arm("placeholder.create.after=raise")
    try:
        with pytest.raises(failpoints.FailpointReached):
            placed(n8n, named)
    finally:
        failpoints.disarm()
    made = placed(n8n, named)
    assert [row for row in _listed(n8n) if row[:2] == named] == [(*named, made[named])]


def test_1x_says_that_it_cannot(n8n: Target) -> None:
    if n8n.is_v2:
        pytest.skip("2.x can")
    with pytest.raises(Rejected, match=r"1\.x does not list its credentials") as raised:
        n8n.provider(lambda provider: create_placeholders(provider, [("httpBasicAuth", "Orders")]))
    assert "'Orders' (httpBasicAuth)" in (raised.value.fix or "")
    assert n8n.provider(lambda provider: create_placeholders(provider, [])) == {}


def test_what_a_schema_requires_is_given_and_no_more(n8n: Target) -> None:
    """Of every type that the sandbox knows; a real n8n is asked about a few."""
    schemas = json.loads((files("wfops_pipelines.n8n.sandbox") / "credential_schemas.json").read_text(encoding="utf-8"))
    for kind in TYPES if n8n.real else sorted(schemas):
        data = placeholder_data(ok(n8n.get(f"/credentials/schema/{kind}")))
        made = ok(n8n.post("/credentials", {"name": unique(kind), "type": kind, "data": data}))
        n8n.forget_later(f"/credentials/{made['id']}")
        assert all(value in ("", 0, False, {}, []) or isinstance(value, str) for value in data.values())
