"""Runs on Kubernetes: the launcher, configured as the chart configures it from ``values.yaml``, makes jobs that have image,
secrets, variables and volumes, whoever queued the run (§2)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import LaunchRunContext
from dagster._serdes import deserialize_value, serialize_value
from sqlalchemy import make_url

from wfops_pipelines.api.github import LARGEST_BODY
from wfops_pipelines.definitions import defs
from wfops_pipelines.defs.inventory.refresh_queue import DagsterRefreshQueue
from wfops_pipelines_tests.deploy.files import DEPLOY, read, read_all

VALUES = read("kubernetes/values.yaml")
CODE_SERVER = VALUES["dagster-user-deployments"]["deployments"][0]
LAUNCHER = VALUES["runLauncher"]["config"]["k8sRunLauncher"]


def snake_case(word: str) -> str:
    """Kubernetes' own words as its Python client has them."""
    return re.sub(r"([A-Z])", r"_\1", word).lower()


def configured() -> dict[str, Any]:
    """The launcher's configuration, as the template dagsterYaml.runLauncher.k8s of the chart writes it."""
    image, more = LAUNCHER["image"], LAUNCHER["runK8sConfig"]
    return {"load_incluster_config": LAUNCHER["loadInclusterConfig"], "job_namespace": "default",
            "image_pull_policy": LAUNCHER["imagePullPolicy"], "service_account_name": "wfops-dagster",
            "job_image": f"{image['repository']}:{image['tag']}", "dagster_home": "/opt/dagster",
            "instance_config_map": "wfops-dagster-instance", "postgres_password_secret": "wfops-postgres",
            "env_config_maps": ["wfops-dagster-pipeline-env", *(one["name"] for one in LAUNCHER["envConfigMaps"])], "env_secrets": [one["name"] for one in LAUNCHER["envSecrets"]],
            "env_vars": LAUNCHER["envVars"], "volume_mounts": LAUNCHER["volumeMounts"], "volumes": LAUNCHER["volumes"],
            "resources": LAUNCHER["resources"], "run_k8s_config": {snake_case(key): value for key, value in more.items()}}


def test_a_run_that_a_webhook_queued_is_launched_with_image_secrets_variables_and_volumes(tmp_path: Path) -> None:
    dagster_k8s = pytest.importorskip("dagster_k8s", reason="the extra kubernetes is not installed")
    [workspace] = [one["data"]["workspace.yaml"] for one in read_all("kubernetes/api.yaml") if one["kind"] == "ConfigMap"]
    (tmp_path / "workspace.yaml").write_text(workspace)
    cluster = mock.MagicMock()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, mock.patch("kubernetes.config.load_incluster_config"):
        queue = DagsterRefreshQueue(instance, defs.resolve_job_def("refresh"), tmp_path / "workspace.yaml")
        run = instance.get_run_by_id(queue.submit({("acme", "prod")}, lane="push"))
        assert run is not None
        launcher = dagster_k8s.K8sRunLauncher(**configured(), k8s_client_batch_api=cluster, k8s_client_core_api=cluster)
        launcher._api_client = cluster
        launcher.register_instance(instance)
        launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    [call] = cluster.create_namespaced_job_with_retries.call_args_list
    pod = call.kwargs["body"].spec.template.spec
    [container] = pod.containers
    assert container.image == f"{LAUNCHER['image']['repository']}:{LAUNCHER['image']['tag']}"
    assert "wfops" in {source.secret_ref.name for source in container.env_from if source.secret_ref}
    variables = {one.name: one.value for one in container.env}
    assert variables.items() >= {one["name"]: one["value"] for one in CODE_SERVER["env"]}.items()
    assert {one.mount_path for one in container.volume_mounts} >= {"/var/lib/wfops"}
    assert {one.name for one in pod.volumes} >= {"home"}
    assert container.security_context.capabilities.drop == ["ALL"]
    assert (pod.security_context.run_as_user, pod.enable_service_links) == (10001, False)


def test_runs_get_what_the_code_server_gets() -> None:
    assert LAUNCHER["image"] == CODE_SERVER["image"]
    assert LAUNCHER["envVars"] == [f"{one['name']}={one['value']}" for one in CODE_SERVER["env"]]
    for name in ("envSecrets", "envConfigMaps", "volumes", "volumeMounts"):
        assert LAUNCHER[name] == CODE_SERVER[name], name
    assert LAUNCHER["runK8sConfig"]["podSpecConfig"]["securityContext"] == CODE_SERVER["podSecurityContext"]
    assert LAUNCHER["runK8sConfig"]["containerConfig"]["securityContext"] == CODE_SERVER["securityContext"]


def test_a_setting_is_said_once_for_code_server_runs_api_and_workers() -> None:
    """Links in notifications come from all of them, and each that was forgotten would tell of 127.0.0.1."""
    [settings] = read_all("kubernetes/settings.yaml")
    assert CODE_SERVER["envConfigMaps"] == [{"name": settings["metadata"]["name"]}]
    said = {one["name"] for one in CODE_SERVER["env"]}
    for name in ("api", "workers"):
        [container] = [one["spec"]["template"]["spec"]["containers"][0] for one in read_all(f"kubernetes/{name}.yaml")
                       if one["kind"] == "Deployment"]
        assert {"configMapRef": CODE_SERVER["envConfigMaps"][0]} in container["envFrom"], name
        said |= {one["name"] for one in container["env"]}
    assert "WFOPS_UI_URL" in settings["data"]
    assert {one for one in said if one.startswith("WFOPS_")} == {"WFOPS_HOME", "WFOPS_API_HOST"}
    assert all(isinstance(value, str) for value in settings["data"].values())


def variables_of_a_worker(secrets: dict[str, str]) -> dict[str, str]:
    """What stands in a Celery worker's environment, where ``secrets`` has the value of each secret's key."""
    [deployment] = read_all("kubernetes/workers.yaml")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    given = [(one["name"], one.get("valueFrom", {}).get("secretKeyRef"), one.get("value")) for one in container["env"]]
    return {name: value if value is not None else secrets[f"{key['name']}/{key['key']}"] for name, key, value in given
            if value is not None or key is not None}


def test_a_worker_opens_the_instance_that_a_step_brings(
        tmp_path: Path, fresh_dagster_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step carries the run's ``dagster.yaml`` as the chart writes it: the password is a variable, which is read here."""
    url, told = make_url(fresh_dagster_url), VALUES["postgresql"]
    storage = {"username": told["postgresqlUsername"], "password": {"env": "DAGSTER_PG_PASSWORD"}, "hostname": "",
               "db_name": url.database, "port": 5432, "params": {"host": url.query["host"]}, "scheme": told["postgresqlScheme"]}
    modules = {"run_storage": "run_storage.PostgresRunStorage", "event_log_storage": "event_log.PostgresEventLogStorage",
               "schedule_storage": "schedule_storage.PostgresScheduleStorage"}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({name: {
        "module": f"dagster_postgres.{where.partition('.')[0]}", "class": where.partition(".")[2],
        "config": {"postgres_db": storage}} for name, where in modules.items()}))
    brought = deserialize_value(serialize_value(InstanceRef.from_dir(str(tmp_path))), InstanceRef)
    secrets = {f"{VALUES['global']['postgresqlSecretName']}/postgresql-password": str(url.password)}
    monkeypatch.delenv("DAGSTER_PG_PASSWORD", raising=False)
    for name, value in variables_of_a_worker(secrets).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_ref(brought) as instance:
        assert instance.get_runs_count() == 0


def test_what_runs_get_is_said_in_one_place() -> None:
    """Told twice, a variable would stand twice in a pod, and the code server's resources would go before the runs' own."""
    assert CODE_SERVER["includeConfigInLaunchedRuns"] == {"enabled": False}


def test_the_database_is_told_by_role_as_dagsters_own_processes_log_in_with_a_password_of_their_own() -> None:
    """``WFOPS_DATABASE_URL`` alone would make a role for Dagster whose password is not the chart's."""
    text = (DEPLOY / "kubernetes/values.yaml").read_text()
    named = set(re.findall(r"\bWFOPS_[A-Z_]*DATABASE[A-Z_]*", text))
    assert named == {f"WFOPS_{name}_URL" for name in ("DATABASE_OWNER", "DATABASE_APP", "DATABASE_SYSTEM", "DAGSTER_DATABASE")}
    assert VALUES["postgresql"]["postgresqlUsername"] == "wfops_dagster"


def test_the_webserver_listens_where_nobody_may_and_the_ingress_finds_it() -> None:
    """The chart gives the program the Service's port, and it may bind none below 1024."""
    port = VALUES["dagsterWebserver"]["service"]["port"]
    assert port >= 1024
    [ui] = [one for one in read_all("kubernetes/ingress.yaml") if one["metadata"]["name"] == "wfops-ui"]
    [path] = ui["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["port"] == {"number": port}


def test_the_webservers_are_asked_whether_they_are_ready_where_they_listen() -> None:
    """Helm merges the chart's own probe into ours, and that one asks port 80: no pod would ever become ready."""
    webserver = VALUES["dagsterWebserver"]
    assert webserver["readinessProbe"]["httpGet"] == {"path": "/server_info", "port": webserver["service"]["port"]}


def test_the_ingress_lets_through_what_the_api_takes() -> None:
    [webhooks] = [one for one in read_all("kubernetes/ingress.yaml") if one["metadata"]["name"] == "wfops-webhooks"]
    largest = webhooks["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert largest == f"{LARGEST_BODY // 2**20}m"


def test_only_who_starts_runs_reaches_the_code_server_and_nobody_the_ui_that_writes() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in read_all("kubernetes/network.yaml")}
    ui, code = policies["wfops-ui-that-writes"], policies["wfops-code-server"]
    assert ui["policyTypes"] == code["policyTypes"] == ["Ingress"]
    assert ui["podSelector"]["matchLabels"]["component"] == "dagster-webserver" and "ingress" not in ui
    [allowed] = code["ingress"]
    assert [one["port"] for one in allowed["ports"]] == [CODE_SERVER["port"]]
    chart, api = (one["podSelector"] for one in allowed["from"])
    [component] = chart["matchExpressions"]
    assert component["values"] == ["dagster-daemon", "dagster-webserver", "dagster-webserver-read-only"]
    [deployment] = [one for one in read_all("kubernetes/api.yaml") if one["kind"] == "Deployment"]
    assert api["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
