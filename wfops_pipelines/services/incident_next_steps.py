"""What can be done about an incident from where it is, as commands to copy (§10.2, §10.6)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from wfops_pipelines.domain.approval import KIND_OF_EVENT, ApprovalKind, ApprovalStatus
from wfops_pipelines.domain.drift_policy import DriftPolicy
from wfops_pipelines.domain.fleet_fields import EnvironmentClass
from wfops_pipelines.domain.incident import IncidentEvent, IncidentStatus, allowed_events


@dataclass(frozen=True, slots=True)
class NextStep:
    """A command and what it does. ``blocked`` says what has to be done first, ``approval`` that somebody else has to
    approve it."""

    command: str
    does: str
    approval: bool = False
    blocked: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"command": self.command, "does": self.does, "needs_approval": self.approval, "blocked": self.blocked}


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides on the next steps. ``approvals`` are the requests, oldest first: ``kind``, ``status``,
    ``requested_by``, ``arguments``; ``refuses_writes`` is why n8n may not be written to, if so; ``interrupted`` is the
    resolution that began to write and did not come to its end, if any."""

    name: str  # acme#12
    tenant: str
    environment: str
    status: IncidentStatus
    policy: DriftPolicy
    approvals: Sequence[Mapping[str, Any]] = ()
    refuses_writes: str | None = None
    interrupted: str | None = None


_LOOK: Final = "show what would be written to {place}, and write nothing"
_ORDER: Final = (IncidentEvent.ACKNOWLEDGE, IncidentEvent.RECONCILE, IncidentEvent.STABILIZE, IncidentEvent.CLOSE,
                 IncidentEvent.CANCEL, IncidentEvent.EXPIRE)
"""What ends the drift comes before what only says something about it."""


def next_steps(now: Situation) -> list[NextStep]:
    """What is possible, the step to take first at the head: what was interrupted, what waits, then the lifecycle in its
    order."""
    check = f"wfops drift {now.tenant} {now.environment}"
    if now.interrupted is not None:
        finish = NextStep(check, f"finish the {now.interrupted} that was interrupted, or undo it, and look again")
        return [finish, *next_steps(replace(now, interrupted=None))]
    if not now.status.is_open:
        return [NextStep(check, "look again: new drift opens a new incident")]
    waiting = [request for request in now.approvals
               if request["status"] in (ApprovalStatus.PENDING, ApprovalStatus.APPROVED)]
    steps = [step for request in waiting for step in _of_request(now, request)]
    kinds = {request["kind"] for request in waiting}
    for event in sorted(allowed_events(now.status), key=_ORDER.index):
        steps += [step for step in _of_event(now, event) if not (step.approval and KIND_OF_EVENT.get(event) in kinds)]
    if now.status is IncidentStatus.RECONCILED:
        steps.insert(0, NextStep(check, "look again: without drift it closes itself"))
    if ApprovalKind.EXTEND_TTL not in kinds:
        steps.append(NextStep(f'wfops incident extend {now.name} 24 --reason "…"', "give it 24 hours more",
                              approval=ApprovalKind.EXTEND_TTL in now.policy.require_approval_for))
    return steps


def _of_request(now: Situation, request: Mapping[str, Any]) -> list[NextStep]:
    kind = str(request["kind"])
    if request["status"] == ApprovalStatus.PENDING:
        said = f"what {request['requested_by']} asked for ({kind}); somebody else decides"
        return [NextStep(f"wfops incident approve {now.name} --kind {kind}", f"approve {said}"),
                NextStep(f"wfops incident reject {now.name} --kind {kind}", f"reject {said}")]
    if kind == ApprovalKind.RECONCILE:
        return [NextStep(reconcile_command(now.name, request["arguments"]), "carry out what was approved",
                         blocked=now.refuses_writes if request["arguments"].get("resolution") != "promote" else None)]
    return []


def reconcile_command(name: str, arguments: Mapping[str, Any]) -> str:
    """The command that asks for exactly this reconciliation."""
    words = [f"wfops incident reconcile {name} --resolution {arguments.get('resolution')}"]
    words += [f"--{option} {shlex.quote(arguments[option])}" for option in ("version", "reason") if arguments.get(option)]
    words += [f"--{option.replace('_', '-')}" for option in ("prune", "allow_irreversible") if arguments.get(option)]
    return " ".join([*words, *(["--force"] if arguments.get("forced") else [])])


def _of_event(now: Situation, event: IncidentEvent) -> list[NextStep]:
    name, needs = now.name, KIND_OF_EVENT.get(event) in now.policy.require_approval_for
    match event:
        case IncidentEvent.ACKNOWLEDGE:
            look = f"wfops incident reconcile {name} --resolution revert --dry-run"
            return [NextStep(f'wfops incident ack {name} --reason "…"',
                             "say that you take care of it; then it can be resolved", needs),
                    NextStep(look, _LOOK.format(place=f"{now.tenant}/{now.environment}"))]
        case IncidentEvent.RECONCILE:
            return _resolutions(now, approval=needs)
        case IncidentEvent.STABILIZE:
            return [NextStep(f'wfops incident stabilize {name} --reason "…"', "it does no harm for now, and why", needs)]
        case IncidentEvent.CLOSE:
            return [NextStep(f'wfops incident close {name} --reason "…"',
                             "close it as it is; drift that is left opens another one", needs)]
        case IncidentEvent.CANCEL:
            return [NextStep(f'wfops incident cancel {name} --reason "…"', "it never should have been one", needs)]
        case IncidentEvent.EXPIRE:
            return []


def _resolutions(now: Situation, *, approval: bool) -> list[NextStep]:
    begin = f"wfops incident reconcile {now.name} --resolution"
    place = f"{now.tenant}/{now.environment}"
    return [
        NextStep(f"{begin} revert --dry-run", _LOOK.format(place=place)),
        NextStep(f"{begin} revert", f"Git's content to n8n: {place} is again what Git says", approval, now.refuses_writes),
        NextStep(f"{begin} promote", "n8n's content to Git, as one commit", approval),
        NextStep(f"{begin} replace --version COMMIT", "the files as they were at a commit, to n8n and to Git", approval,
                 now.refuses_writes),
        NextStep(f'{begin} acknowledge --reason "…"', "it stays as it is, and why", approval),
    ]


def refusal(environment_class: str, *, allow_production: bool, blocked_reason: str | None, blocked: bool) -> str | None:
    """Why n8n may not be written to, with the way out; none where it may."""
    if environment_class == EnvironmentClass.PRODUCTION and not allow_production:
        return "set allow_production: true on it in fleet.yaml, and run `wfops apply`, first"
    return f"it takes no writes: {blocked_reason}" if blocked else None
