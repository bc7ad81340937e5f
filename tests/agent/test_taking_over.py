"""What a worker takes up of the lanes that the one before has left behind."""

import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from events.jetstream.connection import Bus
from events.jetstream.errors import BusUnavailable
from events.jetstream.ledger import KEY
from events.jetstream.outbox import TAKE_OVER, RouteQueue
from schemas.changes import Change
from schemas.envelope import encode, event_of
from schemas.facts import Delivered
from schemas.records import Property
from tests.agent.harness import NAMES, receiving, until
from tests.agent.test_settling import ACK_WAIT, RECORDS, SCOPE, a_bus, publish, queue_on, working

pytestmark = pytest.mark.anyio

RECORD = f"{SCOPE}/0"


def a_lane(sequence: int) -> bytes:
    """The event has failed twice and is due."""
    return msgspec.json.encode([[sequence], {sequence: [2, time.time(), 0.0]}])


async def replay(bus: Bus) -> None:
    """One event of the record is to be delivered again."""
    record = Property(id="0", name="again")
    change = Change(key="0", version=2, verb="updated", before=record, after=record)
    event = event_of(change, SCOPE, observed_at=datetime.now(UTC), poll_id="p")
    await bus.publish(NAMES.replay("crm"), encode(event), {KEY: RECORD})


async def test_what_was_settled_before_the_lane_could_be_stored_holds_nothing_up(tmp_path: Path) -> None:
    async with a_bus(tmp_path) as bus, receiving() as receiver:
        async with working(bus, receiver, 4) as (queue, facts):
            await publish(bus, range(1, 3))
            await until(lambda: len(facts) == 2 * RECORDS)
        await queue.save_lane(RECORD, a_lane(1))
        async with working(bus, receiver, 4) as (_, facts):
            await publish(bus, range(3, 4))
            await until(lambda: len(facts) == RECORDS, 15)


async def test_what_was_settled_beyond_an_event_that_was_not_holds_nothing_up_once_that_one_is(tmp_path: Path) -> None:
    """The server tells up to where all is settled, and no more: what lies beyond may be in another worker's hand."""
    async with a_bus(tmp_path) as bus, receiving() as receiver:
        queue = queue_on(bus)

        async def is_handed_out() -> bool:
            return (await queue.backlog()).waiting == 0

        await queue.ensure()
        await publish(bus, range(1, 2))
        async with queue.events() as events:
            first, *others = await events.take(RECORDS)
            for message in others:
                await message.ack()
        async with working(bus, receiver, 4) as (_, facts):
            await publish(bus, range(2, 3))
            await until(is_handed_out)
            await first.retry(0)  # as the server hands it out again when its time has passed
            taken_over = time.monotonic()
            await until(lambda: len(facts) == RECORDS + 1)
            assert time.monotonic() - taken_over < ACK_WAIT / 2
        assert [got.version for got in receiver.of(0)] == [1, 2]


async def test_an_agents_own_first_event_is_not_taken_for_another_agents_work(tmp_path: Path) -> None:
    """The server has chosen this agent, and says so, before the event is here that tells the agent."""
    async with a_bus(tmp_path) as bus, receiving() as receiver:

        class Chosen(RouteQueue):
            async def worker(self) -> str | None:
                if replays.pop():
                    await publish(bus, range(1, 2))
                    await until(self._is_chosen)
                return await super().worker()

            async def _is_chosen(self) -> bool:
                return await super().worker() is not None

        replays = [True, False]  # asked at the start, and when there is one
        async with working(bus, receiver, 4, Chosen) as (_, facts):
            await until(lambda: len(replays) == 1)
            await replay(bus)
            await until(lambda: not replays)
            chosen = time.monotonic()
            await until(lambda: len(facts) == RECORDS + 1)
            assert time.monotonic() - chosen < TAKE_OVER  # what a route waits for that its agent has let go of


async def test_what_a_worker_has_taken_and_cannot_take_up_comes_again_soon(tmp_path: Path) -> None:
    async with a_bus(tmp_path) as bus, receiving() as receiver:

        class Lost(RouteQueue):
            async def lanes(self) -> tuple[dict[str, bytes], list[str]]:
                if losses:
                    raise losses.pop()
                return await super().lanes()

        losses = [BusUnavailable("no answer")]
        async with working(bus, receiver, 4, Lost) as (_, facts):
            await publish(bus, range(1, 2))
            await until(lambda: not losses)
            lost = time.monotonic()
            await until(lambda: len(facts) == RECORDS)
            assert (
                time.monotonic() - lost < TAKE_OVER + ACK_WAIT / 4
            )  # else when its time to be acknowledged has passed


async def test_a_replay_is_not_taken_for_settled_because_a_live_event_of_its_number_is(tmp_path: Path) -> None:
    async with a_bus(tmp_path) as bus, receiving() as receiver:
        async with working(bus, receiver, 4) as (queue, facts):
            await publish(bus, range(1, 3))
            await until(lambda: len(facts) == 2 * RECORDS)
        await queue.save_lane(f"replay/{RECORD}", a_lane(1))
        await replay(bus)
        async with working(bus, receiver, 4) as (_, facts):
            await until(lambda: bool(facts))
        assert [fact.attempt for fact in facts if isinstance(fact, Delivered)] == [3]
