"""tenancy: row-level security on every tenant table, grants, append-only audit, explicit transitions

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

from wfops_pipelines.store.migrations.security import guard, roles

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = (
    "tenants", "secrets", "repositories", "environments", "credential_map", "pipelines", "pipeline_stages",
    "drift_policies", "notification_targets", "payloads", "canonical_workflows", "workflow_env_map",
    "workflow_hash_registry", "canonical_workflow_git_state", "repository_file_errors", "workflow_diff_state",
    "workflow_drift", "drift_check_history", "operations", "operation_steps", "environment_leases", "audit_heads",
)

# The domain's table (domain.operation.TRANSITIONS); a test compares the two.
TRANSITIONS = {
    "queued": ("cancelled", "failed", "running"),
    "running": ("cancelled", "compensated", "completed", "failed"),
    "failed": ("compensated", "running"),
}
FIRST = "queued"


def upgrade() -> None:
    app, system = roles()
    op.execute(f"GRANT USAGE ON SCHEMA public TO {app}, {system}")
    for table in TABLES:
        guard(table)
    guard("audit_events", append_only=True)
    op.execute(f"REVOKE DELETE ON audit_heads, tenants FROM {app}")
    op.execute(f"GRANT SELECT ON alembic_version TO {app}, {system}")

    op.execute("ALTER TABLE installation_secrets ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE installation_secrets FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY installation_reads ON installation_secrets FOR SELECT TO {app} USING (true)")
    op.execute(f"GRANT SELECT ON installation_secrets TO {app}")

    op.execute("""
        CREATE FUNCTION wfops_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
        END $$""")
    op.execute("""
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
        FOR EACH STATEMENT EXECUTE FUNCTION wfops_refuse_change()""")

    allowed = ", ".join(f"('{a}', '{b}')" for a, after in TRANSITIONS.items() for b in after)
    op.execute(f"""
        CREATE FUNCTION wfops_check_transition() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                IF NEW.state <> '{FIRST}' THEN
                    RAISE EXCEPTION 'an operation begins {FIRST}, not %', NEW.state
                        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_operations_transition';
                END IF;
            ELSIF (OLD.state, NEW.state) NOT IN ({allowed}) THEN
                RAISE EXCEPTION 'an operation that is % cannot become %', OLD.state, NEW.state
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_operations_transition';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER transition BEFORE INSERT OR UPDATE OF state ON operations
        FOR EACH ROW EXECUTE FUNCTION wfops_check_transition()""")


def downgrade() -> None:
    app, system = roles()
    op.execute("DROP TRIGGER transition ON operations")
    op.execute("DROP FUNCTION wfops_check_transition()")
    op.execute("DROP TRIGGER append_only ON audit_events")
    op.execute("DROP FUNCTION wfops_refuse_change()")
    op.execute("DROP POLICY installation_reads ON installation_secrets")
    op.execute("ALTER TABLE installation_secrets DISABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE installation_secrets NO FORCE ROW LEVEL SECURITY")
    for table in (*TABLES, "audit_events"):
        op.execute(f"DROP POLICY tenant_isolation ON {table}")
        op.execute(f"DROP POLICY system_reads ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {app}, {system}")
    op.execute(f"REVOKE USAGE ON SCHEMA public FROM {app}, {system}")
