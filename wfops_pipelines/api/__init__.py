"""The HTTP API (§21): so far, where webhooks arrive."""
