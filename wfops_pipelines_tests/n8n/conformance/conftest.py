"""Each case runs against the sandbox as 2.x and as 1.x, and against a real n8n 2.41.1 and 1.123.81 (mark ``n8n``).

Where the sandbox and n8n differ, the sandbox is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from wfops_pipelines_tests.n8n.conformance.target import Target
from wfops_pipelines_tests.servers.asgi import serve

_TARGETS = [
    "sandbox-2",
    "sandbox-1",
    pytest.param("n8n-2", marks=[pytest.mark.n8n, pytest.mark.xdist_group("n8n2")]),
    pytest.param("n8n-1", marks=[pytest.mark.n8n, pytest.mark.xdist_group("n8n1")]),
]


@pytest.fixture(scope="session", params=_TARGETS)
def server(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A server for the session, with what earlier cases left behind in its counters but not in its data."""
    kind, _, generation = request.param.partition("-")
    if kind == "n8n":
        real = request.getfixturevalue(f"n8n_v{generation}")
        yield from _target(request.param, int(generation), real.url, real.api_key)
        return
    from wfops_pipelines.n8n.sandbox import create_sandbox  # noqa: PLC0415 - the real ones need no sandbox

    sandbox = create_sandbox(generation=int(generation), api_key="sandbox-key")
    with serve(sandbox.app) as url:
        yield from _target(request.param, int(generation), url, "sandbox-key")


def _target(name: str, generation: int, url: str, api_key: str) -> Iterator[Target]:
    with httpx.Client(base_url=url, headers={"x-n8n-api-key": api_key}, trust_env=False, timeout=60) as http:
        yield Target(name, generation, url, api_key, http)


@pytest.fixture
def n8n(server: Target) -> Iterator[Target]:
    """The server under test; what the case makes is deleted afterwards."""
    yield server
    server.clean_up()
