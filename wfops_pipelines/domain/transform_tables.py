"""The tables that promotions transform by (§11.4), one set for each environment of a tenant, and when they are refused.

Lift reads them from right to left (what stands in an environment → what it means), lower from left to right. So each
has to say one thing in both directions; :func:`check_tables` refuses those that do not, by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Final
from urllib.parse import urlsplit

from wfops_pipelines.domain.errors import DocumentProblem, InvalidFields

KEY_PREFIX: Final = "key:"
"""What stands before a credential's key in portable content, where its name stands otherwise."""

_MIN_VALUE: Final = 2  # characters: a shorter value stands in every text by chance


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """What a logical credential is called in one environment; ``id`` where it is known."""

    key: str
    type: str
    name: str
    id: str | None = None


@dataclass(frozen=True)
class EnvironmentTables:
    """What the portable terms mean in one environment.

    ``workflow_ids``: canonical id → n8n id of the mappings that are live there. ``variables``: name → value.
    ``base_url``: the address of the instance, as its webhooks and links have it; empty where there is none to lift.
    """

    environment: str
    base_url: str = ""
    workflow_ids: Mapping[str, str] = field(default_factory=dict)
    credentials: Sequence[CredentialRow] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @cached_property
    def address(self) -> str:
        """The base URL without slashes at its end."""
        return self.base_url.rstrip("/")

    @cached_property
    def canonical_ids(self) -> dict[str, str]:
        """n8n id → canonical id, as the portable hash takes it (§4.7)."""
        return {workflow_id: canonical_id for canonical_id, workflow_id in self.workflow_ids.items()}

    @cached_property
    def credential_keys(self) -> dict[tuple[str, str], str]:
        """(type, name) → key, as the portable hash takes it (§4.7)."""
        return {(row.type, row.name): row.key for row in self.credentials}

    @cached_property
    def credential_rows(self) -> dict[tuple[str, str], CredentialRow]:
        """(type, key) → row."""
        return {(row.type, row.key): row for row in self.credentials}


def check_tables(tables: Sequence[EnvironmentTables], *, whose: str = "transformation tables", way_out: str = "") -> None:
    """Refuse tables by which lift(lower(x)) would not be x. Raises :class:`InvalidFields`, which names the rows and begins
    each line with ``whose``; ``way_out`` is one more than changing the rows.

    ``tables`` are those of all environments of one tenant. Never shows the value of a variable.
    """
    if problems := list(find_table_problems(tables)):
        raise InvalidFields(whose, problems, fix=(
            f"change the rows named, so that each says one thing in both directions{way_out}; nothing was applied"))


def find_table_problems(tables: Sequence[EnvironmentTables]) -> Iterator[DocumentProblem]:
    """What :func:`check_tables` refuses, row by row; ``field`` is ``credentials.KEY.ENVIRONMENT`` and the like."""
    for slug, count in Counter(table.environment for table in tables).items():
        if count > 1:
            yield DocumentProblem("has two sets of tables", field=slug)
    for table in tables:
        yield from _of_workflows(table)
        yield from _of_credentials(table)
        yield from _of_variables(table)
        yield from _of_base_url(table)
    yield from _chains(tables)
    yield from _nested_base_urls(tables)


def _of_workflows(table: EnvironmentTables) -> Iterator[DocumentProblem]:
    owner: dict[str, str] = {}
    for canonical_id, workflow_id in table.workflow_ids.items():
        where = f"workflows.{canonical_id}.{table.environment}"
        if not canonical_id or not workflow_id:
            yield DocumentProblem("has an empty id", field=where)
        elif (other := owner.setdefault(workflow_id, canonical_id)) != canonical_id:
            yield DocumentProblem(
                f"n8n's workflow {workflow_id} is also {other}: which of the two is meant could not be told", field=where)


def _of_credentials(table: EnvironmentTables) -> Iterator[DocumentProblem]:
    keys: set[str] = set()
    taken: dict[tuple[str, str, str], str] = {}
    for row in table.credentials:
        where = _credential(row, table)
        if row.key in keys:
            yield DocumentProblem("the key has two rows for this environment", field=where)
            continue
        keys.add(row.key)
        if not row.name:
            yield DocumentProblem("has no name", field=where)
        if row.name.startswith(KEY_PREFIX):
            yield DocumentProblem(f"the name {row.name!r} reads like a key of this table", field=where)
        for what, value in (("name", row.name), ("id", row.id)):
            if value and (other := taken.setdefault((row.type, what, value), row.key)) != row.key:
                yield DocumentProblem(
                    f"{value!r} is also the {what} of key {other!r} here: which of the two keys such a credential of type "
                    f"{row.type} has could not be told", field=where)


def _chains(tables: Iterable[EnvironmentTables]) -> Iterator[DocumentProblem]:
    """One name that is one key's here and another's there: read in the wrong environment, it is silently the other one."""
    called: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
    for table in tables:
        for row in table.credentials:
            others = called.setdefault((row.type, row.name), {})
            for key, (environment, other_row) in others.items():
                if key != row.key and environment != table.environment:
                    yield DocumentProblem(
                        f"the name {row.name!r} is also that of key {key!r} in {environment} ({other_row}): names of one "
                        "type may not change places, or follow each other, from environment to environment",
                        field=_credential(row, table))
            others.setdefault(row.key, (table.environment, _credential(row, table)))


def _of_variables(table: EnvironmentTables) -> Iterator[DocumentProblem]:
    for name, value in table.variables.items():
        where = f"variables.{name}.{table.environment}"
        if not value.strip():
            yield DocumentProblem("is empty: where it stood could not be found again", field=where)
        elif len(value) < _MIN_VALUE:
            yield DocumentProblem("has one character, and would be found inside other texts", field=where)
        elif value.startswith("="):
            yield DocumentProblem("begins with '=', which makes an expression of any text that begins with it", field=where)
        elif "{{env." in value or "{{wfops." in value:
            yield DocumentProblem("holds a placeholder itself, which nobody would fill in", field=where)


def _of_base_url(table: EnvironmentTables) -> Iterator[DocumentProblem]:
    if not table.base_url:
        return
    where = f"base_url.{table.environment}"
    try:
        parts = urlsplit(table.base_url)
        _ = parts.port
    except ValueError:
        yield DocumentProblem("is no URL", field=where)
        return
    if parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() for c in table.base_url):
        yield DocumentProblem("is no http or https URL with a host", field=where)
    elif parts.username is not None or "?" in table.base_url or "#" in table.base_url:
        yield DocumentProblem("has a user, a query or a fragment: no other URL begins with it", field=where)
    elif not (table.address[-1].isalnum() or table.address[-1] in "]_-~"):
        yield DocumentProblem("ends in the middle of a URL, at no boundary", field=where)


def _nested_base_urls(tables: Sequence[EnvironmentTables]) -> Iterator[DocumentProblem]:
    """One below the other: URLs of one instance would be taken for the other's. ``http://h:56`` is none of
    ``http://h:5678``: addresses are matched up to a boundary only."""
    for one, other in combinations([table for table in tables if table.address], 2):
        outer, inner = sorted((one, other), key=lambda table: len(table.address))
        if inner.address.startswith(outer.address + "/"):
            yield DocumentProblem(
                f"is below that of {outer.environment} ({outer.base_url}): the URLs of both could not be told apart",
                field=f"base_url.{inner.environment}")


def _credential(row: CredentialRow, table: EnvironmentTables) -> str:
    return f"credentials.{row.key}.{table.environment}"
