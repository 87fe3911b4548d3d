"""Many sandboxes behind one loopback port: one server per test process, one path prefix per n8n."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from wfops_pipelines.n8n.sandbox import Sandbox, create_sandbox


@dataclass
class SandboxHost:
    """An ASGI application: ``/n1/…`` is the first n8n, ``/n2/…`` the next. ``requests`` counts calls per n8n."""

    url: str = ""
    sandboxes: dict[str, Sandbox] = field(default_factory=dict)
    requests: dict[str, list[str]] = field(default_factory=dict)
    _names: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def start_n8n(self, clock: Callable[[], datetime], *, generation: int = 2) -> tuple[Sandbox, str]:
        """A new, empty n8n and its URL."""
        name = f"n{next(self._names)}"
        sandbox = create_sandbox(generation=generation, api_key=f"key-of-{name}", clock=clock,
                                 rng=random.Random(name), registration_delay=timedelta())
        self.sandboxes[name], self.requests[name] = sandbox, []
        return sandbox, f"{self.url}/{name}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _, name, rest = scope["path"].split("/", 2)
        sandbox = self.sandboxes.get(name)
        if sandbox is None:
            await PlainTextResponse("no such n8n", 404)(scope, receive, send)
            return
        self.requests[name].append(f"{scope['method']} /{rest}")
        await sandbox.app({**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode(), "root_path": ""}, receive, send)
