"""The ticks of the outbox and of the alert rules (§16, §24): they do the work and say what they did."""

from __future__ import annotations

import dagster as dg

from wfops_pipelines.defs.notifications.sensors import alert_rules, outbox
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.domain.fleet import load_fleet
from wfops_pipelines.services.alert_rules import set_rule
from wfops_pipelines.services.apply_fleet import apply_fleet
from wfops_pipelines_tests.defs.conftest import Given
from wfops_pipelines_tests.services.outbox import Receiver


def tick(given: Given, sensor: dg.SensorDefinition) -> str:
    said = sensor(dg.build_sensor_context(instance=given.instance, resources={"wfops": Wfops()}))
    assert isinstance(said, dg.SkipReason)
    return said.skip_message or ""


def test_an_alert_goes_from_its_rule_to_a_receiver(given: Given) -> None:
    services = given.installation.services
    assert tick(given, alert_rules) == "no alert rule is due" and tick(given, outbox) == "nothing is due"
    with Receiver() as hook:
        fleet = load_fleet("version: 1\ntenants:\n  - slug: acme\n    notifications: [{name: hook, url: 'env:HOOK'}]\n",
                           file="fleet.yaml")
        apply_fleet(services, fleet, lambda reference: hook.url, actor="local:test")
        set_rule(services, services.context("acme", actor="local:test"), "any",
                 {"metric": "sync_age", "comparison": ">=", "threshold": 0, "severity": "critical"})
        assert tick(given, alert_rules) == "1 looked at: 1 fired"
        assert tick(given, alert_rules) == "no alert rule is due"  # looked at a moment ago
        assert tick(given, outbox) == "1 sent" and tick(given, outbox) == "nothing is due"
    assert hook.titles[0].startswith("[critical] Alert for acme: any fires: ")
