"""The schema of the chart's values knows what the agent knows, and is closed."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from agent import config
from events.routes import Route, Webhook
from tests.helm.chart import CHART

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
CONFIG = SCHEMA["definitions"]["config"]["properties"]


@pytest.mark.parametrize(
    ("kind", "known", "of_the_chart"),
    [
        (config.Config, CONFIG, set()),
        (config.Bus, CONFIG["bus"]["properties"], {"data"}),  # of the embedded server
        (config.Tls, CONFIG["bus"]["properties"]["tls"]["properties"], set()),
        (config.Http, CONFIG["http"]["properties"], {"listen"}),
        (config.Defaults, CONFIG["defaults"]["properties"], set()),
        (Route, SCHEMA["definitions"]["route"]["properties"], set()),
        (Webhook, SCHEMA["definitions"]["webhook"]["properties"], set()),
    ],
)
def test_the_schema_knows_each_setting_of_the_agent(kind: Any, known: dict[str, Any], of_the_chart: set[str]) -> None:
    assert known.keys() == {each.encode_name for each in msgspec.structs.fields(kind)} - of_the_chart


def test_every_object_of_the_schema_is_closed_unless_it_is_meant_to_be_free() -> None:
    open_ones = sorted(path for path, node in _objects(SCHEMA, "") if "additionalProperties" not in node)
    assert open_ones == OPEN


# What Kubernetes or a vendor's own settings decide.
OPEN = sorted(
    [
        *("affinity", "global", "tolerations[]", "serviceMonitor.metricRelabelings[]", "serviceMonitor.relabelings[]"),
        *("networkPolicy.extraEgress[].ports[]", "definitions.account", "definitions.config.defaults.deletes"),
        *(f"definitions.peer.{key}" for key in ("podSelector", "namespaceSelector", "ipBlock")),
        *(
            f"definitions.variable.valueFrom.{key}Ref"
            for key in ("secretKey", "configMapKey", "field", "resourceField")
        ),
    ]
)


def _objects(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if node.get("type") == "object":
        yield path, node
    for name, below in node.get("properties", {}).items():
        yield from _objects(below, f"{path}.{name}" if path else name)
    if isinstance(node.get("items"), dict):
        yield from _objects(node["items"], f"{path}[]")
    for name, below in node.get("definitions", {}).items():
        yield from _objects(below, f"definitions.{name}")
