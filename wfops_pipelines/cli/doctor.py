"""``wfops doctor``: what is wrong with this installation, and the way out (§22)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.failures import FAILED
from wfops_pipelines.cli.options import Json
from wfops_pipelines.cli.session import identity, silence_libraries
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import WfopsError

if TYPE_CHECKING:
    from wfops_pipelines.bootstrap import Installation
    from wfops_pipelines.services.diagnose import Finding
    from wfops_pipelines.settings import Settings


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Ask neither n8n nor Git, nor a broker.")] = False,
    set_back_ticks: Annotated[bool, typer.Option("--set-back-ticks", help=(
        "After the clock was set back: let no sensor or schedule wait for the times it showed before. Stop Dagster's daemon "
        "first; `wfops up` does this by itself."))] = False,
    as_json: Json = False,
) -> None:
    """Look at this installation: settings, database, keys, roles, disk, Dagster, and every n8n and repository.

    It works when things are broken: a check that cannot be made says why, and the others go on.

    Exit codes: 0 all well, 1 something is not.

    Examples:

        wfops doctor

        wfops doctor --offline --json | jq '.[] | select(.ok | not)'
    """
    silence_libraries()
    findings: list[Finding] = []
    with terminal.progress("Looking"):
        findings += _examine(offline=offline, set_back_ticks=set_back_ticks)
    if as_json:
        terminal.write(terminal.json_text([finding.as_json() for finding in findings]))
    else:
        for finding in findings:
            mark = terminal.word("ok" if finding.ok else "FAIL")
            terminal.write(f"{mark}{'   ' if finding.ok else ' '}{finding.check}: {visible(finding.message)}\n")
            if finding.fix and not finding.ok:
                terminal.write(f"     fix: {visible(finding.fix)}\n")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else FAILED)


def _examine(*, offline: bool, set_back_ticks: bool) -> Iterator[Finding]:
    from wfops_pipelines.cli import installation_checks as checks
    from wfops_pipelines.services.diagnose import Finding
    from wfops_pipelines.settings import read_settings

    yield checks.guarded("git", checks.check_git)
    try:
        settings = read_settings()
    except WfopsError as error:
        yield Finding.of_error("settings", error)
        return
    yield Finding("settings", True, "all WFOPS_ variables can be used")
    try:
        actor = identity(settings)
    except WfopsError as error:
        yield Finding.of_error("identity", error)
        return  # what follows is not for everybody
    yield Finding("identity", True, f"acting as {actor}")
    yield checks.guarded("home", lambda: checks.check_home(settings))
    yield checks.guarded("disk", lambda: checks.check_disk(settings))
    yield checks.guarded("secret key", lambda: checks.check_key(settings))
    if settings.celery_broker_url is not None and not offline:
        yield checks.guarded("broker", lambda: checks.check_broker(settings))
    yield from _examine_open(settings, actor, offline=offline, set_back_ticks=set_back_ticks)


def _examine_open(settings: Settings, actor: str, *, offline: bool, set_back_ticks: bool) -> Iterator[Finding]:
    """What needs the installation opened."""
    from wfops_pipelines.bootstrap import open_installation
    from wfops_pipelines.cli import installation_checks as checks
    from wfops_pipelines.services.diagnose import Finding
    from wfops_pipelines.services.pausing import check_pauses
    from wfops_pipelines.services.push_health import check_pushes

    opened: list[Installation] = []

    def open_database() -> Finding:
        opened.append(open_installation(settings))
        kind = "embedded PostgreSQL" if opened[0].holder is not None else "PostgreSQL"
        return Finding("database", True, f"{kind} is reachable")

    yield checks.guarded("database", open_database)
    if not opened:
        return
    with opened[0] as installation:
        yield checks.guarded("schema", lambda: checks.check_schema(installation))
        yield checks.guarded("roles", lambda: checks.check_roles(installation))
        yield checks.guarded("secrets", lambda: checks.check_secrets(installation))
        yield (dagster := checks.guarded("dagster", lambda: checks.check_dagster(installation)))
        if dagster.ok:
            yield checks.guarded("ticks", lambda: checks.check_ticks(installation, set_back=set_back_ticks))
        yield checks.guarded("paused", lambda: check_pauses(installation.services))
        yield checks.guarded("pushes", lambda: check_pushes(installation.services))
        if not offline:
            yield from _examine_fleet(installation, actor)


def _examine_fleet(installation: Installation, actor: str) -> Iterator[Finding]:
    import asyncio

    from wfops_pipelines.services.diagnose import Finding, check_fleet

    try:
        yield from asyncio.run(check_fleet(installation.services, actor=actor))
    except WfopsError as error:
        yield Finding.of_error("fleet", error)
