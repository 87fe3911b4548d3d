"""The repository poll (§24): the safety net under push webhooks. One cheap request per repository and branch."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import dagster as dg

from wfops_pipelines.defs.cadence import sensor_status_of
from wfops_pipelines.defs.inventory.jobs import RefreshConfig, refresh_job
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.partitions import Key
from wfops_pipelines.defs.resources import ACTOR_TAG, Wfops
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.services.refresh import Part, Target
from wfops_pipelines.services.services import Services
from wfops_pipelines.settings import process_settings

_THREADS = 8


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll of one repository and branch said: its head, or the error that stood in the way."""

    targets: tuple[Target, ...]
    head: str | None
    error: str | None = None


def moved(polled: Sequence[Polled]) -> list[tuple[Target, str]]:
    """Environments whose branch stands elsewhere than at their last sync, with the head. The
    decision alone: the sensor fetches and emits."""
    return [(target, answer.head) for answer in polled if answer.head is not None
            for target in answer.targets if target.environment.git_commit != answer.head]


def poll(services: Services) -> list[Polled]:
    """Ask every repository once, several at a time, for the branches that environments read."""
    with services.store.system() as system:
        rows = [row for row in system.environments() if row.repository_id is not None]
    groups: dict[tuple[Any, ...], list[Target]] = {}
    contexts = {slug: services.context(slug, actor="system:repository_poll") for slug in {r.tenant_slug for r in rows}}
    for row in rows:
        target = Target(contexts[row.tenant_slug], row)
        groups.setdefault((row.tenant_id, row.repository_id, row.branch), []).append(target)
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda targets: _head(services, targets), groups.values()))


def _head(services: Services, targets: list[Target]) -> Polled:
    try:
        opened = services.repository_of(targets[0].context, targets[0].environment)
        if opened is None:
            return Polled(tuple(targets), None)
        repository, branch, _ = opened
        try:
            return Polled(tuple(targets), repository.head(branch))
        finally:
            repository.close()
    except WfopsError as error:  # one repository that is away is no reason not to look at the others
        return Polled(tuple(targets), None, f"{targets[0].name}: {error}")


@dg.sensor(name="repository_poll", job=refresh_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=max(10, process_settings().git_poll_interval_seconds),
           default_status=sensor_status_of(process_settings().git_poll_interval_seconds),
           description="Looks at the head of every repository's branch (WFOPS_GIT_POLL_INTERVAL_SECONDS, default 60) and "
                       "refreshes the environments of those that moved.")
def repository_poll(context: dg.SensorEvaluationContext, wfops: Wfops) -> Iterator[Any]:
    polled = poll(wfops.services)
    for error in (answer.error for answer in polled if answer.error is not None):
        context.log.warning(error)
    changed = moved(polled)
    if not changed:
        yield dg.SkipReason(f"no branch moved ({len(polled)} looked at)")
        return
    heads = sorted({head for _, head in changed})
    bucket = int(wfops.services.now().timestamp() // 600)  # a run that failed is asked for again, some minutes later
    config = RefreshConfig(
        partitions=[str(Key(t.context.tenant_slug, t.environment.slug)) for t, _ in changed],
        parts=[str(Part.REPOSITORY), str(Part.DIFF), str(Part.DRIFT)], check_type="scheduled")
    yield dg.RunRequest(run_key=f"push-{bucket}-{'-'.join(head[:12] for head in heads)}"[:250],
                        run_config=dg.RunConfig({"refresh_environments": config}),
                        tags={ACTOR_TAG: "system:repository_poll", "wfops/sweep": "push"})
