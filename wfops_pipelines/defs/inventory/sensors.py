"""The repository poll (§7, §24): the safety net under push webhooks, and who picks up what a receiver left behind."""

import threading
from collections.abc import Iterator
from typing import Any

import dagster as dg

from wfops_pipelines.defs.cadence import sensor_status_of
from wfops_pipelines.defs.inventory.jobs import refresh_job
from wfops_pipelines.defs.inventory.push_runs import config_of, runs_of, tags_of
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.domain import pushes
from wfops_pipelines.services.pausing import said_of_pauses
from wfops_pipelines.services.push_dispatch import Left, in_trouble, left_behind, note_launched
from wfops_pipelines.services.repository_poll import ACTOR, Moved, RepositoryPoll
from wfops_pipelines.services.services import Services
from wfops_pipelines.settings import process_settings

_SHORTEST_TICK, _LONGEST_TICK = 10, 30

_polls: dict[int, RepositoryPoll] = {}
"""The looks of this process, which may outlast a tick; by the services they use."""
_making = threading.Lock()


def tick_seconds(interval: int) -> int:
    """How often the sensor looks who is due: several times an interval, so that branches can be spread over it."""
    return max(_SHORTEST_TICK, min(interval // 4, _LONGEST_TICK))


def _poll_of(services: Services, interval: int) -> RepositoryPoll:
    with _making:
        found = _polls.get(id(services))
        if found is None:
            found = _polls[id(services)] = RepositoryPoll(services, shortest=interval)
        return found


@dg.sensor(name="repository_poll", job=refresh_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=tick_seconds(process_settings().git_poll_interval_seconds),
           default_status=sensor_status_of(process_settings().git_poll_interval_seconds),
           description="Looks at the head of each repository's branch (every WFOPS_GIT_POLL_INTERVAL_SECONDS, default 60, "
                       "for a few; up to 5 minutes for a thousand) and refreshes the environments of those that moved. "
                       "Launches what webhooks told and no run was launched for.")
def repository_poll(context: dg.SensorEvaluationContext, wfops: Wfops) -> Iterator[Any]:
    services = wfops.services
    looks = _poll_of(services, wfops.settings.git_poll_interval_seconds)
    poll = looks.tick()
    for error in poll.errors:
        context.log.warning(error)
    left = left_behind(services)
    runs = runs_of(context.instance)
    wanted: dict[pushes.Partition, Moved | None] = dict.fromkeys(left.partitions)
    wanted |= {(one.tenant, one.environment): one for one in poll.moved}
    asked = {partition for partition in wanted if pushes.covering(partition, runs) is None}
    slow = in_trouble(services) | {partition for partition, one in wanted.items() if one is not None and one.again}
    said = f"{poll.looked} of {poll.branches} branches looked at{said_of_pauses(services)}"
    if poll.unanswered:
        said += f", {poll.unanswered} not answered yet"
    _note(looks, services, [one for one in wanted.values() if one is not None], left)
    if not asked:
        yield dg.SkipReason(f"nothing to ask for ({said})")
        return
    for lane, partitions in pushes.by_lane(asked, runs, slow=slow).items():
        yield dg.RunRequest(run_config=dg.RunConfig({"refresh_environments": config_of(partitions, lane)}),
                            tags=tags_of(lane, ACTOR))


def _note(looks: RepositoryPoll, services: Services, moved: list[Moved], left: Left) -> None:
    """Before the run is asked for: if that fails, it is asked for again some minutes later."""
    looks.note_asked(moved)
    if left.waits:
        note_launched(services, left, {}, services.now())
