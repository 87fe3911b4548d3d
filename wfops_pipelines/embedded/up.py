"""``wfops up``: the system to work with, from one command, until Ctrl-C.

Database, code server, daemon, UI and API are started in order, watched, started anew when they die, and stopped in reverse.
Nothing is left behind, also when this process is killed.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from sqlalchemy.exc import DBAPIError

from wfops_pipelines.defs import launch
from wfops_pipelines.embedded.host_clock import ClockWatch
from wfops_pipelines.embedded.processes import Event, Supervisor
from wfops_pipelines.embedded.system import System, choose_ports, kept_installation, only_system, refuse_what_cannot_run
from wfops_pipelines.settings import Settings


def run_up(settings: Settings, *, port: int | None = None) -> int:
    """Run the system of a home until a signal says to stop; returns 0 then.

    Raises :class:`UsageError` for a port that is taken, :class:`Blocked` when the home's system runs already,
    :class:`ProcessFailed` when a program does not come up, and what ``open_installation`` raises.
    ``KeyboardInterrupt`` before everything is ready.
    """
    refuse_what_cannot_run(settings)
    with only_system(settings.home) as tell_url:
        chosen, api = choose_ports(settings, port)
        say(f"Starting WorkflowOps in {settings.home}")
        with Supervisor(_on_event) as supervisor, kept_installation(settings, supervisor) as installation:
            system = System(installation, supervisor, port=chosen, api_port=api)
            if system.dead_runs:
                say(f"{len(system.dead_runs)} run(s) of an earlier system had no process any more: reported as failed")
            if system.set_back:
                say(f"The clock was set back: {len(system.set_back)} sensors and schedules are evaluated again at once")
            system.start().close()
            supervisor.about_to_wait()
            tell_url(system.url)
            with installation.services.store.system() as store:
                fleet = bool(store.tenants())
            say(_welcome(system, fleet=fleet))
            with ClockWatch(lambda seconds: supervisor.ask(lambda: _follow_clock(system, seconds))):
                number = supervisor.wait()
            say(f"\n{number.name}: stopping")
    say("Stopped.")
    return 0


def _follow_clock(system: System, seconds: float) -> None:
    say(f"  the clock was set back by {timedelta(seconds=round(seconds))} h: daemon is started anew")
    try:
        system.follow_clock()
    except (launch.StorageUnreachable, DBAPIError) as error:
        say(f"  sensors and schedules may wait as long ({type(error).__name__}): start `wfops up` anew")


def say(text: str) -> None:
    """A line for whoever watches."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _on_event(event: Event) -> None:
    if event.kind == "ready":
        say(f"  {event.name} is ready")
    elif event.kind == "ended":
        say(f"  {event.name} ended with code {event.code}: it is started anew")


def _welcome(system: System, *, fleet: bool) -> str:
    lines = ["", f"Dagster UI:  {system.url}", f"API:         {system.api_url} (GitHub's webhooks: /webhooks/github)",
             f"Logs:        {system.logs}", ""]
    if fleet:
        lines += ["wfops drift TENANT    checks for drift now; the daemon does it by schedule",
                  "wfops matrix TENANT   shows what is where"]
    else:
        lines += ["There are no tenants yet. In another terminal:",
                  "  wfops schema fleet          what a fleet.yaml can say",
                  "  wfops apply -f fleet.yaml   tenants and environments as declared",
                  "  wfops sync TENANT           n8n and Git into the store"]
    return "\n".join([*lines, "", "Ctrl-C stops everything."])
