"""Lower: from what a workflow means in all environments to what it is in one (§11.4).

Pure, and the inverse of :func:`wfops_pipelines.domain.lift.lift`. Nothing is guessed: what the target has no counterpart
for is left as it is and reported, and such content must not be written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from wfops_pipelines.domain.masking import mask_text
from wfops_pipelines.domain.normalize import STICKY_NOTE, caller_ids
from wfops_pipelines.domain.parameter_paths import Place
from wfops_pipelines.domain.references import called_workflow, error_workflow
from wfops_pipelines.domain.transform_tables import KEY_PREFIX, CredentialRow, EnvironmentTables
from wfops_pipelines.domain.transform_terms import (
    ITSELF,
    Kind,
    Transformation,
    Unresolved,
    canonical_of,
    credential_key,
    credential_name,
    map_texts,
    picked_place,
    picking,
    picks,
    place_text,
    shown_value,
    with_ids_once,
)
from wfops_pipelines.domain.transform_texts import lower_text
from wfops_pipelines.domain.workflow import Content, JsonObject


@dataclass(frozen=True, slots=True)
class Lowered:
    """Content for the target, and how it came about.

    ``unresolved`` blocks. ``awaited`` are canonical ids (``self`` for the workflow itself) of workflows that the same
    promotion creates: content that awaits one still holds its term, and is lowered again once it is there.
    """

    content: Content = field(repr=False)
    transformations: tuple[Transformation, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()
    awaited: tuple[str, ...] = ()

    @property
    def writable(self) -> bool:
        """Whether nothing portable is left in the content."""
        return not self.unresolved and not self.awaited

    def as_json(self) -> JsonObject:
        """Without the content: what was done, what could not be, what is awaited."""
        return {"transformations": [done.as_json() for done in self.transformations],
                "unresolved": [problem.as_json() for problem in self.unresolved], "awaited": list(self.awaited)}


def lower(portable: Content, target: EnvironmentTables, *, self_id: str | None, current: Content | None = None,
          planned: Collection[str] = (), node_ids: Iterable[str] | None = None) -> Lowered:
    """``portable`` as ``target`` is to have it.

    ``self_id`` is the workflow's n8n id there, ``current`` its content there, if it is there. By its nodes' names node ids
    and webhook ids are carried over, and ids of credentials that the tables do not know. Other nodes keep their ids, or get
    them from ``node_ids`` where that is given; an id that is taken is left out, and n8n makes one. ``planned`` are the
    canonical ids that the same promotion creates.
    """
    lowering = _Lowering(target, self_id, current, planned)
    return lowering.of(portable, current, None if node_ids is None else iter(node_ids))


class _Lowering:
    """One lower: the tables, and what was found on the way."""

    def __init__(self, target: EnvironmentTables, self_id: str | None, current: Content | None,
                 planned: Collection[str]) -> None:
        self.target, self.self_id, self.planned = target, self_id, planned
        self.credential_ids = _credential_ids(current)
        self.done: list[Transformation] = []
        self.unresolved: list[Unresolved] = []
        self.awaited: dict[str, None] = {}

    def of(self, portable: Content, current: Content | None, node_ids: Iterator[str] | None) -> Lowered:
        nodes = with_ids_once([self._node(node) for node in portable["nodes"]])
        content = {**portable, "nodes": nodes}
        if portable.get("settings"):
            content["settings"] = self._settings(portable["settings"])
        if current is not None or node_ids is not None:
            content = _with_own_ids(content, current, node_ids)
        return Lowered(content, tuple(self.done), tuple(self.unresolved), tuple(self.awaited))

    def _node(self, node: JsonObject) -> JsonObject:
        if node.get("type") == STICKY_NOTE:
            return node
        return self._credentials(self._texts(self._called(node)))

    def _called(self, node: JsonObject) -> JsonObject:
        if not picks(node) or (term := called_workflow(node)) is None:
            return node
        path = picked_place(node)
        workflow_id = self._workflow(term, node["name"], path)
        parameters = None if workflow_id is None else picking(node, workflow_id)
        if workflow_id is None or parameters is None:
            return node
        self._lowered_workflow(node["name"], path, term, workflow_id)
        return {**node, "parameters": parameters}

    def _texts(self, node: JsonObject) -> JsonObject:
        parameters, name = node.get("parameters"), node["name"]
        calls = picks(node)

        def lowered(text: str, place: Place) -> str:
            if "{{" not in text:
                return text
            result, path = lower_text(text, self.target), place_text(place)
            self.done += (Transformation(name, path, Kind(piece.kind), piece.placeholder, shown_value(piece))
                          for piece in result.pieces)
            for missing in result.missing:
                if not (calls and place[1] == "workflowId" and canonical_of(missing)):  # reported as a workflow already
                    self._placeholder(missing, name, path)
            return result.text

        changed = map_texts(parameters, ("parameters",), lowered)
        return node if changed is parameters else {**node, "parameters": changed}

    def _placeholder(self, placeholder: str, node: str, path: str) -> None:
        there = self.target.environment
        variable = placeholder.removeprefix("{{env.").removesuffix("}}")
        if variable != placeholder.removesuffix("}}"):
            fix = f"set the variable {variable} of {there} in fleet.yaml"
        else:
            fix = f"{{{{wfops.base_url}}}} is the one of this kind; it needs the base URL of {there}"
        self.unresolved.append(Unresolved(
            Kind.PLACEHOLDER, node, path, f"{mask_text(placeholder)} means nothing in {there}", fix, placeholder))

    def _credentials(self, node: JsonObject) -> JsonObject:
        owned = node.get("credentials")
        if owned.__class__ is not dict or not owned:
            return node
        changed: dict[str, Any] = {}
        for kind, reference in owned.items():
            if reference is None:
                continue
            key, path = credential_key(reference), place_text(("credentials", kind))
            row = None if key is None else self.target.credential_rows.get((kind, key))
            if row is None:
                self._without_row(node["name"], path, kind, key, credential_name(reference))
                continue
            changed[kind] = self._reference(row)
            self.done.append(Transformation(node["name"], path, Kind.CREDENTIAL, f"{KEY_PREFIX}{key}", mask_text(row.name)))
        return {**node, "credentials": {**owned, **changed}} if changed else node

    def _reference(self, row: CredentialRow) -> JsonObject:
        """By name alone the id has to be null: where it is absent, n8n of both generations takes the first credential of
        the type, whatever its name. With null it takes the one of that name, or none where there is not exactly one."""
        return {"id": row.id or self.credential_ids.get((row.type, row.name)), "name": row.name}

    def _without_row(self, node: str, path: str, kind: str, key: str | None, name: str | None) -> None:
        there = self.target.environment
        if key is not None:
            what = f"credential key {key!r} of type {kind} has no name in {there}"
            fix = f"say what it is called there: wfops credentials map, or credentials in fleet.yaml with {there}"
        else:
            what = f"a credential of type {kind} {f'named {mask_text(name)!r} ' if name else ''}has no key"
            fix = "give it a key: wfops credentials map, or credentials in fleet.yaml"
        self.unresolved.append(Unresolved(Kind.CREDENTIAL, node, path, mask_text(what), fix, key or name or ""))

    def _settings(self, settings: JsonObject) -> JsonObject:
        changed: JsonObject = {}
        if handler := error_workflow(settings):
            workflow_id = self._workflow(handler, None, "settings.errorWorkflow")
            if workflow_id is not None:
                changed["errorWorkflow"] = workflow_id
                self._lowered_workflow(None, "settings.errorWorkflow", handler, workflow_id)
        callers = caller_ids(settings.get("callerIds"))
        meant = [self._caller(caller) for caller in callers]
        if meant != callers:
            changed["callerIds"] = ",".join(meant)
        return {**settings, **changed} if changed else settings

    def _caller(self, caller: str) -> str:
        workflow_id = self._workflow(caller, None, "settings.callerIds")
        if workflow_id is None:
            return caller
        self._lowered_workflow(None, "settings.callerIds", caller, workflow_id)
        return workflow_id

    def _workflow(self, term: str, node: str | None, path: str) -> str | None:
        """The target's id of what a term means; none where it is awaited or reported."""
        canonical, there = canonical_of(term), self.target.environment
        if canonical is None:
            self.unresolved.append(Unresolved(
                Kind.WORKFLOW, node, path, f"workflow {mask_text(term)} is not known beyond the environment it came from",
                "link it there, or choose another workflow", term))
            return None
        workflow_id = self.self_id if canonical == ITSELF else self.target.workflow_ids.get(canonical)
        if workflow_id:
            return workflow_id
        if canonical == ITSELF or canonical in self.planned:
            self.awaited[canonical] = None
        else:
            self.unresolved.append(Unresolved(
                Kind.WORKFLOW, node, path, f"workflow {canonical} is not in {there}",
                f"promote it to {there} first or along, or link the one that is there", canonical))
        return None

    def _lowered_workflow(self, node: str | None, path: str, term: str, workflow_id: str) -> None:
        self.done.append(Transformation(node, path, Kind.WORKFLOW, term, mask_text(workflow_id)))


def all_unresolved(*parts: Sequence[Unresolved]) -> tuple[Unresolved, ...]:
    """What blocks, of lift and lower together: each place once, as the first of them says it."""
    first: dict[tuple[str | None, str, Kind, str], Unresolved] = {}
    for part in parts:
        for problem in part:
            first.setdefault((problem.node, problem.path, problem.kind, problem.term), problem)
    return tuple(first.values())


def _credential_ids(current: Content | None) -> dict[tuple[str, str], str]:
    """(type, name) → id, as the target's own nodes have them: 1.x lists no credentials, and fills none in."""
    found: dict[tuple[str, str], str] = {}
    for node in current["nodes"] if current else ():
        owned = node.get("credentials")
        for kind, reference in owned.items() if owned.__class__ is dict else ():
            name = credential_name(reference)
            if name and reference.__class__ is dict and reference.get("id").__class__ is str and reference["id"]:
                found.setdefault((kind, name), reference["id"])
    return found


def _with_own_ids(content: Content, current: Content | None, node_ids: Iterator[str] | None) -> Content:
    """Node ids and webhook ids of the target by node name, once each; groups of nodes name the ids that nodes then have."""
    twins: dict[str, deque[JsonObject]] = {}
    for node in with_ids_once(current["nodes"]) if current else ():
        twins.setdefault(node["name"], deque()).append(node)
    pairs = [(node, there.popleft() if (there := twins.get(node["name"])) else None) for node in content["nodes"]]
    taken = {value for _, twin in pairs if twin for key in ("id", "webhookId") if (value := twin.get(key)).__class__ is str}
    free = None if node_ids is None else (node_id for node_id in node_ids if node_id not in taken)
    nodes = [_own(node, twin, taken, free) for node, twin in pairs]
    result = {**content, "nodes": nodes}
    if "nodeGroups" in content:
        moved = {before["id"]: after["id"] for (before, _), after in zip(pairs, nodes, strict=True)
                 if before.get("id").__class__ is str and after.get("id").__class__ is str}
        result["nodeGroups"] = map_texts(content["nodeGroups"], (), lambda text, _: moved.get(text, text))
    return result


def _own(node: JsonObject, twin: JsonObject | None, taken: set[Any], free: Iterator[str] | None) -> JsonObject:
    same = twin is not None and twin.get("type") == node.get("type")  # another type of node has another kind of webhook
    own = {"id": twin.get("id") if twin else None, "webhookId": twin.get("webhookId") if twin and same else None}
    if not own["id"] and free is not None and (own_id := next(free, None)) is not None:
        own["id"] = own_id
        taken.add(own_id)
    result = dict(node)
    for key, value in own.items():
        if value:
            result[key] = value
        elif result.get(key).__class__ is str and result[key]:
            if result[key] in taken:
                del result[key]  # n8n makes one
            else:
                taken.add(result[key])
    return result
