"""The typed runtime context that every use case is given (§19.2): who acts, for whom, in which operation, and the time.

Time, ids and randomness come from here, so that each rule can be tested at any time. It is passed, never global.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Context:
    """Who acts, for which tenant, as part of what.

    ``actor`` is the verified identity (``local:NAME``, ``dagster-ui``, ``system:SENSOR``, a user's e-mail);
    ``impersonator`` the platform admin behind it, if any (§2.4). ``run_id`` and ``step`` are Dagster's.
    ``now`` returns an aware UTC time; ``new_id`` a fresh UUID. ``base_url`` is where people open the Dagster UI, for links.
    """

    tenant_id: UUID
    tenant_slug: str
    actor: str
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]
    impersonator: str | None = None
    operation_id: UUID | None = None
    run_id: str | None = None
    step: str | None = None
    base_url: str | None = None
    even_paused: bool = False  # a person begins this although the tenant is paused (§20)
    resumes: UUID | None = None  # the failed operation that is gone on with
    nothing_else: bool = False  # a person does: where it went on or ended meanwhile, no other begins in its place
    afresh: bool = False  # and it begins from its beginning

    def within(self, operation_id: UUID) -> Context:
        """The same context as part of an operation."""
        return replace(self, operation_id=operation_id)
