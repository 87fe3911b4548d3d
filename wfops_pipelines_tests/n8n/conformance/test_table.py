"""The table is whole: every statement of the facts is in it, every case it names exists, and every case is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wfops_pipelines_tests.n8n.conformance.table import TABLE

HERE = Path(__file__).parent
FACTS = HERE.parents[3] / "shared" / "facts" / "n8n.md"


def _cases() -> set[str]:
    return {name for path in HERE.glob("test_*.py") if path != Path(__file__)
            for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}


def test_every_case_in_the_table_exists() -> None:
    assert {case for row in TABLE for case in row.cases} - _cases() == set()


def test_every_case_is_in_the_table() -> None:
    assert _cases() - {case for row in TABLE for case in row.cases} == set()


def test_a_statement_has_cases_or_a_reason_for_none() -> None:
    assert [row.quote for row in TABLE if bool(row.cases) == bool(row.why)] == []


def _statements() -> dict[int, list[str]]:
    """Bullets, rows and paragraphs of §3–8 and §13; a bullet with bullets below it is given apart from them."""
    statements: dict[int, list[str]] = {}
    section = 0
    for line in FACTS.read_text().splitlines():
        heading = re.match(r"## (\d+)\.", line)
        if heading:
            section = int(heading[1])
        elif section in {3, 4, 5, 6, 7, 8, 13} and line.strip() and not re.match(r"\|(---| case |\s*\|| action )", line):
            statements.setdefault(section, []).append(line)
    return statements


@pytest.mark.skipif(not FACTS.is_file(), reason="the facts are kept beside the repository, and are not here")
def test_every_statement_of_the_facts_is_in_the_table() -> None:
    missing = [(section, line[:100]) for section, lines in _statements().items() for line in lines
               if not any(row.section == section and row.quote in line for row in TABLE)]
    assert missing == []


@pytest.mark.skipif(not FACTS.is_file(), reason="the facts are kept beside the repository, and are not here")
def test_every_quote_is_word_for_word() -> None:
    statements = _statements()
    assert [row.quote for row in TABLE if not any(row.quote in line for line in statements[row.section])] == []
