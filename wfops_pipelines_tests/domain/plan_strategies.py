"""Random environments for laws about plans."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.domain.promotion_plan import BothSides, PortableWorkflow
from wfops_pipelines_tests.domain.plan_example import SUB, TRIGGER, content, held

KEYS = "abcdef"


@st.composite
def environments(draw: Any) -> list[BothSides]:
    """Up to six workflows in every state that they can be in on both sides, calling each other at random."""
    found = []
    for key in draw(st.sets(st.sampled_from(KEYS))):
        calls = tuple(sorted(draw(st.sets(st.sampled_from(KEYS), max_size=3))))
        start = draw(st.sampled_from([TRIGGER, SUB]))

        def side(key: str = key, calls: tuple[str, ...] = calls, start: str = start) -> PortableWorkflow | None:
            if not draw(st.booleans()):
                return None
            return held(content(key, value=draw(st.integers(0, 2)), calls=calls, start=start), active=draw(st.booleans()),
                        archived=draw(st.sampled_from([False, False, True])), workflow_id=draw(st.text(max_size=3)))

        found.append(BothSides(key, side(), side(), wants_active=draw(st.none() | st.booleans())))
    return found


options = st.fixed_dictionaries({"prune": st.booleans(), "generation": st.sampled_from([1, 2]), "with_needs": st.booleans(),
                                 "activation": st.sampled_from(Activation)})
