"""What must hold between the fields of a fleet (§2.6): unique names, names that exist, places that do not overlap.

Each rule yields the path of the field to change and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from wfops_pipelines.domain.fleet_fields import EnvironmentClass, WriteMode, repository_identity
from wfops_pipelines.domain.fleet_problems import Problem
from wfops_pipelines.domain.fleet_specs import (
    CredentialSpec,
    EnvironmentSpec,
    Fleet,
    RepositorySpec,
    TenantSpec,
)
from wfops_pipelines.domain.pipeline_specs import PipelineSpec, StageSpec
from wfops_pipelines.domain.transform_tables import CredentialRow, EnvironmentTables, find_table_problems
from wfops_pipelines.domain.yaml_lines import Path

MAX_ENVIRONMENT_SLUGS = 32
"""The Dagster UI holds the cross product of environment slugs and tenants (design decision 11)."""


def broken_rules(fleet: Fleet, providers: Collection[str] | None) -> Iterator[Problem]:
    """Every rule that the fleet breaks."""
    yield from _unique(["tenants"], [tenant.slug for tenant in fleet.tenants], "slug", "a tenant")
    slugs = {environment.slug for tenant in fleet.tenants for environment in tenant.environments}
    if len(slugs) > MAX_ENVIRONMENT_SLUGS:
        yield ["tenants"], (f"together have {len(slugs)} different environment slugs, and {MAX_ENVIRONMENT_SLUGS} are "
                            "allowed: name environments for what they are (dev, staging, prod), not for whose they are")
    for i, tenant in enumerate(fleet.tenants):
        yield from _of_tenant(["tenants", i], tenant, providers)
    yield from _overlaps(fleet)


def _of_tenant(at: Path, tenant: TenantSpec, providers: Collection[str] | None) -> Iterator[Problem]:
    if tenant.repository is not None:
        yield from _of_repository([*at, "repository"], tenant.repository)
    yield from _unique([*at, "environments"], [e.slug for e in tenant.environments], "slug", "an environment")
    for i, environment in enumerate(tenant.environments):
        yield from _of_environment([*at, "environments", i], tenant, environment, providers)
    known = {environment.slug for environment in tenant.environments}
    yield from _unique([*at, "credentials"], [c.key for c in tenant.credentials], "key", "a credential")
    confused = list(_of_credentials([*at, "credentials"], tenant.credentials, known))
    yield from confused or _of_transformations(at, tenant)
    yield from _unique([*at, "pipelines"], [p.name for p in tenant.pipelines], "name", "a pipeline")
    for i, pipeline in enumerate(tenant.pipelines):
        yield from _of_pipeline([*at, "pipelines", i], pipeline, known)
    yield from _stages_of_two([*at, "pipelines"], tenant.pipelines)
    yield from _unique([*at, "notifications"], [n.name for n in tenant.notifications], "name", "a notification target")


def _unique(at: Path, names: Sequence[str], field: str, what: str) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        if name in first:
            yield [*at, i, field], f"{name!r} is {what} already: {at[-1]}[{first[name]}]"
        first.setdefault(name, i)


def _of_repository(at: Path, repository: RepositorySpec) -> Iterator[Problem]:
    parts = urlsplit(repository.url) if "://" in repository.url else None
    scheme = parts.scheme if parts else "file" if repository.url.startswith("/") else "ssh"
    given = [name for name in ("token", "ssh_key", "github_app") if getattr(repository, name) is not None]
    if len(given) > 1:
        yield [*at, given[1]], f"and {given[0]} are both given, and one way in is needed"
    if repository.webhook_secret is not None and scheme == "file":
        yield [*at, "webhook_secret"], "is not used with a repository on a disk: nothing there sends webhooks"
    if repository.provider == "github":
        if scheme not in {"http", "https"} or parts is None or len([p for p in parts.path.split("/") if p]) < 2:
            yield [*at, "url"], "must be https://github.com/OWNER/NAME (or your GitHub's) with provider: github"
        if repository.ssh_key is not None:
            yield [*at, "ssh_key"], "is not used with provider: github: give token or github_app"
        return
    for name in ("github_app", "api_url"):
        if getattr(repository, name) is not None:
            yield [*at, name], "needs provider: github"
    if repository.token is not None and scheme not in {"http", "https"}:
        yield [*at, "token"], f"is not used with a {scheme} URL" + (": give ssh_key" if scheme == "ssh" else "")
    if repository.ssh_key is not None and scheme != "ssh":
        yield [*at, "ssh_key"], f"is not used with a {scheme} URL"
    if repository.ssh_key is not None and repository.ssh_key.kind != "file":
        yield [*at, "ssh_key"], "must be file:PATH, since ssh reads the key from a file"


def _of_environment(at: Path, tenant: TenantSpec, environment: EnvironmentSpec,
                    providers: Collection[str] | None) -> Iterator[Problem]:
    if providers is not None and environment.provider not in providers:
        yield [*at, "provider"], f"is not known (known: {', '.join(sorted(providers))})"
    if environment.ca_bundle is not None and not environment.verify_tls:
        yield [*at, "ca_bundle"], "is not used with verify_tls: false"
    if environment.repository is not None:
        yield from _of_repository([*at, "repository"], environment.repository)
    place = tenant.git_place(environment)
    if environment.repository is None and tenant.repository is None:
        for name in ("branch", "folder"):
            if getattr(environment, name) is not None:
                yield [*at, name], "needs a repository: give one to the tenant or to this environment"
    if environment.sync_to_git:
        if environment.environment_class is not EnvironmentClass.DEV:
            yield [*at, "sync_to_git"], f"is for dev: in {environment.environment_class} Git is the source of truth"
        elif place is None:
            yield [*at, "sync_to_git"], "needs a repository and a folder"
    if environment.write_mode is WriteMode.PULL_REQUEST and (place is None or place.repository.provider != "github"):
        yield [*at, "write_mode"], "pull_request needs a repository with provider: github"


def _of_credentials(at: Path, credentials: Sequence[CredentialSpec], known: Collection[str]) -> Iterator[Problem]:
    """One name, or one id, for two keys could not be lifted back to a key (§11.4)."""
    taken: dict[tuple[str, str, str, str], int] = {}
    for i, credential in enumerate(credentials):
        for slug, here in credential.environments.items():
            where: Path = [*at, i, "environments", slug]
            if slug not in known:
                yield where, _unknown(slug, known)
            for field, value in (("name", here.name), ("id", here.id)):
                if value is None:
                    continue
                other = taken.setdefault((slug, credential.type, field, value), i)
                if other != i:
                    yield [*where, field], (
                        f"{value!r} is also the {field} of {credentials[other].key!r} in {slug}: which of the two keys "
                        f"such a credential of type {credential.type} has could not be told"
                    )


def _of_transformations(at: Path, tenant: TenantSpec) -> Iterator[Problem]:
    """Tables by which what is promoted could not be read back (§11.4)."""
    places: dict[str, Path] = {}
    tables = []
    for i, environment in enumerate(tenant.environments):
        here: Path = [*at, "environments", i]
        places[f"base_url.{environment.slug}"] = [*here, "url"]
        places |= {f"variables.{name}.{environment.slug}": [*here, "variables", name] for name in environment.variables}
        rows = []
        for j, credential in enumerate(tenant.credentials):
            if (named := credential.environments.get(environment.slug)) is not None:
                rows.append(CredentialRow(credential.key, credential.type, named.name, named.id))
                places[f"credentials.{credential.key}.{environment.slug}"] = [
                    *at, "credentials", j, "environments", environment.slug]
        tables.append(EnvironmentTables(environment.slug, environment.url, {}, rows, environment.variables))
    for problem in find_table_problems(tables):
        if (path := places.get(problem.field or "")) is not None:  # else: a slug or a key that is there twice, said above
            yield path, problem.message


def _of_pipeline(at: Path, pipeline: PipelineSpec, known: Collection[str]) -> Iterator[Problem]:
    follows: dict[str, set[str]] = {}
    for i, stage in enumerate(pipeline.stages):
        where: Path = [*at, "stages", i]
        for field, slug in (("source", stage.source), ("target", stage.target)):
            if slug not in known:
                yield [*where, field], _unknown(slug, known)
        if stage.source == stage.target:
            yield [*where, "target"], f"is the source {stage.source!r} itself"
        elif stage.target in follows.get(stage.source, set()):
            yield where, f"{stage.source} → {stage.target} is a stage of this pipeline already"
        elif _reaches(follows, stage.target, stage.source):
            yield where, f"{stage.source} → {stage.target} closes a circle: {stage.target} comes before {stage.source}"
        else:
            follows.setdefault(stage.source, set()).add(stage.target)
        yield from _of_stage(where, stage)


def _of_stage(at: Path, stage: StageSpec) -> Iterator[Problem]:
    yield from _unique([*at, "freezeWindows"], [window.name for window in stage.freeze_windows], "name", "a freeze window")
    if stage.verification.rollback_on_failure and not stage.verification.verification().asks_for_something:
        yield [*at, "verification", "rollback_on_failure"], "needs webhooks, triggers or smoke_workflow: nothing is verified"


def _stages_of_two(at: Path, pipelines: Sequence[PipelineSpec]) -> Iterator[Problem]:
    """Which gates a promotion has to pass must follow from where it comes from and where it goes."""
    first: dict[tuple[str, str], str] = {}
    for i, pipeline in enumerate(pipelines):
        for j, stage in enumerate(pipeline.stages):
            other = first.setdefault((stage.source, stage.target), pipeline.name)
            if other != pipeline.name:
                yield [*at, i, "stages", j], (
                    f"{stage.source} → {stage.target} is a stage of {other!r} already: whose gates are meant could not be "
                    "told")


def _reaches(follows: dict[str, set[str]], start: str, end: str) -> bool:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        here = waiting.pop()
        if here == end:
            return True
        if here not in seen:
            seen.add(here)
            waiting.extend(follows.get(here, ()))
    return False


def _unknown(slug: str, known: Collection[str]) -> str:
    there = f"environments: {', '.join(sorted(known))}" if known else "it has none"
    return f"the tenant has no environment {slug!r} ({there})"


class _Place(NamedTuple):
    """A folder by its parts, whose it is, and the field that says so."""

    parts: tuple[str, ...]
    name: str
    at: Path


def _overlaps(fleet: Fleet) -> Iterator[Problem]:
    """Two environments, of whichever tenant, in one folder or one inside the other: each would take the other's
    workflows for its own."""
    places: dict[tuple[str, str], list[_Place]] = {}
    for i, tenant in enumerate(fleet.tenants):
        for j, environment in enumerate(tenant.environments):
            place = tenant.git_place(environment)
            if place is not None:
                parts = tuple(part for part in place.folder.split("/") if part)
                places.setdefault((repository_identity(place.repository.url), place.branch), []).append(
                    _Place(parts, f"{tenant.slug}/{environment.slug}", ["tenants", i, "environments", j, "folder"])
                )
    for on_branch in places.values():
        yield from _nested(on_branch)


def _nested(places: list[_Place]) -> Iterator[Problem]:
    outer: _Place | None = None
    for place in sorted(places, key=lambda place: place.parts):  # whatever lies inside a folder follows it at once
        if outer is not None and place.parts[:len(outer.parts)] == outer.parts:
            shown = "/".join(outer.parts) or "the root"
            relation = "is" if place.parts == outer.parts else "lies inside"
            yield place.at, f"{relation} the folder of {outer.name} on the same branch of the same repository ({shown})"
        else:
            outer = place
