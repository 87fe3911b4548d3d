"""What git's words about a remote mean, in our tree of errors (§3, §25).

git has one exit code for everything, so the text decides; it is English because commands run with ``LC_ALL=C``. The
first pattern that is found wins, so the narrow ones come first.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from typing import NamedTuple

from wfops_pipelines.domain.errors import (
    HeadMoved,
    IncompleteRead,
    NotFound,
    OutsideError,
    Refused,
    Rejected,
    Unreachable,
)
from wfops_pipelines.git.address import Address, Transport
from wfops_pipelines.git.command import MOST_WRITTEN_BYTES, GitFailed

_TOKEN_FIX = "check the token: is it still valid, and may it reach this repository?"  # noqa: S105 - a sentence
_KEY_FIX = "add the public half of the key to the repository, or name the right key file"
_LATER = "try again later"

# git says of its own configuration only that it could not be written
_FULL = r"No space left on device|Disk quota exceeded|File too large|failed to write new configuration file"
_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CLONE_FULL, _CLONE_FULL_FIX = "the disk that holds the clone is full", "make room in WFOPS_HOME"


class _Meaning(NamedTuple):
    pattern: str
    error: type[OutsideError]
    message: str
    fix: str | None


_MEANINGS = (
    _Meaning(r"File too large", Rejected, "more would be written than one fetch may take: a file of "
             f"{MOST_WRITTEN_BYTES // 2**30} GiB, or what `ulimit -f` of this machine says",
             "name a repository that is not as large"),
    _Meaning(_FULL, OutsideError, _CLONE_FULL, _CLONE_FULL_FIX),
    _Meaning(r"requested URL returned error: 401|Authentication failed|could not read (Username|Password)"
             r"|Invalid username or (password|token)|HTTP Basic: Access denied", Refused,
             "the credentials were refused", _TOKEN_FIX),
    _Meaning(r"requested URL returned error: 403|Write access to repository not granted|error: insufficient permission"
             r"|[Pp]ermission to .* denied|not allowed to push code", Refused,
             "the credentials do not allow this", _TOKEN_FIX),
    _Meaning(r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED", Refused,
             "the host's SSH key is not the one known from before",
             "if the change is right, remove the old line from the file known_hosts in the cache directory"),
    _Meaning(r"Permission denied \(|Too many authentication failures|Load key .*|UNPROTECTED PRIVATE KEY", Refused,
             "the SSH key was refused", _KEY_FIX),
    _Meaning(r"not our ref|couldn't find remote ref|bad object", NotFound,
             "the commit is no longer there (force-pushed away?)", "read the branch's head again"),
    _Meaning(r"requested URL returned error: (404|410)|repository '.*' not found|[Rr]epository not found"
             r"|does not appear to be a git repository|not a git repository|does not exist", NotFound,
             "there is no Git repository", "check the URL, and that the credentials may see the repository"),
    _Meaning(r"requested URL returned error: (429|5\d\d)|rate limit", Unreachable,
             "the server cannot answer now", _LATER),
    _Meaning(r"requested URL returned error: 3\d\d|unable to update url base from redirection", Rejected,
             "the repository has moved", "write its new address"),
    _Meaning(r"requested URL returned error: \d+", Rejected, "the server said no", None),
    _Meaning(r"certificate|SSL|TLS|gnutls_handshake", Unreachable, "no trusted TLS connection",
             "install the server's certificate authority (SSL_CERT_FILE), or check the host name"),
    _Meaning(r"Could not resolve (host|proxy)|Name or service not known|nodename nor servname", Unreachable,
             "the host's name is unknown", "check the URL and the name server"),
    _Meaning(r"Connection refused|Failed to connect|Couldn't connect|No route to host|Network is unreachable"
             r"|timed out|Operation too slow|Empty reply from server|Connection reset", Unreachable,
             "the server cannot be reached", "check that it runs and that this machine may reach it"),
    _Meaning(r"early EOF|RPC failed|transfer closed|unexpected disconnect|hung up unexpectedly|index-pack failed"
             r"|unexpected EOF|invalid index-pack output|flush packet|protocol error|expected packfile|bad line length"
             r"|pack has bad object|packet write", IncompleteRead, "the transfer was cut off", _LATER),
    _Meaning(r"mismatched (algorithms|object format)|unknown object format", Rejected,
             "the repository uses SHA-256 object names, which WorkflowOps does not read yet", None),
    _Meaning(r"detected dubious ownership|unable to access|Permission denied", Refused,
             "this user may not read the repository", "check the file permissions"),
)

_MOVED = re.compile(r"\[rejected\] \((stale info|fetch first|non-fast-forward|needs force|already exists)\)"
                    r"|cannot lock ref|reference already exists|incorrect old value|failed to update ref|failed to lock"
                    r"|\[remote rejected\] \(fetch first\)")
_DECLINED = re.compile(r"^!\t[^\t]*\t\[(?:remote )?rejected\] \((?P<reason>.*)\)$", re.MULTILINE)


_BROKEN = re.compile(r"refs/wfops/\S+|loose object|pack-[0-9a-f]{40}|unable to read|inflate|corrupt"
                     r"|missing (blob|tree|commit)|did not send all necessary objects|cache directory .* is gone"
                     r"|not a git repository: '")


def is_broken_clone(failed: GitFailed) -> bool:
    """Whether the fault lies in our clone, which is then made anew, and not with the remote."""
    ours, _ = _sides(failed.text)
    return _BROKEN.search(ours) is not None and re.search(_FULL, ours) is None


@contextlib.contextmanager
def full_disk_told(address: Address) -> Iterator[None]:
    """Work on the clone; that there is no room for it becomes an error of our tree, everything else stays what it is."""
    try:
        yield
    except GitFailed as failed:
        if re.search(_FULL, failed.text) is None:
            raise
        raise outside_error(failed, address) from None
    except OSError as error:
        if error.errno not in _FULL_ERRORS:
            raise
        raise OutsideError(f"{_CLONE_FULL}: {error.filename or error.strerror}", target=address.url,
                           fix=_CLONE_FULL_FIX) from error


def outside_error(failed: GitFailed, address: Address, *, writing: bool = False) -> OutsideError:
    """The error of our tree that says what went wrong with the remote."""
    if writing:
        declined = _push_declined(failed, address)
        if declined is not None:
            return declined
    for meaning in _MEANINGS:
        if re.search(meaning.pattern, failed.text):
            fix = _KEY_FIX if meaning.fix is _TOKEN_FIX and address.transport is Transport.SSH else meaning.fix
            status = re.search(r"requested URL returned error: (\d+)", failed.text)
            return meaning.error(f"{meaning.message}{_quoted(failed.text)}", target=address.url,
                                 status=int(status[1]) if status else None, fix=fix)
    return Rejected(f"git {failed.command} failed{_quoted(failed.text)}", target=address.url)


def _push_declined(failed: GitFailed, address: Address) -> OutsideError | None:
    _, theirs = _sides(failed.text)
    if re.search(_FULL, theirs):
        return OutsideError(f"the disk of the Git server is full{_quoted(failed.text, prefix='remote:')}",
                            target=address.url, fix="make room there")
    if _MOVED.search(failed.text):
        return HeadMoved("the branch moved while the commit was made", target=address.url,
                         fix="read it again and retry")
    declined = _DECLINED.search(failed.text)
    if declined is None:
        return None
    fix = "the remote's rules decide who may write there: use write_mode: pull_request, or ask for the right to push"
    if "checked out" in declined["reason"]:
        fix = "push to a bare repository (git init --bare)"
    return Rejected(f"the push was declined: {declined['reason']}{_quoted(failed.text, prefix='remote:')}",
                    target=address.url, fix=fix)


def _sides(text: str) -> tuple[str, str]:
    """What was said here, and what the remote said."""
    lines = text.splitlines()
    return ("\n".join(line for line in lines if not line.startswith("remote:")),
            "\n".join(line for line in lines if line.startswith("remote:")))


def _quoted(text: str, *, prefix: str = "") -> str:
    """The first line that says something, in brackets."""
    lines = [line.strip() for line in text.splitlines()]
    wanted = ("remote:",) if prefix else ("fatal:", "ERROR:", "error:", "remote:")
    for line in lines:
        if line.startswith(wanted) and len(line) > len("remote: "):
            return f": {line[:300]}"
    return ""
