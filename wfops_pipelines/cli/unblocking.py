"""``wfops unblock``: writes go into an environment again (§11.7)."""

from __future__ import annotations

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.options import DryRun, Environment, Json, Reason, Tenant
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.diff_text import visible


def unblock(tenant: Tenant, environment: Environment, reason: Reason = None, dry_run: DryRun = False,
            as_json: Json = False) -> None:
    """Let writes into an environment again that a rollback blocked, for it could not restore everything.

    What could not be restored is tried once more first; what still cannot be stays as it is, and is named. The reason goes
    into the audit trail.

    Exit codes: 0 done (also when nothing was blocked), 2 no reason, 4 the environment is held by another operation.

    Examples:

        wfops unblock acme prod --dry-run --reason "looked at both workflows"

        wfops unblock acme prod --reason "Orders is right as it is now"
    """
    import asyncio

    with open_session() as session:
        from wfops_pipelines.services.unblocking import unblock as act

        done = asyncio.run(act(session.services, session.context(tenant), environment, reason=reason, dry_run=dry_run))
    if as_json:
        terminal.write(terminal.json_text(done.as_json()))
        return
    name = f"{done.tenant}/{done.environment}"
    if not done.changed:
        terminal.write(f"nothing to change: {name} takes writes\n")
        return
    terminal.write(f"{name} {'would take' if done.dry_run else 'takes'} writes again; it was blocked: "
                   f"{visible(done.blocked_reason or '')}\n")
    if done.abandoned:
        terminal.note(f"left as they are: {visible(', '.join(done.abandoned))}")
