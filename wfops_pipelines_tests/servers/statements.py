"""Statements are compiled once per process, and not once per test: each test has engines of its own, and compiling was a
fifth of what the tests of use cases spent."""

from __future__ import annotations

from sqlalchemy import Engine

from wfops_pipelines.store.unit_of_work import Store

_first: list[Engine] = []


def share_statements(store: Store) -> Store:
    """The same store, whose engines know what the first ones of this process have compiled."""
    for engine in (store._app, store._system):
        if not _first:
            _first.append(engine)
        elif getattr(_first[0].dialect, "server_version_info", None):  # it has been connected, and knows its server
            engine.dialect, engine._compiled_cache = _first[0].dialect, _first[0]._compiled_cache
    return store
