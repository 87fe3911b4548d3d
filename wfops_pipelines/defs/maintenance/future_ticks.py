"""Sensors and schedules that wait for a time that was there already: the clock of the host had gone wrong and was set back.

Dagster evaluates nothing before the last evaluation that it has noted. By how much the clock was set back, by so much all of
them rest, also when everything is started anew.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState, ScheduleInstigatorData, SensorInstigatorData

TOLERANCE = 60.0  # seconds that a time may lie ahead
_SENSOR_TIMES = ("last_tick_timestamp", "last_tick_start_timestamp", "last_sensor_start_timestamp",
                 "last_tick_success_timestamp")
_SCHEDULE_TIMES = ("start_timestamp", "last_iteration_timestamp")


def waiting_for_the_past(instance: dg.DagsterInstance, now: float) -> dict[str, float]:
    """Names of the sensors and schedules that were evaluated later than ``now`` (seconds since the epoch), and when."""
    latest = {state.instigator_name: max([*_times(state.instigator_data).values(), *_latest_tick(instance, state)],
                                         default=0.0) for state in instance.all_instigator_state()}
    return {name: at for name, at in sorted(latest.items()) if at > now + TOLERANCE}


def set_back_future_ticks(instance: dg.DagsterInstance, now: float) -> list[str]:
    """Note that what was evaluated later than ``now`` was evaluated now, and return the names. Dagster's daemon must not
    run meanwhile: it keeps times of schedules in its memory, and may be writing what is read here."""
    waiting = waiting_for_the_past(instance, now)
    for state in instance.all_instigator_state():
        if state.instigator_name not in waiting:
            continue
        if isinstance(state.instigator_data, ScheduleInstigatorData):  # ticks of sensors decide nothing
            for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, after=now + TOLERANCE):
                instance.update_tick(tick._replace(tick_data=tick.tick_data.with_status(tick.status, timestamp=now)))
        late = {name: now for name, at in _times(state.instigator_data).items() if at > now + TOLERANCE}
        if late and state.instigator_data is not None:
            data: Any = state.instigator_data
            instance.update_instigator_state(state.with_data(data._replace(**late)))
    return list(waiting)


def _times(data: Any) -> dict[str, float]:
    names = (_SENSOR_TIMES if isinstance(data, SensorInstigatorData)
             else _SCHEDULE_TIMES if isinstance(data, ScheduleInstigatorData) else ())
    return {name: at for name in names if (at := getattr(data, name)) is not None}


def _latest_tick(instance: dg.DagsterInstance, state: InstigatorState) -> list[float]:
    if not isinstance(state.instigator_data, ScheduleInstigatorData):
        return []
    return [tick.timestamp for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)]
