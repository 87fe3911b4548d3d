"""Looking at the target after a promotion (§11.1, issue "promotions" 7): what runs is what was promoted, webhooks and
triggers are registered, and a workflow of the target's own succeeds.

What cannot be so is a result, never an exception; an n8n that cannot be reached raises the ``OutsideError`` tree.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Row

from wfops_pipelines.domain.errors import IncompleteRead, MalformedWorkflow, NotFound, NotN8n, OutsideError, Unreachable
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.verification import Verification
from wfops_pipelines.domain.verification_checks import (
    Outcome,
    SmokeCall,
    ToVerify,
    VerificationResult,
    Webhook,
    are_counted,
    content_result,
    execution_number,
    execution_verdict,
    failed,
    is_registered,
    newer,
    other_triggers,
    shown,
    smoke_answer,
    smoke_call,
    smoke_result,
    trigger_result,
    unreadable,
    webhook_result,
    webhooks,
    why_it_failed,
)
from wfops_pipelines.domain.workflow import ListedWorkflow, read_listed
from wfops_pipelines.n8n.provider import JsonObject, WebhookCall, WorkflowProvider

_T = TypeVar("_T")
_FIRST_POLL: Final = 0.1  # seconds until the second look; doubles
_LONGEST_POLL: Final = 2.0
_LEAST_PATIENCE: Final = 1.0  # seconds a webhook has to answer, however late it was called
_LONGEST_RECORDING: Final = 3.0  # seconds until n8n lists an execution that has failed
_LIST_FROM: Final = 20  # workflows: a listing costs less than reading so many one by one
_AN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,36}")
_NOBODYS_PATH: Final = "/webhook/wfops-verification/nobody-has-this-path"
_EDGE: Final = "wfops-verification-edge"  # between the parts of a form, whose values are ours


async def verify_promotion(provider: WorkflowProvider, environment: Row[Any], verification: Verification,
                           workflows: Sequence[ToVerify]) -> list[VerificationResult]:
    """Everything that the stage wants to be so, looked at until it is or ``timeout_seconds`` have passed.

    Every workflow is read back; then its webhooks and other triggers, and at last the smoke workflow, which is not started
    when something else has failed. Nothing is looked at where nothing is asked for. Raises :class:`Unreachable`,
    :class:`IncompleteRead` or :class:`NotN8n`.
    """
    if not verification.asks_for_something:
        return []
    patience = _Patience(verification.timeout_seconds)
    look = _Look(provider, verification, patience)
    listed = await _listed(provider, {wanted.workflow_id for wanted in workflows}) if len(workflows) >= _LIST_FROM else {}
    looks = await _all(look.at(wanted, listed.get(wanted.workflow_id)) for wanted in workflows)
    results = [result for found in looks for result in found]
    if verification.smoke_workflow is not None:
        if failed(results):
            results.append(smoke_result(None, verification.smoke_workflow, Outcome.NOT_CHECKED,
                                        "not started: what was promoted is not as it should be"))
        else:
            results.append(await _Smoke(provider, environment.slug, verification.smoke_workflow, patience).run())
    return results


class _Patience:
    """How long there is to wait for things to become so."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._now = asyncio.get_running_loop().time
        self._until = self._now() + seconds

    @property
    def left(self) -> float:
        """Seconds; 0 when there are none."""
        return max(0.0, self._until - self._now())

    async def until(self, look: Callable[[], Awaitable[_T]], holds: Callable[[_T], bool]) -> _T:
        """What is seen when it holds, or the last that was seen. It is looked at once at least."""
        delay = _FIRST_POLL
        while True:
            seen = await look()
            if holds(seen) or not self.left:
                return seen
            await asyncio.sleep(min(delay, self.left))
            delay = min(delay * 2, _LONGEST_POLL)


class _Look:
    """One look at everything that was promoted."""

    def __init__(self, provider: WorkflowProvider, verification: Verification, patience: _Patience) -> None:
        self._provider = provider
        self._verification = verification
        self._patience = patience
        self._n8n_answers: asyncio.Task[bool] | None = None

    async def at(self, wanted: ToVerify, raw: JsonObject | None) -> list[VerificationResult]:
        """One workflow, as it was listed, or else read now."""
        raw = raw or await _read(self._provider, wanted.workflow_id)
        try:
            seen = read_listed(raw) if raw is not None else None
        except MalformedWorkflow as error:
            return [unreadable(wanted, error.message)]
        results = [content_result(wanted, seen, content_hash(seen.live) if seen is not None else None)]
        if raw is None or seen is None or failed(results) or not wanted.active:
            return results
        if self._verification.webhooks:
            results += await _all(self._webhook(wanted, one) for one in webhooks(seen.live, seen.id))
        if self._verification.triggers and (names := other_triggers(seen.live)):
            results.append(await self._triggers(wanted, names, raw))
        return results

    async def _webhook(self, wanted: ToVerify, webhook: Webhook) -> VerificationResult:
        path = webhook.path
        if path is None or not webhook.can_be_asked_for:
            return webhook_result(wanted, webhook, None)
        if not await self._asks_n8n():
            return webhook_result(wanted, webhook, None)
        methods = await self._patience.until(lambda: self._provider.webhook_methods(path),
                                             lambda answer: answer is None or is_registered(webhook, answer))
        return webhook_result(wanted, webhook, methods)

    async def _asks_n8n(self) -> bool:
        """Whether it is n8n that says which methods a path has: of a path that nobody has, it says none."""
        if self._n8n_answers is None:
            self._n8n_answers = asyncio.ensure_future(self._nobodys_path())
        return await self._n8n_answers

    async def _nobodys_path(self) -> bool:
        return await self._provider.webhook_methods(_NOBODYS_PATH) == frozenset()

    async def _triggers(self, wanted: ToVerify, names: Sequence[str], raw: JsonObject) -> VerificationResult:
        generation = (await self._provider.server()).generation
        count = raw.get("triggerCount")
        if generation >= 2 and not are_counted(count):
            count = await self._patience.until(lambda: self._count(wanted.workflow_id), are_counted)
        return trigger_result(wanted, names, count, generation=generation)

    async def _count(self, workflow_id: str) -> Any:
        return ((await _read(self._provider, workflow_id)) or {}).get("triggerCount")


class _Smoke:
    """The smoke workflow: found by name or id, started, and waited for."""

    def __init__(self, provider: WorkflowProvider, environment: str, name: str, patience: _Patience) -> None:
        self._provider = provider
        self._environment = environment
        self._name = name
        self._patience = patience

    async def run(self) -> VerificationResult:
        """Start it; its execution has to end in success."""
        try:
            found = await self._find()
            if isinstance(found, str):
                return self._failed(None, found)
            call = smoke_call(found)
            if isinstance(call, str):
                return self._failed(found, call, "give the stage a running workflow with a webhook or form that is open")
            return await self._start(found, call)
        except MalformedWorkflow as error:
            return self._failed(None, shown(error.message))
        except (Unreachable, IncompleteRead, NotN8n):
            raise
        except OutsideError as error:  # a key without the scope for executions, say
            return self._failed(None, shown(error.message), error.fix)

    def _failed(self, workflow: ListedWorkflow | None, reason: str, fix: str | None = None) -> VerificationResult:
        name = workflow.name if workflow is not None else self._name
        return smoke_result(workflow.id if workflow is not None else None, name, Outcome.FAILED, reason, fix)

    async def _find(self) -> ListedWorkflow | str:
        if _AN_ID.fullmatch(self._name):
            raw = await _read(self._provider, self._name)
            if raw is not None:
                return read_listed(raw)
        named: dict[str, ListedWorkflow] = {}
        async for page in self._provider.list_workflows():
            for raw in page.workflows:
                if raw.get("name") == self._name and not raw.get("isArchived"):
                    named[str(raw.get("id"))] = read_listed(raw)
        running = [workflow for workflow in named.values() if workflow.active]
        candidates = running or list(named.values())
        if not candidates:
            return f"{self._environment} has no workflow of this name or id"
        if len(candidates) > 1:
            return f"{self._environment} has {len(candidates)} workflows of this name: name it by its id"
        return candidates[0]

    async def _start(self, workflow: ListedWorkflow, call: SmokeCall) -> VerificationResult:
        path = call.webhook.path
        assert path is not None  # noqa: S101 - a smoke call has a path
        await self._patience.until(lambda: self._provider.webhook_methods(path),
                                   lambda answer: answer is None or is_registered(call.webhook, answer))
        before = max([execution_number(one) for one in await self._executions(workflow.id)], default=0)
        answer = await self._provider.call_webhook(_request(call, path), patience=max(self._patience.left, _LEAST_PATIENCE))
        against = smoke_answer(call, answer.status, answer.text) if answer is not None else None
        patience = self._patience if against is None else _Patience(min(self._patience.left, _LONGEST_RECORDING))
        ours = await patience.until(lambda: self._since(workflow.id, before), _have_ended)
        return await self._judged(workflow, ours, against, answered=answer is not None)

    async def _judged(self, workflow: ListedWorkflow, ours: Sequence[Any], against: str | None, *,
                      answered: bool) -> VerificationResult:
        """Every execution since the call has to have succeeded: which one is ours, n8n does not say."""
        for one in ours:
            if execution_verdict(one) is Outcome.FAILED:
                told = await self._provider.get_execution(str(one["id"]), include_data=True)
                return self._failed(workflow, f"execution {one['id']} failed: {why_it_failed(told)}",
                                    f"look at execution {one['id']} in n8n")
        if against is not None:
            return self._failed(workflow, against)
        seconds = f"{self._patience.seconds:g} s"
        if not ours:
            said = "it did not answer, and no execution" if not answered else "it was started, and no execution of it"
            return self._failed(workflow, f"{said} was recorded within {seconds}",
                                "its n8n has to keep successful executions")
        if any(execution_verdict(one) is None for one in ours):
            return self._failed(workflow, f"execution {ours[0]['id']} had not ended after {seconds}",
                                "give the stage's verification more time, or the workflow less to do")
        return smoke_result(workflow.id, workflow.name, Outcome.PASSED,
                            f"execution {', '.join(str(one['id']) for one in ours[:5])} succeeded")

    async def _since(self, workflow_id: str, before: int) -> list[Any]:
        return newer(await self._executions(workflow_id), before)

    async def _executions(self, workflow_id: str) -> list[JsonObject]:
        """The newest ones, with those that n8n lists only when asked for. One that ends meanwhile is seen in both."""
        found: dict[str, JsonObject] = {}
        for status in ("running", "waiting", None):
            rows, _ = await self._provider.list_executions(workflow_id=workflow_id, status=status, limit=20)
            found |= {str(row.get("id")): row for row in rows}
        return list(found.values())


def _have_ended(executions: Sequence[Any]) -> bool:
    return bool(executions) and all(execution_verdict(one) is not None for one in executions)


async def _all(looks: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """What they find, in their order; when one raises, none goes on behind its back."""
    tasks = [asyncio.ensure_future(look) for look in looks]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _listed(provider: WorkflowProvider, ids: set[str]) -> dict[str, JsonObject]:
    """These workflows as a listing shows them. One that it misses is read by itself afterwards."""
    found: dict[str, JsonObject] = {}
    async for page in provider.list_workflows():
        found |= {str(raw["id"]): raw for raw in page.workflows if str(raw.get("id")) in ids}
    return found


async def _read(provider: WorkflowProvider, workflow_id: str) -> JsonObject | None:
    """A workflow as it is now; none where it is gone."""
    try:
        return await provider.get_workflow(workflow_id)
    except NotFound:
        return None


def _request(call: SmokeCall, path: str) -> WebhookCall:
    """A form takes its fields in parts, a webhook whatever it is sent."""
    if call.fields is None:
        body = None if call.method in ("GET", "HEAD") else b"{}"
        return WebhookCall(call.method, path, body, None if body is None else "application/json")
    parts = [f'--{_EDGE}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in call.fields]
    return WebhookCall("POST", path, f"{''.join(parts)}--{_EDGE}--\r\n".encode(errors="replace"),
                       f"multipart/form-data; boundary={_EDGE}")
