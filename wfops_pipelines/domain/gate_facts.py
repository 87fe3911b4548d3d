"""What the gates of a promotion judge (§11.5): facts that somebody looked up, or why that could not be done.

Every fact is there or is :class:`Missing` with the reason. A gate whose facts are missing blocks: nobody takes "could not
be read" for "nothing is wrong". :func:`look_up` makes a fact of a call that may fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

from wfops_pipelines.domain.drift import EnvironmentDriftStatus
from wfops_pipelines.domain.drift_policy import DriftPolicy
from wfops_pipelines.domain.entitlements import Answer, EverythingAllowed, Feature
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.domain.freeze_windows import FreezeWindow
from wfops_pipelines.domain.incident import IncidentStatus
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.domain.transform_terms import Unresolved
from wfops_pipelines.domain.workflow_lint import LintReport

_Fact = TypeVar("_Fact")
_ALL: Final = EverythingAllowed()
_AGAIN: Final = "look it up, and evaluate the gates again"


@dataclass(frozen=True, slots=True)
class Missing:
    """A fact that is not there, and why."""

    reason: str = "it was not looked up"
    fix: str = _AGAIN


def look_up(read: Callable[[], _Fact]) -> _Fact | Missing:
    """What ``read`` gives; :class:`Missing` where it raises. The text of an error that is not ours is left out: nobody
    knows what stands in it."""
    try:
        return read()
    except Exception as error:  # whatever it was: the fact is missing, and the gate blocks
        return missing_after(error)


def missing_after(error: Exception) -> Missing:
    """The fact that an error kept from being there."""
    if isinstance(error, WfopsError):
        return Missing(one_line(error.message, 500), error.fix or _AGAIN)
    return Missing(f"{type(error).__name__} on the way")


@dataclass(frozen=True, slots=True)
class StageRules:
    """What a stage of a pipeline asks for (§11.1). ``approvers`` is the number of people who have to approve, ``soak`` how
    long the source must have run what is promoted."""

    require_clean_drift: bool = True
    allow_overwriting_hotfixes: bool = False
    allow_force_promotion_on_conflicts: bool = False
    allow_placeholder_credentials: bool = False
    approvers: int = 0
    soak: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class NamedWorkflow:
    """A workflow of the target. ``key`` tells it from all others, and is the same in every fact (§11.3: the plan's key)."""

    key: str
    name: str


@dataclass(frozen=True, slots=True)
class DriftFacts:
    """The target's drift. ``reason`` goes with ``ERROR`` and ``UNKNOWN``; ``fresh``: checked for this evaluation.

    ``drifted`` are the workflows that drift, ``overwritten`` the keys of those that the plan writes: hotfix and conflict
    judge them. ``override_reason`` is an admin's word (``manual_override``): the caller has checked the role."""

    status: EnvironmentDriftStatus
    fresh: bool
    drifted: tuple[NamedWorkflow, ...] = ()
    overwritten: frozenset[str] = frozenset()
    target_is_empty: bool = False
    reason: str | None = None
    override_reason: str | None = None


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """Where it comes from. ``follows_git``: a source whose truth is Git (not ``dev``, no snapshot) has to be in sync with it
    (§11.2); ``status`` is its drift, just checked, none where that could not be done, ``reason`` why."""

    name: str
    follows_git: bool
    status: EnvironmentDriftStatus | None = None
    drifted: tuple[NamedWorkflow, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """The target's open incident; ``reason`` is what was said when it was acknowledged, ``expires_at`` the end of its
    TTL."""

    number: int
    status: IncidentStatus
    expires_at: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class IncidentFacts:
    """The target's open incident, or none."""

    incident: OpenIncident | None


@dataclass(frozen=True, slots=True)
class CredentialUse:
    """A credential that the plan writes. ``name`` and ``id`` are the target's: no name where it is not mapped there, no id
    where none is known. ``used_by`` are names of workflows."""

    key: str
    type: str
    name: str | None
    id: str | None = None
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetCredential:
    """A credential that the target has."""

    id: str
    type: str
    name: str


@dataclass(frozen=True, slots=True)
class CannotBeListed:
    """The target's n8n does not tell which credentials it has (1.x; a key without that scope)."""

    reason: str = "n8n 1.x does not list credentials"


@dataclass(frozen=True, slots=True)
class CredentialFacts:
    """The credentials that are used, and those that are there."""

    uses: tuple[CredentialUse, ...]
    present: tuple[TargetCredential, ...] | CannotBeListed


@dataclass(frozen=True, slots=True)
class UnresolvedIn:
    """Something without a counterpart in the target, and the workflow that it stands in."""

    workflow: str
    problem: Unresolved


@dataclass(frozen=True, slots=True)
class Decision:
    """An approval (``approve``) or a rejection of the plan of that ``checksum``. ``through`` is the platform admin behind an
    impersonated user."""

    by: str
    checksum: str
    approve: bool
    through: str | None = None


@dataclass(frozen=True, slots=True)
class ApprovalFacts:
    """Who asked for the promotion, the checksum of its plan as it is now, and all decisions so far."""

    checksum: str
    requested_by: str
    requested_through: str | None = None
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True)
class SoakedWorkflow:
    """Since when the source runs what is promoted; none where nobody knows."""

    name: str
    live_since: datetime | None


@dataclass(frozen=True, slots=True)
class WriteBlock:
    """Whether the target takes no writes, why and since when (§11.7: a rollback that is incomplete; §20: production that
    nobody allowed); ``fix`` where it is another than to wait for recovery."""

    blocked: bool
    reason: str | None = None
    since: datetime | None = None
    fix: str | None = None


@dataclass(frozen=True, kw_only=True)
class GateFacts:
    """Everything that the gates judge. What is not given is missing, and blocks; entitlement and budget are allowed where
    nobody says otherwise (§17)."""

    policy: DriftPolicy | Missing = field(default_factory=Missing)
    source: SourceFacts | Missing = field(default_factory=Missing)
    drift: DriftFacts | Missing = field(default_factory=Missing)
    incident: IncidentFacts | Missing = field(default_factory=Missing)
    hotfixes: Sequence[NamedWorkflow] | Missing = field(default_factory=Missing)
    conflicts: Sequence[NamedWorkflow] | Missing = field(default_factory=Missing)
    credentials: CredentialFacts | Missing = field(default_factory=Missing)
    unresolved: Sequence[UnresolvedIn] | Missing = field(default_factory=Missing)
    freeze_windows: Sequence[FreezeWindow] | Missing = field(default_factory=Missing)
    approvals: ApprovalFacts | Missing = field(default_factory=Missing)
    soaked: Sequence[SoakedWorkflow] | Missing = field(default_factory=Missing)
    lint: Sequence[LintReport] | Missing = field(default_factory=Missing)
    write_block: WriteBlock | Missing = field(default_factory=Missing)
    entitlement: Answer | Missing = field(default_factory=lambda: _ALL.feature("", Feature.WORKFLOW_CI_CD))
    budget: Answer | Missing = field(default_factory=lambda: _ALL.promotion("", 0))
