"""One GitHub call at a time: bounded retries, and GitHub's answers in our tree of errors.

PyGithub's own retrying is off: it would sleep through a rate limit for an hour. Here a call waits at most
:data:`LONGEST_WAIT` seconds for a limit to lift (and not beyond ``calls.end_by``), in at most :data:`ATTEMPTS` attempts;
then the caller hears when to come back. PyGithub's connection is not made for several threads, so calls take turns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any, TypeVar

import requests
from github import GithubException

from wfops_pipelines import calls
from wfops_pipelines.domain.errors import (
    Conflict,
    IncompleteRead,
    NotFound,
    OutsideError,
    Refused,
    Rejected,
    Unreachable,
)
from wfops_pipelines.git.command import Secret, scrub
from wfops_pipelines.unwaited import call_unwaited

T = TypeVar("T")

ATTEMPTS = 4
LONGEST_WAIT = 60.0
WHOLE_SECONDS = 300.0  # for one call
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
            except (requests.exceptions.ChunkedEncodingError, ValueError):
                if attempt == ATTEMPTS:
                    raise IncompleteRead(f"{what}: the answer was cut off", target=self._target,
                                         fix="try again later") from None
                wait = _backoff(attempt)
            except requests.exceptions.RequestException as failed:
                if attempt == ATTEMPTS or isinstance(failed, requests.exceptions.SSLError):
                    raise Unreachable(f"{what}: GitHub cannot be reached ({type(failed).__name__})",
                                      target=self._target, fix="check api_url and this machine's way to it") from None
                wait = _backoff(attempt)
            self._sleep(wait)
        raise AssertionError  # the loop returns or raises

    def _in_time(self, what: str, call: Callable[[], T]) -> T:
        """PyGithub limits the wait for a byte, and not for all of them: a call that takes longer is left to itself."""
        seconds = calls.seconds_left(WHOLE_SECONDS)
        asked = call_unwaited(call)
        if not futures.wait({asked}, timeout=seconds).done:
            raise Unreachable(f"{what}: no whole answer within {seconds:.0f} s", target=self._target,
                              fix="check api_url and this machine's way to it")
        return asked.result()

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


def said(failed: GithubException) -> str:
    """What GitHub said, in one line."""
    data: Any = failed.data
    if not isinstance(data, dict):
        return f"HTTP {failed.status}"
    parts = [str(data.get("message") or "")]
    for error in data.get("errors") or []:
        parts.append(str(error.get("message") or error.get("code") or "") if isinstance(error, dict) else str(error))
    return f"HTTP {failed.status}: {'; '.join(part for part in parts if part)[:300]}"


def _seconds_to_wait(failed: GithubException, attempt: int) -> float | None:
    """How long to wait before the call is made again; ``None`` when waiting does not help."""
    headers = {str(name).lower(): str(value) for name, value in (failed.headers or {}).items()}
    if failed.status >= 500:
        return _backoff(attempt)
    if failed.status not in {403, 429}:
        return None
    if headers.get("retry-after", "").isdigit():
        return float(headers["retry-after"])
    if headers.get("x-ratelimit-remaining") == "0" and headers.get("x-ratelimit-reset", "").isdigit():
        return max(1.0, int(headers["x-ratelimit-reset"]) - time.time() + 1)
    if failed.status == 429 or "rate limit" in said(failed).lower():
        return LONGEST_WAIT  # GitHub's advice where it names no time
    return None


def _backoff(attempt: int) -> float:
    return float(2 ** (attempt - 1)) / 2
