"""An n8n whose TLS cannot be trusted (§3, §25): each environment is named with its way out, and with it, it works.

One command looks at all of them: what one does wrong is no matter of its neighbours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from wfops_pipelines.n8n.sandbox import Sandbox, create_sandbox
from wfops_pipelines.n8n.sandbox.serve import serve
from wfops_pipelines_tests.cli.fleet import CommandLine, Done, database_settings, workflow
from wfops_pipelines_tests.servers.bare import make_bare
from wfops_pipelines_tests.servers.postgres import PostgresServer
from wfops_pipelines_tests.servers.tls import certificate, serve_tls

pytestmark = pytest.mark.xdist_group("cli-tls")

WRONG = {
    "strangers": "the TLS certificate is not trusted: self-signed certificate",
    "expired": "the TLS certificate is not trusted: certificate has expired",
    "elsewhere": "the TLS certificate is not trusted: IP address mismatch",
    "plain": "the TLS handshake failed",
    "hidden": "Server disconnected",  # the URL says http, the port speaks TLS
}
"""What is said of each environment; ``good`` has a certificate that its ca_bundle vouches for."""


@dataclass
class Story:
    """What the commands said while the certificates were wrong, and after the fleet was put right."""

    sandbox: Sandbox
    synced: Done
    synced_text: Done
    drift: Done
    doctor: Done
    operations: Done
    put_right: Done
    synced_again: Done
    verified: Done


def document(urls: dict[str, str], repository: str, options: dict[str, str]) -> str:
    """fleet.yaml with one environment per URL."""
    lines = [f"      - {{slug: {slug}, class: staging, url: '{url}', api_key: 'file:key', folder: {slug}{options.get(slug, '')}}}"
             for slug, url in urls.items()]
    return ("version: 1\ntenants:\n  - slug: acme\n    plan: agency\n"
            f"    repository: {{url: '{repository}', branch: main}}\n    environments:\n" + "\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def story(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("tls")
    sandbox = create_sandbox(api_key="the-key")
    sandbox.state.seed_workflows([workflow("Orders")])
    (folder / "key").write_text("the-key\n")
    (folder / "fleet.yaml").touch()
    with ExitStack() as stack:
        good = certificate(folder, "good")
        strangers, expired = certificate(folder, "strangers"), certificate(folder, "expired", days=-1)
        elsewhere = certificate(folder, "elsewhere", host="n8n.example.com")
        urls = {name: stack.enter_context(serve_tls(sandbox.app, shown)) for name, shown in (
            ("good", good), ("strangers", strangers), ("expired", expired), ("elsewhere", elsewhere))}
        plain = stack.enter_context(serve(sandbox))
        urls |= {"plain": plain.replace("http:", "https:"), "hidden": urls["good"].replace("https:", "http:")}
        bundles = {"good": good, "expired": expired, "elsewhere": elsewhere}
        options = {slug: f", ca_bundle: '{shown.pem}'" for slug, shown in bundles.items()}
        database = database_settings(postgres_server)
        stack.callback(postgres_server.drop_database, database["WFOPS_DAGSTER_DATABASE_URL"])
        stack.callback(postgres_server.drop_database, database["WFOPS_DATABASE_OWNER_URL"])
        wfops = CommandLine(folder, {**database, "WFOPS_HOME": str(folder / "home"), "HOME": os.environ.get("HOME", "/"),
                                     "WFOPS_REQUEST_ATTEMPTS": "1"})
        yield tell(wfops, sandbox, folder, urls, options, strangers.pem)


def tell(wfops: CommandLine, sandbox: Sandbox, folder: Path, urls: dict[str, str], options: dict[str, str],
         bundle: Path) -> Story:
    """Run the commands, in their order."""
    fleet = folder / "fleet.yaml"
    repository = make_bare(folder / "acme.git").url
    fleet.write_text(document(urls, repository, options))
    assert wfops("apply", "-f", fleet).code == 0
    synced, synced_text = wfops("sync", "acme", "--json"), wfops("sync", "acme", "strangers")
    drift, doctor = wfops("drift", "acme", "--json"), wfops("doctor", "--json")
    operations = wfops("operation", "list", "acme", "--limit", "100", "--json")
    fleet.write_text(document({slug: urls[slug] for slug in ("good", "strangers", "expired", "elsewhere")}, repository, {
        **options, "strangers": f", ca_bundle: '{bundle}'", "expired": ", verify_tls: false", "elsewhere": ", verify_tls: false"}))
    return Story(sandbox, synced, synced_text, drift, doctor, operations, wfops("apply", "-f", fleet, "--json"),
                 wfops("sync", "acme", "good", "strangers", "expired", "elsewhere", "--json"), wfops("audit", "verify"))


def test_each_is_told_apart_and_the_one_that_is_right_is_synced(story: Story) -> None:
    rows = {row["environment"]: row for row in story.synced.json}
    assert story.synced.code == 5
    assert (rows["good"]["seen"], "error" in rows["good"]) == (1, False)
    for slug, words in WRONG.items():
        error = rows[slug]["error"]
        assert words in error["message"] and error["fix"], (slug, error)
        assert (error["kind"], rows[slug]["seen"]) == ("unreachable", None), slug
    assert "starts with https://" in rows["hidden"]["error"]["fix"]


def test_the_way_out_of_a_certificate_is_a_field_of_the_environment(story: Story) -> None:
    assert (story.synced_text.code, story.synced_text.err) == (5, "")
    assert "acme/strangers: error: https://127.0.0.1:" in story.synced_text.out
    assert "acme/strangers: fix: " in story.synced_text.out and "ca_bundle" in story.synced_text.out
    assert "Traceback" not in story.synced_text.out


def test_a_check_says_error_and_nothing_is_missing(story: Story) -> None:
    rows = {row["environment"]: row for row in story.drift.json}
    assert story.drift.code == 5
    assert {slug: rows[slug]["status"] for slug in WRONG} == dict.fromkeys(WRONG, "ERROR")
    assert all(WRONG[slug] in rows[slug]["message"] and rows[slug]["workflows"] == [] for slug in WRONG)


def test_the_doctor_names_them_all(story: Story) -> None:
    ill = {f["check"]: f for f in story.doctor.json if not f["ok"]}
    assert story.doctor.code == 1
    assert set(ill) == {f"environment acme/{slug}" for slug in WRONG}
    assert all(finding["fix"] for finding in ill.values())


def test_no_operation_is_left_running(story: Story) -> None:
    assert {row["state"] for row in story.operations.json} == {"completed", "failed"}


def test_with_a_bundle_or_without_the_check_it_works(story: Story) -> None:
    assert story.put_right.code == 0
    assert (story.synced_again.code, [row["seen"] for row in story.synced_again.json]) == (0, [1, 1, 1, 1])
    assert story.verified.code == 0


def test_the_key_went_to_nobody_who_was_not_trusted_and_is_shown_nowhere(story: Story) -> None:
    said = "".join(done.out + done.err for done in vars(story).values() if isinstance(done, Done))
    assert "the-key" not in said
