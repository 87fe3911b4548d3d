"""``wfops apply`` (§2.6): what is declared is stored, whole or not at all, and never a secret shown."""

from __future__ import annotations

import copy
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.audit import decode
from wfops_pipelines.domain.errors import InvalidDocument, InvalidSetting, UnknownEnvironment, UnknownTenant, UsageError
from wfops_pipelines.services.apply_fleet import FleetPlan
from wfops_pipelines_tests.services.fleet import Clock, FleetUnderTest, NewFleet, services_over, workflow

WHOLE: dict[str, Any] = {
    "credentials": [{"key": "stripe", "type": "httpBasicAuth", "environments": {"staging": {"name": "s"}, "prod": {"name": "p", "id": "7"}}}],
    "pipelines": [{"name": "standard", "stages": [{"source": "staging", "target": "prod", "approvers": 1}]}],
    "drift_policy": {"auto_create_incidents": True, "severity_ttls": {"critical": 12}},
    "notifications": [{"name": "ops", "url": "env:OPS_URL", "events": ["incident.opened"]}],
}


def done(plan: FleetPlan) -> list[tuple[str, str, str]]:
    return [(change.action, change.kind, change.name) for change in plan.changes]


@pytest.fixture
def whole(new_fleet: NewFleet) -> FleetUnderTest:
    """A tenant with everything that can be declared, not applied yet."""
    fleet = new_fleet(("staging", "prod"))
    fleet.secrets["OPS_URL"] = "https://hooks.example.com/s3cr3t-path"
    fleet.tenant.update(copy.deepcopy(WHOLE))
    fleet.tenant["slug"] = "globex"
    fleet.slug = "globex"
    fleet.tenant["repository"]["url"] = fleet.repository.url + "-of-globex"
    return fleet


def test_everything_that_is_declared_is_created(whole: FleetUnderTest) -> None:
    plan = whole.apply()
    assert plan.applied
    assert done(plan) == [
        ("create", "tenant", "globex"), ("create", "secret", "environment/prod/api_key"),
        ("create", "secret", "environment/staging/api_key"), ("create", "secret", "notification/ops/url"),
        ("create", "repository", "default"), ("create", "environment", "staging"), ("create", "environment", "prod"),
        ("create", "credentials", "credentials"), ("create", "drift_policy", "drift_policy"),
        ("create", "notifications", "notifications"), ("create", "pipeline", "standard"), ("unmanaged", "tenant", "acme")]
    assert whole["prod"].sync().seen == 0  # with the key from the store
    (operation,) = [row for row in whole.operations() if row.kind == "apply"]
    assert (operation.state, operation.metrics) == ("completed", {"changes": 11})
    assert {event.operation_id for event in whole.events() if event.action != "environment.batch_synced"} == {operation.id}
    assert whole.chain_verifies()


def test_a_second_time_there_is_nothing_to_do_and_nothing_is_recorded(whole: FleetUnderTest) -> None:
    whole.apply()
    before = len(whole.events()), len(whole.operations())
    assert done(whole.apply()) == [("unmanaged", "tenant", "acme")]
    assert (len(whole.events()), len(whole.operations())) == before


@pytest.mark.parametrize(("change", "expected"), [
    (lambda t: t.update(plan="enterprise"), ("update", "tenant", "globex")),
    (lambda t: t["environments"][1].update(owner="ada@example.com"), ("update", "environment", "prod")),
    (lambda t: t["environments"][1].update(variables={"API": "https://x"}), ("update", "environment", "prod")),
    (lambda t: t["repository"].update(branch="release"), ("update", "repository", "default")),
    (lambda t: t["credentials"][0]["environments"]["prod"].update(name="new"), ("update", "credentials", "credentials")),
    (lambda t: t["pipelines"][0]["stages"][0].update(approvers=2), ("update", "pipeline", "standard")),
    (lambda t: t["drift_policy"].update(auto_create_incidents=False), ("update", "drift_policy", "drift_policy")),
    (lambda t: t["notifications"][0].update(events=["promotion.failed"]), ("update", "notifications", "notifications")),
], ids=["plan", "owner", "variables", "branch", "credential", "approvers", "policy", "notification"])
def test_one_change_is_one_update(whole: FleetUnderTest, change: Any, expected: tuple[str, str, str]) -> None:
    whole.apply()
    change(whole.tenant)
    plan = whole.apply()
    assert expected in done(plan)
    assert {entry for entry in done(plan) if entry[0] != "unmanaged"} <= {
        expected, ("update", "environment", "staging"), ("update", "environment", "prod")}
    assert done(whole.apply()) == [("unmanaged", "tenant", "acme")]


def test_a_changed_secret_is_an_update_that_never_shows_it(whole: FleetUnderTest) -> None:
    whole.apply()
    whole.secrets["KEY_PROD"] = "another-s3cr3t-key"
    plan = whole.apply()
    assert done(plan)[0] == ("update", "secret", "environment/prod/api_key")
    shown = str(plan.as_json()) + str([(event.action, event.details) for event in whole.events()])
    for secret in whole.secrets.values():
        assert secret not in shown
    assert "environment/prod/api_key" in shown


def test_a_dry_run_plans_the_same_and_writes_nothing(whole: FleetUnderTest) -> None:
    plan = whole.apply(dry_run=True)
    assert not plan.applied
    with pytest.raises(UnknownTenant):
        _ = whole.context
    assert done(plan) == done(whole.apply())
    whole.tenant["environments"][0]["owner"] = "ada@example.com"
    assert ("update", "environment", "staging") in done(whole.apply(dry_run=True))
    assert whole["staging"].row.owner is None


def rows(fleet: FleetUnderTest) -> dict[str, int]:
    return fleet.reading(lambda work: {
        "credentials": len(work.fleet.credentials()), "drift_policy": len(work.fleet.policies()),
        "notifications": len(work.fleet.notification_targets())})


@pytest.mark.parametrize("kind", ["credentials", "drift_policy", "notifications"])
def test_rows_that_are_declared_no_more_stay_until_they_are_pruned(whole: FleetUnderTest, kind: str) -> None:
    whole.apply()
    before = rows(whole)
    whole.tenant.pop(kind)
    assert done(whole.apply()) == [("unmanaged", kind, kind), ("unmanaged", "tenant", "acme")]
    assert rows(whole) == before
    assert ("delete", kind, kind) in done(whole.apply(prune=True))
    assert rows(whole) == {**before, kind: 0}


def test_nothing_is_deleted_without_prune(whole: FleetUnderTest) -> None:
    whole.apply()
    whole.tenant["environments"] = whole.tenant["environments"][1:]
    for key in ("pipelines", "credentials"):
        whole.tenant[key] = []
    plan = whole.apply()
    assert ("unmanaged", "environment", "staging") in done(plan) and ("unmanaged", "pipeline", "standard") in done(plan)
    assert [row.slug for row in whole.services.environments(whole.context)] == ["prod", "staging"]
    plan = whole.apply(prune=True)
    assert ("delete", "environment", "staging") in done(plan) and ("delete", "pipeline", "standard") in done(plan)
    assert ("delete", "tenant", "acme") in done(plan)
    assert [row.slug for row in whole.services.environments(whole.context)] == ["prod"]
    with pytest.raises(UnknownEnvironment, match="prod"):
        whole.services.environment(whole.context, "staging")
    with pytest.raises(UnknownTenant, match="globex"):
        whole.services.context("acme", actor="x")


def test_what_was_pruned_can_be_declared_again(whole: FleetUnderTest) -> None:
    whole.apply()
    whole["prod"].create_in_n8n(workflow("A"))
    whole["prod"].sync()
    document = copy.deepcopy(whole.document)
    whole.tenant["environments"] = whole.tenant["environments"][:1]
    whole.tenant["pipelines"], whole.tenant["credentials"] = [], []
    whole.apply(prune=True)
    whole.document = document
    whole.apply()
    assert whole["prod"].sync().created == 1


def test_a_tenant_that_was_pruned_can_be_declared_again(fleet: FleetUnderTest) -> None:
    declared = copy.deepcopy(fleet.document)
    fleet.document["tenants"][0]["slug"] = "other"
    fleet.tenant["repository"]["url"] += "-other"
    assert ("delete", "tenant", "acme") in done(fleet.apply(prune=True))
    fleet.document = declared
    assert ("create", "tenant", "acme") in done(fleet.apply())
    assert fleet["prod"].sync().seen == 0


def test_a_secret_that_is_not_there_stops_everything(whole: FleetUnderTest) -> None:
    def resolve(reference: Any) -> str:
        if reference.name == "OPS_URL":
            raise InvalidSetting("OPS_URL is not set", fix="set it")
        return whole.secrets[reference.name]
    whole.resolve = resolve  # type: ignore[method-assign]
    with pytest.raises(InvalidSetting):
        whole.apply()
    with pytest.raises(UnknownTenant):
        _ = whole.context


def test_an_unknown_engine_names_the_environment_and_those_there_are(whole: FleetUnderTest) -> None:
    whole.tenant["environments"][1]["provider"] = "zapier"
    with pytest.raises(InvalidDocument, match=r"(?s)environments\[1\]\.provider.*n8n"):
        whole.apply()


def test_an_engine_that_this_version_has_no_more_is_an_error_when_it_is_used(fleet: FleetUnderTest) -> None:
    row = fleet["prod"].row
    fleet.writing(lambda work: work.fleet.set_environment(row.id, provider="zapier"))
    with pytest.raises(UsageError, match="known: n8n"):
        fleet["prod"].sync()
    assert fleet["prod"].check().status == "ERROR"


def test_a_failure_at_any_statement_leaves_all_of_a_tenant_or_nothing(whole: FleetUnderTest) -> None:
    """Every statement of an apply fails once, one apply after the other."""
    nth, failures = 1, 0
    while True:
        failpoints.arm(f"store.statement=raise@{nth}")
        try:
            whole.apply()
        except failpoints.FailpointReached:
            failures += 1
        else:
            break
        finally:
            failpoints.disarm()
        with whole.services.store.system() as system:
            assert system.tenant("globex") is None
            assert [row.slug for row in system.environments()] == ["staging", "prod"]  # acme's
        nth += 1
    assert failures > 20
    assert len(done(whole.apply())) == 1
    assert whole.chain_verifies()


def test_a_failure_in_one_tenant_leaves_the_tenants_before_it_whole(whole: FleetUnderTest) -> None:
    acme = copy.deepcopy(whole.tenant) | {"slug": "initech", "repository": {"url": whole.repository.url + "-of-initech"}}
    whole.document["tenants"].append(acme)
    failpoints.arm("apply.tenant.before_commit=raise@2")
    with pytest.raises(failpoints.FailpointReached):
        whole.apply()
    failpoints.disarm()
    with whole.services.store.system() as system:
        assert [row.slug for row in system.tenants()] == ["acme", "globex"]
    assert next(entry for entry in done(whole.apply()) if entry[0] == "create") == ("create", "tenant", "initech")


def test_two_that_apply_the_same_new_fleet_at_once_both_succeed_and_one_of_them_makes_it(whole: FleetUnderTest) -> None:
    slugs = ["globex", "initech", "umbrella"]
    tenants = [copy.deepcopy(whole.tenant) | {"slug": slug} for slug in slugs]
    for number, tenant in enumerate(tenants):
        tenant["repository"]["url"] += f"-{number}"
    whole.document["tenants"] = tenants
    others = [services_over(whole.urls, whole.box, whole.home, Clock()) for _ in range(2)]
    applying = [replace(whole, services=services) for services in others]
    barrier = Barrier(len(applying))

    def apply(fleet: FleetUnderTest) -> FleetPlan:
        fleet.services.store.audit_key  # noqa: B018 - both are warm, so that they meet
        barrier.wait()
        return fleet.apply()

    try:
        with ThreadPoolExecutor(len(applying)) as pool:
            plans = list(pool.map(apply, applying))
    finally:
        for services in others:
            services.store.close()
    created = Counter(change for plan in plans for change in done(plan) if change[0] == "create" and change[1] == "tenant")
    assert created == {("create", "tenant", slug): 1 for slug in slugs}
    with whole.services.store.system() as system:
        assert [row.slug for row in system.tenants()] == ["acme", *slugs]
        assert len(system.environments()) == 2 + 2 * len(slugs)
    for slug in slugs:
        assert replace(whole, slug=slug).chain_verifies()


def test_two_that_prune_the_same_tenant_at_once_delete_it_once(whole: FleetUnderTest) -> None:
    whole.apply()
    whole.document["tenants"] = [{"slug": "initech"}]
    barrier = Barrier(2)

    def prune() -> FleetPlan:
        barrier.wait()
        return whole.apply(prune=True)

    context = whole.context
    with ThreadPoolExecutor(2) as pool:
        plans = [future.result() for future in [pool.submit(prune) for _ in range(2)]]
    assert Counter(change for plan in plans for change in done(plan))[("delete", "tenant", "globex")] >= 1
    with whole.services.store.read(context) as work:
        events = [decode(encoded).action for _, _, _, encoded in work.audit.chain()]
    assert events.count("tenant.deleted") == 1
