"""Row-level security and grants of a tenant table, for use in migrations (§2.1, design decision 2)."""

from __future__ import annotations

from alembic import context, op

CURRENT_TENANT = "NULLIF(current_setting('wfops.tenant_id', true), '')::uuid"  # after a commit the setting is ''


def roles() -> tuple[str, str]:
    """The application's and the system's login role."""
    prefix = context.config.attributes.get("role_prefix") or "wfops"
    return f"{prefix}_app", f"{prefix}_system"


def guard(table: str, *, append_only: bool = False) -> None:
    """Enable and force row-level security: the application sees and writes the current tenant's rows alone, the system
    role reads across tenants and writes nothing."""
    app, system = roles()
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY tenant_isolation ON {table} FOR ALL TO {app} "
        f"USING (tenant_id = {CURRENT_TENANT}) WITH CHECK (tenant_id = {CURRENT_TENANT})"
    )
    op.execute(f"CREATE POLICY system_reads ON {table} FOR SELECT TO {system} USING (true)")
    writes = "SELECT, INSERT" if append_only else "SELECT, INSERT, UPDATE, DELETE"
    op.execute(f"GRANT {writes} ON {table} TO {app}")
    op.execute(f"GRANT SELECT ON {table} TO {system}")
