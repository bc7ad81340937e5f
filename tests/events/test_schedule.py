"""Polls are messages: they fall due on time, to one agent at a time, and survive whoever holds them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from events.jetstream.connection import Bus
from events.jetstream.schedule import Due, Schedule, Tick, Ticks
from schemas.changes import Scope
from tests.events.bus import NAMES, open_bus

pytestmark = pytest.mark.anyio

SCOPE = Scope("octorate", "hotel-roma", "booking")


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    async with open_bus(tmp_path) as opened:
        yield opened


@asynccontextmanager
async def agent(bus: Bus) -> AsyncIterator[tuple[Schedule, Ticks]]:
    schedule = Schedule(bus, NAMES)
    await schedule.ensure()
    async with schedule.ticks() as ticks:
        yield schedule, ticks


def soon(seconds: float = 0.0) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def one(ticks: Ticks) -> Tick:
    [tick] = await ticks.take(1, 10)
    return tick


async def test_a_planned_poll_falls_due_on_time_and_carries_its_failures(bus: Bus) -> None:
    async with agent(bus) as (schedule, ticks):
        at = soon(1)
        await schedule.plan(SCOPE, at, Due(failures=3))
        tick = await one(ticks)
        assert (tick.scope, tick.due) == (SCOPE, Due(failures=3))
        assert timedelta(0) <= datetime.now(UTC) - at < timedelta(seconds=2)


async def test_planning_again_replaces_the_plan(bus: Bus) -> None:
    async with agent(bus) as (schedule, ticks):
        await schedule.plan(SCOPE, soon(3600), Due(failures=1))
        await schedule.plan(SCOPE, soon(), Due(failures=2))
        assert (await one(ticks)).due.failures == 2


async def test_a_tick_in_hand_is_given_to_nobody_else(bus: Bus) -> None:
    async with agent(bus) as (schedule, here), agent(bus) as (_, there):
        await schedule.poll_now(SCOPE)
        await one(here)
        assert await there.take(1, 1.0) == []


async def test_a_poll_asked_for_while_one_is_in_hand_does_not_replace_it(bus: Bus) -> None:
    async with agent(bus) as (schedule, here), agent(bus) as (_, there):
        assert await schedule.poll_now(SCOPE)
        tick = await one(here)
        assert not await schedule.poll_now(SCOPE)
        assert await there.take(1, 0.5) == []
        await schedule.finish(tick, soon(3600), Due())
        assert await schedule.poll_now(SCOPE)
        assert (await one(there)).scope == SCOPE


async def test_a_schedule_that_would_fire_while_polling_is_held_back(bus: Bus) -> None:
    async with agent(bus) as (schedule, here), agent(bus) as (_, there):
        await schedule.poll_now(SCOPE)
        await schedule.plan(SCOPE, soon(1), Due())
        tick = await one(here)
        assert await schedule.begin(tick)
        assert await there.take(1, 2.0) == []
        await schedule.finish(tick, soon(), Due())
        assert (await one(there)).scope == SCOPE


async def test_a_tick_that_was_replaced_before_it_began_is_left_alone(bus: Bus) -> None:
    async with agent(bus) as (schedule, ticks):
        await schedule.poll_now(SCOPE)
        old = await one(ticks)
        await schedule.plan(SCOPE, soon(), Due())
        new = await one(ticks)
        assert not await schedule.begin(old)
        assert await schedule.begin(new)


async def test_a_tick_that_nobody_has_begun_is_handed_out_again_and_counts_no_more_where_it_was(bus: Bus) -> None:
    async with agent(bus) as (schedule, dead), agent(bus) as (_, alive):
        await schedule.plan(SCOPE, soon(3600), Due())
        await schedule.poll_now(SCOPE)
        lost = await one(dead)
        assert not await schedule.hand_out_again(SCOPE, timedelta(seconds=60))  # it may just be on its way
        assert await schedule.hand_out_again(SCOPE, timedelta(0))
        again = await one(alive)
        assert not await schedule.begin(lost)
        assert await schedule.begin(again)
        assert not await schedule.hand_out_again(SCOPE, timedelta(0))  # it is being polled
        await schedule.finish(again, soon(3600), Due())
        assert not await schedule.hand_out_again(SCOPE, timedelta(0))  # there is none


async def test_a_tick_given_back_comes_again_at_once(bus: Bus) -> None:
    async with agent(bus) as (schedule, here), agent(bus) as (_, there):
        await schedule.poll_now(SCOPE)
        await (await one(here)).message.retry(0)
        assert (await one(there)).message.delivered == 2


async def test_after_a_poll_the_next_one_is_planned_and_the_tick_is_gone(bus: Bus) -> None:
    async with agent(bus) as (schedule, ticks):
        await schedule.poll_now(SCOPE)
        at = soon(3600)
        await schedule.finish(await one(ticks), at, Due())
        assert await schedule.known() == {SCOPE: {"vendorwire.schedule.octorate.hotel-roma.booking"}}
        assert await schedule.planned(SCOPE) == at


async def test_a_missing_schedule_is_put_back_and_a_present_one_left(bus: Bus) -> None:
    schedule = Schedule(bus, NAMES)
    at = soon(3600)
    await schedule.plan(SCOPE, at, Due(), only_if_missing=True)
    await schedule.plan(SCOPE, soon(7200), Due(), only_if_missing=True)
    assert await schedule.planned(SCOPE) == at


async def test_what_is_no_longer_configured_is_forgotten(bus: Bus) -> None:
    schedule = Schedule(bus, NAMES)
    await schedule.plan(SCOPE, soon(3600), Due())
    known = await schedule.known()
    await schedule.forget(sorted(known[SCOPE]))
    assert await schedule.known() == {}
    assert await schedule.planned(SCOPE) is None


async def test_the_schedule_survives_the_consumer(bus: Bus) -> None:
    schedule = Schedule(bus, NAMES)
    await schedule.ensure()
    await schedule.poll_now(SCOPE)
    await bus.api(f"CONSUMER.DELETE.{NAMES.polls}.agents")
    async with agent(bus) as (_, ticks):
        with anyio.fail_after(10):
            assert (await one(ticks)).scope == SCOPE


async def test_a_plan_that_did_not_fall_due_is_made_anew(bus: Bus) -> None:
    async with agent(bus) as (schedule, ticks):
        await schedule.plan(SCOPE, soon(3600), Due())
        assert not await schedule.straighten(SCOPE, soon(), soon(-15), soon(7200))
        assert await schedule.straighten(SCOPE, soon(), soon(7200), soon(9000))
        assert (await one(ticks)).scope == SCOPE


async def test_a_plan_is_left_alone_while_its_poll_is_under_way(bus: Bus) -> None:
    async with agent(bus) as (schedule, ticks):
        await schedule.poll_now(SCOPE)
        await schedule.begin(await one(ticks))
        assert not await schedule.straighten(SCOPE, soon(), soon(7200), soon(9000))
