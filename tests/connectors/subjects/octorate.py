"""Octorate under the conformance suite."""

from collections.abc import Callable
from datetime import datetime

from connectors.sandbox.octorate import CLIENT_SECRET, REFRESH_TOKEN, OctorateSandbox
from tests.connectors.subjects import Vendor
from tests.polled import settings


def _sandbox(now: Callable[[], datetime], noise: bool) -> OctorateSandbox:
    sandbox = OctorateSandbox(now, seed=0, limit=1_000_000, noise=noise)
    for _ in range(450):
        sandbox.add()
    return sandbox


def _remove(sandbox: OctorateSandbox) -> str:
    first = min(sandbox.reservations.values(), key=lambda each: str(each["createTime"]))
    sandbox.delete(first["id"])
    return str(first["id"])


VENDOR = Vendor(
    connector=settings,
    sandbox=_sandbox,
    resource="booking",
    listing="/reservation/",
    sign_in="/identity/refresh",
    records=lambda sandbox: {str(id_) for id_ in sandbox.reservations},
    remove=_remove,
    secrets=(CLIENT_SECRET, REFRESH_TOKEN),
    reads=("/accommodation", "/reservation/", "/identity/refresh"),
)
