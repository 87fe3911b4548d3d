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
from wfops_pipelines.n8n.provider import WorkflowProvider
from wfops_pipelines.services.intended_writes import WantedWorkflow, Written, intend, written
from wfops_pipelines.services.journal_rows import JournalRows
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.services.renewed_ids import made_again
from wfops_pipelines.services.runtime_convergence import Runtime, Seen, Subject
from wfops_pipelines.store.unit_of_work import UnitOfWork
from wfops_pipelines.uncancelled import in_thread

_REMOVALS = (WriteAction.ARCHIVE, WriteAction.DELETE)
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
        await in_thread(intend, operation, wanted, checkpoint, within)
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
    journal = JournalRows(operation, journal_id)
    await _Writer(operation, provider, journal, resumed=journal_id != operation.id).undo(cause)


async def finish(operation: RunningOperation, provider: WorkflowProvider, journal_id: UUID, *,
                 atomic: bool = True, forward: bool = False) -> list[Written]:
    """Go through the journal of an operation, this one or one that died, to its end: forward, or, once anything of an
    atomic one was undone, or anything could not be, back.

    With ``forward`` there is no way back from the first deletion on: what is made again has another id, which nobody knows
    who calls it. What is left is then done by whoever comes next, and the environment takes no other writes until it is."""
    journal = JournalRows(operation, journal_id)
    writer = _Writer(operation, provider, journal, resumed=journal_id != operation.id, atomic=atomic, forward=forward)
    rows = await in_thread(journal.rows)
    if any(row.state == "failed" or (atomic and row.state == "undone") for row in rows) and not await writer.only_forward():
        await writer.undo(None)
        rows = []
    writer.failed.update(row.position for row in rows if row.state == "undone")  # by an earlier attempt
    waiting = [row for row in rows if row.state in ("intended", "failed")]
    ordered = sorted(waiting, key=_turn)
    await writer.each(writer.create, [row for row in waiting if row.action == WriteAction.CREATE])
    await writer.each(writer.open, [row for row in waiting if _late(row)])
    await writer.each(writer.apply, [row for row in ordered if row.action not in _REMOVALS])
    with operation.stop.uncut():
        await writer.take_back_what_needs_what_failed()
    await writer.each(writer.apply, [row for row in ordered if row.action in _REMOVALS])
    with operation.stop.uncut():
        if not atomic:
            await writer.undo_what_is_left()
        return [written(row) for row in await in_thread(journal.rows)]


def _late(row: Row[Any]) -> bool:
    return bool((row.after or {}).get("late"))


def _turn(row: Row[Any]) -> tuple[bool, bool, int]:
    """In the journal's order, but for those that were opened: what they call is published after them, and they are written
    whole after that. What goes, goes last."""
    return row.action in _REMOVALS, _late(row), row.position


class _Writer:
    """The writes of one journal; ``resumed`` where another operation began them."""

    def __init__(self, operation: RunningOperation, provider: WorkflowProvider, journal: JournalRows, *, resumed: bool,
                 atomic: bool = True, forward: bool = False) -> None:
        self._operation = operation
        self._journal = journal
        self._resumed = resumed
        self._atomic = atomic
        self._forward = forward
        self._runtime = Runtime(provider, operation.name, journal.still_ours)
        self._made_now: set[int] = set()
        self.failed: set[int] = set()  # of writes that are not atomic, by place

    # -- forward ---------------------------------------------------------------------------------------------------------

    async def each(self, act: Callable[[int], Awaitable[None]], rows: Sequence[Row[Any]]) -> None:
        """Do it to one row after the other. The first failure ends atomic writes; of others, that workflow is taken back and
        the rest goes on."""
        for position in [row.position for row in rows if row.position not in self.failed]:
            try:
                await act(position)
            except (LeaseLost, StoreError):
                raise  # nothing can be recorded any more: whoever holds the environment next goes on from the journal
            except (OutsideError, NotVerified) as error:
                if self._atomic:
                    await self.turn_back(position, error)
                    raise
                self.failed.add(position)
                await self.give_up(position, error)
            except BaseException as error:
                await self.turn_back(position, error)
                raise

    async def create(self, position: int) -> None:
        """Give a new workflow its id, switched off. What it awaits and is there by now, it names already."""
        async def attempt(number: int) -> None:
            row = await in_thread(self._journal.completed, position)
            if row.workflow_id is None:
                subject = await in_thread(self._journal.subject, row)
                await self._create(row, subject, look=self._resumed or number > 1)

        await self._attempts(attempt)

    async def open(self, position: int) -> None:
        """Publish a workflow without its calls of those that come after it, and that n8n 2.x wants published first: they
        call it in turn. Its own turn comes later."""
        async def attempt(_: int) -> None:
            row = await in_thread(self._journal.completed, position)
            opened = await in_thread(self._journal.opened, row)
            if opened is None or row.workflow_id is None:
                return
            # What it holds on the way is known by now.
            subject = await in_thread(self._journal.subject, await in_thread(self._journal.row, position))
            seen = await self._runtime.see(row.workflow_id)
            if seen is None or seen.state != subject.after.state:  # not done already by an attempt that was killed
                self._made_now.discard(position)
                await self._runtime.converge(row.workflow_id, opened, subject)

        await self._attempts(attempt)

    async def apply(self, position: int) -> None:
        """Bring one workflow from its state before into the one after, and record it. :class:`NotVerified` where it needs
        another one that failed, or takes away what that one calls still."""
        if self.failed and (why := await in_thread(self._journal.in_the_way, position)) is not None:
            raise NotVerified(why, fix="look at why that failed")

        async def attempt(_: int) -> tuple[Row[Any], str]:
            row = await in_thread(self._journal.completed, position, whole=True)
            subject = await in_thread(self._journal.subject, row)
            assert row.workflow_id is not None  # noqa: S101 - created before, if it had none
            made_now = position in self._made_now
            self._made_now.discard(position)
            seen, _ = await self._runtime.converge(row.workflow_id, subject.after, subject, made_now=made_now)
            if (row.after or {}).get("tags") is not None:
                await self._runtime.tag(seen, row.after["tags"])
            return row, row.workflow_id

        row, workflow_id = await self._attempts(attempt)
        await in_thread(self._journal.record, row, "done", workflow_id)

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
                row = await in_thread(self._journal.row, position)
                await in_thread(self._journal.record, row, "failed", row.workflow_id, str(cause))
                left = f"{row.name} ({row.workflow_id})"
                await in_thread(self._journal.block, [f"{left}: {cause}"])
                raise RollbackIncomplete(
                    f"{self._operation.name}: {left} could not be taken back, and others may be gone already: {cause}",
                    fix=_way_on(cause)) from cause

    async def only_forward(self) -> bool:
        """Whether something was deleted, of writes that may not be made again, and nothing was undone. Also while n8n does
        not tell: whoever comes next finds out."""
        rows = await in_thread(self._journal.rows) if self._forward else []
        if any(row.state == "undone" for row in rows):
            return False
        if any(row.state not in ("done", "settled") and row.action not in _REMOVALS for row in rows):
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
        for row in reversed(await in_thread(self._journal.rows)):
            if row.state != "undone" and not await self._take_back(row, cause, lost, may_be_late=True):
                late.append(row.position)
        for position in late:
            await self._take_back(await in_thread(self._journal.row, position), cause, lost)
        for position in await in_thread(self._journal.naming_what_is_gone):
            await self._take_back(await in_thread(self._journal.row, position), cause, lost)
        await self._end_undoing(cause, lost)

    async def take_back_what_needs_what_failed(self) -> None:
        """What was written and needs a workflow that could not be created, and what needs that, and so on."""
        while self.failed and (found := await in_thread(self._journal.needing_what_failed)):
            for position, why in found.items():
                await self.give_up(position, NotVerified(why))

    async def give_up(self, position: int, cause: BaseException) -> None:
        """One workflow back to how it was, because it could not be written; the others go on."""
        row = await in_thread(self._journal.row, position)
        await self._take_back(row, cause, [], tells=True)

    async def undo_what_is_left(self) -> None:
        """Of writes that are not atomic: what could not be restored at once, once more, and no writes if it stays so."""
        lost: list[str] = []
        for row in await in_thread(self._journal.rows):
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
            row = await in_thread(self._journal.row, row.position)  # what was gone has another id by now
            if may_be_late and isinstance(error, Rejected) and await self._restore_opened(row):
                return False
            known = f" ({row.workflow_id})" if row.workflow_id else ""  # none: a create whose answer never came
            lost.append(f"{row.name}{known}: {error}")
            await in_thread(self._journal.record, row, "failed", row.workflow_id, str(error))
        else:
            why = (why_it_ended(cause) if cause is not None else row.error or _INTERRUPTED) if changed or tells else None
            await in_thread(self._journal.record, row, "undone", workflow_id, why)
        return True

    async def _restore_opened(self, row: Row[Any]) -> bool:
        """Publish a workflow as it was, but for its calls of others that are not restored yet: they may call it in turn.
        Whether that is what stood in the way."""
        opened = await in_thread(self._journal.opened_as_before, row)
        if opened is None or row.workflow_id is None:
            return False
        subject = await in_thread(self._journal.subject, await in_thread(self._journal.row, row.position))
        try:
            await self._runtime.converge(row.workflow_id, opened, subject)
        except (OutsideError, NotVerified):
            return False
        return True

    async def _end_undoing(self, cause: BaseException | None, lost: list[str]) -> None:
        await in_thread(self._journal.block, lost)
        if lost:
            first, workflows = f"{cause}; and " if cause is not None else "", "workflow" if len(lost) == 1 else "workflows"
            raise RollbackIncomplete(f"{self._operation.name}: {first}{len(lost)} {workflows} could not be restored: "
                                     f"{'; '.join(lost[:5])}", fix=_AGAIN) from cause

    async def _restore(self, row: Row[Any]) -> tuple[str | None, bool]:
        """The workflow as it was before: its id, a new one if it was gone and is made again, and whether n8n had been
        changed."""
        row = await in_thread(self._journal.with_ids_of_now, row)
        subject = await in_thread(self._journal.subject, row)
        workflow_id = row.workflow_id or await self._runtime.find(subject.mark)
        if workflow_id is None:
            return None, False  # a create that did not happen
        try:
            seen, calls = await self._runtime.converge(workflow_id, subject.before, subject)
        except ChangedMeanwhile:
            if row.state == "intended":
                return workflow_id, False  # never written by us: what is there is somebody else's, and stays
            if subject.before.draft is None or await self._runtime.see(workflow_id) is not None:
                raise
            workflow_id, seen, calls = await self._make_again(row, subject)
        except NotFound:
            if subject.before.draft is None:
                raise
            if self._forward and row.action == WriteAction.DELETE:
                return workflow_id, False  # who undoes has deleted nothing: it was somebody else
            workflow_id, seen, calls = await self._make_again(row, subject)
        if (row.before or {}).get("tags") is not None:
            await self._runtime.tag(seen, row.before["tags"])
        return workflow_id, calls > 0 or row.state == "done"

    async def _make_again(self, row: Row[Any], subject: Subject) -> tuple[str, Seen | None, int]:
        """What is gone, under another id, as it was before."""
        assert subject.before.draft is not None  # noqa: S101 - the caller looked
        workflow_id = await self._runtime.find(subject.mark)
        if workflow_id is None:
            workflow_id = await self._runtime.create(subject.before.draft, subject.mark)
        await in_thread(self._journal.remember_created, row, workflow_id, before=made_again(row))
        row = await in_thread(self._journal.row, row.position)
        row = await in_thread(self._journal.with_ids_of_now, row)
        subject = await in_thread(self._journal.subject, row)
        again = Subject(row.name, subject.before, subject.before, subject.mark, subject.on_the_way)
        seen, calls = await self._runtime.converge(workflow_id, subject.before, again)
        return workflow_id, seen, calls + 1

    async def _create(self, row: Row[Any], subject: Subject, *, look: bool) -> None:
        workflow_id = await self._runtime.find(subject.mark) if look else None
        if workflow_id is None:
            assert subject.after.live is not None  # noqa: S101 - a create has a content
            workflow_id = await self._runtime.create(subject.after.live, subject.mark)
            self._made_now.add(row.position)
        await in_thread(self._journal.remember_created, row, workflow_id)
