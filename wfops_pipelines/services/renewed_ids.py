"""What undoing makes again has another n8n id (§11.7): who names it is restored with that id, and not with the one that is
gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.ids_of_now import with_ids_of_now
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.transform_tables import EnvironmentTables
from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.services.hashing import bodies, encoded
from wfops_pipelines.store.unit_of_work import UnitOfWork

_WAS = "was_id"  # in ``before`` of a row of the journal: the id that a workflow had until it was made again


def made_again(row: Row[Any]) -> dict[str, Any]:
    """The ``before`` of a row whose workflow is made again: it remembers the id that is gone."""
    return {**row.before, _WAS: row.before.get(_WAS, row.workflow_id)}


def was_made_again(row: Row[Any]) -> bool:
    """Whether a workflow has another id now than the one that was written to."""
    return _WAS in (row.before or {})


def renewed_ids(rows: Iterable[Row[Any]]) -> dict[str, str]:
    """Of what was made again, the id that is gone and the one that it has now."""
    return {row.before[_WAS]: row.workflow_id for row in rows if was_made_again(row)}


def before_with_ids_of_now(work: UnitOfWork, row: Row[Any], renewed: Mapping[str, str]) -> dict[str, Any] | None:
    """What a row's ``before`` is under the ids of now, with its contents stored; none where it names nothing that was made
    again."""
    before: dict[str, Any] = dict(row.before or {})
    if not renewed or not before:
        return None
    then, now = (EnvironmentTables("", workflow_ids=ids) for ids in ({old: old for old in renewed}, renewed))
    stored = work.payloads.load({before["live_digest"], before["draft_digest"]})
    changed = {}
    for digest, body in stored.items():
        done = with_ids_of_now(decode_content(body), before.get(_WAS, row.workflow_id), then, now, ())
        if done.transformations:
            changed[digest] = (encoded(done.content), content_hash(done.content))
    if not changed:
        return None
    work.payloads.save(bodies(content for content, _ in changed.values()))
    before["on_the_way"] = sorted({*before.get("on_the_way", ()), before["live_hash"], before["draft_hash"]})
    for name in ("live", "draft"):
        if before[f"{name}_digest"] in changed:
            content, hash_ = changed[before[f"{name}_digest"]]
            before |= {f"{name}_digest": content.digest, f"{name}_hash": hash_}
    return before
