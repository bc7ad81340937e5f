"""What an operator sees in Grafana: `python -m helm.dashboard` writes the chart's files/dashboard.json.

Above all else whether anything is wrong, then what, then the figures behind it, a section for each part of the work.
"""

import json
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, VariableRefresh, VariableSort

from helm.grafana import overview, reading, running
from helm.grafana.panels import SOURCE, link

FILE = Path(__file__).parent / "vendorwire" / "files" / "dashboard.json"
DOCS = "https://vendorwire.example/docs"
"""Where the links lead until the chart puts the true address in its place."""

SECTIONS = (
    ("Freshness", "operations.md#what-goes-wrong-and-what-to-do", reading.freshness),
    ("Polls", "operations.md#what-goes-wrong-and-what-to-do", reading.polls),
    ("Changes", "operations.md#what-became-of-an-event", reading.changes),
    ("Vendors", "operations.md#what-goes-wrong-and-what-to-do", reading.vendors),
    ("Tokens", "operations.md#tokens-and-their-key", reading.tokens),
    ("Routes", "operations.md#routes", running.routes),
    ("Bus and streams", "operations.md#the-streams", running.bus),
    ("Agents", "operations.md#sizes", running.agents),
)


def build() -> str:
    """The whole dashboard as JSON."""
    made = (
        dashboard.Dashboard("Vendorwire")
        .uid("vendorwire")
        .description("Vendors read, changes told, webhooks delivered: is anything wrong, and what.")
        .tags(["vendorwire"])
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .editable()
        .link(link("What to do", f"{DOCS}/operations.md#what-goes-wrong-and-what-to-do"))
        .link(link("Runbooks", f"{DOCS}/runbooks.md"))
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_one("job", "Installation", "label_values(vendorwire_build_info, job)"))
        .with_variable(_some("account", "Account", "vendorwire_poll_last_success_timestamp_seconds"))
        .with_variable(_some("route", "Route", "vendorwire_deliveries_total"))
    )
    number = 0
    for panel in overview.panels():
        made.with_panel(panel.id(number := number + 1))
    for title, page, panels in SECTIONS:
        made.with_row(dashboard.Row(title).id(number := number + 1))
        for panel in panels():
            made.with_panel(panel.id(number := number + 1).links([link("Operations guide", f"{DOCS}/{page}")]))
    return json.dumps(made.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _one(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """A choice among what Prometheus knows now."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def _some(name: str, label: str, metric: str) -> dashboard.QueryVariable:
    """The same, of any number; all where none is chosen."""
    chosen = _one(name, label, f'label_values({metric}{{job="$job"}}, {name})')
    return chosen.multi(multi=True).include_all(include_all=True).all_value(".*")


if __name__ == "__main__":
    FILE.write_text(build(), encoding="utf-8")
