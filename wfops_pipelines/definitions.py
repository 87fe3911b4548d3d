"""Dagster's entry point, as workspace.yaml and ``[tool.dagster]`` name it. No logic."""

from wfops_pipelines.defs.location import defs

__all__ = ["defs"]
