"""What a route's worker has delivered is acknowledged together, and the order of each record stays."""

import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import msgspec
import pytest

from agent.delivering import RouteWorker
from agent.pulse import Pulse
from agent.receivers import WebhookReceiver
from agent.room import Room
from agent.settling import Settler
from agent.slots import Slots
from events.jetstream import streams
from events.jetstream.attempts import Attempts
from events.jetstream.connection import Bus, connect
from events.jetstream.ledger import KEY
from events.jetstream.options import BusOptions
from events.jetstream.outbox import RouteQueue
from events.lanes import Deliver, Lanes, Wait
from events.routes import Secrets, Webhook
from events.webhook import WebhookSender
from schemas.changes import Change, Scope
from schemas.envelope import encode, event_of
from schemas.facts import Delivered, Fact
from schemas.records import Property
from schemas.settings import Secret
from tests.agent.harness import NAMES, SECRET, Receiver, receiving, until
from tests.nats import DEADLINE, start_nats

pytestmark = pytest.mark.anyio

SCOPE = Scope("octorate", "hotel", "property")
RECORDS, VERSIONS = 8, 40
ACK_WAIT = 20.0


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


def queue_on(bus: Bus, kind: type[RouteQueue] = RouteQueue) -> RouteQueue:
    return kind(bus, NAMES, "crm", [NAMES.events], ACK_WAIT)


@asynccontextmanager
async def working(
    bus: Bus, receiver: Receiver, concurrency: int, kind: type[RouteQueue] = RouteQueue
) -> AsyncIterator[tuple[RouteQueue, list[Fact]]]:
    """A route's worker; it ends in good order after the block."""
    target = Webhook(url=receiver.url, secret=Secrets([Secret(SECRET)]), concurrency=concurrency, allow_private=True)
    queue = queue_on(bus, kind)
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
            Attempts(bus, NAMES),
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
        slots: Slots[int] = Slots(slow, 3)
        slots.open(tasks)
        for number in range(10):
            slots.give(number)
        slots.end()
    assert (most, under_way) == (3, 0)
    assert slots.left() == []


async def test_what_waits_when_the_time_is_up_is_left_over(tmp_path: Path) -> None:
    slots: Slots[int] = Slots(lambda _: anyio.sleep(DEADLINE), 3)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            slots.open(tasks)
            for number in range(10):
                slots.give(number)
            slots.end()
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert slots.left() == list(range(3, 10))


async def test_the_live_events_and_the_replays_of_a_route_are_confirmed_each_by_its_own_consumer(
    tmp_path: Path,
) -> None:
    """The consumer of the replays is gone: what was delivered live is settled all the same."""
    async with a_bus(tmp_path) as bus:
        queue = queue_on(bus)
        await queue.ensure()
        await publish(bus, range(1, 2))
        settler, lanes = Settler("crm", queue), Lanes()
        async with queue.events() as events:
            (live,) = await events.take(1)
            gone = msgspec.structs.replace(live, reply=live.reply.replace(NAMES.ledger, NAMES.replays))
            await bus.api(f"CONSUMER.DELETE.{NAMES.replays}.{queue.consumer}")
            async with anyio.create_task_group() as group:
                group.start_soon(settler.run)
                for message, lane in ((live, "live"), (gone, "replay/x")):
                    lanes.arrive(lane, message.sequence, 0.0)
                    settler.settle(message, lane, lane, lanes)
                settler.end()
        info = await bus.api(f"CONSUMER.INFO.{NAMES.ledger}.{queue.consumer}")
    assert info["num_ack_pending"] == 0
    assert lanes.arrive("live", live.sequence + 1, 0.0) == Deliver(1)  # the one before is settled
    assert isinstance(lanes.arrive("replay/x", live.sequence + 1, 0.0), Wait)  # the one before may come again


async def test_whoever_waits_for_room_in_vain_leaves_nothing_behind() -> None:
    room = Room(1, ahead=False)
    room.take()
    for _ in range(10):
        with anyio.move_on_after(0.001):
            await room.free()
    assert room._waiters == []
