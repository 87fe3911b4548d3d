"""The credential table by hand (§11.4): what each logical credential is called in which environment.

fleet.yaml may declare the same rows, and is the truth where it does: the next ``wfops apply`` sets them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.drift_policy import invalid_fields
from wfops_pipelines.domain.errors import InvalidFields, UnknownEnvironment, UsageError
from wfops_pipelines.domain.fleet import CredentialSpec
from wfops_pipelines.domain.transform_tables import CredentialRow, EnvironmentTables, find_table_problems
from wfops_pipelines.services.declaring import declaring
from wfops_pipelines.services.environment_tables import environment_tables, replace_credentials
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

_WHAT: Final = "credential"


@dataclass(frozen=True, slots=True)
class CredentialName:
    """What a credential is called in an environment; ``id`` where the name alone will not do."""

    name: str
    id: str | None = None


Names = dict[str, CredentialName]
"""By environment (slug), the name there."""


@dataclass(frozen=True, slots=True)
class CredentialChange:
    """The row of a key before and after; ``type`` is the one that it has now."""

    tenant: str
    key: str
    type: str
    before: Names
    after: Names
    changed: bool
    dry_run: bool

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return asdict(self)


def list_credentials(services: Services, context: Context) -> list[dict[str, Any]]:
    """The table, by key: ``environments`` has every environment of the tenant, with ``None`` where the key has no name."""
    with services.store.read(context) as work:
        environments, rows = work.fleet.environments(), work.fleet.credentials()
    slugs = {row.id: row.slug for row in environments}
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.environment_id in slugs:
            entry = found.setdefault(row.key, {"key": row.key, "type": row.type,
                                               "environments": dict.fromkeys(slugs.values())})
            entry["environments"][slugs[row.environment_id]] = {"name": row.name, "id": row.credential_id}
    return list(found.values())


def map_credential(services: Services, context: Context, key: str, credential_type: str,
                   names: Mapping[str, CredentialName | None], *, dry_run: bool = False) -> CredentialChange:
    """Say what a key is called in environments; ``None`` takes its name there away, the others stay as they are.

    :class:`InvalidFields` names every field that does not fit, and every row by which what is promoted could not be read
    back (§11.4). :class:`UsageError` for another type than the key has in environments that are not named.
    """
    if not names:
        raise UsageError("no environment is named", fix="write ENV=NAME for each, as prod=stripe-live")
    _check_shape(key, credential_type, names)
    with declaring(services, context, "credentials.map", dry_run=dry_run) as work:
        environments = work.fleet.environments()
        ids = _ids(context, environments, names)
        rows = work.fleet.credentials()
        slugs = {row.id: row.slug for row in environments}
        mine = {slugs[row.environment_id]: row for row in rows if row.key == key and row.environment_id in slugs}
        _check_type(key, credential_type, mine, names)
        before = {slug: CredentialName(row.name, row.credential_id) for slug, row in mine.items()}
        after = {slug: name for slug, name in {**before, **names}.items() if name is not None}
        changed = before != after or any(row.type != credential_type for row in mine.values())
        change = CredentialChange(context.tenant_slug, key, credential_type, before, after, changed, dry_run)
        if changed:
            new = {ids[slug]: name for slug, name in after.items()}
            _check_law(work, environments, key, credential_type, new)
            if not dry_run:
                kept = [{column: value for column, value in row._mapping.items() if column != "tenant_id"}
                        for row in rows if row.key != key or row.environment_id not in slugs]
                replace_credentials(work, [*kept, *(_row(key, credential_type, place, name) for place, name in new.items())])
                work.record("credential.mapped", "credential", key, type=credential_type,
                            was={slug: asdict(name) for slug, name in before.items()},
                            now={slug: asdict(name) for slug, name in after.items()})
    return change


def _check_shape(key: str, credential_type: str, names: Mapping[str, CredentialName | None]) -> None:
    """As fleet.yaml would have it; what is only taken away has any name."""
    given = {slug: {"name": "-"} if name is None else asdict(name) for slug, name in names.items()}
    try:
        CredentialSpec.model_validate({"key": key, "type": credential_type, "environments": given})
    except ValidationError as error:
        raise invalid_fields(_WHAT, error, CredentialSpec) from None


def _ids(context: Context, environments: Sequence[Row[Any]], names: Mapping[str, object]) -> dict[str, UUID]:
    ids = {row.slug: row.id for row in environments}
    for slug in names:
        if slug not in ids:
            raise UnknownEnvironment(f"tenant {context.tenant_slug} has no environment {slug!r}",
                                     fix=f"environments: {', '.join(ids)}")
    return ids


def _check_type(key: str, credential_type: str, mine: Mapping[str, Row[Any]], names: Mapping[str, object]) -> None:
    """A key has one type: changing it needs every environment in which the key has a name."""
    left = {slug: row.type for slug, row in mine.items() if row.type != credential_type and slug not in names}
    if left:
        said = ", ".join(f"{slug} ({kind})" for slug, kind in left.items())
        raise UsageError(f"key {key!r} has another type in {said}", fix=(
            f"use that type, or name these environments too to make it {credential_type} everywhere"))


def _check_law(work: UnitOfWork, environments: Sequence[Row[Any]], key: str, credential_type: str,
               names: Mapping[UUID, CredentialName]) -> None:
    """Refuse what would break lift(lower(x)) = x. What is broken already is somebody else's row, and does not keep this one
    from being mended."""
    before = [environment_tables(work, environment) for environment in environments]
    after: list[EnvironmentTables] = []
    for environment, table in zip(environments, before, strict=True):
        rows = [row for row in table.credentials if row.key != key]
        if (name := names.get(environment.id)) is not None:
            rows.append(CredentialRow(key, credential_type, name.name, name.id))
        after.append(replace(table, credentials=tuple(rows)))
    known = set(find_table_problems(before))
    if problems := [problem for problem in find_table_problems(after) if problem not in known]:
        raise InvalidFields("credential table", problems, fix=(
            "give each key names of its own, so that each row says one thing in both directions; nothing was changed"))


def _row(key: str, credential_type: str, environment_id: UUID, name: CredentialName) -> dict[str, Any]:
    return {"key": key, "environment_id": environment_id, "type": credential_type, "name": name.name,
            "credential_id": name.id}
