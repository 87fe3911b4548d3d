"""Lift: from what a workflow is in one environment to what it means in all of them (§11.4).

Pure, and the inverse of :func:`wfops_pipelines.domain.lower.lower`. What is in portable form already stays as it is.
Two forms that mean the same have one portable form: a workflow picked by its URL is picked by its id, and of nodes that
share an id the first one has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict

from wfops_pipelines.domain.masking import mask_text
from wfops_pipelines.domain.normalize import STICKY_NOTE, caller_ids
from wfops_pipelines.domain.parameter_paths import Place
from wfops_pipelines.domain.portable import to_portable
from wfops_pipelines.domain.references import CALLING_NODES, called_workflow, error_workflow, portable_bytes, references
from wfops_pipelines.domain.transform_tables import KEY_PREFIX, EnvironmentTables
from wfops_pipelines.domain.transform_terms import (
    ITSELF,
    Kind,
    Transformation,
    Unknown,
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
    texts,
    with_ids_once,
    workflow_term,
)
from wfops_pipelines.domain.transform_texts import TextKind, lift_text, lower_text, names_address, variables_in
from wfops_pipelines.domain.workflow import Content, JsonObject

_CALLS_ITSELF: Final = frozenset({"={{$workflow.id}}"})  # an expression, but one that means the same everywhere


class _Terms(TypedDict):
    self_id: str
    canonical_id_of: dict[str, str]
    credential_key_of: dict[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class PromotedText:
    """The text that the promoted version has at a place: with it, what lower put there is lifted again.

    Asking for a value to be lifted that was not is the same thing: ``PromotedText(node, path, "{{env.NAME}}")``.
    """

    node: str
    path: str
    text: str

    def as_json(self) -> JsonObject:
        """For the store: ``{"node", "path", "text"}``; :meth:`from_json` reads it."""
        return {"node": self.node, "path": self.path, "text": self.text}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PromotedText:
        """What :meth:`as_json` gave."""
        return cls(document["node"], document["path"], document["text"])


@dataclass(frozen=True, slots=True)
class Lifted:
    """Portable content, and how it came about. ``unresolved`` blocks; lower reports the same places again."""

    content: Content = field(repr=False)
    transformations: tuple[Transformation, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()
    unknown: tuple[Unknown, ...] = ()

    def as_json(self) -> JsonObject:
        """Without the content: what was done, what could not be, what nobody knows."""
        return {"transformations": [done.as_json() for done in self.transformations],
                "unresolved": [problem.as_json() for problem in self.unresolved],
                "unknown": [thing.as_json() for thing in self.unknown]}


def lift(content: Content, source: EnvironmentTables, *, self_id: str | None,
         promoted: Iterable[PromotedText] = ()) -> Lifted:
    """``content``, as ``source`` has it, in portable form.

    ``self_id`` is the workflow's n8n id there. ``promoted`` are the texts of the version that was promoted last
    (:func:`promoted_texts`); without them no value of a variable is lifted. Sticky notes stay as they are. The result
    shares what did not change with ``content``.
    """
    return _Lifting(source, self_id, promoted).of(content)


def promoted_texts(portable: Content, environment: EnvironmentTables) -> tuple[PromotedText, ...]:
    """The texts of portable content that lift needs to know to get it back from what lower makes of it in
    ``environment``: those with values, and those that name the environment's own address as if it were another's."""
    found = []
    for node in portable["nodes"]:
        if node.get("type") == STICKY_NOTE:
            continue
        for text, place in texts(node.get("parameters"), ("parameters",)):
            if not ("{{" in text or (environment.address and environment.address in text)):
                continue
            lowered = lower_text(text, environment)
            named = any(piece.kind is TextKind.VARIABLE for piece in lowered.pieces) or any(variables_in(text))
            if named or lift_text(lowered.text, environment).text != text:
                found.append(PromotedText(node["name"], place_text(place), text))
    return tuple(found)


def hash_portable(portable: Content) -> str:
    """The hash of portable content, equal to the portable hash (§4.7) of the content that it was lifted from wherever
    no address or value was lifted: what plans compare, and checksum."""
    return hashlib.sha256(portable_bytes(portable, **_terms(portable))).hexdigest()


def comparable_portable(portable: Content) -> Content:
    """Portable content as diffs between environments show it: two of them differ exactly where :func:`hash_portable`
    does. The form in which a workflow is picked is not compared; it is needed to lower, so take this only to show."""
    return to_portable(portable, **_terms(portable))


def _terms(portable: Content) -> _Terms:
    """The terms in portable content, as tables of their own."""
    meant = references(portable)
    return {
        "self_id": workflow_term(ITSELF),
        "canonical_id_of": {term: canonical_id for term in meant.workflow_ids
                            if (canonical_id := canonical_of(term)) is not None and canonical_id != ITSELF},
        "credential_key_of": {(kind, name): name.removeprefix(KEY_PREFIX) for kind, name in meant.credentials
                              if name.startswith(KEY_PREFIX)},
    }


class _Lifting:
    """One lift: the tables, and what was found on the way."""

    def __init__(self, source: EnvironmentTables, self_id: str | None, promoted: Iterable[PromotedText]) -> None:
        self.source, self.self_id = source, self_id
        self.promoted: dict[str, dict[str, list[str]]] = {}
        for known in promoted:
            self.promoted.setdefault(known.node, {}).setdefault(known.path, []).append(known.text)
        self.unmet = {(node, path) for node, paths in self.promoted.items() for path in paths}
        self.done: list[Transformation] = []
        self.unresolved: list[Unresolved] = []
        self.unknown: list[Unknown] = []

    def of(self, content: Content) -> Lifted:
        nodes = with_ids_once([self._node(node) for node in content["nodes"]])
        settings = content.get("settings")
        portable = {**content, "nodes": nodes}
        if settings:
            portable["settings"] = self._settings(settings)
        self._values_gone()
        return Lifted(portable, tuple(self.done), tuple(self.unresolved), tuple(self.unknown))

    def _node(self, node: JsonObject) -> JsonObject:
        if node.get("type") == STICKY_NOTE:
            return node
        return self._credentials(self._texts(self._called(node)))

    def _texts(self, node: JsonObject) -> JsonObject:
        parameters, name = node.get("parameters"), node["name"]
        here = self.promoted.get(name, {})
        source = self.source

        def lifted(text: str, place: Place) -> str:
            if not here and not names_address(text, source):
                return text
            path = place_text(place)
            self.unmet.discard((name, path))
            result = lift_text(text, source, here.get(path, ()))
            self.done += (Transformation(name, path, Kind(piece.kind), shown_value(piece), piece.placeholder)
                          for piece in result.pieces)
            for variable in result.lost:
                self.unknown.append(Unknown(Kind.VARIABLE, name, path, variable, (
                    "the promoted version has this variable here, and its value is gone: the text stays as it is")))
            if names_address(result.text, source):
                self.unknown.append(Unknown(Kind.BASE_URL, name, path, source.address, (
                    "names the address of this environment in a form that is not replaced")))
            return result.text

        changed = map_texts(parameters, ("parameters",), lifted)
        return node if changed is parameters else {**node, "parameters": changed}

    def _called(self, node: JsonObject) -> JsonObject:
        if not picks(node):
            self._not_picked(node)
            return node
        called = called_workflow(node)
        if called is None:
            self._expression(node)
            return node
        path = picked_place(node)
        if canonical_of(called) is not None:
            return {**node, "parameters": picking(node, called) or node["parameters"]}
        canonical = self._canonical(called, node["name"], path)
        parameters = None if canonical is None else picking(node, workflow_term(canonical))
        if canonical is None or parameters is None:
            return node
        self._lifted_workflow(node["name"], path, called, canonical)
        return {**node, "parameters": parameters}

    def _not_picked(self, node: JsonObject) -> None:
        parameters = node.get("parameters")
        if parameters.__class__ is not dict:
            return
        if node.get("type").__class__ is str and node.get("type") in CALLING_NODES:
            self.unknown.append(Unknown(
                Kind.INLINE_WORKFLOW, node["name"], "parameters.source", mask_text(str(parameters.get("source"))),
                "the workflow that it calls is no reference; what it refers to stays as it is"))
        selected = parameters.get("workflowId")
        value = selected.get("value") if selected.__class__ is dict else selected
        if value.__class__ is str and (value.startswith("=") or value in self.source.canonical_ids):
            self.unknown.append(Unknown(Kind.WORKFLOW, node["name"], "parameters.workflowId", mask_text(value), (
                "a node of this type is not known to call a workflow, so what it names stays as it is")))

    def _expression(self, node: JsonObject) -> None:
        selected = node["parameters"].get("workflowId")
        value = selected.get("value") if selected.__class__ is dict else selected
        if value.__class__ is str and value.strip().startswith("=") and "".join(value.split()) not in _CALLS_ITSELF:
            self.unknown.append(Unknown(Kind.WORKFLOW, node["name"], picked_place(node), mask_text(value), (
                "an expression: which workflow it calls is known when it runs")))

    def _credentials(self, node: JsonObject) -> JsonObject:
        owned = node.get("credentials")
        if owned.__class__ is not dict or not owned:
            return node
        changed: dict[str, Any] = {}
        for kind, reference in owned.items():
            if reference is None or credential_key(reference) is not None:
                continue
            name, path = credential_name(reference), place_text(("credentials", kind))
            key = None if name is None else self.source.credential_keys.get((kind, name))
            if key is None:
                self._without_key(node["name"], path, kind, name)
                continue
            changed[kind] = {"name": KEY_PREFIX + key}
            self.done.append(Transformation(node["name"], path, Kind.CREDENTIAL, mask_text(str(name)), KEY_PREFIX + key))
        return {**node, "credentials": {**owned, **changed}} if changed else node

    def _without_key(self, node: str, path: str, kind: str, name: str | None) -> None:
        here = self.source.environment
        if name is None:
            what, fix = f"a credential of type {kind} without a name", f"choose a credential in n8n ({here})"
        else:
            what = f"credential {mask_text(name)!r} of type {kind} has no key for {here}"
            fix = f"give it one: wfops credentials map, or credentials in fleet.yaml with its name in {here}"
        self.unresolved.append(Unresolved(Kind.CREDENTIAL, node, path, mask_text(what), fix, name or ""))

    def _settings(self, settings: JsonObject) -> JsonObject:
        changed: JsonObject = {}
        handler = error_workflow(settings)
        if handler and canonical_of(handler) is None:
            canonical = self._canonical(handler, None, "settings.errorWorkflow")
            if canonical is not None:
                changed["errorWorkflow"] = workflow_term(canonical)
                self._lifted_workflow(None, "settings.errorWorkflow", handler, canonical)
        if callers := self._callers(caller_ids(settings.get("callerIds"))):
            changed["callerIds"] = callers
        return {**settings, **changed} if changed else settings

    def _callers(self, callers: Sequence[str]) -> str | None:
        meant = []
        for caller in callers:
            canonical = None if canonical_of(caller) else self._canonical(caller, None, "settings.callerIds")
            meant.append(caller if canonical is None else workflow_term(canonical))
            if canonical is not None:
                self._lifted_workflow(None, "settings.callerIds", caller, canonical)
        return ",".join(meant) if meant != list(callers) else None

    def _canonical(self, workflow_id: str, node: str | None, path: str) -> str | None:
        if workflow_id == self.self_id:
            return ITSELF
        canonical = self.source.canonical_ids.get(workflow_id)
        if canonical is None:
            here = self.source.environment
            self.unresolved.append(Unresolved(
                Kind.WORKFLOW, node, path, f"workflow {mask_text(workflow_id)} is none that is linked in {here}",
                f"link it in {here}, or choose another workflow", workflow_id))
        return canonical

    def _lifted_workflow(self, node: str | None, path: str, workflow_id: str, canonical: str) -> None:
        self.done.append(Transformation(node, path, Kind.WORKFLOW, mask_text(workflow_id), workflow_term(canonical)))

    def _values_gone(self) -> None:
        for node, path in sorted(self.unmet):
            for name in sorted({name for text in self.promoted[node][path] for name in variables_in(text)}):
                self.unknown.append(Unknown(Kind.VARIABLE, node, path, name, (
                    "the promoted version has this variable here, and there is no such text any more: where its value now "
                    "stands, it stays as it is")))
