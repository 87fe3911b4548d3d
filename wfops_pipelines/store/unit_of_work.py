"""The unit of work: one transaction, one tenant, at least one audit event (§19.1, design decision 3).

::

    with store.unit_of_work(context, "sync.batch") as work:
        work.mappings.save(rows)
        work.record("mapping.linked", "workflow", workflow_id, environment="prod")

Leaving the block commits the rows and their audit events together, or rolls all of it back. ``store.read(context)``
is the same without events, read-only. ``store.bookkeeping(context)`` writes what is no governed change: heartbeats,
checkpoints, the time of the last look.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from wfops_pipelines import failpoints
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Broken
from wfops_pipelines.store import installation, tenancy
from wfops_pipelines.store.alerts import Alerts
from wfops_pipelines.store.audit import AuditTrail
from wfops_pipelines.store.command_runs import CommandRuns
from wfops_pipelines.store.deployments import Deployments
from wfops_pipelines.store.drift import DriftRows
from wfops_pipelines.store.engine import StoreUrls, connected, open_engine
from wfops_pipelines.store.fleet import FleetRows
from wfops_pipelines.store.git_states import GitStates
from wfops_pipelines.store.ignore_rules import IgnoreRules
from wfops_pipelines.store.incidents import Incidents
from wfops_pipelines.store.journal import RuntimeJournal
from wfops_pipelines.store.leases import Leases, become_holder
from wfops_pipelines.store.lint_waivers import LintWaivers
from wfops_pipelines.store.mappings import Mappings
from wfops_pipelines.store.metrics import Metrics
from wfops_pipelines.store.operations import Operations
from wfops_pipelines.store.outbox import Outbox
from wfops_pipelines.store.pauses import InstallationWrites, TenantPause
from wfops_pipelines.store.payloads import Payloads
from wfops_pipelines.store.promotions import Promotions
from wfops_pipelines.store.pushes import Pushes
from wfops_pipelines.store.reconciliation import DiffStates
from wfops_pipelines.store.retention import Retention
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines.store.snapshots import Snapshots
from wfops_pipelines.store.sweeps import Claims, InstanceCircuits, KnownListings, SweepReads, SweepWrites
from wfops_pipelines.store.system import SystemReads

_UNFLUSHED = text("SELECT set_config('synchronous_commit', 'off', true)")
_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 6))")
_ONE_VIEW: Final[dict[str, Any]] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}  # said by its BEGIN


@dataclass(frozen=True, slots=True)
class Held:
    """The lease under which a unit of work writes: it commits only while this epoch still holds the environment."""

    environment_id: UUID
    epoch: int


class UnitOfWork:
    """The tenant's rows, as nouns, inside one transaction."""

    def __init__(self, connection: Connection, context: Context, secrets: SecretBox, audit_key: bytes, *,
                 read_only: bool = False) -> None:
        self.read_only = read_only
        self.connection = connection
        self.context = context
        self.audit = AuditTrail(connection, context, audit_key)
        self.payloads = Payloads(connection, context.tenant_id)
        self.mappings = Mappings(connection, context.tenant_id)
        self.git_states = GitStates(connection, context.tenant_id)
        self.diffs = DiffStates(connection, context.tenant_id)
        self.listings = KnownListings(connection, context.tenant_id)
        self.circuits = InstanceCircuits(connection, context.tenant_id)
        self.drift = DriftRows(connection, context.tenant_id)
        self.incidents = Incidents(connection, context.tenant_id)
        self.ignore_rules = IgnoreRules(connection, context.tenant_id)
        self.journal = RuntimeJournal(connection, context.tenant_id)
        self.promotions = Promotions(connection, context.tenant_id)
        self.lint_waivers = LintWaivers(connection, context.tenant_id)
        self.snapshots = Snapshots(connection, context.tenant_id)
        self.deployments = Deployments(connection, context.tenant_id)
        self.pushes = Pushes(connection, context.tenant_id)
        self.outbox = Outbox(connection, context.tenant_id)
        self.retention = Retention(connection, context.tenant_id)
        self.alerts = Alerts(connection, context.tenant_id)
        self.metrics = Metrics(connection, context.tenant_id)
        self.operations = Operations(connection, context.tenant_id)
        self.pause = TenantPause(connection, context.tenant_id, context.tenant_slug)
        self.leases = Leases(connection, context.tenant_id)
        self.fleet = FleetRows(connection, context.tenant_id, secrets)

    def record(self, action: str, subject_type: str, subject_id: str, *, environment: str | None = None,
               before: str | None = None, after: str | None = None, **details: Any) -> None:
        """Add an audit event to this unit of work; it is chained and written just before the commit."""
        self.audit.add(action, subject_type, subject_id, environment=environment, before=before, after=after,
                       details=details)


class Store:
    """The database, for one process. Roles are separate pools; the system role only reads (§2.1)."""

    def __init__(self, urls: StoreUrls, secrets: SecretBox, *, pool_size: int = 8) -> None:
        self.secrets = secrets
        self._app: Engine = open_engine(urls.app, pool_size=pool_size, application="wfops")
        self._system: Engine = open_engine(urls.system, pool_size=2, application="wfops-system")
        self._audit_key: bytes | None = None

    @property
    def audit_key(self) -> bytes:
        """The key of the audit chains, read once."""
        if self._audit_key is None:
            with connected(self._app) as connection:
                self._audit_key = installation.audit_key(connection, self.secrets)
        return self._audit_key

    @contextmanager
    def unit_of_work(self, context: Context, name: str, *, held: Held | None = None,
                     flush: bool = True) -> Iterator[UnitOfWork]:
        """A governed change. Fails with :class:`Broken` when it recorded no event, with :class:`LeaseLost` when ``held``
        was taken over, and otherwise as the store does; nothing is then written.

        Without ``flush`` the commit does not wait for the disk. It is whole all the same, and safe from the death of this
        process; a crash of the database server within the next half second may undo it, together with all that was
        committed after it, until the next commit that waits. For one step of many that can be done again.
        """
        with self._transaction(context, name, held, flush=flush) as work:
            yield work
            if not work.audit.pending:
                raise Broken(f"unit of work {name} recorded no audit event")

    @contextmanager
    def bookkeeping(self, context: Context, name: str, *, held: Held | None = None,
                    flush: bool = True) -> Iterator[UnitOfWork]:
        """Writes that are no governed change, or turn out to be none: may record events, need not. ``flush`` is that of
        :meth:`unit_of_work`."""
        with self._transaction(context, name, held, flush=flush) as work:
            yield work

    @contextmanager
    def read(self, context: Context) -> Iterator[UnitOfWork]:
        """One consistent, read-only view of the tenant's rows."""
        key = self.audit_key  # before a connection is taken: it may need one itself
        with connected(self._app) as connection, connection.execution_options(**_ONE_VIEW).begin() as transaction:
            tenancy.become(connection, context.tenant_id)
            yield UnitOfWork(connection, context, self.secrets, key, read_only=True)
            transaction.rollback()

    @contextmanager
    def system(self) -> Iterator[SystemReads]:
        """Reads across tenants, for sweeps and look-ups by slug; the database refuses any write here."""
        with connected(self._system) as connection, connection.begin() as transaction:
            yield SystemReads(connection)
            transaction.rollback()

    @contextmanager
    def sweep_reads(self) -> Iterator[SweepReads]:
        """Reads across tenants that sweeps are made of; see :meth:`system`."""
        with connected(self._system) as connection, connection.begin() as transaction:
            yield SweepReads(connection)
            transaction.rollback()

    @contextmanager
    def sweep_claims(self) -> Iterator[Claims]:
        """Claims of one sweep, held by a connection of its own; the connection is closed afterwards, so that none outlives
        the block."""
        with connected(self._system) as connection:
            try:
                yield Claims(connection.execution_options(isolation_level="AUTOCOMMIT"))
            finally:
                connection.invalidate()

    @contextmanager
    def sweep_writes(self) -> Iterator[SweepWrites]:
        """What a sweep writes for several tenants in one transaction, which waits for no disk: a crash of the server leaves
        environments due that were not."""
        with connected(self._app) as connection, connection.begin() as transaction:
            connection.execute(_UNFLUSHED)
            yield SweepWrites(connection)
            failpoints.reach("sweep.record.before_commit")
            transaction.commit()
        failpoints.reach("sweep.record.after_commit")

    @contextmanager
    def installation_writes(self) -> Iterator[InstallationWrites]:
        """What is no tenant's: the pause of everything, runs that shall stop."""
        key = self.audit_key
        with connected(self._app) as connection, connection.begin() as transaction:
            yield InstallationWrites(connection, key)
            failpoints.reach("installation.before_commit")
            transaction.commit()

    @contextmanager
    def command_runs(self) -> Iterator[CommandRuns]:
        """The runs that commands do in their own process; what is said of them waits for no disk."""
        with connected(self._app) as connection, connection.begin() as transaction:
            connection.execute(_UNFLUSHED)
            yield CommandRuns(connection)
            transaction.commit()

    @contextmanager
    def one_at_a_time(self, what: str) -> Iterator[None]:
        """Nobody else is in a block of the same name meanwhile, in any process of the installation."""
        with connected(self._system) as connection, connection.begin() as transaction:
            connection.execute(_ALONE, {"what": what})
            yield
            transaction.rollback()

    def close(self) -> None:
        """Give back every connection."""
        self._app.dispose()
        self._system.dispose()

    @contextmanager
    def _transaction(self, context: Context, name: str, held: Held | None, *, flush: bool = True) -> Iterator[UnitOfWork]:
        key = self.audit_key
        with connected(self._app) as connection, connection.begin() as transaction:
            if held is None:
                tenancy.become(connection, context.tenant_id, flush=flush)
            else:
                become_holder(connection, context.tenant_id, held.environment_id, held.epoch, flush=flush)
            work = UnitOfWork(connection, context, self.secrets, key)
            yield work
            failpoints.reach(f"{name}.before_commit")
            work.audit.flush()  # the chain's head row is locked last, and for the shortest time
            transaction.commit()
        failpoints.reach(f"{name}.after_commit")
