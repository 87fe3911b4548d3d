"""Sending what waits in the outbox (§16): at least once, in order per subject, each target for itself.

A message is claimed in one short transaction, sent in none, and settled in another. What that means:

* Two senders at once never send one message at a time: whoever claims for a target locks it, a claim holds for
  ``Limits.send_lease``, and a word on a message counts only while the claim is the one that it was sent under.
* A process that dies between sending and settling leaves a claimed message. Once the claim is over it goes out **again,
  with the same key** (``Message-ID`` of a mail, ``Idempotency-Key`` of a webhook): receivers that look at it drop the
  second one, for others it is there twice. To lose it would be worse. A digest goes out again with the same contents.
* A target that failed gets no more of this round: it has its own pauses, and no other target waits for it.
* What will never be taken is *dead*: audited, listed by ``wfops notify outbox``, sent again by ``wfops notify retry``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.delivery import Backoff, Entry, Timing, batches
from wfops_pipelines.domain.errors import Rejected, SecretUnreadable, StoreError, UnknownTenant, Unreachable, WfopsError
from wfops_pipelines.domain.incident import Severity
from wfops_pipelines.domain.notification import Message, digest, digest_key
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.failpoints import reach
from wfops_pipelines.services.notices import timing
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

log = logging.getLogger("wfops.notifications")

ACTOR: Final = "system:outbox"
ROUND: Final = timedelta(seconds=15)  # after so long nothing new is begun: a sensor's tick may take a minute
_AT_ONCE: Final = 10  # batches claimed in one transaction …
_AT_ONCE_FOR: Final = timedelta(seconds=10)  # … and not begun any more after so long
_BACKOFF: Final = Backoff()
_ERROR_LIMIT: Final = 500


@dataclass
class Sent:
    """What a round did: messages by what became of them; a digest counts as many as it holds."""

    sent: int = 0
    retried: int = 0
    dead: int = 0
    dropped: int = 0

    def add(self, other: Sent) -> None:
        """Count in another one."""
        for name, count in asdict(other).items():
            setattr(self, name, getattr(self, name) + count)

    def as_json(self) -> dict[str, int]:
        """As ``--json`` shows it."""
        return asdict(self)

    def words(self) -> str:
        """``2 sent, 1 to be tried again``; nothing when nothing happened."""
        named = (("sent", self.sent), ("to be tried again", self.retried), ("given up", self.dead),
                 ("dropped", self.dropped))
        return ", ".join(f"{count} {name}" for name, count in named if count)


def send_waiting(services: Services, *, actor: str = ACTOR, budget: timedelta = ROUND, tenant: str | None = None) -> Sent:
    """One round: everything that is due, of every tenant or of one, as far as ``budget`` goes. Targets are sent to side by
    side, those that worked last time first. An error of one target or tenant is logged and keeps nobody else back."""
    now = services.now()
    with services.store.system() as system:
        tenants = [slug for slug in system.tenants_with_mail(now) if tenant in (None, slug)]
    total, work = Sent(), []
    for slug in tenants:
        try:
            context = services.context(slug, actor=actor)
            dropped, waiting = _look(services, context)
        except UnknownTenant:  # deleted meanwhile
            continue
        except StoreError:
            log.exception("the outbox of a tenant cannot be read", extra={"tenant": slug})
            continue
        total.dropped += dropped
        work += [(attempts, context, target) for target, attempts in waiting.items()]
    work.sort(key=lambda item: (item[0], item[1].tenant_slug, item[2]))
    until = now + budget
    with ThreadPoolExecutor(services.limits.send_concurrency, thread_name_prefix="wfops-outbox") as pool:
        for done in pool.map(lambda item: _guarded(services, item[1], item[2], until), work):
            total.add(done)
    return total


def _look(services: Services, context: Context) -> tuple[int, dict[str, int]]:
    """Drop what waits for targets that fleet.yaml names no more; how many, and which targets something waits for."""
    with services.store.bookkeeping(context, "outbox.look") as work:
        known = {row.name for row in work.fleet.notification_targets()}
        work.outbox.forget_wrong_clock(context.now())
        waiting = work.outbox.waiting_targets(context.now())
        dropped: dict[str, int] = {}
        if waiting.keys() - known:
            dropped = work.outbox.drop_strangers(known, "the target is in fleet.yaml no more")
            for target, messages in dropped.items():
                work.record("notification.dropped", "notification_target", target, messages=messages)
    return sum(dropped.values()), {target: tried for target, tried in waiting.items() if target in known}


def _guarded(services: Services, context: Context, target: str, until: datetime) -> Sent:
    done = Sent()
    try:
        _Target(services, context, target, done).send_all(until)
    except WfopsError as error:  # the store's; a receiver's are settled with the message
        log.log(logging.ERROR if isinstance(error, StoreError) else logging.INFO, "sending to a target stopped: %s", error,
                extra={"tenant": context.tenant_slug, "target": target})
    except Exception:
        log.exception("sending to a target stopped", extra={"tenant": context.tenant_slug, "target": target})
    return done


@dataclass(frozen=True, slots=True)
class _Batch:
    """Messages that go out as one; ``claimed_until`` is our claim on them, and until ``begin_until`` enough of it is left
    to send them."""

    rows: Sequence[Row[Any]]
    claimed_until: datetime
    begin_until: datetime
    url: str | None
    url_error: str

    @property
    def ids(self) -> list[UUID]:
        return [row.id for row in self.rows]

    @property
    def attempts(self) -> int:
        return max(int(row.attempts) for row in self.rows)


class _Target:
    """One target of one tenant, while it is sent to."""

    def __init__(self, services: Services, context: Context, name: str, done: Sent) -> None:
        self._services, self._context, self._name, self._done = services, context, name, done

    def send_all(self, until: datetime) -> None:
        """One batch after the other, until nothing is due, the time is over, or one did not go through."""
        while self._services.now() < until:
            claimed = self._claim()
            if not claimed:
                return
            for index, batch in enumerate(claimed):
                if self._services.now() > batch.begin_until:  # those before took too long
                    self._release(claimed[index:])
                    break
                if not self._send(batch):
                    self._release(claimed[index + 1:])
                    return

    def _claim(self) -> list[_Batch]:
        """Some of what may go out now: no two about one subject, so that each can fail by itself."""
        with self._services.store.bookkeeping(self._context, "outbox.claim") as work:
            if not work.outbox.lock_target(self._name):
                return []
            target = next(row for row in work.fleet.notification_targets() if row.name == self._name)
            now = self._services.now()
            entries = _entries(work.outbox.queue(self._name, now), self._name, timing(target), now)
            due = batches(entries, now, digest_from=timing(target).digest_from())[:_AT_ONCE]
            begin = now + _AT_ONCE_FOR
            until = begin + timedelta(seconds=self._services.limits.send_lease)
            url, error = self._url(work, target)
            return [_Batch(work.outbox.claim([entry.id for entry in batch], until), until, begin, url, error)
                    for batch in due]

    def _url(self, work: UnitOfWork, target: Row[Any]) -> tuple[str | None, str]:
        try:
            return work.fleet.secret(target.url_secret), f"notification target {self._name} has no URL"
        except SecretUnreadable as unreadable:
            return None, one_line(unreadable.message, _ERROR_LIMIT)

    def _release(self, rest: Sequence[_Batch]) -> None:
        if rest:
            with self._services.store.bookkeeping(self._context, "outbox.release") as work:
                for batch in rest:
                    work.outbox.release(batch.ids, batch.claimed_until)

    def _send(self, batch: _Batch) -> bool:
        """Whether the target took it, or can be asked to take others."""
        if batch.attempts > _BACKOFF.max_attempts:
            return self._give_up(batch, "each attempt ended with its process")
        error = self._deliver(batch)
        if isinstance(error, Rejected):
            return self._not_taken(batch, error.message)
        if error is not None:
            return self._try_again(batch, error.message) if error.transient else self._give_up(batch, error.message)
        reach("outbox.sent")
        with self._services.store.bookkeeping(self._context, "outbox.settle") as work:
            if work.outbox.settle(batch.ids, batch.claimed_until, status="sent", sent_at=self._services.now(),
                                  last_error=None):
                self._done.sent += len(batch.rows)
        return True

    def _deliver(self, batch: _Batch) -> WfopsError | None:
        """Send it; the error, when it did not arrive."""
        if batch.url is None:
            return Unreachable(batch.url_error, target=self._name)
        try:
            message = digest([Message.from_json(row.message) for row in batch.rows], self._context.base_url)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return Rejected(f"the message cannot be read ({type(error).__name__})", target=self._name)
        try:
            self._services.sender.send(batch.url, title=message.title, body=message.body, short=message.short,
                                       key=digest_key([row.dedupe_key for row in batch.rows]), picture=message.picture)
        except WfopsError as error:
            return error
        except Exception as error:  # its text may hold the URL
            log.error("sending failed with %s", type(error).__name__, extra={"tenant": self._context.tenant_slug})  # noqa: TRY400
            return Unreachable(f"sending failed with {type(error).__name__}", target=self._name)
        return None

    def _try_again(self, batch: _Batch, error: str) -> bool:
        now = self._services.now()
        at = _BACKOFF.retry_at(batch.attempts, now, transient=True, jitter=_jitter(self._services.new_id()))
        if at is None:
            return self._give_up(batch, error)
        with self._services.store.bookkeeping(self._context, "outbox.settle") as work:
            if work.outbox.settle(batch.ids, batch.claimed_until, not_before=at, last_error=one_line(error, _ERROR_LIMIT)):
                self._done.retried += len(batch.rows)
        return False

    def _not_taken(self, batch: _Batch, error: str) -> bool:
        """It is refused for what it says: of several, each is tried by itself, so that one does not spoil the others."""
        if len(batch.rows) == 1:
            return self._give_up(batch, error)
        with self._services.store.bookkeeping(self._context, "outbox.settle") as work:
            work.outbox.split(batch.ids, batch.claimed_until, self._services.now())
        return True

    def _give_up(self, batch: _Batch, error: str) -> bool:
        shown = one_line(error, _ERROR_LIMIT)
        with self._services.store.bookkeeping(self._context, "outbox.give_up") as work:
            if work.outbox.settle(batch.ids, batch.claimed_until, status="dead", last_error=shown):
                _record_dead(work, batch, shown)
                self._done.dead += len(batch.rows)
        return True


def _record_dead(work: UnitOfWork, batch: _Batch, error: str) -> None:
    for row in batch.rows:
        work.record("notification.dead", "notification", str(row.id), target=row.target, event=row.event,
                    about=row.subject, attempts=row.attempts, error=error)


def _entries(rows: Sequence[Row[Any]], target: str, wanted: Timing, now: datetime) -> list[Entry]:
    """Rows as the rules know them. Quiet hours are those of now: they may have come while a message waited, or with a
    change of fleet.yaml."""
    entries = [Entry(row.id, row.sequence, target, row.subject, row.not_before, attempts=row.attempts,
                     claimed_until=row.claimed_until, urgent=wanted.urgent(Severity(row.severity)), together=row.digest_of)
               for row in rows]
    pressing = {entry.together for entry in entries if entry.urgent and entry.together is not None}
    quiet = wanted.quiet.until(now) if wanted.quiet is not None else None
    return [entry if quiet is None or entry.urgent or entry.together in pressing or entry.not_before > quiet
            else replace(entry, not_before=quiet) for entry in entries]


def _jitter(drawn: UUID) -> float:
    """A number from 0 to 1, from an id that is random."""
    return (drawn.int & 0xFFFF) / 0xFFFF
