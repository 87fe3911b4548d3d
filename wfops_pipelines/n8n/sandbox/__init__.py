"""An in-memory n8n: its public API as an ASGI application, 2.x or 1.x, for the demo, tests and benchmarks.

Where it and n8n differ, it is wrong; a conversation recorded with real servers says where (``test_sandbox_recordings``).
It differs on purpose in two things: a workflow is activated without looking at what each of its nodes requires (n8n 2.x
refuses a publication over a missing credential or parameter), and it has the credential types of common use only.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from wfops_pipelines.n8n.sandbox.app import SandboxApp
from wfops_pipelines.n8n.sandbox.faults import Fault, Faults
from wfops_pipelines.n8n.sandbox.persistence import load, save
from wfops_pipelines.n8n.sandbox.seeding import SandboxState
from wfops_pipelines.n8n.sandbox.state import REGISTRATION_DELAY

__all__ = ["Fault", "Faults", "Sandbox", "SandboxState", "create_sandbox"]

_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Sandbox:
    """A sandbox: its application, what it holds, and what goes wrong on the way to it."""

    app: SandboxApp
    state: SandboxState
    faults: Faults
    generation: int
    api_key: str = field(repr=False)
    #: Writes the state to its file, if it has one and something changed.
    save: Callable[[], None] = field(repr=False, default=lambda: None)


def create_sandbox(*, generation: int = 2, api_key: str = "sandbox-key",
                   clock: Callable[[], datetime] = lambda: datetime.now(UTC), new_id: Callable[[], str] | None = None,
                   rng: random.Random | None = None, registration_delay: timedelta = REGISTRATION_DELAY,
                   control: bool = False, state_file: Path | None = None) -> Sandbox:
    """A new n8n of a generation (1 or 2), empty, or as ``state_file`` has kept it.

    ``new_id`` makes ids (16 letters and digits), ``rng`` UUIDs (and ids, unless ``new_id`` is given): with a seeded one the
    sandbox is the same each time. 2.x registers webhooks ``registration_delay`` of the clock after it has answered.
    ``control`` opens ``/_sandbox/faults`` and ``/_sandbox/seed`` to whoever can reach the server. ``state_file`` is written
    after each change.
    """
    source = rng or random.SystemRandom()
    state = SandboxState(generation=generation, clock=clock, rng=source, registration_delay=registration_delay,
                         new_id=new_id or (lambda: "".join(source.choices(_ALPHABET, k=16))))
    if state_file is not None and state_file.exists():
        load(state, state_file)
    saved = [state.changes]

    def save_changes() -> None:
        if state_file is not None and state.changes != saved[0]:
            save(state, state_file)
            saved[0] = state.changes

    faults = Faults()
    app = SandboxApp(state, faults, api_key, control=control, on_change=save_changes)
    return Sandbox(app, state, faults, generation, api_key, save_changes)
