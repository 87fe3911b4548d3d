"""fleet.yaml (§2.6): every mistake with its line, its field and the way out, and never with the value."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from wfops_pipelines.domain.errors import InvalidDocument
from wfops_pipelines_tests.domain.fleet_example import (
    ACME,
    DEV,
    EXAMPLE,
    STAGING,
    Path,
    changed,
    load,
    problems,
    the_problem,
)

# -- mistakes in one field -------------------------------------------------------------------------------------------------

def test_a_schema_error_names_file_line_and_field() -> None:
    text = EXAMPLE.replace("url: \"http://127.0.0.1:5702\"", "url: \"ftp://127.0.0.1\"")
    with pytest.raises(InvalidDocument) as refused:
        load(text)
    assert str(refused.value) == (
        "fleet.yaml:9: tenants[0].environments[1].url: must begin with http:// or https://")
    assert (refused.value.line, refused.value.field) == (9, "tenants[0].environments[1].url")


BAD_FIELDS: list[tuple[Path, Any, str]] = [
    (["version"], 2, "should be 1"),
    (["version"], "1", "should be 1"),
    (["tenants"], {"slug": "acme"}, "should be a list"),
    (ACME, "acme", "should be a mapping"),
    ([*ACME, "slug"], "Acme", "lower-case"),
    ([*ACME, "slug"], "acme\n", "lower-case"),
    ([*ACME, "slug"], "-acme", "lower-case"),
    ([*ACME, "slug"], "a" * 64, "63"),
    ([*ACME, "slug"], "a|b", "lower-case"),
    ([*ACME, "slug"], "àcme", "lower-case"),
    ([*ACME, "slug"], 7, "put it in quotes"),
    ([*ACME, "name"], "two\nlines", "one line"),
    ([*ACME, "name"], "  ", "1 to 200"),
    ([*ACME, "plan"], "platinum", "'enterprise'"),
    ([*ACME, "repository", "url"], "https://ada:hunter2@example.com/a.git", "must not carry a user or password"),
    ([*ACME, "repository", "url"], "https://hunter2@example.com/a.git", "must not carry a user or password"),
    ([*ACME, "repository", "url"], "ext::sh -c hunter2", "must be"),
    ([*ACME, "repository", "url"], "file://host/acme.git", "absolute path"),
    ([*ACME, "repository", "url"], "ssh://-oProxyCommand=hunter2/acme.git", "must name a host"),
    ([*ACME, "repository", "url"], "ssh://-hunter2@host/acme.git", "take for an option"),
    ([*ACME, "repository", "url"], "https://example.com", "path of the repository"),
    ([*ACME, "repository", "url"], "https://example.com/a?token=hunter2", "query"),
    ([*ACME, "repository", "provider"], "gitlab", "'git' or 'github'"),
    ([*ACME, "repository", "branch"], "a..b", "Git branch"),
    ([*ACME, "repository", "branch"], "-x", "Git branch"),
    ([*ACME, "repository", "branch"], "refs/heads/main", "a branch alone"),
    ([*ACME, "repository", "branch"], "HEAD", "a branch alone"),
    ([*ACME, "repository", "branch"], "main\n", "Git branch"),
    ([*DEV, "class"], "prod", "'dev', 'staging' or 'production'"),
    ([*DEV, "url"], "127.0.0.1:5701", "must begin with http"),
    ([*DEV, "url"], "http://", "host"),
    ([*DEV, "url"], "http://host:99999", "port"),
    ([*DEV, "url"], "http://host/\n", "control characters"),
    ([*DEV, "url"], "http://[host", "must be a URL"),
    ([*DEV, "url"], "http://ada:hunter2@host", "api_key names the key"),
    ([*DEV, "url"], "http://host/?key=hunter2", "query"),
    ([*DEV, "url"], "http://host/api/v1/", "leave out /api/v1"),
    ([*DEV, "api_key"], "hunter2", "never the secret itself"),
    ([*DEV, "api_key"], "env:hunter2-with-dashes", "name of a variable"),
    ([*DEV, "api_key"], "env:", "name of a variable"),
    ([*DEV, "api_key"], "file:", "never the secret itself"),
    ([*DEV, "api_key"], "vault:hunter2", "never the secret itself"),
    ([*DEV, "api_key"], {"hunter2": 1}, "never the secret itself"),
    ([*DEV, "api_key"], None, "never the secret itself"),
    ([*DEV, "provider"], "zapier", "known: n8n"),
    ([*DEV, "folder"], "/dev", "relative"),
    ([*DEV, "folder"], "a/../../b", "inside the repository"),
    ([*DEV, "folder"], "a/.GIT/hooks", "inside the repository"),
    ([*DEV, "folder"], "a\\b", "written with '/'"),
    ([*DEV, "folder"], "a\nb", "one line"),
    ([*DEV, "health_check"], "maybe", "true or false"),
    ([*DEV, "write_mode"], "force", "'push' or 'pull_request'"),
    ([*DEV, "drift_handling_mode"], "ignore", "'warn_only'"),
    ([*STAGING, "variables"], {"API BASE": "x"}, "letters, digits and '_'"),
    ([*STAGING, "variables"], {"PORT": 80}, "put it in quotes"),
    ([*STAGING, "variables"], ["x"], "should be a mapping"),
    ([*ACME, "pipelines", 0, "stages"], [], "at least 1 item"),
    ([*ACME, "pipelines", 0, "stages", 0, "approvers"], -1, "greater than or equal to 0"),
    ([*ACME, "pipelines", 0, "stages", 0, "approvers"], 1.5, "whole number"),
    ([*ACME, "pipelines", 0, "stages", 0, "approvers"], True, "whole number"),
    ([*ACME, "pipelines", 0, "stages", 0, "approvers"], "1", "whole number"),
    ([*ACME, "drift_policy", "severity_ttls", "low"], 0, "greater than 0"),
    ([*ACME, "drift_policy", "require_approval_for"], ["open"], "'acknowledge'"),
    ([*ACME, "notifications"], [{"name": "x", "url": "https://hooks.example.com/hunter2"}], "never the secret itself"),
    ([*ACME, "notifications"], [{"name": "x", "url": "env:X", "events": ["all"]}], "incident.opened"),
    ([*ACME, "credentials", 0, "environments"], {}, "at least 1 item"),
    ([*ACME, "credentials", 0, "type"], "http basic", "letters, digits"),
]


@pytest.mark.parametrize(("path", "value", "words"), BAD_FIELDS)
def test_a_wrong_value_is_refused_where_it_stands_and_not_repeated(path: Path, value: Any,
                                                                   words: str) -> None:
    field, message = the_problem(changed(path, value))
    expected = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in path).lstrip(".")
    assert (field or "").startswith(expected)
    assert words in message
    assert "hunter2" not in message


def test_a_misspelt_field_is_told_its_name() -> None:
    text = EXAMPLE.replace("class: dev,", "clas: dev,")
    assert problems(text) == [("tenants[0].environments[0].class", "is required"),
                              ("tenants[0].environments[0].clas", "is no field here (did you mean class?)")]


@pytest.mark.parametrize(("path", "field", "words"), [
    (["tennants"], "tennants", "did you mean tenants?"),
    ([*ACME, "zzz"], "tenants[0].zzz", "known: slug, name, plan"),
    ([*DEV, "repository"], "tenants[0].environments[0].repository", ""),
    ([*ACME, "repository", "tokn"], "tenants[0].repository.tokn", "did you mean token?"),
    ([*ACME, "credentials", 0, "environments", "dev", "nam"], "tenants[0].credentials[0].environments.dev.nam",
     "did you mean name?"),
    ([*ACME, "pipelines", 0, "stages", 0, "gates"], "tenants[0].pipelines[0].stages[0].gates.x", "requireCleanDrift"),
])
def test_an_unknown_field_is_refused_at_every_level(path: Path, field: str, words: str) -> None:
    value: Any = {"x": 1} if path[-1] in {"repository", "gates"} else 1
    found = dict(problems(changed(path, value)))
    assert any(name is not None and name.startswith(field) and words in message for name, message in found.items())


def test_the_python_name_of_a_field_is_not_one_of_the_document() -> None:
    assert "tenants[0].environments[0].environment_class" in dict(problems(
        changed([*DEV, "environment_class"], "dev")))


@pytest.mark.parametrize("text", ["7", "[]", "text", "null"])
def test_a_document_that_is_no_mapping_is_refused(text: str) -> None:
    assert the_problem(text) == (None, "should be a mapping (key: value)")


def test_every_problem_of_a_document_is_reported_in_the_order_of_lines() -> None:
    text = EXAMPLE.replace("slug: acme", "slug: ACME").replace("class: staging", "class: stage").replace(
        "approvers: 1", "approvers: many")
    with pytest.raises(InvalidDocument) as refused:
        load(text)
    assert [(p.line, p.field) for p in refused.value.problems] == [
        (3, "tenants[0].slug"), (9, "tenants[0].environments[1].class"),
        (17, "tenants[0].pipelines[0].stages[1].approvers")]
    assert [line.split(": ")[0] for line in str(refused.value).splitlines()] == [
        "fleet.yaml:3", "fleet.yaml:9", "fleet.yaml:17"]


def test_a_flood_of_problems_is_cut_in_the_message_and_whole_in_the_list() -> None:
    with pytest.raises(InvalidDocument) as refused:
        load(yaml.safe_dump({"version": 1, "tenants": [{"slug": "BAD"}] * 50}))
    assert len(refused.value.problems) == 50
    assert str(refused.value).splitlines()[-1] == "fleet.yaml: and 30 more"


def test_a_key_that_stands_twice_is_an_error_and_not_the_last_one() -> None:
    (field, message), = problems(EXAMPLE.replace("plan: agency", "plan: agency\n    plan: free"))
    assert field is None
    assert message == "the key 'plan' stands here and on line 5"
