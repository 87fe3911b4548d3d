"""Things as people name them: workflows by id, or by name where only one has it; rules and waivers by their id's first
characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, UnknownWorkflow, UsageError
from wfops_pipelines.store.unit_of_work import UnitOfWork

_SHORTEST: Final = 4  # characters of an id that are enough to look it up, within a tenant


def named_mapping(work: UnitOfWork, context: Context, place: Row[Any], workflow: str) -> Row[Any]:
    """The environment's workflow of that n8n id, or of that name when only one has it."""
    found = work.mappings.by_workflow(place.id, [workflow]).get(workflow)
    if found is not None and found.deleted_at is None:
        return found
    named = [row for row in work.mappings.of_environment(place.id) if row.name == workflow and row.deleted_at is None]
    if len(named) > 1:
        raise UsageError(f"{context.tenant_slug}/{place.slug} has {len(named)} workflows {workflow!r}",
                         fix=f"name it by its n8n id: {', '.join(row.workflow_id for row in named[:10])}")
    if not named:
        raise UnknownWorkflow(f"{context.tenant_slug}/{place.slug} has no workflow {workflow!r}",
                              fix="name it by its n8n id or name, as `wfops matrix` and n8n's address bar show them; "
                                  "a new one is known after `wfops sync`")
    return named[0]


def named_canonical(work: UnitOfWork, context: Context, wanted: str, *, deleted: bool = False) -> Row[Any]:
    """The tenant's canonical workflow of that id, or of that name when only one has it; ``deleted``: of those that are."""
    rows = [row for row in work.mappings.canonicals().values() if (row.deleted_at is not None) == deleted]
    found = [row for row in rows if str(row.id) == wanted.lower()] or [row for row in rows if row.name == wanted]
    if len(found) > 1:
        raise UsageError(f"tenant {context.tenant_slug} has {len(found)} canonical workflows {wanted!r}",
                         fix=f"name it by its id: {', '.join(str(row.id) for row in found[:10])}")
    if not found:
        raise UnknownWorkflow(f"tenant {context.tenant_slug} has no {'deleted ' if deleted else ''}canonical workflow "
                              f"{wanted!r}",
                              fix=_deleted_ones(rows) if deleted else
                                  f"`wfops matrix {context.tenant_slug}` lists them with their ids")
    return found[0]


def named_by_id(context: Context, rows: Sequence[Row[Any]], name: str, what: str) -> Row[Any]:
    """The row of that id, or of the id that begins like it. ``what`` it is (``ignore rule``) is said in the
    :class:`UsageError` where there is none, or several."""
    wanted = name.strip().lower()
    found = [row for row in rows if str(row.id) == wanted] or (
        [row for row in rows if str(row.id).startswith(wanted)] if len(wanted) >= _SHORTEST else [])
    if len(found) != 1:
        several = ", ".join(str(row.id) for row in found[:5])
        there = f"several {what}s" if found else f"no {what}"
        raise UsageError(f"tenant {context.tenant_slug} has {there} {name!r}",
                         fix=f"write more of its id: {several}" if found
                         else f"`wfops {what.replace(' ', '-')} list {context.tenant_slug}` shows those there are")
    return found[0]


def _deleted_ones(rows: Sequence[Row[Any]], shown: int = 10) -> str:
    """The deleted workflows, the last deleted first: no listing shows them."""
    newest = sorted(rows, key=lambda row: (row.deleted_at, row.id), reverse=True)
    named = ", ".join(f"{row.name!r} ({row.id})" for row in newest[:shown])
    more = f" and {len(rows) - shown} deleted before these" if len(rows) > shown else ""
    return f"deleted are: {named}{more}" if rows else "none is deleted"


def keep_undeleted(work: UnitOfWork, context: Context, canonical_ids: Iterable[UUID]) -> None:
    """Nobody deletes these canonical workflows until the transaction ends; :class:`Blocked` where somebody just did."""
    for row in work.mappings.canonicals(list(canonical_ids), lock=True).values():
        if row.deleted_at is not None:
            raise Blocked(f"canonical workflow {row.id} ({row.name!r}) was deleted meanwhile",
                          fix=f"wfops undelete {context.tenant_slug} {row.id}, if it should be there")
