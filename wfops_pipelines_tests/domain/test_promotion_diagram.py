"""The drawings of the lifecycles of promotions and deployments are those of the transition tables."""

from __future__ import annotations

import re
from itertools import product

from wfops_pipelines.domain.deployment import allowed_deployment_pairs
from wfops_pipelines.domain.incident_diagram import redraw
from wfops_pipelines.domain.promotion import TRANSITIONS, PromotionEvent, PromotionStatus, allowed_pairs
from wfops_pipelines.domain.promotion_diagram import (
    PROMOTION_DRAWINGS,
    draw_deployment,
    draw_promotion,
    draw_promotion_steps,
)
from wfops_pipelines_tests.draw_promotion_lifecycle import PAGE


def arrows(diagram: str) -> list[tuple[str, str]]:
    return sorted((found[1], found[2]) for found in re.finditer(r"^ +(\w+) --> (\w+): \w+$", diagram, re.MULTILINE))


def test_the_page_shows_what_the_tables_say_now() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == redraw(page, PROMOTION_DRAWINGS), "run python -m wfops_pipelines_tests.draw_promotion_lifecycle"


def test_every_transition_is_one_arrow() -> None:
    assert arrows(draw_promotion()) == allowed_pairs()
    assert arrows(draw_deployment()) == allowed_deployment_pairs()


def test_the_table_of_steps_has_a_cell_for_every_status_and_event() -> None:
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in draw_promotion_steps().splitlines()]
    cells = {(row[0], event.replace(" ", "_")): cell
             for row in rows[2:] for event, cell in zip(rows[0][1:], row[1:], strict=True)}
    assert set(cells) == set(product(PromotionStatus, PromotionEvent))
    assert {pair for pair, cell in cells.items() if cell == "yes"} == set(TRANSITIONS)


def test_the_page_explains_every_status_of_a_promotion() -> None:
    page = PAGE.read_text(encoding="utf-8").partition("## Deployments")[0].partition("<!-- promotion: end -->")[2]
    assert all(f"**{status}**" in page.partition("Which steps")[0] for status in PromotionStatus)
