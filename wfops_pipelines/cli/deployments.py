"""``wfops deploy``: promotions that start at their time, for one tenant or for many in waves (§12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.deployment_screen import (
    batch_text,
    deployment_text,
    deployments_table,
    progress_line,
    scheduled_text,
)
from wfops_pipelines.cli.options import AllowIrreversible, AllowLarge, DryRun, Json, Limit, Prune, Reason, RunsAs, Workflows
from wfops_pipelines.cli.session import Session, failure_of, open_session
from wfops_pipelines.cli.watching import follow
from wfops_pipelines.domain.deployment import DeploymentStatus
from wfops_pipelines.domain.errors import Cancelled, UsageError
from wfops_pipelines.domain.run_tags import DEPLOYMENT_TAG, SOURCE_TAG, TARGET_TAG

if TYPE_CHECKING:
    from datetime import datetime

    from wfops_pipelines.services.deployment_reports import DeploymentReport, NamedDeployment
    from wfops_pipelines.services.promotion_options import PromotionOptions

deploy = typer.Typer(no_args_is_help=True, help="Promotions that start at their time, for one tenant or for many in waves.")

_OPEN: Final = frozenset({"pending", "scheduled", "running", "stopping"})

From = Annotated[str | None, typer.Option("--from", metavar="ENV", help="The environment that it comes from.")]
To = Annotated[str | None, typer.Option("--to", metavar="ENV", help="The environment that is written.")]
At = Annotated[str | None, typer.Option(
    "--at", metavar="TIME", help="When, with its time zone, as 2026-11-22T22:00+01:00; at once without.")]
Id = Annotated[str, typer.Argument(
    metavar="ID", help="The deployment's id or its batch's, or at least the first 8 characters of it.")]
One = Annotated[str, typer.Argument(metavar="ID", help="The deployment's id, or at least the first 8 characters of it.")]


@deploy.command("schedule")
def schedule(
    tenant: Annotated[str | None, typer.Argument(metavar="[TENANT]",
                                                 help="The tenant's slug; not with --promotion.")] = None,
    source: From = None, target: To = None, at: At = None, workflow: Workflows = None, prune: Prune = False,
    activation: RunsAs = None, allow_large: AllowLarge = None, allow_irreversible: AllowIrreversible = False,
    reason: Reason = None,
    promotion: Annotated[str | None, typer.Option(
        "--promotion", metavar="TENANT/pNUMBER", help="In place of --from and --to: a promotion that is approved, or will "
                                                      "be by then.")] = None,
    dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Deploy from one environment to another at a time, or at once. `wfops up` starts it within 15 seconds of its time.

    What is promoted is planned when it starts, from both environments as they are then; with --promotion it is the plan that
    was approved. It waits for nobody: what a gate blocks or holds then fails it, with the reason, and nothing is written.
    A stage that asks for approvals therefore wants --promotion, and a time within a freeze window is refused now.

    Exit codes: 0 scheduled, 2 no such tenant, environment, promotion or stage, or no such time, 4 it could not start then:
    approvals, a freeze window, a production environment that may not be written to.

    Examples:

        wfops deploy schedule acme --from dev --to prod --at 2026-11-22T22:00+01:00

        wfops deploy schedule acme --from dev --to staging --workflow "Order intake" --reason OPS-12

        wfops deploy schedule --promotion acme/p12 --at 2026-11-22T22:00+01:00 --json | jq -r .deployment_id
    """
    chosen = (tenant, source, target, workflow, prune, activation, allow_large, allow_irreversible, reason)
    if promotion is not None and any(chosen):
        raise UsageError("--promotion says everything about it", fix="leave all out but --at")
    if promotion is None and (tenant is None or source is None or target is None):
        raise UsageError("a deployment has a tenant, a source and a target",
                         fix="give TENANT, --from and --to, or --promotion for one that is approved")
    with open_session() as session:
        from wfops_pipelines.services.deployments import schedule_deployment, schedule_promotion

        starts_at = _time(at)
        if tenant is not None and source is not None and target is not None:
            ends = [session.environments(tenant, [slug])[0] for slug in (source, target)]
            options = _options(workflow, prune=prune, activation=activation, allow_large=allow_large,
                               allow_irreversible=allow_irreversible, reason=reason)
            report = schedule_deployment(session.services, session.context(tenant), ends[0], ends[1], options, at=starts_at,
                                         dry_run=dry_run)
        else:
            from wfops_pipelines.services.promotion_names import named_promotion

            named = named_promotion(session.services, promotion or "")
            report = schedule_promotion(session.services, session.context(named.tenant), named.number, at=starts_at,
                                        dry_run=dry_run)
        now = session.services.now()
        session.tell_pause(report.tenant)
    shown = report.as_json()
    terminal.write(terminal.json_text(shown) if as_json else scheduled_text(shown, now=now))


@deploy.command("list")
def list_(
    tenant: Annotated[str | None, typer.Argument(metavar="[TENANT]", help="The tenant's slug; all tenants without.")] = None,
    status: Annotated[list[DeploymentStatus] | None, typer.Option("--status",
                                                                 help="In this status; can be repeated.")] = None,
    limit: Limit = 50,
    before: Annotated[str | None, typer.Option("--before", metavar="ID", help="The page after this one.")] = None,
    as_json: Json = False,
) -> None:
    """List deployments, the newest first.

    Examples:

        wfops deploy list acme

        wfops deploy list --status scheduled --status running --json | jq -r '.[].deployment_id'
    """
    with open_session() as session:
        from wfops_pipelines.services.deployment_reports import list_deployments

        rows = list_deployments(session.services, session.context(tenant) if tenant is not None else None,
                                statuses=[str(each) for each in status] if status else None, before=before, limit=limit)
        if tenant is not None:
            session.tell_pause(tenant)
    if as_json:
        terminal.write(terminal.json_text(rows))
    else:
        terminal.write(deployments_table(rows) if rows else f"no deployments{f' of {tenant}' if tenant else ''}\n")


@deploy.command("show")
def show(
    name: Id,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it has ended. Ctrl-C ends the watching, never the "
                                                        "deployment.")] = False,
    as_json: Json = False,
) -> None:
    """Show a deployment with its progress and what became of each workflow, or a batch with every wave and member.

    Exit codes: 0 shown; with --watch 1 when it failed, or something of the batch did; 2 no such deployment.

    Examples:

        wfops deploy show 3f2a9c01

        wfops deploy show 3f2a9c01 --watch

        wfops deploy show 3f2a9c01 --json | jq -r '.workflows[] | "\\(.name) \\(.status)"'
    """
    with open_session() as session:
        look = _looking(session, name)
        shown = follow(look, progress_line, goes_on=lambda now: now["status"] in _OPEN) if watch else look()
    terminal.write(terminal.json_text(shown) if as_json else _text(shown))
    if watch and (shown["status"] in ("failed", "stopped") or shown.get("failed")):
        raise typer.Exit(1)


@deploy.command("run")
def run(name: One, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Carry a scheduled deployment out here and now, whatever its time; or bring one to its end whose process died.

    With --dry-run both environments are read, and the plan is shown that it would carry out now.

    Exit codes: 0 completed, 1 failed, 2 no such deployment, 4 a gate said no or not now, it runs already, or waits for its
    wave, 5 unreachable, 7 Ctrl-C: it says what became of it.

    Examples:

        wfops deploy run 3f2a9c01

        wfops deploy run 3f2a9c01 --dry-run
    """
    with open_session() as session:
        from wfops_pipelines.services.deployment_reports import named_deployment, report_of

        named = named_deployment(session.services, name)
        before = report_of(session.services, session.context(named.tenant), named.deployment_id)
        if dry_run:
            _plan(session, before, as_json=as_json)
            return
        tags = {TARGET_TAG: f"{named.tenant}/{named.target}", SOURCE_TAG: before.source,
                DEPLOYMENT_TAG: str(named.deployment_id)}
        doing, since = f"Deploying {before.source} → {before.target} of {before.tenant}", session.services.now()
        try:
            with terminal.progress(doing):
                launched = session.run("run_deployment", {"deploy": {"deployment": str(named.deployment_id)}},
                                       tenant=named.tenant, environment=named.target, tags=tags)
        except KeyboardInterrupt:
            raise _interrupted(session, named, doing, since=since) from None
    told: dict[str, Any] = launched.outputs[0] if launched.outputs else {"result": None, "error": None}
    if told["result"] is None:
        raise told["error"] or failure_of(launched)
    terminal.write(terminal.json_text(told["result"]) if as_json else deployment_text(told["result"]))
    if told["error"] is not None:
        raise told["error"]


@deploy.command("cancel")
def cancel(name: Id, reason: Reason = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Call off a deployment that has not begun, or all of a batch that has not; what runs is let to its end.

    A promotion that was approved before stays approved.

    Exit codes: 0 cancelled, 2 no such deployment, 4 it has begun or ended.

    Examples:

        wfops deploy cancel 3f2a9c01 --reason "the fair is on"
    """
    with open_session() as session:
        from wfops_pipelines.services.deployment_batches import cancel_batch
        from wfops_pipelines.services.deployment_reports import NamedBatch, named
        from wfops_pipelines.services.deployments import cancel_deployment

        found, services = named(session.services, name), session.services
        if isinstance(found, NamedBatch):
            shown = cancel_batch(services, found.batch_id, actor=session.actor, reason=reason, dry_run=dry_run).as_json()
        else:
            shown = cancel_deployment(services, session.context(found.tenant), found.deployment_id, reason=reason,
                                      dry_run=dry_run).as_json()
    if as_json:
        terminal.write(terminal.json_text(shown))
    else:
        terminal.write(("would be cancelled:\n" if dry_run else "") + _text(shown))


@deploy.command("batch")
def batch(
    source: Annotated[str, typer.Option("--from", metavar="ENV", help="The environment that it comes from, of each "
                                                                      "tenant.")],
    target: Annotated[str, typer.Option("--to", metavar="ENV", help="The environment that is written, of each tenant.")],
    tenants: Annotated[str | None, typer.Option("--tenants", metavar="A,B,C", help="These tenants, in this order.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every tenant that has both environments.")] = False,
    first: Annotated[int, typer.Option("--first", min=1, help="Tenants of the first wave.")] = 1,
    then: Annotated[int | None, typer.Option("--then", min=1, help="Tenants of each later wave; all the rest "
                                                                   "without.")] = None,
    tolerate: Annotated[int, typer.Option("--tolerate", min=0, help="Failures that do not stop it.")] = 0,
    at: At = None, workflow: Workflows = None, prune: Prune = False, activation: RunsAs = None,
    allow_large: AllowLarge = None, allow_irreversible: AllowIrreversible = False, reason: Reason = None,
    dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Deploy to many tenants, in waves: each begins when all of the wave before it ended well.

    After a failure no further wave begins, and what has not begun is cancelled; what runs is let to its end. Nothing is
    scheduled unless it can be for every tenant. `wfops deploy show ID` shows all of it in one view.

    Exit codes: 0 scheduled, 2 no such tenant, environment or stage, or no such time, 4 it could not start then for one of
    them.

    Examples:

        wfops deploy batch --tenants acme,globex,initech --from dev --to prod --first 1 --then 10 --dry-run

        wfops deploy batch --all --from staging --to prod --first 2 --then 20 --at 2026-11-22T22:00+01:00 --json
    """
    if everyone == (tenants is not None):
        raise UsageError("a batch has tenants", fix="give --tenants A,B,C or --all, one of both")
    chosen = None if tenants is None else [slug for part in tenants.split(",") if (slug := part.strip())]
    with open_session() as session:
        from wfops_pipelines.services.deployment_batches import BatchTemplate, schedule_batch

        options = _options(workflow, prune=prune, activation=activation, allow_large=allow_large,
                           allow_irreversible=allow_irreversible, reason=reason)
        template = BatchTemplate(source, target, options, first=first, then=then, tolerated=tolerate)
        report = schedule_batch(session.services, chosen, template, actor=session.actor, at=_time(at), dry_run=dry_run)
    shown = report.as_json()
    terminal.write(terminal.json_text(shown) if as_json else batch_text(shown))


def _looking(session: Session, name: str) -> Callable[[], dict[str, Any]]:
    """How to look at a deployment or a batch, again and again."""
    from wfops_pipelines.services.deployment_reports import NamedBatch, batch_report, named, report_of

    found, services = named(session.services, name), session.services
    if isinstance(found, NamedBatch):
        batch_id = found.batch_id
        return lambda: batch_report(services, batch_id).as_json()
    context, deployment_id = session.context(found.tenant), found.deployment_id
    session.tell_pause(found.tenant)

    def one() -> dict[str, Any]:
        report: DeploymentReport = report_of(services, context, deployment_id)
        return report.as_json()
    return one


def _plan(session: Session, deployment: DeploymentReport, *, as_json: bool) -> None:
    """What a deployment would carry out if it started now."""
    from wfops_pipelines.cli.promotion_runs import PromotionRuns
    from wfops_pipelines.cli.promotion_screen import plan_text

    asked = {"promotion": deployment.promotion} if deployment.promotion is not None else {
        "tenant": deployment.tenant, "source": deployment.source, "target": deployment.target,
        **{key: value for key, value in deployment.options.items() if key not in ("workflows", "when_ready")},
        "workflows": deployment.options.get("workflows") or None}
    runs = PromotionRuns(session, deployment.tenant, deployment.target, source=deployment.source)
    plan = runs.run("promote", f"Planning {deployment.source} → {deployment.target} of {deployment.tenant}",
                    {**asked, "dry_run": True})
    terminal.write(terminal.json_text(plan) if as_json else plan_text(plan, colour=terminal.colours()))


def _interrupted(session: Session, named: NamedDeployment, doing: str, *, since: datetime) -> Cancelled:
    """The end of one that somebody interrupted: what became of its promotion, where it has one by now."""
    from wfops_pipelines.cli.interruption import cut_off, interrupted
    from wfops_pipelines.services.deployment_reports import report_of

    what = cut_off(doing)
    now = report_of(session.services, session.context(named.tenant), named.deployment_id)
    if now.promotion is None:
        return Cancelled(f"{what}: nothing was written, and it is {now.status}",
                         fix=f"look: wfops deploy show {now.deployment_id}")
    return interrupted(session, doing, now.tenant, now.target, since=since, promotion=now.promotion)


def _text(shown: dict[str, Any]) -> str:
    return batch_text(shown) if "waves" in shown else deployment_text(shown)


def _options(workflows: list[str] | None, *, prune: bool, activation: str | None, allow_large: str | None,
             allow_irreversible: bool, reason: str | None) -> PromotionOptions:
    from wfops_pipelines.services.promotion_options import PromotionOptions

    return PromotionOptions(workflows=tuple(workflows) if workflows else None, prune=prune, activation=activation,
                            allow_large=allow_large, allow_irreversible=allow_irreversible, reason=reason)


def _time(at: str | None) -> datetime | None:
    from datetime import datetime

    try:
        return None if at is None else datetime.fromisoformat(at.strip())
    except ValueError:
        raise UsageError(f"{at!r} is no time", fix="write it with its time zone, as 2026-11-22T22:00+01:00") from None
