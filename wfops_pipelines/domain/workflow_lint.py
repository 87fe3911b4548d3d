"""What is wrong with a workflow, found before it is promoted (§11.5). The rules are in ``lint_rules``, waivers here.

A finding is an ``error`` only where n8n 2.x would refuse the workflow (measured: ``Workflow structure is invalid``, no
trigger, ``Unrecognized node type``, a node without the credential that it requires, a webhook path that is taken) or where
a secret is certain. Where n8n 1.x takes what 2.x refuses and it does no harm there (two nodes of one id), or 1.x alone
refuses it (only other workflows start it), it goes by the generation of the target. What is likely a mistake is a
``warning``, what is merely worth knowing an ``info``; neither stops a promotion.

A waiver takes a finding out of the count until it expires, with an owner and a reason. An expired one does nothing, and is
reported where it would have done something.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, ValidationError

from wfops_pipelines.domain.errors import DocumentProblem, InvalidFields
from wfops_pipelines.domain.fleet_fields import Name
from wfops_pipelines.domain.fleet_problems import dotted, of_schema
from wfops_pipelines.domain.parameter_paths import Glob
from wfops_pipelines.domain.shown import moment, one_line
from wfops_pipelines.domain.spec_model import Spec

_WHAT: Final = "lint waiver"


class LintSeverity(StrEnum):
    """How bad a finding is; only an ``error`` blocks."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class LintRule(StrEnum):
    """The rules, by their stable ids."""

    WORKFLOW_NAME = "workflow-name"
    INCOMPLETE_NODE = "incomplete-node"
    DUPLICATE_NODE_NAME = "duplicate-node-name"
    DUPLICATE_NODE_ID = "duplicate-node-id"
    DANGLING_CONNECTION = "dangling-connection"
    MALFORMED_CONNECTION = "malformed-connection"
    NO_TRIGGER = "no-trigger"
    UNKNOWN_NODE_TYPE = "unknown-node-type"
    SWITCHED_OFF_NODE_TYPE = "switched-off-node-type"
    MISSING_CREDENTIAL = "missing-credential"
    WEBHOOK_PATH_TAKEN = "webhook-path-taken"
    WEBHOOK_PATH_TWICE = "webhook-path-twice"
    HARD_CODED_SECRET = "hard-coded-secret"  # noqa: S105  # the id of a rule
    LIKELY_SECRET = "likely-secret"  # noqa: S105  # the id of a rule
    NO_ERROR_WORKFLOW = "no-error-workflow"
    ERRORS_IGNORED = "errors-ignored"
    DISABLED_IN_PATH = "disabled-in-path"
    PINNED_DATA = "pinned-data"
    LONG_NODE_NAME = "long-node-name"


@dataclass(frozen=True, slots=True)
class TakenPath:
    """A path that a workflow of the target serves, or will once it is active: ``path`` as ``entry_points`` gives it."""

    method: str
    path: str
    workflow_id: str
    workflow_name: str
    active: bool = True


def by_path(taken: Iterable[TakenPath]) -> dict[tuple[str, str], list[TakenPath]]:
    """What the workflows of a target serve, by method and path: made once for all workflows that are linted."""
    found: dict[tuple[str, str], list[TakenPath]] = {}
    for path in taken:
        found.setdefault((path.method, path.path), []).append(path)
    return found


@dataclass(frozen=True, slots=True)
class LintContext:
    """What is known about the place where the workflow shall be.

    ``active``: whether it shall run there. ``workflow_id``: its n8n id there, none when it is new. ``pinned_nodes``: names
    of nodes with pinned data, which content does not hold. ``known_types``: the node types that the target has (best a
    set), and ``taken_paths``: what its workflows serve (:func:`by_path`; its own are left out by ``workflow_id``); ``None``
    where that cannot be had: the rule is then skipped, and the report says so. ``generation`` is that of its n8n,
    ``running_types`` are node types of what runs there: these it has, whatever n8n has by default.
    """

    active: bool
    workflow_id: str | None = None
    pinned_nodes: Collection[str] = ()
    known_types: Collection[str] | None = None
    taken_paths: Mapping[tuple[str, str], Sequence[TakenPath]] | None = None
    generation: int = 2
    running_types: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One thing that is wrong. ``node`` is the name of the node, none for the workflow as a whole; ``message`` and ``fix``
    can be shown: they hold no secret."""

    rule: LintRule
    severity: LintSeverity
    node: str | None
    message: str
    fix: str

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; the node's name as it may be shown."""
        return {"rule": str(self.rule), "severity": str(self.severity),
                "node": None if self.node is None else one_line(self.node, 200), "message": self.message, "fix": self.fix}


def _check_text(text: str) -> str:
    if not text.strip() or len(text) > 1000:
        raise ValueError("must be 1 to 1000 characters")
    return text.strip()


class LintWaiver(Spec):
    """A finding that somebody answers for, until it expires. ``workflow`` is the name of the workflow, ``node`` that of the
    node (none: any, and the workflow as a whole), where ``*`` stands for any characters; ``expires_at`` is an aware time.
    Can be made of a row (``model_validate(row)``)."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID | None = None
    rule: LintRule
    workflow: Annotated[str, AfterValidator(_check_text)]
    node: Annotated[str, AfterValidator(_check_text)] | None = None
    owner: Name
    reason: Annotated[str, AfterValidator(_check_text)] = Field(description="Why it may be.")
    expires_at: AwareDatetime

    def covers(self, workflow: str, finding: LintFinding) -> bool:
        """Whether it is about this finding, expired or not."""
        if finding.rule is not self.rule or not Glob(self.workflow).matches(workflow):
            return False
        return self.node is None or (finding.node is not None and Glob(self.node).matches(finding.node))

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, for the report of the gate."""
        node = None if self.node is None else one_line(self.node)
        return {"rule": str(self.rule), "workflow": one_line(self.workflow), "node": node, "owner": one_line(self.owner),
                "reason": one_line(self.reason), "expires_at": self.expires_at.isoformat()}


def new_waiver(fields: Mapping[str, Any], *, now: datetime) -> LintWaiver:
    """A waiver as somebody gives it; :class:`InvalidFields` names every field that does not fit. It has to end in the
    future, and a time without a zone is refused."""
    try:
        waiver = LintWaiver.model_validate(dict(fields))
    except ValidationError as error:
        raise InvalidFields(_WHAT, [DocumentProblem(message, None, dotted(path))
                                    for path, message in of_schema(error, LintWaiver)]) from None
    if waiver.expires_at <= now:
        raise InvalidFields(_WHAT, [DocumentProblem("must be in the future", None, "expires_at")])
    return waiver


@dataclass(frozen=True, slots=True)
class LintReport:
    """What was found in one workflow, the worst first. ``waived`` are the findings that a waiver covers, with it;
    ``expired`` the waivers that would have covered a finding and have ended; ``skipped`` says which rules could not be
    checked, and why."""

    workflow: str
    findings: tuple[LintFinding, ...]
    waived: tuple[tuple[LintFinding, LintWaiver], ...] = ()
    expired: tuple[LintWaiver, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[LintFinding, ...]:
        """The findings that block."""
        return tuple(finding for finding in self.findings if finding.severity is LintSeverity.ERROR)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; nothing in it is a secret."""
        return {
            "workflow": one_line(self.workflow, 200), "findings": [finding.as_json() for finding in self.findings],
            "waived": [{**finding.as_json(), "waiver": waiver.as_json()} for finding, waiver in self.waived],
            "expired_waivers": [waiver.as_json() for waiver in self.expired], "skipped": list(self.skipped),
        }

    def as_text(self) -> str:
        """A line for each finding with its fix, then what was waived, what expired and what was skipped."""
        name = one_line(self.workflow, 200)
        lines = [f"{f.severity}: {name}: {_at(f)}{f.message} [{f.rule}]; {f.fix}" for f in self.findings]
        lines += [f"waived: {name}: {_at(f)}{f.message} [{f.rule}], by {one_line(w.owner)} until {moment(w.expires_at)}: "
                  f"{one_line(w.reason)}" for f, w in self.waived]
        lines += [f"expired: the waiver of {w.rule} for '{one_line(w.workflow)}' by {one_line(w.owner)} ended at "
                  f"{moment(w.expires_at)}" for w in self.expired]
        return "\n".join([*lines, *(f"skipped: {name}: {what}" for what in self.skipped)])


def apply_waivers(report: LintReport, waivers: Iterable[LintWaiver], *, now: datetime) -> LintReport:
    """The report with what is waived at ``now`` (an aware time) set apart. Of several waivers of a finding, the one that
    ends last counts."""
    given = sorted(waivers, key=lambda waiver: waiver.expires_at, reverse=True)
    valid = [waiver for waiver in given if now < waiver.expires_at]
    left: list[LintFinding] = []
    waived = list(report.waived)
    expired = dict.fromkeys(report.expired)
    for finding in report.findings:
        waiver = next((waiver for waiver in valid if waiver.covers(report.workflow, finding)), None)
        if waiver is not None:
            waived.append((finding, waiver))
            continue
        left.append(finding)
        expired |= dict.fromkeys(waiver for waiver in given if waiver.covers(report.workflow, finding))
    return replace(report, findings=tuple(left), waived=tuple(waived), expired=tuple(expired))


def _at(finding: LintFinding) -> str:
    return "" if finding.node is None else f"'{one_line(finding.node, 80)}': "
