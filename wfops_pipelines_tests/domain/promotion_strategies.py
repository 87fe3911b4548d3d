"""Three environments whose tables are as awkward as tables may be, and random portable workflows over their terms."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from wfops_pipelines.domain.references import CALLING_NODES
from wfops_pipelines.domain.transform_tables import CredentialRow, EnvironmentTables
from wfops_pipelines_tests.domain.workflow_strategies import JsonObject, contents

CANONICAL = ("3f0c-a", "3f0c-b", "3f0c-c")
KINDS = ("httpBasicAuth", "slackApi")
NAMES = {"dev": ("team", "other"), "staging": ("team (staging)", "other (staging)"), "prod": ("live", "live 2")}


def tables(environment: str, base_url: str, variables: dict[str, str], ids: tuple[str, ...]) -> EnvironmentTables:
    rows = [CredentialRow(f"{kind}-{number}", kind, name, f"{environment}-{number}" if number else None)
            for kind in KINDS for number, name in enumerate(NAMES[environment])]
    return EnvironmentTables(environment, base_url, dict(zip(CANONICAL, ids, strict=True)), rows, variables)


# One address begins with another, values stand inside others and inside words, two variables have one value, and n8n ids
# of one environment are other workflows' in the next.
DEV = tables("dev", "http://127.0.0.1:567", {
    "HOST": "api.dev", "URL": "https://api.dev", "REGION": "eu", "OTHER": "eu"}, ("1", "2", "3"))
STAGING = tables("staging", "http://127.0.0.1:5678/", {
    "HOST": "api.stg", "URL": "http://127.0.0.1:5678/api", "REGION": "us", "OTHER": "10"}, ("2", "3", "4"))
PROD = tables("prod", "https://n8n.example.com/team", {
    "HOST": "api.com", "URL": "https://api.com:8443/v1", "REGION": "eu-west", "OTHER": "a.b"}, ("x9", "1", "2"))
ALL = (DEV, STAGING, PROD)

PLACEHOLDERS = ("{{wfops.base_url}}", *(f"{{{{env.{name}}}}}" for name in DEV.variables))
_FRAGMENTS = (
    *PLACEHOLDERS, "http://127.0.0.1:567", "http://127.0.0.1:5678", "https://n8n.example.com/team", "https://api.dev", "eu",
    "api.stg", "10", "=", "{{ $json.x }}", "/", "/hook/", " ", ".", ":", "@", "x", '"', "$", "?a=", "8", "\n", "{{", "}}")
portable_texts = st.lists(st.sampled_from(_FRAGMENTS), max_size=6).map("".join)
plain_texts = st.lists(st.sampled_from(_FRAGMENTS[len(PLACEHOLDERS):]), max_size=6).map("".join)


def locator(value: str, mode: str) -> JsonObject:
    return {"__rl": True, "mode": mode, "value": value}


def picker(workflow: str, base_url: str, form: str) -> Any:
    """The ways in which a node picks a workflow."""
    if form == "plain":
        return workflow
    return locator(f"{base_url}/workflow/{workflow}?tab=1" if form == "url" else workflow, form)


FORMS = ("plain", "id", "list", "url")
PORTABLE_FORMS = FORMS[:3]  # by URL and by id is one portable form
EXPRESSIONS = ("={{ $json.id }}", "={{ $workflow.id }}")


@st.composite
def portable_contents(draw: Any, texts: st.SearchStrategy[str] = portable_texts) -> JsonObject:
    """Portable content: random workflows with terms of every kind in every place for them."""
    content: JsonObject = draw(contents(min_nodes=1))
    references = st.sampled_from([*CANONICAL, "self"]).map(lambda one: f"{{{{wfops.workflow.{one}}}}}")
    for node in content["nodes"]:
        node.pop("credentials", None)
        if kinds := draw(st.sets(st.sampled_from(KINDS))):
            node["credentials"] = {kind: {"name": f"key:{kind}-{draw(st.integers(0, 1))}"} for kind in sorted(kinds)}
        node["parameters"] = {"url": draw(texts), "deep key": [{"a.b": draw(texts)}, 1, None], "options": {}}
        if draw(st.booleans()):
            node["type"] = draw(st.sampled_from(sorted(CALLING_NODES)))
            chosen = draw(references.map(lambda one: (one, True)) | st.sampled_from(EXPRESSIONS).map(lambda one: (one, False)))
            form = draw(st.sampled_from(PORTABLE_FORMS))
            node["parameters"]["workflowId"] = picker(chosen[0], "{{wfops.base_url}}", form)
    content["settings"].pop("errorWorkflow", None)
    if draw(st.booleans()):
        content["settings"]["errorWorkflow"] = draw(references)
    if callers := draw(st.lists(references, max_size=3, unique=True)):
        content["settings"] |= {"callerPolicy": "workflowsFromAList", "callerIds": ",".join(callers)}
    return content
