"""The one tree of exceptions.

::

    WfopsError
    ├── UsageError                 what was asked for cannot be (exit 2)
    │   ├── InvalidDocument        fleet.yaml or another document: file, line and field
    │   ├── InvalidSetting         a WFOPS_ setting
    │   ├── InvalidFields          a policy or an ignore rule: which fields, and why
    │   ├── UnknownTenant, UnknownEnvironment, UnknownWorkflow, UnknownPartition, UnknownIncident,
    │   │   UnknownAlertRule, UnknownNotification, UnknownPromotion, UnknownSnapshot, UnknownDeployment
    │   └── MalformedDelivery      a signed webhook that cannot be read
    ├── MalformedWorkflow          JSON that is no n8n workflow
    ├── MalformedFile              a file in Git that cannot be read as a workflow
    ├── OutsideError               n8n or Git did not do what was asked (§3)
    │   ├── Unreachable            no connection, TLS failure, time out, 429, 502, 503, 504 (transient, exit 5)
    │   ├── Refused                credentials refused or not sufficient (exit 6)
    │   ├── NotFound               the thing is not there
    │   ├── Conflict               somebody else was faster, or the name or path is taken
    │   │   ├── HeadMoved          a Git branch moved between reading and writing
    │   │   └── ChangedMeanwhile   a workflow was changed between the plan and the write
    │   ├── Rejected               the server understood and said no (400, 415, 422, …)
    │   ├── NotN8n                 an answer that no n8n gives: HTML, other JSON, a redirect loop
    │   └── IncompleteRead         cut off in the middle: never taken for an empty or complete inventory
    ├── StoreError                 PostgreSQL
    │   ├── StoreUnavailable       down, or went away in the middle (exit 5)
    │   ├── StoreBusy              another transaction had precedence: a deadlock, a lock not granted in time
    │   ├── StoreNotReady          not migrated, or migrated by a newer version
    │   ├── TenantRequired         a tenant's row was asked for without a tenant
    │   └── SecretUnreadable       the encryption key is missing or wrong
    ├── Blocked                    a rule says no (exit 4)
    │   ├── OperationRunning       another operation holds the environment
    │   ├── Paused                 the tenant, or everything, is at rest
    │   ├── QueueFull              the tenant has as many runs waiting as it may
    │   ├── ForbiddenTransition    a state cannot follow another (operation, incident, promotion)
    │   └── LeaseLost              this operation no longer holds it
    ├── Denied                     who asks is not known, or may not do this (exit 6)
    │   └── SelfApproval           nobody approves what he or she requested
    ├── Cancelled                  somebody said no when asked, pressed Ctrl-C, or cancelled it from elsewhere (exit 7)
    ├── TimedOut                   an operation ran for longer than its kind may (exit 8)
    ├── NotVerified                what n8n shows after a write is not what was written
    ├── RollbackIncomplete         a failed write could not be undone everywhere: the environment takes no writes
    ├── ProcessFailed              a process of `wfops up` or `demo` did not come up, or keeps dying
    ├── HashCollision              one hash, two contents (§4.9)
    └── Broken                     a promise of ours does not hold: audit chain, invariant (exit 1)

Messages name the thing and the way out; ``fix`` carries the way out apart for ``--json``. No message holds a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class WfopsError(Exception):
    """Base of every error that WorkflowOps raises on purpose.

    ``kind`` is the stable word for records, metrics and ``--json``; ``exit_code`` is the command line's (§22);
    ``transient`` says whether trying again later can help without anybody changing anything.
    """

    kind: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} ({self.fix})" if self.fix else self.message


class UsageError(WfopsError):
    """What was asked for cannot be done as asked."""

    kind = "usage"
    exit_code = 2


@dataclass(frozen=True, slots=True)
class DocumentProblem:
    """One thing wrong with a document: its line (from 1) and dotted field where known; never a value of it."""

    message: str
    line: int | None = None
    field: str | None = None

    def at(self, file: str) -> str:
        """``fleet.yaml:12: tenants[0].slug: …``"""
        where = file if self.line is None else f"{file}:{self.line}"
        return f"{where}: {self.field + ': ' if self.field else ''}{self.message}"


class InvalidDocument(UsageError):
    """A document (fleet.yaml, …) does not fit its schema; nothing of it was applied.

    ``line`` and ``field`` are those of the first problem; ``problems`` are all of them, the first included.
    """

    kind = "invalid_document"
    _SHOWN = 20

    def __init__(self, message: str, *, file: str, line: int | None = None, field: str | None = None,
                 fix: str | None = None, more: Sequence[DocumentProblem] = ()) -> None:
        self.problems = (DocumentProblem(message, line, field), *more)
        lines = [problem.at(file) for problem in self.problems[:self._SHOWN]]
        if len(self.problems) > self._SHOWN:
            lines.append(f"{file}: and {len(self.problems) - self._SHOWN} more")
        super().__init__("\n".join(lines), fix=fix)
        self.file, self.line, self.field = file, line, field


class InvalidSetting(UsageError):
    """A setting of the environment (WFOPS_…) cannot be used."""

    kind = "invalid_setting"


class InvalidFields(UsageError):
    """What was given for a thing (a drift policy, an ignore rule) does not fit; ``problems`` name the fields."""

    kind = "invalid_fields"

    def __init__(self, what: str, problems: Sequence[DocumentProblem], *, fix: str | None = None) -> None:
        super().__init__("\n".join(problem.at(what) for problem in problems), fix=fix)
        self.problems = tuple(problems)


class UnknownTenant(UsageError):
    """No tenant has this slug."""

    kind = "unknown_tenant"


class UnknownEnvironment(UsageError):
    """The tenant has no environment of this slug."""

    kind = "unknown_environment"


class UnknownWorkflow(UsageError):
    """No workflow answers to this name or id."""

    kind = "unknown_workflow"


class UnknownIncident(UsageError):
    """No incident of that number."""

    kind = "unknown_incident"


class UnknownPromotion(UsageError):
    """The tenant has no promotion of that number."""

    kind = "unknown_promotion"


class UnknownDeployment(UsageError):
    """No deployment, and no batch of them, answers to this id."""

    kind = "unknown_deployment"


class UnknownSnapshot(UsageError):
    """The environment has no snapshot of this name, or none that old."""

    kind = "unknown_snapshot"


class UnknownAlertRule(UsageError):
    """The tenant has no alert rule of this name."""

    kind = "unknown_alert_rule"


class UnknownNotification(UsageError):
    """The tenant has no notification target of this name, or no message of this id."""

    kind = "unknown_notification"


class UnknownPartition(UsageError):
    """A partition key that no environment in the database stands behind."""

    kind = "unknown_partition"


class MalformedDelivery(UsageError):
    """A webhook's delivery that is none: its sender is known, what it sent cannot be read."""

    kind = "malformed_delivery"


class MalformedWorkflow(WfopsError):
    """JSON that is no n8n workflow; the message says which part."""

    kind = "malformed_workflow"


class MalformedFile(WfopsError):
    """A file in a repository that cannot be read as a workflow."""

    kind = "malformed_file"

    def __init__(self, message: str, *, path: str, reason: str, fix: str | None = None) -> None:
        super().__init__(f"{path}: {message}", fix=fix)
        self.path = path
        self.reason = reason  # stable word: invalid_json, not_utf8, not_a_workflow, symlink, submodule, too_large, …


class OutsideError(WfopsError):
    """n8n or a Git remote did not do what was asked.

    ``target`` names it as the user knows it (base URL or remote URL without credentials); ``status`` is the
    HTTP status where there was one.
    """

    kind = "outside"

    def __init__(self, message: str, *, target: str, status: int | None = None, fix: str | None = None) -> None:
        super().__init__(f"{target}: {message}", fix=fix)
        self.target = target
        self.status = status


class Unreachable(OutsideError):
    """No answer, or one that says to try again later."""

    kind = "unreachable"
    exit_code = 5
    transient = True


class Refused(OutsideError):
    """The credentials were refused, or do not allow this."""

    kind = "refused"
    exit_code = 6


class NotFound(OutsideError):
    """What was asked for is not there."""

    kind = "not_found"


class Conflict(OutsideError):
    """Somebody else was faster, or a name or path is taken."""

    kind = "conflict"


class HeadMoved(Conflict):
    """The branch moved between reading and writing; read again and retry."""

    kind = "head_moved"
    transient = True


class ChangedMeanwhile(Conflict):
    """Somebody changed a workflow between the plan and the write; their work is not overwritten (§11.6)."""

    kind = "changed_meanwhile"


class Rejected(OutsideError):
    """The server understood the request and said no."""

    kind = "rejected"


class NotN8n(OutsideError):
    """The answer is none that n8n gives: HTML, other JSON, a redirect loop."""

    kind = "not_n8n"
    exit_code = 5


class IncompleteRead(OutsideError):
    """An answer or a listing was cut off in the middle."""

    kind = "incomplete_read"
    exit_code = 5
    transient = True


class StoreError(WfopsError):
    """PostgreSQL did not do what was asked. ``of_data``: on account of these data, and work on others can go on."""

    kind = "store"
    of_data: ClassVar[bool] = False


class StoreUnavailable(StoreError):
    """PostgreSQL is down, or went away in the middle."""

    kind = "store_unavailable"
    exit_code = 5
    transient = True


class StoreRefusal(StoreError):
    """PostgreSQL is there, and does not store these data: what they are about fails, and nothing else."""

    kind = "store_refused"
    of_data = True


class StoreBusy(StoreError):
    """Another transaction had precedence: a deadlock was broken up, or a lock not granted in time. Nothing was written."""

    kind = "store_busy"
    transient = True
    of_data = True


class StoreNotReady(StoreError):
    """The schema is older or newer than this version of WorkflowOps."""

    kind = "store_not_ready"


class TenantRequired(StoreError):
    """A tenant's rows were asked for without saying which tenant."""

    kind = "tenant_required"


class SecretUnreadable(StoreError):
    """A secret cannot be decrypted with the keys that are set."""

    kind = "secret_unreadable"
    of_data = True


class Blocked(WfopsError):
    """A rule says no; nothing was broken."""

    kind = "blocked"
    exit_code = 4


class OperationRunning(Blocked):
    """Another operation holds the environment; its id is in the message."""

    kind = "operation_running"
    transient = True

    def __init__(self, message: str, *, operation_id: str, fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.operation_id = operation_id


class Paused(Blocked):
    """The tenant, or everything, is at rest: no work begins (§20)."""

    kind = "paused"


class QueueFull(Blocked):
    """A tenant has as many runs waiting as it may: the request was refused before it was queued (§20)."""

    kind = "queue_full"


class ForbiddenTransition(Blocked):
    """A thing cannot go from one state to another; ``before`` and ``after`` name both."""

    kind = "forbidden_transition"

    def __init__(self, message: str, *, before: str, after: str, fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.before, self.after = before, after


class LeaseLost(Blocked):
    """This operation no longer holds its environment, and stops before it writes anything more."""

    kind = "lease_lost"


class Denied(WfopsError):
    """Who asks cannot be proved, or may not do this (§2.2)."""

    kind = "denied"
    exit_code = 6


class SelfApproval(Denied):
    """Whoever asked for a step would decide on it (§2.3)."""

    kind = "self_approval"


class Cancelled(WfopsError):
    """Somebody said no when asked, pressed Ctrl-C, or cancelled it; what was begun was left consistent."""

    kind = "cancelled"
    exit_code = 7


class TimedOut(WfopsError):
    """An operation ran for longer than its kind may, and was cancelled; what was begun was left consistent (§20)."""

    kind = "timed_out"
    exit_code = 8


class NotVerified(WfopsError):
    """n8n answered well to a write, and what it then shows is something else (§11.6)."""

    kind = "not_verified"


class RollbackIncomplete(WfopsError):
    """A write failed, and what was written before it could not be undone everywhere (§11.7)."""

    kind = "rollback_incomplete"


class ProcessFailed(WfopsError):
    """A process that `wfops up` or `demo` runs did not come up, or keeps dying; its log is in the message."""

    kind = "process_failed"


class HashCollision(WfopsError):
    """One hash stands for two different contents (§4.9); nothing was linked or overwritten."""

    kind = "hash_collision"


class Broken(WfopsError):
    """A promise of ours does not hold: the audit chain, an invariant of the store."""

    kind = "broken"

    @classmethod
    def by(cls, error: Exception) -> Broken:
        """What nobody expected, for those that it concerns; its trace belongs in the log."""
        return cls(f"an error of ours: {type(error).__name__}: {error}", fix="see the log")
