"""Contents that name workflows which the same writes create: completed when those have an id (§11.3, §11.4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.errors import NotVerified
from wfops_pipelines.domain.lower import lower
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.references import called_workflow, needed_workflows
from wfops_pipelines.domain.runtime_write import RuntimeState
from wfops_pipelines.domain.transform_tables import EnvironmentTables
from wfops_pipelines.domain.workflow import Content, decode_content
from wfops_pipelines.services.hashing import bodies, encoded
from wfops_pipelines.services.intended_writes import key_of
from wfops_pipelines.services.runtime_convergence import Goal
from wfops_pipelines.store.unit_of_work import UnitOfWork


def complete(work: UnitOfWork, row: Row[Any], rows: Sequence[Row[Any]], environment: str, *, whole: bool) -> dict[str, Any]:
    """What a row of the journal is to become, with the ids that its siblings have by now in place of their terms. With
    ``whole``, :class:`NotVerified` names what it still awaits: it could not be created."""
    after: dict[str, Any] = dict(row.after)
    content = decode_content(work.payloads.load([after["live_digest"]])[after["live_digest"]])
    ids = {key: other.workflow_id for other in rows if (key := key_of(other)) and other.workflow_id
           and other.state != "undone"}
    # Everything else was lowered when it was planned: tables with ids alone touch nothing but the terms of workflows.
    lowered = lower(content, EnvironmentTables(environment, workflow_ids=ids), self_id=row.workflow_id,
                    planned=after["awaits"])
    if whole and lowered.awaited:
        names = {key_of(other): other.name for other in rows}
        missing = ", ".join(repr(names.get(key, key)) for key in lowered.awaited)
        raise NotVerified(f"{row.name!r} needs {missing}, which could not be created", fix="look at why that failed")
    if lowered.content == content:
        return after
    body = encoded(lowered.content)
    work.payloads.save(bodies([body]))
    hash_ = content_hash(lowered.content)
    on_the_way = sorted({*after.get("on_the_way", ()), after["live_hash"]})
    return after | {"live_digest": body.digest, "live_hash": hash_, "draft_hash": hash_,
                    "awaits": list(lowered.awaited), "on_the_way": on_the_way}


def in_the_way(work: UnitOfWork, row: Row[Any], rows: Sequence[Row[Any]]) -> str | None:
    """Why a write that has not failed itself cannot stay, in words, where writes are not atomic: it needs a workflow that
    could not be created, or takes one away that another one calls still, because that could not be written. Else none."""
    failed = [other for other in rows if other.state in ("undone", "failed") and other.position != row.position]
    if row.after is None or row.after.get("archived"):
        callers = [other.name for other in failed if row.workflow_id in _needed(work, other.before)]
        return f"it is still called by {', '.join(map(repr, callers))}, which could not be written" if callers else None
    created = {other.workflow_id: other.name for other in failed if other.before is None and other.workflow_id}
    missing = sorted(created[each] for each in _needed(work, row.after) & created.keys()) if created else []
    return f"it needs {', '.join(map(repr, missing))}, which could not be created" if missing else None


def _needed(work: UnitOfWork, told: Mapping[str, Any] | None) -> set[str]:
    """The workflows that a state in the journal needs to run, by n8n id."""
    digest = (told or {}).get("live_digest")
    if not digest or (told or {}).get("archived"):
        return set()
    return needed_workflows(decode_content(work.payloads.load([digest])[digest]))


def without_calls_back(work: UnitOfWork, row: Row[Any], rows: Sequence[Row[Any]], before: Goal) -> tuple[
        Goal | None, dict[str, Any]]:
    """What :func:`without_late_calls` is, for undoing: the workflow as it was, with the nodes disabled that call others of
    the journal, which n8n 2.x may not have published yet; none where it did not run, or calls none of them."""
    told: dict[str, Any] = dict(row.after or {})
    if before.state is None or not before.state.active or before.live is None or not told:
        return None, told
    return _opened(work, before.live, {other.workflow_id for other in rows if other.position != row.position}, told)


def without_late_calls(work: UnitOfWork, row: Row[Any], rows: Sequence[Row[Any]], after: Goal) -> tuple[
        Goal | None, dict[str, Any]]:
    """The workflow with the nodes disabled that call one of its late siblings, and the row's ``after`` that knows of it;
    none where no node does. n8n lets a workflow call itself before it is published."""
    told: dict[str, Any] = dict(row.after)
    late = {other.workflow_id for other in rows if key_of(other) in told["late"] and other.position != row.position}
    assert after.live is not None  # noqa: S101 - the caller looked
    return _opened(work, after.live, late, told)


def _opened(work: UnitOfWork, whole: Content, called: Collection[str | None], told: dict[str, Any]) -> tuple[
        Goal | None, dict[str, Any]]:
    content = _disabled(whole, called)
    if content is whole:
        return None, told
    body = encoded(content)
    work.payloads.save(bodies([body]))
    hash_ = content_hash(content)
    told["on_the_way"] = sorted({*told.get("on_the_way", ()), hash_})
    return Goal(RuntimeState(hash_, hash_, active=True), content, content), told


def _disabled(content: Content, late: Collection[str | None]) -> Content:
    nodes = [{**node, "disabled": True} if called_workflow(node) in late and node.get("disabled") is not True else node
             for node in content["nodes"]]
    return content if nodes == content["nodes"] else {**content, "nodes": nodes}
