"""A console served by this process: its doors can be tried without agents, and with a bus that a test fills by hand."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from agent import http, vendors
from agent.config import Config
from agent.configfile import load
from agent.console.console import Console
from agent.metrics import Metrics
from events.history import Roll
from events.jetstream import streams
from events.jetstream.connection import Bus
from tests.agent.harness import NAMES, octorate, reading, write_config

TOKEN = "sandbox-admin-token"


def configured(
    folder: Path, *, accounts: Sequence[str] = ("hotel",), routes: Sequence[Any] = (), **settings: Any
) -> Config:
    """A configuration of hotels that nobody polls. `settings` are those of `http`."""
    hotels = [octorate(name, "https://octorate.test/connect") for name in accounts]
    told = {"listen": "127.0.0.1:8787", "admin_token": TOKEN, **settings}
    told = {name: value for name, value in told.items() if value is not None}
    return load(write_config(folder, bus={"data": str(folder / "data")}, accounts=hotels, routes=routes, http=told))


def roll_of(config: Config) -> Roll:
    return Roll(vendors.scope(account, resource) for account in config.accounts for resource in account.resources)


@asynccontextmanager
async def serving(config: Config, bus: Bus | None = None) -> AsyncIterator[str]:
    """The console's address; without a bus it can be signed in to, and no more."""

    async def ready() -> list[str]:
        return []

    metrics = Metrics("1")
    console = Console(config, roll_of(config), metrics.observe)
    async with AsyncExitStack() as stack:
        pages = (console.add_to,)
        address = await stack.enter_async_context(
            http.serve("127.0.0.1:0", metrics=metrics, live=list, ready=ready, pages=pages)
        )
        if bus is not None:
            group = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(group.cancel_scope.cancel)
            group.start_soon(console.run, bus)
            await anyio.lowlevel.checkpoint()
        yield f"http://{address}"


@asynccontextmanager
async def filled(url: str) -> AsyncIterator[Bus]:
    """A bus with its streams, and nothing in them."""
    async with reading(url) as bus:
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        yield bus
