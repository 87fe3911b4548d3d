"""Activation, tags, listings, credentials, minted ids, executions."""

from __future__ import annotations

import base64
import time

from wfops_pipelines_tests.n8n.conversation.talk import UNKNOWN, Conversation, Json, cursor, flow, link, node, webhook


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
    c.remove(made["id"])
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
    queries: dict[str, dict[str, Json]] = {"limit 0": {"limit": 0}, "limit 251": {"limit": 251}, "limit abc": {"limit": "abc"}, "limit -1": {"limit": -1},
                         "limit 2.5": {"limit": 2.5}, "limit empty": {"limit": ""}, "unknown": {"x": 1}, "offset": {"offset": 3}, "bad cursor": {"cursor": "nope"},
                         "empty object cursor": {"cursor": cursor()}, "no json cursor": {"cursor": base64.b64encode(b"hello").decode()},
                         "cursor beyond": {"cursor": cursor(limit=10, offset=100)}, "lastId cursor": {"cursor": cursor(limit=2, lastId="5")},
                         "active yes": {"active": "yes"}, "active 1": {"active": 1}, "active empty": {"active": ""},
                         "archived": {"isArchived": "true"}, "project": {"projectId": "nope"}, "name case": {"name": "row 3"},
                         "name wildcard": {"name": "ow%3"}, "name spaces": {"name": " Row 3 "}, "name empty": {"name": ""},
                         "pinned odd": {"excludePinnedData": "maybe"}, "empty cursor": {"cursor": ""}}
    for label, query in queries.items():
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
    queries: dict[str, dict[str, Json]] = {"limit": {"limit": 300}, "status": {"status": "error"}, "status odd": {"status": "nope"}, "bad cursor": {"cursor": "x"},
                         "workflow": {"workflowId": UNKNOWN}, "crashed": {"status": "crashed"}, "unknown": {"foo": 1}}
    for label, query in queries.items():
        c.ask(f"executions {label}", "GET", "/executions", **query)
    c.ask("execution unknown", "GET", "/executions/999")
    c.ask("execution odd", "GET", "/executions/abc")
    c.ask("execution delete unknown", "DELETE", "/executions/999")
    c.ask("execution retry unknown", "POST", "/executions/999/retry", {})
    c.ask("users", "GET", "/users", only=("nextCursor", "message"))
    c.ask("user unknown", "GET", "/users/nobody@example.com")
    c.ask("audit", "POST", "/audit", {}, only=("message",))
