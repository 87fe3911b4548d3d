"""The order of a promotion's changes (§11.3): sub-workflows and error workflows before the workflows that name them.

Workflows are named by a key: the canonical id as text, which is also what the terms of portable content name. A
workflow ``needs`` those it calls and its error workflow; those in its ``callerIds`` it only ``mentions``: they are to be
known there, but it runs without them, and they most often need it in turn.

What n8n 2.x wants published before it publishes a caller is narrower than what it needs: only what its nodes of type
``executeWorkflow`` that are not disabled *call* (measured; AI tools, expressions and error workflows are not looked at).

Where workflows need each other in a cycle, no order is right. They stand together, callees first as far as that goes, and
the cycle is named. A reference is *late* where the workflow that it names does not exist in the target when its turn comes
(or, on n8n 2.x, is called and not published). Whoever writes such a workflow writes it **first without its late references**
and switched off, and once more in full when the others are there. So nothing calls what does not exist, and nothing runs
half.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from wfops_pipelines.domain.normalize import STICKY_NOTE, caller_ids
from wfops_pipelines.domain.references import called_workflow, error_workflow
from wfops_pipelines.domain.transform_terms import ITSELF, canonical_of
from wfops_pipelines.domain.workflow import Content

_CALLING: Final = "n8n-nodes-base.executeWorkflow"
_ITSELF: Final = frozenset({ITSELF, "itself"})  # the term, and what ``portable.to_portable`` writes


@dataclass(frozen=True, slots=True)
class NamedWorkflows:
    """What a workflow names in its portable content: keys, or the n8n id that stands there where lift found none. A
    reference to itself is its own key. ``calls`` are those of ``needs`` that n8n 2.x wants published before the caller. One
    that is picked by its URL is among them: it is written by its id."""

    needs: frozenset[str] = frozenset()
    mentions: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        """Both."""
        return self.needs | self.mentions


def named_workflows(content: Content, *, key: str) -> NamedWorkflows:
    """What the portable ``content`` of the workflow ``key`` names. Disabled nodes count: their references are written
    too. What an expression will yield is unknown and left out (``reach`` lists it)."""
    needs, calls = set(), set()
    for node in content["nodes"]:
        if node.get("type") != STICKY_NOTE and (called := called_workflow(node)):
            needs.add(called)
            if node["type"] == _CALLING and node.get("disabled") is not True:
                calls.add(called)
    settings = content.get("settings") or {}
    if handler := error_workflow(settings):
        needs.add(handler)
    return NamedWorkflows(_own(needs, key), _own(caller_ids(settings.get("callerIds")), key), _own(calls, key))


def _own(names: Iterable[str], key: str) -> frozenset[str]:
    return frozenset(key if named in _ITSELF else named for named in (canonical_of(name) or name for name in names))


def with_needed(chosen: Collection[str], needs: Mapping[str, Collection[str]]) -> frozenset[str]:
    """``chosen`` and all that they need, directly or through others; what ``needs`` does not know needs nothing."""
    found = set(chosen)
    waiting = list(chosen)
    while waiting:
        new = set(needs.get(waiting.pop(), ())) - found
        found |= new
        waiting.extend(new)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Order:
    """``keys`` in the order to write them; ``cycles`` are groups of two or more that need each other, each in that order."""

    keys: tuple[str, ...]
    cycles: tuple[tuple[str, ...], ...] = ()


def order(needs: Mapping[str, Collection[str]], *, name_of: Mapping[str, str],
          calls: Mapping[str, Collection[str]] | None = None) -> Order:
    """The keys of ``needs`` so that each comes after all that it needs (needed ones that are no keys do not count).

    Within a cycle, callees come first as far as that goes; ``calls`` says what counts there, if not all needs. Where the
    needs leave it open, by name, then key: the same workflows come in the same order, however they are given.
    """
    def by_name(keys: Iterable[str]) -> list[str]:
        return sorted(keys, key=lambda key: (name_of.get(key, ""), key))

    walk = _Walk({key: by_name(set(needs[key]) & needs.keys() - {key}) for key in by_name(needs)})
    if calls is None or all(len(group) == 1 for group in walk.groups):
        place = {key: number for number, key in enumerate(walk.finished)}
        cycles = [tuple(sorted(group, key=place.__getitem__)) for group in walk.groups if len(group) > 1]
        return Order(tuple(walk.finished), tuple(sorted(cycles, key=lambda group: place[group[0]])))
    # A group is complete after all that any of it needs: one after the other is an order, whatever it is within each.
    groups = [order({key: calls.get(key, ()) for key in group}, name_of=name_of).keys for group in walk.groups]
    return Order(tuple(key for group in groups for key in group), tuple(group for group in groups if len(group) > 1))


class _Walk:
    """Depth first over all needs, in a loop (chains of calls may be long), with Tarjan's groups on the way. A workflow is
    finished after all that it needs, except within a cycle."""

    def __init__(self, needs: Mapping[str, list[str]]) -> None:
        self.finished: list[str] = []
        self.groups: list[list[str]] = []
        self._needs = needs
        self._met: dict[str, int] = {}
        self._lowest: dict[str, int] = {}
        self._open: dict[str, None] = {}  # met, and not yet in a group; in the order of meeting
        for key in needs:
            if key not in self._met:
                self._from(key)

    def _from(self, start: str) -> None:
        path = [(start, iter(self._needs[self._meet(start)]))]
        while path:
            key, rest = path[-1]
            for needed in rest:
                if needed not in self._met:
                    path.append((needed, iter(self._needs[self._meet(needed)])))
                    break
                if needed in self._open:
                    self._lowest[key] = min(self._lowest[key], self._met[needed])
            else:
                path.pop()
                self._finish(key)
                if path:
                    caller = path[-1][0]
                    self._lowest[caller] = min(self._lowest[caller], self._lowest[key])

    def _meet(self, key: str) -> str:
        self._met[key] = self._lowest[key] = len(self._met)
        self._open[key] = None
        return key

    def _finish(self, key: str) -> None:
        self.finished.append(key)
        if self._lowest[key] == self._met[key]:
            group = [self._open.popitem()[0]]
            while group[-1] != key:
                group.append(self._open.popitem()[0])
            self.groups.append(group)
