"""What the outbox asks of a way to send (§16): one message to one URL, delivered or an error of our tree."""

from __future__ import annotations

from typing import Final, Protocol
from urllib.parse import urlsplit

_HOST_IS_A_HOST: Final = frozenset({
    "http", "https", "json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos", "apprise", "apprises",
    "matrix", "matrixs", "gotify", "gotifys", "rocket", "rockets", "mmost", "mmosts", "syslog", "mqtt", "mqtts",
})
"""Schemes under which the host of a URL names a server; under others (``slack://``) it is the first of its secrets."""


class Sender(Protocol):
    """Sends one message. Made to be called from any thread, several at once."""

    def send(self, url: str, *, title: str, body: str, short: str, key: str, picture: str | None = None) -> None:
        """Deliver a message to the target behind ``url``; returns once the other side has taken it.

        ``key`` is equal for every attempt at the same message: it travels along where the protocol has a place for it,
        so that a receiver can drop repeats. ``picture`` (SVG) goes along as a file where the service takes files.

        Raises :class:`Unreachable` where trying again can help (it may have arrived all the same), else :class:`Refused`,
        :class:`NotFound` or :class:`Rejected`. No error shows the URL.
        """


def shown_target(url: str) -> str:
    """A notification URL as it may be shown: scheme, and host and port where they are no secret."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return "a notification URL that cannot be read"
    scheme = parts.scheme.lower()
    if not scheme or "://" not in url:
        return "a notification URL without a scheme"
    try:
        host, port = parts.hostname, parts.port
    except ValueError:  # where the host is a token, what follows its colon is one too
        host, port = None, None
    if scheme not in _HOST_IS_A_HOST or not host or not host.isprintable():
        return f"{scheme}://‹masked›"
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{port}" if port else f"{scheme}://{host}"
