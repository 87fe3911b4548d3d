"""The engines that come with WorkflowOps, each registered under the name that ``provider:`` in fleet.yaml uses."""

from __future__ import annotations

from wfops_pipelines.n8n.adapter import N8nProvider
from wfops_pipelines.n8n.provider import register

register("n8n", N8nProvider)
