"""The laws of promotions (§11.4): lower and lift undo each other, two hops are one, and nothing else changes."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wfops_pipelines.domain.diff import diff
from wfops_pipelines.domain.errors import MalformedWorkflow
from wfops_pipelines.domain.lift import Lifted, comparable_portable, hash_portable, lift, promoted_texts
from wfops_pipelines.domain.lower import Lowered, lower
from wfops_pipelines.domain.references import portable_hash, references
from wfops_pipelines.domain.transform_tables import CredentialRow, EnvironmentTables, check_tables
from wfops_pipelines.domain.transform_terms import texts
from wfops_pipelines.domain.transform_texts import BASE_URL, lift_text, lower_text
from wfops_pipelines.domain.workflow import Content, parse_json, read_content
from wfops_pipelines_tests.domain.promotion_strategies import (
    ALL,
    CANONICAL,
    DEV,
    FORMS,
    PROD,
    STAGING,
    picker,
    plain_texts,
    portable_contents,
    portable_texts,
)
from wfops_pipelines_tests.domain.workflow_strategies import JsonObject, contents, hostile_contents, law

environments = st.sampled_from(ALL)
OWN = "own-id"


def lowered(portable: Content, target: EnvironmentTables, **options: Any) -> Lowered:
    result = lower(portable, target, self_id=OWN, **options)
    assert result.writable, [problem.as_json() for problem in result.unresolved]
    return result


def lifted_again(content: Content, portable: Content, environment: EnvironmentTables) -> Lifted:
    return lift(content, environment, self_id=OWN, promoted=promoted_texts(portable, environment))


def without_own_ids(content: Content) -> Content:
    return {**content, "nodes": [{key: value for key, value in node.items() if key not in ("id", "webhookId")}
                                 for node in content["nodes"]]}


def changed_places(before: Content, after: Content) -> set[tuple[str | None, str]]:
    """The places that the semantic diff names, written as transformations write them."""
    below = {"credentials_changed": "credentials.", "settings_changed": "settings."}
    return {(change.node, f"{below.get(change.kind.value, '')}{change.path}") for change in diff(before, after).changes}


def test_these_tables_are_not_refused() -> None:
    check_tables(ALL)


@law
@given(portable_contents(), environments)
def test_lift_undoes_lower(portable: JsonObject, target: EnvironmentTables) -> None:
    before = copy.deepcopy(portable)
    there = lowered(portable, target)
    back = lifted_again(there.content, portable, target)
    assert back.content == portable == before
    assert not back.unresolved
    done = Counter((each.node, each.path, each.kind, each.before, each.after) for each in there.transformations)
    undone = Counter((each.node, each.path, each.kind, each.after, each.before) for each in back.transformations)
    assert done == undone


@law
@given(portable_contents())
def test_two_hops_are_one(portable: JsonObject) -> None:
    for first in (DEV, STAGING):
        halfway = lifted_again(lowered(portable, first).content, portable, first).content
        assert lowered(halfway, PROD).content == lowered(portable, PROD).content


@law
@given(portable_contents(), environments)
def test_the_portable_hash_stays(portable: JsonObject, target: EnvironmentTables) -> None:
    there = lowered(portable, target).content
    assert hash_portable(lifted_again(there, portable, target).content) == hash_portable(portable)


@law
@given(portable_contents(texts=st.just("a text")), environments)
def test_without_texts_to_replace_it_is_the_portable_hash_of_every_environment(portable: JsonObject,
                                                                              target: EnvironmentTables) -> None:
    there = lowered(portable, target).content
    assert portable_hash(there, self_id=OWN, canonical_id_of=target.canonical_ids,
                         credential_key_of=target.credential_keys) == hash_portable(portable)


@law
@given(portable_contents(), environments, st.data())
def test_portable_contents_differ_exactly_where_their_hashes_do(portable: JsonObject, target: EnvironmentTables, data: Any) -> None:
    other = copy.deepcopy(lifted_again(lowered(portable, target).content, portable, target).content)
    if data.draw(st.booleans()):
        other["settings"]["errorWorkflow"] = data.draw(st.sampled_from(["{{wfops.workflow.self}}", "{{wfops.workflow.3f0c-a}}", "raw"]))
    for node in other["nodes"]:
        if (picked := node["parameters"].get("workflowId")) and "wfops" in str(picked) and data.draw(st.booleans()):
            node["parameters"]["workflowId"] = picker(f"{{{{wfops.workflow.{data.draw(st.sampled_from(CANONICAL))}}}}}", "{{wfops.base_url}}",
                                                      data.draw(st.sampled_from(FORMS)))
    assert diff(comparable_portable(portable), comparable_portable(other)).equal is (hash_portable(portable) == hash_portable(other))


@law
@given(portable_contents(), environments)
def test_lowering_changes_exactly_what_it_says(portable: JsonObject, target: EnvironmentTables) -> None:
    result = lowered(portable, target)
    assert changed_places(portable, result.content) == {(each.node, each.path) for each in result.transformations}
    assert json.loads(json.dumps(result.as_json())) == result.as_json()


@law
@given(portable_contents(texts=plain_texts), environments, environments)
def test_lifting_twice_is_lifting_once(portable: JsonObject, source: EnvironmentTables, known_in: EnvironmentTables) -> None:
    content = lowered(portable, source).content
    for promoted in ((), promoted_texts(portable, known_in)):
        once = lift(content, source, self_id=OWN, promoted=promoted).content
        assert lift(once, source, self_id=OWN, promoted=promoted).content == once


@law
@given(portable_contents(), environments, st.data())
def test_texts_edited_since_are_lifted_once_too(portable: JsonObject, source: EnvironmentTables, data: Any) -> None:
    promoted = promoted_texts(portable, source)
    content = copy.deepcopy(lowered(portable, source).content)
    for node in content["nodes"]:
        node["parameters"]["url"] += data.draw(portable_texts)
    once = lift(content, source, self_id=OWN, promoted=promoted).content
    assert lift(once, source, self_id=OWN, promoted=promoted).content == once


@law
@given(portable_contents(), portable_contents(), environments)
def test_in_a_target_that_has_the_workflow_only_its_own_ids_differ(portable: JsonObject, there: JsonObject,
                                                                   target: EnvironmentTables) -> None:
    fresh, over = lowered(portable, target).content, lowered(portable, target, current=there).content
    assert without_own_ids(over) == without_own_ids(fresh)
    assert diff(fresh, over).equal
    ids = {node["name"]: node["id"] for node in there["nodes"]}
    assert all(node.get("id") == ids[node["name"]] for node in over["nodes"] if node["name"] in ids)


@law
@given(contents(), environments)
def test_content_without_terms_is_lowered_to_itself(content: JsonObject, target: EnvironmentTables) -> None:
    result = lower(content, target, self_id=OWN)
    assert result.content == content
    assert not result.transformations


@law
@given(hostile_contents(), environments)
def test_whatever_n8n_keeps_can_be_lifted_and_lowered(content: JsonObject, environment: EnvironmentTables) -> None:
    before = copy.deepcopy(content)
    up = lift(content, environment, self_id="a")
    down = lower(up.content, environment, self_id="a", current=content)
    assert content == before
    json.dumps([up.as_json(), down.as_json()])


@law
@given(portable_texts, environments)
def test_texts_that_lift_cannot_know_are_named(text: str, environment: EnvironmentTables) -> None:
    content: JsonObject = {"name": "", "connections": {}, "nodes": [{"name": "A", "parameters": {"text": text}}]}
    there = lower_text(text, environment)
    assume(not there.missing)
    if not promoted_texts(content, environment):
        assert lift_text(there.text, environment).text == text


CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


def read_corpus() -> list[Content]:
    found = []
    for path in sorted(CORPUS.rglob("*.json")):
        try:
            found.append(read_content(parse_json(path.read_bytes())))
        except MalformedWorkflow:
            continue
    return found


def real_tables(content: Content, base_urls: tuple[str, str, str]) -> tuple[EnvironmentTables, ...]:
    """Tables by which everything in a workflow of ``dev`` can be promoted."""
    found = references(content)
    return tuple(EnvironmentTables(
        environment, base_url, {f"c-{number}": workflow_id if environment == "dev" else f"{environment}-{number}"
                                for number, workflow_id in enumerate(sorted(found.workflow_ids))},
        [CredentialRow(f"k-{number}", kind, name if environment == "dev" else f"{environment} {number}", f"{environment}{number}")
         for number, (kind, name) in enumerate(sorted(found.credentials)) if name])
        for environment, base_url in zip(("dev", "staging", "prod"), base_urls, strict=True))


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of real workflows beside the repository")
def test_the_laws_hold_on_real_workflows() -> None:
    replaced: Counter[str] = Counter()
    resolved = 0
    corpus = read_corpus()
    assert corpus
    for content in corpus:
        # An address that real texts name in all kinds of surroundings stands in for the instance's own.
        for address in ("https://api.telegram.org", "https://www.googleapis.com"):
            dev, staging, prod = real_tables(content, (address, "http://127.0.0.1:5678", "https://n8n.example.com/team"))
            check_tables((dev, staging, prod))
            up = lift(content, dev, self_id=OWN)
            portable = up.content
            replaced.update(each.kind for each in up.transformations)
            assert lift(portable, dev, self_id=OWN).content == portable
            nameless = [problem for problem in up.unresolved if "without a name" not in problem.what]
            assert not nameless, [problem.as_json() for problem in nameless]
            if up.unresolved:
                continue
            resolved += 1
            for target in (dev, staging, prod):
                down = lowered(portable, target)
                there = down.content
                back = lifted_again(there, portable, target).content
                assert back == portable
                assert changed_places(portable, there) == {(each.node, each.path) for each in down.transformations}
                assert hash_portable(back) == hash_portable(portable)
                assert lowered(back, prod).content == lowered(portable, prod).content
            assert diff(content, lowered(portable, dev).content).equal
            if BASE_URL not in str(list(texts(portable["nodes"], ()))):
                assert hash_portable(portable) == portable_hash(content, self_id=OWN, canonical_id_of=dev.canonical_ids,
                                                                credential_key_of=dev.credential_keys)
    assert {"credential", "workflow", "base_url"} <= set(replaced), replaced
    assert resolved > 1.8 * len(corpus)
