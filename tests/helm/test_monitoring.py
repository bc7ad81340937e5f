"""What docs/monitoring.md says to do, done: Prometheus, Alertmanager, the chart and sed take what is written there."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from ruamel.yaml import YAML

from helm.dashboard import DOCS
from tests.agent.harness import until
from tests.helm.chart import example, only, render
from tests.helm.monitoring import Labels, Page, alertmanager, needs, pager
from tests.helm.queries import DASHBOARD, RULES, rules
from tests.papers import ROOT, block, blocks

GUIDE = ROOT / "docs" / "monitoring.md"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
OURS = "https://docs.example.com/vendorwire/"


def test_prometheus_takes_its_configuration_and_the_rules_beside_it(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    file = tmp_path / "prometheus.yml"
    file.write_text(block(GUIDE, "yml", "scrape_configs"))
    said = ran(needs("promtool", "prometheus"), "check", "config", str(file))
    assert f"{len(rules())} rules found" in said


def test_alertmanager_takes_its_configuration_with_the_inhibitions_of_the_runbooks(tmp_path: Path) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(block(GUIDE, "yml", "receivers") + block(RUNBOOKS, "yml", "inhibit_rules"))
    said = ran(needs("amtool", "prometheus-alertmanager"), "check-config", str(file))
    assert f"{len(inhibitions())} inhibit rules" in said
    assert "2 receivers" in said


@pytest.mark.anyio
async def test_with_the_inhibitions_one_cause_is_one_page(tmp_path: Path) -> None:
    cause = {"alertname": "VendorwireCredentialsRefused", "account": "hotel-roma"}
    follows = {"alertname": "VendorwireAccountStale", "account": "hotel-roma", "resource": "booking"}
    another = {"alertname": "VendorwireAccountStale", "account": "cottages", "resource": "booking"}
    async with pager() as page, alertmanager(tmp_path, page.url, inhibitions()) as desk:
        await raise_alert(desk, cause)
        await until(lambda: len(page.pages) == 1)
        await raise_alert(desk, follows)
        await raise_alert(desk, another)
        await until(lambda: len(page.pages) > 1)
    assert [each.labels for each in page.pages] == [cause, another]


@pytest.mark.anyio
async def test_the_alert_put_in_by_hand_arrives(tmp_path: Path) -> None:
    needs("amtool", "prometheus-alertmanager")
    async with pager() as page, alertmanager(tmp_path, page.url) as desk:
        command = block(GUIDE, "sh", "alert add").replace("alertmanager.internal:9093", desk)
        await anyio.run_process(["sh", "-c", command])
        await until(lambda: page.pages != [])
    assert page.pages[0].labels["account"] == "drill"
    assert page.pages[0].annotations == {"summary": "A drill: nothing is wrong."}


def test_the_chart_makes_a_rule_a_monitor_and_a_dashboard_of_the_values_shown() -> None:
    shown = YAML(typ="safe").load(block(GUIDE, "yml", "prometheusRule"))
    made = render({**example("small"), **shown})
    assert only(made, "ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"
    dashboard = only(made, "ConfigMap", "vendorwire-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    (told,) = dashboard["data"].values()
    assert json.loads(told.replace(OURS, f"{DOCS}/")) == json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert OURS in told
    assert DOCS not in told
    rule_groups = only(made, "PrometheusRule")["spec"]["groups"]
    alerts = [rule for group in rule_groups for rule in group["rules"] if "alert" in rule]
    assert alerts
    assert all(alert["annotations"]["runbook_url"].startswith(f"{OURS}runbooks.md#") for alert in alerts)


def test_the_commands_shown_put_the_readers_own_address_into_the_links(tmp_path: Path) -> None:
    for file in (RULES, DASHBOARD):
        shutil.copy(file, tmp_path)
    commands = [each for each in blocks(GUIDE, "sh") if each.startswith("sed ")]
    assert len(commands) == 2
    for command in commands:
        subprocess.run(command, cwd=tmp_path, shell=True, check=True)
    links = re.findall(r'(?:runbook_url: |"url": ")([^\s"]+)', (tmp_path / "rules.yaml").read_text())
    links += re.findall(r'"url": "([^"]+)"', (tmp_path / "dashboard.json").read_text())
    assert len(links) > 40
    assert [link for link in links if not link.startswith(OURS)] == []
    changed = set((tmp_path / "rules.yaml").read_text().splitlines()) - set(RULES.read_text().splitlines())
    assert [line for line in changed if "runbook_url: " not in line] == []


def test_the_page_shown_is_that_of_the_rule() -> None:
    (text,) = blocks(GUIDE, "json")
    told = json.loads(text)
    page = Page(**told)
    (rule,) = [rule for rule in rules() if rule.alert == page.labels["alertname"]]
    assert rule.annotations["description"] == page.annotations["description"]
    assert OURS + rule.annotations["runbook_url"] == page.annotations["runbook_url"]
    summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: page.labels[found[1]], rule.annotations["summary"])
    assert summary == page.annotations["summary"]


def inhibitions() -> list[Any]:
    found: list[Any] = YAML(typ="safe").load(block(RUNBOOKS, "yml", "inhibit_rules"))["inhibit_rules"]
    return found


async def raise_alert(desk: str, labels: Labels) -> None:
    """As Prometheus does."""
    body = [{"labels": labels}]
    async with aiohttp.ClientSession() as session, session.post(f"http://{desk}/api/v2/alerts", json=body) as reply:
        assert reply.status == 200


def ran(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
