"""The ways into a sandbox for those who set it up: seeding, and editing as a person in the editor would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from wfops_pipelines.n8n.sandbox.activation import register, trigger_count
from wfops_pipelines.n8n.sandbox.records import Credential, Execution, JsonObject, Version, Workflow, raw, stamp
from wfops_pipelines.n8n.sandbox.rendering import workflow_json
from wfops_pipelines.n8n.sandbox.state import State
from wfops_pipelines.n8n.sandbox.workflows import update


class SandboxState(State):
    """The state of a sandbox, as the one who made the sandbox sees it."""

    def seed_workflows(self, workflows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Put workflows there without the API, as a database would have them: unvalidated, cheap. Gives their ids.

        Each is workflow JSON of any origin; ``id``, ``active``, ``isArchived``, ``tags`` (names or objects), ``meta``,
        ``pinData``, ``staticData``, ``description`` and the times are taken where they are given. An active one is
        published at once, with its triggers registered.
        """
        with self.lock:
            return [self._seed(given) for given in workflows]

    def _seed(self, given: Mapping[str, Any]) -> str:
        now = self.now()
        nodes = [dict(node) for node in given.get("nodes") or ()]
        self.complete_nodes(nodes)
        settings = dict(given.get("settings") or {})
        if self.generation < 2:
            settings.setdefault("callerPolicy", "workflowsFromSameOwner")
            settings.setdefault("availableInMCP", False)
        created = given.get("createdAt") or now
        version = Version(given.get("versionId") or self.new_uuid(), raw(nodes), raw(given.get("connections") or {}),
                          created, created, groups=raw(given.get("nodeGroups") or []))
        workflow = Workflow(
            given.get("id") or self.free_id(), given.get("name", ""), version.id, created, given.get("updatedAt") or created,
            {version.id: version}, shared_at=created, settings=settings, static_data=raw(given.get("staticData")),
            pin_data=raw(given.get("pinData")), meta=raw(given.get("meta")), description=given.get("description"),
            archived=bool(given.get("isArchived")),
            tag_ids=[self.tag(tag if isinstance(tag, str) else tag["name"]).id for tag in given.get("tags") or ()])
        if given.get("active") and not workflow.archived:
            workflow.active_id = version.id
            workflow.trigger_count = trigger_count(nodes)
        self.add(workflow)
        if workflow.active_id is not None:
            register(self, workflow)
        return workflow.id

    def edit(self, workflow_id: str, *, publish: bool = True, **changes: Any) -> JsonObject:
        """Edit a workflow as a person in the editor would; gives its new JSON.

        ``changes`` are ``name``, ``nodes``, ``connections``, ``settings`` (merged), ``staticData``, ``pinData``, or
        ``node=("Node name", {"parameter": value})`` to set parameters of one node. ``publish=False`` leaves the change of
        an active workflow as an unpublished draft (2.x).
        """
        with self.lock:
            workflow = self.workflows[workflow_id]
            node = changes.pop("node", None)
            if node is not None:
                name, parameters = node
                nodes = changes.setdefault("nodes", workflow.draft.node_list)
                target = next(item for item in nodes if item.get("name") == name)
                target["parameters"] = {**target.get("parameters", {}), **parameters}
            update(self, workflow_id, changes, publish=publish)
            return workflow_json(self, workflow, "get")

    def seed_credential(self, name: str, credential_type: str, *, id: str | None = None) -> str:  # noqa: A002 - n8n's word
        """A credential without data; gives its id."""
        made = Credential(id or self.free_id(), name, credential_type, self.now(), self.now())
        self.credentials[made.id] = made
        self.changes += 1
        return made.id

    def seed_execution(self, workflow_id: str, *, status: str = "success", mode: str = "trigger", seconds: float = 1.0,
                       data: JsonObject | None = None, started_at: datetime | None = None) -> str:
        """A finished execution of a workflow; gives its id."""
        start = started_at or self.clock()
        number = max(self.executions, default=0) + 1
        stop = None if status in {"running", "waiting", "new"} else stamp(start + timedelta(seconds=seconds))
        workflow = self.workflows[workflow_id]
        self.executions[number] = Execution(number, workflow_id, status, mode, stamp(start), stop, data=data,
                                            version_id=workflow.active_id or workflow.version_id)
        self.changes += 1
        return str(number)
