"""The shipped alerts: each fires when it should, once, with its sentence, stays quiet otherwise, and has its runbook."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.helm.monitoring import ALERTMANAGER, needs
from tests.helm.promtool import ROOT, RULES, alerts, promtool, read, tried
from tests.papers import blocks

CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks.md"
PARTS = ("Means", "Suffers", "Look", "Do", "Leave it")
SEVERITIES = {"page", "ticket"}
LONGEST = 230  # characters of a summary with its labels: what a pager shows

Tree = Any  # YAML


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    status, said = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert status == 0, said


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_the_alerts_fire_and_stay_quiet_as_told(file: Path, tmp_path: Path) -> None:
    status, said = tried(read(file), tmp_path)
    assert status == 0, said


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_stays_quiet() -> None:
    told = list(expectations())
    assert {each["alertname"] for each in told if each.get("exp_alerts")} == set(alerts())
    assert {each["alertname"] for each in told if not each.get("exp_alerts")} == set(alerts())


@pytest.mark.parametrize("name", alerts())
def test_each_alert_says_how_bad_it_is_what_to_do_and_where_it_is_explained(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"runbooks.md#{name.lower()}"
    assert "$" not in rule["annotations"]["description"], "what varies belongs into the summary"
    assert len(rule["annotations"]["summary"]) <= LONGEST


@pytest.mark.parametrize("name", alerts())
def test_each_alert_whose_series_have_such_labels_names_them(name: str) -> None:
    said = alerts()[name]["annotations"]["summary"]
    unnamed = {
        label
        for told in expectations()
        if told["alertname"] == name
        for alert in told.get("exp_alerts", ())
        for label in alert["exp_labels"].keys() & {"vendor", "account", "resource", "route", "stream"}
        if f"$labels.{label}" not in said
    }
    assert unnamed == set()


def test_each_alert_has_its_runbook_with_every_part_and_a_command_and_there_is_no_other() -> None:
    sections = runbooks()
    assert list(sections) == list(alerts())
    for name, text in sections.items():
        assert re.findall(r"^\*\*([^*]+)\.\*\* \S", text, re.MULTILINE) == list(PARTS), name
        assert "```sh\n" in text, name
        assert text.strip().startswith(f"`{alerts()[name]['labels']['severity']}` · "), name


def test_alertmanager_takes_the_inhibitions_that_the_runbooks_show(tmp_path: Path) -> None:
    (shown,) = blocks(RUNBOOKS, "yml")
    file = tmp_path / "alertmanager.yml"
    file.write_text(f"route: {{receiver: pager}}\nreceivers: [{{name: pager}}]\n{shown}")
    command = [needs("amtool", ALERTMANAGER[1]), "check-config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    matchers = [
        each for rule in read(file)["inhibit_rules"] for each in rule["source_matchers"] + rule["target_matchers"]
    ]
    patterns = [re.fullmatch(r'alertname=~?"(.*)"', matcher) for matcher in matchers]
    for pattern in patterns:
        assert pattern is not None
        for alternative in alternatives(pattern[1]):
            assert any(re.fullmatch(alternative, name) for name in alerts()), alternative


def alternatives(pattern: str) -> Iterator[str]:
    """What a pattern of the kind `a|b` or `x(a|b)` may stand for."""
    head, _, rest = pattern.partition("(")
    if not rest:
        yield from head.split("|")
    else:
        yield from (head + each for each in rest.rstrip(")").split("|"))


def expectations() -> Iterator[Tree]:
    for file in CASES:
        for test in read(file)["tests"]:
            yield from test["alert_rule_test"]


def runbooks() -> Mapping[str, str]:
    """The sections of the runbooks, by heading."""
    _, *sections = re.split(r"^## ", RUNBOOKS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: text for name, _, text in (section.partition("\n") for section in sections)}
