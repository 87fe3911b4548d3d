"""Dagster: assets, checks, jobs, sensors and schedules, one folder an area."""
