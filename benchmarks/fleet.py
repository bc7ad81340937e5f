"""The four vendors in a process of their own, and accounts that read them.

`python -m benchmarks.fleet octorate=7000 ipro=7000 powerpro=800 carbontrack=2000` serves sandboxes of these sizes (of
PowerPro it is courses, each with two enrolments and two students) and prints their addresses as one JSON object. They
answer the same bytes as long as nothing is changed, and know no quota.
"""

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import msgspec

from benchmarks.support import child
from connectors.sandbox.base import Sandbox
from connectors.sandbox.carbontrack import CarbontrackSandbox
from connectors.sandbox.every import FAKES
from connectors.sandbox.ipro import IproSandbox
from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.powerpro import PowerProSandbox
from connectors.sandbox.serve import serve

Account = dict[str, Any]

_MAKERS: Mapping[str, Callable[..., Sandbox]] = {
    "octorate": partial(OctorateSandbox, limit=10**9, noise=False),
    "ipro": partial(IproSandbox, noise=False),
    "powerpro": partial(PowerProSandbox, page_size=1000),
    "carbontrack": partial(CarbontrackSandbox, page_size=1000, reporting=timedelta(minutes=5), noise=False),
}


@asynccontextmanager
async def fleet(sizes: Mapping[str, int]) -> AsyncIterator[dict[str, str]]:
    """Vendor → address, for as long as the block lasts."""
    async with child("benchmarks.fleet", *(f"{vendor}={size}" for vendor, size in sizes.items())) as vendors:
        yield msgspec.json.decode(vendors.said, type=dict[str, str])


def account(vendor: str, name: str, url: str, **rest: Any) -> Account:
    """An account at one of these sandboxes, with a budget that never makes a poll wait."""
    known = FAKES[vendor](1, lively=False).account
    budget = {"requests": 1_000_000, "per": "1m"}
    return {
        "vendor": vendor,
        "name": name,
        **known,
        "base_url": url + known["base_url"],
        "budget": budget,
        "first_sync": "baseline",
        **rest,
    }


async def _serve() -> None:
    async with AsyncExitStack() as stack:
        urls = {}
        for wanted in sys.argv[1:]:
            vendor, _, size = wanted.partition("=")
            urls[vendor] = await stack.enter_async_context(serve(_MAKERS[vendor](seed=int(size))))
        print(msgspec.json.encode(urls).decode(), flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(_serve)
