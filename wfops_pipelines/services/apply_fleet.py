"""``wfops apply``: make the store hold what fleet.yaml declares (§2.6).

Plan first, then apply: one unit of work per tenant, so that a tenant is changed whole or not at all. Secrets of all
tenants are resolved before anything is written. Nothing is deleted without ``prune``. Two that apply at once take turns,
tenant by tenant: the second finds what the first made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, SecretUnreadable
from wfops_pipelines.domain.fleet import Fleet, SecretReference, TenantSpec
from wfops_pipelines.domain.operation import OperationKind, OperationState
from wfops_pipelines.services.declared import (
    SECRET,
    Declared,
    declared_environments,
    declared_repositories,
    declared_secrets,
    declared_stages,
    declared_tables,
)
from wfops_pipelines.services.environment_tables import check_declared
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

ResolveSecret = Callable[[SecretReference], str]


@dataclass(frozen=True, slots=True)
class FleetChange:
    """One difference between what is declared and what is stored. ``fields`` names what changes, never values of secrets;
    ``unmanaged`` is stored and not declared, and stays."""

    tenant: str
    kind: str  # tenant, environment, repository, secret, credentials, pipeline, drift_policy, notifications
    name: str
    action: str  # create, update, delete, unmanaged
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class FleetPlan:
    """What applying would do, or did."""

    changes: list[FleetChange] = field(default_factory=list)
    applied: bool = False

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"changes": [asdict(change) for change in self.changes], "applied": self.applied}


def apply_fleet(services: Services, fleet: Fleet, resolve: ResolveSecret, *, actor: str, prune: bool = False,
                dry_run: bool = False, run_id: str | None = None) -> FleetPlan:
    """Plan, and unless ``dry_run`` apply. Idempotent: a second time there is nothing to change.

    ``resolve`` turns a reference into the secret; what it raises (:class:`InvalidSetting`) stops everything. So do
    tables that promotions could not read back (:class:`InvalidFields`, §11.4).
    """
    secrets = {reference: resolve(reference) for reference in fleet.secret_references()}
    _check_tables(services, fleet, actor, prune=prune)
    plan = FleetPlan()
    with services.store.system() as system:
        known = {row.slug for row in system.tenants()}
    for spec in fleet.tenants:
        with _turn(services, spec.slug, alone=not dry_run) as row:
            context = services.context_of(row.tenant_id if row is not None else services.new_id(), spec.slug, actor,
                                          run_id=run_id)
            plan.changes += _apply_tenant(services, context, spec, secrets, prune=prune, dry_run=dry_run)
    for slug in sorted(known - {spec.slug for spec in fleet.tenants}):
        if prune and not dry_run and not _delete_tenant(services, slug, actor):
            continue  # somebody else did meanwhile
        plan.changes.append(FleetChange(slug, "tenant", slug, "delete" if prune else "unmanaged"))
    plan.applied = not dry_run
    return plan


def _check_tables(services: Services, fleet: Fleet, actor: str, *, prune: bool) -> None:
    """Of all tenants, before the first is changed (§11.4). Of one that is new there is no more than the document."""
    for spec in fleet.tenants:
        with services.store.system() as system:
            row = system.tenant(spec.slug)
        if row is not None:
            context = services.context_of(row.tenant_id, row.slug, actor)
            with services.store.read(context) as work:
                check_declared(work, spec, prune=prune)


@contextmanager
def _turn(services: Services, slug: str, *, alone: bool) -> Iterator[Row[Any] | None]:
    """The tenant of a slug as it is now, none if there is none; ``alone`` keeps everybody else from declaring it until
    the block is left. The lock goes by slug and not by id: two that make a new tenant would each lock an id of its own."""
    with services.store.system() as system:
        if alone:
            system.lock_slug(slug)
        yield system.tenant(slug)


def _apply_tenant(services: Services, context: Context, spec: TenantSpec, secrets: dict[SecretReference, str], *,
                  prune: bool, dry_run: bool) -> list[FleetChange]:
    if dry_run:
        with services.store.read(context) as work:
            return [change for change, _ in _differences(work, spec, secrets, prune=prune)]
    operation_id = context.new_id()
    with services.store.bookkeeping(context.within(operation_id), "apply.tenant") as work:
        changes = []
        for change, write in _differences(work, spec, secrets, prune=prune):
            changes.append(change)
            if change.action != "unmanaged":
                write()
                work.record(f"{change.kind}.{change.action}d", change.kind, change.name,
                            environment=change.name if change.kind == "environment" else None, fields=change.fields)
        made = {change.kind for change in changes if change.action != "unmanaged"}
        if made & {"repository", "secret"}:
            work.pushes.look_again(context.now())
        if made:
            _record_operation(work, operation_id, changes)
    return changes


def _record_operation(work: UnitOfWork, operation_id: UUID, changes: list[FleetChange]) -> None:
    context, now = work.context, work.context.now()
    work.operations.create(operation_id, OperationKind.APPLY, environment_id=None, actor=context.actor,
                           run_id=context.run_id, now=now)
    work.operations.start(operation_id, run_id=context.run_id, now=now)
    work.operations.end(operation_id, OperationState.COMPLETED, now=now, metrics={"changes": len(changes)})


Difference = tuple[FleetChange, Callable[[], None]]


def _differences(work: UnitOfWork, spec: TenantSpec, secrets: dict[SecretReference, str], *,
                 prune: bool) -> Iterator[Difference]:
    """Each difference with the write that ends it, in an order in which they can be written."""
    check_declared(work, spec, prune=prune)  # again: somebody may have changed the tables since they were all checked
    tenant = work.fleet.tenant()
    yield from _row("tenant", spec.slug, spec.slug, tenant, {"slug": spec.slug, "name": spec.title,
                                                             "plan": str(spec.plan)}, work.fleet.save_tenant)
    for name, value in sorted(declared_secrets(spec, secrets).items()):
        known, stored = _stored_secret(work, name)
        if stored != value:
            action = "update" if known else "create"
            yield FleetChange(spec.slug, "secret", name, action), _bind(work.fleet.save_secret, name, value)
    repositories = {row.name: row for row in work.fleet.repositories().values()}
    for declared in declared_repositories(spec):
        yield from _declared(spec.slug, "repository", declared, repositories.get(declared.name), work,
                             work.fleet.save_repository)
    yield from _environments(work, spec, prune)
    yield from _tables(work, spec, prune)
    yield from _pipelines(work, spec, prune)


def _stored_secret(work: UnitOfWork, name: str) -> tuple[bool, str | None]:
    """Whether there is a secret of this name, and its value; one that no key decrypts is there, and is to be set again."""
    try:
        value = work.fleet.secret(name)
    except SecretUnreadable:
        return True, None
    return value is not None, value


def _environments(work: UnitOfWork, spec: TenantSpec, prune: bool) -> Iterator[Difference]:
    stored = {row.slug: row for row in work.fleet.environments()}
    repositories = {row.name: row.id for row in work.fleet.repositories().values()}
    for declared in declared_environments(spec, repositories):
        yield from _declared(spec.slug, "environment", declared, stored.get(declared.name), work,
                             work.fleet.save_environment)
    for slug in sorted(set(stored) - {e.slug for e in spec.environments}):
        if prune:
            _refuse_half_written(work, stored[slug])
        yield (FleetChange(spec.slug, "environment", slug, "delete" if prune else "unmanaged"),
               _bind(work.fleet.set_environment, stored[slug].id, deleted_at=work.context.now()))


def _refuse_half_written(work: UnitOfWork, environment: Row[Any]) -> None:
    """Nobody finishes, or undoes, what was begun in an n8n that is declared no more."""
    if not work.journal.unfinished(environment.id) and work.promotions.running_on(environment.id) is None:
        return
    tenant = work.context.tenant_slug
    raise Blocked(f"{tenant}/{environment.slug} is being written to, or was and is unfinished: it is not deleted",
                  fix=f"wait until that has ended, or finish it: wfops promotion recover {tenant} {environment.slug}; wfops "
                      f"unblock {tenant} {environment.slug} gives up on it")


def _tables(work: UnitOfWork, spec: TenantSpec, prune: bool) -> Iterator[Difference]:
    """Credentials, policies, notification targets: one difference for what is declared, one for what nobody declares."""
    ids = {row.slug: row.id for row in work.fleet.environments()}
    for table in declared_tables(work, spec, ids):
        extra = table.unmanaged
        kept = [] if prune else extra
        managed = [row for row in table.stored if row not in extra]
        if managed != table.declared:
            change = FleetChange(spec.slug, table.kind, table.kind, "update" if managed else "create",
                                 {"rows": len(table.declared)})
            yield change, _bind(table.replace, [*table.declared, *extra])
        if extra:
            change = FleetChange(spec.slug, table.kind, table.kind, "delete" if prune else "unmanaged", {"rows": len(extra)})
            yield change, _bind(table.replace, [*table.declared, *kept])


def _pipelines(work: UnitOfWork, spec: TenantSpec, prune: bool) -> Iterator[Difference]:
    ids = {row.slug: row.id for row in work.fleet.environments()}
    stored = {row.name: row for row in work.fleet.pipelines()}
    stages: dict[UUID, list[dict[str, Any]]] = {}
    for stage in work.fleet.stages():
        stages.setdefault(stage.pipeline_id, []).append({
            name: value for name, value in stage._mapping.items() if name not in {"tenant_id", "pipeline_id", "position"}})
    for pipeline in spec.pipelines:
        row = stored.get(pipeline.name)
        wanted = declared_stages(pipeline, ids)
        if row is not None and (row.atomic, stages.get(row.id, [])) == (pipeline.atomic, wanted):
            continue
        pipeline_id = row.id if row is not None else work.context.new_id()
        change = FleetChange(spec.slug, "pipeline", pipeline.name, "create" if row is None else "update",
                             {"stages": [f"{s.source} -> {s.target}" for s in pipeline.stages], "atomic": pipeline.atomic})
        yield change, _bind(work.fleet.save_pipeline, pipeline_id, pipeline.name, wanted, atomic=pipeline.atomic)
    for name in sorted(set(stored) - {p.name for p in spec.pipelines}):
        yield (FleetChange(spec.slug, "pipeline", name, "delete" if prune else "unmanaged"),
               _bind(work.fleet.remove_pipeline, stored[name].id))


def _declared(tenant: str, kind: str, declared: Declared, row: Row[Any] | None, work: UnitOfWork,
              save: Callable[..., None]) -> Iterator[Difference]:
    row_id = row.id if row is not None else work.context.new_id()
    yield from _row(kind, tenant, declared.name, row, declared.values, lambda **values: save(id=row_id, **values))


def _row(kind: str, tenant: str, name: str, row: Row[Any] | None, wanted: dict[str, Any],
         save: Callable[..., None]) -> Iterator[Difference]:
    stored = {} if row is None else dict(row._mapping)
    changed = {key: value for key, value in wanted.items() if row is None or stored.get(key) != value}
    if changed:
        shown = {key: SECRET if key.endswith("_secret") else _plain(value) for key, value in changed.items()}
        yield (FleetChange(tenant, kind, name, "create" if row is None else "update", shown), _bind(save, **wanted))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def _bind(function: Callable[..., Any], *arguments: Any, **named: Any) -> Callable[[], None]:
    def call() -> None:
        function(*arguments, **named)
    return call


def _delete_tenant(services: Services, slug: str, actor: str) -> bool:
    """Delete a tenant softly; false when there is none any more."""
    with _turn(services, slug, alone=True) as row:
        if row is None:
            return False
        context = services.context_of(row.tenant_id, row.slug, actor)
        with services.store.unit_of_work(context, "apply.delete_tenant") as work:
            for environment in work.fleet.environments():
                _refuse_half_written(work, environment)
                work.fleet.set_environment(environment.id, deleted_at=context.now())
            work.fleet.save_tenant(slug=row.slug, name=row.name, deleted_at=context.now())
            work.record("tenant.deleted", "tenant", row.slug)
    return True
