"""Names of tags on Dagster's runs (§24): whose a run is, what it works on, how the queue treats it.

They stand here, and not in the Dagster room, for the command line: it names them without loading Dagster.
"""

from __future__ import annotations

from typing import Final

TENANT_TAG: Final = "wfops/tenant"  # the queue is fair between its values (dagster.yaml)
ENVIRONMENT_TAG: Final = "wfops/environment"
TARGET_TAG: Final = "wfops/target"  # tenant/environment: the queue lets one run at a time have a value
SOURCE_TAG: Final = "wfops/source"
INCIDENT_TAG: Final = "wfops/incident"
PROMOTION_TAG: Final = "wfops/promotion"
DEPLOYMENT_TAG: Final = "wfops/deployment"
BATCH_TAG: Final = "wfops/batch"
SWEEP_TAG: Final = "wfops/sweep"  # which sweep: the queue lets one at a time have a value
DUE_TAG: Final = "wfops/due"  # how many environments were, when it was asked for
REQUEST_TAG: Final = "wfops/request"  # what was asked for: the same is not queued twice
PRIORITY_TAG: Final = "dagster/priority"
NEVER_AGAIN: Final = {"dagster/max_retries": "0"}
"""Of runs that Dagster does not try again: whoever holds the environment next finishes what a dead one left."""
