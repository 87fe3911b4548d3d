"""What the database itself enforces of promotions, deployments and snapshots (§11.2, §12, §13)."""

from __future__ import annotations

from collections.abc import Mapping

from alembic import op

from wfops_pipelines.store.migrations.security import roles

# The domain's tables (domain.promotion, domain.deployment); a test compares them.
PROMOTION_FIRST, DEPLOYMENT_FIRST = "pending", "pending"
PROMOTION_TRANSITIONS = {
    "pending": ("approved", "blocked", "cancelled", "pending_approval"),
    "pending_approval": ("approved", "blocked", "cancelled", "rejected"),
    "approved": ("blocked", "cancelled", "running"),
    "running": ("completed", "completed_with_errors", "failed"),
    "completed": ("rolled_back",),
    "completed_with_errors": ("rolled_back",),
    "failed": ("rolled_back",),
}
DEPLOYMENT_TRANSITIONS = {
    "pending": ("cancelled", "scheduled"),
    "scheduled": ("cancelled", "running"),
    "running": ("completed", "failed"),
}


def guard_promotions() -> None:
    """Lifecycles by trigger; what was asked for, decided or seen never changes, and nobody deletes it."""
    app, _ = roles()
    op.execute(f"REVOKE DELETE ON promotions, deployments, lint_waivers FROM {app}")
    op.execute(f"REVOKE UPDATE ON snapshots FROM {app}")
    _lifecycle("promotions", "a promotion", PROMOTION_FIRST, PROMOTION_TRANSITIONS,
               ("tenant_id", "id", "number", "kind", "source_environment_id", "source_snapshot_id", "target_environment_id",
                "options", "requested_by", "requested_through", "requested_at"))
    _lifecycle("deployments", "a deployment", DEPLOYMENT_FIRST, DEPLOYMENT_TRANSITIONS,
               ("tenant_id", "id", "source_environment_id", "target_environment_id", "options", "batch_id", "wave",
                "requested_by", "requested_at"))
    op.execute("""
        CREATE FUNCTION wfops_check_approved_plan() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.status = 'running' AND OLD.status <> 'running'
                    AND NEW.checksum IS DISTINCT FROM NEW.approved_checksum THEN
                RAISE EXCEPTION 'the plan is not the one that was approved'
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_promotions_approved_plan';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER approved_plan BEFORE UPDATE ON promotions
        FOR EACH ROW EXECUTE FUNCTION wfops_check_approved_plan()""")
    op.execute("""
        CREATE FUNCTION wfops_check_promotion_decision() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM promotions p WHERE p.tenant_id = NEW.tenant_id AND p.id = NEW.promotion_id
                       AND NEW.approve AND NEW.decided_by IN (p.requested_by, p.requested_through)) THEN
                RAISE EXCEPTION 'nobody approves a promotion that he or she asked for'
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_promotion_decisions_someone_else';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER someone_else BEFORE INSERT ON promotion_decisions
        FOR EACH ROW EXECUTE FUNCTION wfops_check_promotion_decision()""")


def guard_approval_requests() -> None:
    """What somebody asked to be approved of an incident is what is approved: the request never changes."""
    op.execute("""
        CREATE FUNCTION wfops_check_approval_request() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (NEW.tenant_id, NEW.id, NEW.incident_id, NEW.kind, NEW.arguments, NEW.requested_by, NEW.requested_at)
                    IS DISTINCT FROM (OLD.tenant_id, OLD.id, OLD.incident_id, OLD.kind, OLD.arguments, OLD.requested_by,
                                      OLD.requested_at) THEN
                RAISE EXCEPTION 'what was asked to be approved never changes'
                    USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'ck_drift_approvals_request';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER request BEFORE UPDATE ON drift_approvals
        FOR EACH ROW EXECUTE FUNCTION wfops_check_approval_request()""")


def unguard_promotions() -> None:
    """Undo :func:`guard_promotions`; the tables are dropped next."""
    op.execute("DROP TRIGGER someone_else ON promotion_decisions")
    op.execute("DROP FUNCTION wfops_check_promotion_decision()")
    op.execute("DROP TRIGGER approved_plan ON promotions")
    op.execute("DROP FUNCTION wfops_check_approved_plan()")
    for table in ("deployments", "promotions"):
        op.execute(f"DROP TRIGGER lifecycle ON {table}")
        op.execute(f"DROP FUNCTION wfops_check_{table}()")


def unguard_approval_requests() -> None:
    """Undo :func:`guard_approval_requests`."""
    op.execute("DROP TRIGGER request ON drift_approvals")
    op.execute("DROP FUNCTION wfops_check_approval_request()")


def _lifecycle(table: str, what: str, first: str, transitions: Mapping[str, tuple[str, ...]],
               fixed: tuple[str, ...]) -> None:
    pairs = ", ".join(f"('{before}', '{after}')" for before, follow in transitions.items() for after in follow)
    new, old = (", ".join(f"{row}.{column}" for column in fixed) for row in ("NEW", "OLD"))
    op.execute(f"""
        CREATE FUNCTION wfops_check_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                IF NEW.status <> '{first}' THEN
                    RAISE EXCEPTION '{what} begins {first}, not %', NEW.status
                        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_{table}_transition';
                END IF;
                RETURN NEW;
            END IF;
            IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN ({pairs}) THEN
                RAISE EXCEPTION '{what} that is % cannot become %', OLD.status, NEW.status
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_{table}_transition';
            END IF;
            IF ({new}) IS DISTINCT FROM ({old}) THEN
                RAISE EXCEPTION 'what {what} was asked for never changes'
                    USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'ck_{table}_request';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute(f"""
        CREATE TRIGGER lifecycle BEFORE INSERT OR UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION wfops_check_{table}()""")
