"""What `wfops doctor` looks at on this machine. Each check stands alone and none raises: doctor is for when things are
broken."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from wfops_pipelines.cli.failures import named
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.services.diagnose import Finding

if TYPE_CHECKING:
    from wfops_pipelines.bootstrap import Installation
    from wfops_pipelines.settings import Settings

OLDEST_GIT = (2, 34)
LEAST_FREE_BYTES = 1024**3
BROKER_SECONDS = 3


def guarded(check: str, work: Callable[[], Finding]) -> Finding:
    """The finding of ``work``; whatever it raises is one, too."""
    try:
        return work()
    except Exception as error:
        return Finding.of_error(check, error if isinstance(error, WfopsError) else named(error))


def check_home(settings: Settings) -> Finding:
    """The data directory can be made and written."""
    home, fix = settings.home, "make it writable for this user, or name another in WFOPS_HOME"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=home, prefix=".doctor-"):
            pass
    except OSError as error:
        return Finding("home", False, f"{home} cannot be written: {error.strerror}", fix)
    return Finding("home", True, f"{home} is writable")


def check_disk(settings: Settings) -> Finding:
    """There is room where data and clones are kept."""
    place = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    free = shutil.disk_usage(place).free
    text = f"{free / 1024**3:.1f} GiB free at {place}"
    return Finding("disk", free >= LEAST_FREE_BYTES, text, None if free >= LEAST_FREE_BYTES else "free at least 1 GiB")


def check_git() -> Finding:
    """The git command is there, and new enough."""
    fix = f"install git {'.'.join(map(str, OLDEST_GIT))} or newer"
    try:
        done = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Finding("git", False, "the git command is not installed", fix)
    match = re.search(r"(\d+)\.(\d+)", done.stdout)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    return Finding("git", version >= OLDEST_GIT, done.stdout.strip() or "git gives no version",
                   None if version >= OLDEST_GIT else fix)


def check_key(settings: Settings) -> Finding:
    """The encryption keys can be read."""
    from wfops_pipelines.bootstrap import KEY_FILE, read_keys

    box = read_keys(settings)
    source = "WFOPS_SECRET_KEY" if settings.secret_key is not None else str(settings.home / KEY_FILE)
    return Finding("secret key", True, f"{source} holds {', '.join(box.key_ids)}; {box.key_id} encrypts")


def check_broker(settings: Settings) -> Finding:
    """Celery's broker takes connections: without it no sweep comes to its end."""
    assert settings.celery_broker_url is not None  # noqa: S101 - asked only then
    from wfops_pipelines.defs.distributed.chosen import require_celery

    require_celery()
    from celery import Celery

    fix = "start the broker, or name the right one in WFOPS_CELERY_BROKER_URL; sweeps fail until then"
    url = settings.celery_broker_url.get_secret_value()
    shown = f"{url.partition(':')[0]}://…"
    try:
        with Celery(broker=url, set_as_current=False).connection_for_write(connect_timeout=BROKER_SECONDS) as connection:
            shown = connection.as_uri()  # without its password
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_SECONDS)
    except Exception as error:  # whatever the library of the broker raises
        return Finding("broker", False, f"{shown}: {one_line(str(error), 200) or type(error).__name__}", fix)
    return Finding("broker", True, f"{shown} takes connections")


def check_schema(installation: Installation) -> Finding:
    """The schema is the one that this version expects."""
    from wfops_pipelines.store.engine import open_engine
    from wfops_pipelines.store.migrate import current, heads

    engine = open_engine(installation.urls.owner, pool_size=1)
    try:
        found = current(engine)
    finally:
        engine.dispose()
    if found == heads():
        return Finding("schema", True, f"revision {found}")
    return Finding("schema", False, f"revision {found}, and this version expects {heads()}",
                   "any wfops command migrates up; a newer schema needs the newer wfops")


def check_roles(installation: Installation) -> Finding:
    """The roles that use cases run as are bound by row-level security (§2.1)."""
    from wfops_pipelines.store.roles import powers

    problems = []
    for name, url in (("app", installation.urls.app), ("system", installation.urls.system)):
        role = powers(url)
        if role.superuser or role.bypasses_rls:
            problems.append(f"{role.name} ({name}) {'is a superuser' if role.superuser else 'has BYPASSRLS'}")
    owner = powers(installation.urls.owner)
    if owner.superuser:
        problems.append(f"{owner.name} (owner) is a superuser")
    if problems:
        return Finding("roles", False, "; ".join(problems),
                       "ALTER ROLE … NOSUPERUSER, and NOBYPASSRLS for all but the owner: tenants are not apart otherwise")
    return Finding("roles", True, "row-level security binds the roles that use cases run as")


def check_secrets(installation: Installation) -> Finding:
    """Every stored secret is under a key that is set."""
    with installation.services.store.system() as system:
        counts = system.secret_keys()
    missing = {key: count for key, count in counts.items() if key not in installation.secrets.key_ids}
    if missing:
        text = ", ".join(f"{count} under the key {key}" for key, count in sorted(missing.items()))
        return Finding("secrets", False, f"stored secrets cannot be read: {text}, which is not set",
                       "add that key to WFOPS_SECRET_KEY, after the others, or apply the secrets again")
    return Finding("secrets", True, f"{sum(counts.values())} stored, all under keys that are set")


def check_dagster(installation: Installation) -> Finding:
    """Dagster's home and its database work."""
    from wfops_pipelines.defs import launch

    named = " (DAGSTER_HOME)" if "DAGSTER_HOME" in os.environ else ""
    home = installation.settings.dagster_home
    with launch.dagster_instance(installation) as instance:
        runs = instance.get_runs_count()
    return Finding("dagster", True, f"{home}{named}, {runs} runs recorded")


def check_ticks(installation: Installation, *, set_back: bool = False) -> Finding:
    """No sensor or schedule waits for a time that was there already; with ``set_back`` none does any more."""
    from wfops_pipelines.defs import launch
    from wfops_pipelines.defs.maintenance.future_ticks import set_back_future_ticks, waiting_for_the_past

    now = time.time()
    with launch.dagster_instance(installation) as instance:
        if set_back:
            names = set_back_future_ticks(instance, now)
            return Finding("ticks", True, f"set back: {', '.join(names)}" if names else "nothing was to be set back")
        waiting = waiting_for_the_past(instance, now)
    if not waiting:
        return Finding("ticks", True, "sensors and schedules wait for times to come")
    until = datetime.fromtimestamp(max(waiting.values()), UTC)
    return Finding("ticks", False, f"the clock was set back, and {', '.join(waiting)} wait until {until:%Y-%m-%d %H:%M} UTC",
                   "start `wfops up` anew; where Dagster's daemon runs by itself, stop it, run "
                   "`wfops doctor --set-back-ticks`, and start it")
