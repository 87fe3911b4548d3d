"""Which promotion is meant: by its name ``acme/p12``, its id, or a prefix of that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from wfops_pipelines.domain.errors import UnknownPromotion, UsageError
from wfops_pipelines.services.id_prefixes import SHORTEST, ids_that_begin
from wfops_pipelines.services.promotion_request import find
from wfops_pipelines.services.services import Services

_NUMBERED: Final = re.compile(r"(?P<tenant>[a-z0-9][a-z0-9-]{0,62})/p(?P<number>[0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class NamedPromotion:
    """A promotion by what people call it; ``source`` is none of a restore."""

    tenant: str
    number: int
    source: str | None
    target: str

    def __str__(self) -> str:
        return f"{self.tenant}/p{self.number}"


def named_promotion(services: Services, name: str) -> NamedPromotion:
    """The promotion of any tenant that ``name`` stands for.

    :class:`UnknownPromotion` when there is none, :class:`UsageError` when it cannot be a name or stands for several.
    """
    numbered = _NUMBERED.fullmatch(name.strip())
    tenant, number = (numbered["tenant"], int(numbered["number"])) if numbered else _by_id(services, name)
    with services.store.read(services.context(tenant, actor="system:look-up")) as work:
        row = find(work, number)
        slugs = {each.id: each.slug for each in work.fleet.environments()}
    return NamedPromotion(tenant, number, slugs.get(row.source_environment_id),
                          slugs.get(row.target_environment_id, "(deleted)"))


def _by_id(services: Services, name: str) -> tuple[str, int]:
    first, last = ids_that_begin(
        name, what="promotion", ways=f"TENANT/pNUMBER as acme/p12, its id, or at least its first {SHORTEST} characters")
    with services.store.system() as system:
        found = system.promotions_between(first, last)
    if len(found) > 1:
        several = ", ".join(f"{row.id} ({row.tenant_slug}/p{row.number})" for row in found)
        raise UsageError(f"{name!r} is the beginning of several promotions' ids", fix=f"write more of it: {several}")
    if not found:
        raise UnknownPromotion(f"there is no promotion {name!r}", fix="`wfops promotion list TENANT` shows a tenant's")
    return found[0].tenant_slug, found[0].number
