"""Pictures of what drifted when an incident was opened, for whoever asks to see them (§8, §10.5)."""

from __future__ import annotations

from typing import Final

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.services.drift_pictures import DriftPicture
from wfops_pipelines.services.explain_incident import incident_pictures
from wfops_pipelines.services.incident_steps import find
from wfops_pipelines.services.services import Services

MAX_PICTURES: Final = 20


def draw_incident(services: Services, context: Context, number: int, *, limit: int = MAX_PICTURES) -> list[DriftPicture]:
    """Each affected workflow's node graph, Git before and n8n after; changed ones first. They show names and paths, never
    values; that contents were read is audited (§19.3).

    What differed in nothing but being active has no picture, nor has what retention has removed: :class:`UsageError` when
    none is left.
    """
    with services.store.read(context) as work:
        incident, environment = find(work, context, number)
    pictures = incident_pictures(services, context, incident, limit)
    if not pictures:
        name = f"{context.tenant_slug}#{number}"
        raise UsageError(f"incident {name} has nothing to draw: no content differed, or retention has removed it",
                         fix=f"`wfops incident show {name}` without --svg tells what there is")
    with services.store.unit_of_work(context, "incident.picture") as work:
        work.record("payload.read", "incident", str(number), environment=environment.slug,
                    workflows=[picture.name for picture in pictures])
    return pictures
