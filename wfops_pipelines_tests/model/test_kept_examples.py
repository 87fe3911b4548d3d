"""Orders of events in which the system and the model once said different things, or could easily."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wfops_pipelines_tests.model.machine import WorkflowMachine
from wfops_pipelines_tests.model.world import File, Flow
from wfops_pipelines_tests.services.fleet import NewFleet


class Played(WorkflowMachine):
    """The machine, played by hand."""

    def look(self) -> None:
        """Both say the same."""
        self.the_system_says_what_the_world_does()

    def put(self, workflow_id: str, name: str, text: str) -> None:
        """A workflow of that id."""
        self._create("prod", Flow(name, text), workflow_id)

    def gone(self, workflow_id: str) -> None:
        self.fleet["prod"].delete_in_n8n(workflow_id)
        del self.world.places["prod"].flows[workflow_id]

    def written(self, path: str, name: str, text: str, workflow_id: str | None = None) -> None:
        self.push("prod", {f"workflows/{path}.json": File((name, text), workflow_id)})


@pytest.fixture
def played(new_fleet: NewFleet) -> Played:
    kind: Callable[[], Played] = type("Machine", (Played,), {"new_fleet": new_fleet})
    return kind()


def test_a_file_that_names_a_workflow_beats_a_copy_of_its_content_from_an_earlier_batch(played: Played) -> None:
    played.written("p", "A", "x", "w05")
    played.read_git("prod")
    for workflow_id, text in (("w01", "x"), ("w02", "y"), ("w03", "z"), ("w05", "y")):
        played.put(workflow_id, "A", text)
    played.check("prod")
    played.look()
    assert played.fleet["prod"].mapping("w05").status == "linked"


def test_one_that_comes_back_is_what_it_was_though_a_copy_of_it_is_new_in_an_earlier_batch(played: Played) -> None:
    played.put("w05", "A", "x")
    played.export("prod")
    played.drop_key("prod", 0)
    played.check("prod")
    played.gone("w05")
    played.sync("prod")
    for workflow_id, text in (("w01", "x"), ("w02", "y"), ("w03", "z"), ("w05", "y")):
        played.put(workflow_id, "A", text)
    played.sync("prod")
    played.look()
    assert played.fleet["prod"].mapping("w05").status == "linked"


def test_one_that_comes_back_while_the_one_in_its_place_goes_is_what_it_was(played: Played) -> None:
    played.put("w05", "A", "x")
    played.export("prod")
    played.push("prod", {path: File(("A", "x")) for path in played.world.places["prod"].files})
    played.check("prod")
    played.gone("w05")
    played.put("w01", "A", "x")
    played.sync("prod")
    played.look()
    assert played.fleet["prod"].mapping("w01").status == "linked"
    played.gone("w01")
    played.put("w05", "A", "another")
    played.sync("prod")
    played.look()
    assert played.fleet["prod"].mapping("w05").status == "linked"


def test_a_reason_that_is_no_more_is_not_told_any_more(played: Played) -> None:
    played.put("w01", "A", "x")
    played.export("prod")
    played.put("w05", "B", "y")
    played.sync("prod")
    played.push("prod", {"workflows/q.json": File(("A", "x"), "w05")})
    for path in sorted(set(played.world.places["prod"].files) - {"workflows/q.json"}):
        played.push("prod", {path: None})
    played.check("prod")
    played.look()
    assert played.fleet["prod"].mapping("w05").unlinked_reason == "already_mapped"
    played.push("prod", {"workflows/q.json": None})
    played.check("prod")
    played.look()
    assert played.fleet["prod"].mapping("w05").unlinked_reason == "no_match"


def test_a_file_that_vanished_is_written_anew_for_another_workflow_by_the_export_that_sees_it(played: Played) -> None:
    played.put("w01", "B", "z")
    played.export("prod")
    played.look()
    played.create("dev", "B", "x")
    played.export("dev")
    played.look()
    played.rename("prod", 0, "A")
    played.put("w05", "B", "x")
    played.push("prod", dict.fromkeys(played.world.places["prod"].files))
    played.look()
    played.export("prod")
    played.look()
    assert played.fleet["prod"].mapping("w05").status == "linked"
