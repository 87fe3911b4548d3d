"""The workflow matrix (§15), one partition a tenant."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from wfops_pipelines.defs.metadata import table
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.partitions import tenants
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import UnknownTenant
from wfops_pipelines.services.matrix import workflow_matrix as read_matrix
from wfops_pipelines.services.refresh import Part
from wfops_pipelines.services.services import Services


@dg.asset(name="workflow_matrix", partitions_def=tenants, group_name="observability", kinds={"python", "postgres"},
          owners=OWNERS, tags=TAGS, code_version="1", output_required=False, backfill_policy=dg.BackfillPolicy.single_run(),
          deps=[dg.AssetDep(str(part), partition_mapping=dg.MultiToSingleDimensionPartitionMapping("tenant"))
                for part in (Part.ENVIRONMENT, Part.DRIFT)],
          description="Canonical workflow × environment: status, hash, drift. From what the store holds.")
def workflow_matrix(context: dg.AssetExecutionContext, wfops: Wfops) -> Iterator[Any]:
    several = len(context.partition_keys) > 1
    for tenant in context.partition_keys:
        try:
            metadata = _matrix(wfops.services, wfops.context_of(tenant, context.run))
        except UnknownTenant:  # deleted while the run waited: the others are none the worse
            context.log.info(f"there is no tenant {tenant}: nothing to do")
            continue
        if several:  # one result of a range would stand on each of its partitions
            yield dg.AssetMaterialization("workflow_matrix", partition=tenant, metadata=metadata)
        else:
            yield dg.MaterializeResult(metadata=metadata)


def _matrix(services: Services, use: Context) -> dict[str, Any]:
    slugs = [row.slug for row in services.environments(use)]
    rows = read_matrix(services, use)
    return {
        "workflows": len(rows), **{f"in {slug}": sum(slug in row.environments for row in rows) for slug in slugs},
        **table("matrix", [{
            "workflow": visible(row.name), **{slug: _cell(row.environments.get(slug)) for slug in slugs},
            "canonical": (row.canonical_id or "untracked")[:8]} for row in rows])}


def _cell(cell: dict[str, object] | None) -> str:
    if cell is None:
        return ""
    drift = f", {cell['drift']}" if cell.get("drift") else ""
    return f"{cell['status']}{drift}"
