"""Credentials: their data against the type's schema, and the references to them in nodes (facts §6, §8)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from wfops_pipelines.n8n.sandbox.errors import ApiError
from wfops_pipelines.n8n.sandbox.records import Credential, JsonObject
from wfops_pipelines.n8n.sandbox.schema import json_kind
from wfops_pipelines.n8n.sandbox.state import State

_AT = "request.body.data"
_PLAIN = frozenset({"string", "number", "boolean", "object", "array"})


@cache
def _schemas() -> dict[str, dict[str, JsonObject]]:
    """Type → generation → schema: the common ones of some four hundred types, as 2.41 and 1.123 describe them."""
    text = (files(__package__) / "credential_schemas.json").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, JsonObject]] = json.loads(text)
    return loaded


def schema(state: State, credential_type: str) -> JsonObject | None:
    """``GET /credentials/schema/{type}``, or none for an unknown type."""
    known = _schemas().get(credential_type)
    return None if known is None else known.get(str(state.generation), known["2"])


def check_data(state: State, credential_type: str, data: JsonObject) -> None:
    """The 400 for data that the type's schema does not take."""
    known = schema(state, credential_type)
    if known is None:
        raise ApiError(400, "req.body.type is not a known type")
    problems = list(_problems(known, data))
    if problems:
        raise ApiError(400, ",".join(problems))
    if state.generation >= 2 and "serverUrl" in known["properties"]:
        for name in ("serverUrl", "authUrl", "accessTokenUrl"):
            if data.get(name) and not str(data[name]).startswith(("http://", "https://")):
                raise ApiError(400, "OAuth url is not a valid URL.")


def _problems(rules: JsonObject, data: JsonObject) -> Iterator[str]:
    """What a JSON Schema has against the data, in the words of the validator that n8n uses."""
    properties = rules.get("properties", {})
    for name, value in data.items():
        rule = properties.get(name, {})
        if rule.get("type") in _PLAIN and json_kind(value) != rule["type"]:  # notice and json are no types: anything goes
            yield f"{_AT} is not of a type(s) {rule['type']}"
        if "enum" in rule and value not in rule["enum"]:
            yield f"{_AT} is not one of enum values: {','.join(map(str, rule['enum']))}"
    if rules.get("additionalProperties") is False:
        yield from (f'{_AT} is not allowed to have the additional property "{name}"'
                    for name in data if name not in properties)
    for number, part in enumerate(rules.get("allOf", ())):
        inner = list(_problems(part, data))
        if inner:
            yield f"{_AT} does not match allOf schema [subschema {number}] with {len(inner)} error[s]:"
            yield from inner
    if "if" in rules:
        yield from _problems(rules.get("then" if not list(_problems(rules["if"], data)) else "else", {}), data)
    if "not" in rules and not list(_problems(rules["not"], data)):
        yield f"{_AT} is of prohibited type [object Object]"
    yield from (f'{_AT} requires property "{name}"' for name in rules.get("required", ()) if name not in data)


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
    made = Credential(chosen or state.free_id(), body["name"], body["type"], now, now)
    state.credentials[made.id] = made
    state.changes += 1
    answer = credential_json(state, made)
    return answer if state.generation >= 2 else {**{k: v for k, v in body.items() if k != "data"}, **answer}


def test(state: State, credential_id: str) -> JsonObject:
    """``POST /credentials/{id}/test`` (2.x): there is no service here to ask, as there is none for many types."""
    if credential_id not in state.credentials:
        raise ApiError(404, f'Credential with ID "{credential_id}" was not found.')
    return {"status": "Error", "message": "No testing function found for this credential."}


def change(state: State, credential_id: str, body: JsonObject) -> JsonObject:
    """``PATCH /credentials/{id}`` (2.x)."""
    found = state.credentials.get(credential_id)
    if found is None:
        raise ApiError(404, "Credential not found")
    if "data" in body:
        check_data(state, body.get("type", found.type), body["data"])
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
    seen: dict[tuple[str, str, str, str], Any] = {}
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


def _resolved(state: State, kind: str, reference: Any, seen: dict[tuple[str, str, str, str], Any]) -> Any:
    entry = reference if isinstance(reference, dict) else {}
    if isinstance(reference, str) or entry.get("id", "") is None:
        name = reference if isinstance(reference, str) else entry.get("name")
        key = ("name", kind, str(name), "")
        if key in seen:
            return dict(seen[key])
        found = _by_name(state, kind, name)
        seen[key] = {"id": None, "name": name} if found is None else _reference(found)
        return reference if found is None else _reference(found)
    wanted = entry.get("id")
    # 1.x remembers an unknown id alone: a second reference with it gets the first one's name.
    key = ("id", kind, str(wanted), "" if state.generation < 2 else str(entry.get("name")))
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
