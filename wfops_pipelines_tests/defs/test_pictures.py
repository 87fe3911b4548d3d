"""Pictures in the drift report: images within Markdown, few and not large, of what the check compared."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from wfops_pipelines.defs.metadata import MAX_PICTURE_BYTES, pictures
from wfops_pipelines.domain.diff_picture import diff_picture
from wfops_pipelines.services.compare import Side, compare_workflow
from wfops_pipelines.services.detect_drift import check_drift
from wfops_pipelines.services.drift_pictures import DriftPicture, draw_drift
from wfops_pipelines.services.export_environment import export_environment
from wfops_pipelines_tests.defs.conftest import Given, workflow


def shown(*drawn: DriftPicture) -> str:
    value: Any = pictures(drawn)["picture"]
    return str(value.value)


def test_a_picture_is_an_image_that_needs_no_server() -> None:
    text = shown(DriftPicture("Orders", "<svg/>"))
    assert text == f"![What changed in Orders](data:image/svg+xml;base64,{base64.b64encode(b'<svg/>').decode()})"


def test_there_are_at_most_three() -> None:
    assert shown(*(DriftPicture(f"W{number}", "<svg/>") for number in range(9))).count("![") == 3


def test_a_large_one_is_named_with_the_command_that_draws_it() -> None:
    text = shown(DriftPicture("Big", "x" * (MAX_PICTURE_BYTES + 1)))
    assert "![" not in text and "--svg" in text and len(text) < 200


def test_a_name_cannot_break_out_of_the_description() -> None:
    assert shown(DriftPicture("a](javascript:x)", "<svg/>")).startswith(r"![What changed in a\](javascript:x)](data:")


def test_without_drift_there_is_none() -> None:
    assert pictures([]) == {}


def test_what_was_edited_by_hand_is_drawn_against_git(given: Given) -> None:
    services = given.installation.services
    context = services.context("acme", actor="test")
    environment = services.environment(context, "prod")
    asyncio.run(export_environment(services, context, environment))
    given.edit("prod", nodes=workflow("Orders", "https://elsewhere.example")["nodes"])
    check = asyncio.run(check_drift(services, context, services.environment(context, "prod")))
    (picture,) = draw_drift(services, context, environment, check.workflows)
    assert 'class="node changed"' in picture.svg and "elsewhere" not in picture.svg and "n8n" in picture.svg
    found = compare_workflow(services, Side.parse("acme/prod@git"), Side.parse("acme/prod"), picture.name,
                             actor="test")
    assert 'class="node changed"' in diff_picture(*found.contents, found.diff)
    assert "elsewhere" not in repr(found), "contents are not masked"

    given.edit("prod", nodes=workflow("Orders", "https://third.example")["nodes"])
    asyncio.run(check_drift(services, context, services.environment(context, "prod")))
    assert draw_drift(services, context, environment, check.workflows) == [], "what was compared is no longer there"
