"""Drift checks: the sweep, its schedule, and the checks on the report."""
