"""What the container file, Compose and the Kubernetes manifests start exists, takes these options, and is as closed as it can
be (§2, design: the webserver has no login)."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import check_jsonschema
import dagster as dg
import jsonschema
import pytest
import yaml
from celery.bin.worker import worker as celery_worker
from click import Context
from click.testing import CliRunner
from dagster._cli import create_dagster_cli
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_webserver import webserver
from dagster_webserver.cli import create_dagster_webserver_cli

from wfops_pipelines import __version__
from wfops_pipelines.api import app as api
from wfops_pipelines.defs.distributed.jobs import distributed_sweep_job
from wfops_pipelines.defs.launch import dagster_environment
from wfops_pipelines.postgres.server import SETTINGS as EMBEDDED
from wfops_pipelines.settings import Settings
from wfops_pipelines_tests.deploy.files import DEPLOY, all_files, read, read_all, worker_command
from wfops_pipelines_tests.servers.processes import REPOSITORY

COMPOSE = ("compose.yaml", "compose.celery.yaml")
MANIFESTS = ("kubernetes/api.yaml", "kubernetes/workers.yaml", "kubernetes/ingress.yaml")
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
ONLY_COMPOSE = {"WFOPS_IMAGE"}  # read by Compose itself
COMPOSES_OWN = {f"WFOPS_{name}" for name in (  # said by the image, or of no use in it
    "HOME", "DATABASE_OWNER_URL", "DATABASE_APP_URL", "DATABASE_SYSTEM_URL", "DAGSTER_DATABASE_URL", "ROLE_PREFIX", "TOKEN",
    "UI_PORT", "API_PORT", "N8N_CACHE", "FAILPOINTS")}
DAGSTERS_OWN = {"DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE", "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS",
                "DAGSTER_DISABLE_TELEMETRY", "DAGSTER_GRPC_TIMEOUT_SECONDS", "DAGSTER_PG_PASSWORD"}

NO_SECRET = re.compile(  # nothing, a reference, a file, a variable of psql
    r"(?i)[:=]\s*$|\$\{|secretname|secretkeyref|generatepostgresqlpasswordsecret|token\s*}|/etc/|:'\w+'")


def services() -> dict[str, dict[str, Any]]:
    """The services of both Compose files."""
    base: dict[str, dict[str, Any]] = read("compose.yaml")["services"]
    celery = read("compose.celery.yaml")["services"]
    return {**base, **{name: celery[name] for name in ("redis", "worker")}}


def containers() -> list[tuple[str, dict[str, Any]]]:
    """The containers of the Kubernetes manifests."""
    return [(document["metadata"]["name"], container) for name in MANIFESTS for document in read_all(name)
            if document["kind"] == "Deployment" for container in document["spec"]["template"]["spec"]["containers"]]


def commands() -> list[list[str]]:
    """Every command that is ours or Dagster's."""
    last = re.findall(r"^\s*CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE)
    found = [json.loads(text) for text in last]
    for service in services().values():
        if "redis" in str(service.get("image")) or "postgres" in str(service.get("image")):
            continue
        found += [command for command in (service.get("command"), service.get("healthcheck", {}).get("test", [""])[1:])
                  if command]
    found += [container["args"] for _, container in containers()]
    helm = read("kubernetes/values.yaml")["dagster-user-deployments"]["deployments"][0]
    return [*found, ["dagster", "api", "grpc", *helm["dagsterApiGrpcArgs"], "--port", str(helm["port"])]]


def accepts(command: list[str]) -> str | None:
    """Why a command would not start; none if it would."""
    program, *arguments = command
    clicks = {"dagster": create_dagster_cli, "dagster-daemon": create_dagster_daemon_cli,
              "dagster-webserver": create_dagster_webserver_cli}
    if program in clicks:
        done = CliRunner().invoke(clicks[program](), [*arguments, "--help"])
        return None if done.exit_code == 0 else done.output
    if program == "python":
        if arguments[0] == "-c":
            compile(arguments[1], "command", "exec")
            return None
        return None if importlib.util.find_spec(f"{arguments[1]}.__main__") else f"there is no {arguments[1]}"
    if program == "celery" and arguments[:1] == ["--app"]:
        if importlib.util.find_spec(arguments[1]) is None:
            return f"there is no {arguments[1]}"
        celery_worker.make_parser(Context(celery_worker)).parse_args(arguments[3:])
        return None if arguments[2] == "worker" else "not a worker"
    if program.startswith("celery ") and " inspect ping " in program:
        return None
    return f"{program} is not known"


@pytest.mark.parametrize("command", commands(), ids=lambda command: " ".join(command)[:60])
def test_every_command_starts_a_program_that_is_there_and_takes_its_options(command: list[str]) -> None:
    assert accepts(command) is None


def test_a_command_with_an_option_that_is_none_is_found() -> None:
    assert accepts(["dagster-daemon", "run", "--worksapce", "x"]) is not None
    assert accepts(["celery2"]) is not None


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_files_are_what_compose_reads(name: str) -> None:
    schema = Path(check_jsonschema.__file__).parent / "builtin_schemas/vendor/compose-spec.json"
    jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(read(name))


def test_every_variable_is_one_that_somebody_reads() -> None:
    known = {f"WFOPS_{name.upper()}" for name in Settings.model_fields} | ONLY_COMPOSE | DAGSTERS_OWN
    used = {name for path in all_files() for name in re.findall(r"\b(?:WFOPS|DAGSTER)_[A-Z0-9_]+", path.read_text())}
    assert used <= known
    assert {"WFOPS_SECRET_KEY", "WFOPS_CELERY_BROKER_URL"} <= used


def test_every_setting_that_is_not_composes_own_reaches_the_containers() -> None:
    base, celery = read("compose.yaml")["services"], read("compose.celery.yaml")["services"]
    passed = {**base["api"]["environment"], **celery["api"]["environment"]}
    assert {f"WFOPS_{name.upper()}" for name in Settings.model_fields} - set(passed) == COMPOSES_OWN
    only_the_api = set(base["api"]["environment"]) - set(base["code"]["environment"])
    assert only_the_api == {"WFOPS_API_HOST", "WFOPS_METRICS_TOKEN", "WFOPS_METRICS_TENANT_LABEL",
                            "WFOPS_GITHUB_APP_WEBHOOK_SECRET"}
    for name, value in passed.items():  # what is not set stays away: an empty number would be none
        assert value is None or not re.search(r":-}", str(value)), name


def test_dagster_in_the_image_is_set_as_wfops_sets_it(tmp_path: Path) -> None:
    """A busy machine's workers come up late: by Dagster's own time for that their runs would fail."""
    installation = mock.Mock(settings=Settings(home=tmp_path))
    installation.dagster_url.return_value = ""
    ours = {name: value for name, value in dagster_environment(installation).items() if name in DAGSTERS_OWN - {"DAGSTER_HOME"}}
    said = dict(re.findall(r"^(?:ENV|   ) (DAGSTER_\w+)=(\S+)", CONTAINERFILE, re.MULTILINE))
    assert {name: said.get(name) for name in ours} == ours


def test_the_database_of_compose_takes_as_many_connections_as_the_embedded_one_or_more() -> None:
    [given] = [one for one in services()["postgres"]["command"] if one.startswith("max_connections=")]
    assert int(given.partition("=")[2]) >= int(EMBEDDED["max_connections"])


def test_no_volume_hides_what_a_new_image_brings() -> None:
    brought = re.findall(r"^COPY .*dagster\.yaml.* (/\S+)/$", CONTAINERFILE, re.MULTILINE)
    made = re.findall(r"^    && install --directory .*--group=wfops (.*)$", CONTAINERFILE, re.MULTILINE)[0].split()
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            assert target not in brought, name
            if source == "ticks":
                assert target in made, "without it in the image, the volume would be root's"
    assert brought == ["/opt/dagster"]


def test_the_password_that_becomes_part_of_an_address_is_asked_for_without_signs() -> None:
    asked = (DEPLOY / "wfops.env.example").read_text().partition("POSTGRES_PASSWORD=")[0].splitlines()[-1]
    assert "rand -hex" in asked


def test_every_file_is_read_by_its_format() -> None:
    for path in all_files():
        if path.suffix == ".yaml":
            assert all(document is not None for document in yaml.safe_load_all(path.read_text())), path
        elif path.suffix == ".json":
            json.loads(path.read_text())


def test_only_the_ui_that_writes_is_on_loopback_and_the_other_one_does_not_write() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published == {"ui": ["127.0.0.1:3000:3000"], "api": ["127.0.0.1:3900:3900"]}
    webservers = {name: service["command"] for name, service in services().items()
                  if service.get("command", [""])[0] == "dagster-webserver"}
    assert {name for name, command in webservers.items() if "--read-only" not in command} == {"ui"}
    assert [name for name, service in services().items() if "proxied" in service.get("networks", [])] == ["ui-readonly", "api"]


def test_the_ingress_leads_to_the_ui_that_does_not_write_and_to_webhooks() -> None:
    backends = {path["path"]: path["backend"]["service"]["name"] for document in read_all("kubernetes/ingress.yaml")
                for rule in document["spec"]["rules"] for path in rule["http"]["paths"]}
    assert backends == {"/": "wfops-dagster-webserver-read-only", "/api/v1/webhooks/": "wfops-http-api"}
    values = read("kubernetes/values.yaml")
    assert values["ingress"] == {"enabled": False} and values["dagsterWebserver"]["enableReadOnly"] is True


def test_our_containers_are_nobody_and_may_nothing() -> None:
    assert re.findall(r"^USER (.*)$", CONTAINERFILE, re.MULTILINE) == ["10001:10001"]
    for name in ("code", "daemon", "ui", "ui-readonly", "api"):
        service = services()[name]
        assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (
            True, ["ALL"], ["no-new-privileges:true"]), name
    for document in (d for name in MANIFESTS for d in read_all(name) if d["kind"] == "Deployment"):
        assert document["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    for name, container in containers():
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}, name


def test_health_checks_ask_for_what_is_there() -> None:
    urls = {url for path in all_files() for url in re.findall(r"http://127\.0\.0\.1:(\d+)(/[a-z0-9_/]+)", path.read_text())}
    assert urls == {("3000", "/server_info"), ("3900", f"{api.PREFIX}/health")}
    assert '"/server_info"' in inspect.getsource(webserver)
    probes = {probe["httpGet"]["path"] for _, container in containers()
              for probe in (container.get("readinessProbe"), container.get("livenessProbe")) if probe}
    assert probes == {f"{api.PREFIX}/health"}
    exposed = re.findall(r"^EXPOSE (.*)$", CONTAINERFILE, re.MULTILINE)[0].split()
    assert exposed == ["3000", "3900", "4000"]


def test_secrets_are_referred_to_and_never_written() -> None:
    for path in all_files():
        for line in path.read_text().splitlines():
            if re.search(r"(?i)(password|secret_key|token)\b.*[:=]", line) and not line.lstrip().startswith("#"):
                assert NO_SECRET.search(line), (path, line)
    referred = {reference["secretRef"]["name"] for _, container in containers() for reference in container["envFrom"]
                if "secretRef" in reference}
    helm = read("kubernetes/values.yaml")["dagster-user-deployments"]["deployments"][0]["envSecrets"]
    assert referred == {"wfops"} == {secret["name"] for secret in helm}


def test_kubernetes_objects_find_each_other() -> None:
    documents = [document for name in MANIFESTS for document in read_all(name)]
    deployments = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "Deployment"}
    for spec in deployments.values():
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
        mounted = {mount["name"] for container in spec["template"]["spec"]["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    [service] = [d["spec"] for d in documents if d["kind"] == "Service"]
    target = deployments["wfops-api"]["template"]
    assert service["selector"] == target["metadata"]["labels"]
    assert service["ports"][0]["targetPort"] in {port["name"] for port in target["spec"]["containers"][0]["ports"]}
    [workspace] = [d["data"]["workspace.yaml"] for d in documents if d["kind"] == "ConfigMap"]
    helm = read("kubernetes/values.yaml")["dagster-user-deployments"]["deployments"][0]
    server = yaml.safe_load(workspace)["load_from"][0]["grpc_server"]
    assert server == {"host": helm["name"], "port": helm["port"], "location_name": "wfops"}


def service_names() -> set[str]:
    """The Services of the manifests, and those that the chart makes of the release ``wfops``."""
    ours = {document["metadata"]["name"] for name in MANIFESTS for document in read_all(name) if document["kind"] == "Service"}
    deployed = {deployment["name"] for deployment in read("kubernetes/values.yaml")["dagster-user-deployments"]["deployments"]}
    return ours | deployed | {"wfops-dagster-webserver", "wfops-dagster-webserver-read-only"}


def test_no_variable_that_kubernetes_makes_of_a_services_name_is_a_setting() -> None:
    made = {name.upper().replace("-", "_") for name in service_names()}
    settings = {f"WFOPS_{name.upper()}" for name in Settings.model_fields}
    assert not {setting for setting in settings for name in made
                if re.fullmatch(rf"{name}_(PORT|SERVICE_HOST|SERVICE_PORT)(_.*)?", setting)}
    assert len(made) == 4


def test_our_pods_are_told_of_no_services_in_variables() -> None:
    for document in (d for name in MANIFESTS for d in read_all(name) if d["kind"] == "Deployment"):
        assert document["spec"]["template"]["spec"]["enableServiceLinks"] is False, document["metadata"]["name"]


def test_the_workspace_of_compose_leads_to_its_code_server() -> None:
    server = read("dagster/workspace.yaml")["load_from"][0]["grpc_server"]
    command = services()["code"]["command"]
    assert server["host"] in services()
    assert (str(server["port"]), server["location_name"]) == (
        command[command.index("--port") + 1], command[command.index("--location-name") + 1])


def test_workers_are_started_alike_everywhere() -> None:
    [kubernetes] = [container["args"] for name, container in containers() if name == "wfops-worker"]
    assert kubernetes == worker_command()


def test_what_is_under_way_outlives_the_broker() -> None:
    """The run of a sweep waits for each step's answer without a limit: what Redis forgot would keep the next sweeps waiting."""
    redis = services()["redis"]
    said = dict(pairwise(redis["command"]))
    assert said["--appendonly"] == "yes"
    [(volume, place)] = [one.split(":") for one in redis["volumes"]]
    assert (volume in read("compose.celery.yaml")["volumes"], place) == (True, "/data")  # where the image of Redis writes


def test_a_sweep_whose_steps_the_broker_lost_is_ended_within_an_hour() -> None:
    assert Settings().celery_redelivery_seconds < float(distributed_sweep_job.run_tags[MAX_RUNTIME_SECONDS_TAG]) <= 3600


def test_the_queue_of_the_chart_is_that_of_dagster_yaml(tmp_path: Path) -> None:
    ours = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    values = read("kubernetes/values.yaml")
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue["tagConcurrencyLimits"] == ours["run_coordinator"]["config"]["tag_concurrency_limits"]
    assert queue["dequeueIntervalSeconds"] == ours["run_coordinator"]["config"]["dequeue_interval_seconds"]
    assert values["additionalInstanceConfig"] == {name: ours[name] for name in ("run_monitoring", "run_retries", "nux")}
    assert {name: values["retention"][name]["purgeAfterDays"] for name in ("schedule", "sensor")} == {
        name: ours["retention"][name]["purge_after_days"] for name in ("schedule", "sensor")}
    rendered = {  # as the chart writes it, beside storage and launcher, which need a cluster
        "run_coordinator": {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator", "config": {
            "max_concurrent_runs": queue["maxConcurrentRuns"], "tag_concurrency_limits": queue["tagConcurrencyLimits"],
            "dequeue_interval_seconds": queue["dequeueIntervalSeconds"]}}, **values["additionalInstanceConfig"]}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(rendered))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 20
        assert instance.run_monitoring_enabled and instance.run_retries_enabled


def test_the_chart_is_of_the_version_that_is_pinned() -> None:
    pinned = re.search(r"^dagster==(.*)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert set(re.findall(r"\b1\.\d+\.\d+\b", (DEPLOY / "kubernetes/values.yaml").read_text())) == {pinned[1]}


def test_the_image_that_the_readme_builds_is_the_one_that_kubernetes_asks_for() -> None:
    values = read("kubernetes/values.yaml")["dagster-user-deployments"]["deployments"][0]["image"]
    name = f"{values['repository']}:{values['tag']}"
    assert {container["image"] for _, container in containers()} == {name} == {f"registry.example.com/wfops:{__version__}"}
    readme = (REPOSITORY / "README.md").read_text()
    assert f"docker build -f deploy/Containerfile -t wfops -t {name} ." in readme and f"docker push {name}" in readme
    assert read("compose.yaml")["services"]["code"]["image"] == "${WFOPS_IMAGE:-wfops:latest}"


def test_what_the_container_is_built_from_is_there_and_let_through() -> None:
    sources = [source for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINERFILE, re.MULTILINE)
               for source in line.split()[:-1] if not source.startswith("--")]
    allowed = [line[1:] for line in (DEPLOY / "Containerfile.dockerignore").read_text().split() if line.startswith("!")]
    for source in sources:
        assert (REPOSITORY / source).exists(), source
        assert any(source == name or source.startswith(f"{name}/") for name in allowed), source
