"""What monitoring reads, across tenants: counts that an index or a small table gives, asked for a few times a minute."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

# Thousands of tenants are counted together within the database, where no figure is asked of each.
_ENVIRONMENTS = text("""
    SELECT CASE WHEN :tenants THEN t.slug END AS tenant, e.class, coalesce(e.drift_status, 'UNKNOWN') AS status,
           count(*) AS number
    FROM environments e JOIN tenants t ON t.tenant_id = e.tenant_id
    WHERE e.deleted_at IS NULL AND t.deleted_at IS NULL GROUP BY 1, 2, 3""")
_ERRORS = text("""
    SELECT coalesce(e.drift_reason, 'unknown') AS error, count(*) AS number FROM environments e
    WHERE e.deleted_at IS NULL AND e.drift_status = 'ERROR' GROUP BY 1""")
# What is gone keeps its rows, and so does what an environment read before: an instance, a branch.
_CIRCUITS = text("""
    SELECT c.state, count(*) AS number FROM instance_circuits c
    JOIN environments e ON e.tenant_id = c.tenant_id AND e.id = c.environment_id AND e.base_url = c.base_url
    WHERE e.deleted_at IS NULL GROUP BY 1""")
_DRIFTED = text("""
    SELECT d.kind, count(*) AS number FROM workflow_drift d
    JOIN environments e ON e.tenant_id = d.tenant_id AND e.id = d.environment_id WHERE e.deleted_at IS NULL GROUP BY 1""")
_INCIDENTS = text("""
    SELECT CASE WHEN :tenants THEN t.slug END AS tenant, i.severity, count(*) AS number,
           count(*) FILTER (WHERE i.expires_at <= :now) AS overdue
    FROM drift_incidents i JOIN tenants t ON t.tenant_id = i.tenant_id
    WHERE i.status NOT IN ('closed', 'cancelled') AND t.deleted_at IS NULL GROUP BY 1, 2""")
_PROMOTIONS = text("""
    SELECT CASE WHEN :tenants THEN t.slug END AS tenant, p.status, sum(p.number) AS number FROM tenants t JOIN (
        SELECT tenant_id, status, count(*) AS number FROM promotions GROUP BY 1, 2) p ON p.tenant_id = t.tenant_id
    WHERE t.deleted_at IS NULL GROUP BY 1, 2""")
# Tenant by tenant, since the index begins with the tenant: messages that were sent are many. Those to a target that is gone
# nobody can send any more, so nobody is to be told of them.
_OUTBOX = text("""
    SELECT s.status, coalesce(sum(o.number), 0) AS number FROM (VALUES ('pending'), ('dead')) AS s(status), tenants t,
    LATERAL (SELECT count(*) AS number FROM outbox m WHERE m.tenant_id = t.tenant_id AND m.status = s.status
             AND EXISTS (SELECT FROM notification_targets n WHERE n.tenant_id = m.tenant_id AND n.name = m.target)) o
    WHERE t.deleted_at IS NULL GROUP BY 1""")
_DELIVERIES = text("""
    SELECT count(*) FROM webhook_deliveries d JOIN tenants t ON t.tenant_id = d.tenant_id
    WHERE d.status = 'received' AND t.deleted_at IS NULL
    AND NOT EXISTS (SELECT FROM tenant_pauses p WHERE p.tenant_id = d.tenant_id AND p.resumed_at IS NULL)
    AND NOT EXISTS (SELECT FROM installation_pause WHERE resumed_at IS NULL)""")
_CHECKS = text("""
    SELECT e.tenant_id, e.id, e.last_drift_check_at, e.created_at,
           CASE WHEN c.base_url = e.base_url THEN c.probe_at END AS left_alone_until
    FROM environments e JOIN tenants t ON t.tenant_id = e.tenant_id
    LEFT JOIN instance_circuits c ON c.tenant_id = e.tenant_id AND c.environment_id = e.id
    WHERE e.deleted_at IS NULL AND t.deleted_at IS NULL AND e.repository_id IS NOT NULL AND e.class <> 'dev'""")
_RUNNING = text("""
    SELECT o.kind, count(*) AS number FROM environment_leases l
    JOIN operations o ON o.tenant_id = l.tenant_id AND o.id = l.operation_id
    WHERE l.released_at IS NULL AND o.state = 'running' GROUP BY 1""")
# The table only grows; the newest rows of an environment are found by its index, and those of none by the same. One that was
# created long ago and has ended now (it was gone on with, or took long) is the last that held its environment.
_ENDED = text("""
    SELECT o.id, o.kind, o.state, o.attempts, o.error_kind, o.started_at, o.ended_at, o.metrics
    FROM (SELECT tenant_id, id FROM environments UNION ALL SELECT tenant_id, NULL FROM tenants) AS e(tenant_id, id),
    LATERAL (SELECT * FROM operations WHERE tenant_id = e.tenant_id AND environment_id = e.id AND created_at >= :since
             UNION ALL SELECT * FROM operations WHERE e.id IS NULL AND tenant_id = e.tenant_id AND environment_id IS NULL
             AND created_at >= :since) o
    WHERE o.ended_at >= :ended
    UNION ALL
    SELECT o.id, o.kind, o.state, o.attempts, o.error_kind, o.started_at, o.ended_at, o.metrics
    FROM environment_leases l,
    LATERAL (SELECT * FROM operations WHERE tenant_id = l.tenant_id AND id = l.operation_id) o
    WHERE l.released_at >= :ended AND o.created_at < :since AND o.ended_at >= :ended""")
# A run's sweep may be several rows, one for each step on a Celery worker: together they are one sweep, which has ended when
# all of them have. When a row that died ended is not known, only when somebody saw that.
_SWEEPS = text("""
    SELECT coalesce(run_id, CAST(id AS text)) AS id, kind, max(ended_at) AS ended_at, jsonb_agg(counts) AS counts,
           CASE WHEN bool_or(state = 'failed') THEN 'failed' WHEN bool_or(state = 'died') THEN 'died' ELSE 'completed' END
           AS state,
           CAST(extract(epoch FROM max(ended_at) FILTER (WHERE state <> 'died') - min(started_at)) AS float) AS seconds
    FROM sweeps WHERE started_at >= :since GROUP BY 1, 2 HAVING bool_and(ended_at IS NOT NULL)""")
_LAST_SWEEPS = text("""
    SELECT DISTINCT ON (kind) kind, max(ended_at) AS ended_at,
           CAST(1000 * extract(epoch FROM max(ended_at) - min(started_at)) AS float) AS duration_ms, max(lag_ms) AS lag_ms,
           coalesce(CAST(sum(mean_lag_ms * visits) / nullif(sum(visits), 0) AS float), max(mean_lag_ms)) AS mean_lag_ms
    FROM sweeps, LATERAL (SELECT sum(CAST(value AS int)) AS visits FROM jsonb_each_text(counts)
                          WHERE key NOT IN ('skipped_taken', 'circuit_open')) v
    WHERE state <> 'died' AND started_at >= :since GROUP BY kind, coalesce(run_id, CAST(id AS text))
    HAVING bool_and(ended_at IS NOT NULL AND ended_at <= :until) ORDER BY kind, min(started_at) DESC""")


class ExpositionReads:
    """Counts of everything that is watched."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def environments(self, *, tenants: bool = False) -> list[Row[Any]]:
        """``class``, ``status``, ``number``; with ``tenants`` by ``tenant``, which is none otherwise."""
        return list(self._connection.execute(_ENVIRONMENTS, {"tenants": tenants}))

    def environment_errors(self) -> list[Row[Any]]:
        """``error`` (its kind), ``number``."""
        return list(self._connection.execute(_ERRORS))

    def circuits(self) -> list[Row[Any]]:
        """``state``, ``number`` of the instances that there are."""
        return list(self._connection.execute(_CIRCUITS))

    def drifted_workflows(self) -> list[Row[Any]]:
        """``kind``, ``number``."""
        return list(self._connection.execute(_DRIFTED))

    def incidents(self, now: datetime, *, tenants: bool = False) -> list[Row[Any]]:
        """Open ones: ``severity``, ``number``, and how many of them are ``overdue``; with ``tenants`` by ``tenant``."""
        return list(self._connection.execute(_INCIDENTS, {"now": now, "tenants": tenants}))

    def promotions(self, *, tenants: bool = False) -> list[Row[Any]]:
        """``status``, ``number``; with ``tenants`` by ``tenant``."""
        return list(self._connection.execute(_PROMOTIONS, {"tenants": tenants}))

    def outbox(self) -> list[Row[Any]]:
        """``status`` (pending, dead), ``number`` of messages to targets that there are."""
        return list(self._connection.execute(_OUTBOX))

    def waiting_deliveries(self) -> int:
        """Deliveries of webhooks that nobody acted on yet, but for those that wait for the end of a pause."""
        return int(self._connection.execute(_DELIVERIES).scalar_one())

    def last_checks(self) -> list[Row[Any]]:
        """Environments that the schedule checks: ``tenant_id``, ``id``, ``last_drift_check_at``, ``created_at``, and until
        when one that does not answer is left alone (``left_alone_until``)."""
        return list(self._connection.execute(_CHECKS))

    def running_operations(self) -> list[Row[Any]]:
        """``kind``, ``number`` of those that hold an environment."""
        return list(self._connection.execute(_RUNNING))

    def ended_operations(self, created: datetime, ended: datetime) -> list[Row[Any]]:
        """Operations that ended since then: those that were created since ``created``, and older ones that are the last that
        held their environment."""
        return list(self._connection.execute(_ENDED, {"since": created, "ended": ended}))

    def ended_sweeps(self, since: datetime) -> list[Row[Any]]:
        """Sweeps that began since then and ended, the steps of a run together: ``counts`` is a list, each step's;
        ``seconds`` it took, none where nobody knows."""
        return list(self._connection.execute(_SWEEPS, {"since": since}))

    def last_sweeps(self, since: datetime, until: datetime) -> list[Row[Any]]:
        """The newest sweep of each kind that ended by then, the steps of its run together."""
        return list(self._connection.execute(_LAST_SWEEPS, {"since": since, "until": until}))
