"""A tick in hand, and its place in the schedule, on a real bus."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from agent.leases import Leases
from events.jetstream import streams
from events.jetstream.connection import connect
from events.jetstream.options import BusOptions
from events.jetstream.schedule import Due, Schedule
from schemas.changes import Scope
from tests.agent.harness import NAMES
from tests.nats import start_nats

pytestmark = pytest.mark.anyio

SCOPE = Scope("octorate", "hotel", "booking")


async def test_the_place_in_the_schedule_is_held_while_the_poll_lasts_and_never_after(
    tmp_path: Path,
) -> None:
    with start_nats(tmp_path / "nats") as server:
        async with connect(BusOptions(urls=[server.url]), lambda _: None) as bus, anyio.create_task_group() as keepers:
            await bus.ready()
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            schedule = Schedule(bus, NAMES)
            await schedule.ensure()
            kept = Leases(bus, schedule, beat=0.01, hold_every=2)
            keepers.start_soon(kept.keep)
            now = datetime.now(UTC)
            await schedule.plan(SCOPE, now, Due())
            async with schedule.ticks() as ticks:
                (tick,) = await ticks.take(1, 10)
                with kept.taken(tick):
                    with kept.working(tick):
                        await anyio.sleep(0.1)
                        held = await schedule.planned(SCOPE)
                    await schedule.plan(SCOPE, now + timedelta(minutes=1), Due())
                    await anyio.sleep(0.1)  # the bus takes its time to hear that the tick is given back
                planned = await schedule.planned(SCOPE)
            keepers.cancel_scope.cancel()
    assert held is not None
    assert held > now + timedelta(minutes=30)
    assert planned is not None
    assert planned < now + timedelta(minutes=2)
