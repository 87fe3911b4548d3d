"""Credentials that are not in the target yet: created empty, for a person to fill in (§11.5)."""

from __future__ import annotations

from collections.abc import Sequence

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import Conflict, NotFound, Rejected
from wfops_pipelines.domain.placeholder_data import placeholder_data
from wfops_pipelines.n8n.provider import JsonObject, WorkflowProvider

Named = tuple[str, str]
"""A credential by its type and name, as nodes refer to it."""


async def create_placeholders(provider: WorkflowProvider, missing: Sequence[Named]) -> dict[Named, str]:
    """Their ids in the target: of the one there is of this type and name, or of one created now without secrets.

    Doing it again finds what the first time made, also where that broke off. Raises :class:`Rejected` on n8n 1.x, which
    does not list credentials, so that nobody could tell whether one is there; :class:`NotFound` for a type that this n8n
    does not know; :class:`Conflict` where several have the type and name.
    """
    wanted = list(dict.fromkeys(missing))
    if not wanted:
        return {}
    if not (await provider.server()).lists_credentials:
        raise Rejected("n8n 1.x does not list its credentials, so none can be created in advance",
                       target=provider.base_url,
                       fix=f"create {_shown(wanted[0])} there by hand, and put its id into the credential map: "
                           "wfops credentials map")
    there: dict[Named, list[str]] = {}
    for credential in await provider.list_credentials():
        there.setdefault((str(credential.get("type")), str(credential.get("name"))), []).append(str(credential["id"]))
    found: dict[Named, str] = {}
    for named in wanted:
        ids = there.get(named, [])
        if len(ids) > 1:
            raise Conflict(f"there are {len(ids)} credentials {_shown(named)}", target=provider.base_url,
                           fix="put the id of the right one into the credential map: wfops credentials map")
        found[named] = ids[0] if ids else await _create(provider, named)
    return found


async def _create(provider: WorkflowProvider, named: Named) -> str:
    kind, name = named
    failpoints.reach("placeholder.create.before")
    data = placeholder_data(await _schema(provider, kind))
    made = await provider.create_credential({"name": name, "type": kind, "data": data})
    failpoints.reach("placeholder.create.after")
    return str(made["id"])


async def _schema(provider: WorkflowProvider, kind: str) -> JsonObject:
    try:
        return await provider.credential_schema(kind)
    except NotFound as error:
        raise NotFound(f"this n8n has no credentials of the type {kind!r}", target=provider.base_url, status=404,
                       fix="install the package of nodes that brings it, or another version of n8n") from error


def _shown(named: Named) -> str:
    return f"{named[1]!r} ({named[0]})"
