"""Deliveries of webhooks: who is believed, what is kept, and what is said of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import Denied, MalformedDelivery
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines.services.push_delivery import MAX_VALUES, receive
from wfops_pipelines.services.push_dispatch import dispatch, left_behind
from wfops_pipelines.services.push_health import check_pushes
from wfops_pipelines.services.retention import run_retention
from wfops_pipelines.store.secrets import SecretBox, generate_key
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet
from wfops_pipelines_tests.services.pushing import (
    NONE,
    RECORDED,
    SECRET,
    URL,
    NotedQueue,
    delivered,
    deliveries,
    push_document,
    sign,
    signing_fleet,
)


@pytest.fixture
def fleet(new_fleet: NewFleet) -> FleetUnderTest:
    """A tenant with dev and prod, whose repository signs its webhooks."""
    return signing_fleet(new_fleet)


def second_tenant(fleet: FleetUnderTest, slug: str = "globex", secret: str = "globex's own") -> None:
    """Another tenant that reads the same repository."""
    fleet.secrets["HOOK2"] = secret
    first = fleet.tenant
    fleet.document["tenants"].append({
        **first, "slug": slug, "name": slug, "repository": {**first["repository"], "webhook_secret": "env:HOOK2"},
        "environments": [{**e, "folder": f"{slug}/{e['folder']}"} for e in first["environments"]]})
    fleet.apply()


# -- who is believed -----------------------------------------------------------------------------------------------------


def test_a_recorded_push_of_github_is_received_for_every_environment_of_its_branch(fleet: FleetUnderTest) -> None:
    (receipt,) = receive(fleet.services, delivered(RECORDED["new_branch"]))
    assert (receipt.status, receipt.environments, receipt.known) == ("received", ("dev", "prod"), False)
    (event,) = fleet.events("push.received")
    assert (event.actor, event.details["branch"], event.details["environments"]) == ("system:webhook", "master", ["dev", "prod"])
    assert fleet.chain_verifies()


@pytest.mark.parametrize("changes", [
    {"signature": ""}, {"secret": "another"}, {"signature": "sha256=" + "0" * 64}, {"signature": "sha1=" + "0" * 40}])
def test_who_signed_with_another_secret_or_none_is_not_believed_and_leaves_nothing(
        fleet: FleetUnderTest, changes: dict[str, str]) -> None:
    before = fleet.actions()
    with pytest.raises(Denied):
        receive(fleet.services, delivered(RECORDED["new_branch"], **changes))
    assert deliveries(fleet) == [] and fleet.actions() == before


def test_a_forged_delivery_and_one_of_an_unknown_repository_are_refused_in_the_same_words(fleet: FleetUnderTest) -> None:
    unknown = push_document("prod/a.json", url="https://github.com/somebody/else.git")
    with pytest.raises(Denied) as forged:
        receive(fleet.services, delivered(RECORDED["new_branch"], secret="another"))
    with pytest.raises(Denied) as stranger:
        receive(fleet.services, delivered(unknown))
    assert str(forged.value) == str(stranger.value)


def test_a_changed_body_is_not_what_was_signed(fleet: FleetUnderTest) -> None:
    delivery = delivered(push_document("prod/a.json"))
    changed = delivery.signed.replace(b"prod/a.json", b"prod/b.json")
    with pytest.raises(Denied):
        receive(fleet.services, delivered(changed, signature=delivery.signature))


def test_a_tenants_secret_says_nothing_about_another_repository(fleet: FleetUnderTest) -> None:
    document = push_document("prod/a.json", url="https://github.com/globex/flows.git")
    document["pusher"] = {"html_url": URL}  # so that the tenant is asked at all
    with pytest.raises(Denied):
        receive(fleet.services, delivered(document))
    assert deliveries(fleet) == []


@pytest.mark.parametrize("url", [
    "https://github.com/Acme/Flows", "https://github.com/acme/flows.git", "https://github.com/acme/flows.git/",
    "https://github.com/acme/flows/", "git@github.com:acme/flows.git", "ssh://git@github.com:22/acme/flows"])
def test_a_repository_is_found_by_its_whole_path_however_its_address_is_written(fleet: FleetUnderTest, url: str) -> None:
    fleet.tenant["repository"]["url"] = url
    fleet.apply()
    with fleet.services.store.system() as system:
        assert [row.url for row in system.pushes.repositories(["no/such", "acme/flows"])] == [url]
        for path in ("a", "s", "flows.git", "cme/flows", "acme/flow", "github.com", "%", "_cme/flows"):
            assert system.pushes.repositories([path]) == [], path


def test_a_repository_without_a_webhook_secret_believes_nobody(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("prod",), repository_url=URL, repository_options={"branch": "master"})
    for secret in ("", SECRET):
        with pytest.raises(Denied):
            receive(fleet.services, delivered(RECORDED["new_branch"], secret=secret))


def test_the_secret_of_the_github_app_stands_for_repositories_that_are_read_through_it(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("prod",), repository_url=URL, repository_options={"branch": "master"})
    with pytest.raises(Denied):
        receive(fleet.services, delivered(RECORDED["new_branch"], secret="app"), app_secret="app")
    fleet.secrets["PEM"] = "a key"
    fleet.tenant["repository"] |= {"provider": "github", "github_app": {"app_id": 1, "installation_id": 2,
                                                                        "private_key": "env:PEM"}}
    fleet.apply()
    with pytest.raises(Denied):  # a variable that is set, and empty
        receive(fleet.services, delivered(RECORDED["new_branch"], secret=""), app_secret="")
    (receipt,) = receive(fleet.services, delivered(RECORDED["new_branch"], secret="app"), app_secret="app")
    assert receipt.status == "received"
    sign(fleet)
    with pytest.raises(Denied):  # it has a secret of its own now
        receive(fleet.services, delivered(RECORDED["new_branch"], secret="app"), app_secret="app")


def test_of_two_tenants_with_one_repository_each_hears_of_what_its_own_secret_signed(fleet: FleetUnderTest) -> None:
    second_tenant(fleet)
    assert [r.tenant for r in receive(fleet.services, delivered(push_document()))] == ["acme"]
    theirs = delivered(push_document(), secret="globex's own")
    assert [r.tenant for r in receive(fleet.services, theirs)] == ["globex"]
    assert len(deliveries(fleet)) == 1


def test_two_tenants_that_share_repository_and_secret_both_hear_of_it(fleet: FleetUnderTest) -> None:
    second_tenant(fleet, secret=SECRET)
    delivery = delivered(push_document())
    assert [(r.tenant, r.status) for r in receive(fleet.services, delivery)] == [("acme", "received"), ("globex", "received")]
    assert [r.known for r in receive(fleet.services, delivery)] == [True, True]


def test_a_tenant_that_was_deleted_hears_of_nothing(fleet: FleetUnderTest) -> None:
    fleet.document["tenants"] = []
    fleet.apply(prune=True)
    with pytest.raises(Denied):
        receive(fleet.services, delivered(RECORDED["new_branch"]))


def test_a_secret_that_no_key_opens_signs_for_nobody(fleet: FleetUnderTest) -> None:
    fleet.services.store.secrets = SecretBox([generate_key()])
    with pytest.raises(Denied):
        receive(fleet.services, delivered(RECORDED["new_branch"]))


def test_the_webhook_secret_is_stored_encrypted_and_shown_nowhere(fleet: FleetUnderTest) -> None:
    assert fleet.reading(lambda work: work.fleet.secret("repository/default/webhook")) == SECRET
    changes = [change for change in fleet.apply(dry_run=True).changes if change.action != "unmanaged"]
    assert changes == []
    sign(fleet, "another one")
    told = json.dumps([event.details for event in fleet.events()], default=str)
    assert SECRET not in told and "another one" not in told
    assert SECRET not in repr(delivered(push_document("x")))


# -- what is kept --------------------------------------------------------------------------------------------------------


def test_a_replay_is_told_and_launches_nothing(fleet: FleetUnderTest) -> None:
    queue = NotedQueue()
    delivery = delivered(push_document("prod/a.json"))
    receive(fleet.services, delivery)
    dispatch(fleet.services, queue)
    (again,) = receive(fleet.services, delivery)
    assert (again.known, again.status) == (True, "launched")
    other_id = delivered(delivery.signed)  # the delivery's id is not signed: whoever replays may change it
    (forged_id,) = receive(fleet.services, other_id)
    assert forged_id.known
    dispatch(fleet.services, queue)
    assert len(queue.submitted) == 1 and len(deliveries(fleet)) == 1
    assert len(fleet.events("push.received")) == 1


def test_a_push_that_somebody_sent_as_a_ping_before_is_still_news(fleet: FleetUnderTest) -> None:
    """The event is in a header, and headers are not signed."""
    document = push_document("prod/a.json")
    (ping,) = receive(fleet.services, delivered(document, event="ping"))
    (push,) = receive(fleet.services, delivered(document))
    assert (ping.status, push.status, push.known) == ("ignored", "received", False)
    (again,) = receive(fleet.services, delivered(document))
    assert again.known


@pytest.mark.parametrize(("document", "reason"), [
    (push_document("README.md"), "it changed nothing in a folder that is read"),
    (push_document("prod/a.json", branch="feature"), "no environment reads this branch"),
    (RECORDED["deleted_tag"], "no branch was pushed to")])
def test_a_push_that_touches_nobody_is_left_alone_with_the_reason(
        fleet: FleetUnderTest, document: dict[str, Any], reason: str) -> None:
    (receipt,) = receive(fleet.services, delivered(document))
    assert (receipt.status, receipt.reason, receipt.environments) == ("ignored", reason, ())
    assert fleet.events("push.received") == []
    assert left_behind(fleet.services, older_than=0).rows == []


def test_only_environments_in_whose_folder_something_changed_are_looked_at(fleet: FleetUnderTest) -> None:
    (receipt,) = receive(fleet.services, delivered(push_document("prod/workflows/a.json", "README.md")))
    assert receipt.environments == ("prod",)


@pytest.mark.parametrize("changes", [{"forced": True}, {"after": NONE}, {"before": NONE}])
def test_a_forced_push_a_deletion_and_a_creation_touch_the_whole_branch(
        fleet: FleetUnderTest, changes: dict[str, Any]) -> None:
    (receipt,) = receive(fleet.services, delivered(push_document("README.md", **changes)))
    assert receipt.environments == ("dev", "prod")


def test_a_ping_is_kept_and_launches_nothing(fleet: FleetUnderTest) -> None:
    ping = {**RECORDED["ping"], "repository": {"clone_url": URL}}
    (receipt,) = receive(fleet.services, delivered(ping, event="ping"))
    assert (receipt.status, receipt.reason) == ("ignored", "ping")
    assert len(fleet.events("webhook.pinged")) == 1


def test_other_events_are_answered_and_not_kept(fleet: FleetUnderTest) -> None:
    issues = {**RECORDED["issues"], "repository": {"clone_url": URL}}
    (receipt,) = receive(fleet.services, delivered(issues, event="issues"))
    assert (receipt.status, receipt.reason) == ("ignored", "event issues")
    assert deliveries(fleet) == []


@pytest.mark.parametrize("body", [b"{\"clone_url\": \"%s\"", b"[\"clone_url\", {\"clone_url\": \"%s\"}]",
                                  b"{\"repository\": {\"clone_url\": \"%s\"}, \"ref\": 1}"])
def test_a_signed_body_that_cannot_be_read_is_malformed_and_leaves_nothing(fleet: FleetUnderTest, body: bytes) -> None:
    with pytest.raises(MalformedDelivery):
        receive(fleet.services, delivered(body % URL.encode()))
    assert deliveries(fleet) == []


def test_a_signed_body_of_very_many_values_is_malformed_and_leaves_nothing(fleet: FleetUnderTest) -> None:
    document = json.dumps(push_document("prod/a.json"))
    body = f'{document[:-1]},"x":[{"{}," * MAX_VALUES}0]}}'.encode()
    with pytest.raises(MalformedDelivery, match="more than 1,000,000 values"):
        receive(fleet.services, delivered(body))
    assert deliveries(fleet) == []


def test_the_largest_push_that_github_tells_of_is_taken(fleet: FleetUnderTest) -> None:
    recorded = RECORDED["new_branch"]
    person = {"name": "Ada, of acme", "email": "ada@example.com", "username": "ada"}
    commits = [{"id": f"{number:040x}", "tree_id": f"{number:040x}", "distinct": True, "message": "one, two, three, four",
                "timestamp": "2026-01-02T03:04:05Z", "url": f"https://github.com/x/y/commit/{number:040x}", "author": person,
                "committer": person, "added": [f"prod/workflows/{number}/{file}.json" for file in range(150)], "removed": [],
                "modified": [f"dev/workflows/{file}.json" for file in range(100)]} for number in range(2048)]
    body = json.dumps({**push_document("prod/a.json"), "repository": recorded["repository"], "commits": commits}).encode()
    assert 12 * 2**20 < len(body) < 25 * 2**20
    assert [receipt.environments for receipt in receive(fleet.services, delivered(body))] == [("dev", "prod")]


def test_a_branch_with_a_name_that_postgres_does_not_take_is_no_reason_to_fail(fleet: FleetUnderTest) -> None:
    (receipt,) = receive(fleet.services, delivered(push_document("prod/a.json", branch="a\x00b")))
    assert receipt.status == "ignored"


def test_nothing_is_kept_of_a_delivery_whose_commit_failed(fleet: FleetUnderTest) -> None:
    failpoints.arm("push.received.before_commit=raise")
    delivery = delivered(push_document("prod/a.json"))
    with pytest.raises(FailpointReached):
        receive(fleet.services, delivery)
    assert deliveries(fleet) == [] and fleet.events("push.received") == []
    (receipt,) = receive(fleet.services, delivery)
    assert not receipt.known


# -- what stays, and what is said of it ----------------------------------------------------------------------------------


def test_deliveries_are_removed_by_age_but_for_those_that_wait_and_a_replay_is_a_hint_again(fleet: FleetUnderTest) -> None:
    queue, first = NotedQueue(), delivered(push_document("prod/a.json"))
    receive(fleet.services, first)
    dispatch(fleet.services, queue)
    receive(fleet.services, delivered(push_document("dev/a.json")))
    fleet.clock.pass_time(days=8)
    removed = run_retention(fleet.services, ["acme"], actor="local:ada").removed
    assert [(one.what, one.count) for one in removed if one.what == "webhook_deliveries"] == [("webhook_deliveries", 1)]
    assert [row.status for row in deliveries(fleet)] == ["received"]
    (again,) = receive(fleet.services, first)
    assert (again.status, again.known) == ("received", False)


def test_doctor_names_repositories_from_whose_webhooks_nothing_came(fleet: FleetUnderTest) -> None:
    """A renamed repository's name another address, and are refused: the sender alone sees that."""
    found = check_pushes(fleet.services)
    assert found.ok and "of acme default no delivery is kept" in found.message
    receive(fleet.services, delivered(push_document("prod/a.json")))
    assert "no delivery is kept" not in check_pushes(fleet.services).message


def test_doctor_says_what_waits_for_a_run_and_what_the_poll_cannot_read(fleet: FleetUnderTest) -> None:
    assert check_pushes(fleet.services).ok
    fleet.writing(lambda work: work.pushes.save_head(
        fleet["prod"].row.repository_id, "master", failures=3, error="unreachable: nobody answers",
        failing_since=fleet.clock.now(), next_look_at=fleet.clock.now()))
    assert "acme master: unreachable: nobody answers, 3 times" in check_pushes(fleet.services).message
    receive(fleet.services, delivered(push_document("prod/a.json")))
    fleet.clock.pass_time(minutes=5)
    found = check_pushes(fleet.services)
    assert not found.ok and found.message.startswith("1 deliveries of webhooks wait") and found.fix
