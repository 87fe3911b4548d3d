"""Stored diffs, which are masked JSON, as the domain's diffs again, so that one renderer shows both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfops_pipelines.cli import terminal
from wfops_pipelines.domain.diff import ABSENT, Change, ChangeKind, WorkflowDiff
from wfops_pipelines.domain.diff_text import render_text


def stored_diff(document: Mapping[str, Any]) -> WorkflowDiff:
    """The diff of which ``document`` is the JSON (``domain.diff.as_json``)."""
    return WorkflowDiff(bool(document["equal"]), tuple(
        Change(ChangeKind(change["kind"]), change.get("node"), change.get("path"), change.get("before", ABSENT),
               change.get("after", ABSENT))
        for change in document["changes"]), int(document["cosmetic"]))


def render_stored(document: Mapping[str, Any], *, before: str, after: str, indent: str = "") -> str:
    """The diff as text, coloured where that is wanted."""
    text = render_text(stored_diff(document), before_label=before, after_label=after, colour=terminal.colours())
    return "".join(f"{indent}{line}".rstrip() + "\n" for line in text.splitlines())
