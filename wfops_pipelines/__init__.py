"""WorkflowOps: a multi-tenant GitOps control plane for n8n workflows, on Dagster."""

__version__ = "0.1.0"
