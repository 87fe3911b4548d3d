"""Notices as messages (§16): what they say, what they hide, and keys that tell them apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.alerts import AlertEvent, AlertEventKind, AlertRule, Comparison, Metric
from wfops_pipelines.domain.approval import ApprovalKind
from wfops_pipelines.domain.escalation import Escalation
from wfops_pipelines.domain.incident import IncidentStatus, Resolution, Severity
from wfops_pipelines.domain.notices import (
    AlertNotice,
    ApprovalRequested,
    DeploymentFailed,
    EnvironmentDown,
    IncidentClosed,
    IncidentEscalated,
    IncidentOf,
    IncidentOpened,
    IncidentSeverityRisen,
    Notice,
    NotificationEvent,
    PromotionNotice,
    SyncFailing,
    TestNotice,
)
from wfops_pipelines.domain.notification import (
    BODY_LIMIT,
    SHORT_LIMIT,
    TITLE_LIMIT,
    Message,
    dedupe_key,
    digest,
    digest_key,
    link_to,
    render,
)

NOW = datetime(2026, 1, 1, 10, tzinfo=UTC)
BASE = "https://dagster.example.com/ui/"
LINK = "https://dagster.example.com/ui/assets/drift_report?view=partitions&partition=prod%7Cacme"
TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
INCIDENT = IncidentOf(UUID(int=7), "acme", "prod", "2 workflows changed", Severity.HIGH, IncidentStatus.DETECTED, NOW,
                      NOW + timedelta(hours=48), "ada", ("Report", "Billing"), "likely edited in n8n by Ada", "3 callers")
RULE = AlertRule("many", Metric.DRIFTED_ENVIRONMENTS, Comparison.ABOVE, 3)

NOTICES: list[Notice] = [
    IncidentOpened(INCIDENT, NOW),
    IncidentEscalated(INCIDENT, NOW, Escalation.OVERDUE, (Escalation.ESCALATED, Escalation.CRITICAL_OVERDUE)),
    IncidentSeverityRisen(INCIDENT, NOW, Severity.LOW),
    IncidentClosed(replace(INCIDENT, status=IncidentStatus.CLOSED), NOW, "ada", Resolution.DRIFT_GONE, "it is gone"),
    ApprovalRequested(INCIDENT, NOW, UUID(int=9), ApprovalKind.EXTEND_TTL, "ada", "on holiday"),
    PromotionNotice("acme", NOW, "prod", "n8n said no", UUID(int=1), NotificationEvent.PROMOTION_FAILED, "dev"),
    PromotionNotice("acme", NOW, "prod", "n8n said no", UUID(int=1), NotificationEvent.PROMOTION_ROLLED_BACK, "dev"),
    PromotionNotice("acme", NOW, "prod", "two approvers", UUID(int=1), NotificationEvent.PROMOTION_WAITING, "dev"),
    EnvironmentDown("acme", NOW, "prod", "no answer"),
    SyncFailing("acme", NOW, "prod", "no answer", 3),
    DeploymentFailed("acme", NOW, "prod", "n8n said no", UUID(int=2)),
    AlertNotice("acme", UUID(int=3), AlertEvent(AlertEventKind.FIRED, RULE, 4, NOW, NOW), "prod"),
    AlertNotice("acme", UUID(int=3), AlertEvent(AlertEventKind.CLEARED, RULE, 1, NOW, NOW), "prod"),
    TestNotice("acme", NOW, "on-call", "ada"),
]


@pytest.mark.parametrize("notice", NOTICES, ids=lambda n: str(n.event))
def test_every_notice_has_a_title_a_text_and_a_short_line(notice: Notice) -> None:
    message = render(notice, BASE)
    assert notice.headline() in message.title and notice.headline() in message.body and notice.headline() in message.short
    assert "\n" not in message.title + message.short
    assert message.link is not None and message.link in message.body and message.short.endswith(message.link)
    assert Message.from_json(message.as_json()) == message


def test_every_event_has_a_notice() -> None:
    assert {notice.event for notice in NOTICES} >= set(NotificationEvent)


def test_an_opened_incident_reads_like_this() -> None:
    message = render(NOTICES[0], BASE)
    assert message.title == "[high] Drift incident in acme / prod: 2 workflows changed"
    assert message.short == f"🟠 Drift incident in acme / prod: 2 workflows changed {LINK}"
    assert message.body == f"""🟠 Drift incident in acme / prod: 2 workflows changed

Environment: acme / prod
Incident: {UUID(int=7)}
Severity: high
Status: detected
Detected: 2026-01-01 10:00 UTC
To be settled by: 2026-01-03 10:00 UTC
Owner: ada
Workflows (2): Report, Billing
Cause: likely edited in n8n by Ada
Reach: 3 callers
Look at it: wfops incident show {UUID(int=7)}

{LINK}
"""


def test_an_escalation_after_an_outage_names_the_levels_that_were_missed() -> None:
    message = render(NOTICES[1])
    assert "Passed without notice: escalated, critical overdue" in message.body
    assert message.severity == "critical" and message.link is None


def test_good_news_carry_a_tick_and_no_severity() -> None:
    message = render(NOTICES[3])
    assert message.title.startswith("Incident in acme / prod is closed (drift gone)")
    assert message.short.startswith("✅")


def test_many_workflows_are_counted_and_the_first_ones_named() -> None:
    message = render(IncidentOpened(replace(INCIDENT, workflows=tuple(f"w{i}" for i in range(25))), NOW))
    assert "Workflows (25): w0, w1" in message.body and "w9 and 15 more" in message.body


def test_secrets_and_control_characters_do_not_get_through() -> None:
    nasty = f"x\x1b[31m\r\nBcc: eve@example.com\u202e\x00 {TOKEN} {TOKEN[:6]}\u200b{TOKEN[6:]}"
    message = render(IncidentOpened(replace(INCIDENT, title=nasty, owner=nasty, workflows=(nasty,), cause=nasty), NOW), BASE)
    for text in (message.title, message.short, message.body):
        assert not any(bad in text for bad in ("\x1b", "\r", "\u202e", "\x00", "\u200b", TOKEN[6:]))
    assert "\nBcc" not in message.body and "\n" not in message.title


@pytest.mark.parametrize(("base", "link"), [
    (None, None), ("", None), ("ftp://example.com", None), ("javascript:alert(1)", None),
    ("http://ui:hunter2@example.com/", "http://example.com/assets/drift_report?view=partitions&partition=prod%7Cacme"),
])
def test_links_are_http_and_hold_no_password(base: str | None, link: str | None) -> None:
    assert link_to(base, "acme", "prod") == link


@given(st.text(max_size=600), st.lists(st.text(max_size=300), max_size=30).map(tuple))
def test_no_text_makes_a_message_too_long_or_cuts_its_link(title: str, workflows: tuple[str, ...]) -> None:
    message = render(IncidentOpened(replace(INCIDENT, title=title, workflows=workflows), NOW), BASE)
    assert len(message.title) <= TITLE_LIMIT and len(message.short) <= SHORT_LIMIT
    assert message.short.endswith(LINK) and "\n" not in message.title + message.short


# -- digests -------------------------------------------------------------------------------------------------------------

def test_a_digest_counts_severities_and_keeps_every_message_in_order() -> None:
    messages = [render(notice, BASE) for notice in NOTICES]
    together = digest(messages, BASE)
    assert together.title == f"[critical] {len(NOTICES)} messages of WorkflowOps: 1 critical, 9 high, 3 medium, 1 low".replace(
        "9 high, 3 medium", f"{sum(m.severity == 'high' for m in messages)} high, {sum(m.severity == 'medium' for m in messages)} medium")
    places = [together.body.index(f"{number}. {message.title}") for number, message in enumerate(messages, 1)]
    assert places == sorted(places)
    assert together.link == "https://dagster.example.com/ui"


def test_a_digest_of_one_is_that_message() -> None:
    message = render(NOTICES[0])
    assert digest([message]) == message
    assert digest_key(["k"]) == "k"


def test_a_long_digest_is_cut_and_says_so() -> None:
    together = digest([render(NOTICES[0])] * 500)
    assert len(together.body) < BODY_LIMIT + 200 and "more" in together.body


# -- keys ----------------------------------------------------------------------------------------------------------------

def test_keys_tell_events_subjects_occurrences_and_targets_apart() -> None:
    keys = [dedupe_key(notice, target) for notice in NOTICES for target in ("a", "b")]
    assert len(set(keys)) == len(keys)


def test_the_same_event_has_the_same_key_however_it_reads_by_now() -> None:
    later = IncidentOpened(replace(INCIDENT, owner="bob", status=IncidentStatus.ACKNOWLEDGED), NOW + timedelta(hours=1))
    assert dedupe_key(later, "a") == dedupe_key(NOTICES[0], "a")
    level = IncidentEscalated(INCIDENT, NOW, Escalation.ESCALATED)
    assert dedupe_key(level, "a") != dedupe_key(NOTICES[1], "a")
