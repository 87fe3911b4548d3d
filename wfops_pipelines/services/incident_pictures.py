"""Pictures of what drifted when an incident was opened, from the contents that its snapshot names (§8, §10.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.diff import diff
from wfops_pipelines.domain.diff_picture import diff_picture
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.workflow import Content, decode_content
from wfops_pipelines.services.drift_pictures import DriftPicture
from wfops_pipelines.services.incident_steps import find
from wfops_pipelines.services.services import Services

MAX_PICTURES: Final = 20


def draw_incident(services: Services, context: Context, number: int, *, limit: int = MAX_PICTURES,
                  width: int | None = None) -> list[DriftPicture]:
    """Each affected workflow's node graph, Git before and n8n after; a side that was not there is empty.

    What differed in nothing but being active has no picture, nor has what retention has purged: :class:`UsageError` when
    none is left. They show names and paths, never values; that contents were read is audited (§19.3).
    """
    pictures: list[DriftPicture] = []
    with services.store.bookkeeping(context, "incident.picture") as work:
        incident, environment = find(work, context, number)
        for workflow in (incident.drift_snapshot or {}).get("workflows", []):
            if len(pictures) == limit:
                break
            digests = [workflow["git_digest"], workflow["runtime_digest"]]
            bodies = work.payloads.load([digest for digest in digests if digest is not None])
            if any(digest is not None and digest not in bodies for digest in digests):
                continue  # purged
            before, after = (None if digest is None else decode_content(bodies[digest]) for digest in digests)
            drawn = _draw(workflow, before, after, f"{context.tenant_slug}/{environment.slug}", width)
            if drawn is not None:
                pictures.append(drawn)
        if pictures:
            work.record("payload.read", "incident", str(number), environment=environment.slug,
                        workflows=[picture.name for picture in pictures])
    if not pictures:
        raise UsageError(f"incident {context.tenant_slug}#{number} has nothing to draw: no content differed, or retention "
                         "has removed it", fix=f"wfops incident show {context.tenant_slug}#{number}")
    return pictures


def _draw(workflow: Mapping[str, Any], before: Content | None, after: Content | None, place: str,
          width: int | None) -> DriftPicture | None:
    found = diff(before, after)
    if found.equal:
        return None
    labels = (f"Git: {workflow['path'] or 'not there'}", f"n8n: {place}")
    return DriftPicture(workflow["name"], diff_picture(before, after, found, labels=labels, max_width=width))
