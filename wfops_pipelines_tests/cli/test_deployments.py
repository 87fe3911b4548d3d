"""``wfops deploy schedule``, ``list``, ``show``, ``run``, ``cancel``, ``batch`` (§12)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wfops_pipelines_tests.cli.fleet import Fleet, running_fleet, workflow
from wfops_pipelines_tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.xdist_group("cli-deployments")
WAY = ("--from", "dev", "--to", "staging")


@pytest.fixture(scope="module")
def applied(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """dev has two workflows, and staging none."""
    with running_fleet(postgres_server, tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.sandboxes["dev"].state.seed_workflows([workflow("Orders", active=True), workflow("Invoices")])
        assert fleet.wfops("apply", "-f", fleet.document).code == 0
        yield fleet


def test_the_story_of_a_deployment(applied: Fleet) -> None:
    wfops = applied.wfops
    assert wfops("deploy", "list", "acme").out == "no deployments of acme\n"
    planned = wfops("deploy", "schedule", "acme", *WAY, "--at", "2099-11-22T22:00+01:00", "--dry-run")
    assert planned.code == 0 and "would start at 2099-11-22 21:00:00 UTC" in planned.out
    assert wfops("deploy", "list", "--json").json == []

    later = wfops("deploy", "schedule", "acme", *WAY, "--at", "2099-11-22T22:00+01:00", "--workflow", "Orders",
                  "--reason", "OPS-12")
    assert later.code == 0 and "starts at 2099-11-22 21:00:00 UTC" in later.out and "wfops deploy run" in later.out
    (row,) = wfops("deploy", "list", "acme", "--status", "scheduled", "--json").json
    short = row["deployment_id"][:8]
    assert short in wfops("deploy", "list").out
    shown = wfops("deploy", "show", short)
    assert shown.code == 0 and "to start at 2099-11-22 21:00:00 UTC\n" in shown.out
    assert "workflows Orders; reason: OPS-12\n" in shown.out
    plan = wfops("deploy", "run", short, "--dry-run", "--json")
    assert plan.code == 0 and [c["name"] for c in plan.json["plan"]["changes"] if c.get("after")] == ["Orders"]

    done = wfops("deploy", "run", short)
    assert done.code == 0, done.err
    assert "✓ create Orders\n" in done.out and "promotion acme/p1: completed\n" in done.out
    assert wfops("deploy", "show", short, "--watch", "--json").json["counts"] == {"success": 1, "failed": 0, "skipped": 0}
    assert [w.name for w in applied.sandboxes["staging"].state.workflows.values()] == ["Orders"]
    again = wfops("deploy", "run", short)
    assert again.code == 4 and "completed" in again.err


def test_a_scheduled_one_is_called_off(applied: Fleet) -> None:
    wfops = applied.wfops
    made = wfops("deploy", "schedule", "acme", *WAY, "--json").json["deployment_id"]
    planned = wfops("deploy", "cancel", made, "--dry-run")
    assert planned.code == 0 and planned.out.startswith("would be cancelled:\n")
    gone = wfops("deploy", "cancel", made, "--reason", "the fair is on", "--json")
    assert (gone.code, gone.json["status"], gone.json["message"]) == (0, "cancelled", "the fair is on")
    assert wfops("deploy", "cancel", made).code == 4


def test_a_failed_one_says_why_and_leaves_with_the_code_of_that(applied: Fleet) -> None:
    wfops = applied.wfops
    made = wfops("deploy", "schedule", "acme", *WAY, "--json").json["deployment_id"]
    applied.sandboxes["staging"].faults.add("status", status=401)
    done = wfops("deploy", "run", made)
    applied.sandboxes["staging"].faults.clear()
    assert done.code == 6 and "failed" in done.out and "error:" in done.err
    assert wfops("deploy", "show", made, "--watch").code == 1


def test_one_that_somebody_interrupts_says_what_became_of_it(applied: Fleet) -> None:
    wfops, staging = applied.wfops, applied.sandboxes["staging"]
    made = wfops("deploy", "schedule", "acme", *WAY, "--activation", "source", "--json").json
    assert made["options"]["activation"] == "source"
    assert "activation of the source" in wfops("deploy", "show", made["deployment_id"]).out
    before = sorted(staging.state.workflows)
    fault = staging.faults.add("latency", method="POST", path=r"/workflows$", ms=60_000, times=1)
    stopped = wfops.interrupted("deploy", "run", made["deployment_id"], when=lambda: fault.hits > 0)
    staging.faults.clear()
    promotion = wfops("deploy", "show", made["deployment_id"], "--json").json["promotion"]
    assert stopped.code == 7 and "interrupted while deploying dev → staging of acme: nothing of it is left in n8n acme/staging" in stopped.err
    assert f"wfops promotion show {promotion}" in stopped.err
    assert sorted(staging.state.workflows) == before
    assert wfops("deploy", "schedule", "--promotion", promotion, "--activation", "keep").code == 2
    assert wfops("deploy", "schedule", "acme", *WAY, "--activation", "both").code == 2


def test_a_batch_is_one_view(applied: Fleet) -> None:
    wfops = applied.wfops
    planned = wfops("deploy", "batch", "--all", *WAY, "--dry-run")
    assert planned.code == 0 and "wave 1\n" in planned.out and "acme  pending" in planned.out
    made = wfops("deploy", "batch", "--tenants", "acme", *WAY, "--at", "2099-11-22T22:00+01:00", "--json")
    assert made.code == 0 and made.json["waves"][0][0]["status"] == "scheduled"
    shown = wfops("deploy", "show", made.json["batch_id"][:8])
    assert "0 % through, wave 1 of 1: 1 scheduled\n" in shown.out
    cancelled = wfops("deploy", "cancel", made.json["batch_id"], "--json")
    assert cancelled.json["failed"] == ["acme"]
    assert wfops("deploy", "cancel", made.json["batch_id"]).code == 4


def test_what_cannot_be_is_refused_with_the_way_out(applied: Fleet) -> None:
    for code, message, arguments in [
            (2, "has no time zone", ["schedule", "acme", *WAY, "--at", "2099-11-22T22:00"]),
            (2, "is past", ["schedule", "acme", *WAY, "--at", "2020-11-22T22:00Z"]),
            (2, "'tonight' is no time", ["schedule", "acme", *WAY, "--at", "tonight"]),
            (2, "has a tenant, a source and a target", ["schedule", "acme", "--from", "dev"]),
            (2, "--promotion says everything", ["schedule", "acme", *WAY, "--promotion", "acme/p1"]),
            (2, "tenant acme has no promotion p99", ["schedule", "--promotion", "acme/p99"]),
            (2, "no pipeline of acme leads from dev to prod", ["schedule", "acme", "--from", "dev", "--to", "prod"]),
            (4, "production environment", ["schedule", "acme", "--from", "staging", "--to", "prod"]),
            (2, "no environment 'nowhere'", ["schedule", "acme", "--from", "dev", "--to", "nowhere"]),
            (2, "there is no deployment '00000000'", ["show", "00000000"]),
            (2, "names no deployment", ["cancel", "acme"]),
            (2, "a batch has tenants", ["batch", *WAY]),
            (2, "there is no tenant 'nobody'", ["batch", "--tenants", "acme,nobody", *WAY]),
    ]:
        done = applied.wfops("deploy", *arguments)
        assert done.code == code and message in done.err and "fix:" in done.err, (arguments, done)
