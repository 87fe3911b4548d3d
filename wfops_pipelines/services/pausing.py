"""``wfops pause`` and ``wfops resume``: a tenant, or everything, at rest (§20).

While a pause lasts no operation begins (:func:`~wfops_pipelines.services.operations.run_operation` refuses it) and no
sensor or schedule asks for a run. What has begun goes on to its end, and recovery of what was left half-written runs.
Messages are sent and the clocks of incidents go on: what people have to know does not wait.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.pause import EVERYTHING, Pause, Pauses
from wfops_pipelines.domain.shown import iso
from wfops_pipelines.services.diagnose import Finding
from wfops_pipelines.services.services import Services


@dataclass(frozen=True, slots=True)
class PauseChange:
    """What a pause or a resume did, or with ``dry_run`` would do. ``still`` is what keeps a resumed tenant at rest."""

    pause: Pause | None
    scope: str
    changed: bool
    dry_run: bool
    still: Pause | None = None

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"scope": self.scope, "paused": self.pause is not None and not self.pause.over, "changed": self.changed,
                "dry_run": self.dry_run, "pause": pause_json(self.pause), "still_paused_by": pause_json(self.still)}


def pause_json(pause: Pause | None) -> dict[str, Any] | None:
    """A pause as it is shown."""
    return None if pause is None else {
        "scope": pause.tenant or EVERYTHING, "paused_at": iso(pause.paused_at), "paused_by": pause.paused_by,
        "reason": pause.reason, "resumed_at": iso(pause.resumed_at)}


def pauses_now(services: Services) -> Pauses:
    """What is at rest, across tenants."""
    with services.store.system() as system:
        return system.pauses()


def said_of_pauses(services: Services) -> str:
    """For the reason why a sensor asks for nothing: which tenants are paused; empty when none is."""
    pauses = pauses_now(services)
    if pauses.everything is not None and not pauses.everything.over:
        return "; everything is paused"
    resting = sorted(pause.tenant or "" for pause in pauses.tenants.values() if not pause.over)
    more = f" and {len(resting) - 10} more" if len(resting) > 10 else ""
    return f"; paused: {', '.join(resting[:10])}{more}" if resting else ""


def check_pauses(services: Services) -> Finding:
    """For `wfops doctor`: what is paused, on purpose as it is."""
    pauses = pauses_now(services)
    resting = [pause for pause in (pauses.everything, *pauses.tenants.values()) if pause is not None and not pause.over]
    return Finding("paused", True, "; ".join(map(str, resting)) or "nothing is paused")


def refuse_while_paused(context: Context, services: Services) -> None:
    """Raise :class:`Paused` before a run begins that could only be refused."""
    if context.even_paused:
        return
    pause = pauses_now(services).of(context.tenant_id)
    if pause is not None:
        raise pause.refusal()


def pause(services: Services, tenant: str | None, *, actor: str, reason: str | None = None,
          dry_run: bool = False) -> PauseChange:
    """Let nothing begin any more for a tenant, by slug, or with none for anybody. Paused already, it stays as it is."""
    def decide(before: Pause | None) -> Pause | None:
        if before is not None and not before.over:
            return None
        return Pause(tenant, services.now(), actor, reason)

    return _change(services, tenant, actor, "paused", decide, dry_run=dry_run)


def resume(services: Services, tenant: str | None, *, actor: str, dry_run: bool = False) -> PauseChange:
    """End a pause: what became due meanwhile is due now. Nothing changes where nothing is paused."""
    def decide(before: Pause | None) -> Pause | None:
        return None if before is None or before.over else replace(before, resumed_at=services.now())

    return _change(services, tenant, actor, "resumed", decide, dry_run=dry_run)


def _change(services: Services, tenant: str | None, actor: str, what: str, decide: Any, *, dry_run: bool) -> PauseChange:
    if tenant is None:
        before, after = _everything(services, actor, what, decide, dry_run=dry_run)
        return PauseChange(after or before, EVERYTHING, after is not None, dry_run)
    context = services.context(tenant, actor=actor)
    before, after = _tenant(services, context, what, decide, dry_run=dry_run)
    still = pauses_now(services).everything
    return PauseChange(after or before, tenant, after is not None, dry_run,
                       still if still is not None and not still.over else None)


def _tenant(services: Services, context: Context, what: str, decide: Any, *,
            dry_run: bool) -> tuple[Pause | None, Pause | None]:
    with (services.store.read(context) if dry_run else services.store.bookkeeping(context, f"pause.{what}")) as work:
        if not dry_run:
            work.pause.lock()
        before = work.pause.own()
        after = decide(before)
        if after is not None and not dry_run:
            work.pause.save(after)
            work.record(f"tenant.{what}", "tenant", context.tenant_slug, reason=after.reason)
    return before, after


def _everything(services: Services, actor: str, what: str, decide: Any, *,
                dry_run: bool) -> tuple[Pause | None, Pause | None]:
    """In one transaction with an event in every tenant's trail."""
    with services.store.system() as system:
        contexts = [services.context_of(row.tenant_id, row.slug, actor) for row in system.tenants()]
        before = system.pauses().everything
    if dry_run:
        return before, decide(before)
    with services.store.installation_writes() as work:
        before = work.everything()
        after = decide(before)
        if after is not None:
            work.save(after)
            work.record(contexts, f"everything.{what}", reason=after.reason)
    return before, after
