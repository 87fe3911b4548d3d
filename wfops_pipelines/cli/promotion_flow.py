"""How `wfops promote` and `wfops snapshot restore` go: planned, shown, asked, carried out, told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.confirming import confirm
from wfops_pipelines.cli.failures import BLOCKED, DIFFERENT
from wfops_pipelines.cli.promotion_runs import PromotionRuns
from wfops_pipelines.cli.promotion_screen import outcome_text, plan_text, waiting_text
from wfops_pipelines.cli.sync import tell_submitted
from wfops_pipelines.domain.errors import WfopsError

_ENDED_WELL: Final = frozenset({"completed", "unchanged"})


@dataclass(frozen=True)
class Flow:
    """One way of a job. ``planning`` and ``doing`` say what goes on, ``unseen`` is asked before it is left to the queue,
    ``question`` about a plan; ``pinned`` is what of a plan belongs to what is carried out."""

    job: str
    planning: str
    doing: str
    unseen: str
    question: Callable[[Mapping[str, Any]], str]
    pinned: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda _: {}


def follow(flow: Flow, runs: PromotionRuns, chosen: Mapping[str, Any], *, dry_run: bool, yes: bool, detach: bool,
           as_json: bool) -> None:
    """Plan, ask and carry out what was ``chosen``; ends the command, with the exit code that says what became of it."""
    if detach and not dry_run:
        confirm(flow.unseen, yes=yes)
        tell_submitted(runs.session, runs.submit(flow.job, chosen), as_json=as_json)
        return
    seen: dict[str, Any] = {}
    if dry_run or not yes:
        plan = runs.run(flow.job, flow.planning, {**chosen, "dry_run": True})
        if dry_run or plan["status"] in ("blocked", "unchanged"):
            end(plan, as_json=as_json)
        terminal.note(plan_text(plan, colour=terminal.colours(sys.stderr)))
        confirm(flow.question(plan), yes=False)
        seen = {**flow.pinned(plan), "checksum": plan["checksum"]}
    done = runs.run(flow.job, flow.doing, {**chosen, **seen, "dry_run": False})
    end(done, as_json=as_json, shown=bool(seen), error=runs.error)


def end(result: Mapping[str, Any], *, as_json: bool, shown: bool = False, error: WfopsError | None = None) -> None:
    """Print what there is, and leave with the code that says it; ``shown``: the plan has been."""
    if as_json:
        terminal.write(terminal.json_text(result))
    elif result["dry_run"] or result["status"] in ("unchanged", "blocked"):
        terminal.write(plan_text(result, colour=terminal.colours()))
    elif result["workflows"]:
        terminal.write(outcome_text(result))
    else:
        terminal.write(("" if shown else plan_text(result, colour=terminal.colours()) + "\n") + waiting_text(result))
    if error is not None:
        raise error
    raise typer.Exit(exit_code_of(result))


def exit_code_of(result: Mapping[str, Any]) -> int:
    """What became of it, as an exit code; a dry run's says what would become of it."""
    if result["dry_run"]:
        return BLOCKED if result["status"] == "blocked" else 0
    if result["status"] in ("blocked", "pending_approval", "approved"):
        return BLOCKED
    if result["status"] not in _ENDED_WELL:
        return 1
    return 0 if result["drift_status"] in (None, "IN_SYNC", "UNTRACKED", "UNKNOWN") else DIFFERENT
