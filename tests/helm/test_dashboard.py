"""The dashboard: made by its generator, whole, on any Prometheus, and of figures that agents tell."""

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import parser

from agent import arguments
from agent.metrics import Metrics
from helm.dashboard import DOCS, build
from schemas.changes import Scope
from schemas.facts import StorageState
from tests.helm.monitoring import JOB, needs
from tests.helm.queries import DASHBOARD, Tree, chosen, dashboard, offered, panels, rules, selectors, shown
from tests.papers import ROOT
from tests.test_docs import anchors

OF_PROMETHEUS = {"ALERTS"}
OF_THE_PROCESS = {"process_cpu_seconds_total", "process_max_fds", "process_open_fds", "process_resident_memory_bytes"}
OF_GRAFANA = {"__rate_interval"}


def test_the_file_is_what_its_generator_makes() -> None:
    assert DASHBOARD.read_text(encoding="utf-8") == build(), "write it anew: python -m helm.dashboard"


def test_every_panel_says_what_it_shows_in_which_unit_and_what_to_do() -> None:
    silent = [
        panel["title"]
        for panel in panels()
        if not (panel["title"] and panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"])
    ]
    assert silent == []


def test_no_two_panels_have_one_id() -> None:
    ids = [panel["id"] for panel in panels(rows=True)]
    assert sorted(ids) == list(range(1, len(ids) + 1))


def test_panels_fill_the_grid_and_none_lies_on_another() -> None:
    places = [place for panel in panels(rows=True) for place in cells(panel)]
    height = max(y for _, y in places) + 1
    assert sorted(places) == sorted(itertools.product(range(24), range(height)))


def test_the_first_thing_seen_is_whether_anything_is_wrong() -> None:
    top = list(itertools.takewhile(lambda panel: panel["type"] != "row", panels(rows=True)))
    *tiles, fired = top
    assert {panel["type"] for panel in tiles} == {"stat"}
    assert all(len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1 for panel in tiles)
    assert "ALERTS" in fired["targets"][0]["expr"]


def test_it_reads_from_the_prometheus_that_is_chosen_and_from_no_other() -> None:
    assert set(sources(dashboard())) == {json.dumps({"type": "prometheus", "uid": "${datasource}"})}
    assert all("datasource" in panel for panel in panels())


def test_each_variable_is_used_and_none_is_unknown() -> None:
    declared = {each["name"] for each in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard())))
    assert used - OF_GRAFANA == declared


def test_every_metric_asked_for_is_one_that_an_agent_tells_or_a_rule_records() -> None:
    known = told() | {rule.record for rule in rules()} | OF_PROMETHEUS | OF_THE_PROCESS
    asked = {name for query in (*shown(), *offered()) for name, _ in selectors(query.expression)}
    assert asked - known == set()


def test_every_figure_is_of_the_installation_that_is_chosen() -> None:
    strays = [
        f"{query.where}: {name}"
        for query in shown()
        for name, labels in selectors(query.expression)
        if 'job="$job"' not in labels and name not in OF_PROMETHEUS
    ]
    assert strays == []


def test_every_link_leads_to_a_heading_of_the_papers() -> None:
    urls = [link["url"] for each in (dashboard(), *panels()) for link in each.get("links", [])]
    lost = []
    for url in urls:
        file, _, anchor = url.removeprefix(f"{DOCS}/").partition("#")
        paper = ROOT / "docs" / file
        if not (paper.is_file() and (not anchor or anchor in anchors(paper))):
            lost.append(url)
    assert urls
    assert lost == []


def test_every_command_it_names_is_there() -> None:
    commands = set(re.findall(r"`vendorwire (\w+)", " ".join(panel["description"] for panel in panels())))
    assert commands
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            arguments.parser().parse_args([command, "--help"])
        assert ended.value.code == 0


# What each of four agents tells: two that have long been there, one that has just begun, and one that has lost the bus.
TOLD = {
    'vendorwire_build_info{version="1"}': (1, 1, 1, 1),
    "vendorwire_bus_connected": (1, 1, 1, 0),
    'vendorwire_poll_last_success_timestamp_seconds{vendor="v",account="a",resource="r"}': (3590, 3580, 0, 3000),
    'vendorwire_poll_interval_seconds{vendor="v",account="a",resource="r"}': (60, 60, 60, 60),
    'vendorwire_poll_last_success_timestamp_seconds{vendor="v",account="old",resource="r"}': (3000, 3000, 0, 3000),
    'vendorwire_poll_interval_seconds{vendor="v",account="old",resource="r"}': (60, 60, 60, 60),
    'vendorwire_poll_last_success_timestamp_seconds{vendor="v",account="new",resource="r"}': (0, 0, 0, 0),
    'vendorwire_poll_interval_seconds{vendor="v",account="new",resource="r"}': (60, 60, 60, 60),
    'vendorwire_token_healthy{vendor="v",account="a"}': (1, 1, 1, 0),
    'vendorwire_token_healthy{vendor="v",account="old"}': (0, 0, 0, 1),
    'vendorwire_token_healthy{vendor="v",account="new"}': (1, 0, 1, 1),
    'vendorwire_deletes_held{vendor="v",account="a",resource="r"}': (12, 12, 12, 40),
    'vendorwire_route_circuit_open{route="crm"}': (1, 1, 1, 0),
    'vendorwire_route_circuit_open{route="pms"}': (0, 0, 0, 1),
    'vendorwire_route_pending{route="crm"}': (40, 41, 40, 999),
    'vendorwire_route_pending{route="pms"}': (2, 2, 2, 999),
    'vendorwire_dead_letters{route="crm"}': (5, 5, 5, 99),
    'vendorwire_stream_bytes{stream="ledger"}': (900, 900, 900, 800),
    'vendorwire_stream_limit_bytes{stream="ledger"}': (1000, 1000, 1000, 1000),
    'vendorwire_stream_bytes{stream="attempts"}': (500, 500, 500, 500),
    'vendorwire_stream_limit_bytes{stream="attempts"}': (500, 500, 500, 500),
    'vendorwire_stream_bytes{stream="dead"}': (10, 10, 10, 10),
}
SEEN = {
    "Alerts firing": 1,
    "Agents": 4,
    "Bus": 0,
    "Stale": 1,
    "Never read": 1,
    "Credentials refused": 2,
    "Deletes held": 12,
    "Unreadable, last hour": 4,
    "Routes at rest": 1,
    "Events waiting": 43,
    "Dead letters": 5,
    "Fullest stream": 0.9,
}


def test_four_agents_that_tell_the_same_are_not_four_troubles(tmp_path: Path) -> None:
    series = [
        {"series": labelled(name, f"agent-{number}"), "values": f"{value}+0x60"}
        for name, values in TOLD.items()
        for number, value in enumerate(values)
    ]
    # What only the agent that polled counts.
    unread = 'vendorwire_records_quarantined_total{vendor="v",account="a",resource="r"}'
    series += [{"series": labelled(unread, f"agent-{number}"), "values": "0x59 2"} for number in (0, 1)]
    series.append({"series": 'ALERTS{alertname="VendorwireX",alertstate="firing",account="old"}', "values": "1x60"})
    series.append({"series": 'vendorwire_build_info{job="another",instance="other"}', "values": "1x60"})
    tiles = {panel["title"]: chosen(panel["targets"][0]["expr"]) for panel in panels() if panel["type"] == "stat"}
    assert tiles.keys() == SEEN.keys()
    asked = [
        {"expr": expression, "eval_time": "1h", "exp_samples": [{"labels": "{}", "value": SEEN[title]}]}
        for title, expression in tiles.items()
    ]
    file = tmp_path / "tiles.json"
    file.write_text(json.dumps({"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": asked}]}))
    promtool = needs("promtool", "prometheus")
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def cells(panel: Tree) -> Iterator[tuple[int, int]]:
    """The places of the grid that a panel takes."""
    grid = panel["gridPos"]
    columns, lines = range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])
    yield from itertools.product(columns, lines)


def sources(tree: Tree) -> Iterator[str]:
    """Every data source named anywhere."""
    if isinstance(tree, dict):
        yield from (json.dumps(each, sort_keys=True) for name, each in tree.items() if name == "datasource")
        tree = list(tree.values())
    if isinstance(tree, list):
        yield from itertools.chain.from_iterable(sources(each) for each in tree)


def told() -> set[str]:
    """The names of all series that an agent exposes."""
    metrics = Metrics("1")
    metrics.declare([Scope("octorate", "hotel", "booking")], ["crm"])
    metrics.observe(StorageState(used=1, limit=2))  # which there is only where there is a limit
    text = metrics.render("")[0].decode()
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
    families = parser.text_string_to_metric_families(text)
    return {family.name + suffix for family in families for suffix in suffixes.get(family.type, ())}


def labelled(series: str, instance: str) -> str:
    name, _, labels = series.rstrip("}").partition("{")
    return f'{name}{{job="{JOB}",instance="{instance}"{"," if labels else ""}{labels}}}'
