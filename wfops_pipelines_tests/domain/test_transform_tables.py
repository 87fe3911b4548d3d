"""Tables by which lift would not undo lower are refused, with the rows named (§11.4)."""

from __future__ import annotations

from typing import Any

import pytest

from wfops_pipelines.domain.errors import InvalidFields
from wfops_pipelines.domain.transform_tables import CredentialRow, EnvironmentTables, check_tables


def table(environment: str, *rows: tuple[str, str], base_url: str = "", **variables: str) -> EnvironmentTables:
    return EnvironmentTables(environment, base_url, {}, [CredentialRow(key, "slackApi", name) for key, name in rows], variables)


def refused(*tables: EnvironmentTables) -> dict[str | None, str]:
    with pytest.raises(InvalidFields) as caught:
        check_tables(tables)
    assert caught.value.fix
    return {problem.field: problem.message for problem in caught.value.problems}


def test_ordinary_tables_pass() -> None:
    check_tables([
        table("dev", ("team", "slack"), ("sales", "slack 2"), base_url="http://127.0.0.1:5678/", HOST="api.dev", REGION="eu"),
        table("prod", ("team", "slack live"), base_url="https://n8n.example.com", HOST="api.com", REGION="eu"),
    ])
    check_tables([])


def test_one_name_may_be_one_keys_in_every_environment() -> None:
    check_tables([table("dev", ("team", "slack")), table("prod", ("team", "slack"))])


def test_names_of_different_types_have_nothing_to_do_with_each_other() -> None:
    check_tables([EnvironmentTables("dev", credentials=[CredentialRow("a", "slackApi", "x", "1"), CredentialRow("b", "jwtAuth", "x", "1")])])


def test_one_name_for_two_keys_in_one_environment_is_refused() -> None:
    found = refused(table("dev", ("team", "slack"), ("sales", "slack")))
    assert list(found) == ["credentials.sales.dev"]
    assert "key 'team'" in found["credentials.sales.dev"]


def test_one_id_for_two_keys_is_refused() -> None:
    rows = [CredentialRow("a", "slackApi", "x", "1"), CredentialRow("b", "slackApi", "y", "1")]
    assert list(refused(EnvironmentTables("dev", credentials=rows))) == ["credentials.b.dev"]


def test_one_key_twice_is_refused() -> None:
    assert list(refused(table("dev", ("team", "one"), ("team", "two")))) == ["credentials.team.dev"]


def test_a_swap_is_refused_with_both_rows() -> None:
    found = refused(table("dev", ("a", "x"), ("b", "y")), table("prod", ("a", "y"), ("b", "x")))
    assert set(found) == {"credentials.a.prod", "credentials.b.prod"}
    assert "credentials.b.dev" in found["credentials.a.prod"]
    assert "credentials.a.dev" in found["credentials.b.prod"]


def test_a_chain_is_refused() -> None:
    found = refused(table("dev", ("a", "x"), ("b", "y")), table("prod", ("a", "y"), ("b", "z")))
    assert list(found) == ["credentials.a.prod"]


@pytest.mark.parametrize("name", ["", "key:team"])
def test_a_name_that_is_none_or_reads_like_a_key_is_refused(name: str) -> None:
    assert list(refused(table("dev", ("team", name)))) == ["credentials.team.dev"]


@pytest.mark.parametrize("value", ["", "  ", "a", "=x", "{{env.OTHER}}", "x{{wfops.base_url}}"])
def test_a_value_that_is_empty_or_a_trap_is_refused_and_not_shown(value: str) -> None:
    found = refused(table("dev", SECRET=value))
    assert list(found) == ["variables.SECRET.dev"]
    assert not value.strip() or len(value) < 3 or value not in found["variables.SECRET.dev"]


@pytest.mark.parametrize("base_url", [
    "n8n.example.com", "ftp://n8n.example.com", "https://", "https://u:p@n8n.example.com", "https://n8n.example.com?x=1",
    "https://n8n.example.com/#a", "https://n8n.example.com/a b", "https://[", "https://h:x", "https://n8n.example.com/n8n="])
def test_a_base_url_that_no_other_url_begins_with_is_refused(base_url: str) -> None:
    assert list(refused(table("dev", base_url=base_url))) == ["base_url.dev"]


def test_a_base_url_below_another_is_refused() -> None:
    found = refused(table("prod", base_url="https://example.com/"), table("dev", base_url="https://example.com/dev"))
    assert list(found) == ["base_url.dev"]


@pytest.mark.parametrize(("one", "other"), [
    ("http://127.0.0.1:567", "http://127.0.0.1:5678"), ("https://n8n.example.co", "https://n8n.example.com"),
    ("https://example.com/n8n", "https://example.com/n8n-dev")])
def test_addresses_that_only_begin_alike_are_told_apart_at_the_boundary(one: str, other: str) -> None:
    check_tables([table("dev", base_url=one), table("prod", base_url=other)])


@pytest.mark.parametrize("workflow_ids", [{"a": "1", "b": "1"}, {"a": ""}, {"": "1"}])
def test_one_workflow_for_two_canonical_ones_is_refused(workflow_ids: dict[str, str]) -> None:
    assert len(refused(EnvironmentTables("dev", workflow_ids=workflow_ids))) == 1


def test_ids_of_workflows_may_change_places_between_environments() -> None:
    check_tables([EnvironmentTables("dev", workflow_ids={"a": "1", "b": "2"}), EnvironmentTables("prod", workflow_ids={"a": "2", "b": "1"})])


def test_two_sets_for_one_environment_are_refused() -> None:
    assert list(refused(table("dev"), table("dev"))) == ["dev"]


def test_values_are_not_in_the_repr() -> None:
    assert "hidden" not in repr(table("dev", TOKEN="hidden"))


def test_all_problems_are_named_at_once() -> None:
    found: Any = refused(table("dev", ("a", "x"), ("b", "x"), A="", B="b"), table("prod", base_url="no"))
    assert set(found) == {"credentials.b.dev", "variables.A.dev", "variables.B.dev", "base_url.prod"}
