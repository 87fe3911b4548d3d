"""``wfops approve``, ``reject`` and ``rollback``: what people decide about a promotion (§11.9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.confirming import confirm
from wfops_pipelines.cli.options import Detach, DryRun, Json, Promotion, Reason, Yes
from wfops_pipelines.cli.promotion_flow import exit_code_of
from wfops_pipelines.cli.promotion_runs import PromotionRuns
from wfops_pipelines.cli.promotion_screen import rollback_text
from wfops_pipelines.cli.session import Session, open_session
from wfops_pipelines.cli.sync import tell_submitted
from wfops_pipelines.domain.diff_text import visible

Plan = Annotated[str | None, typer.Option(
    "--plan", metavar="CHECKSUM", help="The checksum of the plan that you looked at, or its beginning: another one is "
                                       "refused.")]


def approve(name: Promotion, reason: Reason = None, plan: Plan = None, as_json: Json = False) -> None:
    """Approve the plan of a promotion that somebody else asked for.

    With as many approvals as the stage wants it is carried out by itself while `wfops up` runs (within seconds, or when a
    freeze window opens), unless it was asked for with --manual; or by `wfops promotion execute`.

    Exit codes: 0 done, 2 no such promotion, 4 it waits for no approval, you decided already, or its plan is another one,
    6 your own.

    Examples:

        wfops promotion show acme/p12 && wfops approve acme/p12 --plan 4be1cfa2

        wfops approve acme/p12 --reason "seen the diff"
    """
    _decide(name, approve=True, reason=reason, plan=plan, as_json=as_json)


def reject(name: Promotion, reason: Reason = None, plan: Plan = None, as_json: Json = False) -> None:
    """Reject a promotion that waits for approval; that is final, and needs a --reason.

    Exit codes: 0 done, 2 no such promotion or no reason, 4 it waits for no approval, or its plan is another one.

    Examples:

        wfops reject acme/p12 --reason "the hotfix is not in dev yet"
    """
    _decide(name, approve=False, reason=reason, plan=plan, as_json=as_json)


def cancel_waiting(session: Session, name: str, *, reason: str | None, as_json: bool) -> None:
    """Call off a promotion that has not begun to write; that is final. The command is in ``cancelling``."""
    from wfops_pipelines.services.promotion_names import named_promotion
    from wfops_pipelines.services.promotion_request import cancel_promotion

    named = named_promotion(session.services, name)
    done = cancel_promotion(session.services, session.context(named.tenant), named.number, reason=reason)
    _tell(done.as_json(), as_json=as_json)


def rollback(
    name: Promotion, reason: Annotated[str, typer.Option("--reason", help="Why, in a few words.")],
    dry_run: DryRun = False, yes: Yes = False, detach: Detach = False, as_json: Json = False,
) -> None:
    """Roll a completed promotion back: its target as it was before, workflow by workflow, then Git.

    Contents, activation, archive and tags of what it wrote; what it created is deleted for good, last of all: from the first
    deletion on there is no way back, and what is left is done by whoever comes next. Where somebody changed one of these
    workflows since, nothing is written, and they are named.

    Exit codes: 0 done, 1 failed and undone, 2 no such promotion, 3 done, and the target has drift, 4 it is not completed,
    somebody changed a workflow since, or a later promotion wrote it too, 5 unreachable, 6 refused, 7 not confirmed, or
    Ctrl-C: it says what became of it.

    Examples:

        wfops rollback acme/p12 --reason "orders are doubled" --dry-run

        wfops rollback acme/p12 --reason "orders are doubled" --yes
    """
    with open_session() as session:
        from wfops_pipelines.services.promotion_names import named_promotion

        named = named_promotion(session.services, name)
        runs = PromotionRuns(session, named.tenant, named.target, source=named.source, promotion=str(named))
        chosen, finished = {"promotion": str(named), "reason": reason}, False
        if detach and not dry_run:
            confirm(f"Leave the rollback of {named} to the queue, without looking at what it writes?", yes=yes)
            tell_submitted(session, runs.submit("rollback", chosen), as_json=as_json)
            return
        if dry_run or not yes:
            result = runs.run("rollback", f"Planning the rollback of {named}", {**chosen, "dry_run": True})
            finished = not result["dry_run"]  # what an earlier one had left
        if not dry_run and not finished:
            if not yes:
                terminal.note(rollback_text(result).rstrip("\n"))
                confirm(f"Write this to n8n {named.tenant}/{named.target}?", yes=False)
            result = runs.run("rollback", f"Rolling back {named}", {**chosen, "dry_run": False})
    terminal.write(terminal.json_text(result) if as_json else rollback_text(result))
    done = not result["dry_run"] and result["status"] == "rolled_back"
    raise typer.Exit(exit_code_of({**result, "status": "completed"}) if done else 0)


def _decide(name: str, *, approve: bool, reason: str | None, plan: str | None, as_json: bool) -> None:
    with open_session() as session:
        from wfops_pipelines.services.promotion_names import named_promotion
        from wfops_pipelines.services.promotion_request import decide_promotion

        named = named_promotion(session.services, name)
        done = decide_promotion(session.services, session.context(named.tenant), named.number, approve=approve,
                                reason=reason, checksum=plan)
    _tell(done.as_json(), as_json=as_json)


def _tell(result: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        terminal.write(terminal.json_text(result))
        return
    words = f"{result['name']} ({result['source']} → {result['target']}) is {terminal.word(result['status'])}"
    terminal.write("".join(f"{line}\n" for line in [words, *map(visible, result["notes"])]))
