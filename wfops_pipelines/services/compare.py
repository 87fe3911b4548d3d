"""One workflow in two places: two environments, or what runs and what Git says of it (§8).

What the store holds is compared; nothing is read from n8n or Git. Between two environments the portable forms are
compared, so that ids and credential names that only say the same thing differently are no differences; within one
environment the contents as they are, which is what drift is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.diff import WorkflowDiff, diff
from wfops_pipelines.domain.errors import Blocked, UnknownWorkflow, UsageError
from wfops_pipelines.domain.portable import to_portable
from wfops_pipelines.domain.references import references
from wfops_pipelines.domain.workflow import Content, decode_content
from wfops_pipelines.services.hashing import credential_keys
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

GIT = "@git"


@dataclass(frozen=True, slots=True)
class Side:
    """Where to look: an environment's live workflows, or its files in Git."""

    tenant: str
    environment: str
    git: bool = False

    @classmethod
    def parse(cls, text: str) -> Side:
        """``acme/prod`` or ``acme/prod@git``; :class:`UsageError` for anything else."""
        place = text.removesuffix(GIT)
        tenant, slash, environment = place.partition("/")
        if not (tenant and slash and environment) or "/" in environment or "@" in environment:
            raise UsageError(f"{text!r} names no environment", fix="write TENANT/ENV, or TENANT/ENV@git for what Git holds")
        return cls(tenant, environment, git=text.endswith(GIT))

    def __str__(self) -> str:
        return f"{self.tenant}/{self.environment}{GIT if self.git else ''}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs. ``as_of`` is when each side was last read (ISO 8601), none if never. ``contents`` are the two sides as
    they were compared, for a picture; they are not masked."""

    name: str
    canonical_id: str | None
    diff: WorkflowDiff
    as_of: tuple[str | None, str | None]
    contents: tuple[Content | None, Content | None] = field(default=(None, None), repr=False)


@dataclass(frozen=True, slots=True)
class _Place:
    side: Side
    context: Context
    environment: Row[Any]
    rows: Sequence[Row[Any]]  # mappings, or Git states: both have name, workflow_id and canonical_id


def compare_workflow(services: Services, before: Side, after: Side, workflow: str, *, actor: str) -> Comparison:
    """Compare a workflow, named by its name, n8n id or canonical id on either side.

    On one side alone it is added or removed; on none it is :class:`UnknownWorkflow`. Looking at contents is audited (§19.3).
    """
    places = [_place(services, side, actor) for side in (before, after)]
    rows = _find(places, workflow)
    if rows == [None, None]:
        raise UnknownWorkflow(f"neither {before} nor {after} has a workflow {workflow!r}",
                              fix="`wfops matrix` lists what there is; `wfops sync` reads it anew")
    portable = (before.tenant, before.environment) != (after.tenant, after.environment)
    contents = [_content(services, place, row, portable=portable) for place, row in zip(places, rows, strict=True)]
    known = next(row for row in rows if row is not None)
    return Comparison(known.name, str(known.canonical_id) if known.canonical_id else None, diff(contents[0], contents[1]),
                      (_as_of(places[0]), _as_of(places[1])), (contents[0], contents[1]))


def _place(services: Services, side: Side, actor: str) -> _Place:
    context = services.context(side.tenant, actor=actor)
    environment = services.environment(context, side.environment)
    with services.store.read(context) as work:
        if side.git:
            rows = work.git_states.of_environment(environment.id)
        else:
            rows = [row for row in work.mappings.of_environment(environment.id)
                    if row.missing_at is None and row.deleted_at is None]
    return _Place(side, context, environment, rows)


def _find(places: Sequence[_Place], workflow: str) -> list[Row[Any] | None]:
    first, second = places
    row = _named(first, workflow)
    if row is not None:
        return [row, _counterpart(row, first, second) or _named(second, workflow)]
    other = _named(second, workflow)
    return [_counterpart(other, second, first) if other is not None else None, other]


def _named(place: _Place, workflow: str) -> Row[Any] | None:
    """The workflow of that id or name; :class:`UsageError` when the name is not unique."""
    for column in ("workflow_id", "canonical_id", "name"):
        found = [row for row in place.rows if str(row._mapping[column] or "") == workflow]
        if len(found) > 1:
            ids = ", ".join(str(row.workflow_id or row.canonical_id) for row in found[:5])
            raise UsageError(f"{place.side} has {len(found)} workflows {workflow!r}", fix=f"name it by its id: {ids}")
        if found:
            return found[0]
    return None


def _counterpart(row: Row[Any], here: _Place, there: _Place) -> Row[Any] | None:
    """The same workflow on the other side, by what is certain: its canonical id, or within one environment the n8n id."""
    if row.canonical_id is not None and here.context.tenant_id == there.context.tenant_id:
        for other in there.rows:
            if other.canonical_id == row.canonical_id:
                return other
    if row.workflow_id is not None and here.environment.id == there.environment.id:
        return next((other for other in there.rows if other.workflow_id == row.workflow_id), None)
    return None


def _content(services: Services, place: _Place, row: Row[Any] | None, *, portable: bool) -> Content | None:
    if row is None:
        return None
    digest = row.digest if place.side.git else row.live_digest
    with services.store.unit_of_work(place.context, "payload.read") as work:
        body = work.payloads.load([digest]).get(digest)
        if body is None:
            raise Blocked(f"{place.side} was read anew meanwhile, and what {row.name!r} was is not stored any more",
                          fix="compare again")
        content = decode_content(body)
        if portable:
            content = _portable(work, place.environment.id, row.workflow_id, content)
        work.record("payload.read", "workflow", str(row.canonical_id or row.workflow_id),
                    environment=place.environment.slug, name=row.name, digest=digest,
                    source="git" if place.side.git else "n8n")
    return content


def _portable(work: UnitOfWork, environment_id: UUID, workflow_id: str | None, content: Content) -> Content:
    wanted = references(content).workflow_ids
    canonical = work.mappings.canonical_ids_of(environment_id, wanted)
    for called, states in work.git_states.by_workflow(environment_id, wanted - set(canonical)).items():
        if len(states) == 1:
            canonical[called] = str(states[0].canonical_id)
    return to_portable(content, self_id=workflow_id, canonical_id_of=canonical,
                       credential_key_of=credential_keys(work, environment_id))


def _as_of(place: _Place) -> str | None:
    moment = place.environment.git_synced_at if place.side.git else place.environment.last_sync_at
    return None if moment is None else str(moment.isoformat())
