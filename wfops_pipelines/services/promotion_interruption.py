"""What an interrupted command left of the promotion that it was about (§11.8): for whoever pressed Ctrl-C."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.promotion_request import find
from wfops_pipelines.services.rollback_state import rollback_states
from wfops_pipelines.services.services import Services


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A promotion as it is now. ``operation_id`` is the operation that carries it out, or rolls it back; ``unfinished``:
    something that was begun in its target waits for whoever comes next there."""

    number: int
    status: str
    operation_id: UUID | None
    unfinished: bool
    rollback_incomplete: bool
    git_status: str
    when_ready: bool


def left_behind(services: Services, context: Context, target: str, *, number: int | None = None,
                since: datetime | None = None, rolling_back: bool = False) -> LeftBehind | None:
    """What became of a promotion to ``target``: that of the ``number``, or the one that whoever acts asked for ``since``
    then; none where none was begun."""
    environment = services.environment(context, target)
    with services.store.read(context) as work:
        if number is None:
            newest = work.promotions.listed(environment_ids=[environment.id], limit=1)
            if not newest or newest[0].requested_by != context.actor or (
                    since is not None and newest[0].requested_at < since):
                return None
            number = newest[0].number
        row = find(work, number)
        operation_id = row.operation_id
        if rolling_back:
            last = work.operations.last(environment.id, OperationKind.ROLLBACK)
            operation_id = last.id if last is not None and (since is None or last.created_at >= since) else None
        running = work.promotions.running_on(environment.id)
        if rolling_back:  # also what an earlier attempt left
            state = rollback_states(services, work, [row]).get(row.id)
            unfinished = state is not None and state.state != "given_up"
        else:
            unfinished = operation_id in work.journal.unfinished(environment.id) and row.status in ("running", "failed")
        return LeftBehind(number, row.status, operation_id, unfinished or (running is not None and running.id == row.id),
                          row.rollback_incomplete, row.git_status, bool(row.options.get("when_ready")))
