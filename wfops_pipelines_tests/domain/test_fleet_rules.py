"""fleet.yaml (§2.6): what must hold between fields."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from wfops_pipelines.domain.fleet_rules import MAX_ENVIRONMENT_SLUGS
from wfops_pipelines_tests.domain.fleet_example import EXAMPLE, edited, example, load, problems, the_problem


def test_two_tenants_of_one_slug_are_refused() -> None:
    assert the_problem(EXAMPLE + "  - {slug: acme}\n") == (
        "tenants[1].slug", "'acme' is a tenant already: tenants[0]")


def test_two_environments_of_one_slug_are_refused() -> None:
    text = edited(lambda t: t["environments"].append({**t["environments"][0], "folder": "other"}))
    assert the_problem(text) == ("tenants[0].environments[3].slug", "'dev' is an environment already: environments[0]")


@pytest.mark.parametrize(("part", "field"), [("credentials", "key"), ("pipelines", "name")])
def test_two_of_one_name_are_refused(part: str, field: str) -> None:
    text = edited(lambda t: t[part].append(t[part][0]))
    assert f"tenants[0].{part}[1].{field}" in dict(problems(text))


def test_a_stage_names_environments_that_are_there() -> None:
    text = edited(lambda t: t["pipelines"][0]["stages"].append({"source": "prod", "target": "moon"}))
    assert the_problem(text) == ("tenants[0].pipelines[0].stages[2].target",
                                 "the tenant has no environment 'moon' (environments: dev, prod, staging)")


def test_a_stage_leads_somewhere_else() -> None:
    text = edited(lambda t: t["pipelines"][0]["stages"].append({"source": "prod", "target": "prod"}))
    assert the_problem(text)[0] == "tenants[0].pipelines[0].stages[2].target"


def test_a_pipeline_does_not_go_in_circles() -> None:
    text = edited(lambda t: t["pipelines"][0]["stages"].append({"source": "prod", "target": "dev"}))
    field, message = the_problem(text)
    assert field == "tenants[0].pipelines[0].stages[2]"
    assert "circle" in message


def test_a_pipeline_may_fork_and_join() -> None:
    stages = [("dev", "staging"), ("dev", "eu"), ("staging", "prod"), ("eu", "prod")]
    load(edited(
        lambda t: t["environments"].append({**t["environments"][1], "slug": "eu", "folder": "eu"}),
        lambda t: t["pipelines"][0].update(stages=[{"source": s, "target": d} for s, d in stages]),
    ))


def test_a_stage_stands_once_in_a_pipeline() -> None:
    text = edited(lambda t: t["pipelines"][0]["stages"].append({"source": "dev", "target": "staging"}))
    assert "already" in the_problem(text)[1]


def test_a_credential_names_environments_that_are_there() -> None:
    text = edited(lambda t: t["credentials"][0]["environments"].update(moon={"name": "x"}))
    assert the_problem(text)[0] == "tenants[0].credentials[0].environments.moon"


def test_one_name_for_two_keys_of_a_type_is_refused_in_one_environment() -> None:
    def twin(**prod: str) -> str:
        return edited(lambda t: t["credentials"].append({
            "key": "stripe-2", "type": "httpBasicAuth", "environments": {"prod": prod}}))

    assert the_problem(twin(name="stripe-live"))[0] == "tenants[0].credentials[1].environments.prod.name"
    assert the_problem(twin(name="other", id="abc123"))[0] == "tenants[0].credentials[1].environments.prod.id"
    load(twin(name="another"))


def test_one_name_for_two_types_is_fine() -> None:
    load(edited(lambda t: t["credentials"].append({
        "key": "stripe-2", "type": "httpHeaderAuth", "environments": {"prod": {"name": "stripe-live"}}})))


def test_two_environments_in_one_folder_are_refused() -> None:
    text = edited(lambda t: t["environments"][2].update(folder="staging/"))
    field, message = the_problem(text)
    assert field == "tenants[0].environments[2].folder"
    assert "acme/staging" in message


@pytest.mark.parametrize("folder", ["staging/prod", ".", "staging/a/b"])
def test_a_folder_inside_another_is_refused(folder: str) -> None:
    assert "lies inside" in problems(edited(lambda t: t["environments"][2].update(folder=folder)))[0][1]


def test_a_folder_whose_name_merely_begins_like_another_is_fine() -> None:
    load(edited(lambda t: t["environments"][2].update(folder="staging-eu")))
    load(edited(lambda t: t["environments"][2].update(folder="staging", branch="other")))
    load(edited(lambda t: t["environments"][2].update(folder="staging", repository={"url": "file:///other.git"})))


def test_a_folder_of_another_tenant_is_refused_however_the_repository_is_spelt() -> None:
    document = example()
    document["tenants"][0]["repository"]["url"] = "https://git.example.com/acme/flows.git"
    document["tenants"].append({
        "slug": "bolt", "repository": {"url": "git@GIT.example.com:acme/flows"},
        "environments": [{"slug": "prod", "class": "production", "url": "http://x", "api_key": "env:X",
                          "folder": "prod/bolt"}]})
    field, message = the_problem(yaml.safe_dump(document))
    assert field == "tenants[1].environments[0].folder"
    assert "acme/prod" in message


def test_git_fields_need_a_repository() -> None:
    fields = dict(problems(edited(lambda t: t.pop("repository"))))
    assert set(fields) == {f"tenants[0].environments[{n}].folder" for n in range(3)}


@pytest.mark.parametrize(("number", "edit", "field", "words"), [
    (1, {"sync_to_git": True}, "sync_to_git", "is for dev"),
    (0, {"sync_to_git": True, "folder": None}, "sync_to_git", "folder"),
    (2, {"write_mode": "pull_request"}, "write_mode", "provider: github"),
    (2, {"verify_tls": False, "ca_bundle": "/etc/ca.pem"}, "ca_bundle", "verify_tls: false"),
])
def test_fields_that_contradict_each_other_are_refused(number: int, edit: dict[str, Any], field: str,
                                                       words: str) -> None:
    name, message = the_problem(edited(lambda t: t["environments"][number].update(edit)))
    assert name == f"tenants[0].environments[{number}].{field}"
    assert words in message


@pytest.mark.parametrize(("repository", "field"), [
    ({"url": "file:///a.git", "token": "env:T"}, "token"),
    ({"url": "ssh://git@host/a.git", "token": "env:T"}, "token"),
    ({"url": "https://host/a.git", "ssh_key": "file:/k"}, "ssh_key"),
    ({"url": "ssh://git@host/a.git", "ssh_key": "env:K"}, "ssh_key"),
    ({"url": "https://host/a.git", "api_url": "https://host/api"}, "api_url"),
    ({"url": "file:///a.git", "provider": "github"}, "url"),
    ({"url": "https://github.com/acme", "provider": "github"}, "url"),
    ({"url": "https://github.com/acme/a", "provider": "github", "ssh_key": "file:/k"}, "ssh_key"),
    ({"url": "https://github.com/acme/a", "provider": "github", "token": "env:T",
      "github_app": {"app_id": 1, "installation_id": 1, "private_key": "env:K"}}, "github_app"),
    ({"url": "https://host/a.git", "github_app": {"app_id": 1, "installation_id": 1, "private_key": "env:K"}},
     "github_app"),
])
def test_a_way_in_that_does_not_fit_the_repository_is_refused(repository: dict[str, Any], field: str) -> None:
    assert the_problem(edited(lambda t: t.update(repository=repository)))[0] == f"tenants[0].repository.{field}"


def test_the_number_of_environment_slugs_is_bounded() -> None:
    def many(count: int) -> str:
        environments = [{"slug": f"e{n}", "class": "dev", "url": "http://x", "api_key": "env:X"} for n in range(count)]
        return yaml.safe_dump({"version": 1, "tenants": [{"slug": "acme", "environments": environments}]})

    load(many(MAX_ENVIRONMENT_SLUGS))
    assert the_problem(many(MAX_ENVIRONMENT_SLUGS + 1))[0] == "tenants"
