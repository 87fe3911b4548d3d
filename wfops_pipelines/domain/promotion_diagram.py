"""The lifecycles of promotions and deployments as pictures for the docs, drawn from the tables themselves.

``python -m wfops_pipelines_tests.draw_promotion_lifecycle`` puts them into ``docs/promotion-lifecycle.md``; a test fails
where the page and the tables disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from wfops_pipelines.domain.deployment import DEPLOYMENT_TRANSITIONS, DeploymentStatus
from wfops_pipelines.domain.incident_diagram import mermaid
from wfops_pipelines.domain.promotion import TRANSITIONS, PromotionEvent, PromotionStatus, allowed_events


def draw_promotion() -> str:
    """The lifecycle as a Mermaid state diagram, without a newline at its end."""
    moves = ((before, event, after) for (before, event), after in TRANSITIONS.items())
    last = (status for status in PromotionStatus if status.is_terminal)
    return mermaid(PromotionStatus.PENDING, "asked for", moves, last)


def draw_deployment() -> str:
    """The lifecycle of a deployment, in the same way."""
    moves = ((before, event, after) for (before, event), after in DEPLOYMENT_TRANSITIONS.items())
    last = (status for status in DeploymentStatus if status.is_terminal)
    return mermaid(DeploymentStatus.PENDING, "asked for", moves, last)


def draw_promotion_steps() -> str:
    """Every status × event of a promotion as a Markdown table: ``yes``, or nothing where it cannot be."""
    rows = [["", *(event.replace("_", " ") for event in PromotionEvent)], ["---"] * (len(PromotionEvent) + 1)]
    for status in PromotionStatus:
        rows.append([f"**{status}**", *("yes" if event in allowed_events(status) else "" for event in PromotionEvent)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


PROMOTION_DRAWINGS: Final[Mapping[str, Callable[[], str]]] = {
    "promotion": lambda: f"```mermaid\n{draw_promotion()}\n```",
    "steps": draw_promotion_steps,
    "deployment": lambda: f"```mermaid\n{draw_deployment()}\n```",
}
"""What stands between ``<!-- NAME: drawn -->`` and ``<!-- NAME: end -->`` in a page."""
