"""Which row a walked use case is about: it knows ``(services, context)`` alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.services.deployment_reports import list_deployments
from wfops_pipelines.services.ignore_rule_commands import list_rules as list_ignore_rules
from wfops_pipelines.services.lint_waiver_commands import list_waivers
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.snapshot_reports import find_snapshot

T = TypeVar("T")


def first_version(services: Services, context: Context) -> str:
    """The commit that prod was in sync with."""
    return str(services.environment(context, "prod").git_commit)


def canonical_id(services: Services, context: Context, name: str) -> str:
    """Of the workflow with this name."""
    with services.store.read(context) as work:
        return next(str(i) for i, row in work.mappings.canonicals().items() if row.name == name)


def snapshot_id(services: Services, context: Context) -> UUID:
    """Of prod's newest."""
    with services.store.read(context) as work:
        return UUID(str(find_snapshot(work, context, services.environment(context, "prod")).id))


def deployment_id(services: Services) -> UUID:
    """The one that is to be carried out, or that a process which died was carrying out."""
    return UUID(_first(list_deployments(services, statuses=["scheduled", "running"]))["deployment_id"])


def ignore_rule_id(services: Services, context: Context) -> str:
    """Of the tenant's first."""
    return str(_first(list_ignore_rules(services, context))["id"])


def waiver_id(services: Services, context: Context) -> str:
    """Of the tenant's first."""
    return str(_first(list_waivers(services, context))["id"])


def _first(found: Sequence[T]) -> T:
    """What is to be done is done already where there is none."""
    if not found:
        raise UsageError("there is none left", fix="it was done already")
    return found[0]
