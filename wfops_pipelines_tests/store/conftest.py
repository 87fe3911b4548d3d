"""A migrated store that the tests of a worker share: each test makes tenants of its own, which keep them apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.context import Context
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.servers.postgres import PostgresServer
from wfops_pipelines_tests.store.stores import new_tenant, open_store, prepared


@pytest.fixture(scope="session")
def store_urls(postgres_server: PostgresServer) -> Iterator[Urls]:
    """A database with the schema and an audit key."""
    urls = postgres_server.create_database(prepared)
    yield urls
    postgres_server.drop_database(urls.owner)


@pytest.fixture(scope="session")
def store(store_urls: Urls) -> Iterator[Store]:
    """The store of this worker."""
    store = open_store(store_urls)
    yield store
    store.close()


@pytest.fixture
def acme(store: Store) -> Context:
    """The context of a new tenant."""
    return new_tenant(store)


@pytest.fixture
def globex(store: Store) -> Context:
    """The context of another new tenant."""
    return new_tenant(store)


@pytest.fixture(autouse=True)
def _nothing_armed() -> Iterator[None]:
    yield
    failpoints.disarm()
