"""What `wfops doctor` looks at beyond this machine: each environment and each repository, all at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines import calls
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Broken, WfopsError
from wfops_pipelines.domain.fleet import DEFAULT_REPOSITORY
from wfops_pipelines.n8n.provider import Health
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sync_repository import branch_gone
from wfops_pipelines.unwaited import in_own_thread

log = logging.getLogger("wfops.doctor")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``fix`` is the way out where it is not well."""

    check: str
    ok: bool
    message: str
    fix: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"check": self.check, "ok": self.ok, "message": self.message, **({"fix": self.fix} if self.fix else {})}

    @classmethod
    def of_error(cls, check: str, error: WfopsError) -> Finding:
        """A check that failed with one of our errors."""
        return cls(check, False, error.message, error.fix)


async def check_fleet(services: Services, *, actor: str) -> list[Finding]:
    """Every environment (reachable, key accepted, generation), and every repository with each branch that is read of it
    (readable, branch there), once."""
    gate = asyncio.Semaphore(services.limits.sweep_concurrency)
    targets, sources = await asyncio.to_thread(_targets, services, actor)

    async def found(check: str, looking: Callable[[], Awaitable[Finding]]) -> Finding:
        async with gate:
            try:
                return await looking()
            except Exception as error:  # the others are shown all the same
                log.exception("%s could not be looked at", check)
                return Finding.of_error(check, Broken.by(error))

    return await asyncio.gather(
        *(found(_name_of(context, row), partial(_environment, services, context, row)) for context, row in targets),
        *(found(source.name, partial(in_own_thread, _read_head, services, source)) for source in sources))


@dataclass(frozen=True, slots=True)
class _Source:
    """A branch of a repository, with the first of the environments that are read from it, and how to call it: the tenant's
    own is named by the tenant, one that only some environments have by those. ``last`` is the head that one of them was
    read at, if any was."""

    context: Context
    environment: Row[Any]
    name: str
    last: str | None


def _targets(services: Services, actor: str) -> tuple[list[tuple[Context, Row[Any]]], list[_Source]]:
    with services.store.system() as system:
        slugs = [row.slug for row in system.tenants()]
    targets: list[tuple[Context, Row[Any]]] = []
    sources: list[_Source] = []
    for slug in slugs:
        context = services.context(slug, actor=actor)
        with services.store.read(context) as work:
            rows, repositories = work.fleet.environments(), work.fleet.repositories()
        targets += [(context, row) for row in rows]
        sources += _sources(services, context, rows, repositories)
    return targets, sources


def _sources(services: Services, context: Context, rows: Sequence[Row[Any]],
             repositories: Mapping[UUID, Row[Any]]) -> Iterator[_Source]:
    """The branches that a tenant's environments are read from, in the order of the environments."""
    read: dict[tuple[UUID, str], list[Row[Any]]] = {}
    for row in rows:
        if row.repository_id is not None:
            branch = row.branch or repositories[row.repository_id].branch
            read.setdefault((row.repository_id, branch), []).append(row)
    for (repository_id, branch), environments in read.items():
        repository = repositories[repository_id]
        shared = repository.name == DEFAULT_REPOSITORY and branch == repository.branch
        name = context.tenant_slug if shared else f"{context.tenant_slug}/{','.join(e.slug for e in environments)}"
        last = next((row.git_commit for row in environments if row.git_commit is not None
                     and row.git_source == services.source_key(row, repository)), None)
        yield _Source(context, environments[0], f"repository {name}", last)


def _name_of(context: Context, environment: Row[Any]) -> str:
    return f"environment {context.tenant_slug}/{environment.slug}"


async def _environment(services: Services, context: Context, environment: Row[Any]) -> Finding:
    check = _name_of(context, environment)
    try:
        provider = await asyncio.to_thread(services.provider_of, context, environment)
        try:
            return _of_health(check, await provider.health(), context, environment)
        finally:
            await provider.aclose()
    except WfopsError as error:
        return Finding.of_error(check, error)


def _of_health(check: str, health: Health, context: Context, environment: Row[Any]) -> Finding:
    where = environment.base_url
    if not health.reachable:
        return Finding(check, False, health.message or f"{where} is not reachable",
                       "is n8n running there, and the url in fleet.yaml right?")
    if health.key_valid is False:
        return Finding(check, False, f"{where} refuses the API key",
                       f"make a key in n8n (Settings, n8n API), and apply it as api_key of {context.tenant_slug}/"
                       f"{environment.slug}")
    if health.problem is not None:
        return Finding(check, False, health.message or f"{where}: {health.problem}", "look at n8n's own log")
    latency = f", {health.latency * 1000:.0f} ms" if health.latency is not None else ""
    return Finding(check, True, f"n8n {health.generation}.x at {where}, key accepted{latency}")


def _read_head(services: Services, source: _Source) -> Finding:
    calls.end_by(time.monotonic() + services.limits.poll_patience)  # as long as the poll waits for it
    try:
        opened = services.repository_of(source.context, source.environment)
        if opened is None:
            return Finding(source.name, True, "not configured any more")
        repository, branch, _ = opened
        try:
            head = repository.head(branch)
        finally:
            repository.close()
    except WfopsError as error:
        return Finding.of_error(source.name, error)
    if head is None and source.last is not None:
        return Finding.of_error(source.name, branch_gone(repository, branch, source.last))
    state = f"readable, head {head[:10]}" if head else "readable, the branch is not there yet"
    return Finding(source.name, True, f"{repository.display_url} {branch}: {state}")
