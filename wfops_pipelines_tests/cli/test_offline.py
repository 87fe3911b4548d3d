"""What needs no installation: help, schema, keys, documents that are refused (§2.6, §22)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner, Result

from wfops_pipelines import __version__
from wfops_pipelines.cli.failures import exit_code_of
from wfops_pipelines.cli.main import app
from wfops_pipelines.domain.errors import Blocked, Refused, Unreachable, UsageError
from wfops_pipelines.services.audit_reports import read_anchors
from wfops_pipelines.services.compare import Side
from wfops_pipelines.store.secrets import parse_keys
from wfops_pipelines_tests.cli.fleet import fleet_document
from wfops_pipelines_tests.servers.processes import child_environment

DOCUMENT = fleet_document({"dev": "http://127.0.0.1:5678"}, "file:///srv/acme.git").split("    pipelines:")[0]
COMMANDS = ["hash", "diff", "schema fleet", "apply", "tenants", "environments", "sync", "drift", "export", "matrix", "link", "unlink",
            "ignore", "unignore", "operation list", "operation show", "audit list", "audit verify", "audit anchor", "doctor", "up",
            "demo", "env", "secrets generate", "secrets rotate",
            "notify test", "notify outbox", "notify send", "notify retry", "alerts metrics", "alerts list", "alerts set", "alerts remove",
            "alerts test", "alerts history"]


def wfops(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=text, env={"COLUMNS": "200", "TERM": "dumb"})


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help_with_an_example(command: str) -> None:
    done = wfops(*command.split(), "--help")
    assert done.exit_code == 0
    assert f"wfops {command}" in done.stdout or f"| wfops {command}" in done.stdout


def test_help_loads_neither_dagster_nor_the_store() -> None:
    code = ("import sys\nfrom wfops_pipelines.cli.main import app\n"
            "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
            "heavy = {'dagster', 'sqlalchemy', 'psycopg', 'httpx', 'pandas', 'pydantic', 'cryptography'} & set(sys.modules)\n"
            "sys.exit(f'loaded: {heavy}' if heavy else 0)")
    done = subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_version_is_printed() -> None:
    assert wfops("--version").stdout == f"wfops {__version__}\n"


def test_a_command_that_is_none_is_a_usage_error() -> None:
    done = wfops("snyc")
    assert done.exit_code == 2 and "sync" in done.stderr


def test_the_schema_describes_the_document() -> None:
    schema = json.loads(wfops("schema", "fleet").stdout)
    jsonschema.validate(yaml.safe_load(DOCUMENT), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 1, "tenants": [{"slug": "No Slug"}]}, schema)


def test_a_generated_key_is_one_and_each_is_another() -> None:
    keys = {wfops("secrets", "generate").stdout for _ in range(2)}
    assert len(keys) == 2 and all(parse_keys(key) == [key.strip()] for key in keys)


class TestDocuments:
    def test_each_mistake_is_told_with_file_line_and_field(self, tmp_path: Path) -> None:
        document = tmp_path / "fleet.yaml"
        document.write_text(DOCUMENT.replace("class: dev", "clas: dev").replace("version: 1", "version: 3"))
        done = wfops("apply", "-f", str(document))
        assert (done.exit_code, done.stdout) == (2, "")
        assert f"error: {document}:1: version: should be 1" in done.stderr
        assert f"error: {document}:7: tenants[0].environments[0].clas: is no field here (did you mean class?)" in done.stderr

    def test_as_json_the_mistakes_are_apart(self) -> None:
        done = wfops("apply", "-f", "-", "--json", text=DOCUMENT.replace("class: dev", "clas: dev"))
        error = json.loads(done.stderr)["error"]
        assert (done.exit_code, error["kind"]) == (2, "invalid_document")
        assert {"file": "<stdin>", "line": 7, "field": "tenants[0].environments[0].class", "message": "is required"} in error["problems"]

    def test_all_secrets_that_are_missing_are_told_at_once(self, tmp_path: Path) -> None:
        document = tmp_path / "fleet.yaml"
        document.write_text(DOCUMENT.replace("branch: main", "branch: main, token: 'env:WFOPS_NO_SUCH_VARIABLE'")
                            .replace("file:///srv", "https://git.example.com"))
        done = wfops("apply", "-f", str(document))
        assert done.exit_code == 2
        assert "error: env:WFOPS_NO_SUCH_VARIABLE: the environment variable" in done.stderr
        assert f"error: file:keys/dev: there is no file {tmp_path / 'keys/dev'}" in done.stderr

    @pytest.mark.parametrize(("content", "message"), [
        (b"\xff\xfe\x00", "1: is not UTF-8 text"), (b"version: 1\n\ttenants: []\n", ":2: "), (b"", "fleet.yaml"),
        (b"- just\n- a list\n", "should be a mapping"),
    ])
    def test_a_file_that_is_no_fleet_is_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        document = tmp_path / "fleet.yaml"
        document.write_bytes(content)
        done = wfops("apply", "-f", str(document))
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ") and message in done.stderr

    def test_a_file_that_is_not_there_is_named(self) -> None:
        done = wfops("apply", "-f", "gone.yaml")
        assert done.exit_code == 2 and done.stderr.startswith("error: gone.yaml: No such file")

    @pytest.mark.parametrize("text", ["not json", "[1]", '{"anchors": [{"tenant_id": "x", "events": 1, "head": "0"}]}'])
    def test_a_file_that_is_no_anchor_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            read_anchors(text)


def test_environments_are_named_tenant_slash_environment() -> None:
    assert Side.parse("acme/prod@git") == Side("acme", "prod", git=True)
    for text in ("acme", "acme/", "/prod", "acme/prod/x", "acme/prod@svn"):
        with pytest.raises(UsageError, match="names no environment"):
            Side.parse(text)


def test_several_failures_share_an_exit_code_or_are_a_failure() -> None:
    down, refused = Unreachable("down", target="a"), Refused("no", target="b")
    assert exit_code_of([]) == 0
    assert exit_code_of([down, down]) == 5
    assert exit_code_of([refused]) == 6
    assert exit_code_of([Blocked("held")]) == 4
    assert exit_code_of([down, refused]) == 1
