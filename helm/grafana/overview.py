"""The top of the dashboard: is anything wrong, and what."""

from helm.grafana.panels import BAD, GOOD, WATCH, Panel, bars, tile
from helm.grafana.queries import (
    ACCOUNTS,
    AGE,
    AGENTS,
    ALERTS,
    DEAD,
    FILLED,
    FRESH,
    HEALTHY,
    HELD,
    INTERVAL,
    OURS,
    PENDING,
    RESTING,
    STORAGE,
)


def panels() -> list[Panel]:
    wrong, usual = ((None, GOOD), (1, BAD)), ((None, GOOD), (1, WATCH))
    return [
        tile(
            "Alerts firing",
            "What of the shipped rules fires now. Below is which, and since when; each alert links to its runbook. "
            "It is 0 also where Prometheus has not loaded the rules.",
            "none",
            f'count(ALERTS{{{ALERTS}, alertstate="firing"}}) or vector(0)',
            wrong,
        ),
        tile(
            "Agents",
            "How many agents are scraped. None: nothing is polled or delivered. Look at the pods, then at Prometheus' targets.",
            "none",
            f"count({AGENTS}) or vector(0)",
            ((None, BAD), (1, GOOD)),
        ),
        tile(
            "Bus",
            "Lost where any agent has no connection. Polls and deliveries wait, nothing is forgotten. Look at the NATS servers.",
            "none",
            f"min(vendorwire_bus_connected{{{OURS}}})",
            ((None, BAD), (1, GOOD)),
            states={0: ("lost", BAD), 1: ("connected", GOOD)},
        ),
        tile(
            "Stale",
            "Resources that were last read more than three of their intervals ago. Which: the table below. Why: their polls by "
            "outcome, and `vendorwire check`.",
            "none",
            f"sum({AGE} > bool (3 * {INTERVAL} + 60))",
            wrong,
        ),
        tile(
            "Never read",
            "Resources that were never read to the end. Usual in the first minutes of a new account, longer where it is large.",
            "none",
            f"sum({FRESH} == bool 0)",
            usual,
        ),
        tile(
            "Credentials refused",
            "Accounts whose credentials the vendor does not accept. Correct them; an account goes on by itself within a minute.",
            "none",
            f"sum({HEALTHY} == bool 0)",
            wrong,
        ),
        tile(
            "Deletes held",
            "Many records went missing at once: a person must look before they are told as deleted. `vendorwire deletes list`.",
            "none",
            f"sum({HELD})",
            wrong,
        ),
        tile(
            "Unreadable, last hour",
            "Records in a shape we do not know; the others went on. The log names the field: the vendor has changed something.",
            "none",
            f"round(sum(increase(vendorwire_records_quarantined_total{{{ACCOUNTS}}}[1h])))",
            usual,
        ),
        tile(
            "Routes at rest",
            "Routes whose receiver keeps failing, or is gone. Their events wait. `vendorwire routes` tells the last error.",
            "none",
            f"sum({RESTING})",
            wrong,
        ),
        tile(
            "Events waiting",
            "Events not delivered yet, of all routes. 10,000 of a route may be tried at once: beyond that the rest stands still.",
            "short",
            f"sum({PENDING})",
            ((None, GOOD), (1000, WATCH), (10_000, BAD)),
        ),
        tile(
            "Dead letters",
            "Events tried to the end. When the receiver is well: `vendorwire dead list`, then `vendorwire dead replay`.",
            "short",
            f"sum({DEAD})",
            usual,
        ),
        tile(
            "Fullest stream",
            "A stream at its limit takes no more: polls are repeated, nothing is forgotten. Raise `bus.max_bytes` before that.",
            "percentunit",
            f"max({FILLED} or {STORAGE})",
            ((None, GOOD), (0.8, WATCH), (0.95, BAD)),
            none="no limit",
        ),
        bars(
            "What fired",
            "The shipped alerts, while they were about to fire and while they did. Nothing here is the usual picture.",
            {1: ("pending", "yellow"), 2: ("firing", BAD)},
            (
                f"2 * {_alerts('firing')} or {_alerts('pending')}",
                "{{alertname}} {{account}} {{resource}} {{route}} {{stream}}",
            ),
            span=24,
            height=5,
        ),
    ]


def _alerts(state: str) -> str:
    return f'max by (alertname, account, resource, route, stream) (ALERTS{{{ALERTS}, alertstate="{state}"}})'
