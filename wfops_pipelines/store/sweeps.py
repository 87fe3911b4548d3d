"""What sweeps read and write (§9, §24): across tenants as the system role, tenant by tenant as the application's, and the
record of each sweep, which is the installation's.

An environment that a check found as Git says is known again by two things: the bytes of n8n's listing
(``known_listings``) and the *state* of what the store holds of it (:func:`states`). While both are as they were, the check's
outcome still stands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, text, true, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import UUID as UUID_TYPE
from sqlalchemy.dialects.postgresql import insert as upsert

from wfops_pipelines.store import tenancy
from wfops_pipelines.store.tables.drift import drift_check_history as history
from wfops_pipelines.store.tables.fleet import environments, repositories, secrets, tenants
from wfops_pipelines.store.tables.operations import environment_leases as leases
from wfops_pipelines.store.tables.sweeps import instance_circuits, known_listings, sweeps

KEPT_SWEEPS = timedelta(days=30)

# The version of a row is its xmin: whoever changes a row, by whatever way, changes it. Sums tell sets of rows apart without
# sorting them. What tenants share (deleted canonical workflows, hashes to link by) counts where it can matter.
_STATES = text("""
    SELECT e.id, CASE WHEN EXISTS (
            SELECT FROM runtime_journal j WHERE j.tenant_id = e.tenant_id AND j.environment_id = e.id
            AND j.state IN ('intended', 'done', 'failed')
        ) OR EXISTS (
            SELECT FROM promotions p WHERE p.tenant_id = e.tenant_id AND p.target_environment_id = e.id
            AND (p.status = 'running' OR p.git_status IN ('pending', 'failed', 'pull_request'))
        ) OR EXISTS (
            SELECT FROM drift_incidents i WHERE i.tenant_id = e.tenant_id AND i.environment_id = e.id
            AND i.status NOT IN ('closed', 'cancelled')
        ) OR e.writes_blocked_at IS NOT NULL OR e.deleted_at IS NOT NULL
    THEN NULL ELSE concat_ws('/', CAST(:version AS text),
        hashtextextended(CAST((e.base_url, e.provider, e.repository_id, e.branch, e.folder, e.git_commit, e.git_source,
                               e.git_version, e.ever_mapped) AS text), 0),
        m.rows, m.versions, g.rows, g.versions, f.versions, d.versions, c.deleted,
        CASE WHEN m.untracked > 0 THEN (SELECT concat_ws('-', count(*), max(registered_at)) FROM workflow_hash_registry r
                                        WHERE r.tenant_id = e.tenant_id) END
    ) END AS state
    FROM environments e
    CROSS JOIN LATERAL (
        SELECT count(*) AS rows, sum(uuid_hash_extended(id, CAST(CAST(xmin AS text) AS bigint))) AS versions,
               count(*) FILTER (WHERE status = 'untracked') AS untracked
        FROM workflow_env_map WHERE tenant_id = e.tenant_id AND environment_id = e.id) m
    CROSS JOIN LATERAL (
        SELECT count(*) AS rows, sum(hashtextextended(path, CAST(CAST(xmin AS text) AS bigint))) AS versions
        FROM canonical_workflow_git_state WHERE tenant_id = e.tenant_id AND environment_id = e.id) g
    CROSS JOIN LATERAL (
        SELECT sum(hashtextextended(path, CAST(CAST(xmin AS text) AS bigint))) AS versions
        FROM repository_file_errors WHERE tenant_id = e.tenant_id AND environment_id = e.id) f
    CROSS JOIN LATERAL (
        SELECT sum(hashtextextended(subject, CAST(CAST(xmin AS text) AS bigint))) AS versions
        FROM workflow_drift WHERE tenant_id = e.tenant_id AND environment_id = e.id) d
    CROSS JOIN LATERAL (
        SELECT count(*) AS deleted FROM canonical_workflows WHERE tenant_id = e.tenant_id AND deleted_at IS NOT NULL) c
    WHERE e.id = ANY(:ids)""").bindparams(bindparam("ids", type_=ARRAY(UUID_TYPE(as_uuid=True))))

_TAKE = text("SELECT id, pg_try_advisory_lock(hashtextextended(CAST(id AS text), 3)) AS taken FROM unnest(:ids) AS id"
             ).bindparams(bindparam("ids", type_=ARRAY(UUID_TYPE(as_uuid=True))))
_LET_GO = text("SELECT count(pg_advisory_unlock(hashtextextended(CAST(id AS text), 3))) FROM unnest(:ids) AS id"
               ).bindparams(bindparam("ids", type_=ARRAY(UUID_TYPE(as_uuid=True))))

# Rows that somebody else is writing just now are left out: no two transactions wait for each other, and what is left out
# stays due. So does what was checked meanwhile by another way (``last`` is when it was, as the sweep knows it), or only
# compared: ``check_id`` is no longer the last one then.
_REPEAT = text("""
    WITH looked AS (
        SELECT r.*, e.tenant_id FROM jsonb_to_recordset(:rows) AS r(
            environment_id uuid, check_id uuid, last timestamptz, at timestamptz, duration_ms int, read boolean,
            message text, head_asked_at timestamptz)
        JOIN environments e ON e.tenant_id = :tenant AND e.id = r.environment_id
            AND e.last_drift_check_at IS NOT DISTINCT FROM r.last
            AND r.check_id = (SELECT id FROM drift_check_history n WHERE n.tenant_id = e.tenant_id
                              AND n.environment_id = e.id ORDER BY n.last_at DESC LIMIT 1)
        FOR UPDATE OF e SKIP LOCKED),
    repeated AS (
        UPDATE drift_check_history h SET checks = h.checks + 1, last_at = looked.at, duration_ms = looked.duration_ms
        FROM looked WHERE h.tenant_id = looked.tenant_id AND h.id = looked.check_id RETURNING h.id)
    UPDATE environments e SET
        last_drift_check_at = looked.at, drift_error = coalesce(looked.message, e.drift_error),
        last_sync_at = CASE WHEN looked.read THEN looked.at ELSE e.last_sync_at END,
        last_heartbeat_at = CASE WHEN looked.read THEN looked.at ELSE e.last_heartbeat_at END,
        git_synced_at = coalesce(looked.head_asked_at, e.git_synced_at),
        last_good_drift_at = CASE WHEN looked.read THEN looked.at ELSE e.last_good_drift_at END
    FROM looked JOIN repeated ON repeated.id = looked.check_id
    WHERE e.tenant_id = looked.tenant_id AND e.id = looked.environment_id RETURNING e.id""").bindparams(
        bindparam("rows", type_=JSONB))


def states(connection: Connection, environment_ids: Collection[UUID], version: int) -> dict[UUID, str | None]:
    """By environment a text that stays the same as long as nothing is written that a check of it is made from: its
    workflows, files, drift, and what is declared of it. None where more is to be done than to compare: an incident is open,
    writes or a commit are unfinished. ``version`` is the normaliser's."""
    rows = connection.execute(_STATES, {"ids": list(environment_ids), "version": version})
    return {row.id: row.state for row in rows}


class SweepReads:
    """Across tenants, as the system role."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def environments(self) -> list[Row[Any]]:
        """Every environment that a schedule checks (§9: not dev, Git configured), as ``environments`` has it, and with
        ``tenant_slug``, the repository's ``repository_url``, ``api_url``, ``source`` and ``on_branch``, the lease
        (``holder`` none where nobody holds it), its last check (``check_id``, ``check_type``), its known listing
        (``known_*``) and circuit (``circuit_*``)."""
        last = (select(history.c.id, history.c.type).where(
            history.c.tenant_id == environments.c.tenant_id, history.c.environment_id == environments.c.id)
            .order_by(history.c.last_at.desc()).limit(1).lateral("last_check"))
        of = {name: (table.c.tenant_id == environments.c.tenant_id) & (table.c.environment_id == environments.c.id)
              for name, table in {"listing": known_listings, "circuit": instance_circuits, "lease": leases}.items()}
        branch = func.coalesce(environments.c.branch, repositories.c.branch)
        return list(self._connection.execute(
            select(environments, tenants.c.slug.label("tenant_slug"), branch.label("on_branch"),
                   repositories.c.url.label("repository_url"), repositories.c.api_url,
                   func.concat(repositories.c.provider, "|", repositories.c.url, "|", branch, "|",
                               func.coalesce(environments.c.folder, "")).label("source"),
                   leases.c.holder, leases.c.heartbeat_at, last.c.id.label("check_id"), last.c.type.label("check_type"),
                   *(known_listings.c[name].label(f"known_{name}") for name in (
                       "pages", "state", "head", "check_id", "misses", "checked_at")),
                   *(instance_circuits.c[name].label(f"circuit_{name}") for name in (
                       "base_url", "state", "failures", "openings", "since", "probe_at", "reason", "message")))
            .join(tenants, tenants.c.tenant_id == environments.c.tenant_id)
            .join(repositories, (repositories.c.tenant_id == environments.c.tenant_id)
                  & (repositories.c.id == environments.c.repository_id))
            .outerjoin(leases, of["lease"] & leases.c.released_at.is_(None))
            .outerjoin(known_listings, of["listing"]).outerjoin(instance_circuits, of["circuit"])
            .outerjoin(last, true())
            .where(environments.c.deleted_at.is_(None), tenants.c.deleted_at.is_(None), environments.c["class"] != "dev")
            .order_by(tenants.c.slug, environments.c.position, environments.c.slug)))

    def last_checks(self) -> list[Row[Any]]:
        """The same environments with the little that tells which are due: ``tenant_id``, ``id``, ``last_drift_check_at``,
        whether somebody ``held`` them a moment ago, and ``probe_at`` of an open circuit."""
        return list(self._connection.execute(
            select(environments.c.tenant_id, environments.c.id, environments.c.last_drift_check_at, environments.c.base_url,
                   leases.c.holder, leases.c.heartbeat_at, instance_circuits.c.probe_at,
                   instance_circuits.c.base_url.label("circuit_base_url"))
            .join(tenants, tenants.c.tenant_id == environments.c.tenant_id)
            .outerjoin(leases, (leases.c.tenant_id == environments.c.tenant_id) & leases.c.released_at.is_(None)
                       & (leases.c.environment_id == environments.c.id))
            .outerjoin(instance_circuits, (instance_circuits.c.tenant_id == environments.c.tenant_id)
                       & (instance_circuits.c.environment_id == environments.c.id))
            .where(environments.c.deleted_at.is_(None), tenants.c.deleted_at.is_(None),
                   environments.c.repository_id.is_not(None), environments.c["class"] != "dev")))

    def clock(self) -> datetime:
        """The database's time, by which leases live."""
        now: datetime = self._connection.execute(select(func.clock_timestamp())).scalar_one()
        return now

    def states(self, environment_ids: Collection[UUID], version: int) -> dict[UUID, str | None]:
        """See :func:`states`."""
        return states(self._connection, environment_ids, version)

    def api_keys(self, environment_ids: Collection[UUID]) -> dict[UUID, str]:
        """API keys of environments, encrypted."""
        rows = self._connection.execute(
            select(environments.c.id, secrets.c.token)
            .join(secrets, (secrets.c.tenant_id == environments.c.tenant_id)
                  & (secrets.c.name == environments.c.api_key_secret))
            .where(environments.c.id.in_(environment_ids)))
        return {row.id: row.token for row in rows}

    def recent(self, *, kind: str = "drift", limit: int = 20) -> list[Row[Any]]:
        """Sweeps of a kind, newest first."""
        return list(self._connection.execute(
            select(sweeps).where(sweeps.c.kind == kind).order_by(sweeps.c.started_at.desc()).limit(limit)))


class Claims:
    """Which environments this sweep looks at: locks of its own connection, let go when it ends or its process dies."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, last: Mapping[UUID, datetime | None]) -> set[UUID]:
        """Those of the environments that no other sweep holds, and that were last checked when ``last`` says."""
        taken = {row.id for row in self._connection.execute(_TAKE, {"ids": list(last)}) if row.taken}
        now = {row.id: row.last_drift_check_at for row in self._connection.execute(
            select(environments.c.id, environments.c.last_drift_check_at).where(environments.c.id.in_(taken)))}
        ours = {i for i in taken if i in now and now[i] == last[i]}
        self.let_go(taken - ours)
        return ours

    def let_go(self, environment_ids: Collection[UUID]) -> None:
        """These were looked at."""
        if environment_ids:
            self._connection.execute(_LET_GO, {"ids": list(environment_ids)})


class KnownListings:
    """A tenant's known listings."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def save(self, environment_id: UUID, **values: Any) -> None:
        """What a whole check was made from."""
        statement = upsert(known_listings).values(tenant_id=self._tenant_id, environment_id=environment_id, **values)
        self._connection.execute(statement.on_conflict_do_update(
            index_elements=["tenant_id", "environment_id"], set_={name: statement.excluded[name] for name in values}))

    def forget(self, environment_id: UUID) -> None:
        """The next check is a whole one."""
        self._connection.execute(delete(known_listings).where(self._at(environment_id)))

    def _at(self, environment_id: UUID) -> Any:
        return (known_listings.c.tenant_id == self._tenant_id) & (known_listings.c.environment_id == environment_id)


class InstanceCircuits:
    """Circuits of a tenant's instances, those with failures behind them."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def all(self) -> dict[UUID, Row[Any]]:
        """By environment."""
        rows = self._connection.execute(select(instance_circuits).where(instance_circuits.c.tenant_id == self._tenant_id))
        return {row.environment_id: row for row in rows}

    def save(self, environment_id: UUID, **values: Any) -> None:
        """A circuit as it stands now."""
        statement = upsert(instance_circuits).values(tenant_id=self._tenant_id, environment_id=environment_id, **values)
        self._connection.execute(statement.on_conflict_do_update(
            index_elements=["tenant_id", "environment_id"], set_={name: statement.excluded[name] for name in values}))

    def forget(self, environment_id: UUID) -> None:
        """The instance answered."""
        self._connection.execute(delete(instance_circuits).where(
            instance_circuits.c.tenant_id == self._tenant_id, instance_circuits.c.environment_id == environment_id))


class SweepWrites:
    """What a sweep writes, in one transaction as the application's role: for several tenants, one after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def repeat(self, tenant_id: UUID, rows: Sequence[Mapping[str, Any]]) -> set[UUID]:
        """Checks that found what the one before found (``environment_id``, its ``check_id``, when it was (``last``),
        ``at``, ``duration_ms``, whether both sides were ``read``, and ``head_asked_at`` then, else the ``message``) are
        counted in the history; the environments of those that were."""
        tenancy.become(self._connection, tenant_id)
        return set(self._connection.execute(_REPEAT, {"tenant": tenant_id, "rows": list(rows)}).scalars())

    def missed(self, tenant_id: UUID, environment_ids: Collection[UUID]) -> None:
        """Their listings were other bytes than those that are known."""
        tenancy.become(self._connection, tenant_id)
        self._connection.execute(update(known_listings).where(
            known_listings.c.tenant_id == tenant_id, known_listings.c.environment_id.in_(environment_ids)
        ).values(misses=known_listings.c.misses + 1))

    def circuits(self, tenant_id: UUID) -> InstanceCircuits:
        """A tenant's circuits."""
        tenancy.become(self._connection, tenant_id)
        return InstanceCircuits(self._connection, tenant_id)

    # -- the sweep itself ----------------------------------------------------------------------------------------------

    def begin(self, sweep_id: UUID, *, now: datetime, clock: datetime, **values: Any) -> None:
        """A sweep begins (``clock`` is the database's); what is older than :data:`KEPT_SWEEPS` goes."""
        self._connection.execute(delete(sweeps).where(sweeps.c.started_at < now - KEPT_SWEEPS))
        self._connection.execute(insert(sweeps).values(id=sweep_id, state="running", started_at=now, heartbeat_at=clock,
                                                       **values))

    def running(self, kind: str) -> list[Row[Any]]:
        """Sweeps of a kind that have not said that they ended."""
        return list(self._connection.execute(select(sweeps).where(sweeps.c.kind == kind, sweeps.c.state == "running")))

    def change(self, sweep_id: UUID, **values: Any) -> None:
        """Columns of a sweep."""
        self._connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(**values))
