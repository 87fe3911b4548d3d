"""The fleet of the demo: two tenants with three n8n and one Git repository each, what they hold, and what people do to
them afterwards."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from wfops_pipelines.embedded.demo_sandboxes import ADDRESSES
from wfops_pipelines.embedded.n8n_server import find_install, install
from wfops_pipelines.embedded.processes import Program, Running, Supervisor
from wfops_pipelines.n8n.provider import Connection, WorkflowProvider, open_provider
from wfops_pipelines.n8n.sandbox.samples import CREDENTIALS, Sample, samples

TENANTS = {"acme": "Acme Corp", "globex": "Globex"}
ENVIRONMENTS = {"dev": "dev", "staging": "staging", "prod": "production"}
REAL_VERSION = "2.41.1"
_OF_GLOBEX = ("failures", "stock", "orders", "report", "invoice", "status", "cleanup")
_CREDENTIAL_DATA = {"slackApi": {"accessToken": "made-up"}, "openAiApi": {"apiKey": "made-up"}}  # what n8n insists on
_START_SECONDS = 300.0  # six real servers on two cores

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Server:
    """One n8n of the demo."""

    tenant: str
    environment: str
    url: str
    key_file: Path
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Edit:
    """What somebody did in an n8n, past Git; ``kind`` is what the drift check has to call it."""

    tenant: str
    environment: str
    workflow: str
    workflow_id: str
    kind: str
    words: str


def workflows_of(tenant: str) -> list[Sample]:
    """The samples that a tenant begins with, in each of its environments."""
    return [sample for sample in samples() if tenant == "acme" or sample.key in _OF_GLOBEX]


def start_sandboxes(supervisor: Supervisor, home: Path) -> list[Server]:
    """Six sandbox n8n servers in one process."""
    folder = home / "n8n"
    folder.mkdir()
    keys = {name: _write_key(home, name, secrets.token_urlsafe(24)) for name in _names()}
    (folder / "servers.json").write_text(json.dumps({name: {"key_file": str(path)} for name, path in keys.items()}))
    addresses = folder / ADDRESSES
    supervisor.start(Program(
        "sandboxes", [sys.executable, "-m", "wfops_pipelines.embedded.demo_sandboxes", str(folder)],
        home / "logs" / "sandboxes.log", ready=addresses.exists, restart=True))
    urls: dict[str, str] = json.loads(addresses.read_text())
    return [_server(name, urls[name], keys[name]) for name in _names()]


def start_real_servers(supervisor: Supervisor, home: Path, cache: Path, tell: Tell) -> list[Server]:
    """Six real n8n servers, installed before if they are not yet, and started side by side."""
    if find_install(REAL_VERSION, cache) is None:
        tell(f"installing n8n {REAL_VERSION} into {cache} (once; some minutes)")
        install(REAL_VERSION, cache, tell)
    starting: dict[str, Running] = {}
    for name in _names():
        log = home / "logs" / f"n8n-{name}.log"
        starting[name] = supervisor.launch(Program(
            f"n8n-{name}",
            [sys.executable, "-m", "wfops_pipelines.embedded.n8n_server", "start", REAL_VERSION, "--cache", str(cache),
             "--folder", str(home / "n8n" / name), "--port", str(_free_port())],
            log, ready=partial(_has_said, log), ready_within=_START_SECONDS, restart=True, grace=30.0))
    servers = []
    for name, running in starting.items():
        supervisor.wait_ready(running)
        said = _said(running.program.log) or {}
        servers.append(_server(name, said["url"], _write_key(home, name, said["api_key"])))
    return servers


def make_repositories(home: Path) -> dict[str, str]:
    """One empty bare repository per tenant; gives their URLs."""
    urls = {}
    for tenant in TENANTS:
        folder = home / "git" / f"{tenant}.git"
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(folder)], check=True,
                       capture_output=True)
        urls[tenant] = folder.as_uri()
    return urls


def write_fleet(home: Path, servers: list[Server], repositories: Mapping[str, str]) -> Path:
    """``fleet.yaml`` as a user would write it; keys by reference to files."""
    document = {"version": 1, "tenants": [{
        "slug": tenant, "name": name, "plan": "agency",
        "repository": {"url": repositories[tenant], "provider": "git", "branch": "main"},
        "environments": [{
            "slug": server.environment, "class": ENVIRONMENTS[server.environment], "url": server.url,
            "api_key": f"file:{server.key_file}", "folder": server.environment,
            **({"allow_production": True} if ENVIRONMENTS[server.environment] == "production" else {}),
        } for server in servers if server.tenant == tenant],
        "drift_policy": {"auto_create_incidents": True},
        "credentials": [{"key": key, "type": kind, "environments": {slug: {"name": key} for slug in ENVIRONMENTS}}
                        for kind, key in CREDENTIALS],
        "pipelines": [{"name": "standard", "stages": [{"source": "dev", "target": "staging"},
                                                     {"source": "staging", "target": "prod", "approvers": 1}]}],
    } for tenant, name in TENANTS.items()]}
    path = home / "fleet.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return path


def seed(servers: list[Server]) -> int:
    """Create the workflows in every server, by its API; gives how many."""
    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(_seed(server) for server in servers))
    return sum(asyncio.run(all_of_them()))


def edit_production(servers: list[Server]) -> list[Edit]:
    """What people do by hand, past Git: change a workflow, switch one off, and build one in production."""
    return asyncio.run(_edit_production({(s.tenant, s.environment): s for s in servers}))


def go_on_in_dev(servers: list[Server]) -> str:
    """What people do where they should: acme's developers change a workflow in dev. Gives its name."""
    server = next(s for s in servers if (s.tenant, s.environment) == ("acme", "dev"))

    async def change() -> str:
        async with _opened(server) as n8n:
            _, name = await _set_parameters(n8n, "Returns", {"Let someone look": {
                "text": "=Return of {{ $json.Order }} ({{ $json.Reason }}), please look today"}})
        return name

    return asyncio.run(change())


async def _seed(server: Server) -> int:
    chosen = workflows_of(server.tenant)
    async with _opened(server) as n8n:
        credentials = {(kind, name): (await n8n.create_credential(
            {"name": name, "type": kind, "data": _CREDENTIAL_DATA.get(kind, {})}))["id"] for kind, name in CREDENTIALS}
        tags: dict[str, str] = {}
        ids: dict[str, str] = {}
        for sample in chosen:
            made = await n8n.create_workflow(sample.body(ids, credentials))
            ids[sample.key] = made["id"]
            for name in sample.tags:
                if name not in tags:
                    tags[name] = (await n8n.create_tag(name))["id"]
            if sample.tags:
                await n8n.set_workflow_tags(made["id"], [tags[name] for name in sample.tags])
            if sample.active:
                await n8n.activate_workflow(made["id"])
    return len(chosen)


async def _edit_production(servers: Mapping[tuple[str, str], Server]) -> list[Edit]:
    edits = []
    async with _opened(servers["acme", "prod"]) as n8n:
        workflow_id, name = await _set_parameters(
            n8n, "Order intake", {"Create in shop": {"options": {"timeout": 60000}},
                                  "Announce": {"channelId": {"__rl": True, "mode": "name", "value": "#orders-night"}}})
        edits.append(Edit("acme", "prod", name, workflow_id, "modified",
                          "the shop was slow at night, so somebody gave it longer, and a channel of its own"))
        reminders = await _find(n8n, "Invoice reminders")
        await n8n.deactivate_workflow(reminders["id"])
        edits.append(Edit("acme", "prod", reminders["name"], reminders["id"], "activation",
                          "a customer complained, so somebody switched the reminders off"))
    async with _opened(servers["globex", "prod"]) as n8n:
        made = await n8n.create_workflow(_quick_fix())
        edits.append(Edit("globex", "prod", made["name"], made["id"], "added_in_runtime",
                          "somebody built a quick fix straight in production"))
    return edits


async def _set_parameters(n8n: WorkflowProvider, workflow: str, changes: Mapping[str, dict[str, Any]]) -> tuple[str, str]:
    """Change parameters of nodes, as the editor would; gives id and name of the workflow."""
    found = await _find(n8n, workflow)
    for node in found["nodes"]:
        node["parameters"] |= changes.get(node["name"], {})
    await n8n.update_workflow(found["id"], found)
    return found["id"], found["name"]


async def _find(n8n: WorkflowProvider, name: str) -> dict[str, Any]:
    async for page in n8n.list_workflows():
        for workflow in page.workflows:
            if workflow["name"] == name:
                return await n8n.get_workflow(workflow["id"])
    raise LookupError(name)


def _quick_fix() -> dict[str, Any]:
    nodes = [
        {"id": "1", "name": "Every five minutes", "type": "n8n-nodes-base.scheduleTrigger", "typeVersion": 1.2,
         "position": [0, 0], "parameters": {"rule": {"interval": [{"field": "minutes", "minutesInterval": 5}]}}},
        {"id": "2", "name": "Send again", "type": "n8n-nodes-base.httpRequest", "typeVersion": 4.2,
         "position": [220, 0],
         "parameters": {"method": "POST", "url": "https://api.example.com/v2/orders/retry", "options": {}}}]
    return {"name": "QUICK FIX retry orders", "nodes": nodes, "settings": {"executionOrder": "v1"},
            "connections": {"Every five minutes": {"main": [[{"node": "Send again", "type": "main", "index": 0}]]}}}


@asynccontextmanager
async def _opened(server: Server) -> AsyncIterator[WorkflowProvider]:
    provider = open_provider(Connection(server.url, server.api_key))
    try:
        yield provider
    finally:
        await provider.aclose()


def _names() -> list[str]:
    return [f"{tenant}-{environment}" for tenant in TENANTS for environment in ENVIRONMENTS]


def _server(name: str, url: str, key_file: Path) -> Server:
    tenant, _, environment = name.partition("-")
    return Server(tenant, environment, url, key_file, key_file.read_text().strip())


def _write_key(home: Path, name: str, key: str) -> Path:
    path = home / "keys" / name
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_text(key + "\n")
    return path


def _has_said(log: Path) -> bool:
    return _said(log) is not None


def _said(log: Path) -> dict[str, Any] | None:
    """The line of JSON in which a server says where it is."""
    if not log.exists():
        return None
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith('{"url"')]
    return json.loads(lines[-1]) if lines else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
