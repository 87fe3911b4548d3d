"""The audit chain (§19.3): what an event says, its bytes, its hash, and the proof that nothing was changed.

Per tenant, events are numbered 1, 2, 3, … without gaps. Each is encoded once, to bytes that the store keeps as they
are; its hash is a keyed one (HMAC-SHA256) over the hash before it and those bytes. So:

* whoever changes a row, or puts one in, needs the key to make the hash fit; without it the first broken sequence shows;
* whoever removes or reorders rows leaves a number, or a hash before, that does not fit;
* whoever cuts off the end leaves a chain that is whole but short. Only an **anchor** shows that: the count and the last
  hash at some time, kept elsewhere (``status.json``, backups).

Retention removes the oldest events and leaves an anchor too: the chain then starts behind it (§18).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from wfops_pipelines.domain.errors import Broken, UsageError

GENESIS = "0" * 64
"""The hash before a tenant's first event. Chains of tenants differ from the first event on, which names its tenant."""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what to which thing, as part of what.

    ``action`` is a dotted word (``mapping.linked``); ``environment`` a slug; ``at`` an aware time; ``before_hash`` and
    ``after_hash`` content hashes. ``details`` holds plain JSON values (UUIDs, times and enums are written as text), and
    never a secret or a workflow's parameter values.
    """

    tenant_id: UUID
    sequence: int
    id: UUID
    at: datetime
    actor: str
    action: str
    subject_type: str
    subject_id: str
    impersonator: str | None = None
    environment: str | None = None
    operation_id: UUID | None = None
    run_id: str | None = None
    step: str | None = None
    before_hash: str | None = None
    after_hash: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def encode(event: AuditEvent) -> bytes:
    """The event as canonical bytes: ASCII JSON, keys sorted, no spaces, times in UTC with microseconds.

    One event has one encoding: decoding and encoding again gives the same bytes. Two surrogates that make a character
    are that character, as in all JSON. :class:`UsageError` for a time without a zone and for details that are no JSON.
    """
    document = {
        "v": _VERSION,
        "tenant_id": str(event.tenant_id),
        "sequence": event.sequence,
        "id": str(event.id),
        "at": _time(event.at),
        "actor": event.actor,
        "impersonator": event.impersonator,
        "action": event.action,
        "subject_type": event.subject_type,
        "subject_id": event.subject_id,
        "environment": event.environment,
        "operation_id": None if event.operation_id is None else str(event.operation_id),
        "run_id": event.run_id,
        "step": event.step,
        "before_hash": event.before_hash,
        "after_hash": event.after_hash,
        "details": _plain(event.details),
    }
    try:
        text = _dumped(document)
    except ValueError as error:
        raise UsageError(f"audit event {event.action} holds a number that JSON cannot: {error}") from error
    # A key of two surrogates sorts elsewhere than the character it is read as.
    return (_dumped(json.loads(text)) if "\\ud" in text else text).encode("ascii")


def decode(encoded: bytes) -> AuditEvent:
    """The event that :func:`encode` made the bytes from; :class:`Broken` for other bytes."""
    try:
        document = json.loads(encoded)
        operation_id = document["operation_id"]
        return AuditEvent(
            tenant_id=UUID(document["tenant_id"]), sequence=document["sequence"], id=UUID(document["id"]),
            at=datetime.fromisoformat(document["at"]), actor=document["actor"],
            action=document["action"], subject_type=document["subject_type"], subject_id=document["subject_id"],
            impersonator=document["impersonator"], environment=document["environment"],
            operation_id=None if operation_id is None else UUID(operation_id), run_id=document["run_id"],
            step=document["step"], before_hash=document["before_hash"], after_hash=document["after_hash"],
            details=document["details"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Broken("these bytes are no audit event") from error


def chain_hash(key: bytes, previous: str, encoded: bytes) -> str:
    """HMAC-SHA256, in hex, of an encoded event and the hash before it."""
    # `previous` is 64 characters long, so the border between the two parts is never in doubt.
    return hmac.new(key, previous.encode("utf-8", "surrogatepass") + b"\n" + encoded, hashlib.sha256).hexdigest()


def contradictions(encoded: bytes, columns: Mapping[str, Any]) -> list[str]:
    """The names of ``columns`` (copies kept beside the bytes to search by) that do not say what the event says.

    The hash covers the bytes alone, so someone could change a copy: what is shown must be what was proved.
    """
    event = decode(encoded)
    return sorted(name for name, value in columns.items() if getattr(event, name) != value)


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a tenant's chain was at some time: the number of its events ever and the hash of the last."""

    tenant_id: UUID
    events: int
    head: str

    def to_json(self) -> dict[str, Any]:
        """``{"tenant_id": …, "events": …, "head": …}``, as exported to ``status.json`` and backups."""
        return {"tenant_id": str(self.tenant_id), "events": self.events, "head": self.head}

    @classmethod
    def from_json(cls, document: object) -> Anchor:
        """Read an exported anchor; other keys are allowed. :class:`UsageError` says what is wrong with it."""
        if not isinstance(document, Mapping):
            raise UsageError("an anchor is an object with tenant_id, events and head")
        tenant_id, events, head = (document.get(name) for name in ("tenant_id", "events", "head"))
        if not isinstance(events, int) or isinstance(events, bool) or events < 0:
            raise UsageError("an anchor's events must be a whole number, 0 or more")
        if not isinstance(head, str) or len(head) != len(GENESIS) or set(head) - set("0123456789abcdef"):
            raise UsageError("an anchor's head must be 64 hexadecimal digits")
        try:
            return cls(UUID(str(tenant_id)), events, head)
        except ValueError:
            raise UsageError("an anchor's tenant_id must be a UUID") from None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What :func:`verify` found. ``events`` and ``head`` are where the proven part ends (``events`` counts those that
    retention removed too); ``problem`` says what is wrong first, at ``sequence``."""

    ok: bool
    events: int
    head: str
    problem: str | None = None
    sequence: int | None = None


def verify(key: bytes, events: Iterable[tuple[int, str, str, bytes]], anchor: Anchor | None = None, *,
           head: Anchor | None = None, start: Anchor | None = None, tenant_id: UUID | None = None) -> Verdict:
    """Prove a tenant's chain, in one pass and without holding it in memory.

    ``events`` are ``(sequence, previous hash, hash, encoded)`` in the order of their sequence. ``anchor`` is an
    exported one: the chain must contain it. ``head`` is what the store says the end is: the chain must end there.
    ``start`` is what retention left behind: the chain starts after it. With ``tenant_id``, each event must be that
    tenant's. The verdict names the first sequence that is broken; nothing after it is looked at.
    """
    count, last = (0, GENESIS) if start is None else (start.events, start.head)
    anchors: Sequence[Anchor] = [a for a in (anchor, head) if a is not None]
    broken = _contradicts(anchors, count, last)
    for sequence, previous, stored, encoded in events:
        if broken is not None:
            break
        broken = _misfit(key, count, last, (sequence, previous, stored, encoded), tenant_id)
        if broken is None:
            count, last = sequence, stored
            broken = _contradicts(anchors, count, last)
    broken = broken or _cut_off(anchor, head, count)
    if broken is None:
        return Verdict(True, count, last)
    return Verdict(False, count, last, broken[1], broken[0])


_Problem = tuple[int, str]  # the sequence, and what is wrong there


def _misfit(key: bytes, count: int, last: str, row: tuple[int, str, str, bytes],
            tenant_id: UUID | None) -> _Problem | None:
    """What is wrong with the row that should be number ``count + 1`` and follow the hash ``last``."""
    sequence, previous, stored, encoded = row
    if sequence <= count:
        return sequence, f"event {sequence} stands after event {count}: reordered, or there twice"
    if sequence > count + 1:
        gap = f"event {count + 1} is" if sequence == count + 2 else f"events {count + 1} to {sequence - 1} are"
        return count + 1, f"{gap} missing"
    whole = chain_hash(key, previous, encoded) == stored
    if previous != last:
        return sequence, (
            f"event {sequence} follows another event than the one stored before it: changed, removed or inserted there"
            if whole else f"event {sequence} was changed or inserted"
        )
    if not whole:
        return sequence, f"event {sequence} was changed or inserted (or the key is not the one it was written with)"
    return _misplaced(sequence, encoded, tenant_id)


def _misplaced(sequence: int, encoded: bytes, tenant_id: UUID | None) -> _Problem | None:
    try:
        event = decode(encoded)
    except Broken:
        return sequence, f"event {sequence} cannot be read"
    if event.sequence != sequence:
        return sequence, f"event {sequence} was written as event {event.sequence}: renumbered"
    if tenant_id is not None and event.tenant_id != tenant_id:
        return sequence, f"event {sequence} belongs to tenant {event.tenant_id}"
    return None


def _contradicts(anchors: Sequence[Anchor], count: int, last: str) -> _Problem | None:
    for anchor in anchors:
        if anchor.events == count and anchor.head != last:
            return count, f"event {count} is not the one of the anchor: the chain was written anew"
    return None


def _cut_off(anchor: Anchor | None, head: Anchor | None, count: int) -> _Problem | None:
    # An anchor from before `start` proves nothing and contradicts nothing: retention kept what came after it.
    for what, end in (("the anchor", anchor), ("the chain's head", head)):
        if end is not None and end.events > count:
            return count + 1, f"the end is cut off: {what} counts {end.events} events, {count} are there"
    if head is not None and head.events < count:
        return head.events + 1, f"the chain's head counts {head.events} events, {count} are there"
    return None


def _dumped(document: object) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _time(at: datetime) -> str:
    if at.tzinfo is None:
        raise UsageError(f"the time {at.isoformat()} has no zone", fix="use an aware time, such as the context's now()")
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _plain(value: object) -> object:
    """A value as JSON has it: keys are strings, UUIDs, times and enums are text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | UUID):
        return str(value)
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise UsageError("the details of an audit event need strings as keys")
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise UsageError(f"the details of an audit event cannot hold a {type(value).__name__}")
