"""Changing by hand what fleet.yaml may declare too: drift policies, the credential table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wfops_pipelines.domain.context import Context
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork


@contextmanager
def declaring(services: Services, context: Context, name: str, *, dry_run: bool) -> Iterator[UnitOfWork]:
    """A unit of work in which the tenant's declarations can be changed: one at a time does, by hand or by ``wfops apply``,
    since they are stored as a whole. With ``dry_run`` one that only reads."""
    if dry_run:
        with services.store.read(context) as work:
            yield work
        return
    with services.store.system() as system:
        system.lock_slug(context.tenant_slug)
        with services.store.bookkeeping(context, name) as work:
            yield work
