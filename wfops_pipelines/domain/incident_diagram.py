"""The lifecycle of incidents and approvals as pictures for the docs, drawn from the tables themselves.

``python -m wfops_pipelines_tests.draw_incident_lifecycle`` puts them into ``docs/incident-lifecycle.md``; a test fails
where the page and the tables disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from wfops_pipelines.domain.approval import APPROVAL_TRANSITIONS, ApprovalStatus
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.incident import (
    TERMINAL,
    TRANSITIONS,
    IncidentEvent,
    IncidentStatus,
    allowed_events,
)


def draw_incident() -> str:
    """The lifecycle as a Mermaid state diagram, without a newline at its end."""
    moves = ((before, event, after) for (before, event), after in TRANSITIONS.items())
    return mermaid(IncidentStatus.DETECTED, "drift found", moves, (s for s in IncidentStatus if s in TERMINAL))


def draw_approval() -> str:
    """The lifecycle of a request for approval, in the same way."""
    moves = ((before, event, after) for (before, event), after in APPROVAL_TRANSITIONS.items())
    return mermaid(ApprovalStatus.PENDING, "asked for", moves, (s for s in ApprovalStatus if s.is_final))


def draw_steps() -> str:
    """Every status × event as a Markdown table: ``yes``, ``admin`` (by force only), or nothing where it cannot be."""
    rows = [["", *IncidentEvent], ["---"] * (len(IncidentEvent) + 1)]
    for status in IncidentStatus:
        regular, forced = allowed_events(status), allowed_events(status, forced=True)
        rows.append([f"**{status}**", *("yes" if event in regular else "admin" if event in forced else ""
                                         for event in IncidentEvent)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


DRAWINGS: Final[Mapping[str, Callable[[], str]]] = {
    "incident": lambda: f"```mermaid\n{draw_incident()}\n```",
    "steps": draw_steps,
    "approval": lambda: f"```mermaid\n{draw_approval()}\n```",
}
"""What stands between ``<!-- NAME: drawn -->`` and ``<!-- NAME: end -->`` in a page."""


def redraw(page: str, drawings: Mapping[str, Callable[[], str]] = DRAWINGS) -> str:
    """The page with every drawing made anew between its marks; :class:`UsageError` where a mark is missing."""
    for name, draw in drawings.items():
        begin, end = f"<!-- {name}: drawn -->", f"<!-- {name}: end -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise UsageError(f"the page has no place for the drawing {name}", fix=f"put {begin} and {end} where it belongs")
        page = f"{before}{begin}\n{draw()}\n{end}{after}"
    return page


def mermaid(first: str, first_event: str, moves: Iterable[tuple[str, str, str]], last: Iterable[str]) -> str:
    """A Mermaid state diagram, without a newline at its end: ``moves`` are (before, event, after), ``last`` the terminal
    statuses."""
    def lines() -> Iterator[str]:
        yield "stateDiagram-v2"
        yield f"    [*] --> {first}: {first_event}"
        for before, event, after in moves:
            yield f"    {before} --> {after}: {event}"
        for status in last:
            yield f"    {status} --> [*]"

    return "\n".join(lines())
