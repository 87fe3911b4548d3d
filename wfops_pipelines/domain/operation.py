"""The lifecycle of an operation (§19.2).

An operation begins ``queued`` and is ``running`` while a process works on it. The rules:

* A queued one that never starts is ``cancelled`` (somebody said so) or ``failed`` (its run could not be launched, or
  waited too long).
* A running one ends ``completed``, ``failed`` or ``cancelled``. It is ``cancelled`` only when what it left is
  consistent; one that has to be undone first is ``compensated`` once that is done.
* ``failed`` is no end for good: a resume makes it ``running`` again, from its checkpoint, under the same id; or what it
  had applied is undone, and it is ``compensated``. A process that died leaves its operation ``running``: whoever takes
  over records the failure first, so each attempt has its beginning and its end.
* ``completed``, ``cancelled`` and ``compensated`` are final. Undoing something completed is an operation of its own.
* No state follows itself: a second ``start`` or ``end`` is a mistake of the caller and is refused.

The table below is these rules; the database enforces the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from wfops_pipelines.domain.errors import ForbiddenTransition


class OperationKind(StrEnum):
    """What an operation does."""

    ENVIRONMENT_SYNC = "environment_sync"  # n8n → store (§6)
    REPOSITORY_SYNC = "repository_sync"  # Git → store (§7)
    RECONCILIATION = "reconciliation"  # source against target (§8)
    DRIFT_DETECTION = "drift_detection"  # Git against n8n (§9)
    EXPORT = "export"  # n8n → Git (§7)
    MAPPING = "mapping"  # link, unlink, ignore, unignore, resolve, delete by hand (§5.3)
    INCIDENT_RESOLUTION = "incident_resolution"  # revert, promote or replace what drifted (§10.2)
    PROMOTION = "promotion"  # of a source or a snapshot to a target (§11.6)
    ROLLBACK = "rollback"  # of a promotion, by hand, to the snapshot before it (§11.9)
    RECOVERY = "recovery"  # of what a process that died left in an environment (§11.8)
    SNAPSHOT = "snapshot"  # of an environment (§13)
    APPLY = "apply"  # fleet.yaml → store (§2.6)
    SECRETS_ROTATION = "secrets_rotation"  # re-encryption with the newest key (§2.5)


class OperationState(StrEnum):
    """Where an operation is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    COMPENSATED = "compensated"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return not TRANSITIONS[self]

    @property
    def is_open(self) -> bool:
        """Whether somebody works on it, or will."""
        return self in {OperationState.QUEUED, OperationState.RUNNING}


TRANSITIONS: Mapping[OperationState, frozenset[OperationState]] = MappingProxyType({
    OperationState.QUEUED: frozenset({
        OperationState.RUNNING, OperationState.CANCELLED, OperationState.FAILED,
    }),
    OperationState.RUNNING: frozenset({
        OperationState.COMPLETED, OperationState.FAILED, OperationState.CANCELLED, OperationState.COMPENSATED,
    }),
    OperationState.FAILED: frozenset({OperationState.RUNNING, OperationState.COMPENSATED}),
    OperationState.COMPLETED: frozenset(),
    OperationState.CANCELLED: frozenset(),
    OperationState.COMPENSATED: frozenset(),
})


def check_transition(before: OperationState, after: OperationState) -> None:
    """Pass when ``before`` may become ``after``; :class:`ForbiddenTransition` names both otherwise."""
    follow = TRANSITIONS[before]
    if after not in follow:
        ways = f"from {before} it can become {', '.join(sorted(follow))}" if follow else "start a new operation"
        raise ForbiddenTransition(f"an operation that is {before} cannot become {after}", before=before, after=after,
                                  fix=ways)
