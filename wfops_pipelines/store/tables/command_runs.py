"""Runs that commands do in their own process."""

from __future__ import annotations

from sqlalchemy import Column, Integer, Table, Text, text

from wfops_pipelines.store.tables.base import metadata

command_runs = Table(
    "command_runs",  # the runs of Dagster that are at work in a command's own process; no tenant's
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("looks", Integer, nullable=False, server_default=text("0")),  # since its process last said that it lives
)
