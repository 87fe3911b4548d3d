"""What `wfops doctor` looks at beyond this machine: each environment and each repository, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.n8n.provider import Health
from wfops_pipelines.services.services import Services


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
    """Every environment (reachable, key accepted, generation) and every repository (readable, branch there)."""
    gate = asyncio.Semaphore(services.limits.sweep_concurrency)
    targets = await asyncio.to_thread(_targets, services, actor)

    async def both(context: Context, environment: Row[Any]) -> list[Finding]:
        async with gate:
            return list(await asyncio.gather(_environment(services, context, environment),
                                             _repository(services, context, environment)))

    found = await asyncio.gather(*(both(context, environment) for context, environment in targets))
    environments = [pair[0] for pair in found]
    repositories = {finding.check: finding for pair in found for finding in pair[1:] if finding.check}
    return environments + list(repositories.values())


def _targets(services: Services, actor: str) -> Sequence[tuple[Context, Row[Any]]]:
    with services.store.system() as system:
        slugs = [row.slug for row in system.tenants()]
    targets: list[tuple[Context, Row[Any]]] = []
    for slug in slugs:
        context = services.context(slug, actor=actor)
        targets += [(context, row) for row in services.environments(context)]
    return targets


async def _environment(services: Services, context: Context, environment: Row[Any]) -> Finding:
    check = f"environment {context.tenant_slug}/{environment.slug}"
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


async def _repository(services: Services, context: Context, environment: Row[Any]) -> Finding:
    if environment.repository_id is None:
        return Finding("", True, "not configured")
    return await asyncio.to_thread(_read_head, services, context, environment)


def _read_head(services: Services, context: Context, environment: Row[Any]) -> Finding:
    check = f"repository {context.tenant_slug}/{environment.slug}"
    try:
        opened = services.repository_of(context, environment)
        if opened is None:
            return Finding("", True, "not configured")
        repository, branch, _ = opened
        check = f"repository {context.tenant_slug}: {repository.display_url} {branch}"
        try:
            head = repository.head(branch)
        finally:
            repository.close()
    except WfopsError as error:
        return Finding.of_error(check, error)
    return Finding(check, True, f"readable, head {head[:10]}" if head else "readable, the branch is not there yet")
