"""Alert rules and the dashboard ask for figures that exist, by labels that they have (§15)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest

from wfops_pipelines.domain.metrics import METRICS, Metric
from wfops_pipelines.services.metrics import known_samples
from wfops_pipelines_tests.deploy.files import DEPLOY, read, read_all

PROMETHEUS_OWN = {"up": {"job", "instance"}}
OF_SAMPLE: dict[str, Metric] = {sample: metric for metric in METRICS for sample in metric.samples}


def rules() -> list[dict[str, Any]]:
    """Every alert rule."""
    return [rule for group in read("prometheus/alerts.yaml")["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Every panel of the dashboard."""
    return [panel for panel in read("grafana/wfops.json")["panels"] if panel["type"] != "row"]


def queries() -> list[tuple[str, str]]:
    """Every query, with what it is for."""
    return [(rule["alert"], rule["expr"]) for rule in rules()] + [
        (panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def selectors(expression: Any) -> Iterator[Any]:
    """The selections of a parsed query."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (inner := getattr(expression, name, None)) is not None:
            yield from selectors(inner)
    for inner in getattr(expression, "args", None) or []:
        yield from selectors(inner)


@pytest.mark.parametrize(("what", "query"), queries(), ids=lambda text: text[:40])
def test_a_query_is_one_and_asks_for_what_there_is(what: str, query: str) -> None:
    found = list(selectors(promql_parser.parse(query)))
    assert found, what
    labels: set[str] = set()
    for selector in found:
        if selector.name in PROMETHEUS_OWN:
            labels |= PROMETHEUS_OWN[selector.name]
            continue
        assert selector.name in known_samples(), selector.name
        metric = OF_SAMPLE[selector.name]
        has = set(metric.labels) | ({"le"} if metric.kind == "histogram" else set())
        assert {matcher.name for matcher in selector.matchers.matchers} <= has
        labels |= has
    for group in re.findall(r"\bby \(([^)]*)\)", query):
        assert {label.strip() for label in group.split(",")} <= labels


def test_every_figure_is_looked_at_by_somebody() -> None:
    asked = {selector.name for _, query in queries() for selector in selectors(promql_parser.parse(query))}
    unseen = {metric.name for metric in METRICS if not metric.samples & asked}
    assert unseen == set()


def test_legends_name_labels_that_the_query_leaves() -> None:
    for panel in panels():
        for target in panel["targets"]:
            metrics = [OF_SAMPLE[s.name] for s in selectors(promql_parser.parse(target["expr"]))]
            left = {label for metric in metrics for label in metric.labels}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= left, panel["title"]


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in read("grafana/wfops.json")["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in read("grafana/wfops.json")["panels"]}) == len(read("grafana/wfops.json")["panels"])


def test_alerts_are_told_apart_and_say_what_to_look_at() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert rule["labels"]["severity"] in {"low", "medium", "high", "critical"}
        assert rule["annotations"]["summary"]


def test_prometheus_reads_the_rules_beside_it_and_asks_where_the_figures_are() -> None:
    config = read("prometheus/prometheus.yaml")
    assert config["rule_files"] == ["alerts.yaml"]
    [job] = config["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("wfops", "/metrics")
    assert job["static_configs"] == [{"targets": ["api:3900"]}]


def test_prometheus_in_kubernetes_shows_the_token_and_calls_the_job_as_the_alerts_do() -> None:
    monitor = read("kubernetes/monitoring.yaml")["spec"]
    service = next(one for one in read_all("kubernetes/api.yaml") if one["kind"] == "Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    [endpoint] = monitor["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (service["spec"]["ports"][0]["name"], "/metrics")
    assert endpoint["authorization"]["credentials"] == {"name": "wfops", "key": "WFOPS_METRICS_TOKEN"}
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "wfops"}]
    assert "prometheus.io/" not in (DEPLOY / "kubernetes/api.yaml").read_text()  # such a scrape has no token to show


def test_an_api_that_prometheus_does_not_know_is_down_too() -> None:
    [down] = [rule["expr"] for rule in rules() if rule["alert"] == "WfopsDown"]
    assert 'absent(up{job="wfops"})' in down


def test_a_scrape_waits_for_the_word_that_the_database_is_gone() -> None:
    """Else Prometheus gives up at the same moment, and the API is taken for what is down."""
    config = read("prometheus/prometheus.yaml")["global"]
    [endpoint] = read("kubernetes/monitoring.yaml")["spec"]["endpoints"]
    for said in (config["scrape_timeout"], endpoint["scrapeTimeout"]):  # a connection may take 10 s (store.engine)
        assert 10 < int(said.removesuffix("s")) < int(config["scrape_interval"].removesuffix("s"))


def test_an_outage_that_sweeps_alone_meet_is_told() -> None:
    """A look is no operation, and its calls are in none; an n8n that does not answer for long is not even looked at."""
    told = {selector.name: {str(matcher.value) for matcher in selector.matchers.matchers} for rule in rules()
            for selector in selectors(promql_parser.parse(rule["expr"])) if selector.matchers.matchers}
    assert "wfops_sweep_environments_total" in told
    assert told["wfops_instance_circuits"] == {"open"}
