"""``GET /workflows``: filters and pages, ids ascending (facts §4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from wfops_pipelines.n8n.sandbox.query import Window
from wfops_pipelines.n8n.sandbox.records import Workflow
from wfops_pipelines.n8n.sandbox.rendering import page
from wfops_pipelines.n8n.sandbox.state import State


def workflow_page(state: State, query: Mapping[str, Any]) -> bytes:
    """The JSON of one page."""
    window = Window.of(query)
    matches = _matches(state, query)
    if matches is None:
        ids, rows = state.ordered_ids(), state.workflows
        chosen, total = [rows[key] for key in ids[window.part]], len(ids)
    else:
        chosen, total = matches[window.part], len(matches)
    return page(state, chosen, window.next_cursor(total), pinned=not query.get("excludePinnedData"))


def _matches(state: State, query: Mapping[str, Any]) -> list[Workflow] | None:
    """The workflows that pass the filters; none at all means that there are no filters."""
    name, active, tags, project = (query.get(key) for key in ("name", "active", "tags", "projectId"))
    if not name and active is None and not tags and not project:
        return None
    pattern = _like(name.strip()) if name else None
    wanted = _tag_sets(state, tags) if tags else None
    if project and project != state.project_id:
        return []
    return [workflow for workflow in (state.workflows[key] for key in state.ordered_ids())
            if (pattern is None or pattern.search(workflow.name))
            and (active is None or (workflow.active_id is not None) == active)
            and (wanted is None or wanted(workflow))]


def _like(name: str) -> re.Pattern[str]:
    """SQLite's LIKE: ``%`` and ``_`` are wildcards, and only ASCII letters match in either case."""
    parts = {"%": ".*", "_": "."}
    pattern = "".join(parts.get(character, re.escape(character)) for character in name)
    return re.compile(pattern, re.IGNORECASE | re.ASCII | re.DOTALL)


def _tag_sets(state: State, text: str) -> Any:
    """All of the named tags. 1.x leaves out names that no tag has, as long as one is known."""
    ids = {tag.name: tag.id for tag in state.tags.values()}
    names = [name.strip() for name in text.split(",")]
    known = {ids[name] for name in names if name in ids}
    complete = known and (state.generation < 2 or all(name in ids for name in names))
    return lambda workflow: bool(complete) and known <= set(workflow.tag_ids)
