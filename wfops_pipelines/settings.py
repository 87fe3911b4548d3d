"""Typed settings: the only reader of the environment.

Every field is a variable ``WFOPS_<FIELD>``; one that is set and empty is refused, for nobody knows what it shall say (every
address to listen on? no token to ask for? this directory?). Cadences are seconds; 0 switches one off (§24). No duration is
longer than a year, and what is kept is kept for a century at most: what no clock can count with is a slip of the pen.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from wfops_pipelines import failpoints as failpoint_specifications
from wfops_pipelines.domain.errors import InvalidSetting
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.retention import KeepDays

_FIELD = re.compile(r'field "(\w+)"')
_BROKER = re.compile(r"[a-z][a-z0-9+_.-]*://.+", re.IGNORECASE | re.DOTALL)
_SEE = "see the README's table of settings"
_LONGEST = {"_seconds": 366 * 86_400, "_seconds_by_kind": 366 * 86_400, "_days": 36_600}


class Settings(BaseSettings):
    """How this installation runs."""

    model_config = SettingsConfigDict(env_prefix="WFOPS_", extra="ignore", hide_input_in_errors=True)

    home: Path = Field(default_factory=lambda: user_data_path("wfops"), description="data directory")
    database_url: SecretStr | None = Field(default=None, description="PostgreSQL; without it an embedded server is started")
    database_owner_url: SecretStr | None = Field(default=None, description="with app and system URL: roles made by hand")
    database_app_url: SecretStr | None = None
    database_system_url: SecretStr | None = None
    dagster_database_url: SecretStr | None = None
    role_prefix: str = Field(default="wfops", pattern=r"^[a-z][a-z0-9_]{0,30}$",
                             description="database roles are PREFIX_app, …")
    secret_key: SecretStr | None = Field(default=None, description="Fernet keys, comma-separated; the first encrypts")
    token: SecretStr | None = Field(default=None, description="the command line's identity, a JWT")

    sync_batch_size: int = Field(default=25, ge=1, le=1000, description="workflows per transaction of a sync")
    page_size: int = Field(default=250, ge=1, le=250, description="workflows per page of a listing")
    sweep_concurrency: int = Field(default=16, ge=1, le=256, description="environments handled at once in a process")
    instance_concurrency: int = Field(default=4, ge=1, le=32, description="requests in flight per n8n instance")
    connect_timeout_seconds: float = Field(default=10, gt=0)
    read_timeout_seconds: float = Field(default=60, gt=0)
    request_attempts: int = Field(default=4, ge=1, le=10, description="attempts of a call that is safe to repeat")
    sweep_patience_seconds: float = Field(default=10, gt=0, le=600, description="without an answer, a sweep gives up")
    sweep_in_flight: int = Field(default=32, ge=1, le=1000, description="n8n that a sweep looks at at once")
    sweep_chunk_size: int = Field(default=100, ge=1, le=1000, description="environments claimed and recorded together")
    lease_wait_seconds: float = Field(default=5, ge=0, description="how long a second operation waits for an environment")
    lease_stale_seconds: float = Field(default=60, gt=5, description="without a heartbeat for so long, a holder is dead")
    longest_run_seconds: float = Field(default=3600, ge=0, description="an operation is cancelled after it; 0: never")
    longest_run_seconds_by_kind: dict[OperationKind, float] = Field(
        default_factory=dict, description='for some kinds alone, as {"environment_sync": 600}')
    longest_queue: int = Field(default=100, ge=1, description="runs of a tenant that may wait; more are refused at once")

    drift_check_interval_seconds: int = Field(default=300, ge=0)
    git_poll_interval_seconds: int = Field(default=60, ge=0)
    git_poll_patience_seconds: float = Field(default=30, gt=0, le=600, description="without a head, the poll gives up")
    partition_sync_interval_seconds: int = Field(default=30, ge=0)
    dead_run_check_interval_seconds: int = Field(default=30, ge=0, description="runs whose process is gone")
    outbox_interval_seconds: int = Field(default=30, ge=0, description="sending what people are told")
    alert_rules_evaluation_interval_seconds: int = Field(default=300, ge=0, description="looking at alert rules")
    deployment_check_interval_seconds: int = Field(default=5, ge=0, description="starting deployments at their time")
    send_timeout_seconds: float = Field(default=20, gt=0, le=300, description="how long a receiver of a message may take")
    send_concurrency: int = Field(default=8, ge=1, le=64, description="targets of messages that are sent to at once")
    ttl_check_interval_seconds: int = Field(default=60, ge=0, description="escalation and expiry of drift incidents")
    snapshot_check_interval_seconds: int = Field(default=300, ge=0, description="looking for scheduled snapshots")
    promotion_check_interval_seconds: int = Field(default=10, ge=0, description="carrying out approved promotions")
    recovery_check_interval_seconds: int = Field(default=30, ge=0, description="looking for what dead promotions left")
    retention_cleanup_interval_seconds: int = Field(default=86_400, ge=0, description="what is removed by age")
    drift_check_retention_days: int = Field(default=90, ge=1, description="history of drift checks; the newest stays")
    message_retention_days: int = Field(default=30, ge=1, description="messages that were sent or dropped")
    dead_message_retention_days: int = Field(default=90, ge=1, description="messages that could not be sent")
    operation_retention_days: int = Field(default=90, ge=1, description="operations that nothing refers to any more")
    deleted_retention_days: int = Field(default=90, ge=1, description="what belongs to deleted tenants and environments")
    log_retention_days: int = Field(default=14, ge=0, description="files of runs and ticks; 0 keeps them")
    run_retention_days: int = Field(default=90, ge=0, description="runs of sweeps and pushes; 0 keeps them")
    sync_scheduler_enabled: bool = Field(default=False, description="environment syncs alone; a drift check syncs anyway")
    sync_interval_seconds: int = Field(default=900, ge=60)
    export_interval_seconds: int = Field(default=0, ge=0, description="canonical sync n8n -> Git of dev; off by default")
    ui_url: str = Field(default="http://127.0.0.1:3000", description="where links into the Dagster UI point; "
                        "unset, where `wfops up` of this home listens")
    ui_port: int = Field(default=3000, ge=0, le=65535)
    api_port: int = Field(default=3900, ge=0, le=65535, description="where `wfops up` takes webhooks")
    api_host: str = Field(default="127.0.0.1", description="address the API listens on; others belong behind TLS")
    github_app_webhook_secret: SecretStr | None = Field(
        default=None, description="a GitHub App's webhook secret, for repositories that are read through the App")
    webhook_retention_days: int = Field(default=7, ge=1, description="deliveries of webhooks; GitHub repeats for three days")
    n8n_cache: Path | None = Field(default=None, description="where real n8n servers are installed for demo and tests")

    metrics_token: SecretStr | None = Field(default=None, description="a bearer token that GET /metrics asks for")
    metrics_tenant_label: bool = Field(default=False, description="figures by tenant: a series each")

    celery_broker_url: SecretStr | None = Field(default=None, description="sweeps by Celery workers; default: by the run")
    celery_result_url: SecretStr | None = Field(default=None, description="where workers answer; default: the broker")
    celery_redelivery_seconds: int = Field(default=180, ge=1, description="a step of a silent worker goes to another one")
    celery_sweep_steps: int = Field(default=4, ge=1, le=64, description="steps of a sweep: places on workers")
    celery_chunk_size: int = Field(default=50, ge=1, le=1000, description="environments that a step claims at a time")

    failpoints: str = Field(default="", description="for tests only")

    @field_validator("*")
    @classmethod
    def _countable(cls, value: object, field: ValidationInfo) -> object:
        most = next((most for ending, most in _LONGEST.items() if str(field.field_name).endswith(ending)), None)
        durations = value.values() if isinstance(value, dict) else [value]
        if most is not None and not all(isinstance(each, int | float) and 0 <= each <= most for each in durations):
            raise PydanticCustomError("duration", "must be from 0 to {most}", {"most": most})
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _filled(cls, value: object, field: ValidationInfo) -> object:
        if isinstance(value, str) and not value.strip() and field.field_name != "failpoints":
            raise PydanticCustomError("empty", "is set and empty: give it a value, or unset it")
        return value

    @field_validator("celery_broker_url", "celery_result_url")
    @classmethod
    def _transport(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _BROKER.fullmatch(value.get_secret_value()):
            raise PydanticCustomError("broker", "must be a URL, such as redis://host:6379/0")
        return value

    @field_validator("failpoints")
    @classmethod
    def _known_failpoints(cls, value: str) -> str:
        failpoint_specifications.parse(value)
        return value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def embedded_database(self) -> bool:
        """Whether no server is named, so that one is started in the home."""
        return self.database_url is None and self.database_owner_url is None

    @property
    def tenants_root(self) -> Path:
        """Artefacts and Git caches, one directory per tenant (§23)."""
        return self.home / "tenants"

    @property
    def keep_days(self) -> KeepDays:
        """How long rows are kept that no drift policy speaks of (§18)."""
        return KeepDays(drift_checks=self.drift_check_retention_days, messages=self.message_retention_days,
                        dead_messages=self.dead_message_retention_days, operations=self.operation_retention_days,
                        deleted=self.deleted_retention_days, deliveries=self.webhook_retention_days)

    @property
    def dagster_home(self) -> Path:
        """Where Dagster keeps its files."""
        return Path(os.environ.get("DAGSTER_HOME") or self.home / "dagster")

    @property
    def n8n_cache_path(self) -> Path:
        """Where real n8n servers are installed, by version."""
        return self.n8n_cache or Path.home() / ".cache" / "wfops" / "n8n"


def system_record(home: Path) -> Path:
    """Where `wfops up` says, while it runs, where its UI is."""
    return home / "run" / "up.json"


def read_settings() -> Settings:
    """The settings as the environment says now; :class:`InvalidSetting` names the variable."""
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field, *inner = (str(part) for part in first["loc"])
        where = "".join(f" {part!r}:" for part in inner if part != "[key]")
        raise InvalidSetting(f"WFOPS_{field.upper()}:{where} {first['msg']}", fix=_SEE) from None
    except SettingsError as error:  # what must be JSON and is none
        found = _FIELD.search(str(error))
        name = f"WFOPS_{found[1].upper()}" if found else "a WFOPS_ variable"
        raise InvalidSetting(f"{name}: must be JSON", fix=_SEE) from None
    if settings.failpoints:
        failpoint_specifications.arm(settings.failpoints)
    return settings


@cache
def process_settings() -> Settings:
    """The settings of this process, read once."""
    return read_settings()
