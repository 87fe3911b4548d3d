"""Real workflows: every valid file parses, hashes, and keeps its hash through what must not matter."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from wfops_pipelines.domain.canonical_json import encode
from wfops_pipelines.domain.errors import MalformedWorkflow
from wfops_pipelines.domain.normalize import canonical_bytes, clean, content_hash, normalize, shape
from wfops_pipelines.domain.references import portable_hash, references
from wfops_pipelines.domain.workflow import Content, decode_content, encode_content, parse_json, read_content
from wfops_pipelines_tests.domain.workflow_strategies import (
    as_n8n_1_keeps_it,
    as_n8n_2_keeps_it,
    shuffled_keys,
    translated,
    with_numbers,
)

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of real workflows beside the repository")


@pytest.fixture(scope="module")
def corpus() -> list[Content]:
    contents = []
    for path in sorted(CORPUS.rglob("*.json")):
        try:
            contents.append(read_content(parse_json(path.read_bytes())))
        except MalformedWorkflow as error:
            assert "no valid JSON" in str(error), path  # the corpus holds such files on purpose
    return contents


def test_nearly_every_file_is_a_workflow(corpus: list[Content]) -> None:
    assert len(corpus) >= 0.95 * len(list(CORPUS.rglob("*.json")))


def test_the_hash_survives_storage_shuffling_moving_and_both_generations_of_n8n(corpus: list[Content]) -> None:
    random = Random(7)
    for content in corpus:
        expected = content_hash(content)
        assert content_hash(decode_content(encode_content(content))) == expected
        reordered = {**content, "nodes": random.sample(content["nodes"], len(content["nodes"]))}
        assert content_hash(shuffled_keys(reordered, random)) == expected
        assert content_hash(translated(content, -480, 1260)) == expected
        assert content_hash(as_n8n_1_keeps_it(content, random)) == expected
        assert content_hash(as_n8n_2_keeps_it(content, random)) == expected
        assert content_hash(with_numbers(content, float)) == expected


def test_every_way_to_the_canonical_bytes_gives_the_same_ones(corpus: list[Content]) -> None:
    for content in corpus:
        expected = canonical_bytes(content)
        assert encode(clean(shape(content))) == expected
        assert canonical_bytes(normalize(content)) == expected


def test_different_workflows_have_different_hashes(corpus: list[Content]) -> None:
    forms = {content_hash(content): canonical_bytes(content) for content in corpus}
    assert len(set(forms.values())) == len(forms)
    assert len(forms) > 0.9 * len(corpus)


def test_the_portable_hash_masks_every_reference(corpus: list[Content]) -> None:
    calling = 0
    for content in corpus:
        found = references(content)
        calling += bool(found.workflow_ids)
        ids = {workflow_id: f"canonical-{number}" for number, workflow_id in enumerate(sorted(found.workflow_ids))}
        keys = {reference: f"key-{number}" for number, reference in enumerate(sorted(found.credentials))}
        portable = portable_hash(content, self_id=None, canonical_id_of=ids, credential_key_of=keys)
        assert (portable == content_hash(content)) == (not ids and not keys)
    assert calling
