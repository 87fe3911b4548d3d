"""What people do in Git."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from wfops_pipelines_tests.model.meant import NAMES, PATHS, PLACES, TEXTS, WHICH, FleetAndWorld
from wfops_pipelines_tests.model.world import File
from wfops_pipelines_tests.services.fleet import file_bytes, workflow


class InGit(FleetAndWorld):
    """Files are written, moved, copied, broken and deleted, and the branch is forced elsewhere."""

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
