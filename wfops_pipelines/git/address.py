"""Where a remote is: the URL of a repository, taken apart, checked and made safe to show.

Only what §7 names is let through: ``file://`` (or an absolute path), ``http(s)://`` and ``ssh://`` (or
``user@host:path``). Git's own ``ext::`` and other helpers would run programs, and are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from wfops_pipelines.domain.errors import UsageError

_SCP_LIKE = re.compile(r"(?P<login>[A-Za-z0-9._-]+@)?(?P<host>[A-Za-z0-9._\[\]-]+):(?!:)(?P<path>[^:].*)")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")
_BAD_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[/.-]|[/.]$|^@$")
_OBJECT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Transport(StrEnum):
    """How Git gets there."""

    FILE = "file"
    HTTP = "http"
    SSH = "ssh"


@dataclass(frozen=True, slots=True)
class Address:
    """A remote. ``url`` carries no password; ``user`` is the login name in it, if any."""

    url: str
    transport: Transport
    user: str | None = None

    @property
    def local_path(self) -> Path:
        """Where a ``file://`` remote lies."""
        return Path(unquote(urlsplit(self.url).path))

    @property
    def origin(self) -> str:
        """Scheme, host and port: what a token may be sent to."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc, "/", "", ""))


def parse_address(url: str) -> Address:
    """The address a user wrote; :class:`UsageError` when it is of no kind we speak, or carries a password."""
    shown = _without_login(url)
    if url.startswith("/"):
        return Address(PurePosixPath(url).as_uri(), Transport.FILE)
    if _UNSAFE.search(url):
        raise UsageError(f"repository URL {shown!r} holds spaces or control characters",
                         fix="write a space as %20")
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme in {"http", "https", "file", "ssh"}:
        return _parse_url(url, scheme, shown)
    scp = _SCP_LIKE.fullmatch(url)
    if scheme or scp is None or scp["host"].startswith("-") or scp["path"].startswith("-"):
        raise UsageError(f"repository URL {shown!r} is of no kind WorkflowOps reads",
                         fix="use file:///path, https://host/path.git, ssh://user@host/path.git or user@host:path.git")
    return Address(url, Transport.SSH, (scp["login"] or "").rstrip("@") or None)


def _parse_url(url: str, scheme: str, shown: str) -> Address:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(f"repository URL {shown!r} cannot be read", fix="check host and port") from None
    if parts.password is not None:
        raise UsageError(f"repository URL {shown!r} carries a password",
                         fix="take it out, and name the secret apart: token: env:NAME")
    if scheme == "file":
        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
            raise UsageError(f"repository URL {shown!r} names no absolute path", fix="use file:///path")
        return Address(urlunsplit(("file", "", parts.path, "", "")), Transport.FILE)
    if not host or host.startswith("-") or (scheme == "ssh" and parts.path.startswith("/-")):
        raise UsageError(f"repository URL {shown!r} names no host", fix=f"use {scheme}://host/path.git")
    if scheme == "ssh":
        return Address(url, Transport.SSH, parts.username)
    netloc = f"[{host}]" if ":" in host else host
    netloc += f":{port}" if port else ""
    user = unquote(parts.username) if parts.username else None
    return Address(urlunsplit((scheme, netloc, parts.path.rstrip("/"), "", "")), Transport.HTTP, user)


def _without_login(url: str) -> str:
    """The URL as it may appear in a message: no user, no password, no query."""
    return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])


def check_branch(branch: str) -> str:
    """The branch, if Git allows such a name; :class:`UsageError` else."""
    if not branch or len(branch) > 200 or _BAD_BRANCH.search(branch):
        raise UsageError(f"{branch!r} is no name for a Git branch", fix="use letters, digits, '-', '_', '.' and '/'")
    return branch


def is_object(name: str) -> bool:
    """Whether it is the full id of a Git object, lower case."""
    return _OBJECT.fullmatch(name) is not None


def check_object(name: str) -> str:
    """The full id of a Git object, lower case; :class:`UsageError` for anything else."""
    if not is_object(name):
        raise UsageError(f"{name!r} is no full Git object id")
    return name


def check_path(path: str) -> str:
    """A path that may be written into a repository; :class:`UsageError` when it would leave it or reach ``.git``."""
    parts = path.split("/")
    if "\0" in path or any(part in {"", ".", ".."} or part.lower() == ".git" for part in parts):
        raise UsageError(f"{path!r} is no path inside a repository", fix="use a relative path without '..' or '.git'")
    return path


def check_folder(folder: str) -> str:
    """A folder without slashes at its ends, ``""`` for the root; :class:`UsageError` when it leaves the repository."""
    trimmed = folder.strip("/")
    return check_path(trimmed) if trimmed not in {"", "."} else ""
