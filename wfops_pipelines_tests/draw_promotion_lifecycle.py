"""Draw the lifecycles of promotions and deployments into their page:
``python -m wfops_pipelines_tests.draw_promotion_lifecycle``.

Run it after a change of a transition table; a test says when it is needed.
"""

from __future__ import annotations

from pathlib import Path

from wfops_pipelines.domain.incident_diagram import redraw
from wfops_pipelines.domain.promotion_diagram import PROMOTION_DRAWINGS

PAGE = Path(__file__).parents[1] / "docs" / "promotion-lifecycle.md"

if __name__ == "__main__":
    PAGE.write_text(redraw(PAGE.read_text(encoding="utf-8"), PROMOTION_DRAWINGS), encoding="utf-8")
