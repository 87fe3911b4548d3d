"""Pushes (§7, §21): what a webhook's delivery says, which environments it may touch, and when a branch is looked at.

A delivery is a hint to look at a reference, and never more: what is read is where the branch stands then. So deliveries may
come late, twice, out of order or not at all. What they say decides only *whose* branch is looked at now.

Times are aware; durations are seconds. Jitter is computed from names, so that it is the same after a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from wfops_pipelines.domain.chance import chance_of
from wfops_pipelines.domain.errors import MalformedDelivery

COMMITS_TOLD = 20  # of a push with more, what it touched is not trusted to be listed whole
FILES_TOLD = 3000  # that a commit lists at most
LOOKS_PER_SECOND = 1 / 0.3  # at most, over all repositories: a thousand are looked at within 300 s
LONGEST_INTERVAL = 300.0
LONGEST_BACKOFF = 1800.0
FIRST_PATIENCE, LONGEST_PATIENCE = 120.0, 1800.0  # until a refresh that came to nothing is asked for again

_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCH = "refs/heads/"
# Of GitHub's own names of a repository. Quotes and backslashes are escaped in JSON, so none is taken from a message.
_NAMED = re.compile(rb'"(?:clone_url|ssh_url|git_url|html_url)"\s{0,16}+:\s{0,16}+"([^"\\\x00-\x20]{1,500}+)"')
# The same as forms write it, where nobody has decoded it yet. Python before 3.11.5 matches possessive groups wrongly.
_NAMED_IN_FORM = re.compile(
    rb'%22(?:clone_url|ssh_url|git_url|html_url)%22(?:\+|%20){0,16}(?::|%3A|%3a)(?:\+|%20){0,16}'
    rb'%22((?:[^"\\&+%\x00-\x20]|%(?!2[02]|5[Cc]|[01])){1,1500})%22')
_MOST_NAMED, _MOST_MATCHES = 32, 500
_SAME_HOST = {"ssh.github.com": "github.com"}  # GitHub's SSH on port 443, for those whose firewall lets nothing else out
_FIELD = b"payload="
_PIECE = 2**16


# -- the sender ----------------------------------------------------------------------------------------------------------


def signature_of(secret: str, body: bytes) -> str:
    """``X-Hub-Signature-256`` of a body."""
    return "sha256=" + hmac.digest(secret.encode(), body, hashlib.sha256).hex()


def is_signed(secret: str, body: bytes, signature: str) -> bool:
    """Whether the signature is that of the body, compared in constant time. An empty secret is none: it signs for nobody."""
    made = signature_of(secret, body)
    given = signature if _SIGNATURE.fullmatch(signature) else "sha256=" + "-" * 64
    return hmac.compare_digest(made.encode(), given.encode("ascii", "replace")) and bool(secret)


def remote_key(url: str) -> str | None:
    """A repository's host and path, the same for each way to write its address; none for a place on a disk.

    GitHub's names know no case, and so neither has the key: it finds candidates, it proves nothing.
    """
    if url.startswith("/") or url.lower().startswith("file:"):
        return None
    if "://" not in url:
        host, colon, path = url.rpartition("@")[2].partition(":")
        if not colon:
            host, path = "github.com", url
        return _key(host, path)
    try:
        parts = urlsplit(url)
        default = {"http": 80, "https": 443, "ssh": 22, "git": 9418}.get(parts.scheme)
        port = f":{parts.port}" if parts.port not in {None, default} and parts.scheme in {"http", "https"} else ""
    except ValueError:
        return None
    return _key(f"{parts.hostname or ''}{port}", parts.path)


def remote_host(url: str, api_url: str | None) -> str:
    """Who answers for a repository, its API where it has one; nobody's name for a disk."""
    url = api_url or url
    key = remote_key(url)
    return key.partition("/")[0] if key is not None else urlsplit(url).netloc.lower()


def _key(host: str, path: str) -> str | None:
    trimmed = path.strip("/").removesuffix(".git").strip("/")
    host = _SAME_HOST.get(host.lower(), host)
    return f"{host}/{trimmed}".lower() if host and trimmed else None


def named_remotes(body: bytes, *, form: bool = False) -> frozenset[str]:
    """The repositories that a body seems to name, as :func:`remote_key` writes them: whose secrets may have signed it.

    Nobody vouches for the body yet. So it is neither parsed nor, where it is a ``form``, decoded; and of one that names many
    things, or one thing very often, the first are taken: GitHub names the repository before what happened in it.
    """
    pattern = _NAMED_IN_FORM if form else _NAMED
    found: dict[str, None] = {}
    for written in dict.fromkeys(match[1] for match in islice(pattern.finditer(body), _MOST_MATCHES)):
        key = remote_key((unquote_to_bytes(written) if form else written).decode("utf-8", "replace"))
        if key is not None:
            found[key] = None
        if len(found) >= _MOST_NAMED:
            break
    return frozenset(found)


def form_payload(body: bytes) -> bytes:
    """The JSON of a form-encoded delivery (``payload=…``); :class:`MalformedDelivery` when there is none."""
    start = 0 if body.startswith(_FIELD) else body.find(b"&" + _FIELD) + 1
    if start == 0 and not body.startswith(_FIELD):
        raise MalformedDelivery("the form has no field payload", fix="let the webhook send application/json")
    end = body.find(b"&", start)
    return b"".join(_decoded(body[start + len(_FIELD):end if end >= 0 else len(body)]))


def _decoded(value: bytes) -> Iterator[bytes]:
    """A piece at a time, which ends where no escape is cut: all at once, millions of escapes would be lists of millions."""
    start = 0
    while start < len(value):
        end = start + _PIECE
        cut = value.rfind(b"%", end - 2, end) if end < len(value) else -1
        end = cut if cut >= 0 else end
        yield unquote_to_bytes(value[start:end].replace(b"+", b" "))
        start = end


# -- what a push says ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Push:
    """A branch was pushed to. ``after`` is none when it was deleted; ``paths`` is what changed, none when that is not known
    for sure: then everything may have."""

    branch: str
    before: str | None
    after: str | None
    forced: bool
    paths: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an environment's workflows are in the repository; ``folder`` is ``""`` for the root."""

    slug: str
    branch: str
    folder: str


def read_push(document: Mapping[str, Any]) -> Push | None:
    """The push that GitHub's event ``push`` tells of, or none where it is about a tag; :class:`MalformedDelivery` when it is
    no such event."""
    reference, before, after = (document.get(name) for name in ("ref", "before", "after"))
    if not (isinstance(reference, str) and isinstance(before, str) and isinstance(after, str)):
        raise MalformedDelivery("the event names no ref, before and after", fix="send GitHub's event push")
    if not (_COMMIT.fullmatch(before) and _COMMIT.fullmatch(after)):
        raise MalformedDelivery("before or after is no commit", fix="send GitHub's event push")
    if not reference.startswith(_BRANCH):
        return None
    branch = reference.removeprefix(_BRANCH)
    if not branch or len(branch) > 500:
        raise MalformedDelivery("the event names no branch", fix="send GitHub's event push")
    forced, deleted = document.get("forced") is True, _is_none(after)
    whole = forced or deleted or _is_none(before) or document.get("created") is True
    return Push(branch, None if _is_none(before) else before, None if deleted else after, forced,
                None if whole else _paths(document.get("commits")))


def _is_none(commit: str) -> bool:
    return not commit.strip("0")


def _paths(commits: Any) -> frozenset[str] | None:
    if not isinstance(commits, list) or not 0 < len(commits) <= COMMITS_TOLD:
        return None
    found: set[str] = set()
    for commit in commits:
        listed = [commit.get(name) for name in ("added", "removed", "modified")] if isinstance(commit, dict) else [None]
        if not all(isinstance(paths, list) and all(isinstance(p, str) for p in paths) for paths in listed):
            return None
        told = [path for paths in listed for path in paths or ()]
        if not 0 < len(told) < FILES_TOLD:  # a merge may list none, whatever it brought
            return None
        found.update(told)
    return frozenset(found)


def touched(push: Push, places: Iterable[Place]) -> list[str]:
    """Slugs of the environments that a push may have changed, in their order: those of its branch, and of these, where it is
    known what changed, those in whose folder something did."""
    return [place.slug for place in places if place.branch == push.branch and (
        push.paths is None or any(_within(path, place.folder) for path in push.paths))]


def _within(path: str, folder: str) -> bool:
    trimmed = folder.strip("/")
    return trimmed in {"", "."} or path == trimmed or path.startswith(f"{trimmed}/")


# -- when a branch is looked at ------------------------------------------------------------------------------------------


def poll_interval(branches: int, shortest: float) -> float:
    """How often each of so many branches is looked at: ``shortest`` for a few, up to five minutes for a thousand, so that
    there are never more than :data:`LOOKS_PER_SECOND`, as far as five minutes allow."""
    return max(shortest, min(branches / LOOKS_PER_SECOND, LONGEST_INTERVAL))


def next_look(now: datetime, name: str, interval: float) -> datetime:
    """When a branch is looked at next: at its own place in the interval, which its name decides, and so not together with
    all the others. Half an interval at least lies between, and one and a half at most, also after a late look."""
    since = now.timestamp() + interval / 2
    wait = (chance_of(name) * interval - since) % interval
    return datetime.fromtimestamp(since + wait, UTC)


def next_attempt(now: datetime, name: str, failures: int, interval: float) -> datetime:
    """When a branch is looked at next that could not be read ``failures`` times in a row: each time later, by half an hour
    at most."""
    longest = max(LONGEST_BACKOFF, interval)
    wait = min(interval * 2 ** min(failures - 1, 20), longest)
    return now + timedelta(seconds=wait * (0.75 + chance_of(f"{name}/{failures}") / 2))


@dataclass(frozen=True, slots=True)
class Asked:
    """The last refresh of an environment that was asked for: for which head (none: the branch was gone), when, and how many
    times for it."""

    head: str | None
    at: datetime
    attempts: int


def wants_refresh(now: datetime, *, head: str | None, commit: str | None, gone_known: bool, asked: Asked | None) -> bool:
    """Whether an environment that stands at ``commit`` is to be refreshed, when its branch stands at ``head``.

    Asked for once per head; again after some minutes when that came to nothing, later each time. A branch that is gone is
    asked for until that is known (``gone_known``), and then left alone.
    """
    if head == commit or (head is None and gone_known):
        return False
    if asked is None or asked.head != head:
        return True
    patience = min(FIRST_PATIENCE * 2 ** min(asked.attempts - 1, 20), LONGEST_PATIENCE)
    return now - asked.at >= timedelta(seconds=patience)


# -- runs ----------------------------------------------------------------------------------------------------------------

Partition = tuple[str, str]
"""Tenant and environment, by slugs."""

LANES = ("push", "push-2")
"""Runs of one lane wait for each other; what two pushes of one environment ask for goes into the same."""

SLOW_LANE = "push-slow"
"""For those who would keep others waiting: whose Git did not answer lately, and tenants that fill a lane of the others."""

MOST_IN_A_LANE = 2  # runs of one tenant alone, beside those of others


@dataclass(frozen=True, slots=True)
class RefreshRun:
    """A run on account of pushes that has not ended. One that waits will see whatever was pushed before it starts."""

    run_id: str
    waits: bool
    lane: str
    partitions: frozenset[Partition]

    @property
    def tenants(self) -> frozenset[str]:
        """Whose environments it looks at."""
        return frozenset(tenant for tenant, _ in self.partitions)


def covering(partition: Partition, runs: Iterable[RefreshRun]) -> str | None:
    """The run that will look at a partition anyway."""
    return next((run.run_id for run in runs if run.waits and partition in run.partitions), None)


def by_lane(partitions: Collection[Partition], runs: Collection[RefreshRun], *,
            slow: Collection[Partition] = ()) -> dict[str, frozenset[Partition]]:
    """Where partitions are to be looked at, by lane; ``slow`` are those whose Git did not answer lately.

    A tenant's wait behind the run that works on one of them, else behind the tenant's other runs, so that one tenant fills
    no two lanes; those of all other tenants go where the fewest runs are.
    """
    quick = [run for run in runs if run.lane in LANES]
    emptiest = min(LANES, key=lambda lane: sum(run.lane == lane for run in quick))
    found: dict[str, set[Partition]] = {}
    for tenant in sorted({tenant for tenant, _ in partitions}):
        theirs = {partition for partition in partitions if partition[0] == tenant}
        slowly = {one for one in theirs.intersection(slow) if not any(one in run.partitions for run in runs)}
        if slowly:
            found.setdefault(SLOW_LANE, set()).update(slowly)
        if theirs - slowly:
            found.setdefault(_lane_of(tenant, theirs - slowly, runs, quick, emptiest), set()).update(theirs - slowly)
    return {lane: frozenset(some) for lane, some in found.items()}


def _lane_of(tenant: str, partitions: Collection[Partition], runs: Collection[RefreshRun], quick: Collection[RefreshRun],
             emptiest: str) -> str:
    for run in runs:
        if not run.partitions.isdisjoint(partitions):
            return run.lane
    own = [run.lane for run in quick if run.tenants == {tenant}]
    if len(own) >= MOST_IN_A_LANE:
        return SLOW_LANE
    return own[0] if own else emptiest
