"""Dagster: assets, checks, jobs, sensors and schedules, one folder an area.

Modules that define assets or ops do without ``from __future__ import annotations``: Dagster reads their annotations.
"""

import warnings

from dagster import BetaWarning, PreviewWarning

# Owners of jobs, schedules and sensors, and checks per partition, are marked beta; what they do here is covered by tests
# of this version, which is pinned.
warnings.filterwarnings("ignore", category=BetaWarning)
warnings.filterwarnings("ignore", category=PreviewWarning)
