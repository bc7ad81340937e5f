"""What the chart gives to Prometheus, Grafana and KEDA: whole, and such that their own tools take it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from agent.metrics import Metrics
from tests.helm.chart import CHART, RELEASE, example, merged, only, render
from tests.helm.monitoring import needs

RULES = YAML(typ="safe").load((CHART / "files" / "rules.yaml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]


def rules(docs: str = "", **settings: Any) -> list[dict[str, Any]]:
    """The groups of the rendered PrometheusRule."""
    values = merged(example("small"), {"prometheusRule": {"enabled": True, **settings}, "docsUrl": docs})
    groups: list[dict[str, Any]] = only(render(values), "PrometheusRule")["spec"]["groups"]
    return groups


def test_the_rules_reach_the_cluster_as_they_are_in_the_file() -> None:
    assert rules() == RULES["groups"]


def test_prometheus_takes_the_rules_that_are_rendered(tmp_path: Path) -> None:
    groups = rules("https://docs.example.com", disabled=[ALERTS[0]["alert"]], alertLabels={"team": "x"})
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": groups}))
    checked = [needs("promtool", "prometheus"), "check", "rules", str(file)]
    done = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{sum(len(group['rules']) for group in groups)} rules found" in done.stdout


def test_an_alert_can_be_left_out() -> None:
    names = [rule.get("alert") for group in rules(disabled=[ALERTS[0]["alert"]]) for rule in group["rules"]]
    assert ALERTS[0]["alert"] not in names
    assert len([name for name in names if name]) == len(ALERTS) - 1


def test_a_group_without_rules_is_no_group() -> None:
    named = {rule["alert"] for rule in ALERTS}
    left = rules(disabled=sorted(named))
    assert left
    assert all(group["rules"] and not {"alert"} & set().union(*group["rules"]) for group in left)


def test_labels_are_added_to_alerts_and_replace_none() -> None:
    found = [rule for group in rules(alertLabels={"team": "x", "severity": "none"}) for rule in group["rules"]]
    for rule in found:
        assert rule.get("labels", {}).get("team") == ("x" if "alert" in rule else None)
    assert {rule["labels"]["severity"] for rule in found if "alert" in rule} == {"page", "ticket"}


@pytest.mark.parametrize("docs", ["https://docs.example.com/vw", "https://docs.example.com/vw/"])
def test_runbook_links_lead_to_where_the_runbooks_are(docs: str) -> None:
    found = [rule for group in rules(docs) for rule in group["rules"]]
    links = [rule["annotations"]["runbook_url"] for rule in found if "alert" in rule]
    assert links == [f"https://docs.example.com/vw/runbooks.md#{rule['alert'].lower()}" for rule in ALERTS]


def test_prometheus_scrapes_the_agents_of_both_roles_as_one_job() -> None:
    manifests = render(example("hardened"))
    monitor, service = only(manifests, "ServiceMonitor"), only(manifests, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
    assert [each["name"] for each in service["spec"]["ports"]] == ["http"]


def test_an_agent_that_is_not_ready_is_scraped_too() -> None:
    assert only(render(example("small")), "Service")["spec"]["publishNotReadyAddresses"] is True


def test_without_the_operator_annotations_lead_prometheus_to_the_pods() -> None:
    deployment = only(render(merged(example("small"), {"scrapeAnnotations": True, "port": 9000})), "Deployment")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert {key: value for key, value in annotations.items() if key.startswith("prometheus.io/")} == {
        "prometheus.io/scrape": "true",
        "prometheus.io/path": "/metrics",
        "prometheus.io/port": "9000",
    }


def dashboard(docs: str) -> str:
    found = only(render(merged(example("production"), {"docsUrl": docs})), "ConfigMap", f"{RELEASE}-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Integrations"}
    return str(found["data"]["vendorwire.json"])


def test_grafana_finds_the_dashboard_as_it_is_in_the_file() -> None:
    assert json.loads(dashboard("")) == json.loads((CHART / "files" / "dashboard.json").read_text())


def test_the_dashboard_leads_to_where_the_papers_are() -> None:
    text = dashboard("https://docs.example.com/vw/")
    assert "https://docs.example.com/vw/runbooks.md" in text
    assert set(re.findall(r"https?://[^/\"]+", text)) == {"https://docs.example.com"}


@pytest.mark.parametrize(
    ("pending", "agents"), [([0, 0], 0), ([0, 1], 1), ([50, 100], 1), ([101, 0], 1), ([500, 200, 101], 3)]
)
def test_keda_wants_an_agent_for_each_route_with_a_backlog_and_one_while_anything_waits(
    pending: list[int], agents: int, tmp_path: Path
) -> None:
    trigger = only(render(example("hardened")), "ScaledObject")["spec"]["triggers"][0]
    assert (trigger["metricType"], trigger["metadata"]["threshold"]) == ("AverageValue", "1")
    assert "vendorwire_route_pending" in Metrics("0", lambda: 0.0).render("")[0].decode()
    told = [
        {
            "series": f'vendorwire_route_pending{{namespace="{namespace}",job="{job}",pod="{pod}",route="{route}"}}',
            "values": value,
        }
        for pod in ("a", "b")
        for namespace, job, values in (
            ("integrations", RELEASE, pending),
            ("integrations", "other", [1000] * 9),
            ("elsewhere", RELEASE, [1000] * 9),
        )
        for route, value in enumerate(values)
    ]
    expected = {
        "expr": trigger["metadata"]["query"],
        "eval_time": "0m",
        "exp_samples": [{"labels": "{}", "value": agents}],
    }
    test = {"rule_files": [], "tests": [{"interval": "1m", "input_series": told, "promql_expr_test": [expected]}]}
    file = tmp_path / "test.yaml"
    file.write_text(json.dumps(test))
    command = [needs("promtool", "prometheus"), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
