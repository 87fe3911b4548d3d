"""Asking, and remembering the answers."""

from __future__ import annotations

import base64
import itertools
import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx

Json = Any
UNKNOWN = "ZZZZZZZZZZZZZZ99"
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_DATE = re.compile(r"^\d{4}-\d\d-\d\d$")
# Sixteen letters and digits, but neither a number nor a word that n8n says (an id can look like one).
_WORDS = ("deduplicationKey", "executionTimeout", "microsoftOutlook", "projectRelations", "respondToWebhook", "sourceWorkflowId")
_ID = re.compile(rf"(?<![A-Za-z0-9/.])(?![0-9]{{16}}\b)(?!(?:{'|'.join(_WORDS)})\b)[A-Za-z0-9]{{16}}(?![A-Za-z0-9/.])")


class Conversation:
    """Asks, remembers the answers, and gives them back with placeholders (``transcript``)."""

    def __init__(self, http: httpx.Client, key: str, generation: int) -> None:
        self.http, self.key, self.generation = http, key, generation
        self.answers: list[dict[str, Json]] = []

    def ask(self, label: str, method: str, path: str, body: Json = ..., *, raw: bytes | None = None,
            key: str | None = "", headers: dict[str, str] | None = None, only: tuple[str, ...] = (), **query: Json) -> Json:
        """Ask and record under ``label``; ``only`` names the keys of the answer that are recorded."""
        sent = dict(headers or {})
        if key is not None:
            sent["x-n8n-api-key"] = key or self.key
        content = raw
        if body is not ...:
            content = json.dumps(body).encode()
        if content is not None:
            sent.setdefault("content-type", "application/json")
        answer = self.http.request(method, _address(path), content=content,
                                   headers=sent, params=query)
        kind = answer.headers.get("content-type", "").split(";")[0]
        value: Json = answer.json() if kind == "application/json" and answer.content else f"({kind})" if answer.content else ""
        shown = {name: value.get(name, "(absent)") for name in only} if only and isinstance(value, dict) else value
        self.answers.append({"label": label, "status": answer.status_code, "body": shown})
        return value

    def note(self, label: str, value: Json) -> None:
        """Record something that was found out by comparing answers."""
        self.answers.append({"label": label, "note": value})

    def wait_registered(self, workflow_id: str) -> None:
        """Until the webhooks and triggers of an active workflow are registered (2.x does that later)."""
        for _ in range(200):
            if self.http.get(f"/api/v1/workflows/{workflow_id}", headers={"x-n8n-api-key": self.key}).json()["triggerCount"]:
                return
            time.sleep(0.05)
        raise AssertionError("never registered")

    def remove(self, workflow_id: str) -> None:
        """Take a workflow away, active or not; 2.x wants it unpublished first, and that takes a moment."""
        headers = {"x-n8n-api-key": self.key}
        self.http.post(f"/api/v1/workflows/{workflow_id}/deactivate", headers=headers)
        while self.http.delete(f"/api/v1/workflows/{workflow_id}", headers=headers).status_code == 409:
            time.sleep(0.05)

    def transcript(self) -> list[dict[str, Json]]:
        """The answers with placeholders."""
        names: dict[str, str] = {}

        def numbered(kind: str) -> Callable[[re.Match[str]], str]:
            return lambda match: names.setdefault(match.group(), f"<{kind} {len(names) + 1}>")

        def replace(value: Json) -> Json:
            if isinstance(value, dict):
                if isinstance(value.get("tags"), list):  # their order is n8n's whim
                    value["tags"].sort(key=lambda tag: str(tag["name"]))
                return {replace(name): replace(value[name]) for name in sorted(value)}
            if isinstance(value, list):
                return [replace(item) for item in value]
            if isinstance(value, str):
                text = _UUID.sub(numbered("uuid"), value)
                return _ID.sub(numbered("id"), _TIME.sub("<time>", _DATE.sub("<date>", text)))
            return value

        return [replace(answer) for answer in self.answers]


def _address(path: str) -> str:
    if path.startswith("/hook/"):
        return "/webhook/" + path.removeprefix("/hook/")
    return path if path.startswith("/healthz") else f"/api/v1{path}"


def node(name: str, type_: str = "set", version: float = 3.4, x: int = 0, y: int = 0, **more: Json) -> dict[str, Json]:
    """A node, without an id unless given."""
    return {"name": name, "type": type_ if "." in type_ else f"n8n-nodes-base.{type_}", "typeVersion": version, "position": [x, y],
            "parameters": {}, **more}


def webhook(path: str, name: str = "Hook", **more: Json) -> dict[str, Json]:
    return node(name, "webhook", 2, id="hook-1", webhookId="11111111-2222-3333-4444-555555555555", parameters={"path": path}, **more)


def flow(name: str, *nodes: dict[str, Json], connections: Json = None, settings: Json = None, **more: Json) -> dict[str, Json]:
    return {"name": name, "nodes": list(nodes), "connections": connections or {}, "settings": settings or {}, **more}


def link(*names: str) -> dict[str, Json]:
    """A chain of main connections."""
    return {a: {"main": [[{"node": b, "type": "main", "index": 0}]]} for a, b in itertools.pairwise(names)}


def cursor(**value: Json) -> str:
    return base64.b64encode(json.dumps(value, separators=(",", ":")).encode()).decode()
