"""Plans over real workflows: all of them new, all of them there already, some of them changed."""

from __future__ import annotations

import copy
from pathlib import Path
from random import Random

import pytest

from wfops_pipelines.domain.errors import MalformedWorkflow
from wfops_pipelines.domain.promotion_plan import BothSides, PlanAction
from wfops_pipelines.domain.promotion_plan_text import plan_document, plan_markdown, render_plan
from wfops_pipelines.domain.workflow import Content, parse_json, read_content
from wfops_pipelines_tests.domain.plan_example import held, planned
from wfops_pipelines_tests.domain.workflow_strategies import as_n8n_1_keeps_it, as_n8n_2_keeps_it

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of real workflows beside the repository")


@pytest.fixture(scope="module")
def corpus() -> dict[str, Content]:
    contents = {}
    for number, path in enumerate(sorted(CORPUS.rglob("*.json"))):
        try:
            contents[f"{number:04}"] = read_content(parse_json(path.read_bytes()))
        except MalformedWorkflow:
            continue  # the corpus holds such files on purpose
    return contents


def test_all_new_ones_are_created_each_once_and_shown(corpus: dict[str, Content]) -> None:
    plan = planned(*(BothSides(key, held(content), None) for key, content in corpus.items()))
    assert sorted(change.key for change in plan.writes) == sorted(corpus)
    assert plan.counts()["create"] == len(corpus)
    assert len(render_plan(plan, colour=False).splitlines()) > len(corpus)


def test_what_both_generations_of_n8n_make_of_them_is_unchanged(corpus: dict[str, Content]) -> None:
    random = Random(7)
    for kept in (as_n8n_1_keeps_it, as_n8n_2_keeps_it):
        plan = planned(*(BothSides(key, held(content), held(kept(content, random))) for key, content in corpus.items()))
        assert plan.is_empty
        assert plan.counts()["unchanged"] == len(corpus)


def test_each_change_is_found_and_nothing_else(corpus: dict[str, Content]) -> None:
    changed = {key for key in list(corpus)[::7] if corpus[key]["nodes"]}

    def source(key: str) -> Content:
        content = copy.deepcopy(corpus[key])
        if key in changed:
            content["name"] += " (changed)"
        return content

    plan = planned(*(BothSides(key, held(source(key)), held(corpus[key])) for key in corpus))
    assert {change.key for change in plan.writes} == changed
    assert all(change.action is PlanAction.UPDATE and [found.kind for found in change.diff.changes] == ["name_changed"]
               for change in plan.writes)
    assert len(plan_markdown(plan_document(plan))) < 21_000
