"""What a route's worker has delivered is acknowledged together, and the order of each record stays."""

import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from agent.delivering import RouteWorker
from agent.pulse import Pulse
from agent.receivers import WebhookReceiver
from agent.slots import Slots
from events.jetstream import streams
from events.jetstream.connection import Bus, connect
from events.jetstream.ledger import KEY
from events.jetstream.options import BusOptions
from events.jetstream.outbox import RouteQueue
from events.routes import Secrets, Webhook
from events.webhook import WebhookSender
from schemas.changes import Change, Scope
from schemas.envelope import encode, event_of
from schemas.facts import Delivered, Fact
from schemas.records import Property
from schemas.settings import Secret
from tests.agent.harness import NAMES, SECRET, Receiver, receiving, until
from tests.nats import start_nats

pytestmark = pytest.mark.anyio

SCOPE = Scope("octorate", "hotel", "property")
RECORDS, VERSIONS = 8, 40


@asynccontextmanager
async def a_bus(folder: Path) -> AsyncIterator[Bus]:
    with start_nats(folder / "nats") as server:
        async with connect(BusOptions(urls=[server.url]), lambda _: None) as bus:
            await bus.ready()
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            yield bus


async def publish(bus: Bus, versions: range) -> None:
    """One event of each version of each record."""
    for version in versions:
        for key in map(str, range(RECORDS)):
            record = Property(id=key, name=f"{key} {version}")
            change = Change(key=key, version=version, verb="updated", before=record, after=record)
            event = event_of(change, SCOPE, observed_at=datetime.now(UTC), poll_id="p")
            await bus.publish(NAMES.event(SCOPE, "updated"), encode(event), {KEY: key})


def queue_on(bus: Bus) -> RouteQueue:
    return RouteQueue(bus, NAMES, "crm", [NAMES.events], 20)


@asynccontextmanager
async def working(bus: Bus, receiver: Receiver, concurrency: int) -> AsyncIterator[tuple[RouteQueue, list[Fact]]]:
    """A route's worker; it ends in good order after the block."""
    target = Webhook(url=receiver.url, secret=Secrets([Secret(SECRET)]), concurrency=concurrency, allow_private=True)
    queue = queue_on(bus)
    await queue.ensure()
    facts: list[Fact] = []
    async with WebhookSender(version="1") as sender, anyio.create_task_group() as tasks:
        worker = RouteWorker(
            "crm",
            WebhookReceiver(target, sender),
            queue,
            bus,
            NAMES,
            Pulse(time.monotonic),
            facts.append,
            random.Random(1),
        )
        tasks.start_soon(worker.run)
        yield queue, facts
        worker.stop()


@pytest.mark.parametrize("concurrency", [1, 4, 16])
async def test_events_of_a_record_stay_in_order_however_fast_they_go(tmp_path: Path, concurrency: int) -> None:
    async with a_bus(tmp_path) as bus, receiving() as receiver:
        await queue_on(bus).ensure()
        await publish(bus, range(1, VERSIONS))
        async with working(bus, receiver, concurrency) as (_, facts):
            await publish(bus, range(VERSIONS, VERSIONS + 1))
            await until(lambda: len(facts) >= RECORDS * VERSIONS)
        got = defaultdict(list)
        for each in receiver.got:
            got[each.key].append(each.version)
        assert dict(got) == {str(key): list(range(1, VERSIONS + 1)) for key in range(RECORDS)}


async def test_what_is_delivered_is_acknowledged_by_the_time_the_worker_has_ended(tmp_path: Path) -> None:
    async with a_bus(tmp_path) as bus, receiving() as receiver:
        async with working(bus, receiver, 16) as (queue, facts):
            await publish(bus, range(1, 6))
            await until(lambda: len(facts) == RECORDS * 5)
        backlog = await queue.backlog()
        assert (backlog.waiting, backlog.in_hand) == (0, 0)
        assert {fact.attempt for fact in facts if isinstance(fact, Delivered)} == {1}


async def test_no_more_requests_than_the_route_allows_are_under_way_at_once(tmp_path: Path) -> None:
    under_way = most = 0

    async def slow(_: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await anyio.sleep(0.02)
        under_way -= 1

    async with anyio.create_task_group() as tasks:
        slots: Slots[int] = Slots(tasks, slow, 3)
        for number in range(10):
            slots.give(number)
        slots.end()
    assert (most, under_way) == (3, 0)
    assert slots.left() == []
