"""What people and WorkflowOps do, to the real system and to the :class:`World` of it, and whether both say the same then."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wfops_pipelines import failpoints
from wfops_pipelines.domain.layout import read_file
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.workflow import read_content
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines.n8n.sandbox import workflows as sandbox_workflows
from wfops_pipelines.services.mapping_commands import ignore, link, unignore, unlink
from wfops_pipelines.services.matrix import workflow_matrix
from wfops_pipelines_tests.model.world import Content, File, Flow, Place, World
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, file_bytes, run, workflow
from wfops_pipelines_tests.services.promotions import promoting_fleet
from wfops_pipelines_tests.services.walked_use_cases import nobody_beats

SLUGS = ("dev", "prod")
NAMES, TEXTS, PATHS, TAGS = "ABC", "xyz", "pqrs", "uv"
PLACES = st.sampled_from(SLUGS)
WHICH = st.integers(0, 3)
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


def fleet_of_two(new_fleet: NewFleet) -> FleetUnderTest:
    """dev and prod, with a stage from one to the other; drift in prod opens incidents. Batches are small."""
    fleet = promoting_fleet(new_fleet, SLUGS, drift_policy={"auto_create_incidents": True})
    fleet.with_limits(batch_size=2)
    return fleet


class WorkflowMachine(RuleBasedStateMachine):
    """One fleet, whatever happens to it."""

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

    # -- who is meant --------------------------------------------------------------------------------------------------

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

    # -- what people do in n8n -----------------------------------------------------------------------------------------

    @initialize(dev=CONTENTS, prod=CONTENTS, exported=st.sampled_from(["", "dev", "prod", "both", "both"]))
    def begin(self, dev: list[Content], prod: list[Content], exported: str) -> None:
        """Some workflows here and there, and what of it Git knows."""
        for slug, contents in (("dev", dev), ("prod", prod)):
            for name, text in contents:
                self.create(slug, name, text)
            if exported in (slug, "both"):
                self.export(slug)

    @rule(slug=PLACES, name=st.sampled_from(NAMES), text=st.sampled_from(TEXTS))
    def create(self, slug: str, name: str, text: str) -> None:
        self._create(slug, Flow(name, text), None)

    @rule(slug=PLACES, which=WHICH)
    def copy(self, slug: str, which: int) -> None:
        """Duplicated, under the same name."""
        workflow_id = self.flow(slug, which)
        if workflow_id is not None:
            flow = self.world.places[slug].flows[workflow_id]
            self._create(slug, Flow(flow.name, flow.draft), None)

    @rule(slug=PLACES, which=WHICH, text=st.sampled_from(TEXTS))
    def recreate(self, slug: str, which: int, text: str) -> None:
        """One that was there before comes back under its id, with another content."""
        place = self.world.places[slug]
        gone = sorted(set(place.known) - set(place.flows))
        if gone:
            workflow_id = gone[which % len(gone)]
            self._create(slug, Flow(place.known[workflow_id].flow.name, text), workflow_id)

    @rule(source=PLACES, which=WHICH)
    def carry_over(self, source: str, which: int) -> None:
        """Imported by hand into the other environment."""
        workflow_id = self.flow(source, which)
        if workflow_id is not None:
            name, text = self.world.places[source].flows[workflow_id].live
            self._create("dev" if source == "prod" else "prod", Flow(name, text), None)

    def _create(self, slug: str, flow: Flow, workflow_id: str | None) -> None:
        environment, place = self.both(slug)
        if workflow_id is None:
            self.number += 1
            workflow_id = f"w{self.number:02}"
        environment.create_in_n8n(workflow(flow.name, text=flow.draft, id=workflow_id))
        place.flows[workflow_id] = flow

    @rule(slug=PLACES, which=WHICH, text=st.sampled_from(TEXTS), publish=st.booleans())
    def edit(self, slug: str, which: int, text: str, publish: bool) -> None:
        workflow_id = self.flow(slug, which)
        if workflow_id is None:
            return
        environment, place = self.both(slug)
        flow = place.flows[workflow_id]
        environment.edit_in_n8n(workflow_id, text, publish=publish)
        place.flows[workflow_id] = replace(flow, draft=text, published=text if flow.active and publish else flow.published)

    @rule(slug=PLACES, which=WHICH, name=st.sampled_from(NAMES))
    def rename(self, slug: str, which: int, name: str) -> None:
        workflow_id = self.flow(slug, which)
        if workflow_id is not None:
            environment, place = self.both(slug)
            environment.edit_in_n8n(workflow_id, publish=False, name=name)
            place.flows[workflow_id] = replace(place.flows[workflow_id], name=name)

    @rule(slug=PLACES, which=WHICH, tag=st.sampled_from(TAGS))
    def tag(self, slug: str, which: int, tag: str) -> None:
        workflow_id = self.flow(slug, which)
        if workflow_id is not None:
            environment, place = self.both(slug)
            environment.tag_in_n8n(workflow_id, tag)
            place.flows[workflow_id] = replace(place.flows[workflow_id], tags=(tag,))

    @rule(slug=PLACES, which=WHICH, active=st.booleans())
    def switch(self, slug: str, which: int, active: bool) -> None:
        """Published as its draft is, or unpublished."""
        workflow_id = self.flow(slug, which)
        if workflow_id is not None:
            environment, place = self.both(slug)
            environment.activate_in_n8n(workflow_id, active)
            flow = place.flows[workflow_id]
            place.flows[workflow_id] = replace(flow, published=flow.draft if active else None)

    @rule(slug=PLACES, which=WHICH)
    def archive(self, slug: str, which: int) -> None:
        workflow_id = self.flow(slug, which)
        if workflow_id is not None:
            environment, place = self.both(slug)
            environment.archive_in_n8n(workflow_id)
            place.flows[workflow_id] = replace(place.flows[workflow_id], published=None, archived=True)

    @rule(slug=PLACES, which=WHICH)
    def unarchive(self, slug: str, which: int) -> None:
        workflow_id = self.flow(slug, which, archived=True)
        if workflow_id is not None:
            environment, place = self.both(slug)
            with environment.sandbox.state.lock:
                sandbox_workflows.unarchive(environment.sandbox.state, workflow_id)
            place.flows[workflow_id] = replace(place.flows[workflow_id], archived=False)

    @rule(slug=PLACES, which=WHICH)
    def delete(self, slug: str, which: int) -> None:
        workflow_id = self.flow(slug, which)
        if workflow_id is not None:
            environment, place = self.both(slug)
            environment.delete_in_n8n(workflow_id)
            del place.flows[workflow_id]

    # -- what people do in Git -----------------------------------------------------------------------------------------

    def push(self, slug: str, files: dict[str, File | None]) -> None:
        """Commit files of an environment's folder; a commit that changes nothing is none."""
        environment, place = self.both(slug)
        data = {path: None if file is None else self.render(file) for path, file in files.items()}
        now = {path: file.data for path, file in place.files.items()}
        if all(now.get(path) == content for path, content in data.items()):
            return
        environment.push_files(data)
        for path, file in files.items():
            if file is None:
                place.files.pop(path, None)
            else:
                place.files[path] = replace(file, data=data[path] or b"")
        self.world.committed()

    def render(self, file: File) -> bytes:
        if file.broken:
            return b"{ not JSON"
        wanted = {name: value for name, value in (("active", file.active), ("tags", file.tags)) if value is not None}
        document = workflow(file.content[0], text=file.content[1])
        return file_bytes(document | ({"id": file.workflow_id} if file.workflow_id else {}),
                          key=self.ids[file.key] if file.key is not None else None, **wanted)

    @rule(slug=PLACES, path=st.sampled_from(PATHS), name=st.sampled_from(NAMES), text=st.sampled_from(TEXTS),
          which=st.none() | WHICH, key=st.none() | WHICH, active=st.none() | st.booleans())
    def write_file(self, slug: str, path: str, name: str, text: str, which: int | None, key: int | None,
                   active: bool | None) -> None:
        """A file by hand: for a workflow of n8n or none, with the key of a canonical workflow that there is, or none."""
        workflow_id = self.flow(slug, which) if which is not None else None
        keys = sorted(self.ids)
        self.push(slug, {f"workflows/{path}.json": File(
            (name, text), workflow_id, keys[key % len(keys)] if keys and key is not None else None, active)})

    @rule(slug=PLACES, which=WHICH, text=st.sampled_from(TEXTS))
    def edit_file(self, slug: str, which: int, text: str) -> None:
        path = self.file(slug, which)
        if path is not None:
            file = self.world.places[slug].files[path]
            self.push(slug, {path: replace(file, content=(file.content[0], text), broken=False)})

    @rule(slug=PLACES, which=WHICH, name=st.sampled_from(NAMES))
    def rename_in_file(self, slug: str, which: int, name: str) -> None:
        path = self.file(slug, which)
        if path is not None:
            file = self.world.places[slug].files[path]
            self.push(slug, {path: replace(file, content=(name, file.content[1]), broken=False)})

    @rule(slug=PLACES, which=WHICH)
    def break_file(self, slug: str, which: int) -> None:
        path = self.file(slug, which)
        if path is not None:
            self.push(slug, {path: replace(self.world.places[slug].files[path], broken=True)})

    @rule(slug=PLACES, which=WHICH)
    def drop_key(self, slug: str, which: int) -> None:
        """Exported by n8n itself, which knows no keys."""
        path = self.file(slug, which)
        if path is not None:
            file = self.world.places[slug].files[path]
            self.push(slug, {path: replace(file, key=None, active=None, tags=None)})

    @rule(slug=PLACES, which=WHICH, to=st.sampled_from(PATHS))
    def move_file(self, slug: str, which: int, to: str) -> None:
        path = self.file(slug, which)
        if path is not None and path != f"workflows/{to}.json":
            self.push(slug, {f"workflows/{to}.json": self.world.places[slug].files[path], path: None})

    @rule(slug=PLACES, which=WHICH, to=st.sampled_from(PATHS), into=PLACES)
    def copy_file(self, slug: str, which: int, to: str, into: str) -> None:
        """Beside itself, or into the other environment's folder."""
        path = self.file(slug, which)
        if path is not None:
            self.push(into, {f"workflows/{to}.json": self.world.places[slug].files[path]})

    @rule(slug=PLACES, which=WHICH)
    def delete_file(self, slug: str, which: int) -> None:
        path = self.file(slug, which)
        if path is not None:
            self.push(slug, {path: None})

    @precondition(lambda self: len(self.world.commits) > 2)
    @rule(back=st.integers(1, 3), anew=st.booleans())
    def force_push(self, back: int, anew: bool) -> None:
        """The branch is what it was some commits ago; ``anew``: with a history of its own."""
        repository = self.fleet.repository
        folders = self.world.commits[max(1, len(self.world.commits) - 1 - back)]
        files: dict[str | bytes, bytes | tuple[str, bytes] | None] = {
            f"{slug}/{path}": file.data for slug, folder in folders.items() for path, file in folder.items()}
        self.number += 1
        files["README.md"] = f"{self.number}".encode()
        if anew:
            repository.commit(files, orphan=True)
        else:
            now = repository.files()
            if int(repository.text("rev-list", "--count", "main")) > 1:
                repository.git("update-ref", "refs/heads/main", f"{repository.head()}~1")
            repository.commit({**dict.fromkeys(set(now) | set(repository.files())), **files})
        for slug, folder in folders.items():
            self.world.places[slug].files = dict(folder)
        self.world.committed()

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
        self.world.compare(self.world.places[slug])
        self._says(slug, check)

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
        nobody_beats(self.fleet)
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
            self._learn()
            real = self.ids.get(canonical)
            return next((i for i in ids if i in mappings and str(mappings[i].canonical_id) == real), ids[0])
        return chosen

    def _learn(self) -> None:
        """Which ids the canonical workflows got that Git was read to begin."""
        for slug in SLUGS:
            environment, place = self.both(slug)
            states = environment.git_states()
            for path, each in place.alive().items():
                if path in states:
                    self._same(each.canonical, str(states[path].canonical_id))

    def _same(self, canonical: str, real: str) -> None:
        known = self.ids.setdefault(canonical, real)
        assert known == real, f"{canonical} is {known}, and here {real}"
        assert list(self.ids.values()).count(real) == 1, f"{real} is {[n for n, i in self.ids.items() if i == real]}"

    @invariant()
    def the_system_says_what_the_world_does(self) -> None:
        self._learn()
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
                     for path, row in environment.git_states().items()}
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
