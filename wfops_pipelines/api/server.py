"""Serving the API: ``python -m wfops_pipelines.api [PORT]``, as ``wfops up`` does."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from wfops_pipelines.api.app import create_app
from wfops_pipelines.api.dispatcher import Dispatcher
from wfops_pipelines.api.metrics import MetricsRoute
from wfops_pipelines.bootstrap import Installation, process_installation
from wfops_pipelines.defs import launch
from wfops_pipelines.defs.run_counts import RunCounts
from wfops_pipelines.services.metrics import Exposition, MetricOptions

HEADER_SECONDS = 10.0  # that a connection has to say what it wants
CONNECTIONS = 512  # more at once are answered 503


class PatientOnce(H11Protocol):
    """HTTP/1.1 for strangers: who does not get to the end of its headers is hung up on, also between two requests."""

    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._overdue = self.loop.call_later(HEADER_SECONDS, self._hang_up)

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a request, from its first byte on."""
        before = self.cycle
        if self._overdue is None and (before is None or before.response_complete):
            self._overdue = self.loop.call_later(HEADER_SECONDS, self._hang_up)
        super().data_received(data)
        if self.cycle is not before:
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is waited for any more."""
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _hang_up(self) -> None:
        self._overdue = None
        if not self.transport.is_closing():
            self.transport.close()


def config_of(app: FastAPI, *, host: str, port: int, **more: Any) -> uvicorn.Config:
    """How the application is served."""
    return uvicorn.Config(app, host=host, port=port, http=PatientOnce, ws="none", lifespan="on", server_header=False,
                          access_log=False, log_level="warning", limit_concurrency=CONNECTIONS, timeout_keep_alive=10,
                          timeout_graceful_shutdown=5, backlog=512, **more)


def metrics_of(installation: Installation) -> MetricsRoute:
    """The figures of an installation, as its settings want them."""
    settings, token = installation.settings, installation.settings.metrics_token
    figures = Exposition(installation.services, MetricOptions(
        interval=settings.drift_check_interval_seconds, tenants=settings.metrics_tenant_label),
        runs=RunCounts(installation))
    return MetricsRoute(figures, token.get_secret_value() if token else None)


def main(arguments: list[str]) -> int:
    """Serve the installation that the settings describe, until a signal says to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with process_installation() as installation:
        settings = installation.settings
        secret = settings.github_app_webhook_secret
        app = create_app(installation.services, Dispatcher(installation.services,
                                                           lambda: launch.open_refresh_queue(installation)),
                         app_secret=secret.get_secret_value() if secret else None,
                         metrics=metrics_of(installation))
        port = int(arguments[0]) if arguments else settings.api_port
        uvicorn.Server(config_of(app, host=settings.api_host, port=port)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
