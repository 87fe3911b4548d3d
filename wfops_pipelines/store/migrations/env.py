"""Alembic's entry point: the connection is handed in by :mod:`wfops_pipelines.store.migrate`, or opened from the
embedded server by ``alembic revision --autogenerate`` for developers (``-x url=…``)."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine

from wfops_pipelines.store.engine import sqlalchemy_url
from wfops_pipelines.store.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    connection = create_engine(sqlalchemy_url(context.get_x_argument(as_dictionary=True)["url"])).connect()
context.configure(connection=connection, target_metadata=metadata, compare_type=True, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
