"""Use cases that need nothing but a target: each case against the sandbox and the real n8n of both generations
(``pytest.mark.n8n``)."""

from wfops_pipelines_tests.n8n.conformance.conftest import n8n, server

__all__ = ["n8n", "server"]
