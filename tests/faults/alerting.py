"""The shipped alerts on what grows old or was never read, reckoned as Prometheus would from what an agent serves.

A series that is absent raises no alert. So whatever stops must leave both sides of the comparison in place.
"""

import time
from pathlib import Path

from prometheus_client import parser

from tests.agent.harness import Process

OF_EACH = "max by (namespace, job, vendor, account, resource)"
STALE = (
    f"time() - {OF_EACH} (vendorwire_poll_last_success_timestamp_seconds > 0)"
    f" > 60 + 3 * {OF_EACH} (vendorwire_poll_interval_seconds)"
)
NEVER_READ = f"{OF_EACH} (vendorwire_poll_last_success_timestamp_seconds) == 0"
RULES = Path(__file__).parents[2] / "helm" / "vendorwire" / "files" / "rules.yaml"
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
    """Accounts and resources that are stale or were never read, if nothing changes for `after` seconds from now."""
    shipped = " ".join(RULES.read_text().split())
    assert STALE in shipped, "another alert is shipped"
    assert NEVER_READ in shipped, "another alert is shipped"
    interval = await series(process, INTERVAL)
    now = time.time() + after
    return {
        scope
        for scope, success in (await series(process, LAST_SUCCESS)).items()
        if scope in interval and (success == 0 or now - success > 60 + 3 * interval[scope])
    }
