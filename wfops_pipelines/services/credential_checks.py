"""Whether the credentials that the table names are in each environment's n8n, and what workflows use beside (§11.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.credential_presence import CredentialPresence, find_credential
from wfops_pipelines.domain.errors import Refused, WfopsError
from wfops_pipelines.domain.gate_facts import CannotBeListed, CredentialUse, TargetCredential
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.domain.references import references
from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.n8n.provider import WorkflowProvider
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

_LIVE: Final = (MappingStatus.LINKED, MappingStatus.UNTRACKED, MappingStatus.IGNORED)
_BATCH: Final = 100  # contents held at once


@dataclass(frozen=True, slots=True)
class CheckedCredential:
    """A row of the credential table; ``presence`` is none where the environment's n8n does not tell."""

    use: CredentialUse
    presence: CredentialPresence | None


@dataclass
class CredentialCheck:
    """What was found in one environment. ``not_listed`` says why its n8n does not tell what it has; ``unmapped`` are
    credentials that its workflows use (as of the last sync, ``synced_at``) and no key stands for; ``expected`` those that
    workflows use where a stage leads here from, and whose key has no name here."""

    tenant: str
    environment: str
    credentials: list[CheckedCredential] = field(default_factory=list)
    unmapped: list[CredentialUse] = field(default_factory=list)
    expected: list[CredentialUse] = field(default_factory=list)
    not_listed: str | None = None
    synced_at: str | None = None
    error: WfopsError | None = None

    @property
    def missing(self) -> bool:
        """Whether something is not there, or not clear, or has no key or no name."""
        return bool(self.unmapped or self.expected) or any(
            each.presence not in (None, CredentialPresence.PRESENT) for each in self.credentials)

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {
            "tenant": self.tenant, "environment": self.environment, "not_listed": self.not_listed,
            "synced_at": self.synced_at,
            "credentials": [{**_json(each.use), "key": each.use.key, "id": each.use.id,
                             "presence": None if each.presence is None else str(each.presence)}
                            for each in self.credentials],
            "unmapped": [_json(use) for use in self.unmapped],
            "expected": [{"key": use.key, "type": use.type, "used_by": list(use.used_by)} for use in self.expected],
            "missing": self.missing,
        }


async def check_credentials(services: Services, context: Context,
                            environments: Sequence[Row[Any]]) -> list[CredentialCheck]:
    """Ask each environment's n8n, all at once. An environment that cannot be asked has its ``error``."""
    gate = asyncio.Semaphore(services.limits.sweep_concurrency)

    async def check(environment: Row[Any]) -> CredentialCheck:
        async with gate:
            return await _check(services, context, environment)

    return await asyncio.gather(*(check(environment) for environment in environments))


async def credentials_of(provider: WorkflowProvider) -> tuple[TargetCredential, ...] | CannotBeListed:
    """The credentials that a server has, without their data; why it does not tell, where it does not: 1.x has no such
    listing, and a key of 2.x may lack the scope."""
    server = await provider.server()
    if not server.lists_credentials:
        return CannotBeListed()
    try:
        found = await provider.list_credentials()
    except Refused as error:
        if error.status != 403:  # 401: the key is none at all
            raise
        return CannotBeListed(error.message)
    return tuple(TargetCredential(str(each["id"]), str(each["type"]), str(each["name"])) for each in found)


async def _check(services: Services, context: Context, environment: Row[Any]) -> CredentialCheck:
    check = await asyncio.to_thread(_stored, services, context, environment)
    try:
        provider = await asyncio.to_thread(services.provider_of, context, environment)
        try:
            present = await credentials_of(provider)
        finally:
            await provider.aclose()
    except WfopsError as error:
        check.error = error
        return check
    if isinstance(present, CannotBeListed):
        check.not_listed = present.reason
    else:
        check.credentials = [CheckedCredential(each.use, find_credential(each.use, present)) for each in check.credentials]
    return check


def _stored(services: Services, context: Context, environment: Row[Any]) -> CredentialCheck:
    """What the table and the workflows say, before n8n is asked."""
    with services.store.read(context) as work:
        table = work.fleet.credentials()
        rows = [row for row in table if row.environment_id == environment.id]
        used = used_credentials(work, environment)
        expected = list(_expected(work, environment, table))
    mapped = {(row.type, row.name) for row in rows}
    synced = environment.last_sync_at
    return CredentialCheck(
        context.tenant_slug, environment.slug,
        [CheckedCredential(CredentialUse(row.key, row.type, row.name, row.credential_id,
                                         tuple(used.get((row.type, row.name), ()))), None) for row in rows],
        [CredentialUse("", kind, name, None, tuple(by)) for (kind, name), by in sorted(used.items())
         if (kind, name) not in mapped],
        expected, synced_at=None if synced is None else synced.isoformat())


def _expected(work: UnitOfWork, environment: Row[Any], table: Sequence[Row[Any]]) -> Iterator[CredentialUse]:
    """What a promotion to here would ask for and not find in the table."""
    here = {row.key for row in table if row.environment_id == environment.id}
    sources = {stage.source_environment_id for stage in work.fleet.stages() if stage.target_environment_id == environment.id}
    users: dict[tuple[str, str], list[str]] = {}
    for source in work.fleet.environments():
        rows = [row for row in table if row.environment_id == source.id and row.key not in here]
        if source.id in sources and rows:
            used = used_credentials(work, source)
            for row in rows:
                by = [f"{name} ({source.slug})" for name in used.get((row.type, row.name), ())]
                users.setdefault((row.key, row.type), []).extend(by)
    yield from (CredentialUse(key, kind, None, None, tuple(by)) for (key, kind), by in users.items() if by)


def used_credentials(work: UnitOfWork, environment: Row[Any]) -> dict[tuple[str, str], list[str]]:
    """By type and name, the names of the workflows that use a credential, as of the last sync. Archived workflows and those
    that are gone use none."""
    rows = [row for row in work.mappings.of_environment(environment.id, statuses=_LIVE)
            if row.missing_at is None and not row.archived]
    used: dict[tuple[str, str], list[str]] = {}
    for row, named in _named(work, rows):
        for each in named:
            used.setdefault(each, []).append(row.name)
    return used


def _named(work: UnitOfWork, rows: Sequence[Row[Any]]) -> Iterator[tuple[Row[Any], Collection[tuple[str, str]]]]:
    for start in range(0, len(rows), _BATCH):
        batch = rows[start:start + _BATCH]
        bodies = work.payloads.load({row.live_digest for row in batch})
        for row in batch:
            yield row, references(decode_content(bodies[row.live_digest])).credentials


def _json(use: CredentialUse) -> dict[str, Any]:
    return {"type": use.type, "name": use.name, "used_by": list(use.used_by)}
