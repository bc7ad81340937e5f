"""A route's side of the bus: what it still has to deliver, and what survives an operator's hand."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from events.jetstream import streams
from events.jetstream.connection import Bus
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.outbox import DeadLetter, RouteQueue, dead_letters, drop, record_of, replay
from events.jetstream.pull import Message, pulling
from events.jetstream.read import held
from events.ledger import Head, Poll
from events.routes import ALL as ALL_THERE_IS
from events.routes import NOW, Begin
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


def queue_of(bus: Bus, filters: list[str] = ALL, begin: Begin = NOW) -> RouteQueue:
    return RouteQueue(bus, NAMES, "crm", filters, 30, begin)


def keys(messages: list[Message]) -> list[str]:
    return [record_of(message, NAMES).rpartition("/")[2] for message in messages]


async def test_a_new_route_starts_with_what_comes_from_now_on(bus: Bus) -> None:
    await publish(bus, "before")
    queue = queue_of(bus)
    await queue.ensure()
    await publish(bus, "after")
    [message] = await take(queue, 1)
    assert record_of(message, NAMES) == "octorate/hotel-roma/property/after"


async def test_a_new_route_may_begin_with_all_there_is(bus: Bus) -> None:
    await publish(bus, "a", "b")
    queue = queue_of(bus, begin=ALL_THERE_IS)
    await queue.ensure()
    assert keys(await take(queue, 2)) == ["a", "b"]


@pytest.mark.parametrize("verbs", [["*"], ["created", "modified", "deleted"]])
async def test_a_new_route_may_begin_at_a_time_whatever_its_filters(bus: Bus, verbs: list[str]) -> None:
    await publish(bus, "before")
    await publish(bus, "a", "b", "c")
    await publish(bus, "after")
    messages = [each async for each in held(bus, NAMES.ledger, [NAMES.events], every=True)]
    begin = Begin(datetime.fromtimestamp(messages[1].published_at - 1e-6, UTC).isoformat())
    queue = queue_of(bus, [f"vendorwire.event.*.*.property.{verb}" for verb in verbs], begin)
    await queue.ensure()
    assert keys(await take(queue, 4)) == ["a", "b", "c", "after"]


async def test_a_new_route_that_begins_when_there_was_nothing_yet_starts_with_what_comes(bus: Bus) -> None:
    await publish(bus, "before")
    queue = queue_of(bus, begin=Begin((datetime.now(UTC) + timedelta(seconds=1)).isoformat()))
    await queue.ensure()
    await publish(bus, "after")
    assert keys(await take(queue, 1)) == ["after"]


async def test_where_to_begin_is_nothing_to_a_route_that_is_there(bus: Bus) -> None:
    await publish(bus, "a")
    await queue_of(bus).ensure()
    queue = queue_of(bus, begin=ALL_THERE_IS)
    await queue.ensure()
    assert (await queue.backlog()).waiting == 0


async def test_one_agent_takes_the_replays_and_it_is_known_which_works_the_route(bus: Bus) -> None:
    queue = queue_of(bus)
    await queue.ensure()
    assert await queue.worker() is None
    await publish(bus, "a")
    async with queue.events() as events, queue.events() as others:
        first, second = await events.take(1, 2), await others.take(1, 2)
        assert (len(first), len(second)) == (1, 0)
        assert events.pin
        assert await queue.worker() == events.pin
    for number in range(4):
        await bus.publish(NAMES.replay("crm"), b"{}", {"Nats-Msg-Id": str(number)})
    async with queue.replays() as replays, queue.replays() as others:
        assert len(await replays.take(1, 2)) == 1
        assert await others.take(4, 2) == []
        assert len(await replays.take(3, 2)) == 3


async def test_what_waits_to_be_replayed_outlives_the_change_to_one_taker(bus: Bus) -> None:
    before = {
        "durable_name": "route-crm",
        "filter_subjects": [NAMES.replay("crm")],
        "ack_policy": "explicit",
        "ack_wait": 1_000_000_000,
        "max_deliver": -1,
        "max_ack_pending": 1000,
        "deliver_policy": "all",
    }
    await bus.api(f"CONSUMER.CREATE.{NAMES.replays}.route-crm", {"stream_name": NAMES.replays, "config": before})
    for number in range(3):
        await bus.publish(NAMES.replay("crm"), b"%d" % number)
    async with pulling(bus, NAMES.replays, "route-crm", acks=False) as earlier:
        assert len(await earlier.take(1, 2)) == 1
    queue = RouteQueue(bus, NAMES, "crm", ALL, 1)
    await queue.ensure()
    found: list[Message] = []
    async with queue.replays() as replays:
        with anyio.fail_after(10):
            while len(found) < 3:
                found += await replays.take(3 - len(found), 5)
    assert {message.data for message in found} == {b"0", b"1", b"2"}


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


async def test_a_dead_letter_that_somebody_else_took_off_meanwhile_is_no_trouble(bus: Bus) -> None:
    for source in ("1", "2", "3"):
        await queue_of(bus).bury(letter(source))
    first, middle, last = [each async for each in dead_letters(bus, NAMES)]
    for found in (middle, first):
        await drop(bus, NAMES, found)
        await drop(bus, NAMES, found)
        await replay(bus, NAMES, found)
    assert [each.sequence async for each in dead_letters(bus, NAMES)] == [last.sequence]


async def test_dead_letters_that_come_meanwhile_are_left_for_another_time(bus: Bus) -> None:
    queue = queue_of(bus)
    await queue.bury(letter("1"))
    await queue.bury(letter("2"))
    count = 0
    async for each in dead_letters(bus, NAMES):
        count += 1
        await queue.bury(letter(f"again {each.sequence}"))
    assert count == 2


async def test_a_dead_letter_of_a_stranger_is_read_as_far_as_it_goes(bus: Bus) -> None:
    odd = {"Vendorwire-Attempts": "many", "Vendorwire-Failed-At": "nan"}
    await bus.publish(NAMES.dead_letter("crm"), b"oops", odd)
    [found] = [each async for each in dead_letters(bus, NAMES)]
    assert (found.route, found.event, found.event_id, found.attempts) == ("crm", b"oops", "", 0)
    assert abs(found.failed_at - datetime.now(UTC).timestamp()) < 60


async def test_a_saved_lane_that_is_none_is_told_and_the_others_stay(bus: Bus) -> None:
    queue = queue_of(bus)
    await queue.save_lane("a", b"[[5],{}]")
    await bus.publish(f"$KV.{NAMES.lanes_bucket}.crm.zzz", b"oops")
    assert await queue.lanes() == ({"a": b"[[5],{}]"}, [f"$KV.{NAMES.lanes_bucket}.crm.zzz"])
