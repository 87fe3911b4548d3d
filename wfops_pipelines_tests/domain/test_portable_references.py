"""References and the portable hash (§4.7): one hash for a workflow in every environment, whatever ids and names are there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from wfops_pipelines.domain.diff import diff
from wfops_pipelines.domain.normalize import canonical_bytes, content_hash
from wfops_pipelines.domain.portable import to_portable
from wfops_pipelines.domain.references import portable_bytes, portable_hash, references
from wfops_pipelines_tests.domain.workflow_strategies import contents, law

JsonObject = dict[str, Any]
EXECUTE = "n8n-nodes-base.executeWorkflow"
TOOL = "@n8n/n8n-nodes-langchain.toolWorkflow"
RETRIEVER = "@n8n/n8n-nodes-langchain.retrieverWorkflow"


def locator(value: Any, mode: str = "list", **keys: Any) -> JsonObject:
    return {"__rl": True, "mode": mode, "value": value, **keys}


def calling(selected: Any, *, kind: str = EXECUTE, settings: JsonObject | None = None, **parameters: Any) -> JsonObject:
    return {"name": "Caller", "connections": {}, "settings": settings or {}, "nodes": [
        {"name": "Call", "type": kind, "typeVersion": 1, "position": [0, 0],
         "parameters": {"workflowId": selected, "options": {}, **parameters}}]}


def with_settings(**settings: Any) -> JsonObject:
    return {"name": "Caller", "connections": {}, "nodes": [], "settings": settings}


def with_credentials(**credentials: Any) -> JsonObject:
    return {"name": "Caller", "connections": {}, "settings": {}, "nodes": [
        {"name": "Call", "type": "n8n-nodes-base.slack", "parameters": {}, "credentials": credentials}]}


def portable(content: JsonObject, canonical: dict[str, str] | None = None, *, own: str | None = None,
             keys: dict[tuple[str, str], str] | None = None) -> str:
    return portable_hash(content, self_id=own, canonical_id_of=canonical or {}, credential_key_of=keys or {})


FORMS = [lambda value: value, locator, lambda value: locator(value, "id"),
         lambda value: locator(value, cachedResultName="Sub", cachedResultUrl="/workflow/x"),
         lambda value: locator(f"https://n8n.example.com/workflow/{value}", "url"),
         lambda value: locator(f"https://n8n.example.com/workflow/{value}/?a=b#c", "url"),
         lambda value: f" {value} "]


@pytest.mark.parametrize("kind", [EXECUTE, TOOL, RETRIEVER])
@pytest.mark.parametrize("form", FORMS)
def test_a_called_workflow_is_found_in_every_form(kind: str, form: Any) -> None:
    assert references(calling(form("abc"), kind=kind)).workflow_ids == {"abc"}
    assert references(calling(form("abc"), kind=kind, source="database")).workflow_ids == {"abc"}


@pytest.mark.parametrize("selected, parameters", [
    ("={{ $json.id }}", {}), (locator("={{ $json.id }}", "id"), {}), ("", {}), (locator(""), {}), (None, {}),
    (locator(None), {}), ([], {}), (True, {}), ("abc", {"source": "parameter", "workflowJson": "{}"}),
    ("abc", {"source": "localFile"}), ("abc", {"source": "url"}), (locator("abc"), {"source": "parameter"}),
])
def test_expressions_and_inline_workflows_are_no_references(selected: Any, parameters: JsonObject) -> None:
    content = calling(selected, **parameters)
    assert references(content).workflow_ids == frozenset()
    assert portable(content, {"abc": "C", "": "C"}, own="abc") == content_hash(content)


def test_other_nodes_with_a_parameter_of_that_name_call_nothing() -> None:
    assert references(calling("abc", kind="n8n-nodes-base.set")).workflow_ids == frozenset()


def test_old_numbers_are_ids() -> None:
    assert references(calling(12)).workflow_ids == references(calling("12")).workflow_ids == {"12"}


def test_settings_refer_to_workflows() -> None:
    assert references(with_settings(errorWorkflow="e", callerIds="a, b,,a ")).workflow_ids == {"e", "a", "b"}
    for nothing in ("DEFAULT", "", None):
        assert references(with_settings(errorWorkflow=nothing, callerIds=nothing and "")).workflow_ids == frozenset()
    assert references({**with_settings(), "settings": None}).workflow_ids == frozenset()


def test_credentials_are_type_and_name() -> None:
    content = with_credentials(slackApi={"id": "1", "name": "team"}, httpBasicAuth="basic", otherApi={"id": "5"},
                               lastApi=None)
    assert references(content).credentials == {("slackApi", "team"), ("httpBasicAuth", "basic")}


@pytest.mark.parametrize("kind", [EXECUTE, TOOL])
@pytest.mark.parametrize("one", FORMS)
@pytest.mark.parametrize("two", FORMS[:5])
def test_one_called_workflow_gives_one_portable_hash_in_two_environments(kind: str, one: Any, two: Any) -> None:
    dev, prod = calling(one("dev1"), kind=kind), calling(two("prod9"), kind=kind)
    assert content_hash(dev) != content_hash(prod)
    assert portable(dev, {"dev1": "C"}) == portable(prod, {"prod9": "C"})
    assert portable(dev, {"dev1": "C"}) != portable(prod, {"prod9": "D"})


def test_unknown_workflows_are_masked() -> None:
    assert portable(calling("x")) == portable(calling("y"))
    assert portable(calling("x")) != portable(calling("x"), {"x": "C"})
    assert portable(with_settings(errorWorkflow="x")) == portable(with_settings(errorWorkflow="y"))
    assert portable(with_settings(errorWorkflow="x")) != portable(with_settings())


def test_a_workflow_that_calls_itself_is_the_same_everywhere() -> None:
    dev, prod = calling("dev1", settings={"errorWorkflow": "dev1"}), calling("prod9", settings={"errorWorkflow": "prod9"})
    assert portable(dev, own="dev1") == portable(prod, {"prod9": "C"}, own="prod9")
    assert portable(dev, own="dev1") != portable(dev)


def test_the_error_workflow_and_callers_are_portable() -> None:
    def settings(error: str, callers: str) -> JsonObject:
        return with_settings(errorWorkflow=error, callerPolicy="workflowsFromAList", callerIds=callers)

    dev, prod = settings("e1", "a1,b1, zz"), settings("e2", "yy,b2,a2")
    tables = {"e1": "E", "a1": "A", "b1": "B"}, {"e2": "E", "a2": "A", "b2": "B"}
    assert portable(dev, tables[0]) == portable(prod, tables[1])
    assert portable(dev, tables[0]) != portable(settings("e1", "a1,b1"), tables[0])
    assert portable(dev, tables[0]) != portable(dev, {**tables[0], "a1": "X"})


@pytest.mark.parametrize(("one", "other"), [("a,b", "a"), ("a,b", "c, d"), ("own,a", "own,a,b"), ("known,a", "known"), ("a,a", "a")])
def test_the_diff_of_portable_contents_is_empty_exactly_where_portable_hashes_are_equal(one: str, other: str) -> None:
    places: Any = {"self_id": "own", "canonical_id_of": {"known": "c1"}, "credential_key_of": {}}
    contents = [with_settings(callerPolicy="workflowsFromAList", callerIds=callers) for callers in (one, other)]
    hashes = {portable_hash(content, **places) for content in contents}
    assert diff(*(to_portable(content, **places) for content in contents)).equal == (len(hashes) == 1)


def test_credentials_are_compared_by_key() -> None:
    dev, prod = with_credentials(slackApi={"id": "1", "name": "team-dev"}), with_credentials(slackApi="team-prod")
    keys = {("slackApi", "team-dev"): "team", ("slackApi", "team-prod"): "team"}
    assert content_hash(dev) != content_hash(prod)
    assert portable(dev, keys=keys) == portable(prod, keys=keys)
    assert portable(dev, keys=keys) != portable(with_credentials(slackApi="team"), keys=keys)
    assert portable(dev, keys=keys) != portable(with_credentials(slackOAuth2Api="team-dev"), keys=keys)
    assert portable(with_credentials(slackApi="x"), keys=keys) != portable(with_credentials(slackApi="y"), keys=keys)
    assert portable(with_credentials(slackApi={"id": "1"}), keys=keys)


def test_nodes_that_share_a_name_are_ordered_by_what_is_portable() -> None:
    def twice(one: str, two: str) -> JsonObject:
        content = calling(one)
        content["nodes"].append({**content["nodes"][0], "parameters": {"workflowId": two, "options": {}}})
        return content

    assert (portable(twice("a", "z"), {"a": "C1", "z": "C2"}) == portable(twice("z", "a"), {"z": "C1", "a": "C2"}))


def test_everything_else_still_counts() -> None:
    table = {"abc": "C"}
    base = portable(calling("abc"), table)
    assert portable(calling("abc", mode="each"), table) != base
    assert portable(calling("abc", kind=TOOL), table) != base
    assert portable(calling("abc", settings={"timezone": "UTC"}), table) != base


@law
@given(contents())
def test_without_references_the_portable_bytes_are_the_canonical_ones(content: JsonObject) -> None:
    content["settings"].pop("errorWorkflow", None)
    for node in content["nodes"]:
        node.pop("credentials", None)
    assert portable_bytes(content, self_id="me", canonical_id_of={"a": "b"},
                          credential_key_of={("slackApi", "x"): "y"}) == canonical_bytes(content)
