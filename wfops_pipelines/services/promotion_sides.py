"""Both sides of a promotion as the store holds them, in portable form (§11.3, §11.4): what plans are made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import Row

from wfops_pipelines.domain.errors import UnknownWorkflow
from wfops_pipelines.domain.lift import Lifted, hash_portable, lift, promoted_texts
from wfops_pipelines.domain.mapping import MappingStatus, UnlinkedReason
from wfops_pipelines.domain.promotion_plan import BothSides, PortableWorkflow
from wfops_pipelines.domain.reach import EnvironmentWorkflow
from wfops_pipelines.domain.runtime_write import WriteAction
from wfops_pipelines.domain.transform_tables import EnvironmentTables
from wfops_pipelines.domain.workflow import Content, decode_content
from wfops_pipelines.services.environment_tables import environment_tables
from wfops_pipelines.store.unit_of_work import UnitOfWork

_LOOKED_BACK: Final = 50  # promotions, for who archived what is in the archive


@dataclass(frozen=True)
class Side:
    """One environment: its workflows by key (canonical id as text) as rows, contents and lifted contents. ``unmanaged``
    are its others that are live. ``promoted`` is what was promoted last into it or out of it, by key."""

    environment: Row[Any]
    tables: EnvironmentTables
    rows: Mapping[str, Row[Any]]
    contents: Mapping[str, Content] = field(repr=False)  # what runs, as it is here
    drafts: Mapping[str, Content] = field(repr=False)
    lifted: Mapping[str, Lifted] = field(repr=False)
    unmanaged: Mapping[str, tuple[Row[Any], Content]] = field(repr=False)
    promoted: Mapping[str, Row[Any]] = field(repr=False)
    ignored: Mapping[str, str] = field(default_factory=dict)  # n8n ids of canonical workflows that are ignored here, by key

    def portable(self, key: str) -> PortableWorkflow | None:
        """A workflow as plans know it."""
        row = self.rows.get(key)
        if row is None:
            return None
        return PortableWorkflow(self.lifted[key].content, row.active, row.archived, tuple(row.tags), row.workflow_id,
                                has_draft=row.draft_hash != row.live_hash)


def read_side(work: UnitOfWork, environment: Row[Any], *, new_ones: bool = False) -> Side:
    """What an environment holds. With ``new_ones`` (a source) its untracked workflows count as canonical workflows that
    begin here, under the ids that :func:`new_canonical_id` gives them; those that somebody unlinked do not."""
    rows, others, ignored = _rows(work, environment, new_ones=new_ones)
    bodies = work.payloads.load({digest for row in (*rows.values(), *others) for digest in (
        row.live_digest, row.draft_digest)})
    decoded = {digest: decode_content(body) for digest, body in bodies.items()}
    tables = environment_tables(work, environment)
    own = {key: row.workflow_id for key, row in rows.items() if not row.missing_at}
    tables = replace(tables, workflow_ids={**tables.workflow_ids, **({} if new_ones else ignored), **own})
    promoted = {str(canonical_id): row for canonical_id, row in work.promotions.promoted_in(environment.id).items()}
    texts = _promoted_contents(work, promoted, rows)
    lifted = {key: lift(decoded[row.live_digest], tables, self_id=row.workflow_id,
                        promoted=promoted_texts(texts[key], tables) if key in texts else ())
              for key, row in rows.items()}
    return Side(
        environment, tables, rows,
        contents={key: decoded[row.live_digest] for key, row in rows.items()},
        drafts={key: decoded[row.draft_digest] for key, row in rows.items()},
        lifted=lifted, unmanaged={row.workflow_id: (row, decoded[row.live_digest]) for row in others}, promoted=promoted,
        ignored=ignored)


def _rows(work: UnitOfWork, environment: Row[Any], *, new_ones: bool) -> tuple[
        dict[str, Row[Any]], list[Row[Any]], dict[str, str]]:
    """The workflows that have a key, the others that are live, and which of them are ignored ones that had a key."""
    found = [row for row in work.mappings.of_environment(environment.id, statuses=(
        MappingStatus.LINKED, MappingStatus.UNTRACKED, MappingStatus.IGNORED)) if row.missing_at is None]
    known = work.mappings.canonicals({row.canonical_id for row in found if row.canonical_id is not None})
    rows: dict[str, Row[Any]] = {}
    others = []
    for row in found:
        if row.status == MappingStatus.LINKED and known[row.canonical_id].deleted_at is None:
            rows[str(row.canonical_id)] = row
        elif new_ones and is_new(row):
            rows[str(new_canonical_id(environment, row))] = row
        elif not row.archived:
            others.append(row)
    ignored = {str(row.canonical_id): row.workflow_id for row in found if row.status == MappingStatus.IGNORED
               and row.canonical_id is not None and known[row.canonical_id].deleted_at is None}
    return rows, others, {key: workflow_id for key, workflow_id in ignored.items() if key not in rows}


def is_new(row: Row[Any]) -> bool:
    """Whether an untracked workflow of a source may begin a canonical one: nobody unlinked it, and nothing that is there
    already may be it."""
    return row.status == MappingStatus.UNTRACKED and not row.archived and row.unlinked_reason not in (
        UnlinkedReason.BY_HAND, UnlinkedReason.CANONICAL_DELETED, UnlinkedReason.AMBIGUOUS, UnlinkedReason.ALREADY_MAPPED,
        UnlinkedReason.COLLISION)


def new_canonical_id(environment: Row[Any], row: Row[Any]) -> UUID:
    """The id of the canonical workflow that an untracked workflow begins: the same each time."""
    return uuid5(environment.id, row.workflow_id)


def _promoted_contents(work: UnitOfWork, promoted: Mapping[str, Row[Any]], wanted: Collection[str]) -> dict[str, Content]:
    digests = {key: row.digest for key, row in promoted.items() if key in wanted}
    bodies = work.payloads.load(set(digests.values()))
    return {key: decode_content(bodies[digest]) for key, digest in digests.items()}


def both_sides(work: UnitOfWork, source: Side, target: Side) -> list[BothSides]:
    """The inputs of a plan, with the base of each workflow (§8): the target's Git content, else what was promoted there
    last. While a promotion's commit is still to be made or merged, what it promoted is the base. What the target ignores is
    left out (§5.1)."""
    base = _git_bases(work, target)
    waiting = {row.id for row in work.promotions.ahead_of_git(target.environment.id)}
    for key, row in target.promoted.items():
        if key not in base or row.promotion_id in waiting:
            base[key] = row.portable_hash
    archived = _archived_by_hand(work, target, base)
    return [BothSides(key, source.portable(key), target.portable(key), base_hash=base.get(key),
                      seen_in_sync=_seen_in_sync(target.rows.get(key)), archived_by_hand=key in archived)
            for key in sorted({*source.rows, *target.rows} - target.ignored.keys())]


def _archived_by_hand(work: UnitOfWork, target: Side, base: Mapping[str, str]) -> set[str]:
    """The archived workflows of a target that should be live there: by Git, or without Git because they were promoted; but
    for those that a promotion or a restore put into the archive."""
    says = base.keys() if target.environment.repository_id is None else {
        str(row.canonical_id) for row in work.git_states.of_environment(target.environment.id)}
    found = {key for key, row in target.rows.items() if row.archived and key in says}
    if not found:
        return found
    left = set(found)
    for row in work.promotions.listed(environment_ids=[target.environment.id], limit=_LOOKED_BACK,
                                      statuses=("completed", "completed_with_errors")):
        if not left:
            break
        whole = work.promotions.by_id(row.id)
        for told in (whole.results or {}).get("workflows", []) if whole is not None else ():
            if told["key"] in left and told["status"] == "success":
                left.discard(told["key"])
                if told["action"] == WriteAction.ARCHIVE:
                    found.discard(told["key"])
    return found


def _seen_in_sync(row: Row[Any] | None) -> bool:
    return row is not None and row.in_sync_hash is not None and row.in_sync_hash == row.portable_hash


def _git_bases(work: UnitOfWork, target: Side) -> dict[str, str]:
    """By key, the hash of what the target's folder says, in portable form."""
    states = {str(row.canonical_id): row for row in work.git_states.of_environment(target.environment.id)}
    same = {key for key, row in states.items() if key in target.rows and target.rows[key].live_hash == row.content_hash}
    bases = {key: hash_portable(target.lifted[key].content) for key in same}
    other = {key: row for key, row in states.items() if key not in same}
    bodies = work.payloads.load({row.digest for row in other.values()})
    texts = _promoted_contents(work, target.promoted, other)
    for key, row in other.items():
        own_id = target.rows[key].workflow_id if key in target.rows else row.workflow_id
        lifted = lift(decode_content(bodies[row.digest]), target.tables, self_id=own_id,
                      promoted=promoted_texts(texts[key], target.tables) if key in texts else ())
        bases[key] = hash_portable(lifted.content)
    return bases


def unmanaged_workflows(target: Side) -> list[EnvironmentWorkflow]:
    """What the target has beyond the plan, for limits and reach; what it ignores by key, as others name it."""
    keys = {workflow_id: key for key, workflow_id in target.ignored.items()}
    found = []
    for row, content in target.unmanaged.values():
        lifted = lift(content, target.tables, self_id=row.workflow_id)
        found.append(EnvironmentWorkflow(keys.get(row.workflow_id, row.workflow_id), row.name, row.active, lifted.content))
    return found


def chosen_keys(source: Side, target: Side, named: Iterable[str]) -> frozenset[str]:
    """The keys that ``named`` mean: canonical ids, n8n ids of the source, or exact names there (or in the target, for what
    the source does not have). :class:`UnknownWorkflow` names all that nothing answers to, or several workflows do."""
    chosen: set[str] = set()
    problems = []
    for word in dict.fromkeys(named):
        found = _named(source, word) or _named(target, word)
        if len(found) == 1:
            chosen |= found
        else:
            problems.append(f"nothing is called {word!r}" if not found else
                            f"{len(found)} workflows are called {word!r}")
    if problems:
        raise UnknownWorkflow(f"{source.environment.slug}: {'; '.join(problems)}",
                              fix="name workflows by their n8n id or canonical id: `wfops matrix` lists them")
    return frozenset(chosen)


def _named(side: Side, word: str) -> set[str]:
    exact = {key for key, row in side.rows.items() if word in (key, row.workflow_id)}
    return exact or {key for key, row in side.rows.items() if row.name == word and not row.archived}


def adopt_equal_ones(source: Side, target: Side) -> Side:
    """The target with those of its unmanaged workflows under a key that are, by all that they mean, a workflow that the
    source begins: they are one workflow that nobody has linked yet, and not two (§5.2)."""
    begun = {key for key, row in source.rows.items() if row.canonical_id is None and key not in target.rows}
    untracked = {workflow_id: (row, content) for workflow_id, (row, content) in target.unmanaged.items() if is_new(row)}
    if not begun or not untracked:
        return target
    keys: dict[str, list[str]] = {}
    for key in begun:
        keys.setdefault(hash_portable(source.lifted[key].content), []).append(key)
    found: dict[str, list[tuple[Row[Any], Content, Lifted]]] = {}
    for row, content in untracked.values():
        lifted = lift(content, target.tables, self_id=row.workflow_id)
        same = keys.get(hash_portable(lifted.content), [])
        if len(same) == 1:
            found.setdefault(same[0], []).append((row, content, lifted))
    pairs = {key: held[0] for key, held in found.items() if len(held) == 1}
    taken = {row.workflow_id for row, _, _ in pairs.values()}
    return replace(
        target, rows={**target.rows, **{key: row for key, (row, _, _) in pairs.items()}},
        contents={**target.contents, **{key: content for key, (_, content, _) in pairs.items()}},
        drafts={**target.drafts, **{key: content for key, (_, content, _) in pairs.items()}},
        lifted={**target.lifted, **{key: lifted for key, (_, _, lifted) in pairs.items()}},
        tables=replace(target.tables, workflow_ids={
            **target.tables.workflow_ids, **{key: row.workflow_id for key, (row, _, _) in pairs.items()}}),
        unmanaged={i: held for i, held in target.unmanaged.items() if i not in taken})
