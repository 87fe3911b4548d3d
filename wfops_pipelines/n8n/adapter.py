"""n8n 1.x and 2.x as one provider that finds out which it talks to (§3; facts §4–8, §12)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from wfops_pipelines.domain.errors import (
    Conflict,
    IncompleteRead,
    NotFound,
    OutsideError,
    Refused,
    Rejected,
    UnknownWorkflow,
    Unreachable,
)
from wfops_pipelines.n8n.answers import list_of, object_of
from wfops_pipelines.n8n.client import N8nClient, Outside
from wfops_pipelines.n8n.listing import everything, fetch_page, pages, still_lists
from wfops_pipelines.n8n.provider import (
    Connection,
    Health,
    JsonObject,
    KnownPage,
    ServerInfo,
    WebhookAnswer,
    WebhookCall,
    WorkflowPage,
)
from wfops_pipelines.n8n.whitelist import create_body, credential_body, update_body

_API = "/api/v1"
_UNPUBLISHING = 30.0  # seconds that 2.x is given to take down what triggers a workflow
_UNPUBLISHING_POLL = 0.2  # seconds between two looks: n8n tells nobody when it has
_SMALLEST = {"limit": 1, "excludePinnedData": "true"}


class N8nProvider:
    """One environment's n8n; :class:`~wfops_pipelines.n8n.provider.WorkflowProvider` says what each method promises."""

    def __init__(self, connection: Connection, *, client: N8nClient | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client or N8nClient(connection)
        self._clock = clock
        self._server: ServerInfo | None = None

    def __repr__(self) -> str:
        return f"N8nProvider({self.base_url})"

    @property
    def base_url(self) -> str:
        return self._client.base_url

    async def aclose(self) -> None:
        await self._client.aclose()

    async def server(self) -> ServerInfo:
        """2.x answers ``/discover``, 1.x does not have it (404); anything else raises and is not remembered."""
        if self._server is None:
            self._server = await self._probe()
        return self._server

    async def _probe(self, attempts: int | None = None) -> ServerInfo:
        path = f"{_API}/discover"
        try:
            answer = await self._client.call("discover", "GET", path, attempts=attempts)
            object_of(answer, self._client.asked("GET", path))
        except NotFound:
            return ServerInfo(generation=1)
        except Refused as error:
            if error.status != 403:
                raise
        return ServerInfo(generation=2)

    async def _ask(self, operation: str, method: str, path: str, *, params: Mapping[str, Any] | None = None,
                   body: Any = None, repeatable: bool | None = None) -> JsonObject:
        """One call below ``/api/v1`` that answers with an object."""
        path = f"{_API}{path}"
        answer = await self._client.call(operation, method, path, params=params, body=body, repeatable=repeatable)
        return object_of(answer, self._client.asked(method, path))

    async def list_workflows(self, *, page_size: int = 250) -> AsyncGenerator[WorkflowPage]:
        listing = pages(self._client, "list_workflows", f"{_API}/workflows", limit=page_size)
        try:
            async for page in listing:
                yield WorkflowPage(page.items, page.received_bytes, last=page.cursor is None,
                                   known_as=KnownPage(page.digest, page.cursor))
        finally:
            await listing.aclose()

    async def still_lists(self, pages: Sequence[KnownPage], *, page_size: int = 250) -> bool:
        return await still_lists(self._client, "look", f"{_API}/workflows", pages, limit=page_size)

    async def answers(self) -> None:
        await fetch_page(self._client, "look", f"{_API}/workflows", _SMALLEST)

    async def get_workflow(self, workflow_id: str) -> JsonObject:
        return await self._ask("get_workflow", "GET", _workflow(workflow_id))

    async def workflow_history(self, workflow_id: str, *, limit: int = 100) -> Sequence[JsonObject]:
        if not (await self.server()).has_drafts:
            raise self._not_in_1x("show the history of a workflow")
        path = _workflow(workflow_id, "history")
        versions = (await self._ask("workflow_history", "GET", path, params={"limit": str(limit)})).get("data")
        if not isinstance(versions, list):
            raise IncompleteRead(f"{self._client.asked('GET', f'{_API}{path}').what}: a history without its list",
                                 target=self.base_url)
        return [version for version in versions if isinstance(version, dict)]

    async def create_workflow(self, body: Mapping[str, Any]) -> JsonObject:
        server = await self.server()
        return await self._ask("create_workflow", "POST", "/workflows", body=create_body(body, server.generation))

    async def update_workflow(self, workflow_id: str, body: Mapping[str, Any], *, publish: bool = True) -> JsonObject:
        server = await self.server()
        params = {"publishIfActive": "false"} if server.has_drafts and not publish else None
        return await self._ask("update_workflow", "PUT", _workflow(workflow_id), params=params,
                               body=update_body(body, server.generation))

    async def activate_workflow(self, workflow_id: str, *, version_id: str | None = None) -> JsonObject:
        server = await self.server()
        if server.has_drafts:
            return await self._ask("activate_workflow", "POST", _workflow(workflow_id, "publish"),
                                   body={} if version_id is None else {"versionId": version_id}, repeatable=True)
        if version_id is not None:
            raise self._not_in_1x("publish a chosen version of a workflow")
        return await self._ask("activate_workflow", "POST", _workflow(workflow_id, "activate"), repeatable=True)

    async def deactivate_workflow(self, workflow_id: str) -> JsonObject:
        verb = "unpublish" if (await self.server()).has_drafts else "deactivate"
        return await self._ask("deactivate_workflow", "POST", _workflow(workflow_id, verb), repeatable=True)

    async def archive_workflow(self, workflow_id: str) -> JsonObject:
        return await self._archiving("archive", workflow_id)

    async def unarchive_workflow(self, workflow_id: str) -> JsonObject:
        """As archiving, fine to do twice; n8n itself refuses (400) to unarchive what is not archived."""
        try:
            return await self._archiving("unarchive", workflow_id)
        except Rejected:
            workflow = await self.get_workflow(workflow_id)
            if workflow.get("isArchived") is not False:
                raise
            return workflow

    async def _archiving(self, verb: str, workflow_id: str) -> JsonObject:
        if not (await self.server()).has_drafts:
            raise self._not_in_1x(f"{verb} workflows")
        return await self._ask(f"{verb}_workflow", "POST", _workflow(workflow_id, verb), repeatable=True)

    async def delete_workflow(self, workflow_id: str) -> None:
        """Delete; :class:`NotFound` when there was nothing to delete, unless an attempt of ours may have done it.

        2.x deletes no published workflow, nor one that is still being unpublished (409): it is unpublished first, and
        waited for.
        """
        path = f"{_API}{_workflow(workflow_id)}"
        deadline = self._clock() + _UNPUBLISHING
        while True:
            try:
                await self._client.call("delete_workflow", "DELETE", path)
            except Conflict:
                if self._clock() >= deadline:
                    raise
            else:
                return
            if (await self.get_workflow(workflow_id)).get("active") is True:
                await self.deactivate_workflow(workflow_id)
            await asyncio.sleep(_UNPUBLISHING_POLL)

    async def list_tags(self) -> Sequence[JsonObject]:
        return await everything(self._client, "list_tags", f"{_API}/tags")

    async def create_tag(self, name: str) -> JsonObject:
        return await self._ask("create_tag", "POST", "/tags", body={"name": name})

    async def set_workflow_tags(self, workflow_id: str, tag_ids: Sequence[str]) -> Sequence[JsonObject]:
        path = f"{_API}{_workflow(workflow_id, 'tags')}"
        answer = await self._client.call("set_workflow_tags", "PUT", path, body=[{"id": tag_id} for tag_id in tag_ids])
        return list_of(answer, self._client.asked("PUT", path))

    async def list_credentials(self) -> Sequence[JsonObject]:
        if not (await self.server()).lists_credentials:
            raise self._not_in_1x("list credentials")
        return await everything(self._client, "list_credentials", f"{_API}/credentials")

    async def create_credential(self, body: Mapping[str, Any]) -> JsonObject:
        server = await self.server()
        return await self._ask("create_credential", "POST", "/credentials",
                               body=credential_body(body, server.generation))

    async def credential_schema(self, credential_type: str) -> JsonObject:
        return await self._ask("credential_schema", "GET", f"/credentials/schema/{quote(credential_type, safe='')}")

    async def test_credential(self, credential_id: str) -> JsonObject:
        if not (await self.server()).lists_credentials:
            raise self._not_in_1x("test credentials")
        return await self._ask("test_credential", "POST", f"/credentials/{quote(credential_id, safe='')}/test",
                               repeatable=True)

    async def list_executions(self, *, cursor: str | None = None, limit: int = 100, include_data: bool = False,
                              workflow_id: str | None = None, status: str | None = None,
                              ) -> tuple[Sequence[JsonObject], str | None]:
        params = {"limit": str(limit), "includeData": "true" if include_data else "false"}
        asked_for = {"cursor": cursor, "workflowId": workflow_id, "status": status}
        params |= {name: value for name, value in asked_for.items() if value is not None}
        page = await fetch_page(self._client, "list_executions", f"{_API}/executions", params)
        return page.items, page.cursor

    async def get_execution(self, execution_id: str, *, include_data: bool = False) -> JsonObject:
        return await self._ask("get_execution", "GET", f"/executions/{quote(execution_id, safe='')}",
                               params={"includeData": "true" if include_data else "false"})

    async def webhook_methods(self, path: str) -> frozenset[str] | None:
        """To whoever says where it comes from, n8n names the methods of a path, as browsers ask before they call it."""
        outside = Outside({"origin": self.base_url, "accept": "*/*"})
        try:
            answer = await self._client.call("webhook_methods", "OPTIONS", _webhook(path), repeatable=True, outside=outside)
        except OutsideError as error:
            if error.status is None or error.transient:
                raise
            return None
        methods = [method.strip() for method in answer.headers.get("access-control-allow-methods", "").split(",")]
        return frozenset(methods[1:]) if answer.status == 204 and methods[0] == "OPTIONS" else None

    async def call_webhook(self, call: WebhookCall, *, patience: float) -> WebhookAnswer | None:
        headers = {"accept": "*/*"} | ({"content-type": call.content_type} if call.content_type else {})
        outside, path = Outside(headers, call.content, patience), _webhook(call.path)
        asked = self._client.asked(call.method, path)
        try:
            answer = await self._client.call("call_webhook", call.method, path, repeatable=False, outside=outside)
        except OutsideError as error:
            if isinstance(error, Unreachable) and isinstance(error.__cause__, httpx.ReadTimeout):
                return None
            if error.status is None:
                raise
            return WebhookAnswer(error.status, asked.clean(error.message.removeprefix(f"{error.target}: ")))
        return WebhookAnswer(answer.status, asked.clean(answer.body[:4096].decode("utf-8", "replace")))

    async def health(self) -> Health:
        """One attempt: which generation answers, and whether the key may list workflows. Raises no outside error."""
        started = self._clock()
        generation: int | None = None
        try:
            generation = (self._server or await self._probe(attempts=1)).generation
            started = self._clock()
            await fetch_page(self._client, "health", f"{_API}/workflows", _SMALLEST, attempts=1)
        except Refused as error:
            return Health(reachable=True, key_valid=error.status != 401, generation=generation,
                          latency=self._clock() - started, problem=error.kind, message=str(error))
        except OutsideError as error:
            reachable = error.kind not in {"unreachable", "not_n8n"}
            return Health(reachable=reachable, key_valid=None, generation=generation, latency=None, problem=error.kind,
                          message=str(error))
        return Health(reachable=True, key_valid=True, generation=generation, latency=self._clock() - started)

    def _not_in_1x(self, what: str) -> Rejected:
        return Rejected(f"n8n 1.x cannot {what} through its API", target=self.base_url, fix="it takes n8n 2.x")


def _workflow(workflow_id: str, verb: str | None = None) -> str:
    """The path of one workflow; an id that would lead elsewhere is no id."""
    if not workflow_id or workflow_id in {".", ".."}:
        raise UnknownWorkflow(f"{workflow_id!r} is no id of a workflow")
    path = f"/workflows/{quote(workflow_id, safe='')}"
    return path if verb is None else f"{path}/{verb}"


def _webhook(path: str) -> str:
    """The path of a webhook as it travels; one that would lead elsewhere is none."""
    if not path.startswith("/") or any(part in {".", ".."} for part in path.split("/")):
        raise UnknownWorkflow(f"{path!r} is no path of a webhook")
    return quote(path, safe="/:", errors="replace")
