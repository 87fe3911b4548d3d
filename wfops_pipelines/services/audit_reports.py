"""The audit trail across tenants: listed, proved, anchored (§19.3). Deleted tenants are among them: their events stay."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.audit import Anchor, AuditEvent, decode
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UnknownTenant, UsageError
from wfops_pipelines.services.audit_trail import verify_tenant
from wfops_pipelines.services.services import Services


def list_events(services: Services, context: Context, *, action: str | None = None, operation_id: UUID | None = None,
                before: int | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """A tenant's events, the newest first; ``before`` is the cursor (a sequence)."""
    with services.store.read(context) as work:
        encoded = work.audit.events(action=action, operation_id=operation_id, before=before, limit=limit)
    return [event_json(decode(event)) for event in encoded]


def event_json(event: AuditEvent) -> dict[str, Any]:
    """An event as it is shown."""
    return {
        "sequence": event.sequence, "at": event.at.isoformat(), "actor": event.actor, "impersonator": event.impersonator,
        "action": event.action, "subject_type": event.subject_type, "subject_id": event.subject_id,
        "environment": event.environment, "operation_id": str(event.operation_id) if event.operation_id else None,
        "run_id": event.run_id, "step": event.step, "before_hash": event.before_hash, "after_hash": event.after_hash,
        "details": dict(event.details),
    }


def verify_chains(services: Services, slugs: Collection[str], anchors: Sequence[Anchor], *, actor: str) -> dict[str, Any]:
    """Prove the chains of the tenants named, or of all: ``{ok, tenants: [{tenant, events, head, ok, problem, sequence}]}``.

    With anchors each chain must contain its own; when all are proved, an anchor whose tenant is gone is a broken promise
    too.
    """
    by_tenant = {anchor.tenant_id: anchor for anchor in anchors}
    tenants = _tenants(services, slugs)
    rows = []
    for tenant in tenants:
        context = services.context_of(tenant.tenant_id, tenant.slug, actor)
        verdict = verify_tenant(services, context, by_tenant.get(tenant.tenant_id))
        rows.append({"tenant": tenant.slug, "tenant_id": str(tenant.tenant_id), "deleted": tenant.deleted_at is not None,
                     "events": verdict.events, "head": verdict.head, "ok": verdict.ok,
                     "anchored": tenant.tenant_id in by_tenant, "problem": verdict.problem, "sequence": verdict.sequence})
    if not slugs:
        for gone in sorted(set(by_tenant) - {tenant.tenant_id for tenant in tenants}, key=str):
            rows.append({"tenant": None, "tenant_id": str(gone), "deleted": True, "events": 0, "head": None, "ok": False,
                         "anchored": True, "problem": f"tenant {gone} of the anchor is gone, with its chain", "sequence": 1})
    return {"ok": all(row["ok"] for row in rows), "tenants": rows}


def export_anchors(services: Services, slugs: Collection[str], *, actor: str) -> dict[str, Any]:
    """How far each chain goes now: to be kept where nobody who can write the database can write."""
    anchors = []
    for tenant in _tenants(services, slugs):
        with services.store.read(services.context_of(tenant.tenant_id, tenant.slug, actor)) as work:
            events, head = work.audit.head()
        anchors.append({"tenant": tenant.slug, **Anchor(tenant.tenant_id, events, head).to_json()})
    return {"version": 1, "at": services.now().isoformat(), "anchors": anchors}


def read_anchors(text: str) -> list[Anchor]:
    """The anchors of an exported document, of a list of them, or a single one. :class:`UsageError` for anything else."""
    try:
        document = json.loads(text)
    except ValueError:
        raise UsageError("the anchor file is no JSON", fix="`wfops audit anchor -o FILE` writes one") from None
    if isinstance(document, Mapping) and "anchors" in document:
        document = document["anchors"]
    return [Anchor.from_json(entry) for entry in (document if isinstance(document, list) else [document])]


def _tenants(services: Services, slugs: Collection[str]) -> list[Row[Any]]:
    with services.store.system() as system:
        rows = system.tenants(deleted=True)
    unknown = sorted(set(slugs) - {row.slug for row in rows})
    if unknown:
        raise UnknownTenant(f"there is no tenant {unknown[0]!r}", fix="`wfops tenants` lists them")
    return [row for row in rows if not slugs or row.slug in slugs]
