"""Draw the lifecycle of incidents into its page: ``python -m wfops_pipelines_tests.draw_incident_lifecycle``.

Run it after a change of the transition table; a test says when it is needed.
"""

from __future__ import annotations

from pathlib import Path

from wfops_pipelines.domain.incident_diagram import redraw

PAGE = Path(__file__).parents[1] / "docs" / "incident-lifecycle.md"

if __name__ == "__main__":
    PAGE.write_text(redraw(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
