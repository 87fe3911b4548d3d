"""Promotions as they are listed, and everything about one (§11): plan, gates, decisions, results, and what happened when."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.audit import AuditEvent, decode
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.promotion import PromotionStatus
from wfops_pipelines.domain.shown import iso
from wfops_pipelines.services.audit_reports import event_json
from wfops_pipelines.services.operations import is_running
from wfops_pipelines.services.promotion_options import JsonObject
from wfops_pipelines.services.promotion_request import find, report_of
from wfops_pipelines.services.promotion_waiting import gates_at, waiting_now
from wfops_pipelines.services.rollback_state import rollback_states
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

_EVENTS: Final = 5_000  # of one operation: two for each workflow that it writes
_TOLD: Final = frozenset({"git.exported", "mapping.linked", "environment.writes_blocked", "environment.writes_unblocked",
                          "snapshot.taken", "credential.placeholder_created"})
_WAIT: Final = frozenset({PromotionStatus.PENDING_APPROVAL, PromotionStatus.APPROVED})
_BEGUN: Final = frozenset({"promotion.running", "promotion.rollback_begun"})  # with it an operation begins to write


def list_promotions(services: Services, context: Context, *, target: str | None = None, statuses: Collection[str] = (),
                    before: int | None = None, limit: int = 50) -> tuple[list[dict[str, Any]], int | None]:
    """A page, newest first, and the cursor of the next one (none after the last): the number of the page's last promotion.

    :class:`UsageError` for a status that there is not, :class:`UnknownPromotion` for a cursor that is none.
    """
    wrong = sorted(set(statuses) - set(PromotionStatus))
    if wrong:
        raise UsageError(f"there is no status {wrong[0]!r}", fix=f"one of {', '.join(PromotionStatus)}")
    environments = [services.environment(context, target).id] if target is not None else None
    with services.store.read(context) as work:
        cursor = None
        if before is not None:
            last = find(work, before)
            cursor = (last.requested_at, last.id)
        rows = work.promotions.listed(environment_ids=environments, statuses=tuple(statuses) or None, before=cursor,
                                      limit=limit + 1)
        slugs = {row.id: row.slug for row in work.fleet.environments()}
        rollbacks = rollback_states(services, work, rows[:limit])
        shown = []
        for row in rows[:limit]:
            waiting = _waiting(services, work, find(work, row.number)) if row.status in _WAIT else None
            rollback = rollbacks[row.id].as_json() if row.id in rollbacks else None
            shown.append(_listed(context.tenant_slug, row, slugs) | {"rollback": rollback, "waiting": waiting})
    return shown, rows[limit - 1].number if len(rows) > limit else None


def _listed(tenant: str, row: Row[Any], slugs: dict[UUID, str]) -> dict[str, Any]:
    source = slugs.get(row.source_environment_id, "(deleted)") if row.source_environment_id else "snapshot"
    return {
        "name": f"{tenant}/p{row.number}", "promotion_id": str(row.id), "kind": row.kind, "source": source,
        "target": slugs.get(row.target_environment_id, "(deleted)"), "status": row.status, "reason": row.reason,
        "rollback_incomplete": row.rollback_incomplete, "checksum": row.checksum, "requested_by": row.requested_by,
        "requested_at": row.requested_at.isoformat(), "started_at": iso(row.started_at), "ended_at": iso(row.ended_at),
        "git_status": row.git_status, "commit": row.git_commit, "pull_request": row.git_pull_request,
        "run_id": row.run_id,
    }


def show_promotion(services: Services, context: Context, number: int) -> dict[str, Any]:
    """Everything about one, as ``PromotionReport.as_json`` has it, with ``options``, times, ``run_id``, ``interrupted`` (it
    runs, and no living process works on it), when its gates were evaluated (``gates_at``), what it is ``waiting`` for now
    (``{since, for}``), what became of its pull request (``pull_request_state``), and the ``timeline``: its audit events, and
    those of the operations that wrote for it, in order, with the hashes before and after."""
    shown = report_of(services, context, number).as_json()
    with services.store.read(context) as work:
        row = find(work, number)
        slugs = {each.id: each.slug for each in work.fleet.environments()}
        shown |= _listed(context.tenant_slug, row, slugs) | {
            "options": row.options, "gates_at": gates_at(row).isoformat(), "waiting": _waiting(services, work, row)}
        shown["interrupted"] = row.status == PromotionStatus.RUNNING and not is_running(
            services, work, row.target_environment_id, row.operation_id)
        shown["timeline"] = _timeline(work, row)
        shown["pull_request_state"] = _pull_request_state(shown["timeline"], row.git_pull_request)
    return shown


def promotion_status(services: Services, context: Context, number: int) -> dict[str, Any]:
    """How far one is, for whoever watches it: ``status``, what it is ``waiting`` for, ``steps`` of its operation (name,
    state), and of its ``writes`` how many are ``done``."""
    with services.store.read(context) as work:
        row = find(work, number)
        journal = work.journal.of_operation(row.operation_id) if row.operation_id is not None else []
        steps = work.operations.steps(row.operation_id) if row.operation_id is not None else []
        waiting = _waiting(services, work, row)
    return {
        "name": f"{context.tenant_slug}/p{number}", "status": row.status, "reason": row.reason, "git_status": row.git_status,
        "waiting": waiting, "writes": len(journal), "done": sum(each.state in ("done", "settled") for each in journal),
        "undone": sum(each.state == "undone" for each in journal),
        "steps": [{"name": each.name, "state": each.state} for each in steps]}


def _pull_request_state(timeline: Sequence[dict[str, Any]], url: str | None) -> str | None:
    """What became of the pull request that is shown: ``open``, ``merged``, ``closed`` by somebody, ``undone`` (closed by a
    rollback), ``without_it`` (open, but this promotion was rolled back), ``of_rollback`` (open) or ``rollback_merged``; none
    where there is none."""
    state: str | None = None
    rolled_back = False
    for event in timeline:
        match event["action"]:
            case "promotion.rolled_back":
                rolled_back = True
            case "promotion.pull_request_closed":
                state = "closed"
            case "promotion.git_pull_request" if not rolled_back:
                state = "open"
            case "promotion.git_pull_request":
                state = "without_it" if state == "open" else "of_rollback"
            case "promotion.git_committed" if event["details"].get("pull_request"):
                state = "rollback_merged" if state == "of_rollback" else "merged" if not rolled_back else state
            case "promotion.git_committed" if rolled_back:
                state = "undone"
    return state if url is not None else None


def _waiting(services: Services, work: UnitOfWork, row: Row[Any]) -> JsonObject | None:
    """What it waits for now; also for whatever is at work in its target."""
    waiting = waiting_now(work, row, services.now())
    lease = work.leases.current(row.target_environment_id) if waiting is not None else None
    if waiting is not None and lease is not None and lease.released_at is None and is_running(
            services, work, row.target_environment_id, lease.operation_id):
        waiting["for"].append(f"its target, which operation {lease.operation_id} holds")
    return waiting


def _timeline(work: UnitOfWork, row: Row[Any]) -> list[dict[str, Any]]:
    own = [decode(each) for each in work.audit.events(subject=("promotion", f"p{row.number}"), limit=_EVENTS)]
    events = {event.sequence: event for event in own}
    operations = {event.operation_id for event in own if event.operation_id is not None}
    ours = {str(operation_id) for operation_id in operations}
    # What finished or undid the writes of a dead process did so for this promotion, also where it says nothing else of it.
    own += [decode(each) for operation_id in sorted(ours) for each in work.audit.events(
        subject=("operation", operation_id), action="operation.recovered", limit=_EVENTS)]
    for operation_id in {event.operation_id for event in own if event.operation_id is not None}:
        within = [decode(each) for each in work.audit.events(operation_id=operation_id, limit=_EVENTS)]
        first, last = _bounds([event for event in own if event.operation_id == operation_id], within, ours)
        for event in within:
            told = event.action.startswith("runtime.") or event.action in _TOLD
            recovered = event.action == "operation.recovered" and event.subject_id in ours
            if recovered or (told and first <= event.sequence <= last):
                events.setdefault(event.sequence, event)
    return [event_json(events[sequence]) for sequence in sorted(events)]


def _bounds(own: Sequence[AuditEvent], within: Sequence[AuditEvent], ours: Collection[str]) -> tuple[int, int]:
    """The first and last event of an operation that may be about the promotion. An operation first finishes what another
    one left, and that is another promotion's story. One that wrote for this promotion is about nothing else afterwards,
    also where its process died before it could say what became of it."""
    begun = min(event.sequence for event in own)
    before = [event.sequence for event in within if event.action == "operation.recovered" and event.subject_id not in ours]
    first = max((sequence for sequence in before if sequence < begun), default=0) + 1
    wrote = any(event.action in _BEGUN for event in own)
    return first, max(event.sequence for event in (within if wrote else own))
