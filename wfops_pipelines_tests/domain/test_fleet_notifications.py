"""Notification targets in fleet.yaml (§16): when and of what they are told."""

from __future__ import annotations

import json
from datetime import time
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from wfops_pipelines.domain.errors import InvalidDocument
from wfops_pipelines.domain.fleet import fleet_json_schema
from wfops_pipelines.domain.fleet_specs import NotificationSpec
from wfops_pipelines_tests.domain.fleet_example import example, load

TEXT = """\
version: 1
tenants:
  - slug: acme
    notifications:
      - name: on-call
        url: env:ACME_SLACK_URL
        min_severity: high
        digest_minutes: 15
        quiet_hours: {start: 22:00, end: 07:00, zone: Europe/Berlin, days: [mon, fri], whole_days: [sat, sun]}
"""


def target(**options: Any) -> NotificationSpec:
    document = example()
    document["tenants"][0]["notifications"] = [{"name": "on-call", "url": "env:URL", **options}]
    return load(yaml.safe_dump(document)).tenants[0].notifications[0]


def test_a_target_says_when_it_is_told_and_of_what() -> None:
    (found,) = load(TEXT).tenants[0].notifications
    assert (found.min_severity, found.digest_minutes) == ("high", 15)
    assert found.quiet_hours is not None
    hours = found.quiet_hours.hours()
    assert (hours.start, hours.end, hours.zone) == (time(22), time(7), "Europe/Berlin")
    assert (hours.days, hours.whole_days, hours.critical_passes) == (frozenset({0, 4}), frozenset({5, 6}), True)


def test_without_a_word_a_target_is_told_everything_at_once() -> None:
    found = target()
    assert (found.events, found.min_severity, found.quiet_hours, found.digest_minutes) == ([], "low", None, 0)


@pytest.mark.parametrize(("options", "field", "message"), [
    ({"quiet_hours": {"start": "22:00"}}, "quiet_hours.end", "is required"),
    ({"quiet_hours": {"start": "25:00", "end": "07:00"}}, "quiet_hours.start", "a time of the day"),
    ({"quiet_hours": {"start": "7:00", "end": "07:00"}}, "quiet_hours.start", "a time of the day"),
    ({"quiet_hours": {"start": "22:00", "end": "07:00", "zone": "Mars/Olympus"}}, "quiet_hours", "no time zone is called"),
    ({"quiet_hours": {"start": "08:00", "end": "08:00"}}, "quiet_hours", "never end"),
    ({"quiet_hours": {"start": "22:00", "end": "07:00", "days": ["monday"]}}, "quiet_hours.days[0]", "mon"),
    ({"quiet_hours": {"start": "22:00", "end": "07:00", "until": "x"}}, "quiet_hours.until", "is no field"),
    ({"digest_minutes": -1}, "digest_minutes", "greater"), ({"digest_minutes": "5"}, "digest_minutes", "whole number"),
    ({"digest_minutes": 1441}, "digest_minutes", "less"), ({"min_severity": "awful"}, "min_severity", "critical"),
])
def test_mistakes_name_their_field(options: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        target(**options)
    problem = refused.value.problems[0]
    assert problem.field == f"tenants[0].notifications[0].{field}" and message in problem.message


def test_the_schema_knows_the_fields_and_gives_examples() -> None:
    schema = fleet_json_schema()
    validator = Draft202012Validator(schema)
    document = yaml.load(TEXT, Loader=yaml.BaseLoader)  # every scalar is text, as 22:00 is to us
    document["version"], document["tenants"][0]["notifications"][0]["digest_minutes"] = 1, 15
    assert not list(validator.iter_errors(document))
    document["tenants"][0]["notifications"][0]["quiet_hours"]["start"] = "25:00"
    assert list(validator.iter_errors(document))
    described = schema["$defs"]["NotificationSpec"]["properties"]
    assert all(described[name]["description"] and described[name]["examples"] for name in described)
    assert "Europe/Berlin" in json.dumps(schema["$defs"]["QuietHoursSpec"])
