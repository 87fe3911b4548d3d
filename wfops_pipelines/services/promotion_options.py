"""What a promotion was asked for, and what is told of it (§11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.domain.shown import one_line

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PromotionOptions:
    """As somebody asked for it. ``workflows`` are names or ids (none: all), taken ``with_needs``: what they call.

    ``activation`` is whose activation holds for what both have (:class:`Activation`); none: the stage's word.
    ``allow_large`` is the reason why more than 30 % of the target may change at once, ``override_reason`` an admin's word
    past drift (``manual_override``), ``reason`` the reason of the promotion itself. ``when_ready``: it is carried out by
    itself as soon as it is approved and no gate holds it (the sensor ``approved_promotions``).
    """

    workflows: tuple[str, ...] | None = None
    with_needs: bool = True
    prune: bool = False
    activation: str | None = None
    allow_large: str | None = None
    allow_irreversible: bool = False
    override_reason: str | None = None
    reason: str | None = None
    when_ready: bool = False

    def __post_init__(self) -> None:
        if self.activation is not None and self.activation not in tuple(Activation):
            raise UsageError(f"activation is {' or '.join(Activation)}, and not {one_line(self.activation, 40)!r}",
                             fix="leave it out for what the stage says")

    def activation_of(self, stage: Activation) -> Activation:
        """Whose activation holds: as it was asked for, else what the stage says."""
        return stage if self.activation is None else Activation(self.activation)

    def as_json(self) -> JsonObject:
        """For the store; :meth:`from_json` reads it."""
        return {**asdict(self), "workflows": None if self.workflows is None else list(self.workflows)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PromotionOptions:
        """What :meth:`as_json` gave."""
        workflows = document.get("workflows")
        return cls(**{**document, "workflows": None if workflows is None else tuple(workflows)})


@dataclass
class PromotionReport:
    """A promotion, as commands, runs and ``--json`` tell it. ``workflows`` is what became of each; ``text`` is the plan for
    a terminal, and not in :meth:`as_json`. ``rollback`` is one by hand that has begun and is not done
    (:class:`~wfops_pipelines.services.rollback_state.RollbackState`); ``workflows`` are as it left them. ``takes_writes``:
    the target is not blocked by a rollback that is incomplete."""

    tenant: str
    kind: str
    source: str
    target: str
    status: str
    number: int | None = None
    promotion_id: str | None = None
    pipeline: str | None = None
    checksum: str | None = None
    plan: JsonObject = field(default_factory=dict)
    problems: list[JsonObject] = field(default_factory=list)
    gates: JsonObject = field(default_factory=dict)
    workflows: list[JsonObject] = field(default_factory=list)
    verification: list[JsonObject] = field(default_factory=list)
    git_status: str = "none"
    commit: str | None = None
    pull_request: str | None = None
    drift_status: str | None = None
    reason: str | None = None
    rollback_incomplete: bool = False
    rollback: JsonObject | None = None
    takes_writes: bool = True
    requested_by: str | None = None
    decisions: list[JsonObject] = field(default_factory=list)
    operation_id: str | None = None
    pre_snapshot: str | None = None
    post_snapshot: str | None = None
    dry_run: bool = False
    notes: list[str] = field(default_factory=list)
    text: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """What people call it: ``acme/p12``."""
        return f"{self.tenant}/p{self.number}" if self.number is not None else f"{self.source} → {self.target}"

    def as_json(self) -> JsonObject:
        """As ``--json`` and metadata show it."""
        document = asdict(self)
        del document["text"]
        return {"name": self.name, **document}
