"""What an environment sync says it did (§6)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from wfops_pipelines.n8n.provider import KnownPage

MAX_PROBLEMS = 100  # details of malformed workflows that a result carries; the count is always whole


@dataclass
class EnvironmentSync:
    """What a sync did. ``linked``, ``untracked`` and ``ignored`` count the environment's workflows as they stand
    afterwards. ``missing`` are those gone from n8n that are news, or still expected: Git has them, or they are linked and
    nothing ended them; what is gone from n8n and from Git is told once. ``errors`` are workflows that could not be read.
    Durations in milliseconds."""

    environment: str
    operation_id: str
    seen: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    linked: int = 0
    untracked: int = 0
    ignored: int = 0
    missing: int = 0
    errors: int = 0
    errors_by_kind: dict[str, int] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)
    received_bytes: int = 0
    duration_ms: int = 0
    resumed: bool = False
    pages: list[KnownPage] = field(default_factory=list)  # by which the listing is known again; not shown

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` and metadata show it."""
        shown = asdict(self)
        del shown["pages"]
        return shown
