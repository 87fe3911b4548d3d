"""The one resource: this process's installation, opened when it is used and not when code is loaded."""

import dagster as dg

from wfops_pipelines.bootstrap import Installation, process_installation
from wfops_pipelines.domain.context import Context
from wfops_pipelines.services.services import Services
from wfops_pipelines.settings import Settings

DISCARDING = "discarding_io_manager"
ACTOR_TAG = "wfops/actor"
UI_ACTOR = "dagster-ui"  # who acts when a run was started in the UI (§2.3)


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

    def context_of(self, tenant: str, run: dg.DagsterRun, *, step: str | None = None) -> Context:
        """A context for a run: its actor is in a tag, else it was started in the UI."""
        return self.services.context(tenant, actor=run.tags.get(ACTOR_TAG, UI_ACTOR), run_id=run.run_id, step=step)


class Discarding(dg.IOManager):
    """Keeps nothing: what ops return is read in the same process, and what has to last is in the store."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Keep nothing."""

    def load_input(self, context: dg.InputContext) -> object:
        """Nothing was kept."""
        raise dg.DagsterInvariantViolationError("the output of this op was not kept")
