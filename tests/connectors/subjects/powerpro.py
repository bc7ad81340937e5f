"""PowerPro under the conformance suite."""

from collections.abc import Callable
from datetime import datetime

from connectors.powerpro import PowerPro
from connectors.sandbox.powerpro import API_KEY, PASSWORD, PowerProSandbox
from schemas.settings import Budget, Duration, Secret
from tests.connectors.subjects import Vendor


def _connector() -> PowerPro:
    return PowerPro(
        name="college",
        base_url="https://powerpro.test",
        api_key=Secret(API_KEY),
        budget=Budget(requests=1_000_000, per=Duration(hours=1)),
    )


def _sandbox(now: Callable[[], datetime], noise: bool) -> PowerProSandbox:
    sandbox = PowerProSandbox(now, seed=0, noise=noise)
    for _ in range(80):
        sandbox.add_course()
    return sandbox


def _remove(sandbox: PowerProSandbox) -> str:
    return str(sandbox.remove("courses", min(sandbox.courses))["id"])


VENDOR = Vendor(
    connector=_connector,
    sandbox=_sandbox,
    resource="course",
    listing="/courses",
    sign_in="/auth/",
    records=lambda sandbox: {str(id_) for id_ in sandbox.courses},
    remove=_remove,
    secrets=(API_KEY, PASSWORD),
    reads=("/courses", "/enrolments", "/students", "/auth/login", "/auth/refresh"),
)
