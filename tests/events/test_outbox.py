"""A route's side of the bus: what it still has to deliver, and what survives an operator's hand."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from events.jetstream import streams
from events.jetstream.connection import Bus
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.outbox import DeadLetter, RouteQueue, dead_letters, record_of, replay
from events.jetstream.pull import Message
from events.ledger import Head, Poll
from schemas.changes import Change, Scope
from schemas.records import Property
from tests.events.bus import NAMES, open_bus

pytestmark = pytest.mark.anyio

SCOPE = Scope("octorate", "hotel-roma", "property")
ALL = ["vendorwire.event.*.*.property.*"]


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    async with open_bus(tmp_path) as opened:
        yield opened


async def publish(bus: Bus, *keys: str) -> None:
    ledger = JetStreamLedger(bus, NAMES, timedelta(days=1))
    new = [Change(key=key, version=1, verb="created", before=None, after=Property(id=key, name=key)) for key in keys]
    await ledger.commit(await ledger.load(SCOPE), new, Head(), Poll("p", datetime.now(UTC)))


async def take(queue: RouteQueue, count: int) -> list[Message]:
    found: list[Message] = []
    async with queue.events() as events:
        while len(found) < count:
            found += await events.take(count - len(found), 10)
    return found


def queue_of(bus: Bus, filters: list[str] = ALL) -> RouteQueue:
    return RouteQueue(bus, NAMES, "crm", filters, 30)


async def test_a_new_route_starts_with_what_comes_from_now_on(bus: Bus) -> None:
    await publish(bus, "before")
    queue = queue_of(bus)
    await queue.ensure()
    await publish(bus, "after")
    [message] = await take(queue, 1)
    assert record_of(message, NAMES) == "octorate/hotel-roma/property/after"


async def test_the_backlog_counts_what_waits_and_what_is_in_hand(bus: Bus) -> None:
    queue = queue_of(bus)
    await queue.ensure()
    await publish(bus, "a", "b", "c")
    await take(queue, 1)
    backlog = await queue.backlog()
    assert (backlog.waiting, backlog.in_hand) == (2, 1)
    assert await queue.in_doubt() == [("octorate/hotel-roma/property/a", backlog.handed_out_up_to)]


async def test_a_changed_route_keeps_its_place(bus: Bus) -> None:
    queue = queue_of(bus)
    await queue.ensure()
    await publish(bus, "a")
    await queue_of(bus, ["vendorwire.event.*.*.*.created"]).ensure()
    assert (await queue.backlog()).waiting == 1


async def test_a_consumer_deleted_under_its_worker_goes_on_where_it_was(bus: Bus) -> None:
    queue = queue_of(bus)
    await queue.ensure()
    await publish(bus, "done")
    [done] = await take(queue, 1)
    await done.ack()
    await queue.backlog()
    await bus.api(f"CONSUMER.DELETE.{NAMES.ledger}.{queue.consumer}")
    await publish(bus, "meanwhile")
    await queue.ensure()
    [message] = await take(queue, 1)
    assert record_of(message, NAMES) == "octorate/hotel-roma/property/meanwhile"


async def test_a_stream_made_anew_is_delivered_from_its_first_event(bus: Bus) -> None:
    queue = queue_of(bus)
    await queue.ensure()
    await publish(bus, "a", "b", "c")
    for message in await take(queue, 3):
        await message.ack()
    await queue.backlog()
    await bus.api(f"STREAM.DELETE.{NAMES.ledger}")
    await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
    await publish(bus, "anew")
    await queue.ensure()
    [message] = await take(queue, 1)
    assert record_of(message, NAMES) == "octorate/hotel-roma/property/anew"


def letter(source: str) -> DeadLetter:
    return DeadLetter(
        route="crm",
        event=b"{}",
        event_id="e",
        reason="answered 422",
        attempts=1,
        status="422",
        failed_at=0,
        record="a",
        source=source,
    )


async def test_a_message_is_buried_once_and_its_replay_anew(bus: Bus) -> None:
    queue = queue_of(bus)
    await queue.bury(letter("vendorwire.event.x/7"))
    await queue.bury(letter("vendorwire.event.x/7"))
    [first] = [each async for each in dead_letters(bus, NAMES)]
    await replay(bus, NAMES, first)
    await queue.bury(letter("vendorwire.replay.crm/1"))
    [second] = [each async for each in dead_letters(bus, NAMES)]
    assert (second.event_id, second.sequence) == ("e", first.sequence + 1)


async def test_a_saved_lane_that_is_none_is_told_and_the_others_stay(bus: Bus) -> None:
    queue = queue_of(bus)
    await queue.save_lane("a", b"[[5],{}]")
    await bus.publish(f"$KV.{NAMES.lanes_bucket}.crm.zzz", b"oops")
    assert await queue.lanes() == ({"a": b"[[5],{}]"}, [f"$KV.{NAMES.lanes_bucket}.crm.zzz"])
