"""Alerts, dashboards and scrape configuration: well-formed, tested, and about figures that are really there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.reference.markdown import anchor
from tests.deploy.conftest import DEPLOY, OBSERVABILITY, ROOT, Tool, load, succeeded

PROMETHEUS = OBSERVABILITY / "prometheus"
RULES = PROMETHEUS / "casaflow.rules.yml"
UNIT_TESTS = PROMETHEUS / "casaflow.rules.test.yml"
DASHBOARDS = sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json"))
RUNBOOKS = ROOT / "docs" / "operating" / "runbooks.md"
_BASE = "https://casaflow.bank.example/docs/operating/runbooks#"


def alerts() -> list[dict[str, Any]]:
    return [rule for group in load(RULES)["groups"] for rule in group["rules"] if "alert" in rule]


def records() -> list[dict[str, Any]]:
    return [rule for group in load(RULES)["groups"] for rule in group["rules"] if "record" in rule]


def expressions(dashboard: Path) -> list[tuple[str, str]]:
    """Each panel's title with each of its queries, as Prometheus gets them."""
    panels = json.loads(dashboard.read_text(encoding="utf-8"))["panels"]
    return [(panel["title"], target["expr"].replace("$__rate_interval", "1m")) for panel in panels for target in panel.get("targets", [])]


@pytest.mark.deploy
def test_promtool_takes_rules_and_configuration_and_every_alert_fires_when_it_should(tool: Tool) -> None:
    succeeded(tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES))
    succeeded(tool("promtool", "check", "config", "--lint=all", "--lint-fatal", PROMETHEUS / "prometheus.yml"))
    assert "SUCCESS" in succeeded(tool("promtool", "test", "rules", UNIT_TESTS))


@pytest.mark.deploy
@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_a_dashboard_is_one_that_prometheus_understands(tool: Tool, dashboard: Path, tmp_path: Path) -> None:
    rules = [{"record": f"query:{place}", "expr": expression} for place, (_, expression) in enumerate(expressions(dashboard))]
    assert len(rules) > 10
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": dashboard.stem, "rules": rules}]}))
    succeeded(tool("promtool", "check", "rules", "--lint=none", tmp_path / "rules.yml"))


def test_every_alert_is_tested_when_it_fires_and_when_it_keeps_quiet() -> None:
    tested = [case for each in load(UNIT_TESTS)["tests"] for case in each["alert_rule_test"]]
    fires = {case["alertname"] for case in tested if case["exp_alerts"]}
    quiet = {case["alertname"] for case in tested if not case["exp_alerts"]}
    assert fires == quiet == {alert["alert"] for alert in alerts()}


def test_every_alert_says_what_it_means_and_has_a_runbook() -> None:
    headings = {anchor(line.lstrip("# ")) for line in RUNBOOKS.read_text(encoding="utf-8").splitlines() if line.startswith("#")}
    for alert in alerts():
        name = alert["alert"]
        assert alert["labels"]["severity"] in {"page", "ticket"}, name
        assert {"summary", "description", "runbook_url"} == set(alert["annotations"]), name
        assert alert["annotations"]["runbook_url"] == _BASE + name.lower(), name
        assert name.lower() in headings, f"{name} has no section in {RUNBOOKS.name}"
    written = {heading for heading in headings if heading.startswith("casaflow")}
    assert written == {alert["alert"].lower() for alert in alerts()}, "a runbook of an alert that is not there"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_can_be_provisioned(dashboard: Path) -> None:
    found = json.loads(dashboard.read_text(encoding="utf-8"))
    assert found["uid"] == f"casaflow-{dashboard.stem}"
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}, panel["title"]
            assert "unit" in panel["fieldConfig"]["defaults"], panel["title"]
    source = load(OBSERVABILITY / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"][0]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")


def test_the_dashboards_show_what_operators_are_promised() -> None:
    shown = " ".join(expression for dashboard in DASHBOARDS for _, expression in expressions(dashboard))
    for wanted in (
        "casaflow:transactions_completed:rate1m", "casaflow_http_request_duration_seconds_bucket",
        "casaflow_ledger_batch_wait_seconds_bucket", "casaflow_ledger_batch_duration_seconds_bucket",
        "casaflow_ledger_batch_postings_sum", "casaflow_ledger_refusals_total",
        "casaflow_transactions_parked", "casaflow_outbox_oldest_age_seconds", "casaflow_consumer_lag_records",
        "casaflow_oldest_writing_transaction_seconds", "casaflow_longest_tail_credits",
    ):  # fmt: skip
        assert wanted in shown, wanted


def test_the_chart_ships_these_very_files() -> None:
    files = DEPLOY / "helm" / "casaflow" / "files"
    links = {path.relative_to(files): path for path in files.rglob("*") if not path.is_dir()}
    assert {path.resolve() for path in links.values()} == {RULES, *DASHBOARDS}
    assert all(path.is_symlink() for path in links.values()), "a copy would grow apart from what it was copied from"


def test_the_collector_takes_what_casaflow_sends_and_hands_it_on() -> None:
    folder = OBSERVABILITY / "collector"
    base, forward = load(folder / "otel-collector.yml"), load(folder / "forward.yml")
    for configuration in (base, {**base, "exporters": {**base["exporters"], **forward["exporters"]}, "service": _merged(base, forward)}):
        (pipeline,) = configuration["service"]["pipelines"].items()
        assert pipeline[0] == "traces", "casaflow sends spans only"
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[1][kind]) <= set(configuration[kind]), kind
        assert set(configuration["service"]["extensions"]) <= set(configuration["extensions"])
        assert pipeline[1]["processors"][0] == "memory_limiter", "the limit must be looked at before anything is kept"
    port = base["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    sends = load(DEPLOY / "compose" / "compose.yaml")["x-environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert re.fullmatch(rf"http://otel-collector:{port}", sends)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    traces = {**base["service"]["pipelines"]["traces"], **over["service"]["pipelines"]["traces"]}
    return {**base["service"], "pipelines": {"traces": traces}}
