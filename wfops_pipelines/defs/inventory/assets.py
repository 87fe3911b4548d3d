"""The assets partitioned by tenant and environment (§24): what n8n holds, what Git holds, what differs, what drifted.

They are one computation that can be subset: per environment Git, n8n, comparison follow each other, and environments of
a range run side by side. Each is a partitioned asset of its own in the graph, and can be materialised alone.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import dagster as dg

from wfops_pipelines.defs import metadata
from wfops_pipelines.defs.failures import as_failure
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.partitions import Key, tenant_environments
from wfops_pipelines.defs.refreshing import (
    evaluations,
    key_of,
    materialization,
    refresh_targets,
    targets_of,
)
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.domain.errors import Blocked
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.services.refresh import Outcome, Part

BACKFILL_TAG = "dagster/backfill"  # what Dagster gives each run of one
CODE_VERSION = f"normalizer-{NORMALIZER_VERSION}"


def _spec(part: Part, group: str, kinds: set[str], description: str, deps: list[Part] | None = None) -> dg.AssetSpec:
    return dg.AssetSpec(
        str(part), description=description, group_name=group, kinds=kinds, owners=OWNERS, tags=TAGS,
        code_version=CODE_VERSION, deps=[str(d) for d in deps or []], skippable=True,
    )


SPECS = [
    _spec(Part.REPOSITORY, "inventory", {"git", "postgres"},
          "The environment's folder in Git: which canonical workflows it holds, at which commit. An unchanged head costs "
          "one request. Files that are no workflows are listed with path and reason."),
    _spec(Part.ENVIRONMENT, "inventory", {"n8n", "postgres"},
          "The environment's workflows in n8n: content, live and draft, hashes, links to canonical workflows. A listing "
          "that cannot be read whole fails and changes nothing that it did not see."),
    _spec(Part.DIFF, "inventory", {"python", "postgres"},
          "Reconciliation: for each pipeline stage into this environment, every canonical workflow as added, modified, "
          "target_hotfix, conflict, target_only or unchanged, with its semantic diff.",
          [Part.ENVIRONMENT, Part.REPOSITORY]),
    _spec(Part.DRIFT, "drift", {"python", "postgres"},
          "Drift: live content against Git. Materialised alone it compares what the store holds and says how old that is; "
          "with its upstream assets it refreshes both sides first.", [Part.ENVIRONMENT, Part.REPOSITORY]),
]
ORDER = [Part(spec.key.to_user_string()) for spec in SPECS]


@dg.multi_asset(
    name="refresh_environment", specs=SPECS, partitions_def=tenant_environments, can_subset=True,
    backfill_policy=dg.BackfillPolicy.single_run(), op_tags=TAGS,
)
def environment_assets(context: dg.AssetExecutionContext, wfops: Wfops) -> Iterator[Any]:
    parts = {Part(key.to_user_string()) for key in context.selected_asset_keys}
    keys = [Key.parse(key) for key in context.partition_keys]
    targets, absent = targets_of(wfops, context.run, keys, step=context.op_execution_context.op.name)
    if absent:
        context.log.info(f"no environment stands behind {', '.join(map(str, absent))}: nothing to do")
        if BACKFILL_TAG in context.run.tags:
            yield from _nothing(context, parts, absent)
    outcomes = refresh_targets(wfops, context.log, targets, parts, check_type="manual")
    for evaluation in evaluations(outcomes):
        context.log_event(evaluation)
    if len(keys) == 1:
        yield from _single(context, wfops, outcomes)
    else:
        yield from (materialization(outcome, wfops) for outcome in outcomes if _succeeded(outcome))


def _nothing(context: dg.AssetExecutionContext, parts: Collection[Part], absent: Sequence[Key]) -> Iterator[Any]:
    """A backfill takes what it asked for and did not get for failed, and asks for every pair of a tenant and an environment
    that anybody has: the pairs that are none have their event, which says so."""
    metadata = {"environment": "there is none: nothing was read"}
    for part in sorted(parts, key=ORDER.index):
        if len(context.partition_keys) == 1:
            yield dg.MaterializeResult(asset_key=str(part), metadata=metadata)
        else:
            yield from (dg.AssetMaterialization(str(part), partition=str(key), metadata=metadata) for key in absent)


def _single(context: dg.AssetExecutionContext, wfops: Wfops, outcomes: list[Outcome]) -> Iterator[Any]:
    """One partition: outputs in topological order, and a failure when something failed."""
    for outcome in sorted(outcomes, key=lambda o: ORDER.index(o.part)):
        if _succeeded(outcome):
            yield dg.MaterializeResult(asset_key=str(outcome.part), metadata=metadata.of_outcome(outcome, wfops.services))
    failed = [o.error for o in outcomes if o.error is not None]
    if failed:
        blocked = [e for e in failed if isinstance(e, Blocked)]
        raise as_failure((blocked or failed)[0])
    if not outcomes:
        context.log.info("nothing was materialised")


def _succeeded(outcome: Outcome) -> bool:
    """A drift report of an environment that could not be read is a report: it says ERROR."""
    return outcome.result is not None


__all__ = ["CODE_VERSION", "SPECS", "environment_assets", "key_of"]
