"""Keeps notification URLs out of logs, and what apprise says of an attempt for whoever classifies it.

Apprise and the libraries below it log URLs, tokens and payloads, at level debug and some above. Within
:func:`listening` everything they log in this thread is handed to the listener and goes nowhere else; what apprise logs
outside of it goes nowhere at all.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_OWN: Final = "apprise"
_BELOW: Final = ("urllib3", "urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry", "urllib3.poolmanager",
                 "requests", "charset_normalizer", "requests_oauthlib", "oauthlib", "paho", "slixmpp")
_MAX_LINES: Final = 200

_listening = threading.local()
_installing = threading.Lock()


class _Silence(logging.Filter):
    """Lets nothing through; hands what is said while this thread listens to its listener."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self._always = always

    def filter(self, record: logging.LogRecord) -> bool:
        lines: list[str] | None = getattr(_listening, "lines", None)
        if lines is None:
            return not self._always
        if record.name == _OWN and len(lines) < _MAX_LINES:
            lines.append(record.getMessage()[:2000])
        return False


@contextmanager
def listening() -> Iterator[list[str]]:
    """While it is open, the lines that apprise logs in this thread are in the list it gives, and nowhere else."""
    _install()
    lines: list[str] = []
    _listening.lines = lines
    try:
        yield lines
    finally:
        del _listening.lines


def _install() -> None:
    with _installing:
        own = logging.getLogger(_OWN)
        own.setLevel(logging.DEBUG)  # the reason of a failed mail is said at this level only; nothing of it is passed on
        for name in (_OWN, *_BELOW):
            logger = logging.getLogger(name)
            if not any(isinstance(present, _Silence) for present in logger.filters):
                logger.addFilter(_Silence(always=name == _OWN))
