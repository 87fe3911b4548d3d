"""Who a run acts for: a name in a tag proves nobody (§2.2, §2.3)."""

from __future__ import annotations

import pytest

from wfops_pipelines.defs.actors import ACTOR_TAG, PROOF_TAG, UI_ACTOR, actor_of, actor_tags

KEY = b"k" * 32


def test_who_was_proved_acts_in_that_run_alone() -> None:
    tags = actor_tags("local:ada", "run-1", KEY)
    assert actor_of(tags, {"run-1"}, KEY) == "local:ada"
    assert actor_of(tags, {"run-1"}, KEY, person=True) == "local:ada"
    assert actor_of(tags, {"run-2"}, KEY) == UI_ACTOR  # started again by somebody else
    assert actor_of(tags, {"run-2", "run-1"}, KEY) == "local:ada"  # retried by Dagster itself
    assert actor_of(tags, {"run-1"}, b"x" * 32) == UI_ACTOR
    assert actor_of({**tags, ACTOR_TAG: "local:grace"}, {"run-1"}, KEY) == UI_ACTOR


@pytest.mark.parametrize("tags", [{}, {ACTOR_TAG: "local:ada"}, {ACTOR_TAG: "local:ada", PROOF_TAG: "größe"}])
def test_a_name_without_a_proof_is_whoever_sits_at_the_ui(tags: dict[str, str]) -> None:
    assert actor_of(tags, {"run-1"}, KEY) == UI_ACTOR


def test_a_sweep_names_itself_and_is_nobody_who_decides() -> None:
    tags = {ACTOR_TAG: "system:drift_detection"}
    assert actor_of(tags, {"run-1"}, KEY) == "system:drift_detection"
    assert actor_of(tags, {"run-1"}, KEY, person=True) == UI_ACTOR
