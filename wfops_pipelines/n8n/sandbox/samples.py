"""A dozen workflows of a small web shop, made by hand for the demo: what a team of five has in its n8n.

They lie in ``sample_workflows/`` as n8n exports them; ``@key@`` stands for the id of the sample of that key. They go into a
sandbox (:func:`seed_samples`) or, one :meth:`Sample.body` after the other, into a real n8n (2.41 publishes all active ones).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from wfops_pipelines.n8n.sandbox.node_types import starts_workflow
from wfops_pipelines.n8n.sandbox.seeding import SandboxState

JsonObject = dict[str, Any]

#: (type, name) of each credential that the samples use.
CREDENTIALS = (("httpHeaderAuth", "shop-api"), ("slackApi", "team-slack"), ("postgres", "warehouse"), ("smtp", "mail-out"),
               ("openAiApi", "openai"), ("httpBasicAuth", "erp"))


@dataclass(frozen=True)
class Sample:
    """A workflow of the demo; ``text`` is its file, with references by key and credentials by name."""

    key: str
    text: str

    @property
    def active(self) -> bool:
        """Whether it runs."""
        return bool(json.loads(self.text)["active"])

    @property
    def tags(self) -> list[str]:
        """The names of its tags."""
        return [tag["name"] for tag in json.loads(self.text)["tags"]]

    def body(self, ids: Mapping[str, str], credential_ids: Mapping[tuple[str, str], str]) -> JsonObject:
        """What n8n's API takes: ``ids`` are those of the samples before this one, by key; credentials by (type, name)."""
        text = self.text
        for key, workflow_id in ids.items():
            text = text.replace(f"@{key}@", workflow_id)
        made: JsonObject = json.loads(text)
        for node in made["nodes"]:
            for kind, reference in node.get("credentials", {}).items():
                reference["id"] = credential_ids.get((kind, reference["name"]))
        return {key: made[key] for key in ("name", "nodes", "connections", "settings")}


@cache
def samples() -> tuple[Sample, ...]:
    """All samples; one that is referred to comes before those that do."""
    folder = files(__package__) / "sample_workflows"
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return tuple(Sample(file.name[3:].removesuffix(".json"), file.read_text(encoding="utf-8")) for file in found)


def seed_samples(state: SandboxState, chosen: Iterable[Sample] | None = None) -> dict[str, str]:
    """Put samples (all, unless told) and their credentials into a sandbox; gives the ids by key."""
    credential_ids = {pair: state.seed_credential(pair[1], pair[0]) for pair in CREDENTIALS}
    ids: dict[str, str] = {}
    for sample in samples() if chosen is None else chosen:
        body = {**sample.body(ids, credential_ids), "tags": sample.tags}
        # 1.x does not activate what only other workflows call.
        body["active"] = sample.active and any(starts_workflow(node["type"], state.generation) for node in body["nodes"])
        (ids[sample.key],) = state.seed_workflows([body])
    return ids
