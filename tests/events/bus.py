"""A bus on a real throw-away server, with the product's streams."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from events.jetstream import streams
from events.jetstream.connection import Bus, connect
from events.jetstream.options import BusOptions
from events.subjects import Names
from tests.nats import start_nats

NAMES = Names("vendorwire")


@asynccontextmanager
async def open_bus(folder: Path, *, config: str = "") -> AsyncIterator[Bus]:
    """A connected bus; the server ends with the block."""
    with start_nats(folder, config_extra=config) as server:
        async with connected(server.url) as bus:
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            yield bus


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Bus]:
    """One more connection to a server."""
    async with connect(BusOptions(urls=[url]), lambda _: None) as bus:
        await bus.ready()
        yield bus
