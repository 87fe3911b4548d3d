"""Servers that several rooms of tests start."""

pytest_plugins = ["wfops_pipelines_tests.servers.n8n", "wfops_pipelines_tests.servers.postgres"]
