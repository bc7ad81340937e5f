"""The vendors that the kept releases polled: fakes made from fixed seeds, and all that was done to them.

The same steps at the same times lead to the same vendors again, whenever that is.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec

from connectors.sandbox import carbontrack, ipro, octorate, powerpro
from connectors.sandbox.base import Sandbox, utc_now
from connectors.sandbox.serve import serve
from tests.agent.harness import Wire, webhook, write_config

RETRIES = ("60s", "1h")  # of the route that waits; the first is longer than a recording takes
HOME = {"octorate": 18471, "ipro": 18472, "carbontrack": 18473, "powerpro": 18474}  # ports that no system hands out
RESOURCES = {
    "octorate": ("booking", "property"),
    "ipro": ("booking", "property", "availability", "enquiry"),
    "carbontrack": ("device", "measurement", "customer"),
    "powerpro": ("course", "enrolment", "student"),
}
_ACCOUNTS: dict[str, Wire] = {
    "octorate": {
        "client_id": octorate.CLIENT_ID,
        "client_secret": octorate.CLIENT_SECRET,
        "refresh_token": octorate.REFRESH_TOKEN,
        "window_past": "3650d",
        "window_ahead": "3650d",
    },
    "ipro": {"client_id": ipro.CLIENT_ID, "client_secret": ipro.CLIENT_SECRET},
    # Devices measure only when they are told to: years later there is nothing else to read, and none has been silent too long.
    "carbontrack": {
        "username": carbontrack.USERNAME,
        "password": carbontrack.PASSWORD,
        "offline_after": "3650d",
        "window": "90d",
    },
    "powerpro": {"api_key": powerpro.API_KEY},
}


class Step(msgspec.Struct, frozen=True):
    """What was done to a vendor, and when."""

    at: datetime
    vendor: str
    control: str
    arguments: dict[str, Any]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """How the vendors came to be what they are: when they were made, what was done, how many tokens each gave out."""

    made_at: datetime
    steps: list[Step]
    tokens: dict[str, int]


class Scene:
    """The four vendors. Their time is the real one, except while they are made and changed."""

    def __init__(self, made_at: datetime) -> None:
        self._made_at = made_at
        self._steps: list[Step] = []
        self._time: datetime | None = made_at
        self.octorate = octorate.OctorateSandbox(self._now, seed=20, limit=10**9)
        self.ipro = ipro.IproSandbox(self._now, seed=12)
        self.carbontrack = carbontrack.CarbontrackSandbox(self._now, seed=6, reporting=timedelta(days=36500))
        self.powerpro = powerpro.PowerProSandbox(self._now, seed=14, noise=True)
        self._time = None

    @classmethod
    def load(cls, file: Path) -> "Scene":
        """The vendors as a release left them, and the access tokens that they gave it still serve."""
        kept = msgspec.json.decode(file.read_bytes(), type=Kept)
        scene = cls(kept.made_at)
        for step in kept.steps:
            scene._do(step)
        for vendor, issued in kept.tokens.items():
            for _ in range(issued):
                scene.vendors[vendor].tokens.issue()
        return scene

    def save(self, file: Path) -> None:
        """Keep what was done."""
        tokens = {vendor: sandbox.tokens._issued for vendor, sandbox in self.vendors.items()}
        kept = Kept(made_at=self._made_at, steps=self._steps, tokens=tokens)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")

    @property
    def vendors(self) -> dict[str, Sandbox]:
        """All four by name."""
        named = {
            "octorate": self.octorate,
            "ipro": self.ipro,
            "carbontrack": self.carbontrack,
            "powerpro": self.powerpro,
        }
        return dict(named)

    def do(self, vendor: str, control: str, **arguments: Any) -> None:
        """Change something at a vendor, and remember it."""
        self._do(Step(utc_now().replace(microsecond=0), vendor, control, arguments))

    def _do(self, step: Step) -> None:
        self._steps.append(step)
        self._time = step.at
        self.vendors[step.vendor].controls()[step.control](**step.arguments)
        self._time = None

    def _now(self) -> datetime:
        return self._time or utc_now()


@asynccontextmanager
async def served(scene: Scene, *, at_home: bool = False) -> AsyncIterator[dict[str, str]]:
    """The vendors' addresses. `at_home`: those of the recording, to which the stored tokens belong; one test at a time."""
    async with AsyncExitStack() as stack:
        yield {
            vendor: await stack.enter_async_context(_at(HOME[vendor], sandbox) if at_home else serve(sandbox))
            for vendor, sandbox in scene.vendors.items()
        }


@asynccontextmanager
async def _at(port: int, sandbox: Sandbox) -> AsyncIterator[str]:
    """Wait for the port, where another run of the tests has it."""
    async with AsyncExitStack() as stack:
        deadline = time.monotonic() + 60
        while True:
            try:
                url = await stack.enter_async_context(serve(sandbox, port=port))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                await anyio.sleep(0.2)
        yield url


def configure(
    folder: Path,
    bus: str,
    vendors: dict[str, str],
    hooks: dict[str, str],
    *,
    retries: Sequence[str] = RETRIES,
    reconcile: str = "24h",
    **route: Any,
) -> Path:
    """The configuration that all releases get, but for `route`: what not every release knows of one."""
    accounts = [
        {
            "vendor": vendor,
            "name": f"{vendor}-account",
            "base_url": url,
            "every": dict.fromkeys(RESOURCES[vendor], "1s"),
            "budget": {"requests": 1_000_000, "per": "1m"},
            "reconcile": reconcile,
            **_ACCOUNTS[vendor],
        }
        for vendor, url in vendors.items()
    ]
    routes = [
        webhook("all", hooks["all"]) | {"events": ["*.*"]},
        webhook("slow", hooks["slow"], retries=list(retries)),
        webhook("broken", hooks["broken"], retries=["100ms"]) | {"events": ["device.*"]},
    ]
    routes = [each | route for each in routes]
    return write_config(folder, bus={"url": bus}, accounts=accounts, routes=routes, grace="2s")
