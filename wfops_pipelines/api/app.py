"""The application: routes, and what becomes of errors."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from wfops_pipelines import __name__ as package
from wfops_pipelines.api import github
from wfops_pipelines.api.bodies import BodyReader
from wfops_pipelines.api.dispatcher import Dispatcher
from wfops_pipelines.api.envelopes import answer, failure
from wfops_pipelines.api.metrics import PATH, MetricsRoute
from wfops_pipelines.services.services import Services

log = logging.getLogger("wfops.api")

PREFIX = "/api/v1"


def create_app(services: Services, dispatcher: Dispatcher, *, app_secret: str | None = None,
               bodies: BodyReader | None = None, metrics: MetricsRoute | None = None) -> FastAPI:
    """The API over an installation's services. It starts and stops the dispatcher. ``metrics`` adds ``GET /metrics``."""
    pool = ThreadPoolExecutor(github.THREADS, thread_name_prefix="webhook")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        dispatcher.start()
        yield
        dispatcher.stop()
        pool.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(title="WorkflowOps", version="1", lifespan=lifespan, openapi_url=f"{PREFIX}/openapi.json", docs_url=None,
                  redoc_url=None)
    reader = bodies or BodyReader(largest=github.LARGEST_BODY, seconds=github.BODY_SECONDS,
                                  together=github.BODIES_TOGETHER)
    api = APIRouter(prefix=PREFIX)
    api.include_router(github.GitHubWebhook(services, dispatcher, app_secret, reader, pool).router())
    api.add_api_route("/health", _health, methods=["GET"], tags=["health"], response_model=None,
                      summary="Whether this process serves")
    app.include_router(api)
    if metrics is not None:
        app.add_api_route(PATH, metrics.answer, methods=["GET"], tags=["health"], response_model=None,
                          summary="Figures for Prometheus")
    app.add_exception_handler(HTTPException, _refused)  # type: ignore[arg-type]  # narrower than what it is declared for
    app.add_exception_handler(Exception, _failed)
    return app


async def _health() -> JSONResponse:
    return answer({"status": "ok", "service": package}, "it serves")


async def _refused(_: Request, error: HTTPException) -> JSONResponse:
    kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    refused = failure(error.status_code, kind, str(error.detail))
    refused.headers.update(error.headers or {})
    return refused


async def _failed(_: Request, error: Exception) -> JSONResponse:
    """Nothing internal leaks: the log has the error, under an id that the answer names."""
    error_id = str(uuid.uuid4())
    log.error("unexpected error %s", error_id, exc_info=error)
    return failure(500, type(error).__name__, "an unexpected error", details={"id": error_id})
