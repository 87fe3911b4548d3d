"""The journal of an operation's writes, row by row: what each is about, completed as ids become known, and what became of it
(design decision 7)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.services.renewed_ids import before_with_ids_of_now, renewed_ids
from wfops_pipelines.services.runtime_convergence import Goal, Subject, goal_of
from wfops_pipelines.services.write_permission import allow_writes, block_writes
from wfops_pipelines.services.written_contents import complete, in_the_way, without_calls_back, without_late_calls


class JournalRows:
    """The rows of one journal, for ``operation``, which wrote it or finishes it."""

    def __init__(self, operation: RunningOperation, journal_id: UUID) -> None:
        self._operation = operation
        self._id = journal_id
        self._renewed: dict[str, str] | None = None  # not looked yet

    def rows(self) -> list[Row[Any]]:
        """The journal as it stands."""
        with self._operation.services.store.read(self._operation.context) as work:
            return work.journal.of_operation(self._id)

    def row(self, position: int) -> Row[Any]:
        with self._operation.services.store.read(self._operation.context) as work:
            return work.journal.one(self._id, position)

    # -- what a row is about ---------------------------------------------------------------------------------------------

    def subject(self, row: Row[Any]) -> Subject:
        """The states before and after, with contents from the store."""
        before, after = row.before or {}, row.after or {}
        on_the_way = [*(before.get("on_the_way") or ()), *(after.get("on_the_way") or ())]
        digests = {told.get(key) for told in (before, after) for key in ("live_digest", "draft_digest")}
        with self._operation.services.store.read(self._operation.context) as work:
            contents = {digest: decode_content(body) for digest, body in work.payloads.load(
                digest for digest in digests if digest).items()}
        return Subject(row.name, goal_of(before, contents), goal_of(after, contents), f"{self._id}/{row.position}",
                       frozenset(on_the_way))

    def completed(self, position: int, *, whole: bool = False) -> Row[Any]:
        """The row, with the ids of what it awaited as far as they are known by now; ``whole`` where all have to be."""
        row = self.row(position)
        if not (row.after or {}).get("awaits"):
            return row
        rows = self.rows()
        with self._operation.services.store.bookkeeping(
                self._operation.context, "runtime.completed", held=self._operation.held) as work:
            after = complete(work, row, rows, self._operation.environment.slug, whole=whole)
            work.journal.amend(self._id, position, after=after)
        return self.row(position)

    def in_the_way(self, position: int) -> str | None:
        """Why a write cannot be made, or stay, after others failed (:func:`~.written_contents.in_the_way`)."""
        with self._operation.services.store.read(self._operation.context) as work:
            rows = work.journal.of_operation(self._id)
            return in_the_way(work, next(row for row in rows if row.position == position), rows)

    def needing_what_failed(self) -> dict[int, str]:
        """What is written and cannot stay, by place, and why."""
        with self._operation.services.store.read(self._operation.context) as work:
            rows = work.journal.of_operation(self._id)
            found = {row.position: in_the_way(work, row, rows) for row in rows
                     if row.state == "done" and row.after is not None and not row.after.get("archived")}
        return {position: why for position, why in found.items() if why is not None}

    def opened(self, row: Row[Any]) -> Goal | None:
        """The workflow without its late calls, running; none where it does not run afterwards, or calls none of them."""
        subject = self.subject(row)
        if subject.after.state is None or not subject.after.state.active or subject.after.live is None:
            return None
        with self._operation.services.store.bookkeeping(
                self._operation.context, "runtime.opened", held=self._operation.held) as work:
            opened, after = without_late_calls(work, row, self.rows(), subject.after)
            if opened is not None:
                work.journal.amend(self._id, row.position, after=after)
        return opened

    def opened_as_before(self, row: Row[Any]) -> Goal | None:
        """The same of a workflow that is taken back, and its ``before``."""
        before = self.subject(row).before
        with self._operation.services.store.bookkeeping(
                self._operation.context, "runtime.opened_back", held=self._operation.held) as work:
            opened, after = without_calls_back(work, row, self.rows(), before)
            if opened is not None:
                work.journal.amend(self._id, row.position, after=after)
        return opened

    def naming_what_is_gone(self) -> list[int]:
        """The places of what was taken back before something that it names was made again."""
        if not self._renewed:
            return []
        with self._operation.services.store.bookkeeping(
                self._operation.context, "runtime.renewed", held=self._operation.held) as work:
            rows = work.journal.of_operation(self._id)
            renewed = renewed_ids(rows)
            return [row.position for row in rows if row.state == "undone" and before_with_ids_of_now(work, row, renewed)]

    def with_ids_of_now(self, row: Row[Any]) -> Row[Any]:
        """The row, with what it is restored to under the ids that the others have by now."""
        if self._renewed is None:
            self._renewed = renewed_ids(self.rows())
        if not self._renewed:
            return row
        with self._operation.services.store.bookkeeping(
                self._operation.context, "runtime.renewed", held=self._operation.held) as work:
            before = before_with_ids_of_now(work, row, self._renewed)
            if before is None:
                return row
            work.journal.amend(self._id, row.position, before=before)
        return self.row(row.position)

    # -- recording -------------------------------------------------------------------------------------------------------

    def still_ours(self) -> None:
        operation = self._operation
        with operation.services.store.bookkeeping(operation.context, "runtime.lease", held=operation.held):
            pass

    def remember_created(self, row: Row[Any], workflow_id: str, **more: Any) -> None:
        operation, self._renewed = self._operation, None
        with operation.services.store.bookkeeping(operation.context, "runtime.created", held=operation.held) as work:
            work.journal.amend(self._id, row.position, workflow_id=workflow_id, **more)

    def record(self, row: Row[Any], state: str, workflow_id: str | None, error: str | None = None) -> None:
        operation = self._operation
        if state == row.state and (workflow_id, error) == (row.workflow_id, row.error):
            return  # tried again, in vain: there is nothing new to tell
        with operation.services.store.unit_of_work(operation.context, "runtime.record", held=operation.held) as work:
            work.journal.end(self._id, row.position, state, now=operation.context.now(), workflow_id=workflow_id,
                             error=error)
            before, after = row.before or {}, row.after or {}
            if state == "undone":
                before, after = after, before
            work.record(f"runtime.{state}", "workflow", workflow_id or row.name, environment=operation.environment.slug,
                        before=before.get("live_hash"), after=after.get("live_hash"), name=row.name, write=row.action,
                        error=error)

    def block(self, lost: list[str]) -> None:
        """No writes to the environment while something is not as it was; the block goes with its reason."""
        operation = self._operation
        with operation.services.store.bookkeeping(operation.context, "runtime.block", held=operation.held) as work:
            if lost:
                block_writes(work, operation.environment, lost)
            else:
                allow_writes(work, operation.environment, "restored")
