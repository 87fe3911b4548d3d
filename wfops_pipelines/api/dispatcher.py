"""One thread that launches what webhooks told (§21). Deliveries that arrive while it works are launched together after; what
nobody tells it of, as when a pause ends, it finds when it looks around."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager

from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.services.push_dispatch import LEFT_SECONDS, Dispatched, RefreshQueue, dispatch
from wfops_pipelines.services.services import Services

log = logging.getLogger("wfops.pushes")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


class Dispatcher:
    """Launches what waits: when it starts, when it is told to, and after a failure again and again until it succeeds."""

    def __init__(self, services: Services, open_queue: Callable[[], AbstractContextManager[RefreshQueue]]) -> None:
        self._services = services
        self._open_queue = open_queue
        self._told = threading.Condition()
        self._waiting: list[Future[Dispatched]] = []
        self._work = True
        self._ending = False
        self._pause = FIRST_PAUSE
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier process left behind."""
        self._thread.start()

    def stop(self) -> None:
        """End after the launch that is under way."""
        with self._told:
            self._ending = True
            self._told.notify()
        if self._thread.is_alive():
            self._thread.join(10)

    def tell(self) -> Future[Dispatched]:
        """Something is to be launched; done when it was, or failed."""
        future: Future[Dispatched] = Future()
        with self._told:
            self._waiting.append(future)
            self._work = True
            self._told.notify()
        return future

    def _run(self) -> None:
        while not self._ending:
            try:
                with self._open_queue() as queue:
                    self._serve(queue)
            except Exception as error:
                expected = isinstance(error, WfopsError)
                log.log(logging.WARNING if expected else logging.ERROR, "launching pushes failed, next try in %.0f s: %s",
                        self._pause, error, exc_info=None if expected else error)
                with self._told:
                    self._work = True
                    told, self._waiting = self._waiting, []
                    _settle(told, error)
                    if not self._ending:
                        self._told.wait(self._pause)
                self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _serve(self, queue: RefreshQueue) -> None:
        """Launch until the end, or the first failure."""
        while True:
            with self._told:
                self._told.wait_for(lambda: self._work or self._ending, timeout=LEFT_SECONDS)
                if self._ending:
                    return
                self._work = False
                told, self._waiting = self._waiting, []
            try:
                done = dispatch(self._services, queue)
            except Exception as error:
                _settle(told, error)
                raise
            self._pause = FIRST_PAUSE
            for run_id, partitions in done.launched.items():
                log.info("run %s for %d environments, on account of pushes", run_id, len(partitions))
            if done.more:
                with self._told:
                    self._work = True
            _settle(told, done)


def _settle(told: Iterable[Future[Dispatched]], outcome: Dispatched | Exception) -> None:
    """Say what became of it, to those who still listen."""
    for future in told:
        with contextlib.suppress(InvalidStateError):
            if isinstance(outcome, Dispatched):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
