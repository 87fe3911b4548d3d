"""``POST /api/v1/webhooks/github`` (§21): where GitHub, and what signs like it, tells of pushes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from wfops_pipelines.api.bodies import Body, BodyReader, BodyRefused
from wfops_pipelines.api.dispatcher import Dispatcher
from wfops_pipelines.api.envelopes import answer, failure
from wfops_pipelines.domain.errors import Denied, MalformedDelivery, StoreError, StoreRefusal
from wfops_pipelines.services.push_delivery import Delivery, Receipt, receive
from wfops_pipelines.services.push_dispatch import Dispatched
from wfops_pipelines.services.services import Services

LARGEST_BODY = 25 * 2**20  # GitHub sends none that is larger
BODIES_TOGETHER = 100 * 2**20
BODY_SECONDS = 10.0
STORE_SECONDS = 5.0  # GitHub gives up after ten
LAUNCH_SECONDS = 0.5  # that an answer waits for the launch; what is not launched by then is launched all the same
THREADS = 8

_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
_EVENT, _DELIVERY, _HOOK = re.compile(r"[a-z0-9_]{1,64}"), re.compile(r"[A-Za-z0-9-]{1,100}"), re.compile(r"[0-9]{0,20}")
_HEADERS = [{"name": name, "in": "header", "required": required, "schema": {"type": "string"}} for name, required in (
    ("X-GitHub-Event", True), ("X-GitHub-Delivery", True), ("X-Hub-Signature-256", True), ("X-GitHub-Hook-ID", False))]


@dataclass(frozen=True, slots=True)
class GitHubWebhook:
    """The receiver, with what it works with."""

    services: Services
    dispatcher: Dispatcher
    app_secret: str | None
    bodies: BodyReader
    pool: ThreadPoolExecutor

    def router(self) -> APIRouter:
        """Its one route."""
        router = APIRouter(prefix="/webhooks", tags=["webhooks"])
        router.add_api_route(
            "/github", self.take, methods=["POST"], summary="A webhook of GitHub", operation_id="githubWebhook",
            description="Signed with the repository's `webhook_secret` (HMAC-SHA256 over the body). A push is a hint: the "
                        "branch is read as it is then. Bodies as application/json or as a form's field payload.",
            response_model=None, openapi_extra={
                "parameters": _HEADERS, "requestBody": {"required": True, "content": {_JSON: {}, _FORM: {}}}},
            responses={202: {"description": "Kept; a refresh is launched, at once or after a pause."},
                       200: {"description": "Nothing to do, or already received."}, 400: {"description": "Not readable."},
                       401: {"description": "Signed by nobody we know."}, 413: {"description": "Larger than 25 MB."},
                       415: {"description": "Neither JSON nor a form."},
                       503: {"description": "Not kept, or kept and not launched yet; send it again."}})
        return router

    async def take(self, request: Request) -> JSONResponse:
        """One delivery."""
        headers = request.headers
        event, delivery_id = headers.get("x-github-event", ""), headers.get("x-github-delivery", "")
        hook_id = headers.get("x-github-hook-id", "")
        if not (_EVENT.fullmatch(event) and _DELIVERY.fullmatch(delivery_id) and _HOOK.fullmatch(hook_id)):
            return failure(400, "malformed_delivery", "X-GitHub-Event or X-GitHub-Delivery is missing, or none that GitHub "
                                                      "sends", close=True)
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in {_JSON, _FORM} or headers.get("content-encoding", "identity") != "identity":
            return failure(415, "unsupported_media_type", f"the body must be {_JSON} or {_FORM}, not compressed", close=True)
        try:
            body = await self.bodies.read(request)
        except BodyRefused as refused:
            return failure(refused.status, refused.word, refused.message, close=True,
                           retry_after=5 if refused.status == 503 else None)
        return await self._keep(Delivery(event, delivery_id, hook_id, headers.get("x-hub-signature-256", ""), body.content,
                                         form=content_type == _FORM), body)

    async def _keep(self, delivery: Delivery, body: Body) -> JSONResponse:
        work = self.pool.submit(receive, self.services, delivery, app_secret=self.app_secret)
        work.add_done_callback(lambda _: body.give_back())  # also when the answer was made without waiting for it
        try:
            async with asyncio.timeout(STORE_SECONDS):
                receipts = await asyncio.wrap_future(work)
        except Denied as error:
            return failure(401, error.kind, error.message)
        except MalformedDelivery as error:
            return failure(400, error.kind, str(error))
        except StoreRefusal:
            return failure(400, "malformed_delivery", "it holds what the database does not store")
        except (StoreError, TimeoutError):
            return failure(503, "store_unavailable", "the delivery could not be kept: send it again", retry_after=30)
        return await self._launched(receipts)

    async def _launched(self, receipts: Sequence[Receipt]) -> JSONResponse:
        """The answer; nobody's tenants are named in it, for it is shown to whoever runs the repository."""
        waiting = [receipt for receipt in receipts if receipt.status == "received"]
        if not waiting:
            known = all(receipt.known for receipt in receipts)
            reason = receipts[0].reason
            message = "already received" if known else "pong" if reason == "ping" else f"nothing to do: {reason}"
            return answer({"status": "known" if known else "ignored"}, message)
        launch = self.dispatcher.tell()
        data: dict[str, Any] = {"environments": sum(len(receipt.environments) for receipt in waiting)}
        if all(receipt.known for receipt in waiting):
            return answer({"status": "known", **data}, "already received")
        try:
            done = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(launch)), LAUNCH_SECONDS)
        except TimeoutError:
            return answer({"status": "received", **data}, "received; a refresh is being launched", status=202)
        except Exception:
            return failure(503, "queue_unavailable", "the delivery is kept, and nothing could be launched for it yet",
                           retry_after=30)
        return _told(done, waiting, data)


def _told(done: Dispatched, waiting: Sequence[Receipt], data: dict[str, Any]) -> JSONResponse:
    """What was launched for a delivery."""
    if done.deliveries == 0:  # a pause holds it back, or it was launched a moment ago, together with others
        return answer({"status": "received", **data}, "received; a refresh is launched once nothing is paused", status=202)
    runs = (done.runs.get((receipt.tenant, slug)) for receipt in waiting for slug in receipt.environments)
    run_id = next(filter(None, runs), None)
    if run_id is None and done.more:
        return answer({"status": "received", **data}, "received; a refresh is being launched", status=202)
    return answer({"status": "launched", **data, "run_id": run_id}, "received; a refresh is launched", status=202)
