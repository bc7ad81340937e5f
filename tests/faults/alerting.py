"""The alert that the operations guide recommends, reckoned as Prometheus would from what an agent serves.

A series that is absent raises no alert. So whatever stops must leave both sides of the comparison in place.
"""

import time
from pathlib import Path

from prometheus_client import parser

from tests.agent.harness import Process

ALERT = "time() - vendorwire_poll_last_success_timestamp_seconds > 3 * vendorwire_poll_interval_seconds + 60"
GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"
LAST_SUCCESS = "vendorwire_poll_last_success_timestamp_seconds"
INTERVAL = "vendorwire_poll_interval_seconds"

Series = dict[tuple[str, str], float]


async def series(process: Process, name: str) -> Series:
    """A metric's values by account and resource."""
    body = (await process.get("/metrics"))[1]
    return {
        (sample.labels["account"], sample.labels["resource"]): sample.value
        for family in parser.text_string_to_metric_families(body)
        for sample in family.samples
        if sample.name == name
    }


async def freshness(process: Process, account: str = "hotel", resource: str = "booking") -> float:
    """When the resource was last read to the end, by what the agent serves."""
    return (await series(process, LAST_SUCCESS))[account, resource]


async def alerts(process: Process, after: float = 0.0) -> set[tuple[str, str]]:
    """Accounts and resources that the alert names, if nothing changes for `after` seconds from now."""
    assert ALERT in GUIDE.read_text(), "the guide recommends another alert"
    interval = await series(process, INTERVAL)
    now = time.time() + after
    return {
        scope
        for scope, success in (await series(process, LAST_SUCCESS)).items()
        if scope in interval and now - success > 3 * interval[scope] + 60
    }
