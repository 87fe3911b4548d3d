"""Cadences from settings (§24): seconds, 0 switches one off. Dagster's schedules tick at most once a minute."""

from datetime import datetime

import dagster as dg


def cron_of(seconds: int) -> str:
    """The cron expression that ticks often enough for an interval: every n minutes where that divides the hour, else
    every minute, and :func:`is_due` decides."""
    minutes = max(1, seconds // 60)
    return f"*/{minutes} * * * *" if minutes < 60 and 60 % minutes == 0 and minutes > 1 else "* * * * *"


def is_due(tick: datetime, seconds: int) -> bool:
    """Whether a tick is one of an interval: those whose minute since the epoch is a multiple of it."""
    if seconds <= 0:
        return False
    return int(tick.timestamp() // 60) % max(1, seconds // 60) == 0


def status_of(seconds: int) -> dg.DefaultScheduleStatus:
    """Running unless it is switched off."""
    return dg.DefaultScheduleStatus.RUNNING if seconds > 0 else dg.DefaultScheduleStatus.STOPPED


def sensor_status_of(seconds: int) -> dg.DefaultSensorStatus:
    """Running unless it is switched off."""
    return dg.DefaultSensorStatus.RUNNING if seconds > 0 else dg.DefaultSensorStatus.STOPPED
