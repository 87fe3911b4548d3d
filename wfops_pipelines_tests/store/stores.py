"""Stores, tenants and environments for the tests of this room."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

from wfops_pipelines.domain.context import Context
from wfops_pipelines.store import installation, migrate
from wfops_pipelines.store.engine import StoreUrls, open_engine
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.servers.postgres import TEST_KEY

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOX = SecretBox([TEST_KEY])


def prepared(owner_url: str) -> None:
    """Migrate, and store an audit key."""
    migrate.upgrade(owner_url)
    owner = open_engine(owner_url, pool_size=1)
    installation.ensure_audit_key(owner, BOX, os.urandom(32))
    owner.dispose()


def open_store(urls: Urls, box: SecretBox = BOX, *, pool_size: int = 8) -> Store:
    return Store(StoreUrls(urls.owner, urls.app, urls.system), box, pool_size=pool_size)


def context_for(tenant_id: UUID, slug: str, now: Callable[[], datetime] = lambda: NOON) -> Context:
    return Context(tenant_id=tenant_id, tenant_slug=slug, actor="local:ada", now=now, new_id=uuid4)


def new_tenant(store: Store) -> Context:
    """Create a tenant; its audit chain then holds one event."""
    tenant_id = uuid4()
    context = context_for(tenant_id, f"t{tenant_id.hex}")
    with store.unit_of_work(context, "test.tenant") as work:
        work.fleet.save_tenant(slug=context.tenant_slug, name="Acme")
        work.record("tenant.created", "tenant", context.tenant_slug)
    return context


def new_environment(store: Store, context: Context, slug: str = "prod") -> UUID:
    """Create an environment of a tenant."""
    environment_id = uuid4()
    with store.unit_of_work(context, "test.environment") as work:
        work.fleet.save_environment(id=environment_id, slug=slug, name=slug, base_url="http://127.0.0.1:1",
                                    api_key_secret=f"environment/{slug}/api_key", **{"class": "production"})
        work.record("environment.created", "environment", slug, environment=slug)
    return environment_id


def new_operation(store: Store, context: Context, environment_id: UUID | None = None) -> UUID:
    """Create a queued operation."""
    operation_id = uuid4()
    with store.bookkeeping(context, "test.operation") as work:
        work.operations.create(operation_id, "environment_sync", environment_id=environment_id, actor=context.actor,
                               run_id=None, now=NOON)
    return operation_id
