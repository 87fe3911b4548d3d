"""What fleet.yaml declares, as the rows that would hold it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from wfops_pipelines.domain.fleet import (
    DEFAULT_REPOSITORY,
    EnvironmentSpec,
    PipelineSpec,
    RepositorySpec,
    SecretReference,
    StageSpec,
    TenantSpec,
)
from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.services.environment_tables import replace_credentials
from wfops_pipelines.store.unit_of_work import UnitOfWork

SECRET = "(secret)"  # noqa: S105 - what plans and events show in place of one


@dataclass(frozen=True, slots=True)
class Declared:
    """A row that should be: its name, and the columns that the document decides."""

    name: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeclaredTable:
    """Rows that are written together; ``stored`` and ``declared`` are comparable, ``key`` names what tells two rows apart,
    ``replace`` makes its argument the table."""

    kind: str
    key: tuple[str, ...]
    stored: list[dict[str, Any]]
    declared: list[dict[str, Any]]
    replace: Callable[[list[dict[str, Any]]], None]

    @property
    def unmanaged(self) -> list[dict[str, Any]]:
        """Rows that are stored and not declared: they stay, unless they are pruned (§2.6)."""
        named = {tuple(row[column] for column in self.key) for row in self.declared}
        return [row for row in self.stored if tuple(row[column] for column in self.key) not in named]


def declared_secrets(spec: TenantSpec, resolved: Mapping[SecretReference, str]) -> dict[str, str]:
    """Every secret of a tenant by the name it is stored under."""
    found = {f"environment/{e.slug}/api_key": resolved[e.api_key] for e in spec.environments}
    for name, repository in _repositories(spec):
        reference = _access(repository)
        if reference is not None:
            # An SSH key stays where it is: ssh wants a path, and the key is not ours to keep.
            found[f"repository/{name}/access"] = (
                reference.name if repository.ssh_key is not None else resolved[reference])
        if repository.webhook_secret is not None:
            found[webhook_secret_name(name)] = resolved[repository.webhook_secret]
    found |= {f"notification/{n.name}/url": resolved[n.url] for n in spec.notifications}
    return found


def declared_repositories(spec: TenantSpec) -> Iterator[Declared]:
    """The tenant's repository, and those of environments that have their own."""
    for name, repository in _repositories(spec):
        app = repository.github_app
        yield Declared(name, {
            "name": name, "provider": repository.provider, "url": repository.url, "branch": repository.branch,
            "api_url": repository.api_url,
            "github_app": {"app_id": app.app_id, "installation_id": app.installation_id} if app is not None else None,
            "secret_name": f"repository/{name}/access" if _access(repository) is not None else None,
            "webhook_secret": webhook_secret_name(name) if repository.webhook_secret is not None else None,
        })


def webhook_secret_name(repository: str) -> str:
    """Under which name the secret of a repository's webhooks is stored."""
    return f"repository/{repository}/webhook"


def declared_environments(spec: TenantSpec, repository_ids: Mapping[str, UUID]) -> Iterator[Declared]:
    """The tenant's environments, in their order."""
    for position, environment in enumerate(spec.environments):
        place = spec.git_place(environment)
        yield Declared(environment.slug, {
            "slug": environment.slug, "name": environment.title, "class": str(environment.environment_class),
            "provider": environment.provider, "base_url": environment.url,
            "api_key_secret": f"environment/{environment.slug}/api_key", "verify_tls": _verify_tls(environment),
            "owner": environment.owner, "drift_handling_mode": str(environment.drift_handling_mode),
            "repository_id": repository_ids.get(place.repository_name) if place is not None else None,
            "branch": place.branch if place is not None else None,
            "folder": place.folder if place is not None else None, "write_mode": str(environment.write_mode),
            "allow_production": environment.allow_production, "health_check": environment.health_check,
            "sync_to_git": environment.sync_to_git, "variables": dict(environment.variables), "position": position,
            "new_node_ids": environment.new_node_ids, "snapshot_hours": environment.snapshot_hours,
        })


def declared_stages(pipeline: PipelineSpec, environment_ids: Mapping[str, UUID]) -> list[dict[str, Any]]:
    """The stages of a pipeline, in their order."""
    return [{
        "source_environment_id": environment_ids.get(stage.source),
        "target_environment_id": environment_ids.get(stage.target),
        "gates": _gates(stage), "approvers": stage.approvers, "soak_hours": stage.soak_hours,
        "freeze_windows": [window.as_json() for window in stage.freeze_windows],
        "verification": stage.verification.model_dump(exclude_defaults=True),
    } for stage in pipeline.stages]


def _gates(stage: StageSpec) -> dict[str, Any]:
    """As they are stored; the default of what came later is left out, so that a stage from before is no other one."""
    gates = stage.gates.model_dump(by_alias=True)
    return gates if stage.activation is Activation.KEEP else {**gates, "activation": str(stage.activation)}


def declared_tables(work: UnitOfWork, spec: TenantSpec, environment_ids: Mapping[str, UUID]) -> Iterator[DeclaredTable]:
    """Credentials, drift policies and notification targets."""
    fleet = work.fleet
    credentials = sorted(({
        "key": c.key, "environment_id": environment_ids.get(slug), "type": c.type, "name": named.name,
        "credential_id": named.id,
    } for c in spec.credentials for slug, named in c.environments.items()), key=_order)
    yield DeclaredTable("credentials", ("key", "environment_id"), _stored(fleet.credentials()), credentials,
                        lambda rows: replace_credentials(work, rows))

    policies = sorted(({
        "environment_id": environment_ids.get(slug) if slug else None,
        "policy": policy.model_dump(mode="json", exclude_unset=True),
    } for slug, policy in [(None, spec.drift_policy), *((e.slug, e.drift_policy) for e in spec.environments)]
        if policy is not None), key=_order)
    yield DeclaredTable("drift_policy", ("environment_id",), _stored(fleet.policies()), policies,
                        lambda rows: fleet.replace_policies([{"id": work.context.new_id(), **row} for row in rows]))

    targets = sorted(({
        "name": n.name, "url_secret": f"notification/{n.name}/url", "events": [str(e) for e in n.events],
        "quiet_hours": None if n.quiet_hours is None else n.quiet_hours.model_dump(mode="json"),
        "digest_minutes": n.digest_minutes, "min_severity": n.min_severity,
    } for n in spec.notifications), key=_order)
    yield DeclaredTable("notifications", ("name",), _stored(fleet.notification_targets()), targets,
                        fleet.replace_notification_targets)


def _repositories(spec: TenantSpec) -> Iterator[tuple[str, RepositorySpec]]:
    if spec.repository is not None:
        yield DEFAULT_REPOSITORY, spec.repository
    for environment in spec.environments:
        if environment.repository is not None:
            yield environment.slug, environment.repository


def _access(repository: RepositorySpec) -> SecretReference | None:
    if repository.github_app is not None:
        return repository.github_app.private_key
    return repository.token or repository.ssh_key


def _verify_tls(environment: EnvironmentSpec) -> str | None:
    if environment.ca_bundle is not None:
        return environment.ca_bundle
    return None if environment.verify_tls else "false"


def _stored(rows: list[Any]) -> list[dict[str, Any]]:
    """Rows as they compare with declared ones: without ids."""
    return sorted(({k: v for k, v in row._mapping.items() if k not in {"tenant_id", "id"}} for row in rows), key=_order)


def _order(row: dict[str, Any]) -> str:
    return str(sorted((key, str(value)) for key, value in row.items()))
