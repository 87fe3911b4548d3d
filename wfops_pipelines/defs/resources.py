"""The one resource: this process's installation, opened when it is used and not when code is loaded."""

from dataclasses import replace

import dagster as dg

from wfops_pipelines.bootstrap import Installation, process_installation
from wfops_pipelines.defs.actors import ACTOR_TAG, EVEN_PAUSED_TAG, SYSTEM, actor_of
from wfops_pipelines.domain.context import Context
from wfops_pipelines.services.services import Services
from wfops_pipelines.settings import Settings

__all__ = ["ACTOR_TAG", "DISCARDING", "Discarding", "Wfops"]

DISCARDING = "discarding_io_manager"


class Wfops(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Store, clients and settings. It has no fields: secrets are looked up when they are used, never configured here."""

    @property
    def installation(self) -> Installation:
        """The installation of this process."""
        return process_installation()

    @property
    def services(self) -> Services:
        """The use cases' collaborators."""
        return self.installation.services

    @property
    def settings(self) -> Settings:
        """How this installation runs."""
        return self.installation.settings

    def actor_of(self, run: dg.DagsterRun, *, person: bool = False) -> str:
        """Who a run acts for. One that Dagster retries acts for whom the first one did; where a ``person`` decides,
        only this very run's own proof counts."""
        retried = not person and "dagster/retry_number" in run.tags and run.root_run_id is not None
        ids = {run.run_id, *([run.root_run_id] if retried and run.root_run_id is not None else [])}
        return actor_of(run.tags, ids, self.services.store.audit_key, person=person)

    def context_of(self, tenant: str, run: dg.DagsterRun, *, step: str | None = None, person: bool = False) -> Context:
        """A context for a run, with who it acts for."""
        context = self.services.context(tenant, actor=self.actor_of(run, person=person), run_id=run.run_id, step=step)
        return replace(context, even_paused=EVEN_PAUSED_TAG in run.tags and not context.actor.startswith(SYSTEM))


class Discarding(dg.IOManager):
    """Keeps nothing: what ops return is read in the same process, and what has to last is in the store."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Keep nothing."""

    def load_input(self, context: dg.InputContext) -> object:
        """Nothing was kept."""
        raise dg.DagsterInvariantViolationError("the output of this op was not kept")
