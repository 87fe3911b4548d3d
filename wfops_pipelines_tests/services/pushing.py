"""Given: repositories that sign their webhooks, deliveries of them, and a queue that only writes down."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wfops_pipelines.domain.pushes import Partition, RefreshRun, signature_of
from wfops_pipelines.services.push_delivery import Delivery
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet

RECORDED: Mapping[str, Any] = json.loads((Path(__file__).parents[1] / "api" / "github_payloads.json").read_text())
URL = "https://github.com/Codertocat/Hello-World.git"
SECRET = "a secret of acme"
A, B, NONE = "a" * 40, "b" * 40, "0" * 40


def signing_fleet(new_fleet: NewFleet, slugs: Any = ("dev", "prod"), *, url: str = URL, **options: Any) -> FleetUnderTest:
    """A tenant whose repository is on GitHub, branch master, and signs with :data:`SECRET`."""
    fleet = new_fleet(slugs, repository_url=url, repository_options={"branch": "master"}, **options)
    sign(fleet)
    return fleet


def sign(fleet: FleetUnderTest, secret: str = SECRET) -> None:
    """The repository's webhooks are signed from now on."""
    fleet.secrets["HOOK"] = secret
    fleet.tenant["repository"]["webhook_secret"] = "env:HOOK"
    fleet.apply()


def push_document(*paths: str, url: str = URL, branch: str = "master", before: str = A, after: str = B,
                  **changes: Any) -> dict[str, Any]:
    """GitHub's event ``push`` with one commit that touched these paths."""
    return {"ref": f"refs/heads/{branch}", "before": before, "after": after, "created": before == NONE,
            "deleted": after == NONE, "forced": False, "repository": {"full_name": "x/y", "clone_url": url},
            "commits": [{"id": after, "added": [], "removed": [], "modified": list(paths)}] if paths else [], **changes}


def delivered(document: Any, *, secret: str = SECRET, event: str = "push", delivery_id: str | None = None,
              hook_id: str = "1", signature: str | None = None) -> Delivery:
    """A delivery as it arrives."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Delivery(event, delivery_id or str(uuid.uuid4()), hook_id,
                    signature_of(secret, body) if signature is None else signature, body)


@dataclass
class NotedQueue:
    """Runs as a test says; what is submitted is queued."""

    queued: list[RefreshRun] = field(default_factory=list)
    error: Exception | None = None
    submitted: list[frozenset[Partition]] = field(default_factory=list)

    def runs(self) -> list[RefreshRun]:
        if self.error is not None:
            raise self.error
        return list(self.queued)

    def submit(self, partitions: Collection[Partition], *, lane: str) -> str:
        if self.error is not None:
            raise self.error
        run = RefreshRun(f"run-{len(self.submitted)}", True, lane, frozenset(partitions))
        self.queued.append(run)
        self.submitted.append(run.partitions)
        return run.run_id

    def start(self) -> None:
        """What was queued works."""
        self.queued = [RefreshRun(run.run_id, False, run.lane, run.partitions) for run in self.queued]


def deliveries(fleet: FleetUnderTest) -> list[Any]:
    """What a tenant has kept, the newest first."""
    found: list[Any] = fleet.reading(lambda work: work.pushes.deliveries())
    return found
