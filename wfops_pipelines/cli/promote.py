"""``wfops promote``: workflows from one environment to the next (§11). It runs as a Dagster run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.confirming import confirm
from wfops_pipelines.cli.failures import BLOCKED, DIFFERENT
from wfops_pipelines.cli.options import Detach, DryRun, Json, Reason, Tenant
from wfops_pipelines.cli.promotion_runs import PromotionRuns
from wfops_pipelines.cli.promotion_screen import outcome_text, plan_text, waiting_text
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.cli.sync import tell_submitted
from wfops_pipelines.domain.errors import WfopsError

ENDED_WELL = frozenset({"completed", "unchanged"})


def promote(
    tenant: Tenant,
    source: Annotated[str, typer.Option("--from", metavar="ENV", help="The environment that it comes from.")],
    target: Annotated[str, typer.Option("--to", metavar="ENV", help="The environment that is written.")],
    workflow: Annotated[list[str] | None, typer.Option(
        "--workflow", "-w", metavar="NAME|ID", help="This one alone, by name, n8n id in the source, or canonical id; with "
                                                    "what it needs. Can be repeated.")] = None,
    needs: Annotated[bool, typer.Option("--needs/--no-needs", help="With --workflow: also the sub-workflows and error "
                                                                   "workflows that it needs.")] = True,
    prune: Annotated[bool, typer.Option("--prune", help="Also remove what only the target has (n8n 2.x archives "
                                                        "it).")] = False,
    activation: Annotated[str | None, typer.Option(
        "--activation", metavar="keep|source", help="Whether what both have runs as it does in the target, or as in the "
                                                    "source; without it, what the stage says.")] = None,
    allow_large: Annotated[str | None, typer.Option(
        "--allow-large", metavar="REASON", help="Change or remove more than 30 % of a target of ten workflows or "
                                               "more.")] = None,
    allow_irreversible: Annotated[bool, typer.Option(
        "--allow-irreversible", help="Do what n8n's API could not undo.")] = False,
    override: Annotated[str | None, typer.Option(
        "--override", metavar="REASON", help="Go past drift of the target, where the policy has manual_override; for "
                                             "admins.")] = None,
    reason: Reason = None,
    manual: Annotated[bool, typer.Option(
        "--manual", help="Once it is approved or its time has come, wait for `wfops promotion execute`.")] = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    detach: Detach = False, as_json: Json = False,
) -> None:
    """Promote workflows from one environment to another: what runs in the one, adapted to the other.

    Both are read first. The plan is shown, with a diff of each workflow and what every gate says, and you are asked; what is
    carried out is exactly that plan. Each workflow is written, read back and compared; the first that cannot be is undone
    with all before it. Then the target's folder in Git follows, in one commit or pull request.

    Where the stage wants approvals it waits for them (`wfops approve`), and is carried out by itself then, as it is when a
    freeze window opens or a soak time is over, while `wfops up` runs.

    Exit codes: 0 done, or nothing to write; 1 failed and rolled back; 2 no such tenant, environment, workflow or stage;
    3 done, and the target has drift; 4 blocked by a gate, waits for an approval or a time, or something else is at work
    there; 5 unreachable; 6 refused; 7 not confirmed: nothing was begun.

    Examples:

        wfops promote acme --from dev --to staging --dry-run

        wfops promote acme --from dev --to staging --workflow "Order intake" --reason "OPS-12"

        wfops promote acme --from staging --to prod --yes --json | jq -r .commit
    """
    chosen = {
        "tenant": tenant, "source": source, "target": target, "workflows": workflow or None, "with_needs": needs,
        "prune": prune, "activation": activation, "allow_large": allow_large, "allow_irreversible": allow_irreversible,
        "override_reason": override, "reason": reason, "manual": manual}
    with open_session() as session:
        session.environments(tenant, [source, target])
        runs = PromotionRuns(session, tenant, target, source=source)
        if detach and not dry_run:
            confirm(f"Leave {source} → {target} of {tenant} to the queue, without looking at what it writes?", yes=yes)
            tell_submitted(session, runs.submit("promote", {**chosen, "dry_run": False}), as_json=as_json)
            return
        seen = None
        if dry_run or not yes:
            plan = runs.promote(f"Planning {source} → {target} of {tenant}", {**chosen, "dry_run": True})
            if dry_run or plan["status"] in ("blocked", "unchanged"):
                end(plan, as_json=as_json)
            terminal.note(plan_text(plan, colour=terminal.colours(sys.stderr)))
            confirm(_question(plan), yes=False)
            seen = plan["checksum"]
        done = runs.promote(f"Promoting {source} → {target} of {tenant}", {**chosen, "checksum": seen, "dry_run": False})
    end(done, as_json=as_json, shown=seen is not None, error=runs.error)


def _question(plan: Mapping[str, Any]) -> str:
    place = f"n8n {plan['tenant']}/{plan['target']}"
    return "Ask for the approval of this?" if plan["status"] == "pending_approval" else f"Write this to {place}?"


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
    if result["status"] not in ENDED_WELL:
        return 1
    return 0 if result["drift_status"] in (None, "IN_SYNC", "UNTRACKED", "UNKNOWN") else DIFFERENT
