"""Why an incident's workflows drift, how far that reaches, and where else the same was done (§10).

After a check that opened an incident, or found it changed, :func:`explain` gathers what tells and writes cause, reach and
the fingerprint of the change, in one unit of work. It never fails the check: what could not be asked is recorded with
the reason, and asked again by the next check where that may help.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.canonical_json import encode
from wfops_pipelines.domain.cause import CauseKind, cause_of
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.diff import diff, from_json
from wfops_pipelines.domain.diff_picture import diff_picture
from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.domain.errors import LeaseLost, WfopsError
from wfops_pipelines.domain.reach import EnvironmentWorkflow, Reach, reach
from wfops_pipelines.domain.same_change import fingerprint
from wfops_pipelines.domain.shown import moment, one_line
from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.services.drift_pictures import MAX_PICTURES, WIDTH, DriftPicture
from wfops_pipelines.services.incident_facts import StoredSides, Subject, Told, Unread, ask_outside
from wfops_pipelines.services.notices import incident_explained
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

log = logging.getLogger("wfops.incidents")

MAX_ASKED: Final = 50  # workflows that one check asks n8n and Git about
MAX_EXPLAINED: Final = 200  # workflows whose cause an incident carries
_MAX_LISTED: Final = 100  # of each list that tells how far it reaches
_MAX_USERS: Final = 20  # workflows named per credential
_CONTENTS: Final = 50  # contents held at a time
_MAX_SENT: Final = 100_000  # characters of a picture that goes with a message
_MAX_WHO: Final = 3  # who did what, in the summary

JsonObject = dict[str, Any]


async def explain(operation: RunningOperation, incident_id: UUID, *, changed: bool) -> None:
    """Explain an open incident of the operation's environment where that is new: it has no explanation yet, it
    ``changed``, or something could not be asked for a moment. Holds no transaction while it asks; raises
    :class:`LeaseLost` alone."""
    try:
        if changed or await asyncio.to_thread(_wants_explanation, operation, incident_id):
            async with operation.step("explanation") as result:
                result.update(await _explain(operation, incident_id))
    except LeaseLost:
        raise
    except WfopsError as error:
        log.info("incident of %s could not be explained: %s", operation.name, error, extra={"error": error.kind})
    except failpoints.FailpointReached:
        raise
    except Exception:  # whatever stands in the way of explaining, the check itself is done
        log.exception("incident of %s could not be explained", operation.name, extra={"error": "unexpected"})


def _wants_explanation(operation: RunningOperation, incident_id: UUID) -> bool:
    with operation.services.store.read(operation.context) as work:
        return work.incidents.wants_explanation(incident_id)


async def _explain(operation: RunningOperation, incident_id: UUID) -> JsonObject:
    known, environment, fresh, kept, left = await asyncio.to_thread(_prepare, operation, incident_id)
    told, unread = await ask_outside(operation, environment, fresh)
    causes = [_entry(subject, told[subject.row.subject]) for subject in fresh]
    cause = _cause_json([*causes, *kept], unread, left)
    return await asyncio.to_thread(_write, operation, incident_id, {**known, "cause": cause})


def _prepare(operation: RunningOperation, incident_id: UUID,
             ) -> tuple[JsonObject, Row[Any], list[Subject], list[JsonObject], int]:
    """What the store tells: reach and fingerprint; whose cause is to be found, which are known, and how many are left
    out."""
    with operation.services.store.read(operation.context) as work:
        environment = work.fleet.environment(operation.environment.id)
        sides = StoredSides(work, environment)
        incident = work.incidents.by_id(incident_id)
        before = (incident.cause if incident is not None else None) or {}
        done = {} if before.get("again") else {entry["of"]: entry for entry in before.get("workflows", ())}
        known = [done[_identity(row)] for row in sides.rows if _identity(row) in done]
        rows = [row for row in sides.rows if _identity(row) not in done]
        asked = rows[:max(0, min(MAX_ASKED, MAX_EXPLAINED - len(known)))]
        found = {"reach": _reach_json(_reach(work, sides)), "change_group": _change_group(sides)}
        return found, environment, [sides.subject(row) for row in asked], known, len(rows) - len(asked)


def _identity(row: Row[Any]) -> str:
    """Equal as long as a workflow drifts in the same way between the same contents: then its cause is known."""
    return hashlib.sha256(encode([row.subject, list(row.kinds), row.runtime_hash, row.git_hash,
                                  row.since.isoformat()])).hexdigest()[:16]


# -- cause ---------------------------------------------------------------------------------------------------------------


def _entry(subject: Subject, told: Told) -> JsonObject:
    """One workflow's cause, as it is stored: ``kind`` is the cause's, ``drift`` the drift's."""
    cause = cause_of(told.facts)
    cause = replace(cause, evidence=(*cause.evidence, *told.unread))
    return {"workflow_id": subject.workflow_id, "name": one_line(subject.row.name, 200), "path": subject.path,
            "drift": str(subject.row.kind), **cause.as_json(), "words": cause.words(), "of": _identity(subject.row)}


def _cause_json(entries: Sequence[JsonObject], unread: Sequence[Unread], left: int) -> JsonObject:
    entries = sorted(entries, key=lambda entry: (entry["name"], entry["workflow_id"] or "", entry["path"] or ""))
    return {"summary": cause_summary(entries, left), "workflows": entries, "not_explained": left,
            "unread": [{"source": one.source, "reason": one.reason} for one in unread],
            "again": any(one.again for one in unread)}


def cause_summary(entries: Sequence[Mapping[str, Any]], left: int = 0) -> str:
    """One line: the words of one cause, or who did what to how many, and when."""
    if len(entries) == 1 and not left:
        return str(entries[0]["words"])
    did: Counter[str] = Counter()
    for entry in entries:
        kind = CauseKind(entry["kind"])
        by = f" by {entry['who']}" if entry["who"] else ""
        did["for no known cause" if kind is CauseKind.UNKNOWN else f"{kind.words}{by}"] += 1
    most = sorted(did.items(), key=lambda item: (-item[1], item[0]))[:_MAX_WHO]
    parts = [f"{number}{_workflows(number, place)} {what}" for place, (what, number) in enumerate(most)]
    rest = sum(did.values()) + left - sum(number for _, number in most)
    if rest:
        parts.append(f"{rest} more")
    if entries:
        parts[-1] += f"; {_when(entries)}"
    return one_line(", ".join(parts), 300)


def _when(entries: Sequence[Mapping[str, Any]]) -> str:
    begun = [datetime.fromisoformat(entry["earliest"]) for entry in entries if entry["earliest"]]
    end = moment(max(datetime.fromisoformat(entry["latest"]) for entry in entries))
    if len(begun) < len(entries):
        return f"before {end}"
    return f"at {end}" if moment(min(begun)) == end else f"between {moment(min(begun))} and {end}"


def _workflows(number: int, place: int) -> str:
    return "" if place else " workflow" if number == 1 else " workflows"


# -- reach ---------------------------------------------------------------------------------------------------------------


def _reach(work: UnitOfWork, sides: StoredSides) -> Reach:
    """Over what runs in the environment, and of what was deleted or archived the affected ones as they were."""
    affected = {workflow_id for row in sides.rows if (workflow_id := sides.workflow_id_of(row)) is not None}
    running = [row for row in sides.mappings
               if row.workflow_id in affected or (row.missing_at is None and row.deleted_at is None and not row.archived)]
    return reach(_contents(work, running), affected)


def _contents(work: UnitOfWork, mappings: Sequence[Row[Any]]) -> Iterator[EnvironmentWorkflow]:
    """A few at a time: an environment may hold more than fits into memory."""
    for start in range(0, len(mappings), _CONTENTS):
        some = mappings[start:start + _CONTENTS]
        bodies = work.payloads.load({row.live_digest for row in some})
        for row in some:
            if row.live_digest in bodies:
                runs = row.active and row.missing_at is None and not row.archived
                yield EnvironmentWorkflow(row.workflow_id, row.name, runs, decode_content(bodies[row.live_digest]))


def _reach_json(found: Reach) -> JsonObject:
    """As it is stored: each list bounded, ``counts`` says how long it was."""
    lists = ("affected", "callers", "handles_errors_of", "entry_points", "schedules", "triggers", "credentials", "unknown")
    counts = {name: len(getattr(found, name)) for name in lists}
    credentials = tuple(replace(use, used_by=use.used_by[:_MAX_USERS], others=use.others[:_MAX_USERS])
                        for use in found.credentials[:_MAX_LISTED])
    bounded = replace(found, **{name: getattr(found, name)[:_MAX_LISTED] for name in lists} | {"credentials": credentials})
    return {"summary": reach_summary(found), "elsewhere": found.affected_elsewhere(), "counts": counts,
            **bounded.as_json()}


def reach_summary(found: Reach) -> str:
    """One line, for notices and lists."""
    shared = {ref.workflow_id for use in found.credentials for ref in use.others}
    counted = (
        ("called by {}", len(found.callers), "workflow"), ("handles errors of {}", len(found.handles_errors_of), "workflow"),
        ("answers {}", len(found.entry_points), "path"), ("runs on {}", len(found.schedules), "schedule"),
        ("started by {}", len(found.triggers), "other trigger"), ("shares credentials with {}", len(shared), "workflow"),
        ("{} that only a run can tell", len(found.unknown), "reference"),
    )
    said = [words.format(f"{number} {noun}{'' if number == 1 else 's'}") for words, number, noun in counted if number]
    return ", ".join(said) or "nothing else is known to depend on it"


# -- the same change elsewhere -------------------------------------------------------------------------------------------


def _change_group(sides: StoredSides) -> str | None:
    """What was done, whatever the environment and the tenant: equal for incidents about the same change. None where a
    workflow says too little to tell."""
    printed = [_printed(row, sides.mapping_of(row), sides.environment) for row in sides.rows]
    if not printed or None in printed:
        return None
    return hashlib.sha256(encode(sorted(printed, key=encode))).hexdigest()


def _printed(row: Row[Any], mapping: Row[Any] | None, environment: Row[Any]) -> list[Any] | None:
    if row.diff is not None and (change := fingerprint(from_json(row.diff))) is not None:
        return ["diff", str(row.kind), change]
    if row.kind == DriftKind.MISSING_IN_RUNTIME or mapping is None:  # deleted: only the tenant's own tell it is the same
        return None if row.canonical_id is None else ["gone", str(row.kind), str(environment.tenant_id),
                                                      str(row.canonical_id)]
    return ["content", str(row.kind), mapping.portable_hash, row.active if row.kind == DriftKind.ACTIVATION else None]


def similar(services: Services, context: Context, incident: Row[Any], *, any_tenant: bool = False) -> list[JsonObject]:
    """Other open incidents about the same change: ``{"tenant", "environment", "number", "id"}`` each, in that order.

    Those of other tenants only with ``any_tenant``: the caller has checked that a platform admin asks (§2)."""
    if incident.change_group is None:
        return []
    with services.store.system() as system:
        rows = system.same_change(incident.change_group)
    return [{"tenant": row.tenant_slug, "environment": row.environment, "number": row.number, "id": str(row.id)}
            for row in rows if row.id != incident.id and (any_tenant or row.tenant_slug == context.tenant_slug)]


# -- writing -------------------------------------------------------------------------------------------------------------


def _write(operation: RunningOperation, incident_id: UUID, values: JsonObject) -> JsonObject:
    """Cause, reach and fingerprint, unless they are what is stored already, or the incident ended meanwhile."""
    causes = Counter(entry["kind"] for entry in values["cause"]["workflows"])
    told = {"causes": dict(sorted(causes.items())), "unread": [one["source"] for one in values["cause"]["unread"]],
            "not_explained": values["cause"]["not_explained"], "elsewhere": values["reach"]["elsewhere"],
            "change_group": values["change_group"]}
    with operation.services.store.bookkeeping(operation.context, "incident.explain", held=operation.held) as work:
        incident = work.incidents.by_id(incident_id, lock=True)
        if incident is None or incident.closed_at is not None:
            return {"written": False, "reason": "the incident ended"}
        if all(getattr(incident, name) == value for name, value in values.items()):
            return {"written": False, **told}
        work.incidents.change(incident_id, forced=incident.forced, **values)
        incident_explained(work, operation.environment, incident_id, _sent_along(work, incident))
        work.record("incident.explained", "incident", str(incident.number), environment=operation.environment.slug,
                    **told)  # not who: the trail keeps for ever what an incident forgets
    return {"written": True, **told}


# -- pictures ------------------------------------------------------------------------------------------------------------


def incident_pictures(services: Services, context: Context, incident: Row[Any],
                      limit: int = MAX_PICTURES) -> list[DriftPicture]:
    """Pictures of the first ``limit`` differences of an incident, as they were when it was opened: of changed workflows
    first, then of those that came or went. None of an incident whose payload was purged."""
    workflows = (incident.drift_snapshot or {}).get("workflows", [])
    changed = [row for row in workflows if row["diff"] and row["diff"]["changes"]]
    whole = [row for row in workflows if row["kind"] in (DriftKind.ADDED_IN_RUNTIME, DriftKind.MISSING_IN_RUNTIME)]
    pictures: list[DriftPicture] = []
    with services.store.read(context) as work:
        for row in [*changed, *whole]:
            if len(pictures) >= limit:
                break
            picture = _picture(work, row)
            if picture is not None:
                pictures.append(picture)
    return pictures


def _sent_along(work: UnitOfWork, incident: Row[Any]) -> str | None:
    """The picture that goes with the message: of the first workflow that changed, if it is not too large to be sent."""
    rows = (row for row in (incident.drift_snapshot or {}).get("workflows", []) if row["diff"] and row["diff"]["changes"])
    row = next(rows, None)
    picture = _picture(work, row) if row is not None else None
    return picture.svg if picture is not None and len(picture.svg) <= _MAX_SENT else None


def _picture(work: UnitOfWork, row: Mapping[str, Any]) -> DriftPicture | None:
    git, n8n = row["git_digest"], row["runtime_digest"]
    if row["kind"] == DriftKind.MISSING_IN_RUNTIME:
        n8n = None  # what an archived one holds does not run
    bodies = work.payloads.load([digest for digest in (git, n8n) if digest is not None])
    if not bodies or any(digest is not None and digest not in bodies for digest in (git, n8n)):
        return None
    before, after = (decode_content(bodies[digest]) if digest is not None else None for digest in (git, n8n))
    change = from_json(row["diff"]) if row["diff"] else diff(before, after)
    labels = (f"Git: {row['path']}" if git else "not in Git", "n8n" if n8n else "not in n8n")
    return DriftPicture(row["name"], diff_picture(before, after, change, labels=labels, max_width=WIDTH))
