"""carbonTRACK under the conformance suite."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from connectors.carbontrack import CarbonTrack
from connectors.sandbox.carbontrack import PASSWORD, USERNAME, CarbontrackSandbox
from schemas.settings import Budget, Duration, Secret
from tests.connectors.subjects import Vendor


def settings(**other: Any) -> CarbonTrack:
    known: dict[str, Any] = {
        "name": "solar",
        "base_url": "https://carbontrack.test",
        "username": USERNAME,
        "password": Secret(PASSWORD),
        "budget": Budget(requests=1_000_000, per=Duration(hours=1)),
    }
    return CarbonTrack(**known | other)


def _sandbox(now: Callable[[], datetime], noise: bool) -> CarbontrackSandbox:
    return CarbontrackSandbox(now, seed=60, page_size=10, reporting=timedelta(hours=1), noise=noise)


def _remove(sandbox: CarbontrackSandbox) -> str:
    first = next(iter(sandbox.devices))
    sandbox.remove_device(first)
    return first


VENDOR = Vendor(
    connector=lambda: settings(offline_after=Duration(hours=2)),
    sandbox=_sandbox,
    resource="device",
    listing="/ctapi/Device",
    sign_in="/oauth/token",
    records=lambda sandbox: set(sandbox.devices),
    remove=_remove,
    secrets=(PASSWORD, "sandbox-refresh"),
    reads=("/ctapi/Distributor", "/ctapi/Device", "/ctapi/Measurement", "/ctapi/Customer", "/oauth/token"),
)
