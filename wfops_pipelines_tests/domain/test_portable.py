"""Contents in portable form: their diff says "different" exactly where the portable hashes do (§8)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.diff import diff
from wfops_pipelines.domain.portable import to_portable
from wfops_pipelines.domain.references import portable_hash
from wfops_pipelines_tests.domain.workflow_strategies import law

workflow_ids = st.sampled_from(["own", "known-1", "known-2", "strange-1", "strange-2"])
names = st.sampled_from(["stripe", "stripe-stg", "stripe-live"])
CANONICAL = {"known-1": "c1", "known-2": "c2"}
TABLES: list[dict[tuple[str, str], str]] = [
    {}, {("httpBasicAuth", "stripe-stg"): "stripe"}, {("httpBasicAuth", "stripe-live"): "stripe"}]


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """A workflow with every kind of reference."""
    called = draw(st.none() | workflow_ids)
    locator = draw(st.booleans())
    nodes: list[dict[str, Any]] = [
        {"name": "Pay", "type": "n8n-nodes-base.httpRequest", "parameters": {},
         "credentials": {"httpBasicAuth": draw(names.map(lambda name: {"id": "x", "name": name}) | names)}}]
    if called is not None:
        nodes.append({"name": "Call", "type": "n8n-nodes-base.executeWorkflow", "parameters": {
            "workflowId": {"__rl": True, "mode": "list", "value": called} if locator else called}})
    settings: dict[str, Any] = {}
    if (handler := draw(st.none() | workflow_ids)) is not None:
        settings["errorWorkflow"] = handler
    if callers := draw(st.lists(workflow_ids, max_size=3)):
        settings |= {"callerPolicy": "workflowsFromAList", "callerIds": ",".join(callers)}
    return {"name": "W", "nodes": nodes, "connections": {}, "settings": settings}


@law
@given(contents(), st.sampled_from(TABLES), contents(), st.sampled_from(TABLES))
def test_the_portable_diff_is_empty_exactly_where_the_portable_hashes_are_equal(
        one: dict[str, Any], keys_of_one: dict[tuple[str, str], str], two: dict[str, Any],
        keys_of_two: dict[tuple[str, str], str]) -> None:
    def context(keys: dict[tuple[str, str], str]) -> dict[str, Any]:
        return {"self_id": "own", "canonical_id_of": CANONICAL, "credential_key_of": keys}
    equal = portable_hash(one, **context(keys_of_one)) == portable_hash(two, **context(keys_of_two))
    shown = diff(to_portable(one, **context(keys_of_one)), to_portable(two, **context(keys_of_two)))
    assert shown.equal == equal


def test_what_is_no_reference_is_shared_with_the_original() -> None:
    content: dict[str, Any] = {"name": "W", "nodes": [{"name": "N", "type": "n8n-nodes-base.set", "parameters": {}}], "connections": {}, "settings": {}}
    assert to_portable(content, self_id="own", canonical_id_of={}, credential_key_of={})["nodes"][0] is content["nodes"][0]


def test_the_original_is_left_as_it_is() -> None:
    content: dict[str, Any] = {"name": "W", "connections": {}, "settings": {"errorWorkflow": "known-1"}, "nodes": [
        {"name": "Call", "type": "n8n-nodes-base.executeWorkflow", "parameters": {"workflowId": "known-2"}}]}
    shown = to_portable(content, self_id="own", canonical_id_of=CANONICAL, credential_key_of={})
    assert (shown["settings"]["errorWorkflow"], shown["nodes"][0]["parameters"]["workflowId"]) == ("c1", "c2")
    assert content["settings"] == {"errorWorkflow": "known-1"}
    assert content["nodes"][0]["parameters"] == {"workflowId": "known-2"}
