"""Which incident is meant: by its id, a prefix of it, ``TENANT#NUMBER``, or the id of a request about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, Denied, UnknownIncident, UsageError
from wfops_pipelines.services.id_prefixes import SHORTEST, ids_that_begin
from wfops_pipelines.services.services import Services

_NUMBERED: Final = re.compile(r"(?P<tenant>[a-z0-9][a-z0-9-]{0,62})#(?P<number>[0-9]{1,18})")
_LIST: Final = "`wfops incident list --all` shows those there are, `wfops incident list TENANT` a tenant's"


@dataclass(frozen=True, slots=True)
class NamedIncident:
    """An incident by what people call it. ``approval_kind`` and ``approval_status`` where a request was named."""

    tenant: str
    number: int
    environment: str
    approval_id: UUID | None = None
    approval_kind: str | None = None
    approval_status: str | None = None

    def __str__(self) -> str:
        return f"{self.tenant}#{self.number}"


def named_incident(services: Services, name: str) -> NamedIncident:
    """The incident of any tenant that ``name`` stands for.

    :class:`UnknownIncident` when there is none, :class:`UsageError` when it cannot be a name or stands for several.
    """
    numbered = _NUMBERED.fullmatch(name.strip())
    if numbered:
        return _by_number(services, numbered["tenant"], int(numbered["number"]))
    first, last = ids_that_begin(
        name, what="incident", ways=f"TENANT#NUMBER, its id, or at least the first {SHORTEST} characters of its id")
    with services.store.system() as system:
        found = system.incidents_between(first, last)
        request = system.approval(first) if not found and first == last else None
    if len(found) > 1:
        several = ", ".join(f"{row.id} ({row.tenant_slug}#{row.number})" for row in found)
        raise UsageError(f"{name!r} is the beginning of several incidents' ids", fix=f"write more of it: {several}")
    if found:
        return NamedIncident(found[0].tenant_slug, found[0].number, found[0].environment)
    if request is not None:
        return NamedIncident(request.tenant_slug, request.number, request.environment, first, request.kind,
                             request.status)
    raise UnknownIncident(f"there is no incident {name!r}", fix=_LIST)


def named_request(services: Services, name: str) -> NamedIncident:
    """What :func:`named_incident` finds, to decide on a request of it: one that was named and is decided already is
    :class:`Blocked`, so that an old id never decides on a newer request."""
    named = named_incident(services, name)
    if named.approval_status not in (None, "pending"):
        raise Blocked(f"request {name} about incident {named} is {named.approval_status} already",
                      fix=f"`wfops incident show {named}` tells what waits")
    return named


def may_force(context: Context) -> None:
    """Pass when who acts may force a step: a platform admin, as whom the local user acts (§2.3). Else :class:`Denied`."""
    if not context.actor.startswith("local:"):
        raise Denied(f"{context.actor} may not force a step of an incident",
                     fix="an admin can: on the command line, without a token, the local user is one")


def _by_number(services: Services, tenant: str, number: int) -> NamedIncident:
    context = services.context(tenant, actor="system:look-up")
    with services.store.read(context) as work:
        incident = work.incidents.by_number(number)
        if incident is None:
            raise UnknownIncident(f"tenant {tenant} has no incident #{number}",
                                  fix=f"`wfops incident list {tenant} --all` shows those there are")
        environment = work.fleet.environment(incident.environment_id)
    return NamedIncident(tenant, number, environment.slug)
