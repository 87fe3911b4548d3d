"""Whom the HTTP clients of Git and GitHub trust; one context of each kind for the process: making one costs some 77 ms of
CPU."""

from __future__ import annotations

import functools
import ssl

import certifi


@functools.cache
def shared_context(*, as_python: bool = False) -> ssl.SSLContext:
    """Trusts whom the system trusts, as git does, and ``as_python`` those, too, whom Python's clients trust."""
    context = ssl.create_default_context()
    if as_python:
        context.load_verify_locations(certifi.where())
    return context
