"""A branch's head over HTTP for one request (§7): Git's protocol version 2 lets a client ask ``ls-refs`` at once.

``git ls-remote`` asks for the server's capabilities first, and so costs two. A server that does not speak version 2
answers something else; then :func:`ask` says so and the caller falls back to ``git ls-remote``.
"""

from __future__ import annotations

import functools
import ssl

import httpx

from wfops_pipelines import calls
from wfops_pipelines.domain.errors import IncompleteRead, NotFound, Refused, Unreachable
from wfops_pipelines.git.address import Address
from wfops_pipelines.git.command import CONNECT_SECONDS, authorization

_TIMEOUT = httpx.Timeout(60, connect=CONNECT_SECONDS)


class NotVersion2(Exception):
    """The server did not answer as protocol version 2."""


@functools.cache
def _tls() -> ssl.SSLContext:
    """One for the process: making one costs some 77 ms of CPU."""
    return ssl.create_default_context()


def open_client() -> httpx.Client:
    """A client for :func:`ask`; it follows no redirects, so that a token goes nowhere else."""
    return httpx.Client(verify=_tls(), timeout=_TIMEOUT, follow_redirects=False)


def ask(client: httpx.Client, address: Address, branch: str, secret: str | None) -> str | None:
    """The commit of ``refs/heads/<branch>``, or ``None`` when the repository has no such branch."""
    reference = f"refs/heads/{branch}"
    body = (_packet("command=ls-refs\n") + _packet("agent=git/wfops\n") + b"0001" + _packet(f"ref-prefix {reference}\n")
            + b"0000")
    headers = {"Git-Protocol": "version=2", "Content-Type": "application/x-git-upload-pack-request",
               "Accept": "application/x-git-upload-pack-result"}
    if secret:
        headers["Authorization"] = authorization(address, secret)
    with calls.counted("git"):
        return _asked(client, address, body, headers, reference)


def _asked(client: httpx.Client, address: Address, body: bytes, headers: dict[str, str], reference: str) -> str | None:
    try:
        response = client.post(f"{address.url}/git-upload-pack", content=body, headers=headers)
    except (httpx.RemoteProtocolError, httpx.DecodingError):
        raise IncompleteRead("the answer was cut off", target=address.url, fix="try again later") from None
    except httpx.TransportError as error:
        raise Unreachable(f"the server cannot be reached: {type(error).__name__}", target=address.url,
                          fix="check the URL, that the server runs and that this machine may reach it") from None
    _check_status(response.status_code, address)
    if response.headers.get("content-type") != "application/x-git-upload-pack-result":
        raise NotVersion2
    return _find(response.content, reference, address)


def _packet(line: str) -> bytes:
    data = line.encode()
    return f"{len(data) + 4:04x}".encode() + data


def _check_status(status: int, address: Address) -> None:
    token_fix = "check the token: is it still valid, and may it reach this repository?"  # noqa: S105 - a sentence
    if status in {401, 403}:
        raise Refused("the credentials were refused", target=address.url, status=status, fix=token_fix)
    if status in {404, 410}:
        raise NotFound("there is no Git repository", target=address.url, status=status,
                       fix="check the URL, and that the token may see the repository")
    if status == 429 or status >= 500:
        raise Unreachable(f"the server cannot answer now (HTTP {status})", target=address.url, status=status,
                          fix="try again later")
    if status != 200:
        raise NotVersion2


def _find(answer: bytes, reference: str, address: Address) -> str | None:
    position, found = 0, None
    while position < len(answer):
        try:
            length = int(answer[position:position + 4], 16)
        except ValueError:
            raise NotVersion2 from None
        if length == 0:
            return found
        line = answer[position + 4:position + length]
        if line.startswith(b"ERR "):
            raise NotVersion2
        name, _, rest = line.decode(errors="replace").rstrip("\n").partition(" ")
        if rest.split(" ")[0] == reference:
            found = name
        position += max(length, 4)
    if not answer:
        raise NotVersion2
    raise IncompleteRead("the answer was cut off", target=address.url, fix="try again later")
