"""Pushes as rows: deliveries of webhooks, heads of branches as last seen, refreshes that were asked for (§7, §21)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, and_, case, func, literal, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from wfops_pipelines.store.any_of import any_of
from wfops_pipelines.store.tables.fleet import environments, repositories, tenants
from wfops_pipelines.store.tables.pauses import installation_pause, tenant_pauses
from wfops_pipelines.store.tables.pushes import refresh_requests as requests
from wfops_pipelines.store.tables.pushes import repository_heads as heads
from wfops_pipelines.store.tables.pushes import webhook_deliveries as deliveries


class Pushes:
    """A tenant's deliveries, heads and requests."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def add_delivery(self, **values: Any) -> bool:
        """Keep a delivery; false when it is there already, by the sender's id or by its bytes."""
        return self._connection.execute(
            insert(deliveries).values(tenant_id=self._tenant_id, **values).on_conflict_do_nothing()
            .returning(deliveries.c.id)).one_or_none() is not None

    def delivery(self, repository_id: UUID, hook_id: str, delivery_id: str, body_digest: str) -> Row[Any] | None:
        """The one that is there already."""
        return self._connection.execute(select(deliveries).where(
            deliveries.c.tenant_id == self._tenant_id, deliveries.c.repository_id == repository_id,
            or_(and_(deliveries.c.hook_id == hook_id, deliveries.c.delivery_id == delivery_id),
                deliveries.c.body_digest == body_digest)).order_by(deliveries.c.received_at).limit(1)).one_or_none()

    def deliveries(self, *, limit: int = 50) -> list[Row[Any]]:
        """The newest."""
        return list(self._connection.execute(
            select(deliveries).where(deliveries.c.tenant_id == self._tenant_id)
            .order_by(deliveries.c.received_at.desc(), deliveries.c.id.desc()).limit(limit)))

    def launched(self, ids: Collection[UUID], run_id: str | None, now: datetime) -> None:
        """A run looks at what they touched."""
        self._connection.execute(update(deliveries).where(
            deliveries.c.tenant_id == self._tenant_id, any_of(deliveries.c.id, list(ids)), deliveries.c.status == "received",
        ).values(status="launched", run_id=run_id, launched_at=now))

    def refused(self, environment_ids: Collection[UUID], now: datetime) -> None:
        """A pause refused their refreshes, whoever asked for them."""
        statement = insert(requests).values([
            {"tenant_id": self._tenant_id, "environment_id": environment_id, "asked_by": "poll", "asked_at": now,
             "refused_at": now} for environment_id in environment_ids])
        self._connection.execute(statement.on_conflict_do_update(
            index_elements=["tenant_id", "environment_id"], set_={"refused_at": statement.excluded.refused_at}))

    def asked_again(self, environment_ids: Collection[UUID], *, now: datetime, run_id: str | None) -> None:
        """What was refused until now is looked after, by a run if it is known."""
        self._connection.execute(update(requests).where(
            requests.c.tenant_id == self._tenant_id, any_of(requests.c.environment_id, list(environment_ids)),
            requests.c.refused_at <= now).values(refused_at=None, asked_at=now, run_id=run_id))

    def ask(self, asked: Mapping[UUID, str | None], *, by: str, now: datetime, run_id: str | None) -> None:
        """Note that refreshes of environments were asked for, each with the head its branch is to be read at. ``now`` is
        when that was begun: their run may have been refused already."""
        if not asked:
            return
        statement = insert(requests).values([
            {"tenant_id": self._tenant_id, "environment_id": environment_id, "head": head, "asked_by": by, "asked_at": now,
             "run_id": run_id} for environment_id, head in asked.items()])
        new = statement.excluded
        again = requests.c.head.is_not_distinct_from(new.head)
        self._connection.execute(statement.on_conflict_do_update(
            index_elements=["tenant_id", "environment_id"],
            set_={"head": new.head, "asked_by": new.asked_by, "asked_at": new.asked_at, "run_id": new.run_id,
                  "refused_at": case((requests.c.refused_at > new.asked_at, requests.c.refused_at), else_=None),
                  "attempts": case((again, requests.c.attempts + 1), else_=1)}))

    def head(self, repository_id: UUID, branch: str, *, lock: bool = False) -> Row[Any] | None:
        """What is known of a branch."""
        query = select(heads).where(heads.c.tenant_id == self._tenant_id, heads.c.repository_id == repository_id,
                                    heads.c.branch == branch)
        return self._connection.execute(query.with_for_update() if lock else query).one_or_none()

    def save_head(self, repository_id: UUID, branch: str, **values: Any) -> None:
        """Note what a look said."""
        statement = insert(heads).values(tenant_id=self._tenant_id, repository_id=repository_id, branch=branch, **values)
        self._connection.execute(statement.on_conflict_do_update(
            index_elements=["tenant_id", "repository_id", "branch"],
            set_={name: statement.excluded[name] for name in values}))

    def could_not_read(self, repository_id: UUID, branch: str, now: datetime) -> None:
        """Note that what stands on a branch could not be read; looks at its head are another thing."""
        statement = insert(heads).values(tenant_id=self._tenant_id, repository_id=repository_id, branch=branch,
                                         unread_since=now, next_look_at=now)
        self._connection.execute(statement.on_conflict_do_update(
            index_elements=["tenant_id", "repository_id", "branch"],
            set_={"unread_since": func.coalesce(heads.c.unread_since, statement.excluded.unread_since)}))

    def was_read(self, repository_id: UUID, branch: str) -> None:
        """Note that it could be read again."""
        self._connection.execute(update(heads).where(
            heads.c.tenant_id == self._tenant_id, heads.c.repository_id == repository_id, heads.c.branch == branch,
            heads.c.unread_since.is_not(None)).values(unread_since=None))

    def look_again(self, now: datetime) -> None:
        """Look now at the branches that could not be read: their address or token may be another one."""
        self._connection.execute(update(heads).where(
            heads.c.tenant_id == self._tenant_id, heads.c.failures > 0).values(next_look_at=now))


_NOT_PAUSED = (
    ~select(literal(1)).where(tenant_pauses.c.tenant_id == tenants.c.tenant_id,
                              tenant_pauses.c.resumed_at.is_(None)).correlate(tenants).exists(),
    ~select(literal(1)).where(installation_pause.c.resumed_at.is_(None)).select_from(installation_pause).exists())


class PushReads:
    """The same across tenants, for whoever does not know yet whose they are."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def repositories(self, paths: Sequence[str]) -> list[Row[Any]]:
        """Repositories of living tenants whose address ends with one of these paths (lower case, without ``.git``):
        ``tenant_slug``, ``id``, ``name``, ``url``, ``branch``, ``webhook_secret``, ``github_app``. Whole names alone count:
        who may name any path cannot have every row read by naming a letter."""
        if not paths:
            return []
        address = func.lower(func.regexp_replace(func.rtrim(repositories.c.url, "/"), r"/*\.git$", ""))
        ends = [func.right(address, len(path) + 1).in_([f"/{path}", f":{path}", path]) for path in paths]
        return list(self._connection.execute(
            select(repositories, tenants.c.slug.label("tenant_slug"))
            .join(tenants, tenants.c.tenant_id == repositories.c.tenant_id)
            .where(tenants.c.deleted_at.is_(None), or_(*ends))
            .order_by(tenants.c.slug, repositories.c.name)))

    def waiting(self, *, before: datetime | None = None, limit: int = 1000) -> list[Row[Any]]:
        """Deliveries that no run was launched for yet, with ``tenant_slug``: of each tenant in turn the one that waits
        longest; ``before`` leaves out those that came later. Those of tenants that are paused wait for the end of that
        (§20)."""
        query = (select(deliveries, tenants.c.slug.label("tenant_slug"))
                 .join(tenants, tenants.c.tenant_id == deliveries.c.tenant_id)
                 .where(text("webhook_deliveries.status = 'received'"), tenants.c.deleted_at.is_(None), *_NOT_PAUSED))
        if before is not None:
            query = query.where(deliveries.c.received_at < before)
        turn = func.row_number().over(partition_by=deliveries.c.tenant_id,
                                      order_by=(deliveries.c.received_at, deliveries.c.id))
        return list(self._connection.execute(
            query.order_by(turn, deliveries.c.received_at, deliveries.c.id).limit(limit)))

    def refused(self, *, before: datetime | None = None) -> list[Row[Any]]:
        """Environments whose refresh a pause refused that is over: ``tenant_id``, ``tenant_slug``, ``id``, ``slug``."""
        query = (select(requests.c.tenant_id, tenants.c.slug.label("tenant_slug"), environments.c.id, environments.c.slug)
                 .join(tenants, tenants.c.tenant_id == requests.c.tenant_id)
                 .join(environments, and_(environments.c.tenant_id == requests.c.tenant_id,
                                          environments.c.id == requests.c.environment_id))
                 .where(requests.c.refused_at.is_not(None), environments.c.deleted_at.is_(None),
                        tenants.c.deleted_at.is_(None), *_NOT_PAUSED))
        if before is not None:
            query = query.where(requests.c.refused_at < before)
        return list(self._connection.execute(query.order_by(tenants.c.slug, environments.c.slug)))

    def watched(self) -> list[Row[Any]]:
        """Every environment that has a repository, by tenant, with ``tenant_slug``: what its branch is (``repository_id``,
        ``branch``, ``folder``, ``url``, ``api_url``), where it stands (``git_commit``, ``git_version``, ``git_synced_at``),
        what is known of the branch (``head``, ``looked_at``, ``next_look_at``, ``failures``) and what was asked for last
        (``asked_head``, ``asked_at``, ``attempts``)."""
        branch = func.coalesce(environments.c.branch, repositories.c.branch)
        return list(self._connection.execute(
            select(environments.c.tenant_id, tenants.c.slug.label("tenant_slug"), environments.c.id, environments.c.slug,
                   environments.c.repository_id, branch.label("branch"), environments.c.folder, repositories.c.url,
                   repositories.c.api_url,
                   environments.c.git_commit, environments.c.git_version, environments.c.git_synced_at,
                   heads.c.head, heads.c.looked_at, heads.c.next_look_at, heads.c.failures,
                   requests.c.head.label("asked_head"), requests.c.asked_at, requests.c.attempts)
            .join(tenants, tenants.c.tenant_id == environments.c.tenant_id)
            .join(repositories, (repositories.c.tenant_id == environments.c.tenant_id)
                  & (repositories.c.id == environments.c.repository_id))
            .outerjoin(heads, (heads.c.tenant_id == environments.c.tenant_id)
                       & (heads.c.repository_id == environments.c.repository_id) & (heads.c.branch == branch))
            .outerjoin(requests, (requests.c.tenant_id == environments.c.tenant_id)
                       & (requests.c.environment_id == environments.c.id) & requests.c.refused_at.is_(None))
            .where(environments.c.deleted_at.is_(None), tenants.c.deleted_at.is_(None))
            .order_by(tenants.c.slug, environments.c.position, environments.c.slug)))

    def signed(self) -> int:
        """How many repositories of living tenants have a secret for webhooks of their own."""
        return int(self._connection.execute(
            select(func.count()).select_from(repositories).join(tenants, tenants.c.tenant_id == repositories.c.tenant_id)
            .where(repositories.c.webhook_secret.is_not(None), tenants.c.deleted_at.is_(None))).scalar_one())

    def unheard(self) -> list[Row[Any]]:
        """Repositories that have such a secret and of which no delivery is kept: ``tenant_slug``, ``name``."""
        heard = select(literal(1)).where(deliveries.c.tenant_id == repositories.c.tenant_id,
                                         deliveries.c.repository_id == repositories.c.id).correlate(repositories)
        return list(self._connection.execute(
            select(tenants.c.slug.label("tenant_slug"), repositories.c.name)
            .join(tenants, tenants.c.tenant_id == repositories.c.tenant_id)
            .where(repositories.c.webhook_secret.is_not(None), tenants.c.deleted_at.is_(None), ~heard.exists())
            .order_by(tenants.c.slug, repositories.c.name)))

    def in_trouble(self) -> list[Row[Any]]:
        """Environments whose branch, or whose head, could not be read when that was last tried: ``tenant_slug`` and
        ``slug``."""
        branch = func.coalesce(environments.c.branch, repositories.c.branch)
        return list(self._connection.execute(
            select(tenants.c.slug.label("tenant_slug"), environments.c.slug)
            .join(heads, (heads.c.tenant_id == environments.c.tenant_id)
                  & (heads.c.repository_id == environments.c.repository_id))
            .join(repositories, (repositories.c.tenant_id == heads.c.tenant_id)
                  & (repositories.c.id == heads.c.repository_id))
            .join(tenants, tenants.c.tenant_id == heads.c.tenant_id)
            .where(or_(heads.c.failures > 0, heads.c.unread_since.is_not(None)), heads.c.branch == branch,
                   environments.c.deleted_at.is_(None),
                   tenants.c.deleted_at.is_(None))))

    def unreadable(self) -> list[Row[Any]]:
        """Branches that an environment reads and that could not be read when they were last looked at, with ``tenant_slug``
        and ``url``."""
        reader = select(literal(1)).where(
            environments.c.tenant_id == heads.c.tenant_id, environments.c.repository_id == heads.c.repository_id,
            environments.c.deleted_at.is_(None),
            func.coalesce(environments.c.branch, repositories.c.branch) == heads.c.branch)
        return list(self._connection.execute(
            select(heads, tenants.c.slug.label("tenant_slug"), repositories.c.url)
            .join(tenants, tenants.c.tenant_id == heads.c.tenant_id)
            .join(repositories, (repositories.c.tenant_id == heads.c.tenant_id)
                  & (repositories.c.id == heads.c.repository_id))
            .where(heads.c.failures > 0, tenants.c.deleted_at.is_(None), reader.correlate(heads, repositories).exists())
            .order_by(tenants.c.slug, repositories.c.name)))
