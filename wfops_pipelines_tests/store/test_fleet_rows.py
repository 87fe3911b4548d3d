"""Rows of what is declared."""

from __future__ import annotations

from uuid import uuid4

import pytest

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UnknownEnvironment
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.store.stores import new_environment


def test_an_environment_that_is_gone_is_an_error_of_ours_that_names_it(store: Store, acme: Context) -> None:
    gone = uuid4()
    with store.read(acme) as work, pytest.raises(UnknownEnvironment, match=str(gone)) as caught:
        work.fleet.environment(gone)
    assert "wfops tenants" in str(caught.value.fix)


def test_an_environment_of_another_tenant_is_none(store: Store, acme: Context, globex: Context) -> None:
    environment_id = new_environment(store, globex)
    with store.read(acme) as work, pytest.raises(UnknownEnvironment):
        work.fleet.environment(environment_id)
    with store.read(globex) as work:
        assert work.fleet.environment(environment_id).slug == "prod"
