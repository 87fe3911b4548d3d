"""Snapshots of environments (§13)."""
