"""iPRO under the conformance suite."""

from collections.abc import Callable
from datetime import datetime

from connectors.sandbox.ipro import CLIENT_SECRET, IproSandbox
from tests.connectors.subjects import Vendor
from tests.connectors.test_ipro import settings


def _sandbox(now: Callable[[], datetime], noise: bool) -> IproSandbox:
    sandbox = IproSandbox(now, seed=0, noise=noise, unasked="refused")  # each booking is listed once
    for _ in range(450):
        sandbox.add()
    return sandbox


def _remove(sandbox: IproSandbox) -> str:
    first = min(sandbox.bookings.values(), key=lambda each: (each["OrderTime"], each["BookingId"]))
    sandbox.remove(first["BookingId"])
    return str(first["BookingId"])


VENDOR = Vendor(
    connector=lambda: settings(page_size=30),
    sandbox=_sandbox,
    resource="booking",
    listing="/apis/bookings",
    sign_in="/oauth/2.0/token",
    records=lambda sandbox: {str(id_) for id_ in sandbox.bookings},
    remove=_remove,
    secrets=(CLIENT_SECRET,),
    reads=("/apis/bookings", "/apis/properties", "/apis/property/", "/oauth/2.0/token"),
)
