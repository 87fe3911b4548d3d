"""A conversation with an n8n, held the same way with a real one (recorded once) and with the sandbox.

``python -m wfops_pipelines_tests.n8n.sandbox_scenario URL KEY GENERATION FILE`` records a server's answers. Ids, versions and
times are replaced by numbered placeholders, so that what is equal in one conversation must be equal in the other.
The server must be fresh: no workflows, tags, credentials or executions.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

Json = Any
UNKNOWN = "ZZZZZZZZZZZZZZ99"
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
# Sixteen letters and digits, but neither a number nor a camelCase word.
_ID = re.compile(r"(?<![A-Za-z0-9/.])(?![0-9]{16}\b)(?![a-z]+(?:[A-Z][a-z]+)*\b)[A-Za-z0-9]{16}(?![A-Za-z0-9/.])")


class Conversation:
    """Asks, remembers the answers, and gives them back with placeholders (``transcript``)."""

    def __init__(self, http: httpx.Client, key: str, generation: int) -> None:
        self.http, self.key, self.generation = http, key, generation
        self.answers: list[dict[str, Json]] = []

    def ask(self, label: str, method: str, path: str, body: Json = ..., *, raw: bytes | None = None,
            key: str | None = ..., headers: dict[str, str] | None = None, only: tuple[str, ...] = (), **query: Json) -> Json:
        """Ask and record under ``label``; ``only`` names the keys of the answer that are recorded."""
        sent = dict(headers or {})
        used = self.key if key is ... else key
        if used is not None:
            sent["x-n8n-api-key"] = used
        content = raw
        if body is not ...:
            content = json.dumps(body).encode()
        if content is not None:
            sent.setdefault("content-type", "application/json")
        answer = self.http.request(method, _address(path), content=content,
                                   headers=sent, params=query)
        kind = answer.headers.get("content-type", "").split(";")[0]
        value: Json = answer.json() if kind == "application/json" else f"({kind})" if answer.content else ""
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
                return _ID.sub(numbered("id"), _TIME.sub("<time>", text))
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
    return {a: {"main": [[{"node": b, "type": "main", "index": 0}]]} for a, b in zip(names, names[1:], strict=False)}


def cursor(**value: Json) -> str:
    return base64.b64encode(json.dumps(value, separators=(",", ":")).encode()).decode()


def doors(c: Conversation) -> None:
    """Keys, unknown paths, bodies that are none."""
    c.ask("health", "GET", "/healthz", key=None)
    c.ask("head", "HEAD", "/workflows")
    c.ask("readiness", "GET", "/healthz/readiness", key=None)
    c.ask("no key", "GET", "/workflows", key=None)
    c.ask("bad key", "GET", "/workflows", key="nonsense")
    c.ask("bearer", "GET", "/workflows", key=None, headers={"authorization": f"Bearer {c.key}"})
    c.ask("no key, unknown path", "GET", "/nothing", key=None)
    c.ask("unknown path", "GET", "/nothing")
    c.ask("no key, POST", "POST", "/workflows", {}, key=None)
    c.ask("discover", "GET", "/discover", only=("message",))
    c.ask("method", "PATCH", f"/workflows/{UNKNOWN}", {})
    c.ask("method tags", "PATCH", f"/tags/{UNKNOWN}", {})
    c.ask("invalid json", "POST", "/workflows", raw=b"{nope")
    c.ask("no json", "POST", "/workflows", raw=b"hello", headers={"content-type": "text/plain"})
    c.ask("no body", "POST", "/workflows")
    c.ask("array body", "POST", "/workflows", [])
    c.ask("string body", "POST", "/workflows", raw=b'"x"')
    c.ask("too large", "POST", "/workflows", flow("x" * (17 * 1024 * 1024)))
    c.ask("unknown id", "GET", f"/workflows/{UNKNOWN}")
    c.ask("odd id", "GET", "/workflows/no-such")
    for what in ("activate", "deactivate", "publish", "unpublish", "archive", "unarchive"):
        c.ask(f"unknown id: {what}", "POST", f"/workflows/{UNKNOWN}/{what}", {})
    c.ask("unknown id: put", "PUT", f"/workflows/{UNKNOWN}", flow("x"))
    c.ask("unknown id: delete", "DELETE", f"/workflows/{UNKNOWN}")
    c.ask("unknown id: tags", "GET", f"/workflows/{UNKNOWN}/tags")
    c.ask("unknown id: put tags", "PUT", f"/workflows/{UNKNOWN}/tags", [])
    c.ask("unknown id: history", "GET", f"/workflows/{UNKNOWN}/history")
    c.ask("unknown id: version", "GET", f"/workflows/{UNKNOWN}/versions/abc")
    c.ask("unknown id: old version path", "GET", f"/workflows/{UNKNOWN}/abc")
    for path in ("/variables", "/projects", "/promotions", "/projects/x/folders"):
        c.ask(f"licence {path}", "GET", path)
    c.ask("licence source control", "POST", "/source-control/pull", {})
    c.ask("empty list", "GET", "/workflows")


def bodies(c: Conversation) -> None:
    """What POST and PUT take."""
    ok = flow("body", node("A"))
    for name in ("name", "nodes", "connections", "settings"):
        c.ask(f"without {name}", "POST", "/workflows", {k: v for k, v in ok.items() if k != name})
    extras: dict[str, Json] = {
        "id": "x", "active": True, "createdAt": "x", "updatedAt": "x", "isArchived": False, "versionId": "x", "triggerCount": 1,
        "meta": {}, "tags": [], "activeVersion": {}, "description": "d", "hash": "x", "activeVersionId": None, "versionCounter": 1,
        "parentFolder": None, "wfops": {}, "pinData": 5, "nodeGroups": 5, "staticData": 5}
    for name, value in extras.items():
        c.ask(f"with {name}", "POST", "/workflows", {**ok, name: value})
    c.ask("staticData bad string", "POST", "/workflows", {**ok, "staticData": "{"})
    c.ask("two unknown", "POST", "/workflows", {**ok, "foo": 1, "bar": 1})
    c.ask("id and unknown", "POST", "/workflows", {**ok, "id": "x", "foo": 1})
    c.ask("name number", "POST", "/workflows", {**ok, "name": 5})
    c.ask("name null", "POST", "/workflows", {**ok, "name": None})
    c.ask("nodes object", "POST", "/workflows", {**ok, "nodes": {}})
    c.ask("nodes null", "POST", "/workflows", {**ok, "nodes": None})
    c.ask("node is string", "POST", "/workflows", {**ok, "nodes": ["x"]})
    c.ask("connections list", "POST", "/workflows", {**ok, "connections": []})
    c.ask("connections null", "POST", "/workflows", {**ok, "connections": None})
    c.ask("settings null", "POST", "/workflows", {**ok, "settings": None})
    c.ask("settings list", "POST", "/workflows", {**ok, "settings": []})
    for name, value in {"color": "x", "issues": {}, "createdAt": "x", "updatedAt": 1, "id": None, "name": 7, "position": None,
                        "typeVersion": "1", "disabled": "yes", "parameters": [], "notes": 3, "credentials": [], "onError": 1,
                        "maxTries": "3", "webhookId": 9, "customTelemetryTags": {"tag": [{"key": "a", "value": "b"}]}}.items():
        c.ask(f"node {name}", "POST", "/workflows", flow("body", {**node("A"), name: value}), only=("message", "nodes"))
    c.ask("second node bad", "POST", "/workflows", flow("body", node("A"), {**node("B"), "color": 1}))
    for name, value in {"foo": 1, "timezone": None, "executionTimeout": "5", "saveExecutionProgress": "DEFAULT",
                        "saveDataErrorExecution": "DEFAULT", "executionOrder": "v7", "callerPolicy": "nobody",
                        "errorWorkflow": 5, "timeSavedMode": "fixed", "redactionPolicy": "all", "binaryMode": "separate",
                        "credentialResolverId": "x", "customTelemetryTags": [{"key": "a", "value": "b"}],
                        "availableInMCP": True, "timeSavedPerExecution": 2.5, "executionTimeout ": 1}.items():
        c.ask(f"settings {name}", "POST", "/workflows", flow("body", node("A"), settings={name: value}), only=("message", "settings"))
    for name, value in {"shared": [], "projectId": "nope", "parentFolderId": "nope", "nodeGroups": []}.items():
        c.ask(f"optional {name}", "POST", "/workflows", {**ok, name: value}, only=("message", "name", "shared", "nodeGroups"))
    c.ask("parentFolderId null", "POST", "/workflows", {**ok, "parentFolderId": None}, only=("message", "parentFolder"))


def structure(c: Conversation) -> None:
    """What 2.x checks and 1.x does not."""
    a, b = node("A", x=0), node("B", x=200)
    target = {"node": "B", "type": "main", "index": 0}
    cases: dict[str, dict[str, Json]] = {
        "empty name": flow("", a),
        "blank name": flow("   ", a),
        "name of 128": flow("n" * 128, a),
        "name of 129": flow("n" * 129, a),
        "name of emoji": flow("🧪" * 70, a),
        "html name": flow("<b>x</b>", a),
        "no nodes": flow("s"),
        "no nodes, connections": flow("s", connections=link("A", "B")),
        "unknown source": flow("s", a, connections=link("Z", "A")),
        "unknown target": flow("s", a, connections=link("A", "Z")),
        "duplicate names": flow("s", a, a),
        "duplicate ids": flow("s", {**a, "id": "1"}, {**b, "id": "1"}),
        "no name": flow("s", {k: v for k, v in a.items() if k != "name"}),
        "empty node name": flow("s", {**a, "name": ""}),
        "no type": flow("s", {k: v for k, v in a.items() if k != "type"}),
        "no position": flow("s", {k: v for k, v in a.items() if k != "position"}),
        "position of 3": flow("s", {**a, "position": [1, 2, 3]}),
        "position of 1": flow("s", {**a, "position": [1]}),
        "no parameters, no version": flow("s", {"name": "A", "type": "n8n-nodes-base.set", "position": [0, 0]}),
        "negative index": flow("s", a, b, connections={"A": {"main": [[{**target, "index": -1}]]}}),
        "fraction index": flow("s", a, b, connections={"A": {"main": [[{**target, "index": 0.5}]]}}),
        "text index": flow("s", a, b, connections={"A": {"main": [[{**target, "index": "0"}]]}}),
        "no index": flow("s", a, b, connections={"A": {"main": [[{"node": "B", "type": "main"}]]}}),
        "null bucket": flow("s", a, b, connections={"A": {"main": [None, [target]]}}),
        "main no list": flow("s", a, b, connections={"A": {"main": 5}}),
        "outputs no object": flow("s", a, b, connections={"A": []}),
        "flat bucket": flow("s", a, b, connections={"A": {"main": [target]}}),
        "extra connection keys": flow("s", a, b, connections={"A": {"main": [[{**target, "note": 1}]]}}),
        "two problems": flow("s", a, a, connections=link("Z", "Y")),
        "unknown type": flow("s", {**a, "type": "n8n-nodes-none.nothing"}),
        "empty node": flow("s", {}),
    }
    for label, body in cases.items():
        c.ask(label, "POST", "/workflows", body, only=("message", "name", "nodes", "connections", "versionCounter"))


def life(c: Conversation) -> str:
    """One workflow: created, read, changed; what each write does to versions and settings."""
    made = c.ask("create", "POST", "/workflows", flow(
        "life", webhook("life"), node("Edit", id="e-1", y=100), connections=link("Hook", "Edit"),
        settings={"executionOrder": "v1", "timezone": "Europe/Paris", "executionTimeout": 60}, staticData={"k": 1}))
    at = f"/workflows/{made['id']}"
    body = {k: made[k] for k in ("name", "nodes", "connections", "settings")}
    state = [c.ask("get", "GET", at)]

    def put(label: str, value: Json, **query: Json) -> Json:
        answer = c.ask(f"put {label}", "PUT", at, value, **query)
        now = c.http.get(f"/api/v1{at}", headers={"x-n8n-api-key": c.key}).json()
        before = state[-1]
        state.append(now)
        c.note(f"after put {label}", {
            "versionId": now["versionId"] != before["versionId"], "updatedAt": now["updatedAt"] != before["updatedAt"],
            "versionCounter": now["versionCounter"] - before["versionCounter"], "settings": now["settings"],
            "staticData": now["staticData"], "answer is state": all(answer.get(k) == now.get(k) for k in ("name", "nodes", "settings"))})
        return now

    put("the same", body)
    put("renamed", {**body, "name": "life renamed"})
    body["name"] = "life renamed"
    put("no settings", {**body, "settings": {}})
    put("one setting", {**body, "settings": {"saveManualExecutions": True}})
    put("default timezone", {**body, "settings": {"timezone": "DEFAULT"}})
    put("timeout -1", {**body, "settings": {"executionTimeout": -1}})
    put("error workflow", {**body, "settings": {"errorWorkflow": UNKNOWN}})
    put("error workflow default", {**body, "settings": {"errorWorkflow": "DEFAULT"}})
    put("caller policy", {**body, "settings": {"callerPolicy": "none"}})
    put("caller policy omitted", {**body, "settings": {}})
    put("staticData", {**body, "settings": {}, "staticData": {"k": 2}})
    put("staticData as string", {**body, "settings": {}, "staticData": '{"k": 3}'})
    put("staticData null", {**body, "settings": {}, "staticData": None})
    moved = [{**n, "position": [n["position"][0] + 20, n["position"][1]]} for n in body["nodes"]]
    put("moved", {**body, "nodes": moved})
    put("staticData empty", {**body, "settings": {}, "staticData": {}})
    put("moved back, without webhookId", {**body, "nodes": [{k: v for k, v in n.items() if k != "webhookId"} for n in body["nodes"]]})
    put("node without id", {**body, "nodes": [{k: v for k, v in n.items() if k != "id"} for n in body["nodes"]]})
    put("with id", {**body, "id": made["id"]})
    put("with description", {**body, "description": "words"})
    put("description empty", {**body, "description": ""})
    put("description null", {**body, "description": None})
    put("pinData", {**body, "pinData": {"Edit": [{"json": {"a": 1}}]}})
    put("pinData kept", body)
    c.ask("get without pinned", "GET", at, excludePinnedData="true", only=("pinData", "name"))
    put("pinData null", {**body, "pinData": None})
    put("with projectId", {**body, "projectId": "x"})
    put("publishIfActive", body, publishIfActive="false")
    put("publishIfActive odd", body, publishIfActive="maybe")
    put("dangling", {**body, "connections": link("Zed", "Edit")})
    put("good again", {**body, "nodes": [*body["nodes"], node("More", x=400, id="m-1")]})
    put("empty name", {**body, "name": ""})
    put("long name", {**body, "name": "n" * 129})
    put("invalid settings", {**body, "settings": {"foo": 1}})
    c.ask("history", "GET", f"{at}/history", limit=3, only=("message",))
    c.ask("version", "GET", f"{at}/{state[-1]['versionId']}")
    c.ask("version, newer path", "GET", f"{at}/versions/{state[-1]['versionId']}")
    c.ask("version unknown", "GET", f"{at}/versions/abc")
    c.ask("version unknown, old path", "GET", f"{at}/abc")
    c.ask("list", "GET", "/workflows", name="life renamed")
    c.ask("delete", "DELETE", at)
    c.ask("delete again", "DELETE", at)
    c.ask("gone", "GET", at)
    return str(made["id"])


def numbers(c: Conversation) -> None:
    """What JavaScript does to numbers and text."""
    text = (b'{"name":"numbers","connections":{},"settings":{},"nodes":[{"name":"A","type":"n8n-nodes-base.set","typeVersion":3.0,'
            b'"position":[1.0,-0.5],"id":"n-1","parameters":{"one":1.0,"big":12345678901234567890,"edge":9007199254740993,'
            b'"exp":1e21,"exp3":1E3,"minus":-0.0,"float":0.1,"huge":1e400,"text":"\\u0000\\u2028\\ud83d\\ude00",'
            b'"lone":"\\ud800","arabic":"\xd9\x85\xd8\xb1\xd8\xad\xd8\xa8\xd8\xa7","null":null,"deep":{"b":1,"a":[1.50,{}]}}}]}')
    made = c.ask("numbers", "POST", "/workflows", raw=text, only=("nodes",))
    c.ask("numbers read", "GET", f"/workflows/{made['id']}", only=("nodes",))
    listed = c.http.get("/api/v1/workflows", params={"name": "numbers"}, headers={"x-n8n-api-key": c.key}).text
    c.note("numbers as text", re.findall(r'"parameters":(\{.*?\}\]\}\})', listed))
    c.ask("numbers delete", "DELETE", f"/workflows/{made['id']}", only=("name",))


def activation(c: Conversation) -> None:
    """Active, published, drafts, archived."""
    plain = c.ask("plain", "POST", "/workflows", flow("plain", node("Edit", id="e")), only=("id", "active"))
    c.ask("activate without trigger", "POST", f"/workflows/{plain['id']}/activate", {})
    manual = c.ask("manual", "POST", "/workflows", flow("manual", node("Go", "manualTrigger", 1, id="g")), only=("id",))
    c.ask("activate manual", "POST", f"/workflows/{manual['id']}/activate")
    odd = c.ask("unknown type", "POST", "/workflows", flow("odd", webhook("odd"), {**node("X", id="x"), "type": "nope.nope"}), only=("id",))
    c.ask("activate unknown type", "POST", f"/workflows/{odd['id']}/activate", {})
    off = c.ask("disabled trigger", "POST", "/workflows", flow("off", {**webhook("off"), "disabled": True}), only=("id",))
    c.ask("activate disabled trigger", "POST", f"/workflows/{off['id']}/activate", {})
    sub = c.ask("sub", "POST", "/workflows", flow("sub", node("When", "executeWorkflowTrigger", 1.1, id="w", parameters={"inputSource": "passthrough"})), only=("id",))
    caller_body = flow("caller", webhook("caller"), node("Call", "executeWorkflow", 1.2, id="c", x=200, parameters={
        "workflowId": {"__rl": True, "mode": "id", "value": sub["id"]}, "options": {}}), connections=link("Hook", "Call"))
    caller = c.ask("caller", "POST", "/workflows", caller_body, only=("id",))
    c.ask("activate caller before sub", "POST", f"/workflows/{caller['id']}/activate", {}, only=("active", "message"))
    c.ask("activate sub", "POST", f"/workflows/{sub['id']}/activate", {}, only=("active", "message", "triggerCount"))
    c.ask("activate caller", "POST", f"/workflows/{caller['id']}/activate", {}, only=("active", "message"))
    clock = c.ask("schedule", "POST", "/workflows", flow("clock", node("Tick", "scheduleTrigger", 1.2, id="t", parameters={
        "rule": {"interval": [{"field": "hours"}]}})), only=("id",))
    c.ask("activate schedule", "POST", f"/workflows/{clock['id']}/activate", {}, only=("active", "message"))
    error = c.ask("error flow", "POST", "/workflows", flow("error", node("Oops", "errorTrigger", 1, id="o")), only=("id",))
    c.ask("activate error flow", "POST", f"/workflows/{error['id']}/activate", {}, only=("active", "message", "triggerCount"))

    body = flow("hooked", webhook("taken"), node("Edit", id="e", x=200), connections=link("Hook", "Edit"), settings={"executionOrder": "v1"})
    made = c.ask("hooked", "POST", "/workflows", body)
    at = f"/workflows/{made['id']}"
    before = c.ask("hooked read", "GET", at, only=("updatedAt", "versionId", "versionCounter", "triggerCount", "active", "activeVersionId"))
    active = c.ask("activate", "POST", f"{at}/activate", {})
    c.wait_registered(made["id"])
    after = c.ask("active read", "GET", at)
    c.note("activation changed", {name: after[name] != before[name] for name in ("updatedAt", "versionId")}
           | {"answered active": active["active"]})
    c.ask("activate again", "POST", f"{at}/activate", only=("active", "versionCounter"))
    c.ask("active list", "GET", "/workflows", active="true", name="hooked")
    c.ask("inactive list", "GET", "/workflows", active="false", name="hooked")
    twin = c.ask("twin", "POST", "/workflows", {**body, "name": "twin"}, only=("id",))
    c.ask("activate twin: path taken", "POST", f"/workflows/{twin['id']}/activate", {}, only=("message", "active"))
    c.ask("twin after", "GET", f"/workflows/{twin['id']}", only=("active", "activeVersionId", "triggerCount"))

    changed = {**body, "nodes": [*made["nodes"], node("Extra", id="x", x=400)]}
    c.ask("put while active", "PUT", at, changed)
    live = c.ask("put while active, read", "GET", at)
    c.note("live is new", live["activeVersionId"] == live["versionId"])
    draft = {**changed, "nodes": [*changed["nodes"], node("Draft", id="d", x=600)]}
    c.ask("put draft", "PUT", at, draft, publishIfActive="false")
    after_draft = c.ask("put draft, read", "GET", at)
    c.note("draft differs", after_draft["activeVersionId"] != after_draft["versionId"])
    c.ask("put settings with draft", "PUT", at, {**draft, "settings": {"timezone": "UTC"}}, publishIfActive="false",
          only=("message", "active", "settings"))
    c.ask("publish unknown version", "POST", f"{at}/publish", {"versionId": "abc"})
    c.ask("activate unknown version", "POST", f"{at}/activate", {"versionId": "abc"}, only=("message",))
    c.ask("publish odd body", "POST", f"{at}/publish", {"foo": 1}, only=("message", "active"))
    c.ask("publish version number", "POST", f"{at}/activate", {"versionId": 5}, only=("message",))
    c.ask("publish named", "POST", f"{at}/publish", {"name": "v two", "description": "why"}, only=("message", "active"))
    c.ask("publish old", "POST", f"{at}/publish", {"versionId": after["versionId"]}, only=("message", "active"))
    c.ask("published old, read", "GET", at, only=("active", "nodes"))
    broken = {**body, "nodes": [node("Edit", id="e", x=200)], "connections": {}}
    c.ask("put without trigger while active", "PUT", at, broken)
    wounded = c.ask("put without trigger, read", "GET", at, only=("active", "nodes", "activeVersion"))
    c.note("draft was saved", len(wounded["nodes"]) == 1)
    c.ask("deactivate", "POST", f"{at}/deactivate")
    c.ask("deactivate again", "POST", f"{at}/deactivate", only=("active",))
    c.ask("unpublish", "POST", f"{at}/unpublish", {}, only=("message", "active"))
    c.ask("deactivated read", "GET", at, only=("active", "activeVersionId", "activeVersion", "triggerCount"))
    c.ask("repair", "PUT", at, body, only=("active", "message"))
    c.ask("activate with a body that is none", "POST", f"{at}/activate", raw=b"x", headers={"content-type": "text/plain"}, only=("message", "active"))
    c.ask("activate with a list", "POST", f"{at}/activate", [], only=("message", "active"))
    c.ask("deactivate once more", "POST", f"{at}/deactivate", only=("active",))
    c.ask("publish", "POST", f"{at}/publish", {}, only=("message", "active"))
    c.ask("archive", "POST", f"{at}/archive")
    c.ask("archive again", "POST", f"{at}/archive", only=("message", "isArchived", "active"))
    c.ask("put archived", "PUT", at, body, only=("message", "name"))
    c.ask("activate archived", "POST", f"{at}/activate", {}, only=("message", "active"))
    c.ask("archived in list", "GET", "/workflows", name="hooked")
    c.ask("unarchive", "POST", f"{at}/unarchive")
    c.ask("unarchive again", "POST", f"{at}/unarchive", only=("message", "isArchived"))
    c.ask("history", "GET", f"{at}/history", limit=2)
    c.ask("history, next", "GET", f"{at}/history", cursor=cursor(limit=2, offset=2))
    c.ask("activate for delete", "POST", f"{at}/activate", only=("active",))
    c.ask("delete active", "DELETE", at, only=("active", "name", "message"))
    c.ask("twin can be active now", "POST", f"/workflows/{twin['id']}/activate", {}, only=("message", "active"))
    for one in (plain, manual, odd, off, caller, sub, clock, error, twin):
        c.ask("away", "DELETE", f"/workflows/{one['id']}", only=("name", "message"))


def tags(c: Conversation) -> None:
    """Tags and the tags of workflows."""
    made = c.ask("tag", "POST", "/tags", {"name": "  blue "})
    c.ask("tag duplicate", "POST", "/tags", {"name": "blue"})
    c.ask("tag too long", "POST", "/tags", {"name": "x" * 30})
    c.ask("tag of 24", "POST", "/tags", {"name": "x" * 24}, only=("name", "message"))
    c.ask("tag of 25", "POST", "/tags", {"name": "y" * 25}, only=("name", "message"))
    c.ask("tag empty", "POST", "/tags", {"name": ""})
    c.ask("tag nothing", "POST", "/tags", {})
    c.ask("tag number", "POST", "/tags", {"name": 5})
    c.ask("tag extra", "POST", "/tags", {"name": "green", "foo": 1})
    c.ask("tag with id", "POST", "/tags", {"name": "green", "id": "x"})
    green = c.ask("tag green", "POST", "/tags", {"name": "green"}, only=("name", "id"))
    c.ask("tag get", "GET", f"/tags/{made['id']}")
    c.ask("tag unknown", "GET", f"/tags/{UNKNOWN}")
    renamed = c.ask("tag rename", "PUT", f"/tags/{made['id']}", {"name": "navy"})
    c.note("tag rename", {"updatedAt": renamed["updatedAt"] != made["updatedAt"]})
    c.ask("tag rename duplicate", "PUT", f"/tags/{made['id']}", {"name": "green"})
    c.ask("tag rename unknown", "PUT", f"/tags/{UNKNOWN}", {"name": "q"})
    c.ask("tags", "GET", "/tags", limit=1, only=("message",))
    flow_made = c.ask("tagged", "POST", "/workflows", flow("tagged", node("A", id="a")), only=("id", "tags"))
    at = f"/workflows/{flow_made['id']}"
    before = c.ask("before tagging", "GET", at, only=("updatedAt", "versionId"))
    c.ask("set tags", "PUT", f"{at}/tags", [{"id": made["id"]}, {"id": green["id"]}])
    after = c.ask("after tagging", "GET", at, only=("updatedAt", "versionId", "tags"))
    c.note("tagging changed", {k: before[k] != after[k] for k in ("updatedAt", "versionId")})
    c.ask("by tag", "GET", "/workflows", tags="navy,green", only=("nextCursor",))
    for given in ("navy", "navy, green", "navy,none", "none", "NAVY"):
        found = c.http.get("/api/v1/workflows", params={"tags": given}, headers={"x-n8n-api-key": c.key}).json()
        c.note(f"found by {given}", len(found["data"]))
    c.ask("by no tag", "GET", "/workflows", tags="", only=("message",))
    c.ask("set unknown", "PUT", f"{at}/tags", [{"id": UNKNOWN}])
    c.ask("after unknown", "GET", f"{at}/tags", only=("message",))
    c.ask("set name", "PUT", f"{at}/tags", [{"name": "navy"}])
    c.ask("set extra", "PUT", f"{at}/tags", [{"id": green["id"], "name": "green"}])
    c.ask("set twice", "PUT", f"{at}/tags", [{"id": green["id"]}, {"id": green["id"]}])
    c.ask("set object", "PUT", f"{at}/tags", {})
    c.ask("set one", "PUT", f"{at}/tags", [{"id": green["id"]}])
    c.ask("tags of", "GET", f"{at}/tags")
    c.ask("delete tag", "DELETE", f"/tags/{green['id']}")
    c.ask("delete tag again", "DELETE", f"/tags/{green['id']}")
    c.ask("tags after delete", "GET", f"{at}/tags")
    c.ask("set none", "PUT", f"{at}/tags", [])
    c.ask("away", "DELETE", at, only=("name", "tags"))


def listing(c: Conversation) -> None:
    """Pages, cursors, filters."""
    made = [c.ask("row", "POST", "/workflows", flow(f"Row {number}", node("A", id="a")), only=("name",))["id"] for number in range(5)]
    page = c.ask("first", "GET", "/workflows", limit=2, name="Row", only=("nextCursor",))
    rows = [row["id"] for row in page["data"]]
    c.note("order", rows == sorted(rows))
    second = c.ask("second", "GET", "/workflows", cursor=page["nextCursor"], limit=1, name="Row", only=("nextCursor",))
    c.note("cursor's limit wins", len(second["data"]))
    third = c.ask("third", "GET", "/workflows", cursor=second["nextCursor"], name="Row", only=("nextCursor",))
    c.note("rest", len(third["data"]))
    c.note("all of them", sorted(row["id"] for one in (page, second, third) for row in one["data"]) == sorted(made))
    for label, query in {"limit 0": {"limit": 0}, "limit 251": {"limit": 251}, "limit abc": {"limit": "abc"}, "limit -1": {"limit": -1},
                         "limit 2.5": {"limit": 2.5}, "limit empty": {"limit": ""}, "unknown": {"x": 1}, "offset": {"offset": 3}, "bad cursor": {"cursor": "nope"},
                         "empty object cursor": {"cursor": cursor()}, "no json cursor": {"cursor": base64.b64encode(b"hello").decode()},
                         "cursor beyond": {"cursor": cursor(limit=10, offset=100)}, "lastId cursor": {"cursor": cursor(limit=2, lastId="5")},
                         "active yes": {"active": "yes"}, "active 1": {"active": 1}, "active empty": {"active": ""},
                         "archived": {"isArchived": "true"}, "project": {"projectId": "nope"}, "name case": {"name": "row 3"},
                         "name wildcard": {"name": "ow%3"}, "name spaces": {"name": " Row 3 "}, "name empty": {"name": ""},
                         "pinned odd": {"excludePinnedData": "maybe"}, "empty cursor": {"cursor": ""}}.items():
        answer = c.ask(label, "GET", "/workflows", only=("message", "nextCursor"), **query)
        c.note(f"{label}: rows", len(answer.get("data", [])))
    big = c.http.get("/api/v1/workflows", params={"cursor": cursor(limit=1000, offset=1)}, headers={"x-n8n-api-key": c.key})
    c.note("a cursor beyond the limit", {"status": big.status_code, "rows": len(big.json().get("data", []))})
    c.ask("get with unknown", "GET", f"/workflows/{made[0]}", x=1, only=("message", "name"))
    c.ask("get excludePinnedData", "GET", f"/workflows/{made[0]}", excludePinnedData="true")
    c.ask("list excludePinnedData", "GET", "/workflows", excludePinnedData="true", name="Row 3")
    for one in made:
        c.ask("away", "DELETE", f"/workflows/{one}", only=("name",))


def credentials(c: Conversation) -> None:
    """Credentials, and what happens to their names in workflows."""
    basic = {"name": "door", "type": "httpBasicAuth", "data": {"user": "u", "password": "p"}}
    made = c.ask("credential", "POST", "/credentials", basic)
    c.ask("credential again", "POST", "/credentials", {**basic, "name": "twice"}, only=("name", "type"))
    c.ask("credential twice", "POST", "/credentials", {**basic, "name": "twice"}, only=("name", "type"))
    for label, body in {"extra data": {**basic, "data": {"user": "u", "x": 1}}, "no data": {"name": "a", "type": "httpBasicAuth"},
                        "empty data": {**basic, "data": {}}, "unknown type": {**basic, "type": "nothing"},
                        "header empty": {"name": "h", "type": "httpHeaderAuth", "data": {}},
                        "extra key": {**basic, "foo": 1}, "no name": {"type": "httpBasicAuth", "data": {}},
                        "empty name": {**basic, "name": ""}, "no type": {"name": "a", "data": {}}, "data list": {**basic, "data": []},
                        "wrong type": {**basic, "data": {"user": 5}}, "chosen id": {**basic, "id": "chosenIdchosen12"}}.items():
        c.ask(f"credential {label}", "POST", "/credentials", body)
    c.ask("chosen id again", "POST", "/credentials", {**basic, "id": "chosenIdchosen12"})
    c.ask("list", "GET", "/credentials", only=("message", "nextCursor"))
    c.ask("one", "GET", f"/credentials/{made['id']}")
    c.ask("one unknown", "GET", f"/credentials/{UNKNOWN}")
    c.ask("patch", "PATCH", f"/credentials/{made['id']}", {"name": "gate"})
    c.ask("patch unknown", "PATCH", f"/credentials/{UNKNOWN}", {"name": "gate"}, only=("message",))
    c.ask("patch data", "PATCH", f"/credentials/{made['id']}", {"data": {"x": 1}}, only=("message",))
    c.ask("schema", "GET", "/credentials/schema/httpBasicAuth")
    c.ask("schema header", "GET", "/credentials/schema/httpHeaderAuth")
    c.ask("schema unknown", "GET", "/credentials/schema/nothing")
    name = "gate" if c.generation == 2 else "door"

    def with_credentials(label: str, *given: Json, kind: str = "httpBasicAuth") -> Json:
        nodes = [node(f"H{i}", "httpRequest", 4.2, x=200 * i, id=f"h{i}", credentials={kind: value}) for i, value in enumerate(given)]
        answer = c.ask(label, "POST", "/workflows", flow("creds", *nodes), only=("nodes", "message"))
        if "id" in answer:
            c.ask("away", "DELETE", f"/workflows/{answer['id']}", only=("name",))
        return answer

    with_credentials("string known", name)
    with_credentials("string unknown", "nobody")
    with_credentials("string unknown twice", "nobody", "nobody")
    with_credentials("string ambiguous", "twice")
    with_credentials("null id", {"id": None, "name": name})
    with_credentials("no id", {"name": name})
    with_credentials("stale name", {"id": made["id"], "name": "old"})
    with_credentials("unknown id, known name", {"id": "abc", "name": name})
    with_credentials("unknown id, unknown name", {"id": "abc", "name": "nobody"})
    with_credentials("unknown ids differ", {"id": "abc", "name": "nobody"}, {"id": "abc", "name": "other"})
    with_credentials("wrong type", {"id": made["id"], "name": name}, kind="httpHeaderAuth")
    with_credentials("extra keys", {"id": made["id"], "name": name, "more": 1})
    with_credentials("null", None)
    with_credentials("number", 5)
    c.ask("delete", "DELETE", f"/credentials/{made['id']}")
    c.ask("delete again", "DELETE", f"/credentials/{made['id']}")


def nodes(c: Conversation) -> None:
    """Ids and webhook ids that n8n makes."""
    kinds = {"webhook": 2, "formTrigger": 2.2, "form": 1, "wait": 1.1, "slack": 2.3, "telegramTrigger": 1.2, "stripeTrigger": 1,
             "githubTrigger": 1, "scheduleTrigger": 1.2, "emailReadImap": 2, "@n8n/n8n-nodes-langchain.chatTrigger": 1.1,
             "@n8n/n8n-nodes-langchain.mcpTrigger": 2, "respondToWebhook": 1.4, "discord": 2, "gmail": 2.1, "telegram": 1.2,
             "microsoftOutlook": 2, "whatsAppTrigger": 1, "slackTrigger": 1, "@n8n/n8n-nodes-langchain.chat": 1, "httpRequest": 4.2}
    made = c.ask("kinds", "POST", "/workflows", flow("kinds", *(
        node(name.rsplit(".", 1)[-1], name if "." in name else f"n8n-nodes-base.{name}", version, x=i * 100)
        for i, (name, version) in enumerate(kinds.items()))), only=("nodes",))
    c.note("webhook ids for", sorted(n["name"] for n in made["nodes"] if n.get("webhookId")))
    odd = c.ask("odd webhook ids", "POST", "/workflows", flow(
        "odd", node("W", "webhook", 2, id="w", webhookId="my-own"), node("V", "webhook", 2, id="v", webhookId="", x=9),
        node("S", id="s", webhookId="kept", x=99), {**webhook("x", "X"), "parameters": {}}), only=("nodes",))
    for one in (made, odd):
        c.ask("away", "DELETE", f"/workflows/{one['id']}", only=("name",))


def runs(c: Conversation) -> None:
    """Executions that a webhook started."""
    flow_made = c.ask("run", "POST", "/workflows", flow("run", webhook("run-me"), settings={"executionOrder": "v1"}), only=("name",))
    at = f"/workflows/{flow_made['id']}"
    c.ask("webhook of inactive", "GET", "/hook/run-me", only=("code", "message"))
    c.ask("activate run", "POST", f"{at}/activate", {}, only=("active",))
    c.wait_registered(flow_made["id"])
    for number in range(3):
        c.ask(f"call {number}", "GET", "/hook/run-me")
    for _ in range(200):
        listed = c.http.get("/api/v1/executions", headers={"x-n8n-api-key": c.key}).json()["data"]
        if len(listed) == 3 and all(run["status"] == "success" for run in listed):
            break
        time.sleep(0.05)
    page = c.ask("executions", "GET", "/executions", limit=2)
    c.ask("executions, next", "GET", "/executions", cursor=page["nextCursor"], only=("nextCursor",))
    c.note("newest first", [run["id"] for run in listed] == sorted((run["id"] for run in listed), key=int, reverse=True))
    for query in ({"status": "success"}, {"status": "error"}, {"workflowId": flow_made["id"]}, {"workflowId": UNKNOWN}, {"projectId": "nope"}):
        found = c.http.get("/api/v1/executions", params=query, headers={"x-n8n-api-key": c.key}).json()
        c.note(f"executions by {sorted(query)}", len(found["data"]))
    first = listed[0]["id"]
    one = c.ask("execution", "GET", f"/executions/{first}", only=("id", "mode", "status", "workflowId", "finished", "retryOf", "waitTill"))
    c.note("an execution has", sorted(one))
    full = c.ask("execution with data", "GET", f"/executions/{first}", includeData="true", only=("status",))
    c.note("data comes along", sorted(key for key in full if key in {"data", "workflowData", "customData"}))
    c.ask("retry a success", "POST", f"/executions/{first}/retry", {}, only=("message",))
    gone = c.ask("delete execution", "DELETE", f"/executions/{first}", only=("status",))
    c.note("a deleted execution has", sorted(gone))
    c.note("deleted id is", type(gone["id"]).__name__)
    c.ask("deleted execution", "GET", f"/executions/{first}")
    c.ask("stop runs", "POST", f"{at}/deactivate", only=("active",))


def others(c: Conversation) -> None:
    """Users, audit, and executions that are not there."""
    for label, query in {"limit": {"limit": 300}, "status": {"status": "error"}, "status odd": {"status": "nope"}, "bad cursor": {"cursor": "x"},
                         "workflow": {"workflowId": UNKNOWN}, "crashed": {"status": "crashed"}, "unknown": {"foo": 1}}.items():
        c.ask(f"executions {label}", "GET", "/executions", **query)
    c.ask("execution unknown", "GET", "/executions/999")
    c.ask("execution odd", "GET", "/executions/abc")
    c.ask("execution delete unknown", "DELETE", "/executions/999")
    c.ask("execution retry unknown", "POST", "/executions/999/retry", {})
    c.ask("users", "GET", "/users", only=("nextCursor", "message"))
    c.ask("user unknown", "GET", "/users/nobody@example.com")
    c.ask("audit", "POST", "/audit", {}, only=("message",))


CHAPTERS = (doors, bodies, structure, life, numbers, activation, tags, listing, credentials, nodes, runs, others)


def chapters(http: httpx.Client, key: str, generation: int) -> Iterator[tuple[str, list[dict[str, Json]]]]:
    """Hold the whole conversation; after each chapter every workflow is deleted."""
    for chapter in CHAPTERS:
        c = Conversation(http, key, generation)
        chapter(c)
        yield chapter.__name__, c.transcript()
        headers = {"x-n8n-api-key": key}
        for row in http.get("/api/v1/workflows", params={"limit": 250}, headers=headers).json()["data"]:
            http.post(f"/api/v1/workflows/{row['id']}/deactivate", headers=headers)
            while http.delete(f"/api/v1/workflows/{row['id']}", headers=headers).status_code == 409:
                time.sleep(0.05)  # 2.x: still being unpublished


def record(url: str, key: str, generation: int, file: Path) -> None:
    """Write a server's side of the conversation."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
        recorded = dict(chapters(http, key, generation))
    file.write_text(json.dumps(recorded, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
