"""What a worker takes up of the lanes that the one before has left behind."""

import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from events.jetstream.ledger import KEY
from schemas.changes import Change
from schemas.envelope import encode, event_of
from schemas.facts import Delivered
from schemas.records import Property
from tests.agent.harness import NAMES, receiving, until
from tests.agent.test_settling import RECORDS, SCOPE, a_bus, publish, working

pytestmark = pytest.mark.anyio

RECORD = f"{SCOPE}/0"


def a_lane(sequence: int) -> bytes:
    """The event has failed twice and is due."""
    return msgspec.json.encode([[sequence], {sequence: [2, time.time(), 0.0]}])


async def test_what_was_settled_before_the_lane_could_be_stored_holds_nothing_up(tmp_path: Path) -> None:
    async with a_bus(tmp_path) as bus, receiving() as receiver:
        async with working(bus, receiver, 4) as (queue, facts):
            await publish(bus, range(1, 3))
            await until(lambda: len(facts) == 2 * RECORDS)
        await queue.save_lane(RECORD, a_lane(1))
        async with working(bus, receiver, 4) as (_, facts):
            await publish(bus, range(3, 4))
            await until(lambda: len(facts) == RECORDS, 15)


async def test_a_replay_is_not_taken_for_settled_because_a_live_event_of_its_number_is(tmp_path: Path) -> None:
    async with a_bus(tmp_path) as bus, receiving() as receiver:
        async with working(bus, receiver, 4) as (queue, facts):
            await publish(bus, range(1, 3))
            await until(lambda: len(facts) == 2 * RECORDS)
        await queue.save_lane(f"replay/{RECORD}", a_lane(1))
        record = Property(id="0", name="again")
        change = Change(key="0", version=2, verb="updated", before=record, after=record)
        event = event_of(change, SCOPE, observed_at=datetime.now(UTC), poll_id="p")
        await bus.publish(NAMES.replay("crm"), encode(event), {KEY: RECORD})
        async with working(bus, receiver, 4) as (_, facts):
            await until(lambda: bool(facts))
        assert [fact.attempt for fact in facts if isinstance(fact, Delivered)] == [3]
