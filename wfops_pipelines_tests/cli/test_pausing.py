"""``wfops pause`` and ``resume``, ``cancel`` from another process, ``operation resume`` (§20, §22)."""

from __future__ import annotations

import subprocess

import pytest

from wfops_pipelines_tests.cli.fleet import Fleet
from wfops_pipelines_tests.servers.processes import eventually

pytestmark = pytest.mark.xdist_group("cli-pausing")


@pytest.fixture(scope="module")
def applied(fleet: Fleet) -> Fleet:
    assert fleet.wfops("apply", "-f", fleet.document).code == 0
    return fleet


def test_a_tenant_is_paused_shown_refused_and_resumed(applied: Fleet) -> None:
    wfops = applied.wfops
    planned = wfops("pause", "acme", "--dry-run", "--json")
    assert (planned.code, planned.json["changed"], planned.json["dry_run"]) == (0, True, True)
    assert wfops("pause", "acme", "--reason", "n8n moves").out == "acme is paused\n"
    assert wfops("pause", "acme").out.startswith("nothing to change: acme is paused already, by local:")
    assert "acme (paused)" in wfops("tenants").out
    assert wfops("tenants", "--json").json[0]["paused"]["reason"] == "n8n moves"
    assert any(each["check"] == "paused" and "n8n moves" in each["message"]
               for each in wfops("doctor", "--offline", "--json").json)
    for command in (["sync", "acme", "dev"], ["drift", "acme"], ["export", "acme", "dev", "--dry-run"],
                    ["ignore", "acme", "dev", "nothing"], ["retention", "run", "acme"]):
        refused = wfops(*command)
        assert refused.code in {2, 4} and ("paused" in refused.err or refused.code == 2), refused
    refused = wfops("sync", "acme", "dev", "--json")
    assert refused.code == 4 and '"kind": "paused"' in refused.err and "wfops resume acme" in refused.err
    assert wfops("matrix", "acme").code == 0  # reading is allowed
    assert wfops("operation", "list", "acme").code == 0
    for shown in (("environments", "acme"), ("promotion", "list", "acme"), ("deploy", "list", "acme", "--json")):
        looked = wfops(*shown)
        assert looked.code == 0 and "n8n moves" in looked.err and "waits until it is resumed" in looked.err
    assert wfops("--even-paused", "sync", "acme", "dev").code == 0
    assert wfops("pause", "nobody").code == 2
    assert wfops("resume", "acme").out == "acme is resumed\n"
    assert wfops("environments", "acme").err == ""
    assert wfops("sync", "acme", "dev").code == 0
    assert wfops("audit", "verify", "acme").code == 0


def test_everything_is_paused_and_a_tenants_resume_says_so(applied: Fleet) -> None:
    wfops = applied.wfops
    assert wfops("pause", "--reason", "maintenance").out == "everything is paused\n"
    assert "nothing begins still: everything is paused" in wfops("resume", "acme").err
    assert wfops("sync", "acme", "dev").code == 4
    assert wfops("resume").code == 0
    actions = {event["action"] for event in wfops("audit", "list", "acme", "--json").json}
    assert {"everything.paused", "everything.resumed"} <= actions


def test_a_sync_of_another_process_is_cancelled_and_who_waits_for_it_ends_with_7(applied: Fleet) -> None:
    wfops = applied.wfops
    fault = applied.sandboxes["staging"].faults.add("latency", method="GET", path="/workflows$", ms=60_000)
    child = subprocess.Popen(wfops.command("sync", "acme", "staging"), cwd=wfops.cwd, env=wfops.environment(),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: fault.hits > 0)
        (running,) = [row for row in wfops("operation", "list", "acme", "-e", "staging", "--json").json
                      if row["state"] == "running"]
        done = wfops("cancel", running["operation_id"], "--reason", "wrong one", "--json")
        assert (done.code, done.json["operations"][0]["state"]) == (0, "cancelled"), done
        out, err = child.communicate(timeout=120)
        assert child.returncode == 7, (out, err)
        again = wfops("cancel", running["operation_id"])
        assert again.code == 4 and "is cancelled" in again.err
        assert wfops("operation", "resume", "acme", running["operation_id"]).code == 4
        assert wfops("cancel", "0a5f0c1e-5d4b-4f0e-9f38-1d6c0d9f6a11").code == 2
    finally:
        applied.sandboxes["staging"].faults.clear()
        child.kill()
        child.wait()
