"""Somebody deletes the consumers that the agent works with: they are made again, and go on where they were."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from connectors.sandbox.serve import serve
from events.jetstream.schedule import CONSUMER
from tests.agent.harness import (
    NAMES,
    Got,
    Receiver,
    agent,
    octorate,
    reading,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.faults.changing import Changing, each_came_once
from tests.nats import start_nats

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

Measured = Callable[[str, str, str], None]


def has_more(receiver: Receiver, than: int) -> bool:
    return len(receiver.got) > than


def has_been_asked(vendor: Changing, times: int) -> bool:
    return len(vendor.sandbox.seen) > times


@pytest.mark.parametrize(
    ("stream", "consumer"),
    [(NAMES.polls, CONSUMER), (NAMES.ledger, "route-crm")],
    ids=["polls", "route"],
)
async def test_a_consumer_deleted_under_its_worker_is_made_again_and_costs_nothing(
    stream: str, consumer: str, tmp_path: Path, torture: bool, measured: Measured
) -> None:
    async def take_time(_: Got) -> web.Response:
        await anyio.sleep(0.1)  # some are in hand at any moment
        return web.Response()

    rounds = 25 if torture else 2
    vendor = Changing()
    slowest = 0.0
    async with serve(vendor.sandbox) as url, receiving() as receiver:
        receiver.answer = take_time
        with start_nats(tmp_path / "nats") as nats:
            routes = [webhook("crm", receiver.url)]
            file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", url)], routes=routes)
            async with agent(file) as process, reading(nats.url) as looking:
                await synced(process)
                async with vendor.meanwhile():
                    for _ in range(rounds):
                        await until(partial(has_more, receiver, len(receiver.got)))
                        await looking.api(f"CONSUMER.DELETE.{stream}.{consumer}")
                        asked = len(vendor.sandbox.seen)
                        slowest = max(slowest, await until(partial(has_been_asked, vendor, asked + 2)))
                        slowest = max(slowest, await until(partial(has_more, receiver, len(receiver.got) + 10)))
                events = await vendor.story(nats.url)
                assert vendor.faults(events) == []
                await each_came_once(receiver, events)
                assert await process.is_ready()
    assert slowest < 5
    which = "of the polls" if consumer == CONSUMER else "of a route"
    fault = f"the consumer {which} deleted under load, {rounds} times"
    measured("it resumes by itself", fault, f"polls and delivers again after at most {slowest:.1f} s")
    measured("nothing is lost", fault, f"{len(events)} events: 0 lost, 0 twice, 0 out of order; each delivered once")
