"""Who a run acts for (§2.2, §2.3).

Anybody who may start a run may set its tags, and starting one again copies them. So a tag alone proves nobody: whoever
starts a run for a person puts a proof beside the name, made with a key of the installation and good for that run alone.
A name without one acts as ``dagster-ui``. Sweeps name themselves ``system:…``: no person, and nobody who may decide.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

ACTOR_TAG, PROOF_TAG = "wfops/actor", "wfops/actor_proof"
UI_ACTOR = "dagster-ui"
EVEN_PAUSED_TAG = "wfops/even_paused"  # a person begins this run although the tenant is paused; sweeps never do
SYSTEM = "system:"


def actor_tags(actor: str, run_id: str, key: bytes) -> dict[str, str]:
    """The tags of a run that acts for somebody."""
    return {ACTOR_TAG: actor, PROOF_TAG: _proof(actor, run_id, key)}


def actor_of(tags: Mapping[str, str], run_ids: set[str], key: bytes, *, person: bool = False) -> str:
    """Who acts; ``run_ids`` are those of the run, and of the one that it retries. With ``person`` a sweep is none."""
    actor = tags.get(ACTOR_TAG, UI_ACTOR)
    if actor.startswith(SYSTEM) and not person:
        return actor
    said = tags.get(PROOF_TAG, "")
    if any(hmac.compare_digest(said.encode(), _proof(actor, run_id, key).encode()) for run_id in run_ids):
        return actor
    return UI_ACTOR


def _proof(actor: str, run_id: str, key: bytes) -> str:
    return hmac.new(key, f"actor of a run\n{run_id}\n{actor}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
