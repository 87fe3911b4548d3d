"""The lint of a workflow (§11.5): what each rule finds and what it leaves alone; waivers; real workflows."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wfops_pipelines.domain.certain_secrets import providers_of_secrets
from wfops_pipelines.domain.errors import InvalidFields, MalformedWorkflow
from wfops_pipelines.domain.lint_rules import lint_workflow
from wfops_pipelines.domain.workflow import Content, parse_json, read_content
from wfops_pipelines.domain.workflow_lint import (
    LintContext,
    LintReport,
    LintRule,
    LintSeverity,
    LintWaiver,
    TakenPath,
    apply_waivers,
    by_path,
    new_waiver,
)

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
COMMAND, MONGO = "n8n-nodes-base.executeCommand", "n8n-nodes-base.mongoDb"
ERROR, WARNING, INFO = LintSeverity.ERROR, LintSeverity.WARNING, LintSeverity.INFO
GITHUB = "ghp_" + "aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW2xYz"


def node(name: str, kind: str = "n8n-nodes-base.set", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "typeVersion": 1, "position": [0, 0], "parameters": {}, **more}


def hook(name: str = "Hook", path: str = "orders", **more: Any) -> dict[str, Any]:
    return node(name, "n8n-nodes-base.webhook", parameters={"path": path, "httpMethod": "POST"}, webhookId=f"id-{name}", **more)


def to(*targets: str) -> dict[str, Any]:
    return {"main": [[{"node": target, "type": "main", "index": 0} for target in targets]]}


def workflow(*nodes: dict[str, Any], name: str = "Orders", connections: dict[str, Any] | None = None,
             **settings: Any) -> Content:
    return {"name": name, "nodes": list(nodes) or [hook()], "connections": connections or {},
            "settings": {"errorWorkflow": "err", **settings}}


def lint(content: Content, *, active: bool = True, **known: Any) -> LintReport:
    taken = by_path(known.pop("taken_paths", ()))
    return lint_workflow(content, LintContext(active, "own", taken_paths=taken, **known))


def found(report: LintReport) -> list[tuple[str, str, str | None]]:
    return [(str(finding.rule), str(finding.severity), finding.node) for finding in report.findings]


def http(url: str = "https://example.com", **more: Any) -> dict[str, Any]:
    return node("Call", "n8n-nodes-base.httpRequest", parameters={"url": url, **more.pop("parameters", {})}, **more)


CASES: list[tuple[str, Content, dict[str, Any], list[tuple[str, str, str | None]]]] = [
    ("a sound workflow", workflow(hook(), node("Set"), connections={"Hook": to("Set")}), {}, []),
    ("no name", workflow(name=""), {}, [("workflow-name", "error", None)]),
    ("a name at the limit", workflow(name="x" * 128), {}, []),
    ("a name beyond it", workflow(name="x" * 129), {}, [("workflow-name", "error", None)]),
    ("a name that UTF-16 makes too long", workflow(name="🔴" * 65), {}, [("workflow-name", "error", None)]),
    ("no position, which becomes the origin", workflow(hook(position=None)), {}, []),
    ("half a position", workflow(hook(position=[1])), {}, [("incomplete-node", "error", "Hook")]),
    ("nulls, which are not sent", workflow(hook(), {**node("X"), "id": None, "typeVersion": None, "parameters": None}), {}, []),
    ("parameters that are a list", workflow(hook(), {**node("X"), "parameters": []}), {}, [("incomplete-node", "error", "X")]),
    ("a version that is a text", workflow(hook(typeVersion="2")), {}, [("incomplete-node", "error", "Hook")]),
    ("no type", workflow(hook(), {"name": "X", "position": [0, 0]}), {}, [("incomplete-node", "error", "X")]),
    ("no id is fine", workflow(hook(), {"name": "X", "type": "a.b", "position": [0, 0]}), {}, []),
    ("one name twice", workflow(hook(), node("A"), node("A")), {}, [("duplicate-node-name", "error", "A")]),
    ("one id twice", workflow(hook(), node("A", id="1"), node("B", id="1")), {}, [("duplicate-node-id", "error", "A")]),
    ("a target that is gone", workflow(connections={"Hook": to("Gone")}), {}, [("dangling-connection", "error", "Hook")]),
    ("a source that is gone", workflow(connections={"Gone": to("Hook")}), {}, [("dangling-connection", "error", "Gone")]),
    ("an unused output", workflow(connections={"Hook": {"main": [None, []]}}), {}, []),
    ("a connection without index", workflow(connections={"Hook": {"main": [[{"node": "Hook", "type": "main"}]]}}), {},
     [("malformed-connection", "error", "Hook")]),
    ("no trigger", workflow(node("Set")), {}, [("no-trigger", "error", None)]),
    ("no trigger while inactive", workflow(node("Set")), {"active": False}, []),
    ("only by hand", workflow(node("M", "n8n-nodes-base.manualTrigger")), {}, [("no-trigger", "error", None)]),
    ("a disabled trigger", workflow(hook(disabled=True)), {}, [("no-trigger", "error", None)]),
    ("a sub-workflow", workflow(node("T", "n8n-nodes-base.executeWorkflowTrigger")), {}, []),
    ("a sub-workflow on 1.x", workflow(node("T", "n8n-nodes-base.executeWorkflowTrigger")), {"generation": 1},
     [("no-trigger", "error", None)]),
    ("an error workflow on 1.x", workflow(node("T", "n8n-nodes-base.errorTrigger")), {"generation": 1}, [("no-trigger", "error", None)]),
    ("a sub-workflow on 1.x that is not to run", workflow(node("T", "n8n-nodes-base.executeWorkflowTrigger")),
     {"generation": 1, "active": False}, []),
    ("a sub-workflow on 1.x with a trigger", workflow(hook(), node("T", "n8n-nodes-base.executeWorkflowTrigger")), {"generation": 1}, []),
    ("a sub-workflow on 1.x that waits", workflow(node("T", "n8n-nodes-base.executeWorkflowTrigger"), node("W", "n8n-nodes-base.wait")),
     {"generation": 1}, [("no-trigger", "warning", None)]),
    ("tests by hand only", workflow(node("M", "n8n-nodes-base.evaluationTrigger")), {}, [("no-trigger", "error", None)]),
    ("one id twice on 1.x", workflow(hook(), node("A", id="1"), node("B", id="1")), {"generation": 1},
     [("duplicate-node-id", "warning", "A")]),
    ("a node of others may start it", workflow(node("C", "n8n-nodes-acme.acme")), {}, [("no-trigger", "warning", None)]),
    ("a trigger of others", workflow(node("C", "n8n-nodes-acme.acmeTrigger")), {}, []),
    ("n8n takes a waiting node", workflow(node("W", "n8n-nodes-base.wait")), {}, [("no-trigger", "warning", None)]),
    ("an unknown type", workflow(hook(), node("C", "acme.x")), {"known_types": {"n8n-nodes-base.webhook"}},
     [("unknown-node-type", "error", "C")]),
    ("an unknown type while inactive", workflow(node("C", "acme.x")), {"known_types": set(), "active": False},
     [("unknown-node-type", "warning", "C")]),
    ("a note is always known", workflow(node("N", "n8n-nodes-base.stickyNote")), {"known_types": set(), "active": False}, []),
    ("a type that 2.x has switched off", workflow(hook(), node("C", COMMAND)), {},
     [("switched-off-node-type", "error", "C")]),
    ("the same while inactive", workflow(hook(), node("C", COMMAND)), {"active": False}, [("switched-off-node-type", "warning", "C")]),
    ("the same, disabled", workflow(hook(), node("C", COMMAND, disabled=True)), {}, [("switched-off-node-type", "warning", "C")]),
    ("the same where something of it runs", workflow(hook(), node("C", COMMAND)), {"running_types": {COMMAND}}, []),
    ("the same on 1.x", workflow(hook(), node("C", COMMAND)), {"generation": 1}, []),
    ("no credential where one is required", workflow(hook(), node("M", MONGO), connections={"Hook": to("M")}), {},
     [("missing-credential", "error", "M")]),
    ("a credential by its name", workflow(hook(), node("M", MONGO, credentials={"mongoDb": {"id": None, "name": "ours"}}),
                                          connections={"Hook": to("M")}), {}, []),
    ("one of another type", workflow(hook(), node("M", MONGO, credentials={"redis": {"id": "1", "name": "ours"}}),
                                     connections={"Hook": to("M")}), {}, [("missing-credential", "error", "M")]),
    ("no credential while inactive", workflow(hook(), node("M", MONGO), connections={"Hook": to("M")}), {"active": False},
     [("missing-credential", "warning", "M")]),
    ("no credential on 1.x", workflow(hook(), node("M", MONGO), connections={"Hook": to("M")}), {"generation": 1},
     [("missing-credential", "warning", "M")]),
    ("no credential, not connected", workflow(hook(), node("M", MONGO)), {}, []),
    ("no credential, disabled", workflow(hook(), node("M", MONGO, disabled=True), connections={"Hook": to("M")}), {}, []),
    ("a trigger without one", workflow(node("T", "n8n-nodes-base.postgresTrigger")), {}, [("missing-credential", "error", "T")]),
    ("a path twice", workflow(hook(), hook("Two")), {}, [("webhook-path-twice", "error", "Two")]),
    ("two paths", workflow(hook(), hook("Two", "other")), {}, []),
    ("a disabled hook has no path", workflow(hook(), hook("Two", disabled=True)), {}, []),
    ("a path of another", workflow(), {"taken_paths": [TakenPath("POST", "/webhook/orders", "o", "Other")]},
     [("webhook-path-taken", "error", "Hook")]),
    ("a path of an inactive one", workflow(), {"taken_paths": [TakenPath("POST", "/webhook/orders", "o", "Other", active=False)]},
     [("webhook-path-taken", "warning", "Hook")]),
    ("its own path", workflow(), {"taken_paths": [TakenPath("POST", "/webhook/orders", "own", "Orders")]}, []),
    ("another method", workflow(), {"taken_paths": [TakenPath("GET", "/webhook/orders", "o", "Other")]}, []),
    ("a key in a URL", workflow(hook(), http(f"https://x.example/?t={GITHUB}")), {}, [("hard-coded-secret", "error", "Call")]),
    ("a key in a note", workflow(hook(), node("N", "n8n-nodes-base.stickyNote", parameters={"content": f"use {GITHUB}"})), {},
     [("hard-coded-secret", "error", "N")]),
    ("an example of a key", workflow(hook(), http("https://x.example/?t=ghp_" + "x" * 36)), {}, []),
    ("a likely password", workflow(hook(), http(parameters={"password": "hunter2-Kq9z"})), {},
     [("likely-secret", "warning", "Call")]),
    ("a password to fill in", workflow(hook(), http(parameters={"password": "YOUR_PASSWORD"})), {}, []),
    ("a password by reference", workflow(hook(), http(parameters={"password": "={{ $env.PASSWORD }}"})), {}, []),
    ("no error workflow", workflow(errorWorkflow="DEFAULT"), {}, [("no-error-workflow", "warning", None)]),
    ("no error workflow while inactive", workflow(errorWorkflow=""), {"active": False}, []),
    ("an error workflow itself", workflow(node("E", "n8n-nodes-base.errorTrigger"), errorWorkflow=""), {}, []),
    ("errors of a write ignored", workflow(hook(), http(parameters={"method": "POST"}, onError="continueRegularOutput")), {},
     [("errors-ignored", "warning", "Call")]),
    ("as n8n once said it", workflow(hook(), node("S", "n8n-nodes-base.slack", parameters={"operation": "post"},
                                                 continueOnFail=True)), {}, [("errors-ignored", "warning", "S")]),
    ("errors of a read ignored", workflow(hook(), http(onError="continueRegularOutput")), {}, []),
    ("errors handled", workflow(
        hook(), http(parameters={"method": "POST"}, onError="continueErrorOutput"), node("S"),
        connections={"Call": {"main": [[], [{"node": "S", "type": "main", "index": 0}]]}}), {}, []),
    ("an error output that leads nowhere", workflow(hook(), http(parameters={"method": "POST"}, onError="continueErrorOutput")),
     {}, [("errors-ignored", "warning", "Call")]),
    ("SQL that writes", workflow(hook(), node("Q", "n8n-nodes-base.postgres", onError="continueRegularOutput", parameters={
        "operation": "executeQuery", "query": " DELETE FROM t"})), {}, [("errors-ignored", "warning", "Q")]),
    ("SQL that reads", workflow(hook(), node("Q", "n8n-nodes-base.postgres", onError="continueRegularOutput", parameters={
        "operation": "executeQuery", "query": "SELECT created FROM t"})), {}, []),
    ("a disabled node in the path", workflow(hook(), node("A", disabled=True), node("B"),
                                             connections={"Hook": to("A"), "A": to("B")}), {},
     [("disabled-in-path", "warning", "A")]),
    ("a disabled node at the end", workflow(hook(), node("A", disabled=True), connections={"Hook": to("A")}), {}, []),
    ("pinned data", workflow(), {"pinned_nodes": ["Hook", "Gone"]}, [("pinned-data", "info", "Hook")]),
    ("a long node name", workflow(hook("H" * 101)), {}, [("long-node-name", "info", "H" * 101)]),
]


@pytest.mark.parametrize(("content", "known", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_rule_finds_what_it_is_about_and_nothing_else(
        content: Content, known: dict[str, Any], expected: list[tuple[str, str, str | None]]) -> None:
    report = lint(content, **known)
    assert found(report) == expected
    assert all(finding.message and finding.fix for finding in report.findings)
    assert json.loads(json.dumps(report.as_json())) == report.as_json()


def test_every_rule_has_a_case() -> None:
    assert {rule for _, _, _, expected in CASES for rule, _, _ in expected} == set(LintRule)


def test_the_worst_comes_first() -> None:
    report = lint(workflow(node("Set" * 40), errorWorkflow=""))
    assert [severity for _, severity, _ in found(report)] == [ERROR, WARNING, INFO]


def test_what_cannot_be_checked_is_said() -> None:
    report = lint_workflow(workflow(), LintContext(active=True))
    assert len(report.skipped) == 2
    assert "unknown-node-type" in report.skipped[0]
    assert "webhook-path-taken" in report.skipped[1]
    assert all(line in report.as_text() for line in report.skipped)


def test_no_finding_shows_the_secret_it_is_about() -> None:
    planted = workflow(hook(), http(f"https://x.example/?t={GITHUB}", parameters={"password": "hunter2-Kq9z"}),
                       node(f"Say {GITHUB}", "n8n-nodes-base.noOp", disabled=True), node(f"Say {GITHUB}"))
    report = lint(planted)
    shown = report.as_text() + json.dumps(report.as_json())
    assert GITHUB not in shown
    assert "hunter2" not in shown
    assert "parameters.url" in shown


@pytest.mark.parametrize(("text", "provider"), [
    (GITHUB, "GitHub"), ("sk-proj-" + "aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW2xYz" * 2, "OpenAI"),
    ("https://api.telegram.org/bot6123098457:AAHk3l9Zq7Tb2mVw5Xc8Nf1Jd4Rg6Ps0QuE/send", "Telegram"),
    ("6123098457:AAHk3l9Zq7Tb2mVw5Xc8Nf1Jd4Rg6Ps0QuE", "Telegram"),
    ("AIza" + "SyD3k9Lm2Qp7Rt5Vw8Xz1Bc4Nf6Hj0Ga_Es", "Google"),
    ("-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA7k9Lm2Qp7Rt5Vw8Xz1Bc4Nf6Hj0GaEs\n" * 6 + "-----END RSA PRIVATE KEY-----",
     "a private key"),
    ("ghp_" + "a1" * 18, None), ("sk-your-key-here-please-0000000000000000", None), ("npm_install_the_package_before", None),
    ("an ordinary sentence of some length, with sk- in it and nothing more", None),
])
def test_a_secret_is_certain_only_in_its_providers_own_form(text: str, provider: str | None) -> None:
    expected = [] if provider is None else [provider]
    assert list(providers_of_secrets(text)) == expected
    assert list(providers_of_secrets(f"key = '{text}';")) == expected


# -- waivers -----------------------------------------------------------------------------------------------------------


def waiver(rule: str = "no-trigger", pattern: str = "Ord*", days: float = 1) -> LintWaiver:
    return LintWaiver.model_validate({"rule": rule, "workflow": pattern, "owner": "ann", "reason": "being moved",
                                      "expires_at": NOW + timedelta(days=days)})


BROKEN = workflow(node("Set"), node("Set"))


def test_a_waiver_takes_its_rule_out_of_its_workflow_alone() -> None:
    report = apply_waivers(lint(BROKEN), [waiver()], now=NOW)
    assert [str(finding.rule) for finding in report.errors] == ["duplicate-node-name"]
    [(finding, by)] = report.waived
    assert (finding.rule, by.owner) == (LintRule.NO_TRIGGER, "ann")
    assert "waived: Orders: " in report.as_text()
    for other in (waiver(pattern="Invoices"), waiver(rule="likely-secret")):
        untouched = apply_waivers(lint(BROKEN), [other], now=NOW)
        assert untouched == lint(BROKEN)


def test_an_expired_waiver_does_nothing_and_is_reported() -> None:
    for days in (0, -1):
        report = apply_waivers(lint(BROKEN), [waiver(days=days)], now=NOW)
        assert report.findings == lint(BROKEN).findings
        assert (report.waived, len(report.expired)) == ((), 1)
        assert "expired: " in report.as_text()
        assert len(report.as_json()["expired_waivers"]) == 1


def test_an_expired_waiver_is_no_news_while_another_holds_or_nothing_is_wrong() -> None:
    assert not apply_waivers(lint(BROKEN), [waiver(days=-1), waiver(days=2)], now=NOW).expired
    assert not apply_waivers(lint(workflow()), [waiver(days=-1)], now=NOW).expired


@pytest.mark.parametrize(("change", "field"), [
    ({"rule": "no-such-rule"}, "rule"), ({"workflow": " "}, "workflow"), ({"owner": ""}, "owner"), ({"reason": ""}, "reason"),
    ({"expires_at": "2026-12-01T00:00"}, "expires_at"), ({"expires_at": "2026-11-21T12:00Z"}, "expires_at"),
    ({"until": "x"}, "until"),
])
def test_a_waiver_that_does_not_fit_is_refused_by_its_field(change: dict[str, Any], field: str) -> None:
    fields = {"rule": "no-trigger", "workflow": "Orders", "owner": "ann", "reason": "why", "expires_at": "2026-12-01T00:00Z"}
    assert new_waiver(fields, now=NOW).covers("Orders", lint(BROKEN).findings[1])
    with pytest.raises(InvalidFields) as refused:
        new_waiver({**fields, **change}, now=NOW)
    assert [problem.field for problem in refused.value.problems] == [field]


# -- real workflows ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of real workflows beside the repository")
def test_real_workflows_have_errors_only_where_they_have_no_name_or_nothing_starts_them() -> None:
    rules: Counter[tuple[LintRule, LintSeverity]] = Counter()
    workflows = named = 0
    for path in sorted(CORPUS.rglob("*.json")):
        try:
            content = read_content(parse_json(path.read_bytes()))
        except MalformedWorkflow:
            continue
        workflows += 1
        report = lint(content)
        assert json.dumps(report.as_json())
        rules.update({(finding.rule, finding.severity) for finding in report.findings})
        named += bool(content["name"])
    assert {rule for rule, severity in rules if severity is ERROR} <= {
        LintRule.WORKFLOW_NAME, LintRule.NO_TRIGGER, LintRule.SWITCHED_OFF_NODE_TYPE, LintRule.MISSING_CREDENTIAL}
    assert rules[LintRule.WORKFLOW_NAME, ERROR] == workflows - named
    assert rules[LintRule.LIKELY_SECRET, WARNING] <= workflows * 0.05
    assert rules[LintRule.ERRORS_IGNORED, WARNING] <= workflows * 0.05
