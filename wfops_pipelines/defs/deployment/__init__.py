"""Deployments: promotions that start at their time (§12)."""
