"""``wfops pipeline``, ``wfops credentials`` and ``wfops waiver`` as processes (§11, §22)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wfops_pipelines_tests.cli.fleet import Fleet
from wfops_pipelines_tests.servers.hostile import closed_port

pytestmark = pytest.mark.xdist_group("cli-pipelines")

PIPELINES = """\
    pipelines:
      - name: standard
        stages:
          - {source: dev, target: staging}
          - source: staging
            target: prod
            approvers: 1
            soakHours: 48
            freezeWindows: [{name: always, start: "00:00", end: "00:00", zone: Europe/Berlin}]
            verification: {webhooks: true, rollback_on_failure: true}
"""


@pytest.fixture(scope="module")
def applied(fleet: Fleet) -> Iterator[Fleet]:
    text = fleet.document.read_text()
    fleet.document.write_text(text[:text.index("    pipelines:")] + PIPELINES)
    assert fleet.wfops("apply", "-f", fleet.document).code == 0
    assert fleet.wfops("apply", "-f", fleet.document, "--json").json["changes"] == []
    yield fleet


def test_pipelines_are_listed_and_shown_with_what_each_stage_asks_for(applied: Fleet) -> None:
    listed = applied.wfops("pipeline", "list", "acme")
    assert listed.code == 0 and listed.quiet
    assert "dev → staging" in listed.out and "frozen, and does not open (always)" in listed.out and "2 days" in listed.out
    shown = applied.wfops("pipeline", "show", "acme", "standard")
    assert shown.code == 0
    for text in ("standard (all or nothing)", "approvers:    1", "soak:         2 days in staging", "requireCleanDrift yes",
                 "deny every day 00:00 to 00:00 Europe/Berlin, 'always'", "webhooks, within 60 s, rolls back where it fails"):
        assert text in shown.out
    (report,) = applied.wfops("pipeline", "show", "acme", "--json").json
    assert [stage["now"]["open"] for stage in report["stages"]] == [True, False]
    unknown = applied.wfops("pipeline", "show", "acme", "fast")
    assert unknown.code == 2 and "pipelines: standard" in unknown.err


def test_a_mistake_in_a_stage_names_file_line_and_field_and_nothing_is_applied(applied: Fleet) -> None:
    broken = applied.document.parent / "broken.yaml"
    broken.write_text(applied.document.read_text().replace("soakHours: 48", "soakHours: -1"))
    line = next(n for n, text in enumerate(broken.read_text().splitlines(), 1) if "soakHours" in text)
    done = applied.wfops("apply", "-f", broken)
    assert done.code == 2
    assert f"broken.yaml:{line}: tenants[0].pipelines[0].stages[1].soakHours: should be greater than" in done.err


def test_credentials_are_mapped_listed_and_looked_for(applied: Fleet) -> None:
    wfops = applied.wfops
    dry = wfops("credentials", "map", "acme", "stripe", "httpBasicAuth", "prod=Acme: live:", "--dry-run")
    assert dry.code == 0 and "would be mapped: stripe (httpBasicAuth) in acme/prod: none → 'Acme: live'" in dry.out
    assert "wfops credentials map acme KEY TYPE" in wfops("credentials", "list", "acme").out
    done = wfops("credentials", "map", "acme", "stripe", "httpBasicAuth", "dev=stripe", "prod=stripe-live:abc123")
    assert done.code == 0 and "the next `wfops apply` sets again" in done.err
    listed = wfops("credentials", "list", "acme")
    assert "stripe-live (abc123)" in listed.out
    assert wfops("credentials", "list", "acme", "--json").json[0]["environments"]["staging"] is None
    again = wfops("credentials", "map", "acme", "stripe", "httpBasicAuth", "prod=stripe-live:abc123")
    assert again.out.startswith("nothing to change")
    swap = wfops("credentials", "map", "acme", "other", "httpBasicAuth", "dev=stripe-live")
    assert swap.code == 2 and "credentials.other.dev" in swap.err
    found = wfops("credentials", "check", "acme", "prod")
    assert found.code == 3 and "absent    stripe: httpBasicAuth 'stripe-live' (abc123)" in found.out
    assert wfops("credentials", "map", "acme", "stripe", "httpBasicAuth", "dev=", "prod=").code == 0
    assert wfops("credentials", "check", "acme").code == 0
    mapped = wfops("audit", "list", "acme", "--action", "credential.mapped", "--json").json
    assert len(mapped) == 2


@pytest.mark.parametrize(("names", "said"), [
    (["prod"], "names no environment"), (["=x"], "names no environment"), (["prod=a", "prod=b"], "named twice"),
    (["nowhere=a"], "no environment 'nowhere'")])
def test_a_name_that_cannot_be_read_is_a_usage_error(applied: Fleet, names: list[str], said: str) -> None:
    done = applied.wfops("credentials", "map", "acme", "stripe", "httpBasicAuth", *names)
    assert done.code == 2 and said in done.err and "fix:" in done.err


def test_an_environment_that_cannot_be_asked_counts_more_than_what_is_missing(applied: Fleet) -> None:
    text = applied.document.read_text()
    with closed_port() as port:
        applied.document.write_text(text.replace(applied.urls["staging"], f"http://127.0.0.1:{port}"))
        assert applied.wfops("apply", "-f", applied.document).code == 0
        done = applied.wfops("credentials", "check", "acme", "--json", WFOPS_REQUEST_ATTEMPTS="1")
    assert done.code == 5
    assert [each["error"] and each["error"]["kind"] for each in done.json] == [None, "unreachable", None]
    applied.document.write_text(text)
    assert applied.wfops("apply", "-f", applied.document).code == 0


def test_waivers_are_added_listed_and_removed(applied: Fleet) -> None:
    wfops = applied.wfops
    said = ("waiver", "add", "acme", "no-trigger", "-w", "Lib *", "--owner", "ada", "--reason", "called by others")
    assert "a waiver needs an end" in wfops(*said).err
    added = wfops(*said, "--days", "30", "--node", "Start", "--json")
    assert (added.code, added.json["node"]) == (0, "Start")
    listed = wfops("waiver", "list", "acme")
    assert "no-trigger" in listed.out and "Lib *, node Start" in listed.out and "called by others" in listed.out
    wrong = wfops("waiver", "add", "acme", "no-such", "-w", "*", "--owner", "ada", "--reason", "x", "--days", "1")
    assert wrong.code == 2 and "lint waiver: rule: should be" in wrong.err
    removed = wfops("waiver", "remove", "acme", added.json["id"][:8])
    assert removed.code == 0 and "no longer waived in Lib *, node Start" in removed.out
    assert "was removed" in wfops("waiver", "remove", "acme", added.json["id"]).out
    assert wfops("waiver", "list", "acme").out == "no waivers\n"
