"""One workflow of n8n, called until it shows what it shall be (§11.6, design decision 7): look, call, look again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import ChangedMeanwhile, NotFound, NotVerified
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.runtime_write import (
    Call,
    RuntimeState,
    content_to_write,
    differs_by_kept_settings,
    explained,
    kept_settings,
    next_call,
)
from wfops_pipelines.domain.workflow import Content, ListedWorkflow, read_listed
from wfops_pipelines.n8n.provider import JsonObject, WorkflowProvider
from wfops_pipelines.uncancelled import to_its_end

_PATIENCE: Final = 5.0
"""Seconds that who is cancelled waits for n8n's answer, which takes a tenth of one. One that hangs may do it later: whoever
plans next finds what is there."""
_MARKER: Final = "wfops"  # in staticData of what is being created: by it a create that may have happened is found again


@dataclass(frozen=True, slots=True)
class Seen:
    """A workflow as n8n has just shown it."""

    raw: JsonObject
    listed: ListedWorkflow
    state: RuntimeState

    def has_mark(self, mark: str) -> bool:
        """Whether it was created under this mark, and never finished."""
        static = self.raw.get("staticData")
        return isinstance(static, dict) and static.get(_MARKER) == mark


@dataclass(frozen=True, slots=True)
class Goal:
    """A state with the contents that lead there; no state: it shall not be there."""

    state: RuntimeState | None
    live: Content | None = None
    draft: Content | None = None

    @property
    def hashes(self) -> frozenset[str]:
        """Of its contents."""
        return frozenset() if self.state is None else frozenset({self.state.live_hash, self.state.draft_hash})


@dataclass(frozen=True, slots=True)
class Subject:
    """The workflow that a write is about: its name, the states before and after, hashes of contents that it has on the
    way, and the mark of its create. What none of these explains is somebody else's work."""

    name: str
    before: Goal
    after: Goal
    mark: str
    on_the_way: frozenset[str] = frozenset()

    def explains(self, seen: Seen | None) -> bool:
        """Whether what n8n shows can be what this write left."""
        state = seen.state if seen is not None else None
        return explained(state, self.before.state, self.after.state, self.on_the_way) or self._with_kept_settings(seen)

    def _with_kept_settings(self, seen: Seen | None) -> bool:
        """Whether this is our own write, or its undoing, which n8n took but for settings that its API cannot clear."""
        if seen is None or self.before.live is None or self.after.live is None:
            return False
        hashes = self.before.hashes | self.after.hashes | self.on_the_way
        return all(content_hash(content) in hashes or differs_by_kept_settings(content, self.after.live, self.before.live)
                   or differs_by_kept_settings(content, self.before.live, self.after.live)
                   for content in (seen.listed.live, seen.listed.draft))


class Runtime:
    """n8n, as writes see it. ``still_ours`` raises when the environment's lease was lost. What n8n was asked to do it does,
    whoever is cancelled meanwhile: its answer is waited for, for who undoes looks at what it did."""

    def __init__(self, provider: WorkflowProvider, environment: str, still_ours: Callable[[], None]) -> None:
        self._provider = provider
        self._environment = environment
        self._still_ours = still_ours

    async def see(self, workflow_id: str) -> Seen | None:
        """What is there; none where there is nothing."""
        try:
            raw = await self._provider.get_workflow(workflow_id)
        except NotFound:
            return None
        listed = read_listed(raw)
        live = content_hash(listed.live)
        draft = live if listed.draft is listed.live else content_hash(listed.draft)
        return Seen(raw, listed, RuntimeState(live, draft, listed.active, listed.archived))

    async def converge(self, workflow_id: str, goal: Goal, subject: Subject, *, made_now: bool = False) -> tuple[
            Seen | None, int]:
        """Call until n8n shows the goal: what it then shows, and how many calls that took. A call that changes nothing is
        not repeated. ``made_now`` says that this process has just created it, and nothing needs to be looked at first."""
        made: set[tuple[RuntimeState | None, Call]] = set()
        calls = 0
        if made_now and goal.draft is not None:
            await self._unmark(workflow_id, goal.draft)
            calls += 1
        while True:
            seen = await self.see(workflow_id)
            state = seen.state if seen is not None else None
            if seen is not None and not seen.state.active and seen.has_mark(subject.mark) and goal.draft is not None:
                await self._unmark(workflow_id, goal.draft)
                calls += 1
                continue
            call = next_call(state, goal.state)
            if call is None:
                return seen, calls
            if not subject.explains(seen):
                raise ChangedMeanwhile(f"{subject.name!r} ({workflow_id}) in {self._environment} was changed by somebody "
                                       "meanwhile", target=self._provider.base_url, fix="look at the change, and plan anew")
            if call is Call.CREATE:
                raise NotFound(f"{subject.name!r} ({workflow_id}) is gone from {self._environment}",
                               target=self._provider.base_url, fix="sync the environment, and plan anew")
            if (state, call) in made:
                raise self._not_verified(subject.name, workflow_id, call, goal, seen)
            made.add((state, call))
            await self._call(call, workflow_id, goal, seen)
            calls += 1

    async def create(self, content: Content, mark: str) -> str:
        """The id of what is created, marked until it is finished."""
        await asyncio.to_thread(self._still_ours)
        failpoints.reach("runtime.create.before")
        made = await to_its_end(self._provider.create_workflow({**content, "staticData": {_MARKER: mark}}), _PATIENCE)
        failpoints.reach("runtime.create.after")
        return str(made["id"])

    async def find(self, mark: str) -> str | None:
        """The id of what an earlier attempt created under a mark."""
        async for page in self._provider.list_workflows():
            for raw in page.workflows:
                static = raw.get("staticData")
                if isinstance(static, dict) and static.get(_MARKER) == mark:
                    return str(raw["id"])
        return None

    async def tag(self, seen: Seen | None, names: Collection[str]) -> None:
        """Give a workflow these tags, making those that the server does not have."""
        if seen is None or sorted(seen.listed.tags) == sorted(names):
            return
        known = {tag["name"]: tag["id"] for tag in await self._provider.list_tags()}
        await asyncio.to_thread(self._still_ours)
        ids = [known.get(name) or (await self._provider.create_tag(name))["id"] for name in names]
        await to_its_end(self._provider.set_workflow_tags(seen.listed.id, ids), _PATIENCE)

    async def _unmark(self, workflow_id: str, draft: Content) -> None:
        """What was created becomes what it shall be, and is a workflow like any other."""
        await asyncio.to_thread(self._still_ours)
        failpoints.reach("runtime.unmark.before")
        await to_its_end(self._provider.update_workflow(workflow_id, {**draft, "staticData": None}), _PATIENCE)
        failpoints.reach("runtime.unmark.after")

    async def _call(self, call: Call, workflow_id: str, goal: Goal, seen: Seen | None) -> None:
        await asyncio.to_thread(self._still_ours)
        failpoints.reach(f"runtime.{call}.before")
        await to_its_end(self._send(call, workflow_id, goal, seen), _PATIENCE)
        failpoints.reach(f"runtime.{call}.after")

    async def _send(self, call: Call, workflow_id: str, goal: Goal, seen: Seen | None) -> None:
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
            with suppress(NotFound):  # somebody was faster: the next look tells
                await provider.delete_workflow(workflow_id)

    def _not_verified(self, name: str, workflow_id: str, call: Call, goal: Goal, seen: Seen | None) -> NotVerified:
        what = ""
        if goal.live is not None and seen is not None and (kept := kept_settings(goal.live, seen.listed.live)):
            what = f": n8n keeps the settings {', '.join(kept)}, which its API cannot clear"
        return NotVerified(f"{name!r} ({workflow_id}) in {self._environment} is not what was written to it after "
                           f"{call}{what}", fix="compare it in n8n with what was to be written")


def goal_of(told: dict[str, Any] | None, contents: dict[str, Content]) -> Goal:
    """A state as the journal keeps it, with its contents by digest."""
    if not told:
        return Goal(None)
    live = contents.get(told.get("live_digest") or "")
    draft = contents.get(told.get("draft_digest") or "", live)
    return Goal(RuntimeState.from_json(told), live, draft)
