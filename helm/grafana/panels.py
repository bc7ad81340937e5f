"""How the dashboard's panels look: tiles, graphs, bars of states, and the table. What they show is in `dashboard`."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
GOOD, WATCH, BAD = "green", "orange", "red"
OUTCOMES = {
    **dict.fromkeys(("changed", "delivered", "renewed"), "green"),
    **dict.fromkeys(("unchanged",), "blue"),
    **dict.fromkeys(("held", "conflict", "retried"), "yellow"),
    **dict.fromkeys(("throttled",), "orange"),
    **dict.fromkeys(("unavailable", "unreadable", "failed"), "red"),
    **dict.fromkeys(("unauthorized", "forbidden", "refused", "dead"), "dark-red"),
}
STATUSES = {
    "200": "green",
    "401": "yellow",
    "403": "dark-red",
    "429": "orange",
    "500": "red",
    "503": "red",
    "error": "purple",
}
COLOURS = {"{{outcome}}": OUTCOMES, "{{status}}": STATUSES}  # by what the lines are named after

Query = tuple[str, str]
"""An expression, and the name of what it gives: `{{label}}` in it is a label's value."""
Steps = Sequence[tuple[float | None, str]]
"""From which value on which colour; the first step is from None."""
States = Mapping[int, tuple[str, str]]
"""Value → its word and its colour."""
Panel = stat.Panel | timeseries.Panel | statetimeline.Panel | table.Panel
P = TypeVar("P", stat.Panel, timeseries.Panel, statetimeline.Panel, table.Panel)


def tile(
    title: str, about: str, unit: str, query: str, steps: Steps, *, states: States | None = None, none: str = "no data"
) -> stat.Panel:
    """One number of the top rows, on the colour of its step, before what it was."""
    panel = (
        stat.Panel()
        .color_mode(shapes.BigValueColorMode.BACKGROUND)
        .graph_mode(shapes.BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .mappings([_mapping(states)] if states else [])
        .no_value(none)
        .height(3)
        .span(4)
    )
    return _told(panel, title, about, unit, [(query, title)])


def graph(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    span: int = 8,
    least: float | None = None,
    most: float | None = None,
    steps: Steps = (),
    stacked: bool = False,
) -> timeseries.Panel:
    """Lines over time; `stacked` where their sum means something. `steps` are drawn as lines that should not be crossed."""
    panel = (
        timeseries.Panel()
        .legend(common.VizLegendOptions().display_mode(shapes.LegendDisplayMode.LIST).show_legend(show_legend=True))
        .tooltip(
            common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING),
        )
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(shapes.VisibilityMode.AUTO)
        .height(8)
        .span(span)
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    if steps:
        style = common.GraphThresholdsStyleConfig().mode(shapes.GraphTresholdsStyleMode.DASHED)
        panel.thresholds(_thresholds(steps)).thresholds_style(style)
    if least is not None:
        panel.min(least)
    if most is not None:
        panel.max(most)
    for name, colour in COLOURS.get(queries[0][1], {}).items():
        panel.override_by_name(name, [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})])
    return _told(panel, title, about, unit, queries)


def bars(
    title: str, about: str, states: States, *queries: Query, span: int = 8, height: int = 8
) -> statetimeline.Panel:
    """What state each thing was in, over time."""
    panel = (
        statetimeline.Panel()
        .show_value(shapes.VisibilityMode.NEVER)
        .merge_values(merge_values=True)
        .row_height(0.8)
        .fill_opacity(80)
        .line_width(0)
        .thresholds(_thresholds([(None, GOOD)]))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .mappings([_mapping(states)])
        .no_value("nothing")
        .height(height)
        .span(span)
    )
    return _told(panel, title, about, "none", queries)


def columns(
    title: str, about: str, *queries: Query, units: Mapping[str, str], steps: Mapping[str, Steps]
) -> table.Panel:
    """A row for each set of labels, with a column for each query: its name, unit, and colours."""
    shown = {f"Value #{_ref(number)}": name for number, (_, name) in enumerate(queries)}
    panel = (
        table.Panel()
        .with_transformation(DataTransformerConfig("merge", options={}))
        .with_transformation(
            DataTransformerConfig("organize", options={"excludeByName": {"Time": True}, "renameByName": shown})
        )
        .sort_by([common.TableSortByFieldState().display_name(queries[0][1]).desc(desc=True)])
        .height(9)
        .span(24)
    )
    for name, unit in units.items():
        panel.override_by_name(name, [DynamicConfigValue("unit", unit), DynamicConfigValue("decimals", 1)])
    for name, colours in steps.items():
        cell = DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"})
        panel.override_by_name(name, [DynamicConfigValue("thresholds", _thresholds(colours).build()), cell])
    return _told(panel, title, about, "short", queries, as_table=True)


def link(title: str, url: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(title).url(url).target_blank(target_blank=True)


def _told(panel: P, title: str, about: str, unit: str, queries: Sequence[Query], *, as_table: bool = False) -> P:
    """What all panels have."""
    for number, (expression, legend) in enumerate(queries):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(_ref(number))
        panel.with_target(query.instant().format(PromQueryFormat.TABLE) if as_table else query.range())
    return panel.title(title).description(about).unit(unit).datasource(SOURCE)


def _ref(number: int) -> str:
    return chr(ord("A") + number)


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    made = [Threshold(value, colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def _mapping(states: States) -> ValueMap:
    return ValueMap(
        {str(value): ValueMappingResult(text=word, color=colour) for value, (word, colour) in states.items()}
    )
