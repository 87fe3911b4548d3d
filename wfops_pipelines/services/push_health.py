"""Whether pushes are seen: what `wfops doctor` says of webhooks and of the poll."""

from __future__ import annotations

from wfops_pipelines.services.diagnose import Finding
from wfops_pipelines.services.push_dispatch import left_behind
from wfops_pipelines.services.services import Services

LEFT_SECONDS = 120.0  # then the poll has had its turn, too
_SHOWN = 5


def check_pushes(services: Services) -> Finding:
    """No delivery waits for a run, and the poll can read every branch. Asks the store alone."""
    left = left_behind(services, older_than=LEFT_SECONDS)
    if left.refused:
        return Finding("pushes", False, f"{len(left.refused)} environments wait for the refresh that a pause refused",
                       "does `wfops up`, or the daemon and the API, run?")
    with services.store.system() as system:
        signed, unreadable, unheard = system.pushes.signed(), system.pushes.unreadable(), system.pushes.unheard()
    if left.rows:
        return Finding("pushes", False, f"{len(left.rows)} deliveries of webhooks wait for a run since "
                                        f"{left.rows[0].received_at:%Y-%m-%d %H:%M:%S} UTC",
                       "is `wfops up` running? its API and the sensor repository_poll launch them")
    if unreadable:
        shown = "; ".join(f"{row.tenant_slug} {row.branch}: {row.error}, {row.failures} times since "
                          f"{row.failing_since:%Y-%m-%d %H:%M} UTC" for row in unreadable[:_SHOWN])
        more = f"; and {len(unreadable) - _SHOWN} more" if len(unreadable) > _SHOWN else ""
        return Finding("pushes", False, f"the poll cannot read {shown}{more}",
                       "is the repository there, and its token valid? `wfops doctor` asks each now, without --offline")
    silent = ""
    if unheard:
        shown = ", ".join(f"{row.tenant_slug} {row.name}" for row in unheard[:_SHOWN])
        more = f" and {len(unheard) - _SHOWN} more" if len(unheard) > _SHOWN else ""
        silent = (f" (of {shown}{more} no delivery is kept: where somebody pushes there, is the webhook active, and its "
                  "address that of fleet.yaml, also after a rename?)")
    return Finding("pushes", True,
                   f"{signed} repositories tell of pushes by webhook{silent}; the poll could read every branch")
