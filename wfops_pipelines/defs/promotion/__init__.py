"""Promotions, rollbacks and recovery (§11)."""
