"""The fleet and its :class:`World`, and which of their workflows and files somebody means."""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from wfops_pipelines import failpoints
from wfops_pipelines_tests.model.world import Place, World
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet
from wfops_pipelines_tests.services.promotions import promoting_fleet

SLUGS = ("dev", "prod")
NAMES, TEXTS, PATHS, TAGS = "ABC", "xyz", "pqrs", "uv"
PLACES = st.sampled_from(SLUGS)
WHICH = st.integers(0, 3)


def fleet_of_two(new_fleet: NewFleet) -> FleetUnderTest:
    """dev and prod, with a stage from one to the other; drift in prod opens incidents. Batches are small."""
    fleet = promoting_fleet(new_fleet, SLUGS, drift_policy={"auto_create_incidents": True})
    fleet.with_limits(batch_size=2)
    return fleet


class FleetAndWorld(RuleBasedStateMachine):
    """One fleet, and the small model of it."""

    new_fleet: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.fleet: FleetUnderTest = self.new_fleet.as_left_by(fleet_of_two)
        self.world = World(*SLUGS)
        self.world.places["prod"].incidents = True
        self.ids: dict[str, str] = {}  # of canonical workflows, by what the world calls them
        self.number = 0
        self.stage: dict[str, str] = {}

    def teardown(self) -> None:
        failpoints.disarm()
        try:
            assert self.fleet.chain_verifies()
        finally:
            self.fleet.services.store.close()

    def both(self, slug: str) -> tuple[Environment, Place]:
        return self.fleet[slug], self.world.places[slug]

    def flow(self, slug: str, which: int, *, archived: bool = False) -> str | None:
        """The n8n id of a workflow."""
        found = sorted(i for i, flow in self.world.places[slug].flows.items() if flow.archived is archived)
        return found[which % len(found)] if found else None

    def file(self, slug: str, which: int) -> str | None:
        """The path of a file."""
        found = sorted(self.world.places[slug].files)
        return found[which % len(found)] if found else None

    def known(self, slug: str, which: int) -> str | None:
        found = sorted(self.world.places[slug].known)
        return found[which % len(found)] if found else None
