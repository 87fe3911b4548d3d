"""Random workflows that look like real ones, in the sizes that real ones have (facts §10, §11).

Fitted to a public collection: median 12 to 14 nodes, mean 11 kB, one in a hundred above 40 kB, the largest 160 kB.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

JsonObject = dict[str, Any]
_BASE = "n8n-nodes-base."
_AI = "@n8n/n8n-nodes-langchain."
_WORDS = (
    "order", "customer", "invoice", "payment", "lead", "ticket", "report", "summary", "stock", "price", "message", "channel",
    "mail", "sheet", "row", "record", "contact", "status", "event", "page", "file", "image", "answer", "prompt",
    "model", "agent", "result", "batch", "account", "project", "task", "note", "campaign", "user", "team", "review", "draft",
    "update", "fetch", "filter", "merge", "notify", "check", "score", "label", "extract", "translate", "publish", "archive")
_MAX_NODES = 180
_TRIGGERS = ("webhook", "scheduleTrigger", "manualTrigger", "formTrigger", "chatTrigger")
_CREDENTIALS = {"telegram": "telegramApi", "slack": "slackApi", "gmail": "gmailOAuth2",
                "googleSheets": "googleSheetsOAuth2Api", "airtable": "airtableTokenApi",
                "postgres": "postgres", "openAi": "openAiApi"}
_OUTPUTS = {"if": 2, "switch": 3, "splitInBatches": 2}


def generate_workflow(rng: random.Random, size: int | None = None) -> JsonObject:
    """A workflow with ``size`` nodes, or as many as a real one might have: name, nodes, connections, settings.

    Node names are unique and connections lead somewhere, so n8n 2.x takes it; nothing in it refers to another n8n.
    """
    count = size or max(2, min(_MAX_NODES, round(rng.lognormvariate(2.5, 0.72))))
    steps = max(2, count - round(count * 0.27))
    nodes = [_trigger(rng)]
    connections: JsonObject = {}
    while len(nodes) < steps:
        node = _step(rng, len(nodes))
        _connect(connections, nodes[max(0, len(nodes) - rng.choice((1, 1, 1, 1, 2, 3)))], node, rng)
        nodes.append(node)
        if _short(node) == "chainLlm" and len(nodes) < steps:
            nodes.append(_model(rng, node, len(nodes)))
            _link(connections, nodes[-1]["name"], "ai_languageModel", 0, node["name"])
    nodes += [_note(rng, number) for number in range(count - len(nodes))]
    rng.shuffle(nodes)
    settings: JsonObject = {"executionOrder": "v1"} if rng.random() < 0.6 else {}
    return {"name": _phrase(rng, 2, 7).capitalize(), "nodes": nodes, "connections": connections, "settings": settings}


def _short(node: JsonObject) -> str:
    return str(node["type"].rpartition(".")[2])


def _phrase(rng: random.Random, few: int, many: int) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(few, many)))


def _text(rng: random.Random, size: float) -> str:
    """About so many bytes of prose, code or expressions; sizes scatter as real ones do."""
    length = round(size * rng.lognormvariate(-0.32, 0.8))
    words: list[str] = []
    total = 0
    while total < length:
        word, kind = rng.choice(_WORDS), rng.random()
        word = f"={{{{ $json.{word} }}}}" if kind < 0.06 else "\n" if kind < 0.11 else word
        words.append(word)
        total += len(word) + 1
    return " ".join(words)


def _uuid(rng: random.Random) -> str:
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


def _node(rng: random.Random, kind: str, version: float, number: int) -> JsonObject:
    return {"id": _uuid(rng), "name": f"{_phrase(rng, 1, 3).capitalize()} {number}", "type": kind, "typeVersion": version,
            "position": [240 * number + rng.randrange(0, 100, 20), rng.randrange(-400, 600, 20)], "parameters": {}}


def _trigger(rng: random.Random) -> JsonObject:
    short = rng.choice(_TRIGGERS)
    node = _node(rng, (_AI if short == "chatTrigger" else _BASE) + short, 1.0, 0)
    if short in {"webhook", "formTrigger", "chatTrigger"}:
        node["webhookId"] = _uuid(rng)
    if short == "webhook":
        node["parameters"] = {"path": _uuid(rng), "httpMethod": "POST", "options": {}}
    elif short == "scheduleTrigger":
        node["parameters"] = {"rule": {"interval": [{"field": "hours", "hoursInterval": rng.randint(1, 12)}]}}
    elif short == "formTrigger":
        fields = [{"fieldLabel": _phrase(rng, 1, 2)} for _ in range(3)]
        node["parameters"] = {"formTitle": _phrase(rng, 1, 4), "formFields": {"values": fields}, "options": {}}
    return node


def _step(rng: random.Random, number: int) -> JsonObject:
    prefix, short, version, _, make = rng.choices(_KINDS, weights=_WEIGHTS)[0]
    node = _node(rng, prefix + short, version, number)
    node["parameters"] = make(rng)
    if short in _CREDENTIALS:
        reference = {"id": f"{rng.getrandbits(95):016x}"[:16], "name": f"{_phrase(rng, 1, 2)} account"}
        node["credentials"] = {_CREDENTIALS[short]: reference}
    if rng.random() < 0.05:
        node |= {"retryOnFail": True, "maxTries": rng.randint(2, 5)}
    if rng.random() < 0.03:
        node["onError"] = "continueRegularOutput"
    return node


# --- parameters -------------------------------------------------------------------------------------------------------

_Make = Callable[[random.Random], JsonObject]


def _plain(rng: random.Random) -> JsonObject:
    return {"options": {}}


def _one_text(name: str, size: float) -> _Make:
    return lambda rng: {name: _text(rng, size), "options": {}}


def _set(rng: random.Random) -> JsonObject:
    fields = [{"id": _uuid(rng), "name": rng.choice(_WORDS), "type": "string", "value": _text(rng, 70)}
              for _ in range(rng.randint(1, 4))]
    return {"assignments": {"assignments": fields}, "options": {}}


def _http(rng: random.Random) -> JsonObject:
    made: JsonObject = {"url": f"https://api.example.com/{'/'.join(rng.choices(_WORDS, k=3))}",
                        "options": {"timeout": rng.choice((1000, 10000, 30000))}}
    if rng.random() < 0.5:
        made |= {"method": "POST", "sendBody": True, "specifyBody": "json", "jsonBody": _text(rng, 585)}
    return made


def _conditions(rng: random.Random) -> JsonObject:
    condition = {"id": _uuid(rng), "leftValue": f"={{{{ $json.{rng.choice(_WORDS)} }}}}", "rightValue": rng.choice(_WORDS),
                 "operator": {"type": "string", "operation": rng.choice(("equals", "contains", "notEquals"))}}
    options = {"version": 2, "leftValue": "", "caseSensitive": True, "typeValidation": "strict"}
    return {"options": options, "combinator": "and", "conditions": [condition]}


def _if(rng: random.Random) -> JsonObject:
    return {"conditions": _conditions(rng), "options": {}}


def _switch(rng: random.Random) -> JsonObject:
    rules = [{"outputKey": rng.choice(_WORDS), "conditions": _conditions(rng), "renameOutput": True} for _ in range(3)]
    return {"rules": {"values": rules}, "options": {}}


def _table(columns: int) -> _Make:
    def make(rng: random.Random) -> JsonObject:
        schema = [{"id": word, "type": "string", "display": True, "required": False, "displayName": word}
                  for word in rng.sample(_WORDS, columns)]
        value = {word: f"={{{{ $json.{word} }}}}" for word in rng.sample(_WORDS, 5)}
        document = {"__rl": True, "mode": "list", "value": _uuid(rng), "cachedResultName": _phrase(rng, 1, 3)}
        return {"operation": "append", "documentId": document, "options": {},
                "columns": {"mappingMode": "defineBelow", "value": value, "schema": schema}}

    return make


# prefix, type, version, share of nodes, parameters
_KINDS: tuple[tuple[str, str, float, int, _Make], ...] = (
    (_BASE, "set", 3.4, 85, _set), (_BASE, "httpRequest", 4.2, 73, _http), (_BASE, "code", 2, 42, _one_text("jsCode", 1300)),
    (_BASE, "if", 2.2, 29, _if), (_BASE, "telegram", 1.2, 19, _one_text("text", 250)), (_BASE, "merge", 3.1, 17, _plain),
    (_BASE, "googleSheets", 4.5, 10, _table(11)), (_BASE, "slack", 2.3, 8, _one_text("text", 500)),
    (_BASE, "gmail", 2.1, 10, _one_text("message", 350)), (_BASE, "splitOut", 1, 13, _plain),
    (_BASE, "switch", 3.2, 11, _switch),
    (_BASE, "noOp", 1, 11, lambda _: {}), (_BASE, "airtable", 2.1, 12, _table(17)),
    (_BASE, "html", 1.2, 8, _one_text("html", 1200)),
    (_BASE, "aggregate", 1, 8, _plain), (_BASE, "filter", 2.2, 8, _if), (_BASE, "splitInBatches", 3, 6, _plain),
    (_BASE, "postgres", 2.6, 6, _one_text("query", 400)), (_AI, "chainLlm", 1.5, 13, _one_text("text", 1000)),
    (_AI, "openAi", 1.8, 13, _one_text("prompt", 600)), (_BASE, "wait", 1.1, 4, _plain))
_WEIGHTS = [share for _, _, _, share, _ in _KINDS]


def _model(rng: random.Random, user: JsonObject, number: int) -> JsonObject:
    node = _node(rng, _AI + "lmChatOpenAi", 1.2, number)
    node["position"] = [user["position"][0], user["position"][1] + 200]
    node["parameters"] = {"model": {"__rl": True, "mode": "list", "value": "gpt-4o-mini"},
                          "options": {"temperature": round(rng.random(), 2)}}
    node["credentials"] = {"openAiApi": {"id": f"{rng.getrandbits(95):016x}"[:16], "name": "OpenAi account"}}
    return node


def _note(rng: random.Random, number: int) -> JsonObject:
    node = _node(rng, _BASE + "stickyNote", 1, number)
    node["name"] = f"Sticky Note{number}"
    node["parameters"] = {"content": "## " + _text(rng, 330), "width": rng.randrange(200, 900, 20),
                          "height": rng.randrange(120, 500, 20)}
    return node


def _connect(connections: JsonObject, source: JsonObject, target: JsonObject, rng: random.Random) -> None:
    if _short(source) != "lmChatOpenAi":  # a model has no main output
        _link(connections, source["name"], "main", rng.randrange(_OUTPUTS.get(_short(source), 1)), target["name"])


def _link(connections: JsonObject, source: str, kind: str, output: int, target: str) -> None:
    outputs = connections.setdefault(source, {}).setdefault(kind, [])
    while len(outputs) <= output:
        outputs.append([])
    outputs[output].append({"node": target, "type": kind, "index": 0})
