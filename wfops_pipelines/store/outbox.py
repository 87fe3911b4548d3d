"""The outbox (§16): messages are written with the event they tell of, in one transaction, and sent afterwards.

Whoever sends one has claimed it before, with a time until which it is theirs. That time is also what they show when they
say what became of it: once somebody else has claimed it anew, their word counts no more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, TextClause, and_, case, func, or_, select, text, update

from wfops_pipelines.domain.delivery import Backoff
from wfops_pipelines.store.tables.fleet import notification_targets
from wfops_pipelines.store.tables.notices import outbox
from wfops_pipelines.store.upsert import Upsert

_SKEW = timedelta(minutes=10)  # between clocks of hosts
_LONGEST_CLAIM = timedelta(hours=1)
_LANES, _ENTRIES = 1000, 5000  # looked at when one is claimed
_ORDERING = (outbox.c.id, outbox.c.sequence, outbox.c.subject, outbox.c.severity, outbox.c.not_before, outbox.c.attempts,
             outbox.c.claimed_until, outbox.c.digest_of)
_PUT = Upsert(outbox, keys=("tenant_id", "target", "dedupe_key"), columns=(
    "tenant_id", "id", "target", "event", "subject", "severity", "dedupe_key", "message", "not_before", "created_at"))


def by_wrong_clock(now: datetime) -> ColumnElement[bool]:
    """Messages that a clock which was hours ahead wrote, or is to have tried again (§25): those that were not written yet by
    now, and those whose pause, or claim, is longer than any."""
    return or_(outbox.c.created_at > now + _SKEW, outbox.c.claimed_until > now + _LONGEST_CLAIM,
               and_(outbox.c.attempts > 0, outbox.c.not_before > now + Backoff().cap + _SKEW))


class Outbox:
    """A tenant's messages."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def put(self, messages: Sequence[dict[str, Any]]) -> int:
        """Messages; one with the same target and key that is there already stays alone. Returns how many are new."""
        return _PUT(self._connection, [{"tenant_id": self._tenant_id, **values} for values in messages])

    # -- sending -------------------------------------------------------------------------------------------------------

    def forget_wrong_clock(self, now: datetime) -> None:
        """What :func:`by_wrong_clock` finds is due now, and claimed by nobody: what comes after it would wait, too."""
        self._connection.execute(
            update(outbox).where(self._mine, self._pending, by_wrong_clock(now))
            .values(created_at=func.least(outbox.c.created_at, now), not_before=func.least(outbox.c.not_before, now),
                    claimed_until=None))

    def waiting_targets(self, now: datetime) -> dict[str, int]:
        """Targets with messages that may be due, with the attempts that the most tried of those has had."""
        rows = self._connection.execute(
            select(outbox.c.target, func.max(outbox.c.attempts))
            .where(self._mine, self._pending, outbox.c.not_before <= now).group_by(outbox.c.target))
        return {target: int(attempts) for target, attempts in rows}

    def lock_target(self, target: str) -> bool:
        """Be the only one that claims messages of a target, until this transaction ends; false when somebody else is."""
        return self._connection.execute(
            select(notification_targets.c.name)
            .where(notification_targets.c.tenant_id == self._tenant_id, notification_targets.c.name == target)
            .with_for_update(skip_locked=True)).first() is not None

    def queue(self, target: str, now: datetime) -> list[Row[Any]]:
        """What waits for a target, without the texts, in order of writing: every subject of which something is due,
        whole, so that order can be kept."""
        of = outbox.alias("due")
        due = (select(of.c.subject)
               .where(of.c.tenant_id == self._tenant_id, text("due.status = 'pending'"), of.c.target == target,
                      of.c.not_before <= now)
               .group_by(of.c.subject).order_by(func.min(of.c.sequence)).limit(_LANES))
        return list(self._connection.execute(
            select(*_ORDERING).where(self._mine, self._pending, outbox.c.target == target, outbox.c.subject.in_(due))
            .order_by(outbox.c.sequence).limit(_ENTRIES)))

    def claim(self, ids: Sequence[UUID], until: datetime) -> list[Row[Any]]:
        """Take messages, the first of which the others go out with, and read them, in order of writing. It counts as an
        attempt: one that takes its process down does not do so for ever."""
        self._connection.execute(
            update(outbox).where(self._mine, self._pending, outbox.c.id.in_(ids))
            .values(claimed_until=until, digest_of=ids[0], attempts=outbox.c.attempts + 1))
        return list(self._connection.execute(
            select(outbox).where(self._mine, outbox.c.id.in_(ids)).order_by(outbox.c.sequence)))

    def settle(self, ids: Collection[UUID], claimed_until: datetime, **values: Any) -> bool:
        """Say what became of messages that were claimed until a time; false when somebody else has claimed them since."""
        done = self._connection.execute(
            update(outbox).where(self._mine, self._pending, outbox.c.id.in_(ids), outbox.c.claimed_until == claimed_until)
            .values(claimed_until=None, **values))
        return done.rowcount > 0

    def release(self, ids: Collection[UUID], claimed_until: datetime) -> None:
        """Give messages back that were claimed and not sent: as if nobody had claimed them."""
        self._connection.execute(
            update(outbox).where(self._mine, self._pending, outbox.c.id.in_(ids), outbox.c.claimed_until == claimed_until)
            .values(claimed_until=None, attempts=outbox.c.attempts - 1,
                    digest_of=case((outbox.c.attempts > 1, outbox.c.digest_of), else_=None)))

    def split(self, ids: Collection[UUID], claimed_until: datetime, now: datetime) -> None:
        """Let what went out together, and was not taken, go out one by one."""
        self._connection.execute(
            update(outbox).where(self._mine, self._pending, outbox.c.id.in_(ids), outbox.c.claimed_until == claimed_until)
            .values(claimed_until=None, digest_of=outbox.c.id, attempts=0, not_before=now))

    def drop_strangers(self, known: Collection[str], reason: str) -> dict[str, int]:
        """Give up what waits for targets that are none any more; how many messages of which."""
        rows = self._connection.execute(
            update(outbox).where(self._mine, self._pending, outbox.c.target.not_in(known))
            .values(status="dropped", claimed_until=None, last_error=reason).returning(outbox.c.target)).scalars().all()
        return {target: rows.count(target) for target in sorted(set(rows))}

    def rewrite(self, subject: str, event: str, message: dict[str, Any]) -> None:
        """Say more in messages about an event that nobody has begun to send."""
        self._connection.execute(
            update(outbox).where(self._mine, self._pending, outbox.c.subject == subject, outbox.c.event == event,
                                 outbox.c.attempts == 0).values(message=message))

    # -- looking and mending -------------------------------------------------------------------------------------------

    def listed(self, status: str | None = None, *, limit: int = 100) -> list[Row[Any]]:
        """Messages, newest first."""
        query = select(outbox).where(self._mine)
        if status is not None:
            query = query.where(outbox.c.status == status)
        return list(self._connection.execute(query.order_by(outbox.c.sequence.desc()).limit(limit)))

    def dead(self) -> list[Row[Any]]:
        """Every dead message whose target is still one, oldest first."""
        known = select(notification_targets.c.name).where(notification_targets.c.tenant_id == self._tenant_id)
        return list(self._connection.execute(
            select(outbox).where(self._mine, outbox.c.status == "dead", outbox.c.target.in_(known))
            .order_by(outbox.c.sequence)))

    def by_id(self, message_id: UUID) -> Row[Any] | None:
        """One message."""
        return self._connection.execute(select(outbox).where(self._mine, outbox.c.id == message_id)).one_or_none()

    def revive(self, ids: Collection[UUID], now: datetime) -> list[Row[Any]]:
        """Let dead and dropped messages wait again, as if they were new, in their old place; those that did."""
        return list(self._connection.execute(
            update(outbox).where(self._mine, outbox.c.status.in_(("dead", "dropped")), outbox.c.id.in_(ids))
            .values(status="pending", attempts=0, not_before=now, claimed_until=None, digest_of=None, last_error=None)
            .returning(outbox.c.id, outbox.c.target, outbox.c.event, outbox.c.subject)))

    def counts(self) -> dict[str, int]:
        """How many messages have each status."""
        rows = self._connection.execute(
            select(outbox.c.status, func.count()).where(self._mine).group_by(outbox.c.status))
        return {status: int(count) for status, count in rows}

    @property
    def _mine(self) -> ColumnElement[bool]:
        return outbox.c.tenant_id == self._tenant_id

    @property
    def _pending(self) -> TextClause:
        return text("outbox.status = 'pending'")  # as the partial indexes say it, literally
