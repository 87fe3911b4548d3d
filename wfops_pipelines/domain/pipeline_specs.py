"""Pipelines in fleet.yaml (§11.1): the ways of workflows from environment to environment, and what each step asks for."""

from __future__ import annotations

from pydantic import Field

from wfops_pipelines.domain.fleet_fields import Activation, Name, Slug, WholeNumber
from wfops_pipelines.domain.freeze_windows import FreezeWindow
from wfops_pipelines.domain.spec_model import Spec
from wfops_pipelines.domain.verification import Verification


class GateSpec(Spec):
    """What a promotion to the stage's target has to pass (§11.1)."""

    require_clean_drift: bool = Field(True, alias="requireCleanDrift", examples=[True],
                                      description="The target must not have drifted.")
    allow_overwriting_hotfixes: bool = Field(False, alias="allowOverwritingHotfixes", examples=[False],
                                             description="Whether an edit made in the target may be overwritten.")
    allow_force_promotion_on_conflicts: bool = Field(
        False, alias="allowForcePromotionOnConflicts", examples=[False],
        description="Whether a conflict may be promoted over.")
    allow_placeholder_credentials: bool = Field(
        False, alias="allowPlaceholderCredentials", examples=[False],
        description="Whether missing credentials are created empty, to be filled in.")


class VerificationSpec(Spec):
    """What is looked at in the target after a promotion (§11.1)."""

    webhooks: bool = Field(False, examples=[True],
                           description="Whether every webhook of what was promoted has to be registered.")
    triggers: bool = Field(False, examples=[True],
                           description="Whether every other trigger of what was promoted has to be registered.")
    smoke_workflow: Name | None = Field(
        None, examples=["Smoke test"],
        description="Name of a workflow of the target that is executed, and has to succeed.")
    timeout_seconds: WholeNumber = Field(60, ge=1, le=3600, examples=[60],
                                         description="Seconds until what is not so yet has failed.")
    rollback_on_failure: bool = Field(False, examples=[True],
                                      description="Whether a promotion whose verification fails is rolled back.")

    def verification(self) -> Verification:
        """As the services know it."""
        return Verification(**self.model_dump())


class StoredGates(GateSpec):
    """What the store keeps of a stage's gates, with what the stage says of activation beside them."""

    activation: Activation = Activation.KEEP


class StageSpec(Spec):
    """One step of a pipeline."""

    source: Slug = Field(description="Slug of the environment that workflows come from.", examples=["staging"])
    target: Slug = Field(description="Slug of the environment that they go to.", examples=["prod"])
    gates: GateSpec = Field(default_factory=lambda: GateSpec.model_validate({}),
                            description="What has to hold.", examples=[{"requireCleanDrift": True}])
    approvers: WholeNumber = Field(0, ge=0, le=20, description="How many people have to approve.", examples=[1])
    activation: Activation = Field(
        Activation.KEEP, examples=["source"],
        description="Whether a workflow that both have runs in the target as it did there (keep) or as in the source "
                    "(source).")
    soak_hours: WholeNumber = Field(
        0, alias="soakHours", ge=0, le=8760, examples=[24],
        description="Hours that the source must have run what is promoted; 0: at once.")
    freeze_windows: list[FreezeWindow] = Field(
        default_factory=list, alias="freezeWindows",
        description="When promotions may run, and when not; what denies beats what allows.",
        examples=[[{"name": "weekend", "days": ["fri"], "start": "16:00", "end": "08:00", "zone": "Europe/Berlin"},
                   {"name": "year end", "from": "2026-12-20T18:00", "to": "2027-01-04T08:00"}]],
    )
    verification: VerificationSpec = Field(
        default_factory=lambda: VerificationSpec.model_validate({}),
        description="What is looked at in the target after a promotion; without it, nothing.",
        examples=[{"webhooks": True, "triggers": True, "smoke_workflow": "Smoke test", "rollback_on_failure": True}],
    )


class PipelineSpec(Spec):
    """An ordered way of workflows through environments."""

    name: Name = Field(description="Its name, unique in the tenant.", examples=["standard"])
    atomic: bool = Field(
        True, examples=[True],
        description="Whether a promotion is all or nothing. Without it, what failed is left out and named.")
    stages: list[StageSpec] = Field(min_length=1, description="Its stages, in order.",
                                    examples=[[{"source": "dev", "target": "staging"}]])
