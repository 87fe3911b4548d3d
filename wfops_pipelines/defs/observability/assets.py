"""The workflow matrix (§15), one partition a tenant."""

import dagster as dg
import pandas as pd

from wfops_pipelines.defs.metadata import table
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.partitions import tenants
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.services.matrix import workflow_matrix as read_matrix
from wfops_pipelines.services.refresh import Part


@dg.asset(name="workflow_matrix", partitions_def=tenants, group_name="observability", kinds={"pandas", "postgres"},
          owners=OWNERS, tags=TAGS, code_version="1", backfill_policy=dg.BackfillPolicy.single_run(),
          deps=[dg.AssetDep(str(part), partition_mapping=dg.MultiToSingleDimensionPartitionMapping("tenant"))
                for part in (Part.ENVIRONMENT, Part.DRIFT)],
          description="Canonical workflow × environment: status, hash, drift. From what the store holds.")
def workflow_matrix(context: dg.AssetExecutionContext, wfops: Wfops) -> dg.MaterializeResult[None]:
    rows = []
    for tenant in context.partition_keys:
        use = wfops.context_of(tenant, context.run)
        for row in read_matrix(wfops.services, use):
            cells = {slug: _cell(cell) for slug, cell in row.environments.items()}
            rows.append({"workflow": row.name, "canonical": (row.canonical_id or "untracked")[:8], **cells})
    frame = pd.DataFrame(rows)
    counts = {} if frame.empty else frame.drop(columns=["workflow", "canonical"]).notna().sum().to_dict()
    return dg.MaterializeResult(metadata={
        "workflows": len(frame), **{f"in {slug}": int(n) for slug, n in counts.items()}, **table("matrix", rows)})


def _cell(cell: dict[str, object]) -> str:
    drift = f", {cell['drift']}" if cell.get("drift") else ""
    return f"{cell['status']}{drift}"
