"""What people do in n8n."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import rule

from wfops_pipelines.n8n.sandbox import workflows as sandbox_workflows
from wfops_pipelines_tests.model.meant import NAMES, PLACES, TAGS, TEXTS, WHICH, FleetAndWorld
from wfops_pipelines_tests.model.world import Flow
from wfops_pipelines_tests.services.fleet import workflow


class InN8n(FleetAndWorld):
    """Workflows are made, edited, renamed, switched, archived and deleted."""

    @rule(slug=PLACES, name=st.sampled_from(NAMES), text=st.sampled_from(TEXTS))
    def create(self, slug: str, name: str, text: str) -> None:
        self._create(slug, Flow(name, text), None)

    @rule(slug=PLACES, which=WHICH)
    def copy(self, slug: str, which: int) -> None:
        """Duplicated, under the same name."""
        workflow_id = self.flow(slug, which)
        if workflow_id is not None:
            flow = self.world.places[slug].flows[workflow_id]
            self._create(slug, Flow(flow.name, flow.draft), None)

    @rule(slug=PLACES, which=WHICH, text=st.sampled_from(TEXTS))
    def recreate(self, slug: str, which: int, text: str) -> None:
        """One that was there before comes back under its id, with another content."""
        place = self.world.places[slug]
        gone = sorted(set(place.known) - set(place.flows))
        if gone:
            workflow_id = gone[which % len(gone)]
            self._create(slug, Flow(place.known[workflow_id].flow.name, text), workflow_id)

    @rule(source=PLACES, which=WHICH)
    def carry_over(self, source: str, which: int) -> None:
        """Imported by hand into the other environment."""
        workflow_id = self.flow(source, which)
        if workflow_id is not None:
            name, text = self.world.places[source].flows[workflow_id].live
            self._create("dev" if source == "prod" else "prod", Flow(name, text), None)

    def _create(self, slug: str, flow: Flow, workflow_id: str | None) -> None:
        environment, place = self.both(slug)
        if workflow_id is None:
            self.number += 1
            workflow_id = f"w{self.number:02}"
        environment.create_in_n8n(workflow(flow.name, text=flow.draft, id=workflow_id))
        place.flows[workflow_id] = flow

    @rule(slug=PLACES, which=WHICH, text=st.sampled_from(TEXTS), publish=st.booleans())
    def edit(self, slug: str, which: int, text: str, publish: bool) -> None:
        workflow_id = self.flow(slug, which)
        if workflow_id is None:
            return
        environment, place = self.both(slug)
        flow = place.flows[workflow_id]
        environment.edit_in_n8n(workflow_id, text, publish=publish)
        place.flows[workflow_id] = replace(flow, draft=text, published=text if flow.active and publish else flow.published)

    @rule(slug=PLACES, which=WHICH, name=st.sampled_from(NAMES))
    def rename(self, slug: str, which: int, name: str) -> None:
        workflow_id = self.flow(slug, which)
        if workflow_id is not None:
            environment, place = self.both(slug)
            environment.edit_in_n8n(workflow_id, publish=False, name=name)
            place.flows[workflow_id] = replace(place.flows[workflow_id], name=name)

    @rule(slug=PLACES, which=WHICH, tag=st.sampled_from(TAGS))
    def tag(self, slug: str, which: int, tag: str) -> None:
        workflow_id = self.flow(slug, which)
        if workflow_id is not None:
            environment, place = self.both(slug)
            environment.tag_in_n8n(workflow_id, tag)
            place.flows[workflow_id] = replace(place.flows[workflow_id], tags=(tag,))

    @rule(slug=PLACES, which=WHICH, active=st.booleans())
    def switch(self, slug: str, which: int, active: bool) -> None:
        """Published as its draft is, or unpublished."""
        workflow_id = self.flow(slug, which)
        if workflow_id is not None:
            environment, place = self.both(slug)
            environment.activate_in_n8n(workflow_id, active)
            flow = place.flows[workflow_id]
            place.flows[workflow_id] = replace(flow, published=flow.draft if active else None)

    @rule(slug=PLACES, which=WHICH)
    def archive(self, slug: str, which: int) -> None:
        workflow_id = self.flow(slug, which)
        if workflow_id is not None:
            environment, place = self.both(slug)
            environment.archive_in_n8n(workflow_id)
            place.flows[workflow_id] = replace(place.flows[workflow_id], published=None, archived=True)

    @rule(slug=PLACES, which=WHICH)
    def unarchive(self, slug: str, which: int) -> None:
        workflow_id = self.flow(slug, which, archived=True)
        if workflow_id is not None:
            environment, place = self.both(slug)
            with environment.sandbox.state.lock:
                sandbox_workflows.unarchive(environment.sandbox.state, workflow_id)
            place.flows[workflow_id] = replace(place.flows[workflow_id], archived=False)

    @rule(slug=PLACES, which=WHICH)
    def delete(self, slug: str, which: int) -> None:
        workflow_id = self.flow(slug, which)
        if workflow_id is not None:
            environment, place = self.both(slug)
            environment.delete_in_n8n(workflow_id)
            del place.flows[workflow_id]
