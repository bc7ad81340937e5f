"""Every expression that the chart ships, of its dashboard and its rules, and what each selects."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML

FILES = Path(__file__).parents[2] / "helm" / "vendorwire" / "files"
DASHBOARD = FILES / "dashboard.json"
RULES = FILES / "rules.yaml"

GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
SELECTOR = re.compile(
    r"""
    "(?:[^"\\]|\\.)*"                          # a text, to pass over
    |(?<![\w.$])([a-zA-Z_:][\w:]*)            # a word that is no unit of a number and no variable,
    (\s*\{(?:"(?:[^"\\]|\\.)*"|[^"}])*\})?    # its labels,
    (?![\w:]|\s*\()                           # and no function
    """,
    re.VERBOSE,
)
WINDOW = re.compile(r"\[[^\]]*\]")
WORDS = {
    "and",
    "or",
    "unless",
    "bool",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "offset",
    "inf",
    "nan",
}

CHOSEN = {"$__rate_interval": "1m", "$job": "vendorwire", "$account": ".*", "$route": ".*"}

Tree = Any  # JSON


class Query(msgspec.Struct, frozen=True):
    """An expression and where it is shown: the panel and its letter, the variable, or the rule."""

    where: str
    expression: str


class Rule(msgspec.Struct, frozen=True):
    """One of the shipped rules. An alert has no `record`, a recording rule no `alert`."""

    expr: str
    alert: str = ""
    record: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


def dashboard() -> Tree:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def panels(*, rows: bool = False) -> list[Tree]:
    """The panels in their order; the rows between them only where they are asked for."""
    return [panel for panel in dashboard()["panels"] if rows or panel["type"] != "row"]


def shown() -> list[Query]:
    """Each query of the dashboard."""
    return [
        Query(f"{panel['title']} {target['refId']}", target["expr"])
        for panel in panels()
        for target in panel["targets"]
    ]


def offered() -> list[Query]:
    """What each of the dashboard's variables offers, as the series it is read from."""
    variables = [each for each in dashboard()["templating"]["list"] if each["type"] == "query"]
    return [Query(each["name"], re.sub(r"^label_values\((.*), \w+\)$", r"\1", each["query"])) for each in variables]


def chosen(expression: str) -> str:
    """As Grafana sends it while everything is chosen."""
    for variable, value in CHOSEN.items():
        expression = expression.replace(variable, value)
    return expression


def rules() -> list[Rule]:
    tree = YAML(typ="safe").load(RULES.read_text(encoding="utf-8"))
    return [msgspec.convert(rule, Rule) for group in tree["groups"] for rule in group["rules"]]


def selectors(expression: str) -> Iterator[tuple[str, str]]:
    """The name and the labels, in braces or none, of each series that an expression selects."""
    for found in SELECTOR.finditer(WINDOW.sub("", GROUPING.sub("", expression))):
        if found[1] and found[1] not in WORDS:
            yield found[1], (found[2] or "").strip()
