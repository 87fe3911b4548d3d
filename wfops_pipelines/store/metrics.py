"""The figures that alert rules look at (§16): one query each, of a tenant or of one of its environments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

_HERE: Final = ("e.tenant_id = :tenant AND e.deleted_at IS NULL"
                " AND (CAST(:environment AS uuid) IS NULL OR e.id = :environment)")
_OPEN: Final = "i.status NOT IN ('closed', 'cancelled')"
# What the last check that could see both sides found.
_FOUND: Final = "CASE WHEN e.drift_status = 'ERROR' THEN e.last_good_drift_status ELSE e.drift_status END"
_CHECKED: Final = "count(*) FILTER (WHERE e.last_drift_check_at IS NOT NULL)"
_NEVER_CHECKED: Final = "no environment has been checked for drift yet"
_NEVER_SYNCED: Final = "no environment has been synced yet"
_HOURS: Final = "extract(epoch FROM CAST(:now AS timestamptz) - {0}) / 3600.0"


# Nobody syncs dev but by hand, or where that is switched on (§24): it counts where a rule names it.
_SYNCED: Final = "e.class <> 'dev' OR e.id = :environment"
# Nothing is late on account of a pause (§20).
_RESTED: Final = ("(SELECT max(coalesce(p.resumed_at, CAST(:now AS timestamptz))) FROM (SELECT resumed_at FROM tenant_pauses"
                  " WHERE tenant_id = :tenant UNION ALL SELECT resumed_at FROM installation_pause) p)")


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure in its metric's unit, or why there is none."""

    value: float | None
    reason: str | None = None


def _of_environments(value: str, answers: str, missing: str, more: str = "") -> tuple[str, str]:
    """A figure over environments, that is one where ``answers`` counts any."""
    return f"SELECT {value}, {answers} FROM environments e {more} WHERE {_HERE}", missing  # noqa: S608 - our own parts


def _of_incidents(condition: str = "") -> tuple[str, str]:
    return (f"SELECT count(i.id), count(DISTINCT e.id) FROM environments e LEFT JOIN drift_incidents i"  # noqa: S608
            f" ON i.tenant_id = e.tenant_id AND i.environment_id = e.id AND {_OPEN}{condition} WHERE {_HERE}",
            "there are no environments")


def _of_outbox(value: str, condition: str) -> tuple[str, str]:
    return (f"SELECT {value}, CASE WHEN CAST(:environment AS uuid) IS NULL THEN 1 ELSE 0 END"  # noqa: S608
            f" FROM outbox o WHERE o.tenant_id = :tenant AND {condition}",
            "messages are counted for the whole tenant, not for an environment")


_DRIFT: Final = (" LEFT JOIN workflow_drift d ON d.tenant_id = e.tenant_id AND d.environment_id = e.id"
                 " AND d.kind <> 'unpublished_changes'")
_CHECKED_ONES: Final = "count(DISTINCT e.id) FILTER (WHERE e.last_drift_check_at IS NOT NULL)"

QUERIES: Final[dict[str, tuple[str, str]]] = {
    "drifted_environments": _of_environments(
        f"count(*) FILTER (WHERE {_FOUND} = 'DRIFT_DETECTED' OR EXISTS (SELECT FROM drift_incidents i"
        f" WHERE i.tenant_id = e.tenant_id AND i.environment_id = e.id AND {_OPEN}))", _CHECKED, _NEVER_CHECKED),
    "drifted_workflows": _of_environments("count(d.subject)", _CHECKED_ONES, _NEVER_CHECKED, _DRIFT),
    "drift_age": _of_environments(f"coalesce({_HOURS.format('min(d.since)')}, 0)", _CHECKED_ONES, _NEVER_CHECKED, _DRIFT),
    "open_incidents": _of_incidents(),
    **{f"open_incidents_{severity}": _of_incidents(f" AND i.severity = '{severity}'")
       for severity in ("critical", "high", "medium", "low")},
    "overdue_incidents": _of_incidents(" AND i.expires_at <= :now"),
    "failed_checks_in_a_row": _of_environments(
        "coalesce(max(failed.checks), 0)", _CHECKED, _NEVER_CHECKED,
        "LEFT JOIN LATERAL (SELECT sum(h.checks) AS checks FROM drift_check_history h WHERE h.tenant_id = e.tenant_id"
        " AND h.environment_id = e.id AND h.status = 'ERROR' AND h.last_at > coalesce((SELECT max(g.last_at)"
        " FROM drift_check_history g WHERE g.tenant_id = e.tenant_id AND g.environment_id = e.id"
        " AND g.status <> 'ERROR'), '-infinity')) failed ON true"),
    "environments_in_error": _of_environments("count(*) FILTER (WHERE e.drift_status = 'ERROR')", _CHECKED, _NEVER_CHECKED),
    "sync_age": _of_environments(
        f"max({_HOURS.format(f'greatest(coalesce(e.last_sync_at, e.created_at), {_RESTED})')}) FILTER (WHERE {_SYNCED})",
        f"count(*) FILTER (WHERE {_SYNCED})", "there are no environments that are synced by themselves"),
    "untracked_workflows": _of_environments(
        "count(m.id)", "count(DISTINCT e.id) FILTER (WHERE e.last_sync_at IS NOT NULL)", _NEVER_SYNCED,
        "LEFT JOIN workflow_env_map m ON m.tenant_id = e.tenant_id AND m.environment_id = e.id"
        " AND m.status = 'untracked' AND NOT m.archived"),
    "outbox_dead_letters": _of_outbox("count(*)", "o.status = 'dead'"),
    # One that was tried is due since it was written; one that was not, since it could go out.
    "outbox_age": _of_outbox(
        f"coalesce({_HOURS.format('min(CASE WHEN o.attempts > 0 THEN o.created_at ELSE o.not_before END)')}, 0)",
        "o.status = 'pending' AND (o.attempts > 0 OR o.not_before <= :now)"),
}


class Metrics:
    """A tenant's figures."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._read: dict[tuple[str, UUID | None, datetime], Figure] = {}

    def figure(self, metric: str, environment_id: UUID | None, now: datetime) -> Figure:
        """A figure as of ``now``, of an environment or the whole tenant; asked for once in a unit of work."""
        key = (metric, environment_id, now)
        if key not in self._read:
            self._read[key] = self._query(metric, environment_id, now)
        return self._read[key]

    def _query(self, metric: str, environment_id: UUID | None, now: datetime) -> Figure:
        if metric not in QUERIES:
            return Figure(None, f"this version knows no figure {metric!r}")
        query, missing = QUERIES[metric]
        value, answers = self._connection.execute(
            text(query), {"tenant": self._tenant_id, "environment": environment_id, "now": now}).one()
        return Figure(float(value)) if answers and value is not None else Figure(None, missing)
