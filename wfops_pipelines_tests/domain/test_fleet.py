"""fleet.yaml (§2.6): what is read, where workflows are in Git, and the JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from wfops_pipelines.domain.fleet import EnvironmentClass, SecretReference, fleet_json_schema
from wfops_pipelines.domain.fleet_fields import check_folder, check_slug, repository_identity
from wfops_pipelines_tests.domain.fleet_example import ACME, DEV, EXAMPLE, Path, changed, example, load

# -- what is read --------------------------------------------------------------------------------------------------------

def test_the_example_of_the_contract_is_read() -> None:
    fleet = load(EXAMPLE)
    (acme,) = fleet.tenants
    dev, staging, prod = acme.environments
    assert (acme.slug, acme.title, acme.plan) == ("acme", "Acme Corp", "agency")
    assert [e.environment_class for e in acme.environments] == list(EnvironmentClass)
    assert (prod.allow_production, staging.allow_production) == (True, False)
    assert staging.variables == {"API_BASE": "https://stg.example.com"}
    assert dev.api_key == SecretReference("env", "ACME_DEV_KEY")
    assert acme.credentials[0].environments["prod"].id == "abc123"
    assert acme.pipelines[0].stages[0].gates.require_clean_drift
    assert acme.pipelines[0].stages[1].approvers == 1
    assert acme.drift_policy is not None
    assert acme.drift_policy.model_dump(exclude_unset=True) == {
        "auto_create_incidents": True, "severity_ttls": {"critical": 24, "high": 48, "medium": 72, "low": 168}}
    assert {str(reference) for reference in fleet.secret_references()} == {
        "env:ACME_DEV_KEY", "env:ACME_STG_KEY", "env:ACME_PROD_KEY"}


def test_the_gates_are_dumped_under_the_names_of_the_contract() -> None:
    gates = load(EXAMPLE).tenants[0].pipelines[0].stages[1].gates
    assert gates.model_dump(by_alias=True) == {
        "requireCleanDrift": True, "allowOverwritingHotfixes": False, "allowForcePromotionOnConflicts": False,
        "allowPlaceholderCredentials": False}


def test_a_fleet_read_from_its_own_dump_is_the_same() -> None:
    fleet = load(EXAMPLE)
    dumped = fleet.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert load(yaml.safe_dump(dumped)) == fleet


def test_a_fleet_without_tenants_is_one() -> None:
    assert load("version: 1").tenants == []


def test_anchors_spare_repetition() -> None:
    text = EXAMPLE.replace("plan: agency", "plan: &plan agency") + "  - {slug: bolt, plan: *plan}\n"
    assert [tenant.plan for tenant in load(text).tenants] == ["agency", "agency"]


def test_urls_and_folders_come_in_one_form() -> None:
    assert load(changed([*DEV, "url"], "HTTP://N8N.Example.com:80/base/")).tenants[0].environments[0].url == (
        "http://n8n.example.com:80/base")
    assert load(changed([*DEV, "folder"], "./flows//dev/")).tenants[0].environments[0].folder == "flows/dev"


def test_every_optional_field_can_be_given() -> None:
    document = example()
    tenant = document["tenants"][0]
    tenant["repository"] = {
        "url": "https://github.com/acme/flows", "provider": "github", "api_url": "https://github.example.com/api/v3/",
        "github_app": {"app_id": 1, "installation_id": 2, "private_key": "file:/etc/app.pem"}}
    tenant["environments"][0].update(sync_to_git=True, ca_bundle="/etc/ca.pem", owner="ada@example.com", name="Dev ✨")
    tenant["environments"][2].update(
        write_mode="pull_request", drift_handling_mode="require_attestation", health_check=False,
        drift_policy={"block_on_active_drift": True, "require_approval_for": ["close"]}, branch="release/prod")
    tenant["environments"][1]["repository"] = {"url": "git@git.example.com:acme/staging.git", "ssh_key": "file:/k"}
    tenant["notifications"] = [{"name": "on-call", "url": "env:SLACK", "events": ["incident.opened"]}]
    fleet = load(yaml.safe_dump(document))
    assert {str(r) for r in fleet.secret_references()} >= {"file:/etc/app.pem", "file:/k", "env:SLACK"}


# -- where the workflows are in Git ----------------------------------------------------------------------------------------

def place(document: dict[str, Any], number: int) -> tuple[str, str, str] | None:
    tenant = load(yaml.safe_dump(document)).tenants[0]
    found = tenant.git_place(tenant.environments[number])
    return None if found is None else (found.repository_name, found.branch, found.folder)


def test_an_environment_is_in_its_folder_of_the_tenants_repository() -> None:
    assert place(example(), 1) == ("default", "main", "staging")


def test_an_environment_can_have_a_branch_or_a_repository_of_its_own() -> None:
    document = example()
    document["tenants"][0]["environments"][1].update(branch="stg", folder=".")
    document["tenants"][0]["environments"][2].update(repository={"url": "file:///srv/git/prod.git", "branch": "live"})
    assert place(document, 1) == ("default", "stg", "")
    assert place(document, 2) == ("prod", "live", "prod")


def test_a_dev_environment_needs_no_git() -> None:
    document = example()
    del document["tenants"][0]["environments"][0]["folder"]
    assert place(document, 0) is None


def test_without_any_repository_there_is_no_git() -> None:
    document = example()
    del document["tenants"][0]["repository"]
    for environment in document["tenants"][0]["environments"]:
        environment.pop("folder")
    assert [place(document, n) for n in range(3)] == [None, None, None]


def test_a_production_environment_without_a_folder_has_the_root() -> None:
    document = example()
    document["tenants"][0]["environments"][2].update(branch="live")
    del document["tenants"][0]["environments"][2]["folder"]
    assert place(document, 2) == ("default", "live", "")


# -- fields, alone -----------------------------------------------------------------------------------------------------------

@given(st.text(max_size=70))
def test_a_slug_is_what_the_database_accepts(text: str) -> None:
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789-"
    good = 0 < len(text) <= 63 and all(c in allowed for c in text) and text[0] != "-"
    try:
        assert check_slug(text) == text
    except ValueError:
        assert not good
    else:
        assert good


@given(st.lists(st.sampled_from(["a", "b c", ".", "", "..", ".git", "é", "x.json", "/"]), max_size=6))
def test_a_folder_stays_inside_and_has_one_form(parts: list[str]) -> None:
    try:
        folder = check_folder("/".join(parts))
    except ValueError:
        return
    assert check_folder(folder) == folder
    assert not folder.startswith("/")
    assert not folder.endswith("/")
    assert not {"..", ".git", "."} & set(folder.split("/"))


@pytest.mark.parametrize(("one", "other", "same"), [
    ("https://github.com/acme/flows.git", "https://GitHub.com/acme/flows/", True),
    ("https://github.com/acme/flows", "git@github.com:acme/flows.git", True),
    ("ssh://git@github.com/acme/flows", "git@github.com:acme/flows.git", True),
    ("file:///srv/git/a.git", "/srv/git//a.git", True),
    ("file:///srv/git/a.git", "file://localhost/srv/git/a.git", True),
    ("http://127.0.0.1:3001/a", "http://127.0.0.1:3002/a", False),
    ("https://github.com/acme/flows", "https://github.com/acme/flows2", False),
])
def test_two_spellings_of_one_repository_are_one(one: str, other: str, same: bool) -> None:
    assert (repository_identity(one) == repository_identity(other)) == same


# -- JSON Schema -------------------------------------------------------------------------------------------------------------

def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for model, part in {"Fleet": schema, **schema["$defs"]}.items():
        for name, field in part.get("properties", {}).items():
            yield f"{model}.{name}", field


def test_the_schema_is_one_and_accepts_the_example() -> None:
    schema = fleet_json_schema()
    Draft202012Validator.check_schema(schema)
    json.dumps(schema)
    assert list(Draft202012Validator(schema).iter_errors(example())) == []


def test_every_field_of_the_schema_has_a_description_and_an_example_and_no_other_is_allowed() -> None:
    schema = fleet_json_schema()
    bare = [name for name, field in properties(schema) if not (field.get("description") and field.get("examples"))]
    assert bare == []
    assert all(part.get("additionalProperties") is False
               for part in [schema, *schema["$defs"].values()] if part.get("type") == "object")
    assert all(part.get("title") and part.get("description") for part in [schema, *schema["$defs"].values()])


def test_the_examples_of_the_schema_are_valid() -> None:
    schema = fleet_json_schema()
    for name, field in properties(schema):
        for shown in field["examples"]:
            validator = Draft202012Validator({**field, "$defs": schema["$defs"]})
            assert list(validator.iter_errors(shown)) == [], name


@pytest.mark.parametrize("path", [["version"], [*DEV, "class"], [*ACME, "plan"], [*DEV, "api_key"],
                                  [*DEV, "write_mode"], [*ACME, "slug"], [*DEV, "unknown"]])
def test_the_schema_refuses_what_the_loader_refuses(path: Path) -> None:
    document = yaml.safe_load(changed(path, "NONSENSE"))
    assert list(Draft202012Validator(fleet_json_schema()).iter_errors(document))
