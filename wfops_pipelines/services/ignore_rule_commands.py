"""Ignore rules by hand (§9): drift that somebody says may be, with an owner, a reason and an end. They hold from the next
check on; what they hide is counted, by the check and by the rule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.ignore_rules import new_rule
from wfops_pipelines.domain.shown import iso
from wfops_pipelines.services.named import named_by_id
from wfops_pipelines.services.services import Services

_WHAT: Final = ("workflow", "node_type", "parameter_path", "owner", "reason")


def add_rule(services: Services, context: Context, *, environment: str | None, expires_at: datetime,
             dry_run: bool = False, **said: str | None) -> dict[str, Any]:
    """Add a rule; ``said`` are ``workflow``, ``node_type``, ``parameter_path``, ``owner``, ``reason``. Without an
    environment it is for all of the tenant's. :class:`InvalidFields` names every field that does not fit."""
    environment_id = services.environment(context, environment).id if environment is not None else None
    rule = new_rule({"id": context.new_id(), "environment_id": environment_id, "expires_at": expires_at,
                     **{name: said.get(name) for name in _WHAT}}, now=context.now())
    row: dict[str, Any] = {**rule.model_dump(), "created_by": context.actor, "created_at": context.now()}
    shown = _json({**row, "hides": 0, "last_hid_at": None, "removed_at": None}, environment, context.now())
    if not dry_run:
        with services.store.unit_of_work(context, "ignore_rule.add") as work:
            work.ignore_rules.add(**row)
            work.record("ignore_rule.added", "ignore_rule", str(rule.id), environment=environment,
                        **{name: row[name] for name in _WHAT}, expires_at=rule.expires_at.isoformat())
    return {**shown, "dry_run": dry_run}


def list_rules(services: Services, context: Context, *, environment: str | None = None,
               removed: bool = False) -> list[dict[str, Any]]:
    """The tenant's rules, oldest first, expired ones too; those that are for an environment; with ``removed`` also those
    taken away."""
    environment_id = services.environment(context, environment).id if environment is not None else None
    now = context.now()
    with services.store.read(context) as work:
        slugs = {row.id: row.slug for row in work.fleet.environments(deleted=True)}
        rows = work.ignore_rules.all(removed=removed)
    return [_json(row._mapping, slugs.get(row.environment_id), now) for row in rows
            if environment_id is None or row.environment_id in (None, environment_id)]


def remove_rule(services: Services, context: Context, name: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Take a rule away, named by its id or the beginning of it: what it hid is drift again at the next check. One that is
    gone already stays as it is. :class:`UsageError` when the tenant has none such, or several."""
    store = services.store
    with store.read(context) if dry_run else store.bookkeeping(context, "ignore_rule.remove") as work:
        slugs = {row.id: row.slug for row in work.fleet.environments(deleted=True)}
        row = named_by_id(context, work.ignore_rules.all(removed=True), name, "ignore rule")
        gone = row.removed_at is not None
        now = context.now()
        if not dry_run and not gone:
            work.ignore_rules.change(row.id, removed_at=now)
            work.record("ignore_rule.removed", "ignore_rule", str(row.id), environment=slugs.get(row.environment_id),
                        **{name: row._mapping[name] for name in _WHAT}, hides=row.hides)
    shown = _json({**row._mapping, "removed_at": row.removed_at or now}, slugs.get(row.environment_id), now)
    return {**shown, "changed": not gone, "dry_run": dry_run}


def _json(row: Mapping[str, Any] | Any, environment: str | None, now: datetime) -> dict[str, Any]:
    """A rule as ``--json`` shows it; ``state`` is ``active``, ``expired`` or ``removed``."""
    state = "removed" if row["removed_at"] is not None else "active" if now < row["expires_at"] else "expired"
    return {"id": str(row["id"]), "environment": environment, **{name: row[name] for name in _WHAT}, "state": state,
            "hides": row["hides"], "last_hid_at": iso(row["last_hid_at"]), "created_by": row["created_by"],
            "created_at": iso(row["created_at"]), "expires_at": iso(row["expires_at"]),
            "removed_at": iso(row["removed_at"])}
