"""Waivers of the lint by hand (§11.5): a finding that somebody answers for, with an owner, a reason and an end. They hold
from the next plan on; an expired one does nothing, and is named where it would have done something."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.workflow_lint import new_waiver
from wfops_pipelines.services.named import named_by_id
from wfops_pipelines.services.services import Services

_WHAT: Final = ("rule", "workflow", "node", "owner", "reason")


def add_waiver(services: Services, context: Context, *, expires_at: datetime, dry_run: bool = False,
               **said: str | None) -> dict[str, Any]:
    """Add a waiver; ``said`` are ``rule``, ``workflow`` (a pattern of names), ``node`` (likewise, or none), ``owner``,
    ``reason``. :class:`InvalidFields` names every field that does not fit."""
    now = context.now()
    waiver = new_waiver({"id": context.new_id(), "expires_at": expires_at, **{name: said.get(name) for name in _WHAT}},
                        now=now)
    row = {**waiver.model_dump(), "rule": str(waiver.rule), "created_by": context.actor, "created_at": now}
    if not dry_run:
        with services.store.unit_of_work(context, "lint_waiver.add") as work:
            work.lint_waivers.add(**row)
            work.record("lint_waiver.added", "lint_waiver", str(waiver.id), **{name: row[name] for name in _WHAT},
                        expires_at=waiver.expires_at.isoformat())
    return {**_json({**row, "removed_at": None}, now), "dry_run": dry_run}


def list_waivers(services: Services, context: Context, *, removed: bool = False) -> list[dict[str, Any]]:
    """The tenant's waivers, oldest first, expired ones too; with ``removed`` also those taken away."""
    now = context.now()
    with services.store.read(context) as work:
        rows = work.lint_waivers.all() if removed else work.lint_waivers.standing()
    return [_json(row._mapping, now) for row in rows]


def remove_waiver(services: Services, context: Context, name: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Take a waiver away, named by its id or the beginning of it: the finding counts again. One that is gone already stays
    as it is. :class:`UsageError` when the tenant has none such, or several."""
    store = services.store
    with store.read(context) if dry_run else store.bookkeeping(context, "lint_waiver.remove") as work:
        row = named_by_id(context, work.lint_waivers.all(), name, "waiver")
        gone, now = row.removed_at is not None, context.now()
        if not dry_run and not gone:
            work.lint_waivers.remove(row.id, now)
            work.record("lint_waiver.removed", "lint_waiver", str(row.id), **{what: row._mapping[what] for what in _WHAT})
    return {**_json({**row._mapping, "removed_at": row.removed_at or now}, now), "changed": not gone, "dry_run": dry_run}


def _json(row: Mapping[str, Any] | Any, now: datetime) -> dict[str, Any]:
    """A waiver as ``--json`` shows it; ``state`` is ``active``, ``expired`` or ``removed``."""
    removed = row["removed_at"]
    state = "removed" if removed is not None else "active" if now < row["expires_at"] else "expired"
    return {"id": str(row["id"]), **{name: row[name] for name in _WHAT}, "state": state, "created_by": row["created_by"],
            "created_at": row["created_at"].isoformat(), "expires_at": row["expires_at"].isoformat(),
            "removed_at": None if removed is None else removed.isoformat()}
