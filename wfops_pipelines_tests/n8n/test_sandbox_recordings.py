"""The sandbox answers what n8n 2.41.1 and 1.123.81 answered to the same questions, some five hundred each."""

from __future__ import annotations

import httpx
import pytest

from wfops_pipelines.n8n.sandbox import create_sandbox
from wfops_pipelines.n8n.sandbox.serve import serve
from wfops_pipelines_tests.n8n.conversation.chapters import chapters, recorded
from wfops_pipelines_tests.n8n.conversation.talk import Json


@pytest.mark.parametrize("generation", [2, 1])
def test_the_sandbox_says_what_n8n_said(generation: int) -> None:
    sandbox = create_sandbox(generation=generation, api_key="the-key")
    with serve(sandbox) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
        said = dict(chapters(http, "the-key", generation))

    wanted = recorded(generation)
    assert list(said) == list(wanted)
    for chapter, answers in wanted.items():
        assert _labels(said[chapter]) == _labels(answers)
        for answer, want in zip(said[chapter], answers, strict=True):
            assert answer == want, f"{chapter}: {want['label']}"


def _labels(answers: list[dict[str, Json]]) -> list[str]:
    return [answer["label"] for answer in answers]
