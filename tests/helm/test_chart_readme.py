"""The charts' READMEs: their tables are the values, and what they show can be installed."""

import re
from pathlib import Path
from typing import Any

import helm_python
import pytest

from tests.helm.chart import CHART, EXAMPLES, UMBRELLA, example, files, merged
from tests.helm.readme import commented, uncommented, values_shown, written


@pytest.mark.parametrize("chart", [CHART, UMBRELLA], ids=lambda chart: chart.name)
def test_the_table_of_values_is_the_one_that_the_comments_make(chart: Path) -> None:
    assert (chart / "README.md").read_text() == written(chart), "run: python -m tests.helm.readme"


@pytest.mark.parametrize("chart", [CHART, UMBRELLA], ids=lambda chart: chart.name)
def test_every_value_has_a_comment(chart: Path) -> None:
    assert uncommented(chart) == []


def test_the_table_names_what_the_chart_takes() -> None:
    named = {value.path for value in commented(CHART)}
    with helm_python.Chart.load(CHART) as chart:
        assert {path[0] for path in named} == chart.values.keys()
        assert chart.schema
        assert chart.values.keys() == chart.schema["properties"].keys() - {"global"}


@pytest.mark.parametrize("shown", values_shown(CHART), ids=lambda shown: next(iter(shown)))
def test_values_shown_in_the_readme_can_be_installed(shown: dict[str, Any]) -> None:
    assert files(shown if "bus" in shown.get("config", {}) else merged(example("small"), shown))


def test_the_readme_leads_to_each_example() -> None:
    text = (CHART / "README.md").read_text()
    assert [name for name in EXAMPLES if f"(examples/{name}.yaml)" not in text] == []


@pytest.mark.parametrize("chart", [CHART, UMBRELLA], ids=lambda chart: chart.name)
def test_links_in_the_readme_lead_somewhere(chart: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (chart / "README.md").read_text())
    assert links
    assert [link for link in links if not (chart / link).exists()] == []
