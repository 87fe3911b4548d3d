"""A branch's head over HTTP for one request (§7): Git's protocol version 2 lets a client ask ``ls-refs`` at once.

``git ls-remote`` asks for the server's capabilities first, and so costs two. A server that does not speak version 2
answers something else; then :func:`ask` says so and the caller falls back to ``git ls-remote``.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from wfops_pipelines import calls
from wfops_pipelines.domain.errors import IncompleteRead, NotFound, Refused, Unreachable
from wfops_pipelines.git.address import Address, is_object
from wfops_pipelines.git.command import CONNECT_SECONDS, authorization
from wfops_pipelines.git.deadline import Deadline
from wfops_pipelines.git.tls import shared_context

WHOLE_SECONDS = 30.0  # for everything: a server that sends a byte now and then keeps any limit for a single read
MAX_ANSWER_BYTES = 16 * 1024 * 1024  # some 200,000 branches that begin with the name of the one that is asked for
_RESULT = "application/x-git-upload-pack-result"


class NotVersion2(Exception):
    """The server did not answer as protocol version 2."""


def ask(address: Address, branch: str, secret: str | None) -> str | None:
    """The commit of ``refs/heads/<branch>``, or ``None`` when the repository has no such branch.

    Follows no redirects, so that a token goes nowhere else. Whatever the server does, it ends: after
    :data:`WHOLE_SECONDS`, or :data:`MAX_ANSWER_BYTES`.
    """
    reference = f"refs/heads/{branch}"
    body = (_packet("command=ls-refs\n") + _packet("agent=git/wfops\n") + b"0001" + _packet(f"ref-prefix {reference}\n")
            + b"0000")
    headers = {"Git-Protocol": "version=2", "Content-Type": "application/x-git-upload-pack-request", "Accept": _RESULT,
               "Accept-Encoding": "identity"}
    if secret:
        headers["Authorization"] = authorization(address, secret)
    with calls.counted("git"):
        return _find(_asked(address, body, headers), reference, address)


def _asked(address: Address, body: bytes, headers: Mapping[str, str]) -> bytes:
    seconds = calls.seconds_left(WHOLE_SECONDS)
    deadline, limits = Deadline(seconds), httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
    try:
        with (deadline, httpx.Client(verify=shared_context(), timeout=limits) as client,
              client.stream("POST", f"{address.url}/git-upload-pack", content=body, headers=headers,
                            extensions={"trace": deadline.note}) as response):
            _check_status(response.status_code, address)
            if response.headers.get("content-type") != _RESULT:
                raise NotVersion2
            return _whole(response, address)
    except httpx.TransportError as error:
        if deadline.over or isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
            raise Unreachable(calls.unanswered(seconds), target=address.url,
                              fix="is the Git server running, and not overloaded?") from None
        if isinstance(error, httpx.RemoteProtocolError):
            raise IncompleteRead("the answer was cut off", target=address.url, fix="try again later") from None
        raise Unreachable(f"the server cannot be reached: {type(error).__name__}", target=address.url,
                          fix="check the URL, that the server runs and that this machine may reach it") from None


def _whole(response: httpx.Response, address: Address) -> bytes:
    parts, size = [], 0
    for part in response.iter_raw():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise IncompleteRead(f"the server names more than {MAX_ANSWER_BYTES // 1024 ** 2} MiB of branches",
                                 target=address.url, fix="is this the URL of a Git repository?")
    return b"".join(parts)


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
            if not is_object(name):
                raise IncompleteRead("the server names something that is no commit", target=address.url,
                                     fix="is this the URL of a Git repository?")
            found = name
        position += max(length, 4)
    if not answer:
        raise NotVersion2
    raise IncompleteRead("the answer was cut off", target=address.url, fix="try again later")
