"""What WorkflowOps should say, computed from what people did and from nothing else (§4-§10).

A :class:`World` holds two environments as people see them (workflows in n8n, files in Git) and, beside that, what was
*read* of them so far: a change counts only once somebody looked. There is no database, no hash and no batch here: contents
are compared as they are, an act happens at once, and canonical workflows are called ``c1``, ``c2``, … until the machine
finds out which ids they have. Where the contract leaves a choice (which of two equal untracked workflows is the canonical
one that is free), the world takes what happened, if it is one of those that may.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

Content = tuple[str, str]
"""A workflow's name, and what its node says: all that these workflows differ in."""
Winner = Callable[[str, list[str]], str]
"""Of several workflows that may become one canonical workflow (its name here, their n8n ids), the one that did."""
ORDER = ("modified", "added_in_runtime", "missing_in_runtime", "activation", "unpublished_changes")


@dataclass(frozen=True)
class Flow:
    """A workflow as n8n holds it. ``published`` is what runs, none while it is not active; the name has no versions."""

    name: str
    draft: str
    published: str | None = None
    archived: bool = False
    tags: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        return self.published is not None

    @property
    def live(self) -> Content:
        return self.name, self.draft if self.published is None else self.published


@dataclass(frozen=True)
class File:
    """A workflow file; ``data`` are its bytes. ``key`` is the canonical workflow that it names. A ``broken`` one is no JSON."""

    content: Content
    workflow_id: str | None = None
    key: str | None = None
    active: bool | None = None
    tags: tuple[str, ...] | None = None
    broken: bool = False
    data: bytes = b""


@dataclass
class Known:
    """What was read of a workflow, and what it is taken for."""

    flow: Flow
    canonical: str | None = None
    ignored: bool = False
    missing: bool = False
    by_hand: bool = False
    reason: str | None = "no_match"
    in_sync: Content | None = None

    @property
    def status(self) -> str:
        if self.ignored:
            return "ignored"
        if self.missing:
            return "missing"
        return "untracked" if self.canonical is None else "linked"

    @property
    def claims(self) -> bool:
        """Whether what it is mapped to is taken (§5.2): one that is missing may be replaced."""
        return self.canonical is not None and (self.ignored or not self.missing)


@dataclass
class Standing:
    """What a path of the folder was read as."""

    file: File
    canonical: str
    gone: bool = False


@dataclass
class Place:
    """An environment: as it is, and as it was read."""

    slug: str
    flows: dict[str, Flow] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)
    standing: dict[str, Standing] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    head: int = 0  # of the commits, the one that was read last
    looked_at: bool = False
    ever_mapped: bool = False
    incidents: bool = False  # whether drift opens one
    incident: str | None = None
    status: str | None = None
    drift: dict[str, tuple[str, ...]] = field(default_factory=dict)  # kinds by n8n id, or by path

    def alive(self) -> dict[str, Standing]:
        return {path: each for path, each in sorted(self.standing.items()) if not each.gone}

    def naming(self, workflow_id: str) -> list[Standing]:
        return [each for each in self.alive().values() if each.file.workflow_id == workflow_id]

    def taken(self, canonical: str, but: str | None = None) -> bool:
        return any(k.canonical == canonical and k.claims for i, k in self.known.items() if i != but)


class World:
    """Two environments, the repository that they share, and what all of it is known as."""

    def __init__(self, *slugs: str) -> None:
        self.places = {slug: Place(slug) for slug in slugs}
        self.registry: dict[Content, set[str]] = {}
        self.commits: list[dict[str, dict[str, File]]] = [{slug: {} for slug in slugs}]
        self._canonicals = 0

    # -- Git -----------------------------------------------------------------------------------------------------------

    def committed(self) -> None:
        """Somebody pushed: the folders are as they are now."""
        self.commits.append({slug: dict(place.files) for slug, place in self.places.items()})

    def read_git(self, place: Place, winner: Winner) -> None:
        """Repository sync (§7), and the untracked ones once more (§5.2)."""
        head = len(self.commits) - 1
        if head == place.head:
            return
        place.head = head
        alive = place.alive()
        place.unreadable = {path for path, file in place.files.items() if file.broken}
        staying = {path for path, each in alive.items()
                   if path in place.unreadable or (path in place.files and place.files[path].data == each.file.data
                                                   and not self._copied(place, path))}
        read = {path: file for path, file in sorted(place.files.items()) if path not in staying and not file.broken}
        vanished = {path: each for path, each in alive.items() if path not in place.files}
        for path, canonical in self._assign(place, read, staying, vanished).items():
            place.standing[path] = Standing(read[path], canonical)
            self.registry.setdefault(read[path].content, set()).add(canonical)
        for path in vanished:
            place.standing[path].gone = True
        self._link(place, winner)

    def _copied(self, place: Place, path: str) -> bool:
        """Whether it is a copy of a file that has its key: looked at again with every commit, for the other may be gone."""
        each = place.standing[path]
        return each.file.key is not None and each.file.key != each.canonical

    def _assign(self, place: Place, read: dict[str, File], staying: set[str],
                vanished: dict[str, Standing]) -> dict[str, str]:
        """Which canonical workflow each file is that is new or changed: its key, its path, its n8n id, the file that
        vanished with the same content, the path it had, its content; else a new one. A rule has its say for all files
        before the next one. A file whose key another one has is known by its path."""
        standing = place.standing
        holder = {standing[path].canonical: path for path in staying}
        given: dict[str, str] = {}

        def give(path: str, canonical: str | None) -> None:
            if canonical is not None and path not in given and holder.get(canonical, path) == path:
                given[path], holder[canonical] = canonical, path

        def was(path: str, *, gone: bool) -> str | None:
            return standing[path].canonical if path in standing and standing[path].gone is gone else None

        for path, file in sorted(read.items(), key=lambda item: (was(item[0], gone=False) != item[1].key, item[0])):
            give(path, file.key)
        own = {path: file for path, file in read.items() if file.key is None}
        for path in read:
            give(path, was(path, gone=False))
        for path, file in own.items():
            give(path, place.known[file.workflow_id].canonical if file.workflow_id in place.known else None)
        for path, file in own.items():
            give(path, _only(each.canonical for each in vanished.values() if each.file.content == file.content))
        for path in read:
            give(path, was(path, gone=True))
        for path, file in own.items():
            give(path, _only(self.registry.get(file.content, ())))
        for path in read:
            if path not in given:
                give(path, self.new_canonical())
        return given

    def new_canonical(self) -> str:
        self._canonicals += 1
        return f"c{self._canonicals}"

    # -- n8n -----------------------------------------------------------------------------------------------------------

    def sync(self, place: Place, winner: Winner) -> None:
        """Environment sync (§6): what is gone is missing, what is back is what it was (§5.5), what is new may be linked."""
        place.looked_at = True
        for workflow_id, known in place.known.items():
            known.missing = known.missing or workflow_id not in place.flows
        for workflow_id, flow in sorted(place.flows.items()):
            known = place.known.setdefault(workflow_id, Known(flow))
            if known.missing:
                known.missing = False
                if known.canonical is not None and place.taken(known.canonical, but=workflow_id):
                    known.canonical = None
            known.flow = flow
        self._link(place, winner)

    def _link(self, place: Place, winner: Winner) -> None:
        """Untracked workflows that are certainly a canonical one (§5.2): a file that names one comes first."""
        while True:
            untracked = [i for i, known in place.known.items() if known.status == "untracked" and not known.by_hand]
            decided = {i: self.decide(place, i) for i in untracked}
            wanted: dict[str, list[str]] = {}
            for workflow_id, (canonical, reason) in decided.items():
                place.known[workflow_id].reason = reason
                if canonical is not None:
                    wanted.setdefault(canonical, []).append(workflow_id)
            if not wanted:
                break
            for canonical, ids in wanted.items():
                named = [i for i in ids if len(place.naming(i)) == 1] or ids
                place.known[winner(canonical, named)].canonical = canonical
        place.ever_mapped = place.ever_mapped or any(known.canonical for known in place.known.values())

    def decide(self, place: Place, workflow_id: str) -> tuple[str | None, str | None]:
        """The canonical workflow that an untracked one is, or why it is none."""
        files = place.naming(workflow_id)
        found = {files[0].canonical} if len(files) == 1 else self.registry.get(place.known[workflow_id].flow.live, set())
        if len(found) != 1:
            return None, "ambiguous" if found else "no_match"
        (canonical,) = found
        return (None, "already_mapped") if place.taken(canonical) else (canonical, None)

    # -- drift ---------------------------------------------------------------------------------------------------------

    def check(self, place: Place, winner: Winner) -> None:
        """Both sides, then the comparison (§9)."""
        self.read_git(place, winner)
        self.sync(place, winner)
        self.compare(place)

    def compare(self, place: Place) -> None:
        """Drift, status and incident, of what was read."""
        pairs, runtime, files = match(place)
        drift: dict[str, tuple[str, ...]] = {}
        tracked = place.ever_mapped or bool(place.alive()) or bool(place.unreadable)
        if tracked:
            for workflow_id, path in pairs:
                known, file = place.known[workflow_id], place.standing[path].file
                if not known.ignored:
                    drift[workflow_id] = ("missing_in_runtime",) if known.flow.archived else _kinds(known.flow, file)
            for workflow_id in runtime:
                known = place.known[workflow_id]
                if not known.ignored and not known.flow.archived:
                    drift[workflow_id] = _kinds(known.flow, None)
            drift |= dict.fromkeys(files, ("missing_in_runtime",))
        place.drift = {subject: kinds for subject, kinds in drift.items() if kinds}
        drifts = any(kinds[0] != "unpublished_changes" for kinds in place.drift.values())
        if not drifts:
            place.incident = None
        elif place.incidents and place.incident is None:
            place.incident = "ACTIVE"
        place.status = (f"DRIFT_INCIDENT_{place.incident}" if place.incident else "UNTRACKED" if not tracked
                        else "DRIFT_DETECTED" if drifts else "IN_SYNC")
        remember(place, pairs)

    # -- what people say -----------------------------------------------------------------------------------------------

    def link(self, place: Place, workflow_id: str, canonical: str) -> None:
        """It is that canonical workflow."""
        known = place.known[workflow_id]
        known.canonical, known.by_hand, place.ever_mapped = canonical, False, True

    def unlink(self, place: Place, workflow_id: str) -> None:
        """It is none, until somebody says so."""
        known = place.known[workflow_id]
        known.canonical, known.by_hand, known.in_sync = None, True, None

    # -- export --------------------------------------------------------------------------------------------------------

    def to_export(self, place: Place) -> list[tuple[str | None, File]]:
        """The files that are to be written for Git to say what n8n holds, each with its path if it has one (§7). Left out
        is what might be a canonical workflow that there is, and nobody said which (§5.2)."""
        exported = {i: known for i, known in place.known.items() if known.status in ("linked", "untracked")
                    and not known.flow.archived and not self._undecided(place, i)}
        paths = {i: path for i, known in exported.items() for path, each in place.alive().items()
                 if known.canonical == each.canonical}
        for path, each in place.alive().items():
            owner = each.file.workflow_id
            if owner in exported and exported[owner].canonical is None and owner not in paths and path not in paths.values():
                paths[owner] = path
        written: list[tuple[str | None, File]] = []
        for workflow_id, known in exported.items():
            where, flow = paths.get(workflow_id), known.flow
            said = place.standing[where] if where is not None else None
            key = known.canonical or (said.canonical if said is not None else None)
            wanted = File(flow.live, workflow_id, key, flow.active, flow.tags)
            if said is None or where in place.unreadable or wanted != replace(said.file, key=key, data=b""):
                written.append((where, wanted))
        return written

    def _undecided(self, place: Place, workflow_id: str) -> bool:
        known = place.known[workflow_id]
        if known.canonical is not None or known.by_hand:
            return False
        return len(place.naming(workflow_id)) > 1 or self.decide(place, workflow_id)[1] in ("ambiguous", "already_mapped")

    # -- between environments ------------------------------------------------------------------------------------------

    def reconcile(self, source: Place, target: Place) -> dict[str, str]:
        """Status by canonical workflow (§8)."""
        remember(target, match(target)[0])
        ours, theirs = _linked(source), _linked(target)
        base = {each.canonical: each.file.content for each in target.alive().values()}
        return {canonical: _status(ours.get(canonical), theirs.get(canonical), base.get(canonical))
                for canonical in sorted({*ours, *theirs})}


def match(place: Place) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Which workflow is which file (§9): by mapping, by the file's n8n id, by a name that nobody else has. Pairs of n8n id
    and path, and what is left of both."""
    there = {i: known for i, known in place.known.items() if known.status != "missing"}
    paths = place.alive()
    pairs: list[tuple[str, str]] = []
    by_canonical = {each.canonical: path for path, each in paths.items()}
    names = Counter(known.flow.name for known in there.values() if not (known.flow.archived or known.missing))
    titles = Counter(each.file.content[0] for each in paths.values())

    def pair(workflow_id: str, path: str | None) -> None:
        if path is not None and workflow_id in there and path in paths:
            pairs.append((workflow_id, path))
            del there[workflow_id], paths[path]

    def gone(known: Known) -> bool:
        return known.flow.archived or known.missing

    for workflow_id, known in sorted(there.items(), key=lambda item: (item[1].ignored, gone(item[1]), item[0])):
        pair(workflow_id, by_canonical.get(known.canonical or ""))
    for workflow_id in [i for i, known in there.items() if known.canonical is None]:
        pair(workflow_id, next((path for path, each in paths.items() if each.file.workflow_id == workflow_id), None))
    for workflow_id in [i for i, known in there.items() if known.canonical is None and not gone(known)]:
        name = there[workflow_id].flow.name
        if names[name] == titles[name] == 1:
            pair(workflow_id, next((path for path, each in paths.items() if each.file.content[0] == name), None))
    return pairs, list(there), list(paths)


def remember(place: Place, pairs: Iterable[tuple[str, str]]) -> None:
    """What was last seen in sync (§8)."""
    for workflow_id, path in pairs:
        known = place.known[workflow_id]
        if known.flow.live == place.standing[path].file.content and not (known.flow.archived or known.missing):
            known.in_sync = known.flow.live


def _kinds(flow: Flow, file: File | None) -> tuple[str, ...]:
    holds = {
        "modified": file is not None and flow.live != file.content,
        "added_in_runtime": file is None,
        "activation": file is not None and file.active is not None and file.active != flow.active,
        "unpublished_changes": flow.active and flow.draft != flow.published,
    }
    return tuple(kind for kind in ORDER if holds.get(kind))


def _linked(place: Place) -> dict[str, Known]:
    return {known.canonical: known for known in place.known.values()
            if known.status == "linked" and known.canonical is not None and not known.flow.archived}


def _status(source: Known | None, target: Known | None, base: Content | None) -> str:
    if source is None or target is None:
        return "target_only" if source is None else "added"
    ours, theirs = source.flow.live, target.flow.live
    if ours == theirs:
        return "unchanged"
    if theirs == base:
        return "modified"
    if ours == base:
        return "modified" if theirs == target.in_sync else "target_hotfix"
    return "conflict"


def _only(found: Iterable[str]) -> str | None:
    names = set(found)
    return names.pop() if len(names) == 1 else None
