"""A command at work: the installation, who acts, and the runs it starts.

Everything heavy is imported when it is needed: ``--help`` and the offline commands load none of it.
"""

from __future__ import annotations

import logging
import os
import pwd
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TextIO, cast

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.options import even_paused
from wfops_pipelines.domain.errors import Denied, StoreUnavailable, WfopsError
from wfops_pipelines.domain.run_tags import ENVIRONMENT_TAG, TENANT_TAG

if TYPE_CHECKING:
    from sqlalchemy import Row

    from wfops_pipelines.bootstrap import Installation
    from wfops_pipelines.defs.launch import Launched
    from wfops_pipelines.domain.context import Context
    from wfops_pipelines.services.services import Services
    from wfops_pipelines.settings import Settings



@dataclass(frozen=True)
class Session:
    """An open installation and the identity that acts on it."""

    installation: Installation
    actor: str
    even_paused: bool = False

    @property
    def services(self) -> Services:
        """What the use cases need."""
        return self.installation.services

    def context(self, tenant: str) -> Context:
        """The context of a tenant, by slug; :class:`UnknownTenant` names those there are."""
        return replace(self.services.context(tenant, actor=self.actor), even_paused=self.even_paused)

    def tell_pause(self, tenant: str) -> None:
        """Say beside what is shown of a tenant that it is paused: what is due, or was checked long ago, waits for it."""
        from wfops_pipelines.services.pausing import pauses_now

        pause = pauses_now(self.services).of(self.context(tenant).tenant_id)
        if pause is not None:
            terminal.note(f"{pause}: what is due waits until it is resumed")

    def environments(self, tenant: str, slugs: Sequence[str] | None) -> list[Row[Any]]:
        """The environments named, or all; :class:`UnknownTenant`, :class:`UnknownEnvironment`: before anything is run."""
        return self.services.environments(self.context(tenant), list(slugs or ()))

    def follow_fleet(self) -> None:
        """Let Dagster know the tenants and environments there are."""
        from wfops_pipelines.defs import launch

        with _storage_errors():
            launch.follow_fleet(self.installation)

    def run(self, job: str, ops: Mapping[str, Mapping[str, Any]], *, tenant: str, environment: str | None = None,
            tags: Mapping[str, str] | None = None, detach: bool = False) -> Launched:
        """Run a Dagster job here, or submit it. Ctrl-C ends it as ``KeyboardInterrupt``, after it has cleaned up."""
        from wfops_pipelines.defs import launch
        from wfops_pipelines.services.pausing import refuse_while_paused

        if job != "recover":  # nothing stays half-written on account of a pause
            refuse_while_paused(self.context(tenant), self.services)
        own = {TENANT_TAG: tenant} | ({ENVIRONMENT_TAG: environment} if environment is not None else {})
        own |= {launch.EVEN_PAUSED_TAG: "true"} if self.even_paused else {}
        with _storage_errors(), _interrupts(), redirect_stderr(cast(TextIO, _ErrorStream(sys.stderr))):
            launched = launch.run_job(self.installation, job, ops, actor=self.actor, tags={**own, **(tags or {})},
                                      detach=detach)
        if launched.waited_already:
            terminal.note(f"the same waits in the queue already: run {launched.run_id}")
        return launched


@contextmanager
def open_session(*, keep_running: bool = False) -> Iterator[Session]:
    """Open the installation that the settings describe, as whoever calls."""
    from wfops_pipelines.settings import process_settings

    settings = process_settings()
    actor = identity(settings)
    silence_libraries()
    with terminal.progress("Opening the database"):
        from wfops_pipelines.bootstrap import open_installation

        installation = open_installation(settings, keep_running=keep_running)
    with installation:
        yield Session(installation, actor, even_paused())


def identity(settings: Settings) -> str:
    """Who acts (§2.3): whoever ``WFOPS_TOKEN`` proves, else the local user of the operating system.

    A token that cannot be verified is refused, never passed over: :class:`Denied`.
    """
    if settings.token is not None:
        raise Denied("WFOPS_TOKEN is set, and this version cannot verify tokens",
                     fix="unset it to act as the local user")
    uid = os.getuid()
    try:
        return f"local:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"local:{uid}"


def silence_libraries() -> None:
    """What libraries warn of and log is for ``WFOPS_DEBUG=1`` and the run's event log, not for the screen."""
    if not terminal.debugging():
        warnings.simplefilter("ignore")
        logging.getLogger().addHandler(logging.NullHandler())


def failure_of(launched: Launched) -> WfopsError:
    """Why a run failed, when no environment's own error says it."""
    text = next((line.strip() for line in (launched.failure or "").splitlines() if line.strip()), "no reason recorded")
    return WfopsError(f"run {launched.run_id} failed: {text}", fix="the run's log in the Dagster UI tells more")


def result_of(launched: Launched) -> dict[str, Any]:
    """The one result of a run that was carried out here, with ``run_id``; raises why there is none."""
    told: dict[str, Any] = launched.outputs[0] if launched.outputs else {"result": None, "error": None}
    if told["error"] is not None:
        raise told["error"]
    if not launched.success:
        raise failure_of(launched)
    return {**told["result"], "run_id": launched.run_id}


class _ErrorStream:
    """The error stream, without what Dagster writes past all logging when its storage is gone: a line for each event that
    it could not write. That the storage is gone is the command's error, told once."""

    _NOISE = "Exception while writing logger call to event log"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Pass on what is not noise; with ``WFOPS_DEBUG=1``, everything."""
        if text.startswith(self._NOISE) and not terminal.debugging():
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Dagster's own connections to PostgreSQL fail with the driver's errors; here they become ours."""
    from sqlalchemy.exc import OperationalError

    from wfops_pipelines.defs import launch

    try:
        yield
    except (OperationalError, launch.StorageUnreachable) as error:
        lines = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise StoreUnavailable(f"Dagster's database is not reachable: {lines[0] if lines else 'connection lost'}",
                               fix="is the server running, and WFOPS_DATABASE_URL right?") from error


@contextmanager
def _interrupts() -> Iterator[None]:
    """Dagster turns Ctrl-C into an exception of its own, which is no ``Exception``."""
    from wfops_pipelines.defs import launch

    try:
        yield
    except launch.Interrupted:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would keep us from giving things back
        raise KeyboardInterrupt from None
