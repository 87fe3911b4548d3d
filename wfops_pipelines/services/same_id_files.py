"""Files of one folder that name one n8n workflow, other than by a copied key (§5.6): which it is, they do not tell.

Each is known by its path. The n8n id says nothing for any of them until one names another, or somebody says which one
counts; until then there is a row among the file errors for all but the first: the file of what the workflow is linked to,
else the first by path.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.store.unit_of_work import UnitOfWork

SAME_ID: Final = "duplicate_workflow_id"


def note_same_ids(work: UnitOfWork, context: Context, environment: Row[Any]) -> list[Row[Any]]:
    """Bring the rows in step with the files as they stand. A row that says the same stays as it is; a file that has
    another problem keeps that one. Returns all file errors as they are then."""
    errors = work.git_states.errors(environment.id)
    stored = {row.path: row for row in errors}
    mine = {path for path, row in stored.items() if row.reason == SAME_ID}
    found = _found(work, context, environment)
    fresh = [row for path, row in found.items() if path not in stored or (
        path in mine and (stored[path].blob, stored[path].message) != (row["blob"], row["message"]))]
    if not fresh and mine <= set(found):
        return errors
    work.git_states.clear_errors(environment.id, mine - set(found))
    work.git_states.save_errors(environment.id, fresh)
    for row in fresh:
        work.record("git.file_unreadable", "file", row["path"], environment=environment.slug, reason=SAME_ID,
                    message=row["message"])
    return work.git_states.errors(environment.id)


def _found(work: UnitOfWork, context: Context, environment: Row[Any]) -> dict[str, dict[str, Any]]:
    naming: dict[str, list[Row[Any]]] = {}
    for state in work.git_states.naming_alike(environment.id):
        naming.setdefault(state.workflow_id, []).append(state)
    linked = work.mappings.canonical_ids_of(environment.id, list(naming))
    found = {}
    for workflow_id, states in naming.items():
        first = next((s for s in states if str(s.canonical_id) == linked.get(workflow_id)), states[0])
        for state in states:
            if state is not first:
                message = (f"{state.path} and {first.path} both name the n8n workflow {workflow_id}; each is known by its "
                           f"path (give the copy an id of its own, or say which counts: wfops resolve "
                           f"{context.tenant_slug} {environment.slug} {workflow_id} --keep git --file {first.path})")
                found[state.path] = {"path": state.path, "blob": state.blob, "reason": SAME_ID, "message": message,
                                     "since": context.now()}
    return found
