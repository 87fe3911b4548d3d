"""A small installation for the Dagster room: one tenant, three sandboxes, a bare repository, an ephemeral instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from wfops_pipelines.bootstrap import Installation, build_services, use_installation
from wfops_pipelines.defs.partitions import sync_partitions
from wfops_pipelines.domain.fleet import load_fleet
from wfops_pipelines.n8n.sandbox import Sandbox, create_sandbox
from wfops_pipelines.n8n.sandbox.serve import serve_many
from wfops_pipelines.services.apply_fleet import apply_fleet
from wfops_pipelines.settings import Settings
from wfops_pipelines.store.engine import StoreUrls, open_engine
from wfops_pipelines.store.installation import ensure_audit_key
from wfops_pipelines.store.migrate import upgrade
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.servers.bare import BareRepository, make_bare
from wfops_pipelines_tests.servers.postgres import PostgresServer

SLUGS = ("dev", "staging", "prod")


def workflow(name: str, url: str = "https://example.com") -> dict[str, object]:
    """A workflow of two nodes."""
    return {
        "name": name,
        "nodes": [
            {"id": "1", "name": "Start", "type": "n8n-nodes-base.manualTrigger", "typeVersion": 1, "position": [0, 0],
             "parameters": {}},
            {"id": "2", "name": "Call", "type": "n8n-nodes-base.httpRequest", "typeVersion": 4.2, "position": [200, 0],
             "parameters": {"url": url}},
        ],
        "connections": {"Start": {"main": [[{"node": "Call", "type": "main", "index": 0}]]}},
        "settings": {"executionOrder": "v1"},
    }


@dataclass
class Given:
    """What a test of this room works with."""

    installation: Installation
    instance: dg.DagsterInstance
    sandboxes: dict[str, Sandbox]
    repository: BareRepository

    def edit(self, environment: str, **changes: object) -> str:
        """Somebody changes the first workflow of an environment in n8n; returns its id."""
        state = self.sandboxes[environment].state
        workflow_id = sorted(state.workflows)[0]
        state.edit(workflow_id, **changes)
        return workflow_id


@pytest.fixture
def given(tmp_path: Path, postgres_server: PostgresServer, fresh_database_urls: Callable[..., Urls]) -> Iterator[Given]:
    """Tenant ``acme`` with dev, staging and prod, two workflows in each; nothing is in Git yet."""
    urls = fresh_database_urls(upgrade)
    settings = Settings(home=tmp_path / "home")
    repository = make_bare(tmp_path / "acme.git")
    with ExitStack() as stack:
        sandboxes = {slug: create_sandbox(api_key=f"key-{slug}") for slug in SLUGS}
        addresses = dict(zip(SLUGS, stack.enter_context(serve_many(list(sandboxes.values()))), strict=True))
        for sandbox in sandboxes.values():
            sandbox.state.seed_workflows([workflow("Orders"), workflow("Invoices")])
        owner = open_engine(urls.owner, pool_size=1)
        ensure_audit_key(owner, postgres_server.box, b"k" * 32)
        owner.dispose()
        store = Store(StoreUrls(urls.owner, urls.app, urls.system), postgres_server.box)
        installation = Installation(settings, build_services(settings, store), urls, postgres_server.box, None)
        lines = "\n".join(
            f"      - {{slug: {slug}, class: {'production' if slug == 'prod' else slug}, url: '{addresses[slug]}', "
            f"api_key: 'env:{slug}', folder: {slug}}}" for slug in SLUGS)
        fleet = load_fleet(
            f"version: 1\ntenants:\n  - slug: acme\n    repository: {{url: 'file://{repository.path}', branch: main}}\n"
            f"    environments:\n{lines}\n    pipelines:\n"
            "      - {name: standard, stages: [{source: dev, target: staging}, {source: staging, target: prod}]}\n",
            file="fleet.yaml")
        apply_fleet(installation.services, fleet, lambda reference: f"key-{reference.name}", actor="local:test")
        use_installation(installation)
        instance = stack.enter_context(dg.DagsterInstance.ephemeral())
        sync_partitions(instance, installation.services)
        yield Given(installation, instance, sandboxes, repository)
        store.close()
