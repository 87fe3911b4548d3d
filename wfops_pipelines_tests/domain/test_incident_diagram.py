"""The drawings of the incident's lifecycle are those of the transition table."""

from __future__ import annotations

import re
from itertools import product

import pytest

from wfops_pipelines.domain.approval import allowed_approval_pairs
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.incident import IncidentEvent, IncidentStatus, allowed_pairs
from wfops_pipelines.domain.incident_diagram import DRAWINGS, draw_approval, draw_incident, draw_steps, redraw
from wfops_pipelines_tests.draw_incident_lifecycle import PAGE


def arrows(diagram: str) -> list[tuple[str, str]]:
    return sorted((found[1], found[2]) for found in re.finditer(r"^ +(\w+) --> (\w+): \w+$", diagram, re.MULTILINE))


def test_the_page_shows_what_the_table_says_now() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == redraw(page), "run python -m wfops_pipelines_tests.draw_incident_lifecycle"


def test_every_transition_is_one_arrow() -> None:
    assert arrows(draw_incident()) == allowed_pairs()
    assert arrows(draw_approval()) == allowed_approval_pairs()


def test_the_table_of_steps_has_a_cell_for_every_status_and_event() -> None:
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in draw_steps().splitlines()]
    cells = {(row[0], event): cell for row in rows[2:] for event, cell in zip(rows[0][1:], row[1:], strict=True)}
    assert set(cells) == set(product(IncidentStatus, IncidentEvent))
    assert cells["detected", "acknowledge"] == "yes"
    assert cells["detected", "reconcile"] == "admin"
    assert cells["closed", "close"] == ""


def test_drawing_twice_changes_nothing_more() -> None:
    page = "# Page\n" + "\n".join(f"<!-- {name}: drawn -->old<!-- {name}: end -->" for name in DRAWINGS) + "\nThe rest.\n"
    drawn = redraw(page)
    assert redraw(drawn) == drawn
    assert "old" not in drawn
    assert drawn.endswith("\nThe rest.\n")


def test_a_page_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(UsageError, match="no place for the drawing incident"):
        redraw("# Page\n")
