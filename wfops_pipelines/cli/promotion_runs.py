"""The runs that commands about promotions start, and what they tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.failures import error_json
from wfops_pipelines.cli.interruption import interrupted
from wfops_pipelines.cli.session import Session, failure_of
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.domain.run_tags import PROMOTION_TAG, SOURCE_TAG, TARGET_TAG

_OPS: Final = {"promote": ("plan", "gates", "execute", "outcome"), "restore": ("plan_restore", "execute_restore"),
               "rollback": ("roll_back",), "recover": ("finish",)}
"""The ops of each job; the first of them is configured."""


class PromotionRuns:
    """Runs of the jobs about one target. ``error`` is why the last one failed after it had begun to write."""

    def __init__(self, session: Session, tenant: str, target: str, *, source: str | None = None,
                 promotion: str | None = None) -> None:
        self.error: WfopsError | None = None
        self.session = session
        self._tenant = tenant
        self._target = target
        self._promotion = promotion
        self._tags = {TARGET_TAG: f"{tenant}/{target}", **({SOURCE_TAG: source} if source else {}),
                      **({PROMOTION_TAG: promotion} if promotion else {})}

    def run(self, job: str, doing: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Run a job here: ``promote``, ``restore``, ``rollback`` or ``recover``; its result.

        What a gate says is a result, and so is what became of a promotion that failed (:attr:`error` is why). Raises what
        stood in the way of beginning one; :class:`Cancelled` after Ctrl-C, which says what became of it.
        """
        first, *more = _OPS[job]
        ops: dict[str, Mapping[str, Any]] = {first: _said(config), **{op: {} for op in more}}
        since = self.session.services.now()
        try:
            with terminal.progress(doing):
                launched = self.session.run(job, ops, tenant=self._tenant, environment=self._target, tags=self._tags)
        except KeyboardInterrupt:
            raise interrupted(self.session, doing, self._tenant, self._target, since=since, promotion=self._promotion,
                              begins=job != "recover" and not config.get("dry_run"),
                              rolling_back=job == "rollback") from None
        told: dict[str, Any] = launched.outputs[-1] if launched.outputs else {"result": None, "error": None}
        self.error = told["error"]
        if told["result"] is None:
            raise self.error or failure_of(launched)
        if self.error is None and not launched.success and told["result"]["status"] != "blocked":
            raise failure_of(launched)
        said = {"error": error_json(self.error)} if self.error is not None else {}
        return {**told["result"], **said, "run_id": launched.run_id}

    def submit(self, job: str, config: Mapping[str, Any]) -> str:
        """Leave a run to the daemon's queue; its id."""
        return self.session.run(job, {_OPS[job][0]: _said({**config, "dry_run": False})}, tenant=self._tenant,
                                environment=self._target, tags=self._tags, detach=True).run_id


def _said(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if value is not None}
