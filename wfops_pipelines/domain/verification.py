"""What is looked at in the target after a promotion (§11.1): the part of a stage's rules that the store keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Verification:
    """What has to be so in the target once a promotion has written.

    ``webhooks``: every webhook of what was promoted is registered; ``triggers``: every other trigger is. ``smoke_workflow``
    is the name of a workflow of the target that is executed and has to succeed. All of it within ``timeout_seconds``;
    ``rollback_on_failure`` says whether the promotion is rolled back where it is not so. Without any of it nothing is
    verified (:attr:`asks_for_something`).
    """

    webhooks: bool = False
    triggers: bool = False
    smoke_workflow: str | None = None
    timeout_seconds: int = 60
    rollback_on_failure: bool = False

    @property
    def asks_for_something(self) -> bool:
        """Whether there is anything to look at."""
        return self.webhooks or self.triggers or self.smoke_workflow is not None

    def as_json(self) -> dict[str, Any]:
        """As :meth:`from_json` takes it, and as ``--json`` shows it."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What is stored with a stage; what is not said has its default. Fields of a later version are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})
