"""Writing to n8n: intent → act → verify → record, all or nothing (§11.6, §11.7, design decision 7).

:func:`write` journals everything it is going to write before it writes anything, then brings one workflow after the
other into its wanted state, and records each when it has read it back. The first failure undoes what was done. A process
that dies in between leaves the journal, from which :func:`finish` goes on, whoever runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import (
    ChangedMeanwhile,
    LeaseLost,
    NotFound,
    NotVerified,
    OutsideError,
    RollbackIncomplete,
    StoreError,
)
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.runtime_write import (
    Call,
    RuntimeState,
    WriteAction,
    content_to_write,
    differs_by_kept_settings,
    explained,
    kept_settings,
    next_call,
)
from wfops_pipelines.domain.workflow import Content, ListedWorkflow, decode_content, read_listed
from wfops_pipelines.n8n.provider import JsonObject, WorkflowProvider
from wfops_pipelines.services.intended_writes import WantedWorkflow, Written, intend, written
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.store.unit_of_work import UnitOfWork

ATTEMPTS = 3  # of one workflow, where what failed was transient (§11.7)
_BACKOFF = 0.5  # seconds before the second attempt; doubles
_MARKER = "wfops"  # in staticData of what is being created: by it a create that may have happened is found again


async def write(operation: RunningOperation, provider: WorkflowProvider, wanted: Sequence[WantedWorkflow], *,
                checkpoint: dict[str, Any], within: Callable[[UnitOfWork], None] = lambda _: None) -> list[Written]:
    """Make every workflow what is wanted, or leave all as they were.

    ``checkpoint`` is what whoever finishes after a crash has to know; ``within`` is done in the transaction in which the
    writing begins. Raises what stood in the way, after undoing; :class:`RollbackIncomplete` when that did not succeed
    either: the environment then takes no writes (§11.7).
    """
    try:
        await asyncio.to_thread(intend, operation, wanted, checkpoint, within)
    except (LeaseLost, StoreError):
        raise
    except BaseException as error:
        await undo(operation, provider, operation.id, error)  # nothing was written; what was intended is not any more
        raise
    return await finish(operation, provider, operation.id)


async def undo(operation: RunningOperation, provider: WorkflowProvider, journal_id: UUID, cause: BaseException) -> None:
    """Take back what a journal says was written, because what should have followed did not succeed."""
    await _Writer(operation, provider, journal_id).undo(cause)


async def finish(operation: RunningOperation, provider: WorkflowProvider, journal_id: UUID) -> list[Written]:
    """Go through the journal of an operation, this one or one that died, to its end: forward, or, once anything of it was
    undone or could not be, back."""
    writer = _Writer(operation, provider, journal_id)
    rows = await asyncio.to_thread(writer.rows)
    if any(row.state in ("undone", "failed") for row in rows):
        await writer.undo(None)
        rows = []
    for row in rows:
        if row.state != "intended":
            continue
        try:
            await writer.apply(row.position)
        except (LeaseLost, StoreError):
            raise  # nothing can be recorded any more: whoever holds the environment next goes on from the journal
        except BaseException as error:
            await writer.undo(error)
            raise
    return [written(row) for row in await asyncio.to_thread(writer.rows)]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A workflow as n8n has just shown it."""

    raw: JsonObject
    listed: ListedWorkflow
    state: RuntimeState


@dataclass(frozen=True, slots=True)
class _Goal:
    """A state with the contents that lead there."""

    state: RuntimeState | None
    live: Content | None = None
    draft: Content | None = None


def _with_kept_settings(seen: _Seen | None, before: _Goal, after: _Goal) -> bool:
    """Whether this is our own write, or its undoing, which n8n took but for settings that its API cannot clear."""
    if seen is None or before.live is None or after.live is None:
        return False
    hashes = {h for goal in (before, after) if goal.state for h in (goal.state.live_hash, goal.state.draft_hash)}
    return all(content_hash(content) in hashes or differs_by_kept_settings(content, after.live, before.live)
               or differs_by_kept_settings(content, before.live, after.live)
               for content in (seen.listed.live, seen.listed.draft))


class _Writer:
    """The writes of one journal."""

    def __init__(self, operation: RunningOperation, provider: WorkflowProvider, journal_id: UUID) -> None:
        self._operation = operation
        self._provider = provider
        self._journal_id = journal_id
        self._resumed = journal_id != operation.id

    def rows(self) -> list[Row[Any]]:
        """The journal as it stands."""
        with self._operation.services.store.read(self._operation.context) as work:
            return work.journal.of_operation(self._journal_id)

    def _row(self, position: int) -> Row[Any]:
        return next(row for row in self.rows() if row.position == position)

    async def apply(self, position: int) -> None:
        """Bring one workflow from its state before into the one after, and record it."""
        delay = _BACKOFF
        for attempt in range(1, ATTEMPTS + 1):
            row = await asyncio.to_thread(self._row, position)  # what an attempt created, the next one knows
            before, after = await asyncio.to_thread(self._goals, row)
            try:
                workflow_id = row.workflow_id or await self._create(row, after, look=self._resumed or attempt > 1)
                seen = await self._converge(workflow_id, after, known=(before, after), row=row)
                await self._tag(row, seen)
                break
            except OutsideError as error:
                if not error.transient or attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(delay)
                delay *= 2
        await asyncio.to_thread(self._record, row, "done", workflow_id)

    async def undo(self, cause: BaseException | None) -> None:
        """Back to how it was, last first; what cannot be restored is named, and the environment takes no writes then."""
        lost: list[str] = []
        for row in reversed(await asyncio.to_thread(self.rows)):
            if row.state == "undone":
                continue
            try:
                workflow_id = await self._restore(row)
            except (OutsideError, NotVerified) as error:
                lost.append(f"{row.name} ({row.workflow_id}): {error}")
                await asyncio.to_thread(self._record, row, "failed", row.workflow_id, error)
            else:
                await asyncio.to_thread(self._record, row, "undone", workflow_id, cause)
        await asyncio.to_thread(self._block, lost)
        if lost:
            raise RollbackIncomplete(
                f"{self._operation.name}: {f'{cause}; and ' if cause is not None else ''}{len(lost)} workflows could not be "
                f"restored: {'; '.join(lost[:5])}",
                fix="the next command on the environment tries again, once n8n answers") from cause

    async def _restore(self, row: Row[Any]) -> str | None:
        """The workflow as it was before; returns its id, a new one if it was gone and is made again."""
        before, after = await asyncio.to_thread(self._goals, row)
        workflow_id = row.workflow_id or await self._find_created(row)
        if workflow_id is None:
            return None  # a create that did not happen
        known = (before, after)
        try:
            await self._converge(workflow_id, before, known=known, row=row)
        except ChangedMeanwhile:
            if row.state != "intended":
                raise
            # Never written by us: what is there is somebody else's, and stays.
        except NotFound:
            if before.state is None or before.draft is None:
                raise
            workflow_id = await self._create(row, _Goal(before.state, before.draft, before.draft), look=True)
            await self._converge(workflow_id, before, known=known, row=row)
        return workflow_id

    def _goals(self, row: Row[Any]) -> tuple[_Goal, _Goal]:
        """The states before and after, with contents from the store."""
        before, after = row.before or {}, row.after or {}
        digests = {d for d in (before.get("live_digest"), before.get("draft_digest"), after.get("live_digest")) if d}
        with self._operation.services.store.read(self._operation.context) as work:
            contents = {digest: decode_content(body) for digest, body in work.payloads.load(digests).items()}
        old = _Goal(RuntimeState.from_json(before), contents[before["live_digest"]],
                    contents[before["draft_digest"]]) if before else _Goal(None)
        live = contents.get(after.get("live_digest", ""))
        return old, _Goal(RuntimeState.from_json(after), live, live) if after else _Goal(None)

    async def _see(self, workflow_id: str) -> _Seen | None:
        try:
            raw = await self._provider.get_workflow(workflow_id)
        except NotFound:
            return None
        listed = read_listed(raw)
        live = content_hash(listed.live)
        draft = live if listed.draft is listed.live else content_hash(listed.draft)
        return _Seen(raw, listed, RuntimeState(live, draft, listed.active, listed.archived))

    async def _converge(self, workflow_id: str, goal: _Goal, *, known: tuple[_Goal, _Goal],
                        row: Row[Any]) -> _Seen | None:
        """Call until n8n shows the goal; a call that changes nothing is not repeated. ``known`` are the states before and
        after the write: what neither explains is somebody else's work, unless n8n kept settings."""
        made: set[tuple[RuntimeState | None, Call]] = set()
        while True:
            seen = await self._see(workflow_id)
            if seen is not None and not seen.state.active and self._is_marked(seen.raw, row):
                await self._provider.update_workflow(workflow_id, {**seen.listed.draft, "staticData": None})
                continue
            state = seen.state if seen is not None else None
            call = next_call(state, goal.state)
            if call is None:
                return seen
            if not explained(state, known[0].state, known[1].state) and not _with_kept_settings(seen, *known):
                raise ChangedMeanwhile(f"{row.name!r} ({workflow_id}) in {self._operation.name} was changed by somebody "
                                       "meanwhile", target=self._provider.base_url, fix="look at the change, and plan anew")
            if call is Call.CREATE:
                raise NotFound(f"{row.name!r} ({workflow_id}) is gone from {self._operation.name}",
                               target=self._provider.base_url, fix="sync the environment, and plan anew")
            if (state, call) in made:
                raise self._not_verified(row.name, workflow_id, call, goal, seen)
            made.add((state, call))
            await self._call(call, workflow_id, goal, seen)

    async def _call(self, call: Call, workflow_id: str, goal: _Goal, seen: _Seen | None) -> None:
        await asyncio.to_thread(self._still_ours)
        failpoints.reach(f"runtime.{call}.before")
        provider = self._provider
        if call is Call.PUT or call is Call.PUT_DRAFT:
            active = goal.state is not None and goal.state.active
            content = goal.live if call is Call.PUT and active else goal.draft
            assert content is not None and seen is not None  # noqa: S101 - next_call asks for it only then
            generation = (await provider.server()).generation
            await provider.update_workflow(workflow_id, content_to_write(content, seen.raw, generation=generation),
                                           publish=call is Call.PUT)
        elif call is Call.PUBLISH:
            await provider.activate_workflow(workflow_id)
        elif call is Call.DEACTIVATE:
            await provider.deactivate_workflow(workflow_id)
        elif call is Call.ARCHIVE:
            await provider.archive_workflow(workflow_id)
        elif call is Call.UNARCHIVE:
            await provider.unarchive_workflow(workflow_id)
        else:
            await provider.delete_workflow(workflow_id)
        failpoints.reach(f"runtime.{call}.after")

    def _not_verified(self, name: str, workflow_id: str, call: Call, goal: _Goal, seen: _Seen | None) -> NotVerified:
        what = ""
        if goal.live is not None and seen is not None and (kept := kept_settings(goal.live, seen.listed.live)):
            what = f": n8n keeps the settings {', '.join(kept)}, which its API cannot clear"
        return NotVerified(f"{name!r} ({workflow_id}) in {self._operation.name} is not what was written to it after "
                           f"{call}{what}", fix="compare it in n8n with what was to be written")

    # -- creating ----------------------------------------------------------------------------------------------------

    async def _create(self, row: Row[Any], goal: _Goal, *, look: bool) -> str:
        """The id of what is created here; with ``look`` found again if an earlier attempt may have made it."""
        workflow_id = await self._find_created(row) if look else None
        if workflow_id is None:
            assert goal.live is not None  # noqa: S101 - a create has a content
            await asyncio.to_thread(self._still_ours)
            failpoints.reach("runtime.create.before")
            made = await self._provider.create_workflow({**goal.live, "staticData": {_MARKER: self._mark(row)}})
            failpoints.reach("runtime.create.after")
            workflow_id = str(made["id"])
        await asyncio.to_thread(self._remember_created, row, workflow_id)
        return workflow_id

    async def _find_created(self, row: Row[Any]) -> str | None:
        async for page in self._provider.list_workflows():
            for raw in page.workflows:
                if self._is_marked(raw, row):
                    return str(raw["id"])
        return None

    def _mark(self, row: Row[Any]) -> str:
        return f"{self._journal_id}/{row.position}"

    def _is_marked(self, raw: JsonObject, row: Row[Any]) -> bool:
        static = raw.get("staticData")
        return isinstance(static, dict) and static.get(_MARKER) == self._mark(row)

    async def _tag(self, row: Row[Any], seen: _Seen | None) -> None:
        """A workflow that was created gets the tags that its file names."""
        names = (row.after or {}).get("tags") or []
        if row.action != WriteAction.CREATE or seen is None or sorted(seen.listed.tags) == sorted(names):
            return
        known = {tag["name"]: tag["id"] for tag in await self._provider.list_tags()}
        ids = [known.get(name) or (await self._provider.create_tag(name))["id"] for name in names]
        await self._provider.set_workflow_tags(seen.listed.id, ids)

    # -- recording ---------------------------------------------------------------------------------------------------

    def _still_ours(self) -> None:
        operation = self._operation
        with operation.services.store.bookkeeping(operation.context, "runtime.lease", held=operation.held):
            pass

    def _remember_created(self, row: Row[Any], workflow_id: str) -> None:
        operation = self._operation
        with operation.services.store.bookkeeping(operation.context, "runtime.created", held=operation.held) as work:
            work.journal.end(self._journal_id, row.position, "intended", now=operation.context.now(),
                             workflow_id=workflow_id)

    def _record(self, row: Row[Any], state: str, workflow_id: str | None, error: BaseException | None = None) -> None:
        operation = self._operation
        with operation.services.store.unit_of_work(operation.context, "runtime.record", held=operation.held) as work:
            work.journal.end(self._journal_id, row.position, state, now=operation.context.now(), workflow_id=workflow_id,
                             error=str(error) if error is not None else None)
            before, after = row.before or {}, row.after or {}
            if state == "undone":
                before, after = after, before
            work.record(f"runtime.{state}", "workflow", workflow_id or row.name, environment=operation.environment.slug,
                        before=before.get("live_hash"), after=after.get("live_hash"), name=row.name, write=row.action,
                        error=str(error) if error is not None else None)

    def _block(self, lost: list[str]) -> None:
        """No writes to the environment while something is not as it was; the block goes with its reason."""
        operation, slug = self._operation, self._operation.environment.slug
        with operation.services.store.bookkeeping(operation.context, "runtime.block", held=operation.held) as work:
            blocked = work.fleet.environment(operation.environment.id).writes_blocked_at is not None
            if lost:
                work.fleet.set_environment(operation.environment.id, writes_blocked_at=operation.context.now(),
                                           writes_blocked_reason=f"rollback incomplete: {'; '.join(lost[:5])}")
                work.record("environment.writes_blocked", "environment", slug, environment=slug,
                            reason="rollback_incomplete", workflows=lost[:50])
            elif blocked:
                work.fleet.set_environment(operation.environment.id, writes_blocked_at=None, writes_blocked_reason=None)
                work.record("environment.writes_unblocked", "environment", slug, environment=slug, reason="restored")
