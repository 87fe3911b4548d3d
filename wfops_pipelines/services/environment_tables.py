"""The tables that promotions transform by (§11.4): as the store has them, and as they would be once a fleet is applied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.fleet import TenantSpec
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.domain.transform_tables import CredentialRow, EnvironmentTables, check_tables
from wfops_pipelines.store.unit_of_work import UnitOfWork


def environment_tables(work: UnitOfWork, environment: Row[Any]) -> EnvironmentTables:
    """What portable terms mean in an environment: ``environment`` is its row. Linked workflows count, archived ones too
    (they keep their ids); those that the last sync did not find, and those whose canonical workflow is deleted, do not."""
    linked = [row for row in work.mappings.of_environment(environment.id, statuses=(MappingStatus.LINKED,))
              if row.missing_at is None]
    alive = {canonical_id for canonical_id, row in work.mappings.canonicals({row.canonical_id for row in linked}).items()
             if row.deleted_at is None}
    return EnvironmentTables(
        environment=environment.slug, base_url=environment.base_url,
        workflow_ids={str(row.canonical_id): row.workflow_id for row in linked if row.canonical_id in alive},
        credentials=_credentials(row for row in work.fleet.credentials() if row.environment_id == environment.id),
        variables=dict(environment.variables))


def replace_credentials(work: UnitOfWork, rows: list[dict[str, Any]]) -> None:
    """Make ``rows`` the credential table. Portable hashes speak of keys: all of them are made anew, from what is stored."""
    work.fleet.replace_credentials(rows)
    work.mappings.forget_hashes()
    work.git_states.forget_hashes()


def check_declared(work: UnitOfWork, spec: TenantSpec, *, prune: bool) -> None:
    """Refuse what a tenant declares where it breaks, together with the rows that stay because nobody prunes them, the law
    of the transformations (§11.4). :class:`InvalidFields` names the rows. What the document breaks by itself was said when
    it was read, with its lines."""
    declared = {environment.slug: environment for environment in spec.environments}
    stored = {row.slug: row for row in work.fleet.environments()}
    kept: dict[str, list[Row[Any]]] = {}
    if not prune:
        slugs = {row.id: slug for slug, row in stored.items()}
        named = {(credential.key, slug) for credential in spec.credentials for slug in credential.environments}
        for row in work.fleet.credentials():
            if (slug := slugs.get(row.environment_id)) is not None and (row.key, slug) not in named:
                kept.setdefault(slug, []).append(row)
    tables = [EnvironmentTables(
        environment=slug, base_url=environment.url, variables=environment.variables,
        credentials=(*_declared_credentials(spec, slug), *_credentials(kept.get(slug, ()))),
    ) for slug, environment in declared.items()]
    tables += [EnvironmentTables(slug, row.base_url, {}, _credentials(kept.get(slug, ())), dict(row.variables))
               for slug, row in stored.items() if slug not in declared and not prune]
    check_tables(tables, whose=f"transformation tables of {spec.slug}",
                 way_out="" if prune else ", or take those away that fleet.yaml declares no more (--prune)")


def _declared_credentials(spec: TenantSpec, slug: str) -> tuple[CredentialRow, ...]:
    return tuple(CredentialRow(credential.key, credential.type, named.name, named.id) for credential in spec.credentials
                 if (named := credential.environments.get(slug)) is not None)


def _credentials(rows: Iterable[Row[Any]]) -> tuple[CredentialRow, ...]:
    return tuple(CredentialRow(row.key, row.type, row.name, row.credential_id) for row in rows)
