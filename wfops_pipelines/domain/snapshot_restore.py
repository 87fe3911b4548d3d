"""Restoring an environment from a snapshot (§13), whole or in part, through the same plan as a promotion.

The snapshot is the plan's source, the environment as it is now its target. What somebody did since is meant to be replaced:
it is no conflict. What the target has beyond the snapshot stays without ``prune``.

Workflows without a canonical workflow are restored too, and one that was deleted and created anew has another n8n id now.
So each side is lifted with its own table of ids (:attr:`Restore.ids_then`, :attr:`Restore.ids_now`), in which the n8n id
of a workflow that has no canonical id stands for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from wfops_pipelines.domain.errors import UnknownWorkflow
from wfops_pipelines.domain.lift import hash_portable
from wfops_pipelines.domain.promotion_plan import BothSides, PortableWorkflow
from wfops_pipelines.domain.snapshot import SnapshotWorkflow, pair
from wfops_pipelines.domain.workflow import Content

Portable = Callable[[SnapshotWorkflow], Content]
"""The live content of a workflow, lifted with the table of its side."""


@dataclass(frozen=True, slots=True)
class RestoreRow:
    """One workflow, by the key that plans call it by, as it was ``then`` and is ``now``."""

    key: str
    then: SnapshotWorkflow | None
    now: SnapshotWorkflow | None


@dataclass(frozen=True, slots=True)
class Restore:
    """What a restore is about; made by :func:`pair_for_restore`."""

    rows: tuple[RestoreRow, ...]

    @property
    def ids_then(self) -> dict[str, str]:
        """Key → n8n id in the snapshot."""
        return {row.key: row.then.workflow_id for row in self.rows if row.then is not None}

    @property
    def ids_now(self) -> dict[str, str]:
        """Key → n8n id in the environment."""
        return {row.key: row.now.workflow_id for row in self.rows if row.now is not None}

    def select(self, named: Collection[str]) -> frozenset[str]:
        """The keys that ``named`` mean (keys, n8n ids then or now, exact names then or now): ``chosen`` of the plan.

        :class:`UnknownWorkflow` names all that nothing answers to, and names that several workflows have.
        """
        known: dict[str, set[str]] = {}
        for row in self.rows:
            for held in (row.then, row.now):
                for word in () if held is None else (row.key, held.workflow_id, held.name):
                    known.setdefault(word, set()).add(row.key)
        problems = [f"nothing in it is called {word}" for word in sorted(set(named) - known.keys())]
        problems += [f"{len(known[word])} workflows are called {word}" for word in sorted(set(named) & known.keys())
                     if len(known[word]) > 1]
        if problems:
            raise UnknownWorkflow("; ".join(problems), fix="name workflows by id where a name is not enough")
        return frozenset(key for word in named for key in known[word])

    def inputs(self, then: Portable, now: Portable) -> list[BothSides]:
        """The inputs of :func:`~wfops_pipelines.domain.promotion_planning.make_plan`.

        What was live shall be as it was, with its activation and tags; what was archived then is archived again with
        ``prune``.
        """
        inputs = []
        for row in self.rows:
            target = None if row.now is None else _portable(row.now, now)
            live = row.then if row.then is not None and not row.then.archived else None
            inputs.append(BothSides(
                row.key, None if live is None else _portable(live, then), target,
                base_hash=None if target is None else hash_portable(target.content),
                wants_active=None if live is None else live.active, wants_tags=None if live is None else live.tags))
        return inputs


def pair_for_restore(snapshot: Sequence[SnapshotWorkflow], now: Sequence[SnapshotWorkflow],
                     created_anew: Mapping[str, str] = MappingProxyType({})) -> Restore:
    """The workflows of a snapshot and of the environment as it is, each once, under the key that it has now.

    ``created_anew`` are n8n ids that earlier restores gave to workflows that were gone (old id → new id): one without a
    canonical workflow is found again by it, and not created twice.
    """
    taken = {each.key for each in now}
    rows = []
    for then, current in _with_created_anew(list(pair(snapshot, now)), created_anew):
        if current is not None:
            key = current.key
        elif then is not None:  # another workflow may have become this canonical workflow since
            key = then.workflow_id if then.key in taken else then.key
        else:
            continue
        rows.append(RestoreRow(key, then, current))
    return Restore(tuple(sorted(rows, key=lambda row: row.key)))


Pairs = list[tuple[SnapshotWorkflow | None, SnapshotWorkflow | None]]


def _with_created_anew(pairs: Pairs, created_anew: Mapping[str, str]) -> Pairs:
    alone = {current.workflow_id: current for then, current in pairs if then is None and current is not None}
    found: Pairs = []
    for then, current in pairs:
        if then is not None and current is None:
            found.append((then, alone.pop(_last(then.workflow_id, created_anew, alone), None)))
        elif then is not None:
            found.append((then, current))
    return [*found, *((None, current) for current in alone.values())]


def _last(workflow_id: str, created_anew: Mapping[str, str], there: Collection[str]) -> str:
    """The id that a workflow has now, through all that it had."""
    had = {workflow_id}
    while workflow_id not in there and (new := created_anew.get(workflow_id)) is not None and new not in had:
        had.add(new)
        workflow_id = new
    return workflow_id


def _portable(workflow: SnapshotWorkflow, portable: Portable) -> PortableWorkflow:
    return PortableWorkflow(portable(workflow), workflow.active, workflow.archived, workflow.tags, workflow.workflow_id,
                            workflow.has_draft)
