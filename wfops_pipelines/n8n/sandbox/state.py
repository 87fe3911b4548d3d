"""What one sandbox holds. Nothing here validates: the API does (``workflows``, ``tags``, …)."""

from __future__ import annotations

import bisect
import random
import threading
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from wfops_pipelines.n8n.sandbox.node_types import WITH_WEBHOOKS
from wfops_pipelines.n8n.sandbox.records import Credential, Execution, JsonObject, Tag, Workflow, stamp

#: How long 2.x takes from the answer to a publication until its webhooks answer.
REGISTRATION_DELAY = timedelta(milliseconds=200)


class State:
    """Workflows, tags, credentials and executions of one n8n.

    Times come from ``clock``, ids (16 letters and
    digits) from ``new_id``, UUIDs from ``rng``.
    """

    def __init__(self, *, generation: int, clock: Callable[[], datetime], new_id: Callable[[], str], rng: random.Random,
                 registration_delay: timedelta = REGISTRATION_DELAY) -> None:
        self.generation = generation
        self.clock = clock
        self.new_id = new_id
        self.rng = rng
        self.registration_delay = registration_delay if generation >= 2 else timedelta()
        self.workflows: dict[str, Workflow] = {}
        self.tags: dict[str, Tag] = {}
        self.credentials: dict[str, Credential] = {}
        self.executions: dict[int, Execution] = {}
        self.webhooks: dict[tuple[str, str], str] = {}  # (method, path) -> workflow id
        self.pending: dict[str, datetime] = {}  # workflows whose triggers are (un)registered at that time
        self.published = 0  # counter of the publish history
        self.changes = 0  # counts every write: what is saved is stale when it grew
        self.owner_id = self.new_uuid()
        self.project_id = new_id()
        self.created_at = self.now()
        #: Held while a request is handled, and by those who reach in from another thread.
        self.lock = threading.RLock()
        self._order: list[str] | None = None

    def now(self) -> str:
        """This moment, as n8n writes it."""
        return stamp(self.clock())

    def new_uuid(self) -> str:
        """A version 4 UUID from the injected randomness."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def free_id(self) -> str:
        """An id that no workflow, tag or credential has."""
        while (made := self.new_id()) in self.workflows or made in self.tags or made in self.credentials:
            pass
        return made

    # --- workflows ----------------------------------------------------------------------------------------------------

    def ordered_ids(self) -> list[str]:
        """All workflow ids, ascending: the order of the listing."""
        if self._order is None:
            self._order = sorted(self.workflows)
        return self._order

    def add(self, workflow: Workflow) -> None:
        """Take in a workflow."""
        self.workflows[workflow.id] = workflow
        if self._order is not None:
            bisect.insort(self._order, workflow.id)
        self.changes += 1

    def remove(self, workflow_id: str) -> None:
        """Forget a workflow, its webhooks and its executions."""
        del self.workflows[workflow_id]
        if self._order is not None:
            del self._order[bisect.bisect_left(self._order, workflow_id)]
        self.release(workflow_id)
        self.pending.pop(workflow_id, None)
        self.executions = {key: run for key, run in self.executions.items() if run.workflow_id != workflow_id}
        self.changes += 1

    def release(self, workflow_id: str) -> None:
        """Give back the webhook paths of a workflow."""
        for key in [key for key, holder in self.webhooks.items() if holder == workflow_id]:
            del self.webhooks[key]

    def changed(self, workflow: Workflow) -> None:
        """Note that a workflow was written to."""
        workflow.touched()
        self.changes += 1

    def complete_nodes(self, nodes: Iterable[JsonObject]) -> None:
        """Mint what is missing, in place: node ids, and in 2.x the ``webhookId`` of types with webhooks."""
        for node in nodes:
            if not node.get("id"):
                node["id"] = self.new_uuid()
            if self.generation >= 2 and node.get("type") in WITH_WEBHOOKS and not node.get("webhookId"):
                node["webhookId"] = self.new_uuid()

    def tag(self, name: str) -> Tag:
        """The tag of a name, made when there is none."""
        found = next((tag for tag in self.tags.values() if tag.name == name), None)
        if found is None:
            found = Tag(self.free_id(), name, self.now(), self.now())
            self.tags[found.id] = found
            self.changes += 1
        return found
