"""Given: a fleet with an n8n per environment and a Git repository, and what people do to them.

``fleet`` is one tenant. ``fleet["prod"]`` is an environment seen from all its sides: n8n (``edit_in_n8n`` …), Git
(``push_workflow`` …), and what WorkflowOps does with it (``sync``, ``read_git``, ``check``, ``export``).
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import yaml
from pydantic import SecretStr
from sqlalchemy import Row, text

from wfops_pipelines import failpoints
from wfops_pipelines.bootstrap import build_services
from wfops_pipelines.domain.audit import decode
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.fleet import SecretReference, load_fleet
from wfops_pipelines.n8n.sandbox import Sandbox
from wfops_pipelines.n8n.sandbox import workflows as sandbox_workflows
from wfops_pipelines.notify.sender import Sender
from wfops_pipelines.services.apply_fleet import FleetPlan, apply_fleet
from wfops_pipelines.services.audit_trail import verify_tenant
from wfops_pipelines.services.detect_drift import CheckType, DriftCheck, check_drift, compare_stored
from wfops_pipelines.services.environment_sync import EnvironmentSync
from wfops_pipelines.services.export_environment import Export, export_environment
from wfops_pipelines.services.reconcile import Reconciliation, reconcile
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sync_environment import sync_environment
from wfops_pipelines.services.sync_repository import RepositorySync, sync_repository
from wfops_pipelines.settings import Settings
from wfops_pipelines.store.engine import StoreUrls
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines.store.unit_of_work import Store, UnitOfWork
from wfops_pipelines_tests.servers.bare import BareRepository
from wfops_pipelines_tests.servers.statements import share_statements
from wfops_pipelines_tests.services.hosting import SandboxHost

T = TypeVar("T")
ACTOR = "local:ada"
CLASSES = {"dev": "dev", "staging": "staging", "prod": "production"}


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a use case to its end."""
    return asyncio.run(work)


@dataclass
class Clock:
    """Time as the test says. It goes on by a millisecond at every look, so that nothing happens at the same time."""

    time: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time

    def pass_time(self, **duration: float) -> None:
        self.time += timedelta(**duration)


def workflow(name: str, *, text: str = "hello", **more: Any) -> dict[str, Any]:
    """A small workflow: a trigger and a node whose parameter says ``text``."""
    return {
        "name": name,
        "nodes": [
            {"id": "a", "name": "Start", "type": "n8n-nodes-base.scheduleTrigger", "typeVersion": 1, "position": [0, 0],
             "parameters": {}},
            {"id": "b", "name": "Say", "type": "n8n-nodes-base.set", "typeVersion": 3, "position": [200, 0],
             "parameters": {"text": text}},
        ],
        "connections": {"Start": {"main": [[{"node": "Say", "type": "main", "index": 0}]]}},
        "settings": {"executionOrder": "v1"}, **more,
    }


def calling(name: str, called_id: str, **more: Any) -> dict[str, Any]:
    """A workflow that calls another one by its n8n id."""
    made = workflow(name, **more)
    made["nodes"].append({
        "id": "c", "name": "Call", "type": "n8n-nodes-base.executeWorkflow", "typeVersion": 1, "position": [400, 0],
        "parameters": {"workflowId": {"__rl": True, "mode": "list", "value": called_id}}})
    return made


def with_credential(name: str, credential: str, credential_id: str = "c1", **more: Any) -> dict[str, Any]:
    """A workflow with a node that uses a credential of type httpBasicAuth."""
    made = workflow(name, **more)
    made["nodes"][1]["credentials"] = {"httpBasicAuth": {"id": credential_id, "name": credential}}
    return made


def file_bytes(document: Mapping[str, Any], *, key: uuid.UUID | str | None = None, **wanted: Any) -> bytes:
    """A workflow as a file; ``key`` and ``wanted`` (active, tags) make our object in it."""
    whole = dict(document)
    if key is not None or wanted:
        whole["wfops"] = {**({"canonical_id": str(key)} if key is not None else {}), **wanted}
    return json.dumps(whole, ensure_ascii=False).encode("utf-8", "backslashreplace")


@dataclass
class Environment:
    """One environment, from all its sides."""

    fleet: FleetUnderTest
    slug: str
    sandbox: Sandbox
    url: str

    # -- what people do in n8n -----------------------------------------------------------------------------------------

    def create_in_n8n(self, *workflows: Mapping[str, Any]) -> list[str]:
        """Workflows made in the editor; their ids."""
        return self.sandbox.state.seed_workflows(workflows)

    def edit_in_n8n(self, workflow_id: str, text: str = "edited", *, publish: bool = True, **changes: Any) -> None:
        """Change what the node says, or what ``changes`` name."""
        self.sandbox.state.edit(workflow_id, publish=publish, **(changes or {"node": ("Say", {"text": text})}))

    def delete_in_n8n(self, workflow_id: str) -> None:
        """Deleted for good."""
        with self.sandbox.state.lock:
            self.sandbox.state.remove(workflow_id)

    def archive_in_n8n(self, workflow_id: str) -> None:
        """Archived, as the editor's menu does it."""
        with self.sandbox.state.lock:
            sandbox_workflows.archive(self.sandbox.state, workflow_id)

    def raw(self, workflow_id: str) -> Any:
        """n8n's record, to do what no API can."""
        return self.sandbox.state.workflows[workflow_id]

    def tag_in_n8n(self, workflow_id: str, *names: str) -> None:
        """Replace the tags."""
        with self.sandbox.state.lock:
            self.raw(workflow_id).tag_ids = [self.sandbox.state.tag(name).id for name in names]
            self.sandbox.state.changed(self.raw(workflow_id))

    def activate_in_n8n(self, workflow_id: str, active: bool = True) -> None:
        """Switch it on, or off."""
        with self.sandbox.state.lock:
            record = self.raw(workflow_id)
            record.active_id = record.version_id if active else None
            self.sandbox.state.changed(record)

    # -- what people do in Git -----------------------------------------------------------------------------------------

    @property
    def folder(self) -> str:
        """The folder in the repository."""
        return str(self.row.folder or "")

    def path(self, name: str) -> str:
        """A path in the environment's folder."""
        return f"{self.folder}/{name}" if self.folder else name

    def push_files(self, files: Mapping[str, Any], *, branch: str = "main") -> str:
        """Commit files of the environment's folder (``None`` deletes)."""
        return self.fleet.repository.commit({self.path(name): data for name, data in files.items()}, branch=branch)

    def push_workflow(self, name: str, document: Mapping[str, Any], *, key: Any = None, **wanted: Any) -> str:
        """Commit one workflow file."""
        return self.push_files({name: file_bytes(document, key=key, **wanted)})

    def files(self) -> dict[str, bytes]:
        """What the folder holds at the branch's head, by path within it."""
        if self.fleet.repository.head() is None:
            return {}
        prefix = f"{self.folder}/" if self.folder else ""
        return {path.removeprefix(prefix): data for path, data in self.fleet.repository.files().items()
                if path.startswith(prefix)}

    # -- what WorkflowOps does -----------------------------------------------------------------------------------------

    @property
    def row(self) -> Row[Any]:
        """The environment as the store has it now."""
        return self.fleet.services.environment(self.fleet.context, self.slug)

    def sync(self) -> EnvironmentSync:
        return run(sync_environment(self.fleet.services, self.fleet.context, self.row))

    def read_git(self) -> RepositorySync:
        return run(sync_repository(self.fleet.services, self.fleet.context, self.row))

    def check(self, check_type: CheckType = "manual") -> DriftCheck:
        return run(check_drift(self.fleet.services, self.fleet.context, self.row, check_type=check_type))

    def compare(self) -> DriftCheck:
        return run(compare_stored(self.fleet.services, self.fleet.context, self.row))

    def export(self, **options: Any) -> Export:
        return run(export_environment(self.fleet.services, self.fleet.context, self.row, **options))

    def reconcile(self) -> Reconciliation:
        return run(reconcile(self.fleet.services, self.fleet.context, self.row))

    def in_sync(self, *workflows: Mapping[str, Any]) -> list[str]:
        """Given these workflows in n8n, exported to Git, and a check that found everything equal."""
        ids = self.create_in_n8n(*workflows)
        self.export()
        assert self.check().status == "IN_SYNC"
        return ids

    # -- what the store says -------------------------------------------------------------------------------------------

    def mappings(self) -> dict[str, Row[Any]]:
        """Mappings by n8n id."""
        with self.fleet.services.store.read(self.fleet.context) as work:
            return {row.workflow_id: row for row in work.mappings.of_environment(self._row_in(work).id)}

    def _row_in(self, work: UnitOfWork) -> Row[Any]:
        return next(row for row in work.fleet.environments() if row.slug == self.slug)

    def mapping(self, workflow_id: str) -> Row[Any]:
        return self.mappings()[workflow_id]

    def set_mapping(self, workflow_id: str, **values: Any) -> None:
        """Change a mapping behind the use cases' back."""
        row = self.mapping(workflow_id)
        self.fleet.writing(lambda work: work.mappings.change(row.id, **values))

    def git_states(self) -> dict[str, Row[Any]]:
        """Git states by path within the folder, those whose file is there."""
        with self.fleet.services.store.read(self.fleet.context) as work:
            environment = self._row_in(work)
            prefix = f"{environment.folder}/" if environment.folder else ""
            return {row.path.removeprefix(prefix): row for row in work.git_states.of_environment(environment.id)}

    def canonical(self, path: str) -> uuid.UUID:
        """The canonical workflow of a file."""
        found: uuid.UUID = self.git_states()[path].canonical_id
        return found

    def problems(self) -> dict[str, str]:
        """Why files are no workflows: reason by path within the folder."""
        return {row.path.removeprefix(f"{self.folder}/"): row.reason
                for row in self.fleet.reading(lambda work: work.git_states.errors(self.row.id))}

    def kinds(self, check: DriftCheck | None = None) -> dict[str, str]:
        """Drift by workflow name: the main kind."""
        return {w["name"]: w["kind"] for w in (check or self.check()).workflows}


@dataclass
class FleetUnderTest:
    """One tenant of a fleet with everything around it."""

    services: Services
    host: SandboxHost
    repository: BareRepository
    clock: Clock
    urls: Urls
    box: SecretBox
    home: Path
    slug: str = "acme"
    repository_url: str | None = None
    repository_options: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    environments: dict[str, Environment] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    _tenant_id: uuid.UUID | None = None

    def __getitem__(self, slug: str) -> Environment:
        return self.environments[slug]

    @property
    def context(self) -> Context:
        """The tenant's context, looked up once after each :meth:`apply`."""
        if self._tenant_id is None:
            self._tenant_id = self.services.context(self.slug, actor=ACTOR).tenant_id
        return self.services.context_of(self._tenant_id, self.slug, ACTOR)

    def declare(self, slugs: Sequence[str] = ("prod",), *, generation: int = 2, git: bool = True, **more: Any) -> None:
        """Start an n8n for each slug, and apply a fleet.yaml that declares them; ``more`` goes into the tenant."""
        environments = []
        for slug in slugs:
            sandbox, url = self.host.start_n8n(self.clock.now, generation=generation)
            self.environments[slug] = Environment(self, slug, sandbox, url)
            self.secrets[f"KEY_{slug.upper()}"] = sandbox.api_key
            environments.append({"slug": slug, "class": CLASSES.get(slug, "staging"), "url": url,
                                 "api_key": f"env:KEY_{slug.upper()}", **({"folder": slug} if git else {})})
        repository = {"url": self.repository_url or self.repository.url, "provider": "git", "branch": "main",
                      **self.repository_options}
        tenant: dict[str, Any] = {"slug": self.slug, "name": "Acme Corp", "plan": "agency", "environments": environments}
        if git:
            tenant["repository"] = repository
        self.document = {"version": 1, "tenants": [tenant | more]}
        self.apply()

    @property
    def tenant(self) -> dict[str, Any]:
        """The tenant's part of fleet.yaml: change it, then :meth:`apply`."""
        found: dict[str, Any] = self.document["tenants"][0]
        return found

    def declared(self, slug: str) -> dict[str, Any]:
        """An environment's part of fleet.yaml."""
        found: dict[str, Any] = next(e for e in self.tenant["environments"] if e["slug"] == slug)
        return found

    def resolve(self, reference: SecretReference) -> str:
        return self.secrets[reference.name]

    def apply(self, **options: Any) -> FleetPlan:
        """``wfops apply`` with the document as it stands."""
        self._tenant_id = None
        fleet = load_fleet(yaml.safe_dump(self.document), file="fleet.yaml", providers=["n8n"])
        return apply_fleet(self.services, fleet, self.resolve, actor=ACTOR, **options)

    def with_limits(self, **limits: Any) -> None:
        """Other sizes and times from now on."""
        self.services = replace(self.services, limits=replace(self.services.limits, **limits))

    def with_sender(self, sender: Sender) -> None:
        """Another way to send messages from now on."""
        self.services = replace(self.services, sender=sender)

    def push_meanwhile(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        """Somebody pushes right before we do, so many times."""
        left = [times]

        def reach(name: str) -> None:
            if name == "export.before_write" and left[0]:
                left[0] -= 1
                self.repository.commit({f"other-{left[0]}.txt": b"theirs"})
        monkeypatch.setattr(failpoints, "reach", reach)

    # -- the audit trail and operations ------------------------------------------------------------------------------

    def events(self, action: str | None = None) -> list[Any]:
        """Audit events in order, of one action or all."""
        with self.services.store.read(self.context) as work:
            events = [decode(encoded) for _, _, _, encoded in work.audit.chain()]
        return [event for event in events if action in (None, event.action)]

    def actions(self) -> Counter[str]:
        """How often each kind of event was recorded."""
        return Counter(event.action for event in self.events())

    def chain_verifies(self) -> bool:
        """Whether the audit chain is whole."""
        return verify_tenant(self.services, self.context).ok

    def operations(self) -> list[Row[Any]]:
        """All operations, oldest first."""
        with self.services.store.read(self.context) as work:
            return work.operations.recent(limit=1000)[::-1]

    def reading(self, look: Callable[[Any], T]) -> T:
        """What ``look(work)`` finds in the store."""
        with self.services.store.read(self.context) as work:
            return look(work)

    def writing(self, change: Callable[[Any], Any]) -> None:
        """Change the store behind the use cases' back."""
        with self.services.store.bookkeeping(self.context, "test") as work:
            change(work)

    def nobody_beats(self) -> None:
        """Whoever held an environment and said nothing since then is taken for dead: time passes."""
        self.writing(lambda work: work.connection.execute(text(
            "UPDATE environment_leases SET heartbeat_at = heartbeat_at - interval '1 day' WHERE released_at IS NULL")))


def commits(fleet: FleetUnderTest, branch: str = "main") -> int:
    return int(fleet.repository.text("rev-list", "--count", branch)) if fleet.repository.head(branch) else 0


class NewFleet(Protocol):
    """The fixture ``new_fleet``."""

    def __call__(self, slugs: Any = ("prod",), **options: Any) -> FleetUnderTest:
        """A tenant with an n8n per slug and an empty repository, applied."""

    def as_left_by(self, build: Callable[[NewFleet], FleetUnderTest]) -> FleetUnderTest:
        """The fleet as ``build(new_fleet)`` leaves it: built once per process, and gone back to (``moments``)."""


def services_over(urls: Urls, box: SecretBox, home: Path, clock: Clock, *, batch_size: int = 25) -> Services:
    """The use cases over a database: real clients, short waits, the test's time."""
    settings = Settings(home=home, secret_key=SecretStr("unused"), lease_wait_seconds=0.2, request_attempts=1,
                        connect_timeout_seconds=5, read_timeout_seconds=20, sync_batch_size=batch_size)
    made = build_services(settings, share_statements(Store(StoreUrls(urls.owner, urls.app, urls.system), box)))
    return replace(made, now=clock.now, limits=replace(made.limits, write_backoff=0.0))
