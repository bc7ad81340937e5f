"""The bus is down, killed, hung or slow while the vendor goes on changing: the agent says so, holds, and goes on by itself."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest

from connectors.sandbox.serve import serve
from tests.agent.harness import (
    Process,
    Receiver,
    agent,
    octorate,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.faults.changing import Changing, each_came_once, is_told_as_down, memory
from tests.faults.slow_line import slow_line
from tests.nats import start_nats

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

HOTELS = 2  # of the account, asked for at each poll
Measured = Callable[[str, str, str], None]


def configured(folder: Path, bus: str, vendor: str, receiver: Receiver) -> Path:
    routes = [webhook("crm", receiver.url)]
    return write_config(folder, bus={"url": bus}, accounts=[octorate("hotel", vendor)], routes=routes)


def has_lost_its_bus(process: Process, times: int) -> bool:
    return process.log.count("bus lost") == times


def listings(vendor: Changing) -> int:
    """How often it was asked which bookings of a hotel were modified, once in each poll."""
    return sum("MODIFIED_BETWEEN" in dict(seen.query).values() for seen in vendor.sandbox.seen)


def has_more(receiver: Receiver, than: int) -> bool:
    return len(receiver.got) > than


async def test_a_bus_that_is_down_at_the_start_and_killed_under_load_costs_nothing(
    tmp_path: Path, torture: bool, measured: Measured
) -> None:
    rounds, away, longest = (10, 20.0, 180.0) if torture else (2, 1.0, 4.0)
    vendor = Changing()
    slowest = grown = 0.0
    async with serve(vendor.sandbox) as url, receiving() as receiver:
        with start_nats(tmp_path / "nats") as nats:
            nats.kill()
            async with agent(configured(tmp_path, nats.url, url, receiver)) as process:
                await is_told_as_down(process, "Connection refused")
                nats.start()
                assert await until(process.is_ready) < 5
                await synced(process)
                async with vendor.meanwhile():
                    for round_ in range(rounds):
                        await until(partial(has_more, receiver, len(receiver.got)))  # there are deliveries under way
                        nats.kill()
                        await until(partial(has_lost_its_bus, process, round_ + 2))
                        await is_told_as_down(process, "")
                        got, before = len(receiver.got), memory(process)
                        await anyio.sleep(away if round_ else longest)
                        grown = max(grown, memory(process) - before)
                        nats.start()
                        slowest = max(slowest, await until(process.is_ready))
                        slowest = max(slowest, await until(partial(has_more, receiver, got)))
                events = await vendor.story(nats.url)
                assert vendor.faults(events) == []
                await each_came_once(receiver, events)
                assert await process.metric("vendorwire_bus_connected") == 1
                assert has_lost_its_bus(process, rounds + 1)
                assert len(process.log.splitlines()) < 8 + 2 * rounds, process.log
                assert "Traceback" not in process.log
    assert slowest < 5
    assert grown < 8
    fault = (
        f"the NATS server down at the start, then killed {rounds} times under load, while the vendor went on changing"
    )
    measured("nothing is lost", fault, f"{len(events)} events: 0 lost, 0 twice, 0 out of order; each delivered once")
    measured("it resumes by itself", fault, f"delivers again at most {slowest:.1f} s after the server is back")
    measured("bounded memory", fault, f"{max(grown, 0):.1f} MB more while the server was away")


async def test_a_bus_that_hangs_under_load_is_noticed_within_fifteen_seconds_and_costs_nothing(
    tmp_path: Path, torture: bool, measured: Measured
) -> None:
    rounds = 8 if torture else 1
    vendor = Changing()
    noticed = slowest = 0.0
    async with serve(vendor.sandbox) as url, receiving() as receiver:
        with start_nats(tmp_path / "nats") as nats:
            async with agent(configured(tmp_path, nats.url, url, receiver)) as process:
                await synced(process)
                for round_ in range(rounds):
                    async with vendor.meanwhile():
                        await until(partial(has_more, receiver, len(receiver.got)))
                        nats.pause()
                        noticed = max(noticed, await until(partial(has_lost_its_bus, process, round_ + 1)))
                        await is_told_as_down(process, "")
                    got = len(receiver.got)
                    nats.resume()
                    slowest = max(slowest, await until(process.is_ready))
                    slowest = max(slowest, await until(partial(has_more, receiver, got), 45))
                events = await vendor.story(nats.url)
                assert vendor.faults(events) == []
                await each_came_once(receiver, events)
                assert len(process.log.splitlines()) < 4 + 6 * rounds, process.log
                assert "Traceback" not in process.log
    assert noticed < 15
    assert slowest < 5
    fault = f"the NATS server hung (SIGSTOP) under load, {rounds} times"
    measured("never silent", fault, f"noticed after at most {noticed:.0f} s: not ready, bus_connected 0, one log line")
    measured("it resumes by itself", fault, f"delivers again at most {slowest:.1f} s after the server goes on")
    measured("nothing is lost", fault, f"{len(events)} events: 0 lost, 0 twice, 0 out of order; each delivered once")


async def test_a_slow_bus_slows_the_work_down_and_stops_none_of_it(
    tmp_path: Path, torture: bool, measured: Measured
) -> None:
    delays, seconds = ((0.05, 0.1, 0.3), 40) if torture else ((0.1,), 5)
    vendor = Changing()
    grown = 0.0
    async with serve(vendor.sandbox) as url, receiving() as receiver:
        with start_nats(tmp_path / "nats") as nats:
            async with slow_line(nats.port) as line, agent(configured(tmp_path, line.url, url, receiver)) as process:
                await synced(process)
                before = memory(process)
                for line.delay in delays:
                    async with vendor.meanwhile():
                        got, asked, began = len(receiver.got), listings(vendor), anyio.current_time()
                        while anyio.current_time() < began + seconds:
                            assert await process.is_ready()
                            await anyio.sleep(0.2)
                        await until(partial(has_more, receiver, got))
                        polls = (listings(vendor) - asked) / HOTELS
                    assert polls <= anyio.current_time() - began + 1  # none is asked for again for want of an answer
                grown = memory(process) - before
                line.delay = 0
                events = await vendor.story(nats.url)
                assert vendor.faults(events) == []
                await each_came_once(receiver, events)
                assert len(process.log.splitlines()) == 3, process.log
                assert line.connections == 1
    assert grown < 8
    slowest = 2000 * max(delays)
    fault = f"each answer of the NATS server {slowest:.0f} ms late or more, under load"
    figure = f"{len(events)} events: 0 lost, 0 twice, each delivered once; no time-out, no new connection, no log line"
    measured("nothing is lost", fault, figure)
    measured("bounded memory", fault, f"{max(grown, 0):.1f} MB more")
