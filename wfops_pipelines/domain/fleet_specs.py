"""The parts of fleet.yaml (§2.6) as models: what each field holds, and what it can say for itself.

What must hold between fields is in ``fleet_rules``; reading a document in ``fleet``. Secrets are references, never
values.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from wfops_pipelines.domain.delivery import QuietHours
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.fleet_fields import (
    BaseUrl,
    Branch,
    ClockTime,
    CredentialName,
    DriftHandlingMode,
    EnvironmentClass,
    Folder,
    Key,
    Name,
    NotificationEvent,
    Plan,
    RepositoryUrl,
    Secret,
    SecretReference,
    Slug,
    VariableName,
    WholeNumber,
    WriteMode,
)
from wfops_pipelines.domain.pipeline_specs import PipelineSpec
from wfops_pipelines.domain.spec_model import WEEK, Spec, Weekday

DEFAULT_REPOSITORY = "default"


class GitHubAppSpec(Spec):
    """A GitHub App installation, in place of a token."""

    app_id: WholeNumber = Field(gt=0, description="The App's id.", examples=[123456])
    installation_id: WholeNumber = Field(gt=0, description="The id of its installation on the repository.",
                                         examples=[7890123])
    private_key: Secret = Field(description="Reference to the App's private key (PEM).",
                                examples=["file:/etc/wfops/github-app.pem"])


class RepositorySpec(Spec):
    """A Git repository and how to get in."""

    url: RepositoryUrl = Field(
        description="The remote: file:///path, https://host/path, ssh://user@host/path or user@host:path.",
        examples=["https://github.com/acme/workflows.git", "file:///srv/git/acme.git"],
    )
    provider: Literal["git", "github"] = Field(
        "git", description="`git` for any remote; `github` uses GitHub's API, and knows pull requests.",
        examples=["github"],
    )
    branch: Branch = Field("main", description="The branch of environments that name none.", examples=["main"])
    token: Secret | None = Field(None, description="Reference to an access token, for http(s) and GitHub.",
                                 examples=["env:ACME_GIT_TOKEN"])
    ssh_key: Secret | None = Field(
        None, description="file:PATH of a private key for SSH. The path is kept and given to ssh; the key is not read.",
        examples=["file:/etc/wfops/acme_ed25519"],
    )
    github_app: GitHubAppSpec | None = Field(
        None, description="A GitHub App installation in place of a token.",
        examples=[{"app_id": 123456, "installation_id": 7890123, "private_key": "file:/etc/wfops/github-app.pem"}],
    )
    api_url: BaseUrl | None = Field(None, description="GitHub Enterprise's API; without it, GitHub's own.",
                                    examples=["https://github.example.com/api/v3"])
    webhook_secret: Secret | None = Field(
        None, description="Reference to the secret under which the remote signs its push webhooks; without it none is "
                          "believed, and the poll alone sees pushes.", examples=["env:ACME_WEBHOOK_SECRET"])


class SeverityTtls(Spec):
    """Hours that an incident may stay open, by severity (§10.3). What is not said comes from the default."""

    critical: WholeNumber | None = Field(None, gt=0, le=8760, description="Hours; default 24.", examples=[24])
    high: WholeNumber | None = Field(None, gt=0, le=8760, description="Hours; default 48.", examples=[48])
    medium: WholeNumber | None = Field(None, gt=0, le=8760, description="Hours; default 72.", examples=[72])
    low: WholeNumber | None = Field(None, gt=0, le=8760, description="Hours; default 168.", examples=[168])


class DriftPolicySpec(Spec):
    """What happens when an environment drifts (§10.8). An environment's policy overrides the tenant's field by field;
    what neither says has its default. Dump with ``exclude_unset=True`` to keep apart what was said."""

    severity_ttls: SeverityTtls | None = Field(
        None, description="Hours until an incident is overdue, by severity.",
        examples=[{"critical": 24, "high": 48, "medium": 72, "low": 168}],
    )
    enforce_ttl: bool | None = Field(None, description="Whether an overdue incident blocks promotions.",
                                     examples=[True])
    enforce_sla: bool | None = Field(None, description="Whether each escalation notifies; default true.",
                                     examples=[True])
    auto_create_incidents: bool | None = Field(None, description="Whether drift opens an incident by itself.",
                                               examples=[True])
    auto_create_for_production_only: bool | None = Field(
        None, description="Whether only drift of production environments does.", examples=[True])
    block_on_active_drift: bool | None = Field(None, description="Whether an open incident blocks promotions.",
                                               examples=[False])
    require_approval_for: list[Literal["acknowledge", "extend_ttl", "close", "reconcile"]] | None = Field(
        None, description="Steps of an incident that somebody else has to approve.", examples=[["close"]])
    closed_incident_retention_days: WholeNumber | None = Field(
        None, gt=0, description="Days after which a closed incident's payload is removed.", examples=[365])
    reconciliation_artifact_retention_days: WholeNumber | None = Field(
        None, gt=0, description="Days after which what a reconciliation left is removed.", examples=[180])
    snapshot_retention_days: WholeNumber | None = Field(
        None, gt=0, description="Days after which a snapshot that nobody took by hand is removed.", examples=[90])


class EnvironmentSpec(Spec):
    """One n8n instance of a tenant (§3)."""

    slug: Slug = Field(description="Short name in commands, folders and partitions.", examples=["prod"])
    name: Name | None = Field(None, description="Name for people; without it, the slug.", examples=["Production"])
    environment_class: EnvironmentClass = Field(
        alias="class", description="`dev`: n8n is the source of truth. `staging`, `production`: Git is.",
        examples=["production"],
    )
    url: BaseUrl = Field(description="Address of n8n, without /api/v1.", examples=["https://n8n.example.com"])
    api_key: Secret = Field(description="Reference to an API key of n8n.", examples=["env:ACME_PROD_KEY"])
    provider: Key = Field("n8n", description="The engine that answers there.", examples=["n8n"])
    verify_tls: bool = Field(True, description="Whether the server's certificate is checked.", examples=[True])
    ca_bundle: Name | None = Field(None, description="File with the certificate authorities to trust, PEM.",
                                   examples=["/etc/ssl/acme-ca.pem"])
    owner: Name | None = Field(None, description="Who is notified first.", examples=["platform@example.com"])
    repository: RepositorySpec | None = Field(
        None, description="A repository of its own, in place of the tenant's.",
        examples=[{"url": "file:///srv/git/acme-prod.git"}],
    )
    branch: Branch | None = Field(None, description="Its branch; without it, the repository's.", examples=["main"])
    folder: Folder | None = Field(
        None, examples=["prod"],
        description="Its folder in the branch; `.` is the root. A `dev` environment that names neither folder, branch "
                    "nor repository has no Git; any other one without a folder has the root.",
    )
    write_mode: WriteMode = Field(
        WriteMode.PUSH, description="Commit to the branch, or open pull requests (GitHub).", examples=["pull_request"])
    sync_to_git: bool = Field(False, description="`dev` only: export to Git on schedule.", examples=[False])
    drift_handling_mode: DriftHandlingMode = Field(
        DriftHandlingMode.WARN_ONLY, description="What drift means for whoever touches the environment.",
        examples=["require_attestation"],
    )
    drift_policy: DriftPolicySpec | None = Field(None, description="Overrides fields of the tenant's policy.",
                                                 examples=[{"block_on_active_drift": True}])
    health_check: bool = Field(True, description="Whether it is probed.", examples=[True])
    allow_production: bool = Field(False, description="Whether WorkflowOps may write to it if it is production (§20).",
                                   examples=[True])
    variables: dict[VariableName, str] = Field(
        default_factory=dict, description="Values that differ from environment to environment. No secrets.",
        examples=[{"API_BASE": "https://stg.example.com"}],
    )
    new_node_ids: bool = Field(False, examples=[True],
                               description="Whether nodes that are promoted here get ids of this environment's own.")
    snapshot_hours: WholeNumber = Field(0, ge=0, le=8760, examples=[24],
                                        description="Hours between scheduled snapshots; 0: none are scheduled.")

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name or self.slug


class CredentialNameSpec(Spec):
    """What a logical credential is called in one environment."""

    name: CredentialName = Field(description="Name of the credential there, as n8n has it.", examples=["stripe-live"])
    id: Key | None = Field(None, description="Its id there, where the name alone will not do.", examples=["abc123"])


class CredentialSpec(Spec):
    """A logical credential: one key, and a name per environment (§11.4)."""

    key: Key = Field(description="What it is called across environments.", examples=["stripe"])
    type: Key = Field(description="n8n's credential type.", examples=["httpBasicAuth"])
    environments: dict[Slug, CredentialNameSpec] = Field(
        min_length=1, description="By environment, its name there.",
        examples=[{"dev": {"name": "stripe"}, "prod": {"name": "stripe-live", "id": "abc123"}}],
    )


class QuietHoursSpec(Spec):
    """When somebody is not to be disturbed (§16)."""

    start: ClockTime = Field(description="When they begin, on the clock of the zone.", examples=["22:00"])
    end: ClockTime = Field(description="When they end; a time that is not after the start is that of the next day.",
                           examples=["07:00"])
    zone: Name = Field("UTC", description="Time zone by its IANA name.", examples=["Europe/Berlin"])
    days: list[Weekday] = Field(default_factory=lambda: list(WEEK), examples=[["mon", "tue", "wed", "thu", "fri"]],
                                description="The days on which they begin; without it, every day.")
    whole_days: list[Weekday] = Field(default_factory=list, examples=[["sat", "sun"]],
                                      description="Days that are quiet from midnight to midnight.")
    critical_passes: bool = Field(True, description="Whether critical messages come all the same.", examples=[True])

    @model_validator(mode="after")
    def _end_some_day(self) -> Self:
        try:
            self.hours()
        except UsageError as error:
            raise ValueError(error.message.removeprefix("quiet hours: ")) from None
        return self

    def hours(self) -> QuietHours:
        """As the rules of delivery know them."""
        return QuietHours(
            start=time.fromisoformat(self.start), end=time.fromisoformat(self.end), zone=self.zone,
            days=frozenset(map(WEEK.index, self.days)), whole_days=frozenset(map(WEEK.index, self.whole_days)),
            critical_passes=self.critical_passes)


class NotificationSpec(Spec):
    """Somebody to tell (§16)."""

    name: Name = Field(description="Its name, unique in the tenant.", examples=["on-call"])
    url: Secret = Field(description="Reference to its URL, which usually is a secret.", examples=["env:ACME_SLACK_URL"])
    events: list[NotificationEvent] = Field(default_factory=list, examples=[["incident.opened"]],
                                            description="What it is told of; empty: everything.")
    min_severity: Literal["low", "medium", "high", "critical"] = Field(
        "low", description="Bad news below this severity is not told.", examples=["high"])
    quiet_hours: QuietHoursSpec | None = Field(
        None, description="When messages wait; from five on, what waited comes as one.",
        examples=[{"start": "22:00", "end": "07:00", "zone": "Europe/Berlin", "whole_days": ["sat", "sun"]}])
    digest_minutes: WholeNumber = Field(
        0, ge=0, le=1440, examples=[15],
        description="What comes up within so many minutes is one message; critical ones come at once. 0: each by itself.")


@dataclass(frozen=True, slots=True)
class GitPlace:
    """Where an environment's workflows are in Git. ``repository_name`` is ``default`` for the tenant's repository, else
    the slug of the environment that has its own; ``folder`` is ``""`` for the root."""

    repository_name: str
    repository: RepositorySpec
    branch: str
    folder: str


class TenantSpec(Spec):
    """A customer or team, and everything that is theirs."""

    slug: Slug = Field(description="Short name in commands, paths and partitions.", examples=["acme"])
    name: Name | None = Field(None, description="Name for people; without it, the slug.", examples=["Acme Corp"])
    plan: Plan = Field(Plan.FREE, description="Their plan: features and limits (§17).", examples=["agency"])
    repository: RepositorySpec | None = Field(None, description="The repository of environments that name no other.",
                                              examples=[{"url": "file:///srv/git/acme.git"}])
    environments: list[EnvironmentSpec] = Field(
        default_factory=list, description="Their n8n instances, in the order in which they are shown.",
        examples=[[{"slug": "dev", "class": "dev", "url": "http://127.0.0.1:5678", "api_key": "env:ACME_DEV_KEY"}]],
    )
    credentials: list[CredentialSpec] = Field(
        default_factory=list, description="Logical credentials and what they are called in each environment.",
        examples=[[{"key": "stripe", "type": "httpBasicAuth", "environments": {"dev": {"name": "stripe"}}}]],
    )
    pipelines: list[PipelineSpec] = Field(
        default_factory=list, description="The ways of workflows from environment to environment.",
        examples=[[{"name": "standard", "stages": [{"source": "dev", "target": "prod"}]}]],
    )
    drift_policy: DriftPolicySpec | None = Field(None, description="What happens when an environment drifts.",
                                                 examples=[{"auto_create_incidents": True}])
    notifications: list[NotificationSpec] = Field(
        default_factory=list, description="Who is told of what.",
        examples=[[{"name": "on-call", "url": "env:ACME_SLACK_URL", "events": ["incident.opened"]}]],
    )

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name or self.slug

    def git_place(self, environment: EnvironmentSpec) -> GitPlace | None:
        """Where an environment's workflows are in Git; none when it has no Git."""
        own = environment.repository
        repository = own or self.repository
        says_nothing = own is None and environment.branch is None and environment.folder is None
        if repository is None or (says_nothing and environment.environment_class is EnvironmentClass.DEV):
            return None
        return GitPlace(environment.slug if own else DEFAULT_REPOSITORY, repository,
                        environment.branch or repository.branch, environment.folder or "")


class Fleet(Spec):
    """A whole fleet.yaml. Made by :func:`load_fleet`, which also checks what must hold between its parts."""

    version: Literal[1] = Field(description="Version of this format.", examples=[1])
    tenants: list[TenantSpec] = Field(default_factory=list, description="The tenants.",
                                      examples=[[{"slug": "acme", "name": "Acme Corp"}]])

    def secret_references(self) -> set[SecretReference]:
        """Every secret that the document refers to."""
        return set(_references(self))


def _references(part: object) -> list[SecretReference]:
    if isinstance(part, SecretReference):
        return [part]
    if isinstance(part, BaseModel):
        return [found for _, value in part for found in _references(value)]
    if isinstance(part, list):
        return [found for value in part for found in _references(value)]
    return []
