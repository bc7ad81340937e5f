"""A route's limits hold for all agents together, for live events and replays alike."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from connectors.sandbox.serve import serve
from events.jetstream.again import hand_over
from events.jetstream.connection import Bus
from events.jetstream.read import held
from tests.agent.harness import (
    NAMES,
    Got,
    Receiver,
    agent,
    hotel,
    octorate,
    reading,
    ready,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio


class Slow:
    """Answers after a moment; `most` is how many requests it has had under way at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.at_once = 0
        self.most = 0

    async def __call__(self, _: Got) -> web.Response:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await anyio.sleep(self._seconds)
        self.at_once -= 1
        return web.Response()


async def replay_all(bus: Bus, run: str) -> int:
    """Hand every booking event of the ledger to the route again; how many they are."""
    events = [message async for message in held(bus, NAMES.ledger, [f"{NAMES.prefix}.event.*.*.booking.*"], every=True)]
    for event in events:
        await hand_over(bus, NAMES, "crm", event, run)
    return len(events)


@asynccontextmanager
async def two_agents(
    folder: Path, nats: NatsServer, receiver: Receiver, **limits: object
) -> AsyncIterator[tuple[Bus, int]]:
    """Two agents that deliver what a third has found, and then the same again; how many events those are in all."""
    async with serve(hotel(seed=30)) as vendor, reading(nats.url) as bus:
        file = write_config(
            folder,
            bus={"url": nats.url},
            accounts=[octorate("hotel", vendor, first_sync="events")],
            routes=[webhook("crm", receiver.url, **limits)],
        )
        async with agent(file, "poller.log", "--roles", "poll") as poller:
            await synced(poller)
            await poller.end()
        async with agent(file, "one.log", "--roles", "route") as one, agent(file, "two.log", "--roles", "route") as two:
            number = await replay_all(bus, "a")
            await ready(one)
            await ready(two)
            yield bus, 2 * number
            assert "Traceback" not in one.log + two.log


def all_came(receiver: Receiver, number: int) -> bool:
    return len({(got.id, got.event.replay) for got in receiver.got}) == number


async def test_no_more_are_under_way_than_the_route_allows(tmp_path: Path, nats: NatsServer) -> None:
    async with receiving() as receiver:
        receiver.answer = slow = Slow(0.1)
        async with two_agents(tmp_path, nats, receiver, concurrency=3) as (_, number):
            await until(lambda: all_came(receiver, number))
    assert slow.most == 3


async def test_no_more_are_sent_in_a_second_than_the_route_allows(tmp_path: Path, nats: NatsServer) -> None:
    rate, some = 20, 40
    async with receiving() as receiver, two_agents(tmp_path, nats, receiver, rate=rate):
        began = time.monotonic()
        await until(lambda: len(receiver.got) >= some)
        assert time.monotonic() - began < 2.5 * some / rate + 5  # and not far less either
    times = sorted(got.at for got in receiver.got)
    for first, later in zip(times, times[rate + 2 :], strict=False):
        assert later - first > 0.8
