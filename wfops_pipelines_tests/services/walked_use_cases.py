"""Every use case whose failpoints are walked: where it begins, what it does, and what happens before it.

A use case is told ``(services, context)`` alone, so that a child can do it too, and be killed. What is walked by a test of
its own, in more detail than here, is in :data:`ELSEWHERE`.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from wfops_pipelines import failpoints
from wfops_pipelines.domain.conflicts import Keep
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.domain.incident import IncidentEvent, Resolution
from wfops_pipelines.services import incident_steps
from wfops_pipelines.services.alert_rules import remove_rule, set_rule
from wfops_pipelines.services.canonical_deletion import delete_canonical, undelete_canonical
from wfops_pipelines.services.compare import Side, compare_workflow
from wfops_pipelines.services.credential_commands import CredentialName, map_credential
from wfops_pipelines.services.deployment_run import run_deployment
from wfops_pipelines.services.deployments import cancel_deployment, schedule_deployment
from wfops_pipelines.services.detect_drift import check_drift
from wfops_pipelines.services.escalate_incidents import escalate_incidents
from wfops_pipelines.services.evaluate_alerts import evaluate_alerts
from wfops_pipelines.services.export_environment import export_environment
from wfops_pipelines.services.ignore_rule_commands import add_rule
from wfops_pipelines.services.ignore_rule_commands import remove_rule as remove_ignore_rule
from wfops_pipelines.services.incident_pictures import draw_incident
from wfops_pipelines.services.incident_resolution import Choice, reconcile_incident
from wfops_pipelines.services.lint_waiver_commands import add_waiver, remove_waiver
from wfops_pipelines.services.mapping_commands import ignore, link, unignore, unlink
from wfops_pipelines.services.pausing import pause, resume
from wfops_pipelines.services.policy_commands import set_fields
from wfops_pipelines.services.promotion_execution import execute_promotion
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines.services.promotion_request import cancel_promotion, decide_promotion, request_promotion
from wfops_pipelines.services.promotion_restore import request_restore
from wfops_pipelines.services.promotion_rollback import roll_back_promotion
from wfops_pipelines.services.reconcile import reconcile
from wfops_pipelines.services.resolving import resolve
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.snapshot_reports import compare_snapshots, show_snapshot
from wfops_pipelines.services.snapshots import take_snapshot
from wfops_pipelines.services.sync_environment import sync_environment
from wfops_pipelines.services.sync_repository import sync_repository
from wfops_pipelines.services.unblocking import unblock
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines_tests.servers.forks import run_forked
from wfops_pipelines_tests.servers.postgres import TEST_KEY
from wfops_pipelines_tests.services import walked_scenes as scenes
from wfops_pipelines_tests.services.deployments import schedule
from wfops_pipelines_tests.services.fleet import ACTOR, Clock, FleetUnderTest, NewFleet, run, services_over, workflow
from wfops_pipelines_tests.services.incidents import acknowledge
from wfops_pipelines_tests.services.incidents import step as incident_step
from wfops_pipelines_tests.services.promotions import request
from wfops_pipelines_tests.services.walked_rows import (
    canonical_id,
    deployment_id,
    first_version,
    ignore_rule_id,
    snapshot_id,
    waiver_id,
)

Act = Callable[[Services, Context], Any]
Build = Callable[[NewFleet], FleetUnderTest]


def nothing(_: FleetUnderTest) -> None:
    """Nothing else happens."""


@dataclass(frozen=True)
class UseCase:
    """What is done, from which moment on. ``before`` happens right before it, ``mend`` before it is done
    again, and ``actor`` does it. ``fails_whole``: once it has failed it is not done again, and nothing of it is left. ``or_as``: it may
    end as that one does, if it fails before what makes the difference."""

    act: Act
    scene: Build
    before: Callable[[FleetUnderTest], None] = nothing
    mend: Callable[[FleetUnderTest], None] = nothing
    actor: str = ACTOR
    fails_whole: bool = False
    or_as: str | None = None


def on_prod(use_case: Callable[..., Any], **options: Any) -> Act:
    """A use case on the production environment."""
    return lambda services, context: use_case(services, context, services.environment(context, "prod"), **options)


def on(slug: str, use_case: Callable[..., Any], *arguments: Any) -> Act:
    """A use case on an environment that it names."""
    return lambda services, context: use_case(services, context, slug, *arguments)


def step(event: IncidentEvent, **more: Any) -> Act:
    """A step of the first incident."""
    return lambda services, context: incident_steps.take(services, context, 1, event, **more)


def resolution(kind: Resolution, **more: Any) -> Act:
    """A resolution of the first incident."""
    return lambda services, context: reconcile_incident(services, context, 1, Choice(kind, **more))


# -- what happens before -----------------------------------------------------------------------------------------------


def n8n_is_away(fleet: FleetUnderTest) -> None:
    fleet["prod"].sandbox.faults.add("status", status=503)


def branch_is_gone(fleet: FleetUnderTest) -> None:
    fleet["prod"].read_git()
    fleet.repository.git("update-ref", "refs/heads/kept", "refs/heads/main")
    fleet.repository.git("update-ref", "-d", "refs/heads/main")


def branch_is_back(fleet: FleetUnderTest) -> None:
    fleet.repository.git("update-ref", "refs/heads/main", "refs/heads/kept")


def branch_moves(fleet: FleetUnderTest) -> None:
    """To one that nobody made yet."""
    fleet["prod"].read_git()
    fleet.declared("prod")["branch"] = "elsewhere"
    fleet.apply()


def hashes_are_old(fleet: FleetUnderTest) -> None:
    """Of another version of the normaliser."""
    def forget(work: Any) -> None:
        work.mappings.forget_hashes()
        work.git_states.forget_hashes()
    read_already(fleet)
    fleet.writing(forget)


def read_already(fleet: FleetUnderTest) -> None:
    for environment in fleet.environments.values():
        environment.check()


def reconciled_and_gone(fleet: FleetUnderTest) -> None:
    """What the last reconciliation found is neither here nor there by now."""
    read_already(fleet)
    fleet["prod"].reconcile()
    for environment in fleet.environments.values():
        for workflow_id in list(environment.sandbox.state.workflows):
            environment.delete_in_n8n(workflow_id)
        environment.sync()


def unlinked(fleet: FleetUnderTest) -> None:
    run(unlink(fleet.services, fleet.context, "prod", "Edited"))


def ignored(fleet: FleetUnderTest) -> None:
    run(ignore(fleet.services, fleet.context, "prod", "Edited"))


def deleted(fleet: FleetUnderTest) -> None:
    run(delete_canonical(fleet.services, fleet.context, "Edited"))


def claimed_twice(fleet: FleetUnderTest) -> None:
    """A workflow that is like another one."""
    fleet["prod"].create_in_n8n(workflow("Edited", text="right", id="w-copy"))
    fleet["prod"].sync()


def taken_care_of(fleet: FleetUnderTest) -> None:
    acknowledge(fleet["prod"], 1)


def closing_asked_for(fleet: FleetUnderTest) -> None:
    fleet.tenant["drift_policy"]["require_approval_for"] = ["close"]
    fleet.apply()
    assert incident_step(fleet["prod"], 1, IncidentEvent.CLOSE, reason="it may stay").waiting


def a_month(fleet: FleetUnderTest) -> None:
    """Nobody takes care of it for so long."""
    fleet.clock.pass_time(days=30)


def edited_since(fleet: FleetUnderTest) -> None:
    """A snapshot was taken, and then somebody edited prod."""
    prod = fleet["prod"]
    run(take_snapshot(fleet.services, fleet.context, prod.row))
    prod.edit_in_n8n(next(i for i, row in prod.mappings().items() if row.missing_at is None and not row.archived), "by hand")


def paused(fleet: FleetUnderTest) -> None:
    pause(fleet.services, fleet.slug, actor=ACTOR, reason="for now")


def asked_for(fleet: FleetUnderTest) -> None:
    assert request(fleet).number == 3


def approval_asked_for(fleet: FleetUnderTest) -> None:
    fleet.tenant["pipelines"][0]["stages"][0]["approvers"] = 1
    fleet.apply()
    assert request(fleet).status == "pending_approval"


def asked_for_something_else(fleet: FleetUnderTest) -> None:
    """Since it was asked for, the source went on."""
    asked_for(fleet)
    fleet["dev"].create_in_n8n(workflow("Another"))


def refused_for_good(fleet: FleetUnderTest) -> None:
    """The second write fails, and so does whatever would take the first one back."""
    asked_for(fleet)
    fleet["prod"].sandbox.faults.add("status", method="PUT", status=400, after=1)
    fleet["prod"].sandbox.faults.add("status", method="DELETE", status=400)


def stopped_for_good(fleet: FleetUnderTest) -> None:
    """The same, and it happened: prod takes no writes."""
    refused_for_good(fleet)
    with suppress(WfopsError):
        run(execute_promotion(fleet.services, fleet.context, 3))
    fleet["prod"].sandbox.faults.clear()
    assert fleet["prod"].row.writes_blocked_at is not None


def killed_in_the_middle(fleet: FleetUnderTest) -> None:
    asked_for(fleet)
    died = do_in_child("small promotion", fleet, "runtime.record.after_commit=kill@2")
    assert died.returncode == -9, died.stderr


def scheduled(fleet: FleetUnderTest) -> None:
    schedule(fleet)


def ignore_rule_made(fleet: FleetUnderTest) -> None:
    do(USE_CASES["ignore rule"], fleet.services, fleet.slug)


def waiver_made(fleet: FleetUnderTest) -> None:
    do(USE_CASES["lint waiver"], fleet.services, fleet.slug)


def alert_rule_made(fleet: FleetUnderTest) -> None:
    do(USE_CASES["alert rule"], fleet.services, fleet.slug)


ALERT = {"metric": "drifted_workflows", "comparison": ">=", "threshold": 1}


USE_CASES: dict[str, UseCase] = {
    # reading, comparing, exporting
    "sync": UseCase(on_prod(sync_environment), scenes.busy),
    "sync of old hashes": UseCase(on_prod(sync_environment), scenes.busy, hashes_are_old),
    "repository sync": UseCase(on_prod(sync_repository), scenes.busy),
    "repository sync without its branch": UseCase(on_prod(sync_repository), scenes.busy, branch_is_gone, branch_is_back),
    "repository sync of another branch": UseCase(on_prod(sync_repository), scenes.busy, branch_moves),
    "drift check": UseCase(on_prod(check_drift), scenes.busy),
    "drift check without n8n": UseCase(on_prod(check_drift), scenes.busy, n8n_is_away),
    "export": UseCase(on_prod(export_environment, prune=True, ambiguous_as_new=True), scenes.busy),
    "reconciliation": UseCase(on_prod(reconcile), scenes.busy, read_already),
    "reconciliation of what is gone": UseCase(on_prod(reconcile), scenes.busy, reconciled_and_gone),
    # what people say of workflows
    "link": UseCase(lambda services, context: link(services, context, "prod", "Edited",
                                                           canonical_id(services, context, "Edited")), scenes.detected, unlinked),
    "unlink": UseCase(on("prod", unlink, "Edited"), scenes.detected),
    "ignore": UseCase(on("prod", ignore, "Edited"), scenes.detected),
    "unignore": UseCase(on("prod", unignore, "Edited"), scenes.detected, ignored),
    "resolve": UseCase(on("prod", resolve, "w-copy", Keep.SPLIT), scenes.detected, claimed_twice),
    "delete": UseCase(lambda services, context: delete_canonical(services, context, "Edited"), scenes.detected),
    "undelete": UseCase(lambda services, context: undelete_canonical(services, context, "Edited"), scenes.detected, deleted),
    # incidents
    "acknowledge": UseCase(step(IncidentEvent.ACKNOWLEDGE), scenes.detected),
    "close": UseCase(step(IncidentEvent.CLOSE, reason="no matter"), scenes.detected),
    "cancel": UseCase(step(IncidentEvent.CANCEL, reason="a mistake"), scenes.detected),
    "stabilize": UseCase(step(IncidentEvent.STABILIZE, reason="it holds"), scenes.detected, taken_care_of),
    "extend": UseCase(lambda services, context: incident_steps.extend(services, context, 1, 5, reason="later"),
                      scenes.detected),
    "approve": UseCase(lambda services, context: incident_steps.decide_request(services, context, 1, approve=True),
                       scenes.detected, closing_asked_for, actor="local:grace"),
    "picture": UseCase(lambda services, context: draw_incident(services, context, 1), scenes.detected),
    "time to live": UseCase(lambda services, _: escalate_incidents(services, actor="system:ttl"), scenes.detected, a_month),
    "revert": UseCase(resolution(Resolution.REVERT), scenes.detected, taken_care_of),
    "promote": UseCase(resolution(Resolution.PROMOTE), scenes.detected, taken_care_of),
    "replace": UseCase(lambda services, context: reconcile_incident(services, context, 1, Choice(
        Resolution.REPLACE, version=first_version(services, context))), scenes.detected, taken_care_of),
    "accept": UseCase(resolution(Resolution.ACKNOWLEDGE, reason="it stays"), scenes.detected, taken_care_of),
    # snapshots
    "snapshot": UseCase(on_prod(take_snapshot), scenes.promotable),
    "snapshot that is read": UseCase(on("prod", show_snapshot), scenes.promotable),
    "snapshots that are compared": UseCase(on("prod", compare_snapshots, None, None), scenes.promotable),
    "workflow that is compared": UseCase(lambda services, context: compare_workflow(
        services, Side("acme", "dev"), Side("acme", "prod"), "One", actor=context.actor), scenes.promotable),
    # promotions
    "request": UseCase(lambda services, context: request_promotion(
        services, context, services.environment(context, "dev"), services.environment(context, "prod"), PromotionOptions()),
        scenes.promotable),
    "cancellation": UseCase(lambda services, context: cancel_promotion(services, context, 3), scenes.promotable, asked_for),
    "decision": UseCase(lambda services, context: decide_promotion(services, context, 3, approve=True), scenes.promotable,
                        approval_asked_for, actor="local:grace"),
    "small promotion": UseCase(lambda services, context: execute_promotion(services, context, 3), scenes.promotable,
                               asked_for, fails_whole=True),
    "promotion of another plan": UseCase(lambda services, context: execute_promotion(services, context, 3),
                                         scenes.promotable, asked_for_something_else, fails_whole=True),
    "promotion that n8n stops for good": UseCase(lambda services, context: execute_promotion(services, context, 3),
                                                 scenes.promotable, refused_for_good, fails_whole=True,
                                                 or_as="small promotion"),
    "recovery of it": UseCase(on_prod(check_drift), scenes.promotable, stopped_for_good),
    "restore": UseCase(lambda services, context: request_restore(
        services, context, services.environment(context, "prod"), snapshot_id(services, context), PromotionOptions()),
        scenes.promotable),
    "restore of what was edited": UseCase(lambda services, context: request_restore(
        services, context, services.environment(context, "prod"), snapshot_id(services, context), PromotionOptions()),
        scenes.promotable, edited_since),
    "small rollback": UseCase(lambda services, context: roll_back_promotion(services, context, 2, reason="it was wrong"),
                              scenes.promotable),
    "rollback that n8n stops for good": UseCase(lambda services, context: roll_back_promotion(
        services, context, 2, reason="it was wrong"), scenes.promotable, refused_for_good, or_as="small rollback"),
    "recovery of a killed one": UseCase(on_prod(check_drift), scenes.promotable, killed_in_the_middle),
    "unblocking": UseCase(on("prod", partial(unblock, reason="it is mended")), scenes.promotable, stopped_for_good),
    # deployments
    "deployment that is scheduled": UseCase(lambda services, context: schedule_deployment(
        services, context, services.environment(context, "dev"), services.environment(context, "prod"), PromotionOptions()),
        scenes.promotable),
    "deployment that is called off": UseCase(lambda services, context: cancel_deployment(
        services, context, deployment_id(services)), scenes.promotable, scheduled),
    "deployment": UseCase(lambda services, context: run_deployment(services, context, deployment_id(services), patience=0),
                          scenes.promotable, scheduled, fails_whole=True),
    "resumption": UseCase(lambda services, context: resume(services, context.tenant_slug, actor=ACTOR), scenes.busy, paused),
    # what is declared by hand
    "policy": UseCase(lambda services, context: set_fields(services, context, {"enforce_sla": False}), scenes.detected),
    "credential": UseCase(lambda services, context: map_credential(services, context, "k", "httpBasicAuth", {
        "prod": CredentialName("k")}), scenes.detected),
    "ignore rule": UseCase(lambda services, context: add_rule(
        services, context, environment=None, expires_at=context.now() + timedelta(days=7), workflow="Edited",
        owner="ada", reason="known"), scenes.detected),
    "ignore rule that is removed": UseCase(lambda services, context: remove_ignore_rule(
        services, context, ignore_rule_id(services, context)), scenes.detected, ignore_rule_made),
    "lint waiver": UseCase(lambda services, context: add_waiver(
        services, context, expires_at=context.now() + timedelta(days=7), rule="no-trigger", workflow="Lib *", owner="ada",
        reason="called by others"), scenes.detected),
    "lint waiver that is removed": UseCase(lambda services, context: remove_waiver(
        services, context, waiver_id(services, context)), scenes.detected, waiver_made),
    "alert rule": UseCase(lambda services, context: set_rule(services, context, "many", ALERT), scenes.detected),
    "alert rule that is removed": UseCase(lambda services, context: remove_rule(services, context, "many"), scenes.detected,
                                          alert_rule_made),
    "alerts": UseCase(lambda services, _: evaluate_alerts(services), scenes.detected, alert_rule_made),
}


# -- in a process of its own -------------------------------------------------------------------------------------------


def do(use_case: UseCase, services: Services, tenant: str) -> Any:
    """Do it."""
    done = use_case.act(services, services.context(tenant, actor=use_case.actor))
    return run(done) if inspect.iscoroutine(done) else done


def do_in_child(name: str, fleet: FleetUnderTest, failpoint: str) -> subprocess.CompletedProcess[str]:
    """Do it in a child with a failpoint armed; wait for its end."""
    urls = {each: getattr(fleet.urls, each) for each in ("owner", "app", "system", "dagster")}
    order = {"urls": urls, "home": str(fleet.home), "tenant": fleet.slug, "use_case": name, "failpoint": failpoint,
             "batch_size": fleet.services.limits.batch_size, "now": fleet.clock.time.isoformat()}
    fleet.clock.pass_time(minutes=1)
    return run_forked(f"{__name__}:main", text=json.dumps(order), timeout=600)


def main() -> None:
    order = json.loads(sys.stdin.read())
    services = services_over(Urls(**order["urls"]), SecretBox([TEST_KEY]), Path(order["home"]),
                             Clock(datetime.fromisoformat(order["now"])), batch_size=order["batch_size"])
    failpoints.arm(order["failpoint"])
    do(USE_CASES[order["use_case"]], services, order["tenant"])
