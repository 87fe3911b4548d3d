"""Keys, bodies, structure, and what a write does to versions, settings and numbers."""

from __future__ import annotations

import re

from wfops_pipelines_tests.n8n.conversation.talk import UNKNOWN, Conversation, Json, flow, link, node, webhook


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
