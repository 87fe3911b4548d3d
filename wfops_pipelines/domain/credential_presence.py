"""Whether a credential is in an environment (§11.5)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from wfops_pipelines.domain.gate_facts import CredentialUse, TargetCredential


class CredentialPresence(StrEnum):
    """Whether a credential is there; ``ambiguous``: several have its type and name."""

    PRESENT = "present"
    ABSENT = "absent"
    AMBIGUOUS = "ambiguous"


def find_credential(use: CredentialUse, present: Sequence[TargetCredential]) -> CredentialPresence:
    """Whether a credential is among those that are there: by its id, else by its name."""
    same_type = [there for there in present if there.type == use.type]
    if any(there.id == use.id for there in same_type):
        return CredentialPresence.PRESENT
    named = sum(there.name == use.name for there in same_type)
    return (CredentialPresence.ABSENT, CredentialPresence.PRESENT)[named] if named < 2 else CredentialPresence.AMBIGUOUS
