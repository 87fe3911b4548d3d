"""Whatever people do, in whatever order, the system says what the contract does (§4-§10)."""

from __future__ import annotations

import os

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from wfops_pipelines_tests.model.machine import WorkflowMachine
from wfops_pipelines_tests.model.seeds import seed
from wfops_pipelines_tests.services.fleet import NewFleet

pytestmark = pytest.mark.system

SIZE = int(os.environ.get("WFOPS_MODEL_EXAMPLES", "8"))
STEPS = 30


@pytest.mark.parametrize("part", range(2))
def test_the_system_says_what_the_model_does(new_fleet: NewFleet, part: int) -> None:
    print(f"WFOPS_SEED={seed()} WFOPS_MODEL_EXAMPLES={SIZE} makes the same choices", flush=True)
    machine = hypothesis.seed(seed() + part)(type("Machine", (WorkflowMachine,), {"new_fleet": new_fleet}))
    run_state_machine_as_test(machine, settings=settings(
        max_examples=SIZE, stateful_step_count=STEPS, deadline=None, database=None, print_blob=False,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink)))
