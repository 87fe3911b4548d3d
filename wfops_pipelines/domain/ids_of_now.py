"""A content of an environment under the n8n ids that its workflows have now: what was made again has another one (§11.7)."""

from __future__ import annotations

from collections.abc import Collection

from wfops_pipelines.domain.lift import lift
from wfops_pipelines.domain.lower import Lowered, lower
from wfops_pipelines.domain.transform_tables import EnvironmentTables
from wfops_pipelines.domain.workflow import Content


def with_ids_of_now(content: Content, key: str, then: EnvironmentTables, now: EnvironmentTables,
                    created: Collection[str]) -> Lowered:
    """The content as it was, with the ids that workflows have now where these are others, and terms for those that are to
    be ``created``. ``then`` and ``now`` are tables of ids alone, of workflows whose ids are others; ``key`` is the content's
    own key in them. What is about something else stays: the tables know of nothing else."""
    if not then.workflow_ids:
        return Lowered(content)
    lifted = lift(content, then, self_id=then.workflow_ids.get(key))
    if not lifted.transformations:
        return Lowered(content)
    done = lower(lifted.content, now, self_id=now.workflow_ids.get(key), planned=created)
    return Lowered(done.content, done.transformations, awaited=done.awaited)
