"""``wfops tenants``, ``wfops environments``, ``wfops matrix``: what there is, as the store holds it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.options import Json, Tenant
from wfops_pipelines.cli.session import open_session


def tenants(as_json: Json = False) -> None:
    """List the tenants, with the drift status of their environments.

    Examples:

        wfops tenants

        wfops tenants --json | jq -r '.[].tenant'
    """
    with open_session() as session:
        from wfops_pipelines.services.listings import tenant_listing

        rows = tenant_listing(session.services)
    if as_json:
        terminal.write(terminal.json_text(rows))
        return
    terminal.write(terminal.table(["tenant", "name", "plan", "environments"], [
        [row["tenant"] + (" (paused)" if row["paused"] else ""), row["name"], row["plan"],
         ", ".join(f"{e['environment']} {e['drift_status']}" for e in row["environments"]) or "none"] for row in rows]))


def environments(tenant: Tenant, as_json: Json = False) -> None:
    """List a tenant's environments: last sync, last drift check, workflows by status.

    Examples:

        wfops environments acme
    """
    with open_session() as session:
        from wfops_pipelines.services.listings import environment_listing

        rows = environment_listing(session.services, session.context(tenant))
        session.tell_pause(tenant)
    if as_json:
        terminal.write(terminal.json_text(rows))
        return
    terminal.write(terminal.table(
        ["environment", "class", "n8n", "git", "workflows", "last sync", "drift", "checked"], [_cells(row) for row in rows]))


def matrix(
    tenant: Tenant,
    limit: Annotated[int | None, typer.Option("--limit", min=1, max=10_000, help="At most so many rows.")] = None,
    after: Annotated[str | None, typer.Option("--after", metavar="CURSOR",
                                              help="The page after this cursor; of 50 rows without --limit.")] = None,
    as_json: Json = False,
) -> None:
    """Show which workflow is where: one row per workflow, one column per environment.

    It is what the last sync stored; nothing is read from n8n or Git.

    With --limit it is shown by pages, in the order of the characters of the names. The command of the next page is told
    beside the rows; with --json they are {"rows", "next_cursor"}, which is null on the last page.

    Examples:

        wfops matrix acme

        wfops matrix acme --json | jq '.[] | select(.environments.prod == null) | .name'

        wfops matrix acme --limit 100 --json | jq -r .next_cursor
    """
    paged = limit is not None or after is not None
    with open_session() as session:
        from wfops_pipelines.services.matrix import MatrixPage, matrix_page, workflow_matrix

        context = session.context(tenant)
        slugs = [row.slug for row in session.services.environments(context)]
        if paged:
            page = matrix_page(session.services, context, limit=limit or 50, after=after)
        else:
            page = MatrixPage(workflow_matrix(session.services, context), None)
    if as_json:
        terminal.write(terminal.json_text(page.as_json() if paged else page.as_json()["rows"]))
        return
    terminal.write(terminal.table(["workflow", "canonical id", *slugs], [
        [row.name or "(no name)", row.canonical_id or "-", *(_cell(row.environments.get(slug)) for slug in slugs)]
        for row in page.rows]))
    for slug in slugs:
        names = {cell["incident"] for row in page.rows if (cell := row.environments.get(slug)) and cell.get("incident")}
        for name in sorted(names):
            terminal.write(f"\n{slug}: open incident {terminal.paint(name, 'bold')}: wfops incident show {name}\n")
    if page.next_cursor is not None:
        terminal.note(f"more: wfops matrix {tenant} --limit {limit or 50} --after {page.next_cursor}")


def _cells(row: dict[str, Any]) -> list[object]:
    repository = row["repository"]
    git = "-" if repository is None else f"{repository['branch']}:{repository['folder'] or '/'}"
    workflows = ", ".join(f"{count} {status}" for status, count in row["workflows"].items()) or "none yet"
    drift = row["drift_status"]
    if row["drift_reason"]:
        drift += f" ({row['drift_reason'].replace('_', ' ')})"
    if row["circuit"] is not None and row["circuit"]["probe_at"] is not None:
        drift += f", left alone until {row['circuit']['probe_at'][11:16]} UTC"
    return [row["environment"], row["class"], row["url"], git, workflows, terminal.ago(row["last_sync_at"]), drift,
            terminal.ago(row["last_drift_check_at"])]


def _cell(cell: dict[str, Any] | None) -> str:
    """One place of the matrix: the drift, else the status; the first digits of the hash tell equal from different."""
    if cell is None:
        return "-"
    words = [cell["drift"] or cell["status"]]
    if cell["hash"]:
        words.append(cell["hash"][:7])
    if cell.get("archived"):
        words.append("archived")
    elif cell.get("active"):
        words.append("active")
    return " ".join(words)
