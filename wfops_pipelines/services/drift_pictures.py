"""Pictures of what drifted: the stored contents of the first few differences of a check, drawn (§8, §9).

They go with the report that shows the masked diff anyway: names and paths, never a parameter's value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.diff import from_json
from wfops_pipelines.domain.diff_picture import diff_picture
from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.services.services import Services

MAX_PICTURES: Final = 3
WIDTH: Final = 1040  # pixels: what Dagster's dialog shows without scrolling


@dataclass(frozen=True, slots=True)
class DriftPicture:
    """One workflow's difference as an SVG document."""

    name: str
    svg: str


def draw_drift(services: Services, context: Context, environment: Row[Any], workflows: Iterable[Mapping[str, Any]], *,
               limit: int = MAX_PICTURES) -> list[DriftPicture]:
    """Pictures of the first ``limit`` of a check's ``workflows`` that have a diff. What was synced anew since the check,
    so that the contents are others, is left out."""
    wanted = [row for row in workflows if row["diff"] and row["diff"]["changes"]][:limit]
    if not wanted:
        return []
    with services.store.read(context) as work:
        files = {row.path: row for row in work.git_states.of_environment(environment.id)}
        mappings = work.mappings.by_workflow(environment.id, [row["workflow_id"] for row in wanted if row["workflow_id"]])
        pictures = []
        for row in wanted:
            mapping, file = mappings.get(row["workflow_id"]), files.get(row["path"])
            sides = _sides(row, mapping, file)
            if sides is None:
                continue
            (before, after), labels = sides
            bodies = work.payloads.load([before, after])
            if before not in bodies or after not in bodies:
                continue  # purged
            svg = diff_picture(decode_content(bodies[before]), decode_content(bodies[after]), from_json(row["diff"]),
                               labels=labels, max_width=WIDTH)
            pictures.append(DriftPicture(row["name"], svg))
    return pictures


def _sides(row: Mapping[str, Any], mapping: Row[Any] | None, file: Row[Any] | None,
           ) -> tuple[tuple[str, str], tuple[str, str]] | None:
    """Digests of both sides, and what they are called."""
    if mapping is None:
        return None
    if row["kind"] == DriftKind.UNPUBLISHED_CHANGES:
        return (mapping.live_digest, mapping.draft_digest), ("published", "draft")
    if file is None or (row["runtime_hash"], row["git_hash"]) != (mapping.live_hash, file.content_hash):
        return None
    return (file.digest, mapping.live_digest), (f"Git: {file.path}", "n8n")
