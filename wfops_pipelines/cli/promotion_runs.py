"""The runs that commands about promotions start, and what they tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.failures import error_json
from wfops_pipelines.cli.session import Session, failure_of
from wfops_pipelines.domain.errors import WfopsError

_OPS = {"promote": "plan", "rollback": "roll_back", "recover": "finish",
        "restore": "plan_restore"}  # the op of each job that is configured


class PromotionRuns:
    """Runs of the jobs about one target. ``error`` is why the last one failed after it had begun to write."""

    def __init__(self, session: Session, tenant: str, target: str, *, source: str | None = None,
                 promotion: str | None = None) -> None:
        self.error: WfopsError | None = None
        self._session = session
        self._tenant = tenant
        self._target = target
        self._tags = {"wfops/target": f"{tenant}/{target}", **({"wfops/source": source} if source else {}),
                      **({"wfops/promotion": promotion} if promotion else {})}

    def promote(self, doing: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Run the job ``promote`` here. What a gate says is a result, and so is what became of a promotion that failed
        (:attr:`error` is why); raises what stood in the way of beginning one."""
        return self._run("promote", doing, config, more=("gates", "execute", "outcome"))

    def roll_back(self, doing: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Run the job ``rollback`` here; raises what stood in the way."""
        return self._run("rollback", doing, config)

    def restore(self, doing: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Run the job ``restore`` here, as :meth:`promote` does it."""
        return self._run("restore", doing, config, more=("execute_restore",))

    def recover(self, doing: str) -> dict[str, Any]:
        """Run the job ``recover`` here; raises what stood in the way."""
        return self._run("recover", doing, {"tenant": self._tenant, "environment": self._target})

    def submit(self, job: str, config: Mapping[str, Any]) -> str:
        """Leave a run to the daemon's queue; its id."""
        return self._session.run(job, {_OPS[job]: _said(config)}, tenant=self._tenant, environment=self._target,
                                 tags=self._tags, detach=True).run_id

    def _run(self, job: str, doing: str, config: Mapping[str, Any], more: tuple[str, ...] = ()) -> dict[str, Any]:
        ops: dict[str, Mapping[str, Any]] = {_OPS[job]: _said(config), **{op: {} for op in more}}
        with terminal.progress(doing):
            launched = self._session.run(job, ops, tenant=self._tenant, environment=self._target, tags=self._tags)
        told: dict[str, Any] = launched.outputs[-1] if launched.outputs else {"result": None, "error": None}
        self.error = told["error"]
        if told["result"] is None:
            raise self.error or failure_of(launched)
        if self.error is None and not launched.success and told["result"]["status"] != "blocked":
            raise failure_of(launched)
        said = {"error": error_json(self.error)} if self.error is not None else {}
        return {**told["result"], **said, "run_id": launched.run_id}


def _said(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if value is not None}
