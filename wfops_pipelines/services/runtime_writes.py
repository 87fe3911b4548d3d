"""Writing to n8n: intent → act → verify → record, all or nothing (§11.6, §11.7, design decision 7).

:func:`write` journals everything it is going to write before it writes anything. Then it creates what is new, so that
everything has an id that others can name, brings one workflow after the other into its wanted state, and records each when
it has read it back. The first failure undoes what was done. A process that dies in between leaves the journal, from which
:func:`finish` goes on, whoever runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.errors import (
    ChangedMeanwhile,
    LeaseLost,
    NotFound,
    NotVerified,
    OutsideError,
    Rejected,
    RollbackIncomplete,
    StoreError,
)
from wfops_pipelines.domain.runtime_write import WriteAction
from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.n8n.provider import WorkflowProvider
from wfops_pipelines.services.intended_writes import WantedWorkflow, Written, intend, written
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.services.runtime_convergence import Goal, Runtime, Subject, goal_of
from wfops_pipelines.services.write_permission import allow_writes, block_writes
from wfops_pipelines.services.written_contents import complete, without_calls_back, without_late_calls
from wfops_pipelines.store.unit_of_work import UnitOfWork

ATTEMPTS = 3  # of one workflow, where what failed was transient (§11.7); limits.write_backoff apart, then twice that
_AGAIN = "the next command on the environment tries again, once n8n answers"
_INTERRUPTED = "what was interrupted before was undone"


async def write(operation: RunningOperation, provider: WorkflowProvider, wanted: Sequence[WantedWorkflow], *,
                checkpoint: dict[str, Any], within: Callable[[UnitOfWork], None] = lambda _: None,
                atomic: bool = True, forward: bool = False) -> list[Written]:
    """Make every workflow what is wanted, or leave all as they were.

    ``checkpoint`` is what whoever finishes after a crash has to know; ``within`` is done in the transaction in which the
    writing begins. Raises what stood in the way, after undoing; :class:`RollbackIncomplete` when that did not succeed
    either: the environment then takes no writes (§11.7). Without ``atomic`` a workflow that fails is restored by itself,
    and the rest goes on: the result tells. With ``forward`` there is no way back once a workflow is deleted
    (:func:`finish`).
    """
    try:
        await asyncio.to_thread(intend, operation, wanted, checkpoint, within)
    except (LeaseLost, StoreError):
        raise
    except BaseException as error:
        await undo(operation, provider, operation.id, error)  # nothing was written; what was intended is not any more
        raise
    with operation.stop.writing():
        done = await finish(operation, provider, operation.id, atomic=atomic, forward=forward)
    operation.stop.too_late()  # it is written: what follows from that is told, whoever cancels now
    return done


def _way_on(cause: BaseException) -> str:
    """How it goes on where something stands in the way of going back."""
    if not isinstance(cause, ChangedMeanwhile):
        return _AGAIN
    return ("bring it in n8n to where it was before that change, and the next command on the environment goes on; `wfops "
            "unblock` gives up on it")


def why_it_ended(error: BaseException) -> str:
    """An error in words: cancellation, and others that come without any, have some too."""
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return "it was interrupted"
    return str(error) or type(error).__name__


async def undo(operation: RunningOperation, provider: WorkflowProvider, journal_id: UUID, cause: BaseException) -> None:
    """Take back what a journal says was written, because what should have followed did not succeed."""
    await _Writer(operation, provider, journal_id).undo(cause)


async def finish(operation: RunningOperation, provider: WorkflowProvider, journal_id: UUID, *,
                 atomic: bool = True, forward: bool = False) -> list[Written]:
    """Go through the journal of an operation, this one or one that died, to its end: forward, or, once anything of an
    atomic one was undone, or anything could not be, back.

    With ``forward`` there is no way back from the first deletion on: what is made again has another id, which nobody knows
    who calls it. What is left is then done by whoever comes next, and the environment takes no other writes until it is."""
    writer = _Writer(operation, provider, journal_id, forward=forward)
    rows = await asyncio.to_thread(writer.rows)
    if any(row.state == "failed" or (atomic and row.state == "undone") for row in rows) and not await writer.only_forward():
        await writer.undo(None)
        rows = []
    waiting = [row for row in rows if row.state in ("intended", "failed")]
    phases: list[tuple[Callable[[int], Awaitable[None]], list[int]]] = [
        (writer.create, [row.position for row in waiting if row.action == WriteAction.CREATE]),
        (writer.open, [row.position for row in waiting if _late(row)]),
        (writer.apply, [row.position for row in sorted(waiting, key=_turn)])]
    failed: set[int] = set()
    for phase, positions in phases:
        for position in positions:
            if position in failed:
                continue
            try:
                await phase(position)
            except (LeaseLost, StoreError):
                raise  # nothing can be recorded any more: whoever holds the environment next goes on from the journal
            except (OutsideError, NotVerified) as error:
                if atomic:
                    await writer.turn_back(position, error)
                    raise
                failed.add(position)
                await writer.give_up(position, error)
            except BaseException as error:
                await writer.turn_back(position, error)
                raise
    with operation.stop.uncut():
        if not atomic:
            await writer.undo_what_is_left()
        return [written(row) for row in await asyncio.to_thread(writer.rows)]


def _late(row: Row[Any]) -> bool:
    return bool((row.after or {}).get("late"))


def _turn(row: Row[Any]) -> tuple[bool, bool, int]:
    """In the journal's order, but for those that were opened: what they call is published after them, and they are written
    whole after that. What goes, goes last."""
    return row.action in (WriteAction.ARCHIVE, WriteAction.DELETE), _late(row), row.position


class _Writer:
    """The writes of one journal."""

    def __init__(self, operation: RunningOperation, provider: WorkflowProvider, journal_id: UUID, *,
                 forward: bool = False) -> None:
        self._operation = operation
        self._forward = forward
        self._provider = provider
        self._journal_id = journal_id
        self._resumed = journal_id != operation.id
        self._runtime = Runtime(provider, operation.name, self._still_ours)
        self._made_now: set[int] = set()

    def rows(self) -> list[Row[Any]]:
        """The journal as it stands."""
        with self._operation.services.store.read(self._operation.context) as work:
            return work.journal.of_operation(self._journal_id)

    def _row(self, position: int) -> Row[Any]:
        with self._operation.services.store.read(self._operation.context) as work:
            return work.journal.one(self._journal_id, position)

    # -- forward ---------------------------------------------------------------------------------------------------------

    async def create(self, position: int) -> None:
        """Give a new workflow its id, switched off. What it awaits and is there by now, it names already."""
        async def attempt(number: int) -> None:
            row = await asyncio.to_thread(self._completed, position)
            if row.workflow_id is None:
                await self._create(row, await asyncio.to_thread(self._subject, row), look=self._resumed or number > 1)

        await self._attempts(attempt)

    async def open(self, position: int) -> None:
        """Publish a workflow without its calls of those that come after it, and that n8n 2.x wants published first: they
        call it in turn. Its own turn comes later."""
        async def attempt(_: int) -> None:
            row = await asyncio.to_thread(self._completed, position)
            opened = await asyncio.to_thread(self._opened, row)
            if opened is None or row.workflow_id is None:
                return
            # What it holds on the way is known by now.
            subject = await asyncio.to_thread(self._subject, await asyncio.to_thread(self._row, position))
            seen = await self._runtime.see(row.workflow_id)
            if seen is None or seen.state != subject.after.state:  # not done already by an attempt that was killed
                self._made_now.discard(position)
                await self._runtime.converge(row.workflow_id, opened, subject)

        await self._attempts(attempt)

    async def apply(self, position: int) -> None:
        """Bring one workflow from its state before into the one after, and record it."""
        async def attempt(_: int) -> tuple[Row[Any], str]:
            row = await asyncio.to_thread(self._completed, position, whole=True)
            subject = await asyncio.to_thread(self._subject, row)
            assert row.workflow_id is not None  # noqa: S101 - created before, if it had none
            made_now = position in self._made_now
            self._made_now.discard(position)
            seen, _ = await self._runtime.converge(row.workflow_id, subject.after, subject, made_now=made_now)
            if (row.after or {}).get("tags") is not None:
                await self._runtime.tag(seen, row.after["tags"])
            return row, row.workflow_id

        row, workflow_id = await self._attempts(attempt)
        await asyncio.to_thread(self._record, row, "done", workflow_id)

    async def _attempts(self, attempt: Callable[[int], Awaitable[Any]]) -> Any:
        delay = self._operation.services.limits.write_backoff
        for number in range(1, ATTEMPTS + 1):
            try:
                return await attempt(number)
            except OutsideError as error:
                if not error.transient or number == ATTEMPTS:
                    raise
                await asyncio.sleep(delay)
                delay *= 2
        raise AssertionError  # the last attempt returns or raises

    # -- back ------------------------------------------------------------------------------------------------------------

    async def turn_back(self, position: int, cause: BaseException) -> None:
        """Undo what was done; or, where only forward is left, leave the rest to whoever comes next."""
        with self._operation.stop.uncut():
            if not await self.only_forward():
                await self._undo(cause)
            elif isinstance(cause, OutsideError | NotVerified):
                row = await asyncio.to_thread(self._row, position)
                await asyncio.to_thread(self._record, row, "failed", row.workflow_id, str(cause))
                left = f"{row.name} ({row.workflow_id})"
                await asyncio.to_thread(self._block, [f"{left}: {cause}"])
                raise RollbackIncomplete(
                    f"{self._operation.name}: {left} could not be taken back, and others may be gone already: {cause}",
                    fix=_way_on(cause)) from cause

    async def only_forward(self) -> bool:
        """Whether something was deleted, of writes that may not be made again, and nothing was undone. Also while n8n does
        not tell: whoever comes next finds out."""
        rows = await asyncio.to_thread(self.rows) if self._forward else []
        if any(row.state == "undone" for row in rows):
            return False
        if any(row.state not in ("done", "settled") and row.action not in (WriteAction.ARCHIVE, WriteAction.DELETE)
               for row in rows):
            return False  # what goes, goes last: nothing of ours is gone yet
        for row in rows:
            try:
                if row.action == WriteAction.DELETE and row.workflow_id is not None and (
                        row.state == "done" or await self._runtime.see(row.workflow_id) is None):
                    return True
            except OutsideError:
                return True
        return False

    async def undo(self, cause: BaseException | None) -> None:
        """Back to how it was, last first; what cannot be restored is named, and the environment takes no writes then. It is
        not cut off: who cancels in the middle gets what he or she asked for."""
        with self._operation.stop.uncut():
            await self._undo(cause)

    async def _undo(self, cause: BaseException | None) -> None:
        lost: list[str] = []
        late = []
        for row in reversed(await asyncio.to_thread(self.rows)):
            if row.state != "undone" and not await self._take_back(row, cause, lost, may_be_late=True):
                late.append(row.position)
        for position in late:
            await self._take_back(await asyncio.to_thread(self._row, position), cause, lost)
        await self._end_undoing(cause, lost)

    async def give_up(self, position: int, cause: BaseException) -> None:
        """One workflow back to how it was, because it could not be written; the others go on."""
        row = await asyncio.to_thread(self._row, position)
        await self._take_back(row, cause, [], tells=True)

    async def undo_what_is_left(self) -> None:
        """Of writes that are not atomic: what could not be restored at once, once more, and no writes if it stays so."""
        lost: list[str] = []
        for row in await asyncio.to_thread(self.rows):
            if row.state == "failed":
                await self._take_back(row, None, lost, tells=True)
        if lost:
            await self._end_undoing(None, lost)

    async def _take_back(self, row: Row[Any], cause: BaseException | None, lost: list[str], *, tells: bool = False,
                         may_be_late: bool = False) -> bool:
        """Restore one workflow, and record it. ``tells``: the cause is about this row, and is kept even if n8n was not
        changed. ``may_be_late``: what it calls may be restored after it; no if it has to be done again then."""
        try:
            workflow_id, changed = await self._restore(row)
        except (OutsideError, NotVerified) as error:
            row = await asyncio.to_thread(self._row, row.position)  # what was gone has another id by now
            if may_be_late and isinstance(error, Rejected) and await self._restore_opened(row):
                return False
            known = f" ({row.workflow_id})" if row.workflow_id else ""  # none: a create whose answer never came
            lost.append(f"{row.name}{known}: {error}")
            await asyncio.to_thread(self._record, row, "failed", row.workflow_id, str(error))
        else:
            why = (why_it_ended(cause) if cause is not None else row.error or _INTERRUPTED) if changed or tells else None
            await asyncio.to_thread(self._record, row, "undone", workflow_id, why)
        return True

    async def _restore_opened(self, row: Row[Any]) -> bool:
        """Publish a workflow as it was, but for its calls of others that are not restored yet: they may call it in turn.
        Whether that is what stood in the way."""
        opened = await asyncio.to_thread(self._opened_as_before, row)
        if opened is None or row.workflow_id is None:
            return False
        subject = await asyncio.to_thread(self._subject, await asyncio.to_thread(self._row, row.position))
        try:
            await self._runtime.converge(row.workflow_id, opened, subject)
        except (OutsideError, NotVerified):
            return False
        return True

    async def _end_undoing(self, cause: BaseException | None, lost: list[str]) -> None:
        await asyncio.to_thread(self._block, lost)
        if lost:
            raise RollbackIncomplete(
                f"{self._operation.name}: {f'{cause}; and ' if cause is not None else ''}{len(lost)} workflows could not be "
                f"restored: {'; '.join(lost[:5])}", fix=_AGAIN) from cause

    async def _restore(self, row: Row[Any]) -> tuple[str | None, bool]:
        """The workflow as it was before: its id, a new one if it was gone and is made again, and whether n8n had been
        changed."""
        subject = await asyncio.to_thread(self._subject, row)
        workflow_id = row.workflow_id or await self._runtime.find(subject.mark)
        if workflow_id is None:
            return None, False  # a create that did not happen
        try:
            seen, calls = await self._runtime.converge(workflow_id, subject.before, subject)
        except ChangedMeanwhile:
            if row.state != "intended":
                raise
            return workflow_id, False  # never written by us: what is there is somebody else's, and stays
        except NotFound:
            if subject.before.state is None or subject.before.draft is None:
                raise
            if self._forward and row.action == WriteAction.DELETE:
                return workflow_id, False  # who undoes has deleted nothing: it was somebody else
            again = Subject(row.name, subject.before, subject.before, subject.mark, subject.on_the_way)
            workflow_id = await self._runtime.find(subject.mark) or await self._runtime.create(
                subject.before.draft, subject.mark)
            await asyncio.to_thread(self._remember_created, row, workflow_id)
            seen, calls = await self._runtime.converge(workflow_id, subject.before, again)
            calls += 1
        if (row.before or {}).get("tags") is not None:
            await self._runtime.tag(seen, row.before["tags"])
        return workflow_id, calls > 0 or row.state == "done"

    # -- what a row is about ---------------------------------------------------------------------------------------------

    def _subject(self, row: Row[Any]) -> Subject:
        """The states before and after, with contents from the store."""
        before, after = row.before or {}, row.after or {}
        on_the_way = after.get("on_the_way") or []
        digests = {told.get(key) for told in (before, after) for key in ("live_digest", "draft_digest")}
        with self._operation.services.store.read(self._operation.context) as work:
            contents = {digest: decode_content(body) for digest, body in work.payloads.load(
                digest for digest in digests if digest).items()}
        return Subject(row.name, goal_of(before, contents), goal_of(after, contents), f"{self._journal_id}/{row.position}",
                       frozenset(on_the_way))

    def _completed(self, position: int, *, whole: bool = False) -> Row[Any]:
        """The row, with the ids of what it awaited as far as they are known by now; ``whole`` where all have to be."""
        row = self._row(position)
        if not (row.after or {}).get("awaits"):
            return row
        rows = self.rows()
        with self._operation.services.store.bookkeeping(
                self._operation.context, "runtime.completed", held=self._operation.held) as work:
            after = complete(work, row, rows, self._operation.environment.slug, whole=whole)
            work.journal.amend(self._journal_id, position, after=after)
        return self._row(position)

    def _opened(self, row: Row[Any]) -> Goal | None:
        """The workflow without its late calls, running; none where it does not run afterwards, or calls none of them."""
        subject = self._subject(row)
        if subject.after.state is None or not subject.after.state.active or subject.after.live is None:
            return None
        with self._operation.services.store.bookkeeping(
                self._operation.context, "runtime.opened", held=self._operation.held) as work:
            opened, after = without_late_calls(work, row, self.rows(), subject.after)
            if opened is not None:
                work.journal.amend(self._journal_id, row.position, after=after)
        return opened

    def _opened_as_before(self, row: Row[Any]) -> Goal | None:
        """The same of a workflow that is taken back, and its ``before``."""
        before = self._subject(row).before
        with self._operation.services.store.bookkeeping(
                self._operation.context, "runtime.opened_back", held=self._operation.held) as work:
            opened, after = without_calls_back(work, row, self.rows(), before)
            if opened is not None:
                work.journal.amend(self._journal_id, row.position, after=after)
        return opened

    async def _create(self, row: Row[Any], subject: Subject, *, look: bool) -> None:
        workflow_id = await self._runtime.find(subject.mark) if look else None
        if workflow_id is None:
            assert subject.after.live is not None  # noqa: S101 - a create has a content
            workflow_id = await self._runtime.create(subject.after.live, subject.mark)
            self._made_now.add(row.position)
        await asyncio.to_thread(self._remember_created, row, workflow_id)

    # -- recording -------------------------------------------------------------------------------------------------------

    def _still_ours(self) -> None:
        operation = self._operation
        with operation.services.store.bookkeeping(operation.context, "runtime.lease", held=operation.held):
            pass

    def _remember_created(self, row: Row[Any], workflow_id: str) -> None:
        operation = self._operation
        with operation.services.store.bookkeeping(operation.context, "runtime.created", held=operation.held) as work:
            work.journal.amend(self._journal_id, row.position, workflow_id=workflow_id)

    def _record(self, row: Row[Any], state: str, workflow_id: str | None, error: str | None = None) -> None:
        operation = self._operation
        if state == row.state and (workflow_id, error) == (row.workflow_id, row.error):
            return  # tried again, in vain: there is nothing new to tell
        with operation.services.store.unit_of_work(operation.context, "runtime.record", held=operation.held) as work:
            work.journal.end(self._journal_id, row.position, state, now=operation.context.now(), workflow_id=workflow_id,
                             error=error)
            before, after = row.before or {}, row.after or {}
            if state == "undone":
                before, after = after, before
            work.record(f"runtime.{state}", "workflow", workflow_id or row.name, environment=operation.environment.slug,
                        before=before.get("live_hash"), after=after.get("live_hash"), name=row.name, write=row.action,
                        error=error)

    def _block(self, lost: list[str]) -> None:
        """No writes to the environment while something is not as it was; the block goes with its reason."""
        operation = self._operation
        with operation.services.store.bookkeeping(operation.context, "runtime.block", held=operation.held) as work:
            if lost:
                block_writes(work, operation.environment, lost)
            else:
                allow_writes(work, operation.environment, "restored")
