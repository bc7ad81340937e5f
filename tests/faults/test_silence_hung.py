"""A poll that never ends keeps its resource from nobody for ever: it is given up, and its tick comes again."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from agent.leases import LeaseLost, Leases
from events.jetstream.connection import Bus
from events.jetstream.schedule import Due, Schedule
from schemas.changes import Scope
from tests.agent.harness import NAMES
from tests.events.bus import open_bus

pytestmark = pytest.mark.anyio

SCOPE = Scope("octorate", "hotel", "booking")


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    async with open_bus(tmp_path) as opened:
        yield opened


async def test_a_poll_that_hangs_is_given_up_and_said_so(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    schedule = Schedule(bus, NAMES)
    await schedule.ensure()
    await schedule.plan(SCOPE, datetime.now(UTC), Due())
    leases = Leases(bus, schedule, beat=0.05, longest=0.3)
    async with anyio.create_task_group() as keepers, schedule.ticks() as ticks:
        keepers.start_soon(leases.keep)
        (tick,) = await ticks.take(1, 10)
        with anyio.fail_after(10), leases.taken(tick), pytest.raises(LeaseLost), leases.working(tick):
            await anyio.sleep_forever()
        keepers.cancel_scope.cancel()
    assert caplog.messages == ["a poll hangs and is given up"]
