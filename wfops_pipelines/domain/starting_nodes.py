"""What n8n accepts as the start of an active workflow; measured on 1.123 and 2.41.

Both want a trigger, a poller or a node with a webhook, and none that is only started by hand. What other workflows start
(``executeWorkflowTrigger``, ``errorTrigger``) is enough for 2.x, where a sub-workflow has to be published to be called; 1.x
cannot activate such a workflow, and calls it all the same.
"""

from __future__ import annotations

from typing import Final

from wfops_pipelines.domain.normalize import STICKY_NOTE
from wfops_pipelines.domain.workflow import Content

_OWN: Final = ("n8n-nodes-base.", "@n8n/n8n-nodes-langchain.")
_BY_HAND: Final = frozenset({"n8n-nodes-base.manualTrigger", "n8n-nodes-base.evaluationTrigger",
                             "@n8n/n8n-nodes-langchain.manualChatTrigger"})
_BY_WORKFLOWS: Final = frozenset({"n8n-nodes-base.executeWorkflowTrigger", "n8n-nodes-base.errorTrigger"})
_STARTING: Final = frozenset({
    "n8n-nodes-base.webhook", "n8n-nodes-base.cron", "n8n-nodes-base.interval", "n8n-nodes-base.emailReadImap",
})
# With a webhook of their own for answers: enough for n8n to activate a workflow, though they start nothing.
_WAITING: Final = frozenset({f"n8n-nodes-base.{name}" for name in (
    "discord", "emailSend", "form", "github", "googleChat", "gmail", "microsoftOutlook", "microsoftTeams", "slack",
    "telegram", "wait", "whatsApp")} | {"@n8n/n8n-nodes-langchain.chat"})


def can_be_active(content: Content, *, generation: int) -> bool | None:
    """Whether n8n of this ``generation`` (1 or 2) activates, or publishes, the workflow; ``None`` where only n8n can
    tell: nodes of others may start it, and some nodes wait for answers in some of their operations."""
    kinds = _enabled_kinds(content) - _BY_HAND
    if generation < 2:
        kinds -= _BY_WORKFLOWS
    if any(kind in _STARTING or kind.lower().endswith("trigger") for kind in kinds):
        return True
    return None if kinds & _WAITING or any(not kind.startswith(_OWN) for kind in kinds) else False


def starts_by_itself(content: Content) -> bool:
    """Whether something other than workflows is known to start it once it is active."""
    return can_be_active(content, generation=1) is True


def only_workflows_start(content: Content) -> bool:
    """Whether other workflows start it, and certainly nothing else: 2.x publishes it, and 1.x cannot activate it."""
    return not _enabled_kinds(content).isdisjoint(_BY_WORKFLOWS) and can_be_active(content, generation=1) is False


def _enabled_kinds(content: Content) -> set[str]:
    return {node["type"] for node in content["nodes"] if node.get("disabled") is not True
            and isinstance(node.get("type"), str) and node["type"] != STICKY_NOTE}
