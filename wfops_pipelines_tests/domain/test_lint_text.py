"""What the lint found, as a plan lists it."""

from __future__ import annotations

from typing import Any

from wfops_pipelines.domain.lint_text import lint_entries
from wfops_pipelines.domain.promotion_plan_text import plan_document, plan_markdown, render_plan_json
from wfops_pipelines_tests.domain.plan_example import changed, planned

WAIVER = {"rule": "likely-secret", "workflow": "*", "node": None, "owner": "ada", "reason": "a test key",
          "expires_at": "2026-12-24T10:00:00+00:00"}


def finding(severity: str, message: str, node: str | None = "Call") -> dict[str, Any]:
    return {"rule": "errors-ignored", "severity": severity, "node": node, "message": message, "fix": "mend it"}


def gates(*findings: dict[str, Any], waived: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    report = {"workflow": "Orders", "findings": list(findings), "waived": list(waived), "expired_waivers": [], "skipped": []}
    return {"verdict": "passed", "gates": [{"gate": "approvals", "outcome": "passed", "reason": "", "fix": None, "details": {}},
                                           {"gate": "lint", "outcome": "passed", "reason": "", "fix": None,
                                            "details": {"workflows": [report]}}]}


def test_findings_are_listed_the_worst_first_and_what_somebody_answers_for_last() -> None:
    waived = ({**finding("warning", "may be"), "waiver": WAIVER},)
    assert lint_entries(gates(finding("info", "so what"), finding("error", "bad", None), finding("warning", "hm"), waived=waived)) == [
        "error: Orders: bad [errors-ignored]", "warning: Orders, 'Call': hm [errors-ignored]",
        "info: Orders, 'Call': so what [errors-ignored]",
        "waived: Orders, 'Call': may be [errors-ignored], by ada until 2026-12-24: a test key"]
    assert lint_entries(None) == lint_entries({}) == lint_entries(gates()) == []


def test_there_is_an_end_to_them_and_nothing_of_a_secret_in_them() -> None:
    many = lint_entries(gates(*(finding("warning", f"ghp_aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW2xYz {n}") for n in range(25))))
    assert len(many) == 21 and many[-1] == "and 5 more"
    assert not any("aB3dE5" in line for line in many)


def test_they_stand_in_the_plan_in_text_and_in_markdown() -> None:
    document = {**plan_document(planned(changed("a"))), "gates": gates(finding("warning", "hm"))}
    assert "lint\n  warning: Orders, 'Call': hm [errors-ignored]" in render_plan_json(document, colour=False)
    assert "- warning: Orders, 'Call': hm" in plan_markdown(document)
