"""What the database itself enforces of drift incidents (§10): their lifecycle, and that a snapshot never changes."""

from __future__ import annotations

from alembic import op

from wfops_pipelines.store.migrations.security import roles

# The domain's tables (domain.incident); a test compares the two.
TRANSITIONS = {
    "detected": ("acknowledged", "cancelled", "closed", "expired"),
    "expired": ("acknowledged", "cancelled", "closed"),
    "acknowledged": ("cancelled", "closed", "reconciled", "stabilized"),
    "stabilized": ("cancelled", "closed", "reconciled"),
    "reconciled": ("closed",),
}
FIRST, TERMINAL = "detected", ("closed", "cancelled")
APPROVALS = {
    "pending": ("approved", "cancelled", "rejected"),
    "approved": ("cancelled", "executed"),
}


def guard_incidents() -> None:
    """Triggers on incidents and approvals; nobody deletes either."""
    app, _ = roles()
    op.execute(f"REVOKE DELETE ON drift_incidents, drift_approvals, drift_ignore_rules, tenant_counters FROM {app}")
    check_incidents(purging_deleted=False)
    op.execute("""
        CREATE TRIGGER lifecycle BEFORE INSERT OR UPDATE ON drift_incidents
        FOR EACH ROW EXECUTE FUNCTION wfops_check_incident()""")
    op.execute(f"""
        CREATE FUNCTION wfops_check_approval() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                IF NEW.status <> 'pending' THEN
                    RAISE EXCEPTION 'an approval begins pending, not %', NEW.status
                        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_drift_approvals_transition';
                END IF;
            ELSIF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN ({_pairs(APPROVALS)}) THEN
                RAISE EXCEPTION 'an approval that is % cannot become %', OLD.status, NEW.status
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_drift_approvals_transition';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER lifecycle BEFORE INSERT OR UPDATE ON drift_approvals
        FOR EACH ROW EXECUTE FUNCTION wfops_check_approval()""")


def check_incidents(*, purging_deleted: bool) -> None:
    """The function of the trigger on incidents; with ``purging_deleted`` (since 0016) the payload of one that is open goes,
    too, when its environment was deleted."""
    terminal = ", ".join(f"'{status}'" for status in TERMINAL)
    deleted = """ OR EXISTS (SELECT FROM environments e WHERE e.tenant_id = OLD.tenant_id AND e.id = OLD.environment_id
                                          AND e.deleted_at IS NOT NULL)""" if purging_deleted else ""
    op.execute(f"""
        CREATE OR REPLACE FUNCTION wfops_check_incident() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                IF NEW.status <> '{FIRST}' THEN
                    RAISE EXCEPTION 'an incident begins {FIRST}, not %', NEW.status
                        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_drift_incidents_transition';
                END IF;
                RETURN NEW;
            END IF;
            IF NEW.status <> OLD.status AND (OLD.status IN ({terminal})
                    OR NOT (NEW.forced AND NEW.status <> '{FIRST}'
                            OR (OLD.status, NEW.status) IN ({_pairs(TRANSITIONS)}))) THEN
                RAISE EXCEPTION 'an incident that is % cannot become %', OLD.status, NEW.status
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_drift_incidents_transition';
            END IF;
            IF NEW.drift_snapshot IS DISTINCT FROM OLD.drift_snapshot
                    AND NOT (NEW.drift_snapshot IS NULL AND OLD.payload_purged_at IS NULL
                             AND NEW.payload_purged_at IS NOT NULL AND (OLD.status IN ({terminal}){deleted})) THEN
                RAISE EXCEPTION 'the snapshot of an incident never changes'
                    USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'ck_drift_incidents_snapshot';
            END IF;
            IF (NEW.tenant_id, NEW.id, NEW.number, NEW.environment_id, NEW.detected_at)
                    <> (OLD.tenant_id, OLD.id, OLD.number, OLD.environment_id, OLD.detected_at) THEN
                RAISE EXCEPTION 'number, environment and beginning of an incident never change'
                    USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'ck_drift_incidents_identity';
            END IF;
            RETURN NEW;
        END $$""")


def unguard_incidents() -> None:
    """Undo :func:`guard_incidents`; the tables are dropped next."""
    op.execute("DROP TRIGGER lifecycle ON drift_approvals")
    op.execute("DROP FUNCTION wfops_check_approval()")
    op.execute("DROP TRIGGER lifecycle ON drift_incidents")
    op.execute("DROP FUNCTION wfops_check_incident()")


def _pairs(table: dict[str, tuple[str, ...]]) -> str:
    return ", ".join(f"('{before}', '{after}')" for before, follow in table.items() for after in follow)
