"""Builds the store, the clients and the services for ``defs``, ``api`` and ``cli``: where everything is joined.

Without ``WFOPS_DATABASE_URL`` an embedded PostgreSQL is started, or attached to. Databases, roles and schema are brought
up to date on the way; when there is nothing to do that costs a few queries.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from wfops_pipelines.domain.errors import InvalidSetting
from wfops_pipelines.git.open import open_repository
from wfops_pipelines.n8n import engines as _engines  # noqa: F401 - registers the engines that come with us
from wfops_pipelines.n8n.provider import open_provider
from wfops_pipelines.notify.apprise_sender import AppriseSender
from wfops_pipelines.postgres.embedded import EmbeddedPostgres, Holder
from wfops_pipelines.services.services import Limits, Services
from wfops_pipelines.settings import Settings, process_settings, system_record
from wfops_pipelines.store import installation, migrate
from wfops_pipelines.store.engine import StoreUrls, open_engine
from wfops_pipelines.store.roles import Urls, bootstrap_roles, derived_passwords
from wfops_pipelines.store.secrets import SecretBox, load_or_create_key_file
from wfops_pipelines.store.unit_of_work import Store

KEY_FILE = "secret.key"  # beside the embedded database, mode 0600


@dataclass
class Installation:
    """An installation that is open in this process. Close it: the last holder stops an embedded PostgreSQL."""

    settings: Settings
    services: Services
    urls: Urls
    secrets: SecretBox
    holder: Holder | None

    @property
    def ui_url(self) -> str:
        """Where links into the Dagster UI point, without a slash at the end."""
        return self.services.base_url or self.settings.ui_url

    def close(self) -> None:
        """Give back connections, and the embedded server."""
        self.services.store.close()
        if self.holder is not None:
            self.holder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def rotate_secrets(self, dry_run: bool = False) -> int:
        """Re-encrypt the installation's own secrets with the first key, as the owner; or count those that need it."""
        owner = open_engine(self.urls.owner, pool_size=1)
        try:
            return installation.rotate(owner, self.secrets, dry_run=dry_run)
        finally:
            owner.dispose()

    def dagster_url(self) -> str:
        """Dagster's storage, spelled with the driver that dagster-postgres uses (``facts``: bare URLs mislead it)."""
        return self.urls.dagster.replace("postgresql://", "postgresql+psycopg2://", 1)


def open_installation(settings: Settings | None = None, *, keep_running: bool = False) -> Installation:
    """Open this installation: database, roles, schema, keys, services.

    Raises :class:`StoreUnavailable`, :class:`StoreNotReady`, :class:`InvalidSetting` or :class:`SecretUnreadable`,
    each with the way out. ``keep_running`` leaves an embedded PostgreSQL running when this process ends.
    """
    settings = settings or process_settings()
    box = fitting_keys(settings)
    holder: Holder | None = None
    try:
        if settings.embedded_database:
            holder = EmbeddedPostgres(settings.home).acquire(keep_running=keep_running)
        urls = _urls(settings, box, holder)
        migrate.upgrade(urls.owner, role_prefix=settings.role_prefix)
        _ensure_audit_key(urls, box)
        store = Store(StoreUrls(urls.owner, urls.app, urls.system), box)
    except BaseException:
        if holder is not None:
            holder.close()
        raise
    return Installation(settings, build_services(settings, store), urls, box, holder)


def build_services(settings: Settings, store: Store) -> Services:
    """The services over a store, with real time, random ids and the limits of the settings."""
    return Services(
        store=store, open_provider=open_provider, open_repository=open_repository, tenants_root=settings.tenants_root,
        now=lambda: datetime.now(UTC), new_id=uuid.uuid4,
        limits=Limits(
            batch_size=settings.sync_batch_size, page_size=settings.page_size,
            sweep_concurrency=settings.sweep_concurrency, instance_concurrency=settings.instance_concurrency,
            connect_timeout=settings.connect_timeout_seconds, read_timeout=settings.read_timeout_seconds,
            request_attempts=settings.request_attempts, lease_wait=settings.lease_wait_seconds,
            lease_stale=settings.lease_stale_seconds, send_concurrency=settings.send_concurrency,
            sweep_patience=settings.sweep_patience_seconds, sweep_in_flight=settings.sweep_in_flight,
            sweep_chunk=settings.sweep_chunk_size, sweep_window=6 * settings.sweep_chunk_size,
            poll_patience=settings.git_poll_patience_seconds, longest_run=settings.longest_run_seconds,
            longest_runs={str(kind): seconds for kind, seconds in settings.longest_run_seconds_by_kind.items()},
            send_lease=2 * settings.send_timeout_seconds + 30,  # a sender may wait for a place, then for the receiver
        ),
        sender=AppriseSender(timeout=settings.send_timeout_seconds), base_url=_ui_url(settings),
    )


def _ui_url(settings: Settings) -> str:
    """As set; else where the home's system listens (what one that was killed left there is as good as the default)."""
    url = settings.ui_url
    if "ui_url" not in settings.model_fields_set:
        with suppress(OSError, ValueError, LookupError, TypeError):
            url = str(json.loads(system_record(settings.home).read_text("utf-8"))["url"])
    return url.rstrip("/")


def fitting_keys(settings: Settings) -> SecretBox:
    """The encryption keys, of settings that fit together: :class:`InvalidSetting` before anything is started."""
    if settings.embedded_database:  # whose keys may be made by reading them
        _refuse_some_urls_of_roles(settings)
    box = read_keys(settings)
    _refuse_some_urls_of_roles(settings)
    return box


def read_keys(settings: Settings) -> SecretBox:
    """The encryption keys: from the setting, else, with the embedded database only, from a file made at first use."""
    if settings.secret_key is not None:
        return SecretBox.from_text(settings.secret_key.get_secret_value())
    if not settings.embedded_database:
        raise InvalidSetting("WFOPS_SECRET_KEY is not set, and the database is not the embedded one",
                             fix="set it to a Fernet key: `wfops secrets generate` prints one")
    path = settings.home / KEY_FILE
    return SecretBox.from_text(load_or_create_key_file(path), source=str(path))


def _refuse_some_urls_of_roles(settings: Settings) -> None:
    others = (settings.database_app_url, settings.database_system_url, settings.dagster_database_url)
    if settings.database_owner_url is None and any(others):
        raise InvalidSetting("URLs of roles are set without WFOPS_DATABASE_OWNER_URL", fix=(
            "set WFOPS_DATABASE_OWNER_URL too, or unset WFOPS_DATABASE_APP_URL, WFOPS_DATABASE_SYSTEM_URL and "
            "WFOPS_DAGSTER_DATABASE_URL"))
    if settings.database_owner_url is not None and not all(others):
        raise InvalidSetting("WFOPS_DATABASE_OWNER_URL stands alone", fix=(
            "set WFOPS_DATABASE_APP_URL, WFOPS_DATABASE_SYSTEM_URL and WFOPS_DAGSTER_DATABASE_URL too, "
            "or only WFOPS_DATABASE_URL"))


def _urls(settings: Settings, box: SecretBox, holder: Holder | None) -> Urls:
    """One URL a role: as given, or with the roles made from one administrator's URL."""
    given = (settings.database_owner_url, settings.database_app_url, settings.database_system_url,
             settings.dagster_database_url)
    if settings.database_owner_url is not None:
        owner, app, system, dagster = (url.get_secret_value() for url in given if url is not None)
        return Urls(owner=owner, app=app, system=system, dagster=dagster)
    if holder is not None:
        admin = holder.admin_url()
    else:
        assert settings.database_url is not None  # noqa: S101 - one of the three it is
        admin = settings.database_url.get_secret_value()
    return bootstrap_roles(admin, passwords=derived_passwords(box.derive), prefix=settings.role_prefix,
                           before_change=lambda url: installation.refuse_other_key(url, box))


def _ensure_audit_key(urls: Urls, box: SecretBox) -> None:
    owner = open_engine(urls.owner, pool_size=1)
    try:
        installation.ensure_audit_key(owner, box, os.urandom(32))
    finally:
        owner.dispose()


_opened: Installation | None = None
_opening = threading.Lock()


def process_installation() -> Installation:
    """The installation of this process, opened once and kept: a Dagster code server and its run workers use it."""
    global _opened  # noqa: PLW0603 - one process, one installation
    with _opening:
        if _opened is None:
            _opened = open_installation()
        return _opened


def use_installation(installation: Installation) -> None:
    """Make an installation that is open already the one of this process, so that a run in it opens no second."""
    global _opened  # noqa: PLW0603
    with _opening:
        _opened = installation
