"""What the database keeps as it is of promotions, the decisions about them, deployments and snapshots (§11, §12, §13, §19).

The lifecycles are those of :mod:`~wfops_pipelines.store.migrations.promotions`. Here is what goes with them: a promotion is
approved by as many people as its stage asked for when it was asked for; its plan never changes; once it has ended, only
what follows from its end is added; what was decided is decided.
"""

from __future__ import annotations

from collections.abc import Collection

from alembic import op

from wfops_pipelines.store.migrations.security import roles

# The statuses of the domain (domain.promotion, domain.deployment); a test compares them.
PROMOTION_ENDED = ("blocked", "cancelled", "completed", "completed_with_errors", "failed", "rejected", "rolled_back")
DEPLOYMENT_ENDED = ("cancelled", "completed", "failed")
_REACHED_N8N = ("completed", "completed_with_errors", "rolled_back")  # Git follows these

# What changes of a promotion that has ended. Everything else is as it was, columns of later revisions too.
WITH_A_ROLLBACK = ("status", "changed_at", "ended_at", "reason", "results", "rollback_incomplete", "git_status")
FOLLOWING_THE_END = ("changed_at", "results", "git_status", "git_commit", "git_pull_request", "git_error")
FORGOTTEN = ("pre_snapshot_id", "post_snapshot_id")  # by retention: they become null
_RESULTS_OF_A_ROLLBACK = ("workflows", "verification", "drift_status")
_RESULTS_AFTERWARDS = ("drift_status",)

# What is set once, by the step that it belongs to.
_ONCE = ("operation_id", "run_id", "started_at", *FORGOTTEN)
_DENIED = "insufficient_privilege"


def freeze_promotions() -> None:
    """Approvals are counted, plans stay, and the record of what has ended stays."""
    op.execute("""
        CREATE FUNCTION wfops_people(VARIADIC names text[]) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
            SELECT coalesce(array_agg(lower(btrim(name, E' \\t\\r\\n'))), '{}') FROM unnest(names) AS name
            WHERE btrim(name, E' \\t\\r\\n') <> ''
        $$""")
    _ask_the_stage()
    _record()
    _decisions()


def thaw_promotions() -> None:
    """Undo :func:`freeze_promotions`."""
    op.execute("DROP TRIGGER standing ON promotion_decisions")
    op.execute("DROP FUNCTION wfops_check_standing_decision()")
    op.execute("DROP TRIGGER record ON promotions")
    op.execute("DROP FUNCTION wfops_check_promotion_record()")
    op.execute("DROP TRIGGER asked ON promotions")
    op.execute("DROP FUNCTION wfops_ask_promotion_stage()")
    op.execute("DROP FUNCTION wfops_people(text[])")


def _ask_the_stage() -> None:
    """How many have to approve is what the stage says at the moment of the request, whoever writes the row."""
    op.execute("""
        CREATE FUNCTION wfops_ask_promotion_stage() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.approvers := greatest(NEW.approvers, (
                SELECT max(s.approvers) FROM pipeline_stages s WHERE s.tenant_id = NEW.tenant_id
                AND s.source_environment_id = NEW.source_environment_id
                AND s.target_environment_id = NEW.target_environment_id));
            IF NEW.approved_checksum IS NOT NULL THEN
                RAISE EXCEPTION 'nobody has approved a promotion that begins'
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_promotions_approvals';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER asked BEFORE INSERT ON promotions
        FOR EACH ROW EXECUTE FUNCTION wfops_ask_promotion_stage()""")


def _record() -> None:
    """Fires after the lifecycle's trigger (by name), so that what is no step is told as that."""
    op.execute(f"""
        CREATE FUNCTION wfops_check_promotion_record() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            moved boolean := NEW.status <> OLD.status;
            ended boolean := OLD.status IN ({_listed(PROMOTION_ENDED)});
            changed text[];
            approvals integer;
        BEGIN
            IF {_differ(("checksum", "pipeline", "approvers"))}
                    OR NEW.approved_checksum IS DISTINCT FROM OLD.approved_checksum
                        AND NOT (moved AND NEW.status = 'approved')
                    OR NEW.plan IS DISTINCT FROM OLD.plan AND NOT (moved AND NEW.status = 'running'
                        AND NEW.plan ->> 'checksum' IS NOT DISTINCT FROM NEW.checksum) THEN
                {_refuse("the plan that a promotion was asked for with never changes", _DENIED, "ck_promotions_plan")}
            END IF;
            IF moved AND NEW.status IN ('approved', 'running') THEN
                IF NEW.approved_checksum IS DISTINCT FROM NEW.checksum THEN
                    {_refuse("the plan is not the one that was approved", "check_violation",
                             "ck_promotions_approved_plan")}
                END IF;
                SELECT CASE WHEN bool_and(d.approve) THEN count(DISTINCT lower(btrim(d.decided_by))) ELSE 0 END
                    INTO approvals FROM promotion_decisions d
                    WHERE d.tenant_id = NEW.tenant_id AND d.promotion_id = NEW.id AND d.checksum = NEW.checksum
                    AND NOT (d.approve AND wfops_people(d.decided_by, d.decided_through)
                             && wfops_people(NEW.requested_by, NEW.requested_through));
                IF coalesce(approvals, 0) < NEW.approvers THEN
                    RAISE EXCEPTION '% of % approvals of this plan are there', coalesce(approvals, 0), NEW.approvers
                        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_promotions_approvals';
                END IF;
            END IF;
            IF NOT ended THEN
                IF NEW.gates IS DISTINCT FROM OLD.gates AND NOT (moved AND NEW.status IN ('running', 'blocked'))
                        OR NEW.results IS DISTINCT FROM OLD.results AND NOT (moved AND OLD.status = 'running')
                        OR {" OR ".join(f"(OLD.{name} IS NOT NULL AND NEW.{name} IS DISTINCT FROM OLD.{name})"
                                        for name in _ONCE)} THEN
                    {_refuse("what a step of a promotion recorded never changes", _DENIED, "ck_promotions_record")}
                END IF;
                RETURN NEW;
            END IF;
            SELECT array_agg(is_now.key) INTO changed FROM jsonb_each(to_jsonb(NEW)) AS is_now
                JOIN jsonb_each(to_jsonb(OLD)) AS was USING (key) WHERE is_now.value IS DISTINCT FROM was.value;
            IF NEW.pre_snapshot_id IS NULL AND NOT (OLD.status = 'failed' AND OLD.rollback_incomplete) THEN
                changed := array_remove(changed, 'pre_snapshot_id');
            END IF;
            IF NEW.post_snapshot_id IS NULL THEN
                changed := array_remove(changed, 'post_snapshot_id');
            END IF;
            IF moved AND changed <@ {_array(WITH_A_ROLLBACK)}
                    AND NEW.rollback_incomplete <= OLD.rollback_incomplete
                    AND {_same_results(_RESULTS_OF_A_ROLLBACK)} THEN
                RETURN NEW;
            END IF;
            IF NOT moved AND (changed IS NULL OR changed = '{{}}' OR OLD.status IN ({_listed(_REACHED_N8N)})
                    AND changed <@ {_array(FOLLOWING_THE_END)} AND {_same_results(_RESULTS_AFTERWARDS)}) THEN
                RETURN NEW;
            END IF;
            {_refuse("the record of a promotion that has ended never changes", _DENIED, "ck_promotions_ended")}
        END $$""")  # noqa: S608 - names and words of this module
    op.execute("""
        CREATE TRIGGER record BEFORE UPDATE ON promotions
        FOR EACH ROW EXECUTE FUNCTION wfops_check_promotion_record()""")


def _decisions() -> None:
    """Decided is what waits for it, of the plan that it has, once by each, under whatever identity. The promotion's row is
    locked, so that of two decisions at once the second one sees the first."""
    op.execute(f"""
        CREATE FUNCTION wfops_check_standing_decision() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            asked promotions%ROWTYPE;
            deciding text[] := wfops_people(NEW.decided_by, NEW.decided_through);
        BEGIN
            SELECT * INTO asked FROM promotions p WHERE p.tenant_id = NEW.tenant_id AND p.id = NEW.promotion_id FOR UPDATE;
            IF NOT FOUND THEN
                RETURN NEW;  -- which the foreign key refuses, or row-level security
            END IF;
            IF asked.status <> 'pending_approval' THEN
                RAISE EXCEPTION 'a promotion that is % waits for no decision', asked.status
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_promotion_decisions_waiting';
            END IF;
            IF NEW.checksum IS DISTINCT FROM asked.checksum THEN
                {_refuse("what is decided on is not the plan of the promotion", "check_violation",
                         "ck_promotion_decisions_plan")}
            END IF;
            IF NEW.approve AND deciding && wfops_people(asked.requested_by, asked.requested_through) THEN
                {_refuse("nobody approves a promotion that he or she asked for", "check_violation",
                         "ck_promotion_decisions_someone_else")}
            END IF;
            IF EXISTS (SELECT FROM promotion_decisions d WHERE d.tenant_id = NEW.tenant_id
                       AND d.promotion_id = NEW.promotion_id
                       AND wfops_people(d.decided_by, d.decided_through) && deciding) THEN
                {_refuse("nobody decides twice about a plan", "check_violation", "ck_promotion_decisions_once")}
            END IF;
            RETURN NEW;
        END $$""")  # noqa: S608 - names and words of this module
    op.execute("""
        CREATE TRIGGER standing BEFORE INSERT ON promotion_decisions
        FOR EACH ROW EXECUTE FUNCTION wfops_check_standing_decision()""")


def freeze_deployments() -> None:
    """A deployment that has ended says for good how, and what became of each workflow."""
    app, _ = roles()
    op.execute(f"REVOKE DELETE ON deployment_workflows FROM {app}")
    op.execute(f"""
        CREATE FUNCTION wfops_check_deployment_record() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.status IN ({_listed(DEPLOYMENT_ENDED)}) AND NEW IS DISTINCT FROM OLD THEN
                {_refuse("the record of a deployment that has ended never changes", _DENIED, "ck_deployments_ended")}
            END IF;
            IF {_differ(("batch_member", "batch_waves"))}
                    OR OLD.promotion_id IS NOT NULL AND NEW.promotion_id IS DISTINCT FROM OLD.promotion_id THEN
                {_refuse("what a deployment belongs to never changes", _DENIED, "ck_deployments_record")}
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER record BEFORE UPDATE ON deployments
        FOR EACH ROW EXECUTE FUNCTION wfops_check_deployment_record()""")
    op.execute(f"""
        CREATE FUNCTION wfops_check_deployment_result() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM deployments d WHERE d.status IN ({_listed(DEPLOYMENT_ENDED)}) AND (
                       d.tenant_id = NEW.tenant_id AND d.id = NEW.deployment_id
                       OR d.tenant_id = OLD.tenant_id AND d.id = OLD.deployment_id)) THEN
                {_refuse("the record of a deployment that has ended never changes", _DENIED,
                         "ck_deployment_workflows_ended")}
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER record BEFORE INSERT OR UPDATE ON deployment_workflows
        FOR EACH ROW EXECUTE FUNCTION wfops_check_deployment_result()""")


def thaw_deployments() -> None:
    """Undo :func:`freeze_deployments`."""
    app, _ = roles()
    op.execute("DROP TRIGGER record ON deployment_workflows")
    op.execute("DROP FUNCTION wfops_check_deployment_result()")
    op.execute("DROP TRIGGER record ON deployments")
    op.execute("DROP FUNCTION wfops_check_deployment_record()")
    op.execute(f"GRANT DELETE ON deployment_workflows TO {app}")


def freeze_snapshots() -> None:
    """What a snapshot holds never changes: neither its row, which nobody may update since 0006, nor the payloads that it
    names. Retention removes it, but never what was taken by hand, nor the newest of an environment."""
    app, _ = roles()
    op.execute(f"REVOKE UPDATE ON payloads FROM {app}")
    check_snapshots(purging_deleted=False)
    op.execute("""
        CREATE TRIGGER record BEFORE UPDATE OR DELETE ON snapshots
        FOR EACH ROW EXECUTE FUNCTION wfops_check_snapshot()""")


def check_snapshots(*, purging_deleted: bool) -> None:
    """The function of the trigger on snapshots; with ``purging_deleted`` (since 0016) the newest of an environment that was
    deleted goes, too."""
    living = """EXISTS (SELECT FROM environments e WHERE e.tenant_id = OLD.tenant_id
                        AND e.id = OLD.environment_id AND e.deleted_at IS NULL) AND """ if purging_deleted else ""
    op.execute(f"""
        CREATE OR REPLACE FUNCTION wfops_check_snapshot() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                RAISE EXCEPTION 'a snapshot never changes'
                    USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'ck_snapshots_record';
            END IF;
            IF EXISTS (SELECT FROM tenants t WHERE t.tenant_id = OLD.tenant_id AND t.deleted_at IS NULL)
                    AND (OLD.kind = 'manual_backup' OR {living}NOT EXISTS (
                        SELECT FROM snapshots s WHERE s.tenant_id = OLD.tenant_id AND s.environment_id = OLD.environment_id
                        AND (s.taken_at, s.id) > (OLD.taken_at, OLD.id))) THEN
                RAISE EXCEPTION 'a snapshot that was taken by hand, and the newest of an environment, stay'
                    USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'ck_snapshots_kept';
            END IF;
            RETURN OLD;
        END $$""")  # noqa: S608 - our own words


def thaw_snapshots() -> None:
    """Undo :func:`freeze_snapshots`."""
    app, _ = roles()
    op.execute("DROP TRIGGER record ON snapshots")
    op.execute("DROP FUNCTION wfops_check_snapshot()")
    op.execute(f"GRANT UPDATE ON payloads TO {app}")


def _refuse(words: str, code: str, constraint: str) -> str:
    return f"RAISE EXCEPTION '{words}' USING ERRCODE = '{code}', CONSTRAINT = '{constraint}';"


def _differ(columns: Collection[str]) -> str:
    new, old = (", ".join(f"{row}.{column}" for column in columns) for row in ("NEW", "OLD"))
    return f"({new}) IS DISTINCT FROM ({old})"


def _same_results(but: Collection[str]) -> str:
    new, old = (f"coalesce({row}.results, '{{}}') - {_array(but)}" for row in ("NEW", "OLD"))
    return f"{new} IS NOT DISTINCT FROM {old}"


def _listed(words: Collection[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def _array(words: Collection[str]) -> str:
    return f"ARRAY[{_listed(words)}]"
