"""Drift detection, Git ↔ n8n (§9).

:func:`check_drift` refreshes the environment and its repository and then compares; :func:`compare_stored` compares what
the store holds. An environment that cannot be read is ``ERROR`` with the kind; its last good status stays visible.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

import orjson
from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.conflicts import Conflict, find_conflicts
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.diff import as_json, diff
from wfops_pipelines.domain.drift import (
    DriftCounts,
    DriftKind,
    EnvironmentDriftStatus,
    WorkflowDrift,
    count,
    environment_status,
    has_drift,
    judge,
)
from wfops_pipelines.domain.errors import MalformedFile, OutsideError, SecretUnreadable, UsageError, WfopsError
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.shown import iso
from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.services.environment_sync import MAX_PROBLEMS, EnvironmentSync
from wfops_pipelines.services.explain_incident import explain
from wfops_pipelines.services.follow_drift import Followed, follow
from wfops_pipelines.services.holder import monotonic_ms
from wfops_pipelines.services.ignored_drift import without_ignored
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.pairing import StoredSides, match_environment, remember_in_sync, stored_sides
from wfops_pipelines.services.promotion_git import commit_what_is_left
from wfops_pipelines.services.recognition import Recognition
from wfops_pipelines.services.rehash import rehash_environment
from wfops_pipelines.services.same_id_files import SAME_ID
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.standing_conflicts import as_json as as_json_conflict
from wfops_pipelines.services.standing_conflicts import conflict_problems, sides_of
from wfops_pipelines.services.sync_environment import read_environment
from wfops_pipelines.services.sync_repository import DUPLICATE, RepositorySync, read_repository
from wfops_pipelines.store.unit_of_work import UnitOfWork

CheckType = Literal["scheduled", "manual"]
UNSEEN = (OutsideError, MalformedFile, SecretUnreadable, UsageError)
"""What keeps a check from seeing both sides (§9): n8n or Git say no, or what is declared for them cannot be used."""


@dataclass
class DriftCheck:
    """The answer of a check. ``workflows`` are what differs (``--json``'s shape); ``last_sync_at`` tells how old the
    comparison is. ``problems`` are files of the folder and workflows of n8n that could not be read, and what of them was
    compared (``counts``): ``last``, what they said when they last could be, ``nothing`` where they never could, ``now``
    for a file that is wrong but read; and workflows in conflict, with the way out. The ``hint`` of a workflow says of
    which conflict its drift comes."""

    tenant: str
    environment: str
    operation_id: str
    status: str
    repository: RepositorySync | None = None
    inventory: EnvironmentSync | None = None
    reason: str | None = None
    error: WfopsError | None = None
    changed: bool = False
    counts: dict[str, Any] = field(default_factory=dict)
    workflows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)
    last_sync_at: str | None = None
    last_good_status: str | None = None
    last_good_at: str | None = None
    incident: dict[str, Any] | None = None
    incident_closed: int | None = None
    duration_ms: int = 0

    def follow(self, followed: Followed) -> None:
        """What the check did to the environment's incident."""
        self.incident_closed = followed.closed
        if followed.number is not None:
            self.incident = {"id": str(followed.incident_id), "number": followed.number, "state": followed.state,
                             "opened": followed.opened}

    @property
    def drifted(self) -> bool:
        """Whether the environment is not what Git says."""
        return any(w["kind"] != DriftKind.UNPUBLISHED_CHANGES for w in self.workflows)

    def as_json(self) -> dict[str, Any]:
        """As ``wfops drift --json`` shows it."""
        return {
            "tenant": self.tenant, "environment": self.environment, "status": self.status, "reason": self.reason,
            "message": str(self.error) if self.error is not None else None, "workflows": self.workflows,
            "problems": self.problems, "counts": self.counts,
            "last_sync_at": self.last_sync_at, "last_good_status": self.last_good_status,
            "last_good_at": self.last_good_at, "incident": self.incident, "incident_closed": self.incident_closed,
            "operation_id": self.operation_id, "duration_ms": self.duration_ms,
        }


async def check_drift(services: Services, context: Context, environment: Row[Any], *,
                      check_type: CheckType = "manual") -> DriftCheck:
    """Refresh both sides, then compare. What n8n or Git refuse makes the status ``ERROR``, not an exception;
    :class:`OperationRunning` is one, for then nothing was checked."""
    failed: WfopsError | None = None
    repository: RepositorySync | None = None
    inventory: EnvironmentSync | None = None
    check: DriftCheck | None = None
    try:
        async with run_operation(services, context, OperationKind.DRIFT_DETECTION, environment) as operation:
            started = monotonic_ms()
            try:
                if environment.repository_id is not None:
                    async with operation.step("repository") as result:
                        repository = await read_repository(operation)
                        result.update(repository.as_json())
                    async with operation.step("environment") as result:
                        inventory = await read_environment(operation)
                        result.update(inventory.as_json())
                    await commit_what_is_left(operation)
            except UNSEEN as error:
                failed = error
                check = await asyncio.to_thread(_record_error, operation, error, check_type, started)
                raise
            async with operation.step("comparison") as result:
                check = await asyncio.to_thread(_compare, operation, check_type, started, repository, inventory)
                check.problems += await asyncio.to_thread(_unread, operation, inventory)
                result.update(check.as_json())
            if check.incident is not None:
                await explain(operation, UUID(check.incident["id"]), changed=check.changed)
    except UNSEEN as error:
        if error is not failed or check is None:
            raise
    assert check is not None  # noqa: S101 - every way here made one
    check.repository, check.inventory = repository, inventory
    return check


async def note_unseen(services: Services, context: Context, environment: Row[Any], error: WfopsError, *,
                      check_type: CheckType) -> DriftCheck:
    """The check of an environment of which ``error`` is known already to stand in the way: nobody is asked again, nor for
    what others left half-written there. As :func:`check_drift` otherwise."""
    check: DriftCheck | None = None
    try:
        async with run_operation(services, context, OperationKind.DRIFT_DETECTION, environment,
                                 recovers=False) as operation:
            check = await asyncio.to_thread(_record_error, operation, error, check_type, monotonic_ms())
            raise error
    except WfopsError as raised:
        if raised is not error or check is None:
            raise
    return check


async def compare_stored(services: Services, context: Context, environment: Row[Any], *,
                         check_type: CheckType = "manual") -> DriftCheck:
    """Compare what the store holds, as it is; asks neither n8n nor Git. So it is none of the checks that are due, however
    often it is made, and where n8n was not seen, or not at all so far, the status stays what it is (§9)."""
    async with run_operation(services, context, OperationKind.DRIFT_DETECTION, environment) as operation:
        return await asyncio.to_thread(_compare, operation, check_type, monotonic_ms(), asked=False)


def compare_within(operation: RunningOperation) -> DriftCheck:
    """Compare what the store holds, inside an operation that has just read or written both sides."""
    return _compare(operation, "manual", monotonic_ms())


def _compare(operation: RunningOperation, check_type: CheckType, started: float, repository: RepositorySync | None = None,
             inventory: EnvironmentSync | None = None, *, asked: bool = True) -> DriftCheck:
    failpoints.reach("drift.compare")
    rehash_environment(operation)
    context, slug = operation.context, operation.environment.slug
    with operation.services.store.bookkeeping(context, "drift.compare", held=operation.held) as work:
        environment = work.fleet.environment(operation.environment.id)
        if not asked and environment.repository_id is not None and (
                environment.last_sync_at is None or environment.drift_status == EnvironmentDriftStatus.ERROR):
            return _check(operation, environment, environment.drift_status, environment.drift_reason, [], None, started)
        known = Recognition(work, environment, check_type, repository, inventory)
        stored = stored_sides(work, environment.id)
        matching = match_environment(work, environment, stored)
        files, unreadable = stored.files, work.git_states.errors(environment.id)
        tracked = environment.repository_id is not None and (
            bool(files) or bool(unreadable) or environment.ever_mapped or work.mappings.ever_mapped(environment.id))
        drifts = judge(matching) if tracked else ()  # nothing was ever put under Git: there is nothing to drift from
        before = {row.subject: row for row in work.drift.of_environment(environment.id)}
        visible = without_ignored(work, environment, drifts, _rows(work, operation, drifts, before, stored))
        rows, counts = visible.rows, count(matching, visible.drifts)
        if not tracked:
            counts = replace(counts, drifted=0, in_sync=0, kinds=dict.fromkeys(counts.kinds, 0))
        followed = follow(work, context, environment, rows=rows, fingerprint=_drift_fingerprint(rows), tracked=tracked,
                          operation_id=operation.id)
        status, reason = environment_status(
            repository_configured=environment.repository_id is not None, error_kind=None, open_incident=followed.state,
            ever_mapped=tracked, has_files=tracked, has_drift=has_drift(visible.drifts),
        )
        remember_in_sync(work, stored, matching)
        check = _check(operation, environment, status, reason, rows, counts, started)
        check.counts |= {"hidden": visible.workflows, "hidden_changes": visible.changes}
        check.follow(followed)
        paths = {file.path for file in files}
        check.problems = [{"path": e.path, "reason": e.reason, "message": e.message, "counts": _counts(e, paths)}
                          for e in unreadable[:MAX_PROBLEMS]]
        conflicts = find_conflicts(sides_of(work, environment.id, stored))
        check.problems += conflict_problems(context, environment, conflicts)[:MAX_PROBLEMS]
        _hint(check, context, environment, conflicts)
        check.changed = _record(work, operation, environment, check, check_type, rows, before, asked=asked)
        if inventory is not None:
            work.circuits.forget(environment.id)  # it answered
        known.remember(quiet=counts.drifted == 0 and visible.workflows == 0 and visible.changes == 0)
    operation.metrics.update({"status": status, "drifted": counts.drifted, "environment": slug,
                              "incident": followed.number})
    return check


def _counts(error: Row[Any], known: set[str]) -> str:
    """What was compared of a file with an error: ``now``, ``last`` or ``nothing``."""
    if error.reason in (DUPLICATE, SAME_ID):
        return "now"
    return "last" if error.path in known else "nothing"


def _unread(operation: RunningOperation, inventory: EnvironmentSync | None) -> list[dict[str, str]]:
    """The workflows of n8n that could not be read."""
    problems = inventory.problems if inventory is not None else []
    if not problems:
        return []
    with operation.services.store.read(operation.context) as work:
        known = work.mappings.by_workflow(operation.environment.id, [problem["workflow_id"] for problem in problems])
    return [{"workflow_id": p["workflow_id"], "reason": p["kind"], "message": p["message"],
             "counts": "last" if p["workflow_id"] in known else "nothing"} for p in problems]


def _hint(check: DriftCheck, context: Context, environment: Row[Any], conflicts: Iterable[Conflict]) -> None:
    """Where a workflow differs because it, or its file, is claimed as two (§5.3), the row says so, and the way out:
    nothing that is deployed or exported ends such a drift."""
    hints: dict[str, str] = {}
    for conflict in conflicts if check.workflows else ():
        said = as_json_conflict(context, environment, conflict)
        for subject in (conflict.workflow_id, *conflict.paths, *conflict.holders):
            hints.setdefault(subject, f"{said['message']}; {said['fix']}")
    for row in check.workflows:
        row["hint"] = hints.get(row["workflow_id"] or "") or hints.get(row["path"] or "")


def _rows(work: UnitOfWork, operation: RunningOperation, drifts: Iterable[WorkflowDrift], known: Mapping[str, Row[Any]],
          stored: StoredSides) -> list[dict[str, Any]]:
    """Drift rows; what is ``known`` already keeps its beginning and, between the same two contents, its diff."""
    digest_of_path = {row.path: row.digest for row in stored.files}
    mappings = {row.workflow_id: row for row in stored.workflows}
    rows = []
    for drift in drifts:
        subject = drift.workflow_id or drift.path or ""
        before = known.get(subject)
        same = before is not None and drift.kind is not DriftKind.UNPUBLISHED_CHANGES and (
            before.kind, before.runtime_hash, before.git_hash) == (drift.kind, drift.runtime_hash, drift.git_hash)
        rows.append({
            "subject": subject, "name": drift.name, "canonical_id": drift.canonical_id, "path": drift.path,
            "workflow_id": drift.workflow_id, "kind": drift.kind, "kinds": [str(k) for k in drift.kinds],
            "runtime_hash": drift.runtime_hash, "git_hash": drift.git_hash, "active": drift.active,
            "wants_active": drift.wants_active,
            "since": before.since if before is not None else operation.context.now(),
            "diff": before.diff if same and before is not None else _diff(work, drift, mappings, digest_of_path),
        })
    return rows


def _diff(work: UnitOfWork, drift: WorkflowDrift, mappings: dict[str, Row[Any]],
          digest_of_path: dict[str, str]) -> dict[str, Any] | None:
    """Git before, n8n after; for unpublished changes what runs before, the draft after."""
    mapping = mappings.get(drift.workflow_id or "")
    git = digest_of_path.get(drift.path or "")
    if drift.kind is DriftKind.MODIFIED and mapping is not None and git is not None:
        pair = (git, mapping.live_digest)
    elif drift.kind is DriftKind.UNPUBLISHED_CHANGES and mapping is not None:
        pair = (mapping.live_digest, mapping.draft_digest)
    else:
        return None
    bodies = work.payloads.load(pair)
    return as_json(diff(decode_content(bodies[pair[0]]), decode_content(bodies[pair[1]])))


def _check(operation: RunningOperation, environment: Row[Any], status: str, reason: str | None,
           rows: list[dict[str, Any]], counts: DriftCounts | None, started: float) -> DriftCheck:
    return DriftCheck(
        tenant=operation.context.tenant_slug, environment=environment.slug, operation_id=str(operation.id),
        status=str(status), reason=reason,
        counts={} if counts is None else {
            "workflows": counts.workflows, "files": counts.files, "in_sync": counts.in_sync,
            "drifted": counts.drifted, "ignored": counts.ignored,
            "kinds": {str(kind): n for kind, n in counts.kinds.items()},
        },
        workflows=[{
            **{k: v for k, v in row.items() if k != "subject"}, "kind": str(row["kind"]), "since": iso(row["since"]),
            "canonical_id": str(row["canonical_id"]) if row["canonical_id"] else None,
        } for row in rows],
        last_sync_at=iso(environment.last_sync_at), last_good_status=environment.last_good_drift_status,
        last_good_at=iso(environment.last_good_drift_at), duration_ms=round(monotonic_ms() - started),
    )


def _record(work: UnitOfWork, operation: RunningOperation, environment: Row[Any], check: DriftCheck,
            check_type: CheckType, rows: list[dict[str, Any]], known: Mapping[str, Row[Any]], *, asked: bool = True) -> bool:
    """Store status, drift (``known`` is stored) and history; an audit event when something changed. Returns whether it
    did. Only a check that ``asked`` counts for when the next one is due, and for what was last seen well."""
    now = operation.context.now()
    fingerprint = _fingerprint(check)
    last = work.drift.last_check(environment.id)
    changed = last is None or last.fingerprint != fingerprint
    values: dict[str, Any] = {"drift_status": check.status, "drift_reason": check.reason,
                              "drift_error": str(check.error) if check.error is not None else None}
    if asked:
        values["last_drift_check_at"] = now
    if check.error is None:
        if asked:
            values |= {"last_good_drift_status": check.status, "last_good_drift_at": now}
            check.last_good_status, check.last_good_at = check.status, iso(now)
        if changed or _stale(known, rows):
            work.drift.replace(environment.id, rows)
    work.fleet.set_environment(environment.id, **values)
    if last is not None and not changed and check_type == "scheduled" and last.type == "scheduled":
        work.drift.repeat_check(last.id, at=now, duration_ms=check.duration_ms)
    else:
        work.drift.add_check(
            id=operation.context.new_id(), environment_id=environment.id, type=check_type, status=check.status,
            reason=check.reason, counts=check.counts, fingerprint=fingerprint, duration_ms=check.duration_ms,
            first_at=now, last_at=now, operation_id=operation.id)
    if changed:
        work.record("drift.changed", "environment", environment.slug, environment=environment.slug,
                    before=last.fingerprint if last is not None else None, after=fingerprint, status=check.status,
                    reason=check.reason,
                    workflows=[{"name": w["name"], "kind": w["kind"], "workflow_id": w["workflow_id"],
                                "path": w["path"]} for w in check.workflows])
    return changed


def _stale(known: Mapping[str, Row[Any]], rows: list[dict[str, Any]]) -> bool:
    """Whether what is ``known`` says the same with other details: a draft that went on, a workflow that was linked."""
    stored = {subject: row._mapping for subject, row in known.items()}
    return any({key: stored[row["subject"]][key] for key in row} != row for row in rows if row["subject"] in stored)


def _record_error(operation: RunningOperation, error: WfopsError, check_type: CheckType, started: float) -> DriftCheck:
    with operation.services.store.bookkeeping(operation.context, "drift.error", held=operation.held) as work:
        environment = work.fleet.environment(operation.environment.id)
        check = _check(operation, environment, EnvironmentDriftStatus.ERROR, error.kind, [], None, started)
        check.error = error
        check.changed = _record(work, operation, environment, check, check_type, [], {})
    return check


def _fingerprint(check: DriftCheck) -> str:
    rows = sorted((w["workflow_id"] or "", w["path"] or "", w["kinds"], w["runtime_hash"], w["git_hash"])
                  for w in check.workflows)
    return hashlib.sha256(orjson.dumps([check.status, check.reason, rows])).hexdigest()


def _drift_fingerprint(rows: list[dict[str, Any]]) -> str:
    """What drifts, whatever the status: equal as long as the same workflows differ in the same way."""
    return hashlib.sha256(orjson.dumps(sorted(
        [row["subject"], row["kinds"], row["runtime_hash"], row["git_hash"]] for row in rows
        if row["kind"] != DriftKind.UNPUBLISHED_CHANGES))).hexdigest()
