"""Notifications by hand (§16): a test message to each target, what is in the outbox, dead letters again."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import SecretUnreadable, UnknownNotification, UsageError, WfopsError
from wfops_pipelines.domain.notices import TestNotice
from wfops_pipelines.domain.notification import dedupe_key, render
from wfops_pipelines.domain.shown import iso, one_line
from wfops_pipelines.notify.sender import shown_target
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

STATUSES: Final = ("pending", "sent", "dead", "dropped")


@dataclass(frozen=True, slots=True)
class Tested:
    """A test message to one target; ``error`` is why it did not arrive, none when it did (or in a dry run)."""

    target: str
    address: str
    sent: bool
    error: WfopsError | None = None

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"target": self.target, "address": self.address, "sent": self.sent,
                "error": None if self.error is None else {
                    "kind": self.error.kind, "message": one_line(self.error.message), "fix": self.error.fix}}


def send_test(services: Services, context: Context, target: str | None = None, *, dry_run: bool = False) -> list[Tested]:
    """Send a test message to a target, or to each, now and past the outbox; audited. Raises :class:`UnknownNotification`
    for a target that is none, and when there are none."""
    with services.store.read(context) as work:
        urls = [(row.name, _url(work, row)) for row in _targets(work, target)]
    if dry_run:
        return [Tested(name, _address(url), sent=False) for name, url in urls]
    with ThreadPoolExecutor(services.limits.send_concurrency, thread_name_prefix="wfops-test") as pool:
        done = list(pool.map(lambda item: _send(services, context, *item), urls))
    with services.store.unit_of_work(context, "notify.test") as work:
        for tested in done:
            work.record("notification.tested", "notification_target", tested.target, sent=tested.sent,
                        error=None if tested.error is None else one_line(tested.error.message, 500))
    return done


def list_outbox(services: Services, context: Context, *, status: str | None = None, limit: int = 50) -> dict[str, Any]:
    """The outbox, newest first, and how many messages have each status."""
    if status is not None and status not in STATUSES:
        raise UsageError(f"no message is {status!r}", fix=f"one of {', '.join(STATUSES)}")
    with services.store.read(context) as work:
        rows, counts = work.outbox.listed(status, limit=limit), work.outbox.counts()
    return {"tenant": context.tenant_slug, "counts": {name: counts.get(name, 0) for name in STATUSES},
            "messages": [_shown(row) for row in rows]}


def list_due(services: Services, context: Context, *, limit: int = 1000) -> list[dict[str, Any]]:
    """What a round would look at now, oldest first; what quiet hours, or others of the same subject, hold back included."""
    now = services.now()
    with services.store.read(context) as work:
        rows = work.outbox.listed("pending", limit=limit)
    return [_shown(row) for row in reversed(rows) if row.not_before <= now]


def retry_dead(services: Services, context: Context, message: UUID | None = None, *,
               dry_run: bool = False) -> list[dict[str, Any]]:
    """Let a dead (or dropped) message wait again, or every dead one; they go out with the next round, each in its old
    place, under its old key. Raises :class:`UnknownNotification`, and :class:`UsageError` for one that is not dead."""
    reading = services.store.read(context) if dry_run else services.store.bookkeeping(context, "notify.retry")
    with reading as work:
        rows = work.outbox.dead() if message is None else [_one(work, message)]
        if not dry_run:
            for row in work.outbox.revive([row.id for row in rows], services.now()):
                work.record("notification.retried", "notification", str(row.id), target=row.target, event=row.event,
                            about=row.subject)
    return [_shown(row) for row in reversed(rows)]


def _one(work: UnitOfWork, message: UUID) -> Row[Any]:
    row = work.outbox.by_id(message)
    if row is None:
        raise UnknownNotification(f"tenant {work.context.tenant_slug} has no message {message}",
                                  fix=f"`wfops notify outbox {work.context.tenant_slug} --status dead` lists them")
    if row.status not in ("dead", "dropped"):
        raise UsageError(f"message {message} is {row.status}: only dead and dropped ones are sent again")
    names = {target.name for target in work.fleet.notification_targets()}
    if row.target not in names:
        raise UsageError(f"message {message} was for {row.target!r}, which is no target any more",
                         fix="declare it in fleet.yaml again, and run `wfops apply`")
    return row


def _targets(work: UnitOfWork, name: str | None) -> Sequence[Row[Any]]:
    rows = work.fleet.notification_targets()
    if not rows:
        raise UnknownNotification(f"tenant {work.context.tenant_slug} has no notification targets",
                                  fix="declare them under `notifications` in fleet.yaml, and run `wfops apply`")
    chosen = [row for row in rows if name in (None, row.name)]
    if not chosen:
        raise UnknownNotification(f"tenant {work.context.tenant_slug} has no notification target {name!r}",
                                  fix=f"targets: {', '.join(row.name for row in rows)}")
    return chosen


def _url(work: UnitOfWork, target: Row[Any]) -> str | WfopsError:
    try:
        url = work.fleet.secret(target.url_secret)
    except SecretUnreadable as error:
        return error
    missing = SecretUnreadable(f"notification target {target.name} has no URL",
                               fix="set its url in fleet.yaml and run `wfops apply`")
    return missing if url is None else url


def _address(url: str | WfopsError) -> str:
    return shown_target(url) if isinstance(url, str) else "unknown"


def _send(services: Services, context: Context, target: str, url: str | WfopsError) -> Tested:
    if not isinstance(url, str):
        return Tested(target, _address(url), sent=False, error=url)
    notice = TestNotice(context.tenant_slug, services.now(), target, context.actor)
    message = render(notice, context.base_url)
    try:
        services.sender.send(url, title=message.title, body=message.body, short=message.short,
                             key=dedupe_key(notice, target))
    except WfopsError as error:
        return Tested(target, _address(url), sent=False, error=error)
    return Tested(target, _address(url), sent=True)


def _shown(row: Row[Any]) -> dict[str, Any]:
    message = row.message if isinstance(row.message, dict) else {}
    return {"id": str(row.id), "target": row.target, "event": row.event, "about": row.subject, "severity": row.severity,
            "status": row.status, "attempts": row.attempts, "title": message.get("title"),
            "created_at": row.created_at.isoformat(), "sent_at": iso(row.sent_at),
            "not_before": row.not_before.isoformat() if row.status == "pending" else None, "error": row.last_error,
            "key": row.dedupe_key}
