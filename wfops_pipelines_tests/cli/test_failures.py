"""When things are broken: exit codes, one line that names the thing, the way out, and nothing half-done (§22, §25)."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from wfops_pipelines.n8n.sandbox import Fault
from wfops_pipelines_tests.cli.fleet import Done, Fleet
from wfops_pipelines_tests.servers.processes import eventually

pytestmark = pytest.mark.xdist_group("cli-failures")

NOWHERE = "postgresql://somebody:secret-word@127.0.0.1:1/wfops"
OTHER_KEY = "YW5vdGhlciBrZXkgdGhhdCBvcGVucyBub3RoaW5nISE="
BETA, GAMMA = "  - slug: beta\n", "  - slug: gamma\n"


@pytest.fixture(scope="module")
def applied(fleet: Fleet) -> Fleet:
    """The fleet with two more tenants that have nothing: ``beta`` to tamper with, ``gamma`` to delete."""
    fleet.document.write_text(fleet.document.read_text() + BETA + GAMMA)
    assert fleet.wfops("apply", "-f", fleet.document).code == 0
    return fleet


@contextmanager
def trouble(fleet: Fleet, environment: str, kind: str, **options: object) -> Iterator[Fault]:
    """Something goes wrong on the way to an n8n."""
    faults = fleet.sandboxes[environment].faults
    try:
        yield faults.add(kind, **options)
    finally:
        faults.clear()


def assert_one_story(done: Done, code: int, *words: str) -> None:
    """The exit code, an error that holds the words, a way out, and no traceback."""
    assert (done.code, done.out) == (code, ""), done.err
    assert done.err.startswith("error: ") and "\nfix: " in done.err and "Traceback" not in done.err
    assert all(word in done.err for word in words), done.err


class TestNames:
    def test_an_unknown_tenant_is_a_usage_error_that_names_the_others(self, applied: Fleet) -> None:
        assert_one_story(applied.wfops("drift", "acm"), 2, "there is no tenant 'acm'", "acme, beta")

    def test_an_unknown_environment_too(self, applied: Fleet) -> None:
        done = applied.wfops("sync", "acme", "prod", "live", "--json")
        assert (done.code, done.out) == (2, "")
        assert json.loads(done.err)["error"] == {
            "kind": "unknown_environment", "message": "tenant acme has no environment 'live'",
            "fix": "environments: dev, staging, prod"}


class TestN8n:
    def test_one_that_refuses_the_key_is_told_and_the_others_are_synced(self, applied: Fleet) -> None:
        with trouble(applied, "staging", "refuse"):
            done = applied.wfops("sync", "acme", "--json")
            doctor = applied.wfops("doctor", "--json")
        dev, staging, prod = done.json
        assert (done.code, staging["error"]["kind"], staging["seen"]) == (6, "refused", None)
        assert "error" not in dev and "error" not in prod and (dev["seen"], prod["seen"]) == (3, 3)
        assert doctor.code == 1
        assert [f["check"] for f in doctor.json if not f["ok"]] == ["environment acme/staging"]

    def test_one_that_answers_with_a_web_page_is_unreachable(self, applied: Fleet) -> None:
        with trouble(applied, "prod", "html"):
            done = applied.wfops("drift", "acme", "prod", "--json")
        assert (done.code, done.json[0]["status"], done.json[0]["reason"]) == (5, "ERROR", "not_n8n")
        assert done.json[0]["workflows"] == []

    def test_ctrl_c_cancels_and_leaves_nothing_behind(self, applied: Fleet) -> None:
        with trouble(applied, "dev", "latency", ms=60_000) as fault:
            process = subprocess.Popen(
                applied.wfops.command("sync", "acme", "dev"), cwd=applied.wfops.cwd, env=applied.wfops.environment(),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                eventually(lambda: fault.hits > 0)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
            finally:
                process.kill()
        assert (process.returncode, out, err) == (7, "", "error: interrupted\n")
        newest = applied.wfops("operation", "list", "acme", "-e", "dev", "--limit", "1", "--json").json[0]
        assert (newest["kind"], newest["state"]) == ("environment_sync", "cancelled")
        assert applied.wfops("sync", "acme", "dev").code == 0


class TestInstallation:
    def test_a_token_that_cannot_be_verified_is_refused(self, applied: Fleet) -> None:
        assert_one_story(applied.wfops("tenants", WFOPS_TOKEN="anything"), 6, "WFOPS_TOKEN")
        doctor = applied.wfops("doctor", "--json", WFOPS_TOKEN="anything")
        assert (doctor.code, [f["check"] for f in doctor.json if not f["ok"]]) == (1, ["identity"])

    def test_a_setting_that_cannot_be_used_is_named(self, applied: Fleet) -> None:
        assert_one_story(applied.wfops("tenants", WFOPS_PAGE_SIZE="0"), 2, "WFOPS_PAGE_SIZE")
        doctor = applied.wfops("doctor", "--json", WFOPS_PAGE_SIZE="0")
        assert (doctor.code, [f["check"] for f in doctor.json if not f["ok"]]) == (1, ["settings"])

    def test_a_database_that_is_down_is_unreachable(self, applied: Fleet) -> None:
        down = {name: None for name in applied.database if name.endswith("_URL")} | {"WFOPS_DATABASE_URL": NOWHERE}
        done = applied.wfops("sync", "acme", **down)
        assert_one_story(done, 5, "PostgreSQL cannot be reached", "Connection refused")
        doctor = applied.wfops("doctor", **down)
        assert doctor.code == 1 and "FAIL database: PostgreSQL cannot be reached" in doctor.out
        assert "secret-word" not in done.err + doctor.out + doctor.err

    def test_a_wrong_key_is_told_with_the_one_that_is_missing(self, applied: Fleet) -> None:
        assert_one_story(applied.wfops("tenants", WFOPS_SECRET_KEY=OTHER_KEY), 1, "WFOPS_SECRET_KEY", "c272b9b40b")
        doctor = applied.wfops("doctor", "--offline", WFOPS_SECRET_KEY=OTHER_KEY)
        assert doctor.code == 1 and "c272b9b40b" in doctor.out and "FAIL" in doctor.out
        assert applied.wfops("tenants").code == 0  # nobody was locked out

    def test_a_home_that_is_none_is_named_and_a_traceback_is_shown_on_request(self, applied: Fleet) -> None:
        home = applied.document.parent / "a-file"
        home.write_text("not a folder")
        assert_one_story(applied.wfops("sync", "acme", "dev", WFOPS_HOME=str(home)), 1, str(home), "WFOPS_HOME")
        asked = applied.wfops("sync", "acme", "dev", WFOPS_HOME=str(home), WFOPS_DEBUG="1")
        assert asked.code == 1 and "Traceback" in asked.err
        doctor = applied.wfops("doctor", "--offline", "--json", WFOPS_HOME=str(home))
        assert {f["check"] for f in doctor.json if not f["ok"]} == {"home", "dagster"}


class TestDeletions:
    def prune(self, fleet: Fleet, *answers: str, arguments: tuple[str, ...] = ()) -> Done:
        """``apply --prune`` of the document without gamma, with somebody at the terminal who types the answers."""
        document = fleet.document.parent / "pruned.yaml"
        document.write_text(fleet.document.read_text().replace(GAMMA, ""))
        return fleet.wfops.at_a_terminal("apply", "-f", document, "--prune", *arguments, answers=answers)

    def slugs(self, fleet: Fleet) -> list[str]:
        return [row["tenant"] for row in fleet.wfops("tenants", "--json").json]

    def test_a_tenant_is_asked_for_twice(self, applied: Fleet) -> None:
        refused = self.prune(applied, "y", "beta")
        assert refused.code == 7 and "Type gamma" in refused.err and "nothing was changed" in refused.err
        assert "gamma" in self.slugs(applied)
        assert self.prune(applied, "y", "gamma").code == 0
        assert "gamma" not in self.slugs(applied)
        assert applied.wfops("apply", "-f", applied.document).code == 0  # declared again, it is a new one

    def test_without_a_terminal_somebody_has_to_say_yes(self, applied: Fleet) -> None:
        document = applied.document.read_text().replace(GAMMA, "")
        done = applied.wfops("apply", "-f", "-", "--prune", text=document)
        assert done.code == 2 and "--yes" in done.err
        kept = applied.wfops("apply", "-f", "-", "--json", text=document)
        assert [c["action"] for c in kept.json["changes"]] == ["unmanaged"]
        assert "gamma" in self.slugs(applied)


class TestAudit:
    def test_a_changed_event_is_named(self, applied: Fleet) -> None:
        with as_owner(applied) as owner:
            owner.execute("UPDATE audit_events SET actor = 'local:nobody' WHERE sequence = 1 AND tenant_id = "
                          "(SELECT tenant_id FROM tenants WHERE slug = 'beta')")
        done = applied.wfops("audit", "verify", "--json")
        beta, = (row for row in done.json["tenants"] if row["tenant"] == "beta")
        assert (done.code, done.json["ok"], beta["ok"], beta["sequence"]) == (1, False, False, 1)
        assert all(row["ok"] for row in done.json["tenants"] if row["tenant"] != "beta")
        text = applied.wfops("audit", "verify", "beta")
        assert text.code == 1 and text.out.startswith("broken  beta: event 1 ")

    def test_an_end_that_was_cut_off_with_its_head_shows_against_an_anchor(self, applied: Fleet) -> None:
        anchors = applied.document.parent / "anchors.json"
        anchors.write_text(applied.wfops("audit", "anchor", "acme").out)
        document = json.loads(anchors.read_text())
        document["anchors"][0]["events"] += 1
        longer = applied.document.parent / "longer.json"
        longer.write_text(json.dumps(document))
        assert applied.wfops("audit", "verify", "acme", "--anchor", anchors).code == 0
        done = applied.wfops("audit", "verify", "acme", "--anchor", longer)
        assert done.code == 1 and "cut off" in done.out


@contextmanager
def as_owner(fleet: Fleet) -> Iterator[psycopg.Connection]:
    """Somebody who owns the tables, and takes the guard off the audit trail."""
    with psycopg.connect(fleet.database["WFOPS_DATABASE_OWNER_URL"]) as owner:
        owner.execute("ALTER TABLE audit_events DISABLE TRIGGER append_only")
        yield owner
        owner.execute("ALTER TABLE audit_events ENABLE TRIGGER append_only")
