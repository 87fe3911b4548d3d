"""What every use case is given: the store, ways to n8n and Git, time, and the limits of this installation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import SecretUnreadable, UnknownEnvironment, UnknownTenant, UsageError
from wfops_pipelines.git.repository import GitHubApp, OpenRepository, Repository, RepositorySource
from wfops_pipelines.n8n.provider import Connection, WorkflowProvider
from wfops_pipelines.notify.apprise_sender import AppriseSender
from wfops_pipelines.notify.sender import Sender
from wfops_pipelines.store.secrets import naming
from wfops_pipelines.store.unit_of_work import Store, UnitOfWork


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes and times, as settings give them. Times in seconds."""

    batch_size: int = 25
    page_size: int = 250
    sweep_concurrency: int = 16
    instance_concurrency: int = 4
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    answer_timeout: float = 600.0  # of n8n, for a whole answer
    request_attempts: int = 4
    lease_wait: float = 5.0
    lease_stale: float = 60.0
    heartbeat: float = 5.0
    send_concurrency: int = 8
    send_lease: float = 90.0
    write_backoff: float = 0.5  # before the second attempt of a write to n8n; doubles
    sweep_patience: float = 10.0  # seconds without an answer after which a sweep gives up on an n8n, or a Git server
    sweep_in_flight: int = 32  # looks at once; those that hang hold no place
    sweep_window: int = 600  # environments under way, those that hang among them
    sweep_chunk: int = 100  # environments claimed, and recorded, together
    poll_patience: float = 30.0  # seconds after which the repository poll gives up on a head
    longest_run: float = 3600.0  # of an operation; 0 for as long as it takes
    longest_runs: Mapping[str, float] = field(default_factory=dict)  # by kind, where it is not that
    operation_attempts: int = 3  # of one that a transient error cut off after it had stored something
    operation_backoff: float = 2.0  # before the second attempt; doubles

    def longest(self, kind: str) -> float:
        """How long an operation of a kind may run; 0 for as long as it takes."""
        return self.longest_runs.get(kind, self.longest_run)


@dataclass(frozen=True)
class Services:
    """The collaborators of the use cases, made once per process by ``bootstrap``."""

    store: Store
    open_provider: Callable[[Connection], WorkflowProvider]
    open_repository: OpenRepository
    tenants_root: Path
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]
    limits: Limits = field(default_factory=Limits)
    sender: Sender = field(default_factory=AppriseSender)
    base_url: str | None = None  # of the Dagster UI, for links

    def context(self, tenant: str, *, actor: str, run_id: str | None = None, step: str | None = None) -> Context:
        """A context for a tenant by slug; :class:`UnknownTenant` names those there are when it is a mistake."""
        with self.store.system() as system:
            row = system.tenant(tenant)
            if row is None:
                known = [t.slug for t in system.tenants()]
                raise UnknownTenant(f"there is no tenant {tenant!r}", fix=_suggest(known, "tenants"))
        return self.context_of(row.tenant_id, row.slug, actor, run_id=run_id, step=step)

    def context_of(self, tenant_id: UUID, tenant_slug: str, actor: str, *, run_id: str | None = None,
                   step: str | None = None) -> Context:
        """A context for a tenant that is known: whoever goes through the tenants of the store has a row of each."""
        return Context(tenant_id=tenant_id, tenant_slug=tenant_slug, actor=actor, now=self.now, new_id=self.new_id,
                       run_id=run_id, step=step, base_url=self.base_url)

    def environments(self, context: Context, slugs: list[str] | None = None) -> list[Row[Any]]:
        """The tenant's environments, or those named; :class:`UnknownEnvironment` for a name it does not have."""
        with self.store.read(context) as work:
            rows = work.fleet.environments()
        if not slugs:
            return rows
        by_slug = {row.slug: row for row in rows}
        for slug in slugs:
            if slug not in by_slug:
                raise UnknownEnvironment(f"tenant {context.tenant_slug} has no environment {slug!r}",
                                         fix=_suggest(list(by_slug), "environments"))
        return [by_slug[slug] for slug in dict.fromkeys(slugs)]

    def environment(self, context: Context, slug: str) -> Row[Any]:
        """One environment by slug."""
        return self.environments(context, [slug])[0]

    def provider_of(self, context: Context, environment: Row[Any]) -> WorkflowProvider:
        """A client for the environment's engine, with its key from the store."""
        with self.store.read(context) as work:
            return self.provider_within(work, environment)

    def provider_within(self, work: UnitOfWork, environment: Row[Any]) -> WorkflowProvider:
        """The same for whoever reads more of the store at once."""
        return self._provider(work.context, environment, work.fleet.secret(environment.api_key_secret))

    def provider_with(self, context: Context, environment: Row[Any], token: str | None) -> WorkflowProvider:
        """The same with the key as the store holds it, encrypted: for those who read many at once."""
        with naming(f"secret {environment.api_key_secret}"):
            key = None if token is None else self.store.secrets.decrypt(token)
        return self._provider(context, environment, key)

    def _provider(self, context: Context, environment: Row[Any], key: str | None) -> WorkflowProvider:
        if key is None:
            raise SecretUnreadable(f"environment {context.tenant_slug}/{environment.slug} has no API key",
                                   fix="set api_key in fleet.yaml and run `wfops apply`")
        verify: bool | str = True if environment.verify_tls is None else environment.verify_tls
        return self.open_provider(Connection(
            base_url=environment.base_url, api_key=key, provider=environment.provider,
            verify_tls=False if verify == "false" else verify,
            connect_timeout=self.limits.connect_timeout, read_timeout=self.limits.read_timeout,
            answer_timeout=self.limits.answer_timeout,
            max_concurrency=self.limits.instance_concurrency, attempts=self.limits.request_attempts,
        ))

    def repository_of(self, context: Context, environment: Row[Any]) -> tuple[Repository, str, str] | None:
        """The environment's repository, opened, with its branch and folder; none if it has none configured."""
        if environment.repository_id is None:
            return None
        with self.store.read(context) as work:
            declared = self.declared_repository(work, environment)
        return self.repository_as(context, environment, *declared)

    def declared_repository(self, work: UnitOfWork, environment: Row[Any]) -> tuple[Row[Any], str | None]:
        """The row of the environment's repository, which it has, and the secret: what :meth:`repository_as` opens."""
        row = work.fleet.repository(environment.repository_id)
        return row, work.fleet.secret(row.secret_name) if row.secret_name else None

    def repository_as(self, context: Context, environment: Row[Any], row: Row[Any],
                      secret: str | None) -> tuple[Repository, str, str]:
        """:meth:`repository_of` for whoever has read what is declared of it."""
        app = None
        if row.github_app:
            if secret is None:
                raise UsageError(f"repository {row.url} names a GitHub App without its private key",
                                 fix="set github_app.private_key in fleet.yaml")
            app = GitHubApp(row.github_app["app_id"], row.github_app["installation_id"], secret)
        source = RepositorySource(url=row.url, provider=row.provider, secret=None if app else secret,
                                  api_url=row.api_url, github_app=app)
        cache = self.tenants_root / context.tenant_slug / "git"
        return (self.open_repository(source, cache=cache), environment.branch or row.branch, environment.folder or "")

    def head_of(self, context: Context, environment: Row[Any]) -> str | None:
        """The commit that the environment's branch stands at, none without branch or repository; raises what Git says."""
        opened = self.repository_of(context, environment)
        if opened is None:
            return None
        repository, branch, _ = opened
        try:
            return repository.head(branch)
        finally:
            repository.close()

    def source_key(self, environment: Row[Any], repository: Row[Any]) -> str:
        """What the environment's Git content is read from; when it changes, the last head means nothing any more."""
        return (f"{repository.provider}|{repository.url}|{environment.branch or repository.branch}|"
                f"{environment.folder or ''}")


def _suggest(known: list[str], what: str) -> str:
    if not known:
        return f"there are no {what} yet: `wfops apply -f fleet.yaml` makes them"
    shown = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
    return f"{what}: {shown}"
