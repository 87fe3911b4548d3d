"""What people and WorkflowOps do, to the real system and to the :class:`World` of it, and whether both say the same then."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from wfops_pipelines import failpoints
from wfops_pipelines.domain.layout import read_file
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.workflow import read_content
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines.services.mapping_commands import ignore, link, unignore, unlink
from wfops_pipelines.services.matrix import workflow_matrix
from wfops_pipelines_tests.model.in_git import InGit
from wfops_pipelines_tests.model.in_n8n import InN8n
from wfops_pipelines_tests.model.meant import NAMES, PLACES, SLUGS, TEXTS, WHICH
from wfops_pipelines_tests.model.world import Content, Place
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import run, workflow

CONTENTS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(TEXTS)), max_size=3)
POINTS: dict[str, tuple[str, ...]] = {
    "sync": ("operation.acquire.after_commit", "n8n.list_workflows.before", "n8n.list_workflows.after", "sync.page.received",
             "sync.batch.before_commit", "sync.batch.after_commit", "n8n.get_workflow.after", "sync.missing.before_commit",
             "sync.missing.after_commit", "link.batch.before_commit", "link.batch.after_commit", "sync.finish.before_commit",
             "sync.finish.after_commit", "operation.end.before_commit", "operation.end.after_commit"),
    "read_git": ("repository.head.read", "git.fetch.before", "git.fetch.after", "repository.blob.read",
                 "repository.payloads.after_commit", "repository.assigned", "repository.batch.before_commit",
                 "repository.batch.after_commit", "repository.removed.before_commit", "repository.removed.after_commit",
                 "repository.errors.before_commit", "repository.errors.after_commit", "repository.finish.before_commit",
                 "repository.finish.after_commit", "link.batch.after_commit", "repository.looked.before_commit"),
    "check": ("repository.batch.after_commit", "repository.finish.after_commit", "sync.batch.after_commit", "drift.compare",
              "drift.compare.before_commit", "drift.compare.after_commit", "operation.step.before_commit"),
    "export": ("sync.finish.after_commit", "repository.finish.after_commit", "export.before_write", "git.push.before",
               "git.push.after", "export.after_write", "export.record.before_commit", "export.record.after_commit",
               "repository.batch.after_commit", "operation.end.before_commit"),
}


class WorkflowMachine(InN8n, InGit):
    """One fleet, whatever happens to it."""

    @initialize(dev=CONTENTS, prod=CONTENTS, exported=st.sampled_from(["", "dev", "prod", "both", "both"]))
    def begin(self, dev: list[Content], prod: list[Content], exported: str) -> None:
        """Some workflows here and there, and what of it Git knows."""
        for slug, contents in (("dev", dev), ("prod", prod)):
            for name, text in contents:
                self.create(slug, name, text)
            if exported in (slug, "both"):
                self.export(slug)

    # -- what WorkflowOps does -----------------------------------------------------------------------------------------

    @rule(slug=PLACES)
    def sync(self, slug: str) -> None:
        self.fleet[slug].sync()
        self.world.sync(self.world.places[slug], self.winner(slug))

    @rule(slug=PLACES)
    def read_git(self, slug: str) -> None:
        self.fleet[slug].read_git()
        self.world.read_git(self.world.places[slug], self.winner(slug))

    @rule(slug=PLACES)
    def check(self, slug: str) -> None:
        self._checked(slug, self.fleet[slug].check())

    @rule(slug=PLACES)
    def compare(self, slug: str) -> None:
        check = self.fleet[slug].compare()
        if self.world.places[slug].looked_at:
            self.world.compare(self.world.places[slug])
            self._says(slug, check)
        else:
            assert (check.status, check.workflows) == ("UNKNOWN", [])

    def _checked(self, slug: str, check: Any) -> None:
        self.world.check(self.world.places[slug], self.winner(slug))
        self._says(slug, check)

    def _says(self, slug: str, check: Any) -> None:
        place = self.world.places[slug]
        assert check.status == place.status, (check.status, place.status)
        said = {each["workflow_id"] or each["path"].removeprefix(f"{slug}/"): tuple(each["kinds"])
                for each in check.workflows}
        assert said == place.drift, (said, place.drift)
        assert {p["path"].removeprefix(f"{slug}/") for p in check.problems if p["reason"] == "invalid_json"} == place.unreadable

    @rule()
    def reconcile(self) -> None:
        done = self.fleet["prod"].reconcile()
        self.stage = self.world.reconcile(self.world.places["dev"], self.world.places["prod"])
        assert sum(done.stages["dev"].values()) == len(self.stage)

    @rule(slug=PLACES)
    def export(self, slug: str) -> None:
        environment, place = self.both(slug)
        environment.export()
        self.world.sync(place, self.winner(slug))
        self.world.read_git(place, self.winner(slug))
        planned = self.world.to_export(place)
        found = environment.files()
        found.pop("README.md", None)
        written = {path: data for path, data in found.items()
                   if path not in place.files or data != place.files[path].data}
        assert set(place.files) <= set(found), "an export removed files"
        read = {path: read_file(path, data) for path, data in written.items()}
        for known_path, wanted in planned:
            path = known_path or next((p for p, each in read.items() if p not in place.files
                                       and each.workflow_id == wanted.workflow_id), "")
            assert path in read, ("not exported", path, wanted)
            it = read.pop(path)
            said = (it.workflow_id, it.active, it.tags, content_hash(it.content))
            assert said == (wanted.workflow_id, wanted.active, wanted.tags, hash_of(wanted.content)), (path, said, wanted)
            assert it.canonical_id is not None
            key = wanted.key or self.world.new_canonical()
            self._same(key, str(it.canonical_id))
            place.files[path] = replace(wanted, key=key, data=written[path])
        assert not read, f"exported without reason: {sorted(read)}"
        if planned:
            self.world.committed()
            self.world.read_git(place, self.winner(slug))

    @rule(slug=PLACES, act=st.sampled_from(sorted(POINTS)), point=st.integers(0, 15), nth=st.sampled_from([1, 1, 2]),
          killed=st.integers(0, 3))
    def interrupted(self, slug: str, act: str, point: int, nth: int, killed: int) -> None:
        """Something fails in the middle, or its process is killed; then it is done once more."""
        name = POINTS[act][point % len(POINTS[act])]
        environment = self.fleet[slug]
        if killed == 3:
            died = run_in_child(environment, act, f"{name}=kill@{nth}")
            assert died.returncode in (0, -signal.SIGKILL), died.stderr
        else:
            failpoints.arm(f"{name}=raise@{nth}")
            with suppress(FailpointReached):
                getattr(environment, act)()
            failpoints.disarm()
        self.fleet.nobody_beats()
        getattr(self, act)(slug)

    # -- what people say -----------------------------------------------------------------------------------------------

    @rule(slug=PLACES, which=WHICH, canonical=WHICH)
    def link(self, slug: str, which: int, canonical: int) -> None:
        """Where nothing contradicts it."""
        place, workflow_id, names = self.world.places[slug], self.known(slug, which), sorted(self.ids)
        if workflow_id is None or not names:
            return
        name = names[canonical % len(names)]
        free = place.known[workflow_id].status == "untracked" and not place.taken(name)
        if free and all(each.canonical == name for each in place.naming(workflow_id)):
            self._say(link, slug, workflow_id, self.ids[name])
            self.world.link(place, workflow_id, name)

    @rule(slug=PLACES, which=WHICH)
    def unlink(self, slug: str, which: int) -> None:
        workflow_id = self.known(slug, which)
        if workflow_id is not None:
            self._say(unlink, slug, workflow_id)
            self.world.unlink(self.world.places[slug], workflow_id)

    @rule(slug=PLACES, which=WHICH)
    def ignore(self, slug: str, which: int) -> None:
        workflow_id = self.known(slug, which)
        if workflow_id is not None:
            self._say(ignore, slug, workflow_id)
            self.world.places[slug].known[workflow_id].ignored = True

    @rule(slug=PLACES, which=WHICH)
    def unignore(self, slug: str, which: int) -> None:
        place, workflow_id = self.world.places[slug], self.known(slug, which)
        if workflow_id is not None:
            known = place.known[workflow_id]
            if known.canonical is None or not place.taken(known.canonical, but=workflow_id):
                self._say(unignore, slug, workflow_id)
                known.ignored = False

    def _say(self, command: Callable[..., Any], slug: str, *arguments: str) -> None:
        run(command(self.fleet.services, self.fleet.context, slug, *arguments))

    # -- whether both say the same -------------------------------------------------------------------------------------

    def winner(self, slug: str) -> Callable[[str, list[str]], str]:
        """Which of several was linked."""
        mappings = self.fleet[slug].mappings()

        def chosen(canonical: str, ids: list[str]) -> str:
            if canonical not in self.ids:  # else the world may not have read what the system has written since
                self._learn()
            real = self.ids.get(canonical)
            return next((i for i in ids if i in mappings and str(mappings[i].canonical_id) == real), ids[0])
        return chosen

    def _learn(self) -> dict[str, dict[str, Any]]:
        """Which ids the canonical workflows got that Git was read to begin; returns the Git states of each environment."""
        found = {}
        for slug in SLUGS:
            environment, place = self.both(slug)
            states = found[slug] = environment.git_states()
            for path, each in place.alive().items():
                if path in states:
                    self._same(each.canonical, str(states[path].canonical_id))
        return found

    def _same(self, canonical: str, real: str) -> None:
        known = self.ids.setdefault(canonical, real)
        assert known == real, f"{canonical} is {known}, and here {real}"
        assert list(self.ids.values()).count(real) == 1, f"{real} is {[n for n, i in self.ids.items() if i == real]}"

    @invariant()
    def the_system_says_what_the_world_does(self) -> None:
        states = self._learn()
        names = {real: name for name, real in self.ids.items()}
        for slug in SLUGS:
            environment, place = self.both(slug)
            said = {i: (row.status, names.get(str(row.canonical_id)), row.live_hash, row.draft_hash, row.active,
                        row.archived, tuple(row.tags), row.unlinked_reason if row.status == "untracked" else None)
                    for i, row in environment.mappings().items()}
            expected = {i: (k.status, k.canonical, hash_of(k.flow.live), hash_of((k.flow.name, k.flow.draft)), k.flow.active,
                            k.flow.archived, k.flow.tags,
                            ("by_hand" if k.by_hand else k.reason) if k.status == "untracked" else None)
                        for i, k in place.known.items()}
            assert said == expected, _difference(slug, said, expected)
            files = {path: (names.get(str(row.canonical_id)), row.content_hash, row.workflow_id, row.wants_active)
                     for path, row in states[slug].items()}
            wanted = {path: (each.canonical, hash_of(each.file.content), each.file.workflow_id, each.file.active)
                      for path, each in place.alive().items()}
            assert files == wanted, _difference(slug, files, wanted)
        self._stage_says(names)
        self._matrix_says(names)

    def _stage_says(self, names: dict[str, str]) -> None:
        dev, prod = (self.fleet[slug].row.id for slug in SLUGS)
        rows = self.fleet.reading(lambda work: work.diffs.of_stage(dev, prod))
        said = {names.get(str(i)): row.status for i, row in rows.items()}
        assert said == self.stage, _difference("stage", said, self.stage)

    def _matrix_says(self, names: dict[str, str]) -> None:
        said: set[Any] = set()
        for row in workflow_matrix(self.fleet.services, self.fleet.context):
            for slug, cell in row.environments.items():
                said.add((names.get(row.canonical_id or ""), slug, cell.get("workflow_id"),
                          (cell.get("path") or "").removeprefix(f"{slug}/"), cell["status"], cell["drift"]))
        expected = {cell for place in self.world.places.values() for cell in cells(place)}
        assert said == expected, (said - expected, expected - said)


def cells(place: Place) -> list[Any]:
    """An environment's part of the matrix (§15): what is mapped with its file, what is not by itself, and files alone."""
    found: dict[Any, list[Any]] = {}
    for workflow_id, known in sorted(place.known.items()):
        kinds = place.drift.get(workflow_id)
        key = known.canonical or ("loose", workflow_id)
        if key in found and known.status == "missing":
            continue
        found[key] = [known.canonical, place.slug, workflow_id, "", known.status, kinds[0] if kinds else None]
    for path, each in place.alive().items():
        cell = found.setdefault(each.canonical, [each.canonical, place.slug, None, "", "git_only", None])
        kinds = place.drift.get(path)
        cell[3], cell[5] = path, cell[5] or (kinds[0] if kinds else None)
    return [tuple(cell) for cell in found.values()]


@cache
def hash_of(content: Content) -> str:
    """The content hash of a small workflow."""
    return content_hash(read_content(workflow(content[0], text=content[1])))


def _difference(where: str, said: dict[Any, Any], expected: dict[Any, Any]) -> str:
    keys = sorted({*said, *expected}, key=str)
    return "\n".join([where, *(f"  {key}: the system says {said.get(key)}\n      the world says {expected.get(key)}"
                               for key in keys if said.get(key) != expected.get(key))])
