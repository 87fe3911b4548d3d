"""The credential table by hand: rows that are added and changed, and those that are refused (§11.4)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from wfops_pipelines.domain.errors import InvalidFields, UnknownEnvironment, UsageError
from wfops_pipelines.services.credential_commands import (
    CredentialChange,
    CredentialName,
    list_credentials,
    map_credential,
)
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, with_credential

BASIC = "httpBasicAuth"


def put(fleet: FleetUnderTest, key: str, *, kind: str = BASIC, dry_run: bool = False,
        **names: CredentialName | str | None) -> CredentialChange:
    return map_credential(fleet.services, fleet.context, key, kind, {
        slug: CredentialName(name) if isinstance(name, str) else name for slug, name in names.items()}, dry_run=dry_run)


def table(fleet: FleetUnderTest) -> dict[str, Any]:
    return {row["key"]: {slug: name and name["name"] for slug, name in row["environments"].items()}
            for row in list_credentials(fleet.services, fleet.context)}


def test_a_key_is_mapped_changed_and_taken_away_environment_by_environment(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    assert list_credentials(fleet.services, fleet.context) == []
    assert put(fleet, "stripe", prod=CredentialName("stripe-live", "abc123")).changed
    assert list_credentials(fleet.services, fleet.context) == [{
        "key": "stripe", "type": BASIC, "environments": {"staging": None, "prod": {"name": "stripe-live", "id": "abc123"}}}]
    put(fleet, "stripe", staging="stripe-stg")
    put(fleet, "stripe", prod="stripe-prod")
    assert table(fleet) == {"stripe": {"staging": "stripe-stg", "prod": "stripe-prod"}}
    change = put(fleet, "stripe", staging=None)
    assert change.before == {"staging": CredentialName("stripe-stg"), "prod": CredentialName("stripe-prod")}
    assert change.after == {"prod": CredentialName("stripe-prod")}
    put(fleet, "stripe", prod=None)
    assert table(fleet) == {}
    events = fleet.events("credential.mapped")
    assert [event.subject_id for event in events] == ["stripe"] * 5
    assert events[-1].details["was"] == {"prod": {"name": "stripe-prod", "id": None}} and events[-1].details["now"] == {}
    assert fleet.chain_verifies()


def test_saying_it_again_and_a_dry_run_change_nothing(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), credentials=[
        {"key": "stripe", "type": BASIC, "environments": {"prod": {"name": "p"}}}])
    assert not put(fleet, "stripe", prod="p").changed
    assert put(fleet, "stripe", prod="q", dry_run=True).changed
    assert table(fleet) == {"stripe": {"staging": None, "prod": "p"}}
    assert fleet.events("credential.mapped") == []


def test_the_next_apply_sets_again_what_it_declares_and_keeps_the_rest(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), credentials=[
        {"key": "stripe", "type": BASIC, "environments": {"prod": {"name": "p"}}}])
    put(fleet, "stripe", prod="q", staging="s")
    fleet.apply()
    assert table(fleet) == {"stripe": {"staging": "s", "prod": "p"}}


def test_what_is_mapped_is_meant_by_the_next_look_at_a_workflow(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    ids = {slug: fleet[slug].create_in_n8n(with_credential("Pay", f"stripe-{slug}"))[0] for slug in ("staging", "prod")}

    def portable() -> list[str]:
        for slug in ids:
            fleet[slug].sync()
        return [fleet[slug].mapping(ids[slug]).portable_hash for slug in ids]

    apart = portable()
    assert apart[0] != apart[1]
    put(fleet, "stripe", staging="stripe-staging", prod="stripe-prod")
    together = portable()
    assert together[0] == together[1]


@pytest.mark.parametrize("key", ["b", "a-new-one"])
def test_a_name_that_two_keys_would_have_is_refused_by_row(new_fleet: NewFleet, key: str) -> None:
    fleet = new_fleet(("staging", "prod"))
    put(fleet, "a", staging="one", prod="two")
    put(fleet, "b", staging="three", prod="four")
    before = table(fleet)
    for names, row in (({"prod": "two"}, f"credentials.{key}.prod"), ({"prod": "one"}, "the name 'one'")):
        for dry_run in (True, False):
            with pytest.raises(InvalidFields, match=row):
                put(fleet, key, dry_run=dry_run, **names)
    assert table(fleet) == before
    assert put(fleet, key, kind="httpHeaderAuth", prod="two", staging="one").changed  # of another type it is another one


def test_rows_that_are_broken_already_do_not_keep_others_from_being_mended(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    ids = {slug: fleet[slug].row.id for slug in ("staging", "prod")}
    fleet.writing(lambda work: work.fleet.replace_credentials([
        {"key": key, "environment_id": ids["prod"], "type": BASIC, "name": name, "credential_id": None}
        for key, name in (("a", "one"), ("b", "one"), ("c", "two"), ("d", "two"))]))
    put(fleet, "a", prod="another")
    put(fleet, "c", prod="one more")
    assert [row["prod"] for row in table(fleet).values()] == ["another", "one", "one more", "two"]


def test_a_key_has_one_type(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    put(fleet, "stripe", staging="s", prod="p")
    with pytest.raises(UsageError, match=r"another type in staging \(httpBasicAuth\)") as refused:
        put(fleet, "stripe", kind="httpHeaderAuth", prod="p")
    assert "name these environments too" in str(refused.value.fix)
    assert put(fleet, "stripe", kind="httpHeaderAuth", staging="s", prod="p").changed
    assert [row["type"] for row in list_credentials(fleet.services, fleet.context)] == ["httpHeaderAuth"]


@pytest.mark.parametrize(("key", "kind", "names", "field"), [
    ("not a key", BASIC, {"prod": "p"}, "key"), ("k", "no type", {"prod": "p"}, "type"),
    ("k", BASIC, {"prod": "two\nlines"}, "environments.prod.name"),
    ("k", BASIC, {"prod": CredentialName("p", "no id")}, "environments.prod.id")])
def test_what_does_not_fit_is_named(new_fleet: NewFleet, key: str, kind: str, names: dict[str, Any], field: str) -> None:
    fleet = new_fleet()
    with pytest.raises(InvalidFields, match=rf"^credential: {field}: "):
        put(fleet, key, kind=kind, **names)


def test_an_environment_that_is_not_there_and_none_at_all_are_refused(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    with pytest.raises(UnknownEnvironment, match="'nowhere'"):
        put(fleet, "k", nowhere="x")
    with pytest.raises(UsageError, match="no environment is named"):
        put(fleet, "k")


def test_two_at_once_lose_nothing(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    keys = [f"k{n}" for n in range(6)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: put(fleet, key, prod=f"name of {key}"), keys))
    assert sorted(table(fleet)) == keys
