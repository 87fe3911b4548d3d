"""Export, n8n → Git (§7): an environment's workflows into its folder, as one commit or one pull request.

Only files whose content hash, desired activation or tags changed are written, so that an unchanged environment makes no
commit. What is written is linked: the file carries the canonical id, and the Git state is stored as if it had been read.

A workflow that nothing is like becomes a new canonical one. One that might be a canonical workflow that there is already
is **left out** and reported, unless ``ambiguous_as_new`` says otherwise. In a first baseline there is no such workflow:
two of one content are two new ones, for there is nothing yet that either of them could be.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.diff import as_json, diff
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import Blocked, HeadMoved, UsageError
from wfops_pipelines.domain.layout import file_name, render_file
from wfops_pipelines.domain.mapping import MappingStatus, UnlinkedReason
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.git.repository import Repository
from wfops_pipelines.services.ambiguous_workflows import AmbiguousWorkflow, ambiguous_workflows
from wfops_pipelines.services.export_text import pull_request_text
from wfops_pipelines.services.holder import monotonic_ms
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sync_environment import read_environment
from wfops_pipelines.services.sync_repository import read_repository
from wfops_pipelines.store.unit_of_work import UnitOfWork
from wfops_pipelines.uncancelled import in_thread

_EXPORTED = (MappingStatus.LINKED, MappingStatus.UNTRACKED)
_KNOWN = (*_EXPORTED, MappingStatus.IGNORED)
ATTEMPTS = 5  # a head that moved is read again, and the write retried
AUTHOR, EMAIL = "WorkflowOps", "wfops@localhost"


@dataclass
class Export:
    """What an export wrote, or with ``dry_run`` would write: ``files`` are ``{path, change, name, diff?, fields?,
    problem?}`` with ``change`` one of ``added``, ``modified``, ``removed``. ``fields`` are those of the file outside the
    content that change (``active``, ``tags``, ``id``), each ``{before, after}``; ``problem`` says why the file that is
    replaced could not be read. ``new`` counts the files that begin a canonical workflow. ``ambiguous`` are the workflows
    that might be one that there is (:class:`AmbiguousWorkflow`): left out, or written as new ones with
    ``ambiguous_as_new``."""

    environment: str
    operation_id: str
    commit: str | None = None
    pull_request: str | None = None
    files: list[dict[str, Any]] = field(default_factory=list)
    unchanged: int = 0
    new: int = 0
    ambiguous: list[dict[str, Any]] = field(default_factory=list)
    ambiguous_as_new: bool = False
    dry_run: bool = False
    duration_ms: int = 0

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` and metadata show it."""
        return asdict(self)


async def export_environment(services: Services, context: Context, environment: Row[Any], *, prune: bool = False,
                             dry_run: bool = False, ambiguous_as_new: bool = False) -> Export:
    """Write the environment's workflows into its Git folder.

    Both sides are read first, so that what is compared is what is there. With ``ambiguous_as_new`` also the workflows
    that might be a canonical one are written, each as a new one. Raises :class:`UsageError` without a
    repository, :class:`Blocked` for a folder that n8n's own Source Control writes, and the ``OutsideError`` tree.
    """
    if environment.repository_id is None:
        raise UsageError(f"{context.tenant_slug}/{environment.slug} has no repository",
                         fix="give the tenant or the environment one in fleet.yaml")
    request = {"prune": prune, "dry_run": dry_run, "ambiguous_as_new": ambiguous_as_new}
    async with run_operation(services, context, OperationKind.EXPORT, environment, request=request) as operation:
        started = monotonic_ms()
        async with operation.step("environment") as result:
            inventory = await read_environment(operation)
            result.update(inventory.as_json())
        if prune and inventory.errors:
            raise Blocked(f"{inventory.errors} workflows of {operation.name} could not be read, so their files cannot be "
                          "told from those of deleted ones", fix="mend them in n8n, or export without --prune")
        for attempt in range(1, ATTEMPTS + 1):
            async with operation.step(f"repository-{attempt}") as result:
                result.update((await read_repository(operation)).as_json())
            try:
                async with operation.step(f"write-{attempt}") as result:
                    with operation.stop.uncut():  # what is pushed is recorded
                        export = await in_thread(_write, operation, prune, dry_run, ambiguous_as_new)
                        if export.commit is not None:
                            operation.stop.too_late()
                    result.update({"commit": export.commit, "files": len(export.files), "new": export.new,
                                   "ambiguous": len(export.ambiguous)})
                break
            except HeadMoved:
                if attempt == ATTEMPTS:
                    raise
        if export.commit is not None:
            async with operation.step("read-back") as result:
                result.update((await read_repository(operation)).as_json())
        export.duration_ms = round(monotonic_ms() - started)
        operation.metrics.update({"commit": export.commit, "files": len(export.files), "new": export.new,
                                  "ambiguous": len(export.ambiguous)})
        return export


async def export_selected(operation: RunningOperation, subjects: Collection[str], *, dry_run: bool = False,
                          subject_line: str | None = None, request_branch: str | None = None) -> Export:
    """Write what drifts into Git, inside an operation that has just read both sides: of the workflows named by n8n id or
    path those that n8n holds are written, the files of those that it does not hold are removed. ``subject_line`` is the
    first line of the commit's message, where it is to say more than what changed. ``request_branch`` is the branch of the
    pull request, where it is not to be that of exports."""
    told = _Told(subject_line, request_branch)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            export = await in_thread(_write, operation, False, dry_run, True, frozenset(subjects), told)
            break
        except HeadMoved:
            if attempt == ATTEMPTS:
                raise
            await read_repository(operation)
    if export.commit is not None:
        await read_repository(operation)
    return export


@dataclass(frozen=True, slots=True)
class _Told:
    """What a commit or pull request is called, where not as all exports are."""

    subject_line: str | None = None
    branch: str | None = None


@dataclass(frozen=True, slots=True)
class _Planned:
    path: str
    change: str
    name: str
    data: bytes | None
    mapping: Row[Any] | None = None
    state: Row[Any] | None = None  # what the file says, or said when it could last be read
    problem: str | None = None
    new: bool = False  # it begins a canonical workflow

    def about(self, subjects: frozenset[str]) -> bool:
        """Whether it is one of these, each named by its n8n id or its path."""
        return self.path in subjects or (self.mapping is not None and self.mapping.workflow_id in subjects)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What has to be written for Git to say what n8n holds; the count of files that say it already; and the head."""

    items: list[_Planned]
    unchanged: int
    head: str | None
    ambiguous: list[AmbiguousWorkflow]


def _write(operation: RunningOperation, prune: bool, dry_run: bool, ambiguous_as_new: bool,
           subjects: frozenset[str] | None = None, told: _Told = _Told()) -> Export:
    opened = operation.services.repository_of(operation.context, operation.environment)
    assert opened is not None  # noqa: S101 - checked before the operation began
    repository, branch, folder = opened
    try:
        plan = _plan(operation, folder, prune or subjects is not None, ambiguous_as_new)
        if subjects is not None:
            plan = replace(plan, items=[item for item in plan.items if item.about(subjects)])
        export = Export(operation.environment.slug, str(operation.id), unchanged=plan.unchanged, dry_run=dry_run,
                        new=sum(item.new for item in plan.items), ambiguous_as_new=ambiguous_as_new,
                        ambiguous=[workflow.as_json() for workflow in plan.ambiguous])
        with operation.services.store.read(operation.context) as work:
            export.files = [_shown(work, item) for item in plan.items]
        if plan.items and not dry_run:
            _commit(operation, repository, branch, plan.head, plan.items, export, told)
        return export
    finally:
        repository.close()


def _plan(operation: RunningOperation, folder: str, prune: bool, ambiguous_as_new: bool) -> _Plan:
    environment = operation.environment
    with operation.services.store.read(operation.context) as work:
        head = work.fleet.environment(environment.id).git_commit
        states = work.git_states.of_environment(environment.id)
        if any(state.read_only for state in states):
            raise Blocked(f"the folder {folder or '/'} is written by n8n's own Source Control",
                          fix="give the environment another folder or branch: n8n drops our key when it exports")
        mappings = work.mappings.of_environment(environment.id, statuses=_KNOWN)
        ambiguous = ambiguous_workflows(work, operation.context.tenant_slug, environment, mappings)
        left_out = set() if ambiguous_as_new else {workflow.workflow_id for workflow in ambiguous}
        deleted = work.mappings.deleted_canonicals()
        exported = [m for m in mappings if m.status in _EXPORTED and not m.archived and m.workflow_id not in left_out
                    and m.unlinked_reason != UnlinkedReason.CANONICAL_DELETED]
        paths = _paths(exported, states)
        by_path = {state.path: state for state in states}
        unreadable = {row.path: row.message for row in work.git_states.errors(environment.id)}
        said = {m.workflow_id for m in exported if m.workflow_id in paths and paths[m.workflow_id] not in unreadable
                and _says(by_path[paths[m.workflow_id]], m)}
        stale = [m for m in exported if m.workflow_id not in said]
        taken = set(by_path) | set(unreadable)
        base = posixpath.join(folder, "workflows") if _uses_workflows(folder, taken) else folder
        planned = []
        for mapping in stale:
            item = _planned(operation, work, mapping, by_path.get(paths.get(mapping.workflow_id, "")), base, taken)
            planned.append(replace(item, problem=unreadable.get(item.path)))
            taken.add(item.path)
        if prune:
            spared = [m for m in mappings if m.status == MappingStatus.IGNORED or m.workflow_id in left_out]
            kept = set(paths.values()) | set(_paths(spared, states).values())
            # A file that somebody's ambiguous workflow might be is nobody's only until that is said.
            undecided = {c["canonical_id"] for a in ambiguous if a.workflow_id in left_out for c in a.candidates}
            planned += [_Planned(s.path, "removed", s.name, None, state=s) for s in states
                        if s.path not in kept and str(s.canonical_id) not in undecided and s.canonical_id not in deleted]
    return _Plan(sorted(planned, key=lambda item: item.path), len(exported) - len(stale), head, ambiguous)


def _planned(operation: RunningOperation, work: UnitOfWork, mapping: Row[Any], state: Row[Any] | None, base: str,
             taken: Collection[str]) -> _Planned:
    """One file to write: where it stands, or in ``base`` under a name that is not taken."""
    new = mapping.canonical_id is None and state is None
    canonical_id = mapping.canonical_id or (
        state.canonical_id if state is not None else _new_canonical_id(work, operation, mapping))
    path = state.path if state is not None else posixpath.join(base, file_name(mapping.name, str(canonical_id), taken))
    content = decode_content(work.payloads.load([mapping.live_digest])[mapping.live_digest])
    data = render_file(content, workflow_id=mapping.workflow_id, canonical_id=canonical_id, active=mapping.active,
                       tags=mapping.tags)
    return _Planned(path, "modified" if state is not None else "added", mapping.name, data, mapping, state,
                    new=new)


def _paths(mappings: Iterable[Row[Any]], states: Iterable[Row[Any]]) -> dict[str, str]:
    """Paths by n8n id: the file of the canonical workflow, else the one that names the n8n id, if it is nobody else's."""
    by_canonical = {state.canonical_id: state.path for state in states}
    by_workflow: dict[str, str] = {}
    for state in states:  # by path: of several that name one n8n id, the first
        if state.workflow_id:
            by_workflow.setdefault(state.workflow_id, state.path)
    mappings = list(mappings)
    paths = {m.workflow_id: by_canonical[m.canonical_id] for m in mappings if m.canonical_id in by_canonical}
    claimed = set(paths.values())
    for mapping in mappings:
        path = by_workflow.get(mapping.workflow_id)
        if mapping.canonical_id is None and path is not None and path not in claimed:
            paths[mapping.workflow_id] = path
            claimed.add(path)
    return paths


def _new_canonical_id(work: UnitOfWork, operation: RunningOperation, mapping: Row[Any]) -> UUID:
    """The id of a canonical workflow that begins here: the same each time, so that a pull request that is not merged yet
    stays as it is; another one where a workflow has it already (one that was unlinked from it)."""
    wanted = uuid5(operation.environment.id, mapping.workflow_id)
    return wanted if not work.mappings.canonicals([wanted]) else operation.context.new_id()


def _says(state: Row[Any], mapping: Row[Any]) -> bool:
    """Whether the file says already what n8n holds: content, desired activation, tags, and who it is."""
    return bool(
        state.content_hash == mapping.live_hash and state.wants_active == mapping.active
        and state.tags is not None and sorted(state.tags) == sorted(mapping.tags)
        and state.workflow_id == mapping.workflow_id and state.overruled_canonical_id is None
    )


def _uses_workflows(folder: str, paths: set[str]) -> bool:
    """New files go beside the old ones: into ``workflows/`` where the folder has it, or has nothing yet."""
    prefix = posixpath.join(folder, "workflows") + "/"
    return not paths or any(path.startswith(prefix) for path in paths)


def _shown(work: UnitOfWork, item: _Planned) -> dict[str, Any]:
    shown: dict[str, Any] = {"path": item.path, "change": item.change, "name": item.name}
    state, mapping = item.state, item.mapping
    if state is None or mapping is None:
        return shown
    bodies = work.payloads.load({state.digest, mapping.live_digest})
    shown["diff"] = as_json(diff(*(decode_content(bodies[digest]) for digest in (state.digest, mapping.live_digest))))
    fields = {"active": (state.wants_active, mapping.active), "id": (state.workflow_id, mapping.workflow_id),
              "tags": (sorted(state.tags) if state.tags is not None else None, sorted(mapping.tags))}
    changed = {name: {"before": old, "after": new} for name, (old, new) in fields.items() if old != new}
    return shown | ({"fields": changed} if changed else {}) | ({"problem": item.problem} if item.problem else {})


def _commit(operation: RunningOperation, repository: Repository, branch: str, head: str | None,
            planned: list[_Planned], export: Export, told: _Told) -> None:
    """One commit, then the audit event. Between the two a crash loses nothing: the next sync reads the commit back."""
    context, environment = operation.context, operation.environment
    changes = {item.path: item.data for item in planned}
    message = _message(context, environment, planned, operation.id, told.subject_line)
    now = context.now()
    actual = repository.head(branch)
    if actual != head and not (actual is None and head is None):
        raise HeadMoved(f"branch {branch} moved while the export was planned", target=repository.display_url)
    with operation.services.store.bookkeeping(context, "export.lease", held=operation.held):
        pass  # still ours, right before the outside write
    failpoints.reach("export.before_write")
    if environment.write_mode == "pull_request":
        if head is None:
            raise UsageError(f"branch {branch} does not exist: there is nothing to open a pull request against",
                             fix="create the branch with a first commit")
        request = repository.open_pull_request(
            branch, expected_head=head, branch=told.branch or f"wfops/export-{environment.slug}", changes=changes,
            title=told.subject_line or f"Export of {context.tenant_slug}/{environment.slug}",
            body=pull_request_text(message, export.files), message=message, author=AUTHOR, email=EMAIL, when=now)
        export.pull_request = request.url
    else:
        commit = repository.commit(branch, expected_head=head, changes=changes, message=message, author=AUTHOR,
                                   email=EMAIL, when=now)
        if commit == head:
            return  # the files say so already, byte for byte
        export.commit = commit
    failpoints.reach("export.after_write")
    with operation.services.store.unit_of_work(context, "export.record", held=operation.held) as work:
        work.record("git.exported", "environment", environment.slug, environment=environment.slug, before=head,
                    after=export.commit, pull_request=export.pull_request,
                    files=[{"path": item.path, "change": item.change} for item in planned])


def _message(context: Context, environment: Row[Any], planned: list[_Planned], operation_id: UUID,
             subject_line: str | None) -> str:
    counts = {change: sum(item.change == change for item in planned) for change in ("added", "modified", "removed")}
    summary = ", ".join(f"{n} {change}" for change, n in counts.items() if n)
    names = "\n".join(f"- {item.change}: {visible(item.name) or '(no name)'} ({visible(item.path)})"
                      for item in planned[:50])  # no name begins a line, or a trailer, of its own
    more = f"\n- and {len(planned) - 50} more" if len(planned) > 50 else ""
    return (f"{subject_line or f'{context.tenant_slug}/{environment.slug}: {summary}'}\n\n{names}{more}\n\n"
            f"Wfops-Operation: {operation_id}\nWfops-Actor: {context.actor}\n")
