"""The kinds of text in fleet.yaml: slugs, URLs, folders, branches, references to secrets (§1, §2.6, §7).

Each is checked and brought into its one form here. No message repeats what was given: somebody may have put a secret
where it does not belong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, cast
from urllib.parse import SplitResult, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, Strict, WithJsonSchema

SLUG_PATTERN = r"[a-z0-9][a-z0-9-]{0,62}"
_SLUG = re.compile(SLUG_PATTERN)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BLANK = re.compile(r"\s")
_NOT_IN_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[/.-]|[/.]$|^@$")
_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9._-]+@)?(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*):(?![:/]{2})(?P<path>[^:-][^:]*)")


class EnvironmentClass(StrEnum):
    """What an environment is for (§1). In ``dev`` n8n is the source of truth, in the others Git."""

    DEV = "dev"
    STAGING = "staging"
    PRODUCTION = "production"


class DriftHandlingMode(StrEnum):
    """What drift means for whoever wants to touch the environment (§10.7)."""

    WARN_ONLY = "warn_only"
    MANUAL_OVERRIDE = "manual_override"
    REQUIRE_ATTESTATION = "require_attestation"


class WriteMode(StrEnum):
    """How WorkflowOps writes to an environment's branch (§7)."""

    PUSH = "push"
    PULL_REQUEST = "pull_request"


class Activation(StrEnum):
    """Whose activation holds for a workflow that source and target both have (§11.3)."""

    KEEP = "keep"  # the target's
    SOURCE = "source"


class Plan(StrEnum):
    """A tenant's plan (§17)."""

    FREE = "free"
    PRO = "pro"
    AGENCY = "agency"
    ENTERPRISE = "enterprise"


class NotificationEvent(StrEnum):
    """What a notification target can be told of (§16)."""

    INCIDENT_OPENED = "incident.opened"
    INCIDENT_ESCALATED = "incident.escalated"
    INCIDENT_SEVERITY_RISEN = "incident.severity_risen"
    INCIDENT_CLOSED = "incident.closed"
    APPROVAL_REQUESTED = "approval.requested"
    PROMOTION_FAILED = "promotion.failed"
    PROMOTION_ROLLED_BACK = "promotion.rolled_back"
    PROMOTION_WAITING = "promotion.waiting_for_approval"
    ENVIRONMENT_DOWN = "environment.down"
    SYNC_FAILING = "sync.failing"
    DEPLOYMENT_FAILED = "deployment.failed"
    ALERT_FIRED = "alert.fired"
    ALERT_CLEARED = "alert.cleared"


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is to be found when the fleet is applied: ``env:NAME`` or ``file:PATH``. Never the secret."""

    kind: Literal["env", "file"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def parse(cls, value: object) -> SecretReference:
        """Read a reference; :class:`ValueError` for anything else, which it does not repeat."""
        if isinstance(value, SecretReference):
            return value
        kind, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        if kind == "env" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            return cls("env", name)
        if kind == "file" and name.strip() and not _CONTROL.search(name):
            return cls("file", name)
        if colon and kind == "env":
            raise ValueError("must be env:NAME with the name of a variable (letters, digits and _)")
        raise ValueError("must be a reference to a secret, env:NAME or file:PATH, and never the secret itself")


def check_slug(value: str) -> str:
    """A slug, or :class:`ValueError`."""
    if not _SLUG.fullmatch(value):
        raise ValueError("must be 1 to 63 lower-case letters, digits and '-', and begin with a letter or digit")
    return value


def check_name(value: str) -> str:
    """A name for people: one line."""
    if not value.strip() or len(value) > 200 or _CONTROL.search(value):
        raise ValueError("must be 1 to 200 characters on one line")
    return value.strip()


def check_credential_name(value: str) -> str:
    """A name as n8n has it: blanks at its ends are part of it."""
    check_name(value)
    return value


def check_key(value: str) -> str:
    """A key that other places refer to."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", value):
        raise ValueError("must be 1 to 100 letters, digits, '_', '.' and '-', and begin with a letter or digit")
    return value


def check_variable(value: str) -> str:
    """The name of an environment's variable."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", value):
        raise ValueError("must be a name of letters, digits and '_'")
    return value


def check_base_url(value: str) -> str:
    """An n8n base URL in its one form: lower-case scheme and host, no slash at the end."""
    parts, host = _split(value)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must begin with http:// or https://")
    if not host:
        raise ValueError("must name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user or password: api_key names the key")
    if parts.query or parts.fragment or value.endswith(("?", "#")):
        raise ValueError("must not carry a query or fragment")
    path = parts.path.rstrip("/")
    if path.endswith("/api/v1"):
        raise ValueError("must be the address of n8n itself: leave out /api/v1")
    return urlunsplit((parts.scheme, parts.netloc.lower(), path, "", ""))


def check_repository_url(value: str) -> str:
    """A Git remote: ``file:///path`` (or an absolute path), ``http(s)://``, ``ssh://`` or ``user@host:path``."""
    if value.startswith("/") and not _CONTROL.search(value):
        return value
    if "://" not in value and _SCP_LIKE.fullmatch(value) and not _BLANK.search(value):
        return value
    parts, host = _split(value)
    if parts.scheme not in {"file", "http", "https", "ssh"}:
        raise ValueError("must be file:///path, https://host/path, ssh://user@host/path or user@host:path")
    if parts.password is not None or (parts.username is not None and parts.scheme != "ssh"):
        raise ValueError("must not carry a user or password, which may be a token: token names it")
    if parts.query or parts.fragment:
        raise ValueError("must not carry a query or fragment")
    if parts.scheme == "file" and (parts.netloc not in {"", "localhost"} or not parts.path.strip("/")):
        raise ValueError("must name an absolute path: file:///path")
    if parts.scheme != "file" and (not host or host.startswith("-") or not parts.path.strip("/")):
        raise ValueError("must name a host and the path of the repository there")
    if (parts.username or "").startswith("-"):
        raise ValueError("must name a user that does not begin with '-', which ssh would take for an option")
    return value


def repository_identity(url: str) -> str:
    """What is equal for two spellings of one repository's URL (a checked one): with and without ``.git``, ``https`` and
    ``ssh``. Not proof against every trick: two names of one server stay two."""
    scp = _SCP_LIKE.fullmatch(url) if "://" not in url and not url.startswith("/") else None
    if scp is not None:
        host, path = scp["host"], scp["path"]
    else:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port not in {None, 22, 80, 443} else ""
        host, path = (parts.hostname or "") + port, parts.path
    host = "" if host == "localhost" and url.startswith("file:") else host.lower()
    parts_of_path = [part for part in path.split("/") if part not in {"", "."}]
    return f"{host}/{'/'.join(parts_of_path).removesuffix('.git')}"


def check_branch(value: str) -> str:
    """A branch that Git allows."""
    if not value or len(value) > 200 or _NOT_IN_BRANCH.search(value) or _CONTROL.search(value):
        raise ValueError("must be the name of a Git branch: letters, digits, '-', '_', '.' and '/'")
    if value == "HEAD" or value.startswith("refs/"):
        raise ValueError("must be the name of a branch alone, such as 'main': neither 'HEAD' nor 'refs/heads/…'")
    return value


def check_folder(value: str) -> str:
    """A folder inside a repository in its one form, without slashes at its ends; ``""`` (or ``.``) is the root."""
    if value.startswith("/"):
        raise ValueError("must be relative to the root of the repository, without a '/' at the beginning")
    if "\\" in value or _CONTROL.search(value):
        raise ValueError("must be written with '/' and on one line")
    parts = [part for part in value.split("/") if part not in {"", "."}]
    if ".." in parts or any(part.lower() == ".git" for part in parts):
        raise ValueError("must stay inside the repository: no '..' and no '.git'")
    return "/".join(parts)


def _split(value: str) -> tuple[SplitResult, str]:
    if _BLANK.search(value) or _CONTROL.search(value):
        raise ValueError("must be a URL without spaces (write %20) or control characters")
    try:
        parts = urlsplit(value)
        _ = parts.port  # reading it checks it
    except ValueError:
        raise ValueError("must be a URL with a host and, if any, a port from 0 to 65535") from None
    return parts, parts.hostname or ""


def _schema(**schema: object) -> WithJsonSchema:
    return WithJsonSchema(cast("dict[str, Any]", schema))


def check_clock(value: str) -> str:
    """A time of the day."""
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
        raise ValueError("must be a time of the day from 00:00 to 23:59")
    return value


ClockTime = Annotated[str, AfterValidator(check_clock), _schema(type="string", pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
WholeNumber = Annotated[int, Strict()]  # neither "1" nor true is one
Slug = Annotated[str, AfterValidator(check_slug), _schema(type="string", pattern=f"^{SLUG_PATTERN}$")]
Name = Annotated[str, AfterValidator(check_name), _schema(type="string", minLength=1, maxLength=200)]
CredentialName = Annotated[str, AfterValidator(check_credential_name), _schema(type="string", minLength=1, maxLength=200)]
Key = Annotated[str, AfterValidator(check_key), _schema(type="string", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
VariableName = Annotated[str, AfterValidator(check_variable)]
BaseUrl = Annotated[str, AfterValidator(check_base_url), _schema(type="string", format="uri", pattern="^https?://")]
RepositoryUrl = Annotated[str, AfterValidator(check_repository_url), _schema(type="string", minLength=1)]
Branch = Annotated[str, AfterValidator(check_branch), _schema(type="string", minLength=1, maxLength=200)]
Folder = Annotated[str, AfterValidator(check_folder), _schema(type="string")]
Secret = Annotated[
    SecretReference, BeforeValidator(SecretReference.parse), PlainSerializer(str, return_type=str),
    _schema(type="string", pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"),
]
