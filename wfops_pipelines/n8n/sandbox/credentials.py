"""Credentials: their data against the type's schema, and the references to them in nodes (facts §6, §8)."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from wfops_pipelines.n8n.sandbox.errors import ApiError
from wfops_pipelines.n8n.sandbox.records import Credential, JsonObject
from wfops_pipelines.n8n.sandbox.schema import json_kind
from wfops_pipelines.n8n.sandbox.state import State

_ONLY_2 = frozenset({"allowedHttpRequestDomains", "allowedDomains"})


@cache
def _schemas() -> dict[str, JsonObject]:
    """The types the sandbox knows, as 2.41 describes them: the common ones of some four hundred."""
    text = (files(__package__) / "credential_schemas.json").read_text(encoding="utf-8")
    loaded: dict[str, JsonObject] = json.loads(text)
    return loaded


def schema(state: State, credential_type: str) -> JsonObject | None:
    """``GET /credentials/schema/{type}``, or none for an unknown type."""
    known = _schemas().get(credential_type)
    if known is None or state.generation >= 2:
        return known
    properties = {name: rule for name, rule in known["properties"].items() if name not in _ONLY_2}
    return {**known, "properties": properties}


def check_data(state: State, credential_type: str, data: JsonObject) -> None:
    """The 400 for data that the type's schema does not take."""
    known = schema(state, credential_type)
    if known is None:
        raise ApiError(400, "req.body.type is not a known type")
    problems = []
    for name, value in data.items():
        rule = known["properties"].get(name)
        if rule is None:
            problems.append(f'request.body.data is not allowed to have the additional property "{name}"')
        elif rule["type"] != "notice" and not _fits(value, rule["type"]):
            problems.append(f"request.body.data is not of a type(s) {rule['type']}")
        elif "enum" in rule and value not in rule["enum"]:
            problems.append(f"request.body.data is not one of enum values: {','.join(map(str, rule['enum']))}")
    problems += [f'request.body.data requires property "{name}"' for name in _required(known, data) if name not in data]
    if problems:
        raise ApiError(400, ", ".join(problems))


def _fits(value: Any, kind: str) -> bool:
    return (kind in {"number", "integer"} and json_kind(value) == "number") or json_kind(value) == kind


def _required(known: JsonObject, data: JsonObject) -> list[str]:
    """Required properties, also those that another value makes required (``allOf`` of if/then/else)."""
    names = list(known.get("required", ()))
    for branch in known.get("allOf", ()):
        conditions = branch.get("if", {}).get("properties", {})
        holds = all(data.get(name) in rule.get("enum", [rule.get("const")]) for name, rule in conditions.items())
        chosen = branch.get("then" if holds else "else", {})
        for part in chosen.get("allOf", [chosen]):
            names += part.get("required", ())
    return names


def credential_json(state: State, credential: Credential) -> JsonObject:
    """A credential as an answer shows it: never its data."""
    made: JsonObject = {
        "id": credential.id, "name": credential.name, "type": credential.type, "isManaged": False, "isGlobal": False,
        "createdAt": credential.created_at, "updatedAt": credential.updated_at}
    if state.generation >= 2:
        made |= {"isResolvable": False, "resolvableAllowFallback": False, "resolverId": None}
    return made


def listed_json(state: State, credential: Credential, owner: str) -> JsonObject:
    """A credential in the listing of 2.x."""
    times = {"createdAt": credential.created_at, "updatedAt": credential.updated_at}
    return {"id": credential.id, "name": credential.name, "type": credential.type, **times,
            "shared": [{"id": state.project_id, "name": owner, "role": "credential:owner", **times}]}


def create(state: State, body: JsonObject) -> JsonObject:
    """``POST /credentials``."""
    if body["type"] not in _schemas():
        raise ApiError(400, "req.body.type is not a known type")
    check_data(state, body["type"], body["data"])
    chosen = body.get("id") if state.generation >= 2 else None
    if chosen in state.credentials:
        raise ApiError(409, "A credential with this ID already exists")
    now = state.now()
    made = Credential(chosen or state.free_id(), body["name"], body["type"], body["data"], now, now)
    state.credentials[made.id] = made
    state.changes += 1
    answer = credential_json(state, made)
    return answer if state.generation >= 2 else {**{k: v for k, v in body.items() if k != "data"}, **answer}


def change(state: State, credential_id: str, body: JsonObject) -> JsonObject:
    """``PATCH /credentials/{id}`` (2.x)."""
    found = state.credentials.get(credential_id)
    if found is None:
        raise ApiError(404, "Credential not found")
    if "data" in body:
        check_data(state, body.get("type", found.type), body["data"])
        found.data = body["data"]
    found.name = body.get("name", found.name)
    found.type = body.get("type", found.type)
    found.updated_at = state.now()
    state.changes += 1
    return credential_json(state, found)


def delete(state: State, credential_id: str) -> JsonObject:
    """``DELETE /credentials/{id}``; nodes keep their references to it."""
    found = state.credentials.pop(credential_id, None)
    if found is None:
        raise ApiError(404, "Not Found")
    state.changes += 1
    answer = credential_json(state, found)
    if state.generation >= 2:
        return {**answer, "usageScope": "project"}
    del answer["id"]
    return answer


# --- references in nodes ----------------------------------------------------------------------------------------------


def repair(state: State, nodes: list[JsonObject]) -> None:
    """Resolve the credential references of nodes in place, with n8n's own oddities.

    A known id gets its present name; an unknown one is replaced where name and type name exactly one. A string that
    names none stays a string the first time, and becomes ``{"id": null, "name": …}`` the second time in one workflow.
    A reference without an id takes any credential of the type.
    """
    seen: dict[tuple[str, ...], Any] = {}
    for node in nodes:
        given = node.get("credentials")
        if not given or node.get("disabled"):
            continue
        for kind, reference in list(given.items()):
            if reference is None:
                if state.generation < 2:
                    raise ApiError(400, "Cannot read properties of null (reading 'id')")
                continue
            given[kind] = _resolved(state, kind, reference, seen)


def _resolved(state: State, kind: str, reference: Any, seen: dict[tuple[str, ...], Any]) -> Any:
    entry = reference if isinstance(reference, dict) else {}
    if isinstance(reference, str) or entry.get("id", "") is None:
        name = reference if isinstance(reference, str) else entry.get("name")
        key = ("name", kind, str(name))
        if key in seen:
            return dict(seen[key])
        found = _by_name(state, kind, name)
        seen[key] = {"id": None, "name": name} if found is None else _reference(found)
        return reference if found is None else _reference(found)
    wanted = entry.get("id")
    # 1.x remembers an unknown id alone: a second reference with it gets the first one's name.
    key = ("id", kind, str(wanted)) if state.generation < 2 else ("id", kind, str(wanted), str(entry.get("name")))
    if key in seen:
        return dict(seen[key]) if isinstance(seen[key], dict) else seen[key]
    found = next((item for item in state.credentials.values() if item.type == kind and wanted in {None, item.id}), None)
    found = found or _by_name(state, kind, entry.get("name"))
    seen[key] = reference if found is None else _reference(found)
    return dict(seen[key]) if isinstance(seen[key], dict) else seen[key]


def _reference(credential: Credential) -> JsonObject:
    return {"id": credential.id, "name": credential.name}


def _by_name(state: State, kind: str, name: Any) -> Credential | None:
    found = [item for item in state.credentials.values() if item.type == kind and item.name == name]
    return found[0] if len(found) == 1 else None
