"""Batches of deployments (§12): one template to many tenants, in waves, which stop on failure.

A member of a batch is one deployment, named by a key (the tenant's slug, or tenant and environment). A wave begins when
all of the wave before it ended well. After a failure no further wave begins; what runs is let to its end, and what has
not begun is to be cancelled. All of this follows from the members' statuses alone, so that a batch resumes after
anything by asking again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from wfops_pipelines.domain.deployment import DeploymentStatus
from wfops_pipelines.domain.errors import UsageError

Waves = tuple[tuple[str, ...], ...]


def plan_waves(members: Sequence[str], *, first: int = 1, then: int | None = None) -> Waves:
    """``members`` in their order: a first wave of ``first`` (the canary), then waves of ``then``, or all the rest at once.

    :class:`UsageError` for a member given twice and for waves of nobody.
    """
    if first < 1 or (then is not None and then < 1):
        raise UsageError("a wave needs one member at least", fix="give 1 or more")
    if twice := sorted(member for member, count in Counter(members).items() if count > 1):
        raise UsageError(f"{', '.join(twice)} is in the batch twice", fix="name each member once")
    rest = list(members[first:])
    size = then or max(len(rest), 1)
    waves = [list(members[:first]), *(rest[at:at + size] for at in range(0, len(rest), size))]
    return tuple(tuple(wave) for wave in waves if wave)


class BatchStatus(StrEnum):
    """Where a batch is; it has no status of its own to go wrong, but that of its members."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"  # a failure stopped it; nothing of it runs any more
    STOPPING = "stopping"  # a failure stopped it; some of it still runs


@dataclass(frozen=True, slots=True)
class BatchStep:
    """What to do now: ``start`` these, ``cancel`` those that will not begin any more (never both)."""

    status: BatchStatus
    start: tuple[str, ...] = ()
    cancel: tuple[str, ...] = ()


_BAD = frozenset({DeploymentStatus.FAILED, DeploymentStatus.CANCELLED})
_NOT_BEGUN = frozenset({DeploymentStatus.PENDING, DeploymentStatus.SCHEDULED})


def next_step(waves: Waves, status_of: Mapping[str, DeploymentStatus], *, stop_on_failure: bool = True,
              tolerated: int = 0) -> BatchStep:
    """What the batch does next. A member that ``status_of`` does not name is ``pending``.

    ``tolerated`` members may fail before a failure stops it; without ``stop_on_failure`` it goes on whatever fails.
    A member that somebody cancelled is left out, and stops nothing. Only members that are ``pending`` are started: what
    is ``scheduled`` has been.
    """
    statuses = _statuses(waves, status_of)
    failed = sum(status is DeploymentStatus.FAILED for status in statuses.values())
    if stop_on_failure and failed > tolerated:
        running = DeploymentStatus.RUNNING in statuses.values()
        return BatchStep(BatchStatus.STOPPING if running else BatchStatus.STOPPED,
                         cancel=tuple(member for member, status in statuses.items() if status in _NOT_BEGUN))
    for wave in waves:
        if not all(statuses[member].is_terminal for member in wave):
            pending = tuple(member for member in wave if statuses[member] is DeploymentStatus.PENDING)
            return BatchStep(BatchStatus.RUNNING, start=pending)
    return BatchStep(BatchStatus.COMPLETED)


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """One view of a whole batch. ``wave`` counts from 1 and is that of the first member that has not ended (the last one
    when all have); ``percent`` is of members that ended, rounded down."""

    members: int
    waves: int
    wave: int
    percent: int
    counts: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def progress(waves: Waves, status_of: Mapping[str, DeploymentStatus]) -> BatchProgress:
    """How far the batch is."""
    statuses = _statuses(waves, status_of)
    counts = Counter(statuses.values())
    ended = sum(status.is_terminal for status in statuses.values())
    open_waves = (number for number, wave in enumerate(waves, 1)
                  if not all(statuses[member].is_terminal for member in wave))
    return BatchProgress(
        members=len(statuses), waves=len(waves), wave=next(open_waves, len(waves)),
        percent=ended * 100 // len(statuses) if statuses else 100,
        counts={str(status): counts[status] for status in DeploymentStatus})


def failures(waves: Waves, status_of: Mapping[str, DeploymentStatus]) -> list[str]:
    """The members that failed or were cancelled, in the order of the batch."""
    return [member for member, status in _statuses(waves, status_of).items() if status in _BAD]


def _statuses(waves: Iterable[Iterable[str]], status_of: Mapping[str, DeploymentStatus]) -> dict[str, DeploymentStatus]:
    return {member: status_of.get(member, DeploymentStatus.PENDING) for wave in waves for member in wave}
