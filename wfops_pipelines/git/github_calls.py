"""One GitHub call at a time: bounded retries, and GitHub's answers in our tree of errors.

PyGithub's own retrying is off: it would sleep through a rate limit for an hour. Here a call waits at most
:data:`LONGEST_WAIT` seconds for a limit to lift (and not beyond ``calls.end_by``), in at most :data:`ATTEMPTS` attempts;
then the caller hears when to come back. PyGithub's connection is not made for several threads, so calls take turns.
"""

from __future__ import annotations

import logging
import re
import ssl
import threading
import time
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from typing import Any, TypeVar

import httpx
from github import BadAttributeException, GithubException
from jwt import PyJWTError

from wfops_pipelines import calls
from wfops_pipelines.answer_bodies import BrokenBody, TooLarge
from wfops_pipelines.domain.errors import (
    Conflict,
    IncompleteRead,
    NotFound,
    OutsideError,
    Refused,
    Rejected,
    Unreachable,
    UsageError,
)
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines.git import github_connection
from wfops_pipelines.git.command import Secret, scrub
from wfops_pipelines.git.github_connection import NotGitHub, OutOfTime
from wfops_pipelines.unwaited import call_unwaited

log = logging.getLogger("wfops.github")

T = TypeVar("T")

github_connection.use()

#: What PyGithub raises where JSON is of another shape than GitHub's, or moves to another host.
_ODD = (ArithmeticError, AssertionError, AttributeError, BadAttributeException, LookupError, RuntimeError, TypeError)
_SECONDS = re.compile(r"[0-9]{1,11}")
ATTEMPTS = 4
LONGEST_WAIT = 60.0
_TOKEN_FIX = "check the token: is it valid, and has it read and write access to Contents and Pull requests?"  # noqa: S105


class GitHubCalls:
    """Makes calls for one repository. ``target`` is its URL for people; ``sleep`` waits, in seconds."""

    def __init__(self, target: str, *, secret: Secret, sleep: Callable[[float], None] = time.sleep) -> None:
        self._target = target
        self._secret = secret
        self._sleep = sleep
        self._turn = threading.RLock()

    def __call__(self, what: str, call: Callable[[], T]) -> T:
        """The result of a call that is safe to repeat; ``what`` says in messages what was being done."""
        with calls.counted("git"):
            return self._repeated(what, call)

    def _repeated(self, what: str, call: Callable[[], T]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._turn:
                    return self._in_time(what, call)
            except GithubException as failed:
                wait = _seconds_to_wait(failed, attempt)
                if wait is None or wait > calls.seconds_left(LONGEST_WAIT) or attempt == ATTEMPTS:
                    raise self._error(what, failed, wait) from None
            except TooLarge:
                raise self._not_github(f"{what}: the answer is larger than any of GitHub's") from None
            except NotGitHub as odd:
                raise self._not_github(f"{what}: {odd}") from None
            except (httpx.RemoteProtocolError, BrokenBody, ValueError):
                if _is_last(attempt):
                    raise IncompleteRead(f"{what}: the answer was cut off", target=self._target,
                                         fix="try again later") from None
                wait = _backoff(attempt)
            except (httpx.TransportError, httpx.InvalidURL) as failed:
                if _is_last(attempt) or _is_about_tls(failed):
                    raise Unreachable(f"{what}: GitHub cannot be reached ({type(failed).__name__})",
                                      target=self._target, fix="check api_url and this machine's way to it") from None
                wait = _backoff(attempt)
            except FailpointReached:
                raise
            except PyJWTError:  # looked like one until it was to sign: some of its numbers are wrong
                raise no_app_key() from None
            except _ODD as odd:
                log.warning("%s: an answer that is not understood", what, exc_info=odd)
                raise self._not_github(f"{what}: the answer is none that GitHub gives ({type(odd).__name__})") from odd
            self._sleep(wait)
        raise AssertionError  # the loop returns or raises

    def _in_time(self, what: str, call: Callable[[], T]) -> T:
        """What the call gives, if it does in time. Its requests end by then, and with them its thread; nobody waits for that
        where looking up a name takes longer."""
        seconds = calls.seconds_left(github_connection.WHOLE_SECONDS)
        asked = call_unwaited(_ending_by, time.monotonic() + seconds, call)
        if futures.wait({asked}, timeout=seconds).done:
            with suppress(OutOfTime):
                return asked.result()
        raise Unreachable(f"{what}: {calls.unanswered(seconds)}", target=self._target,
                          fix="check api_url and this machine's way to it")

    def _not_github(self, text: str) -> Rejected:
        return Rejected(text, target=self._target, fix="check api_url, and what stands between this machine and GitHub")

    def _error(self, what: str, failed: GithubException, wait: float | None) -> OutsideError:
        status = int(failed.status)
        try:
            token = self._secret()
        except OutsideError:
            token = None
        text = f"{what}: {scrub(said(failed), token)}"
        if wait is not None:
            fix = f"try again in {wait:.0f} s" if status < 500 else "try again later"
            return Unreachable(text, target=self._target, status=status, fix=fix)
        kinds: dict[int, tuple[type[OutsideError], str | None]] = {
            401: (Refused, _TOKEN_FIX), 403: (Refused, _TOKEN_FIX), 409: (Conflict, "read again and retry"),
            404: (NotFound, "check owner and name, and that the token may see the repository"),
        }
        kind, fix_or_none = kinds.get(status, (Rejected, None))
        return kind(text, target=self._target, status=status, fix=fix_or_none)


def no_app_key() -> UsageError:
    """What is said of a GitHub App's private key that cannot sign."""
    return UsageError("github_app.private_key is no RSA key, or one with a password",
                      fix="give the contents of the PEM file that GitHub made for the App")


def _ending_by(deadline: float, call: Callable[[], T]) -> T:
    """The call, in a thread of its own, with its requests ended by the deadline."""
    calls.end_by(deadline)
    return call()


def _is_about_tls(failed: BaseException) -> bool:
    cause: BaseException | None = failed
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def said(failed: GithubException) -> str:
    """What GitHub said, in one line."""
    data: Any = failed.data
    if not isinstance(data, dict):
        return f"HTTP {failed.status}"
    parts = [str(data.get("message") or "")]
    errors = data.get("errors")
    for error in errors if isinstance(errors, list) else [errors or ""]:
        parts.append(str(error.get("message") or error.get("code") or "") if isinstance(error, dict) else str(error))
    return f"HTTP {failed.status}: {'; '.join(part for part in parts if part)[:300]}"


def _seconds_to_wait(failed: GithubException, attempt: int) -> float | None:
    """How long to wait before the call is made again; ``None`` when waiting does not help."""
    headers = {str(name).lower(): str(value) for name, value in (failed.headers or {}).items()}
    if failed.status >= 500:
        return _backoff(attempt)
    if failed.status not in {403, 429}:
        return None
    asked, reset = (_number(headers.get(name, "")) for name in ("retry-after", "x-ratelimit-reset"))
    if asked is not None:
        return asked
    if headers.get("x-ratelimit-remaining") == "0" and reset is not None:
        return max(1.0, reset - time.time() + 1)
    if failed.status == 429 or "rate limit" in said(failed).lower():
        return LONGEST_WAIT  # GitHub's advice where it names no time
    return None


def _number(text: str) -> float | None:
    """A header's number of seconds; none where it is no such number."""
    return float(text) if _SECONDS.fullmatch(text) else None


def _is_last(attempt: int) -> bool:
    return attempt == ATTEMPTS or _backoff(attempt) > calls.seconds_left(LONGEST_WAIT)


def _backoff(attempt: int) -> float:
    return float(2 ** (attempt - 1)) / 2
