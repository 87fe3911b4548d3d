"""``wfops audit``: who did what, and the proof that nobody changed it since (§19.3)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.failures import FAILED
from wfops_pipelines.cli.options import Json, Limit, Tenant
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import UsageError, WfopsError

audit = typer.Typer(no_args_is_help=True, help="Who did what, and the proof that nobody changed it since.")

Tenants = Annotated[list[str] | None, typer.Argument(metavar="TENANT", help="Tenants, by slug; all without any.")]


@audit.command("list")
def list_(
    tenant: Tenant,
    action: Annotated[str | None, typer.Option("--action", help="Events of this kind alone, as mapping.linked.")] = None,
    operation: Annotated[UUID | None, typer.Option("--operation", help="Events of this operation alone.")] = None,
    before: Annotated[int | None, typer.Option("--before", metavar="SEQUENCE", help="Events before this one.")] = None,
    limit: Limit = 50, as_json: Json = False,
) -> None:
    """List a tenant's audit events, the newest first.

    Examples:

        wfops audit list acme --action drift.changed

        wfops audit list acme --limit 1000 --json | jq -r '.[] | [.at, .actor, .action] | @tsv'
    """
    with open_session() as session:
        from wfops_pipelines.services.audit_reports import list_events

        rows = list_events(session.services, session.context(tenant), action=action, operation_id=operation,
                           before=before, limit=limit)
    terminal.write(terminal.json_text(rows) if as_json else events_table(rows))


def events_table(rows: list[dict[str, Any]]) -> str:
    """Audit events for people."""
    return terminal.table(["#", "at", "actor", "action", "environment", "subject"], [
        [row["sequence"], row["at"][:19].replace("T", " "), row["actor"], row["action"], row["environment"] or "-",
         f"{row['subject_type']} {row['subject_id']}"] for row in rows])


@audit.command("verify")
def verify(
    tenants: Tenants = None,
    anchor: Annotated[Path | None, typer.Option("--anchor", metavar="FILE",
                                                help="What `wfops audit anchor` exported: proves the end, too.")] = None,
    as_json: Json = False,
) -> None:
    """Prove that no audit event was changed, removed, inserted or reordered.

    Each chain is walked from its first event to its head, and what listings show is compared with what was proved. Only
    an exported anchor shows that the end of a chain was cut off together with its head.

    Exit codes: 0 proved, 1 broken (the first broken event is named), 2 no such tenant or no anchor file.

    Examples:

        wfops audit verify

        wfops audit verify acme --anchor anchors-2026-11.json --json
    """
    text = _read(anchor) if anchor is not None else None
    with open_session() as session, terminal.progress("Verifying"):
        from wfops_pipelines.services.audit_reports import read_anchors, verify_chains

        anchors = read_anchors(text) if text is not None else []
        result = verify_chains(session.services, tenants or (), anchors, actor=session.actor)
    if as_json:
        terminal.write(terminal.json_text(result))
    else:
        for row in result["tenants"]:
            name = (row["tenant"] or row["tenant_id"]) + (" (deleted)" if row["deleted"] and row["tenant"] else "")
            status = terminal.word("ok" if row["ok"] else "broken")
            detail = row["problem"] or f"{terminal.plural(row['events'], 'event')}, head {row['head'][:16]}"
            terminal.write(f"{status}  {visible(name)}: {visible(detail)}\n")
    raise typer.Exit(0 if result["ok"] else FAILED)


@audit.command("anchor")
def anchor(
    tenants: Tenants = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it here.")] = None,
) -> None:
    """Export how far each audit chain goes now, as JSON.

    Keep it where those who can write the database cannot: `wfops audit verify --anchor FILE` proves with it that no
    chain was cut off since.

    Examples:

        wfops audit anchor -o anchors-$(date +%F).json
    """
    with open_session() as session:
        from wfops_pipelines.services.audit_reports import export_anchors

        document = export_anchors(session.services, tenants or (), actor=session.actor)
    if output is None:
        terminal.write(terminal.json_text(document))
        return
    _replace(output, terminal.json_text(document))
    terminal.note(f"wrote {terminal.plural(len(document['anchors']), 'anchor')} to {visible(str(output))}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{visible(str(path))}: {error.strerror}", fix="`wfops audit anchor -o FILE` writes one") from None
    except UnicodeDecodeError:
        raise UsageError(f"{visible(str(path))}: not UTF-8 text", fix="`wfops audit anchor -o FILE` writes one") from None


def _replace(path: Path, text: str) -> None:
    """Write whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise WfopsError(f"{visible(str(path))} cannot be written: {error.strerror}", fix="name another file") from None
