"""What a case of the conformance suite talks to, and small workflows to talk about."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from wfops_pipelines.n8n.adapter import N8nProvider
from wfops_pipelines.n8n.provider import Connection

T = TypeVar("T")
JsonObject = dict[str, Any]


@dataclass
class Target:
    """One server under test, by raw HTTP (``get``, ``post``, …, below ``/api/v1``) and by the adapter (``provider``).

    Everything a case makes through ``create``, ``tag`` and ``credential`` is deleted when the case ends.
    """

    name: str
    generation: int
    url: str
    api_key: str
    http: httpx.Client
    _made: list[str] = field(default_factory=list)

    @property
    def is_v1(self) -> bool:
        return self.generation == 1

    @property
    def is_v2(self) -> bool:
        return self.generation == 2

    @property
    def real(self) -> bool:
        return self.name.startswith("n8n")

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.http.request(method, f"/api/v1{path}", **options)

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.request("GET", path, params=params)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.request("POST", path, json=body, **options)

    def put(self, path: str, body: Any, **params: Any) -> httpx.Response:
        return self.request("PUT", path, json=body, params=params)

    def delete(self, path: str) -> httpx.Response:
        return self.request("DELETE", path)

    def workflow(self, workflow_id: str) -> JsonObject:
        """GET one, which must work."""
        return ok_object(self.get(f"/workflows/{workflow_id}"))

    def listed(self, workflow: JsonObject) -> JsonObject:
        """The same workflow as the listing shows it."""
        found = [w for w in ok(self.get("/workflows", name=workflow["name"]))["data"] if w["id"] == workflow["id"]]
        assert len(found) == 1
        return dict(found[0])

    def create(self, body: JsonObject) -> JsonObject:
        workflow = ok_object(self.post("/workflows", body))
        self.forget_later(f"/workflows/{workflow['id']}")
        return workflow

    def forget_later(self, path: str) -> None:
        self._made.append(path)

    def clean_up(self) -> None:
        made, self._made = self._made, []
        answers = [(path, self._remove(path)) for path in reversed(made)]
        left = [(path, answer.text) for path, answer in answers if answer.status_code not in {200, 204, 404}]
        assert not left

    def _remove(self, path: str) -> httpx.Response:
        answer = self.delete(path)
        if answer.status_code == 409:  # 2.x deletes no published workflow, and unpublishes behind the scenes
            self.post(f"{path}/unpublish")
            wait_until(lambda: self.delete(path).status_code != 409)
            answer = self.delete(path)
        return answer

    def activate(self, workflow: JsonObject) -> JsonObject:
        """Activate as either generation does, and wait until it has registered what triggers it."""
        answer = ok_object(self.post(f"/workflows/{workflow['id']}/activate"))
        wait_until(lambda: self.listed(workflow)["triggerCount"] > 0)
        return answer

    def tick(self) -> None:
        """Let a millisecond pass, so that a changed time can be told from an unchanged one."""
        now = time.time_ns() // 1_000_000
        wait_until(lambda: time.time_ns() // 1_000_000 > now + 1)

    def tag(self, name: str | None = None) -> JsonObject:
        tag = ok_object(self.post("/tags", {"name": name or unique("tag")[:24]}), 201)
        self.forget_later(f"/tags/{tag['id']}")
        return tag

    def credential(self, name: str | None = None) -> JsonObject:
        credential = ok_object(self.post("/credentials", {
            "name": name or unique("credential"), "type": "httpBasicAuth", "data": {"user": "u", "password": "p"}}))
        self.forget_later(f"/credentials/{credential['id']}")
        return credential

    def provider(self, act: Callable[[N8nProvider], Awaitable[T]]) -> T:
        """Do something with an adapter of its own."""
        async def run() -> T:
            provider = N8nProvider(Connection(self.url, self.api_key))
            try:
                return await act(provider)
            finally:
                await provider.aclose()

        return asyncio.run(run())


def ok(answer: httpx.Response, status: int = 200) -> Any:
    """The JSON of an answer that has to have this status."""
    assert answer.status_code == status, (answer.status_code, answer.text[:500])
    return answer.json()


def ok_object(answer: httpx.Response, status: int = 200) -> JsonObject:
    """As :func:`ok`, an object at that."""
    value = ok(answer, status)
    assert isinstance(value, dict)
    return value


def refused(answer: httpx.Response, status: int) -> str:
    """The message of a refusal that has to have this status."""
    assert answer.status_code == status, (answer.status_code, answer.text[:500])
    return str(answer.json()["message"])


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Look until it holds; n8n 2.x does some things after it has answered."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)


def unique(name: str) -> str:
    return f"{name} {uuid.uuid4().hex[:12]}"


def node(name: str, kind: str, *, version: float = 1, position: tuple[int, int] = (0, 0), **more: Any) -> JsonObject:
    return {"id": str(uuid.uuid4()), "name": name, "type": f"n8n-nodes-base.{kind}", "typeVersion": version,
            "position": list(position), "parameters": {}, **more}


def link(source: str, target: str) -> JsonObject:
    return {source: {"main": [[{"node": target, "type": "main", "index": 0}]]}}


def manual(name: str | None = None, **more: Any) -> JsonObject:
    """A workflow without anything that could trigger it by itself."""
    return {"name": name or unique("manual"), "nodes": [node("Start", "manualTrigger"), node("End", "noOp", position=(200, 0))],
            "connections": link("Start", "End"), "settings": {"executionOrder": "v1"}, **more}


def scheduled(name: str | None = None, **more: Any) -> JsonObject:
    """A workflow that can be activated (it fires once a day)."""
    trigger = node("Every day", "scheduleTrigger", version=1.2,
                   parameters={"rule": {"interval": [{"field": "days", "daysInterval": 1}]}})
    return {"name": name or unique("scheduled"), "nodes": [trigger, node("End", "noOp", position=(200, 0))],
            "connections": link("Every day", "End"), "settings": {"executionOrder": "v1"}, **more}


def webhook(path: str | None = None, **more: Any) -> JsonObject:
    """A workflow that answers on a path."""
    trigger = node("Hook", "webhook", version=2, parameters={"path": path or uuid.uuid4().hex, "options": {}})
    return {"name": unique("webhook"), "nodes": [trigger], "connections": {}, "settings": {"executionOrder": "v1"}, **more}


def writable(workflow: JsonObject) -> JsonObject:
    """The four keys that both generations take."""
    return {key: workflow[key] for key in ("name", "nodes", "connections", "settings")}
