"""Two agents side by side: never at one resource at once, and one takes over from the other."""

import random
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from connectors.sandbox.serve import serve
from tests.agent.harness import (
    Got,
    Process,
    Receiver,
    Vendor,
    agent,
    fine,
    hotel,
    octorate,
    ready,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.nats import NatsServer, start_nats

pytestmark = pytest.mark.anyio

KEY = 92180827


@asynccontextmanager
async def served(
    folder: Path, nats: NatsServer, vendors: Mapping[str, Vendor], *agents: str, **bus: str
) -> AsyncIterator[list[Path]]:
    """A configuration for each agent: the same accounts, at an address of its own."""
    async with AsyncExitStack() as stack:
        files = []
        for who in agents:
            accounts = [
                octorate(name, await stack.enter_async_context(serve(vendor.to(who))))
                for name, vendor in vendors.items()
            ]
            files.append(write_config(folder, bus={"url": nats.url, **bus}, accounts=accounts, name=f"{who}.yaml"))
        yield files


async def test_two_agents_share_the_work_and_never_poll_the_same_at_once(tmp_path: Path) -> None:
    # Six requests make a poll: with 0.25 s for each it lasts longer than the interval of 1 s.
    vendors = {name: Vendor(0.25) for name in ("one", "two", "three", "four")}
    with start_nats(tmp_path / "nats") as nats:
        async with (
            served(tmp_path, nats, vendors, "a", "b") as (first, second),
            agent(first, "a.log") as a,
            agent(second, "b.log") as b,
        ):
            await ready(a)
            await ready(b)
            await until(lambda: min(vendor.times() for vendor in vendors.values()) > 16, 15)
            assert [vendor.overlaps() for vendor in vendors.values()] == [[], [], [], []]
            assert {who for vendor in vendors.values() for who in vendor.asked} == {"a", "b"}
            assert "Traceback" not in a.log + b.log


async def test_polls_of_the_dead_and_of_the_hung_are_taken_over_and_a_slow_poll_stays_where_it_is(
    tmp_path: Path,
) -> None:
    """Three stories that each need a lease (30 s) to run out, told at once; that of the hung on a bus prefix of its own."""
    # A first sweep asks four times. With 8 s for each, that of the slow one lasts longer than a lease.
    slow, victim, stuck = Vendor(8), Vendor(20), Vendor(0.7)
    with start_nats(tmp_path / "nats") as nats:
        async with (
            served(tmp_path, nats, {"victim": victim}, "dead") as [deads],
            served(tmp_path, nats, {"slow": slow, "victim": victim}, "a", "b") as (first, second),
            served(tmp_path, nats, {"stuck": stuck}, "hung", "heir", prefix="other") as (hungs, heirs),
            agent(hungs, "hung.log") as hung,
            agent(deads, "dead.log") as dead,
        ):
            await until(lambda: bool(stuck.asked["hung"]))
            hung.tell(signal.SIGSTOP)
            await until(lambda: bool(victim.asked["dead"]))
            dead.kill()
            lost = time.monotonic()
            async with agent(first, "a.log") as a, agent(second, "b.log") as b, agent(heirs, "heir.log") as heir:
                await until(lambda: bool(victim.asked["a"] or victim.asked["b"]), 60)
                await until(lambda: bool(stuck.asked["heir"]), 60)
                assert 20 < time.monotonic() - lost < 45
                await until(lambda: len(stuck.asked["heir"]) > 2)  # in the middle of its poll
                hung.tell(signal.SIGCONT)
                times = stuck.times()
                await until(lambda: stuck.times() > times + 6)  # its polls go on
                await until(lambda: slow.times() > 4, 60)
                assert slow.overlaps() == victim.overlaps() == []
                assert "Traceback" not in a.log + b.log + heir.log + hung.log


async def test_an_agent_told_to_end_hands_its_poll_over_at_once(tmp_path: Path) -> None:
    vendors = {"hotel": Vendor(20)}
    with start_nats(tmp_path / "nats") as nats:
        async with (
            served(tmp_path, nats, vendors, "a", "b") as (first, second),
            agent(first, "a.log") as a,
        ):
            await until(lambda: bool(vendors["hotel"].asked["a"]))
            async with agent(second, "b.log") as b:
                await ready(b)
                assert (await a.end())[0] == 0
                assert await until(lambda: bool(vendors["hotel"].asked["b"])) < 3


async def test_rolling_restarts_leave_no_resource_waiting(tmp_path: Path) -> None:
    vendors = {name: Vendor(0.02) for name in ("one", "two", "three", "four")}
    rng = random.Random(7)
    with start_nats(tmp_path / "nats") as nats:
        async with served(tmp_path, nats, vendors, "a", "b") as files, AsyncExitStack() as stack:
            running: list[Process] = []
            for file in files:
                running.append(await stack.enter_async_context(agent(file, f"{file.stem}.log")))
                await ready(running[-1])
            began = time.monotonic()
            for turn in range(5):
                await anyio.sleep(rng.uniform(0.2, 0.8))
                status, _ = await running[turn % 2].end()
                assert (status, "Traceback" in running[turn % 2].log) == (0, False), running[turn % 2].log
                file = files[turn % 2]
                running[turn % 2] = await stack.enter_async_context(agent(file, f"{file.stem}.log"))
                await ready(running[turn % 2])
            for vendor in vendors.values():
                assert vendor.longest_gap(began) < 6
                assert vendor.overlaps() == []


def has_got(receiver: Receiver, number: int) -> bool:
    return len(receiver.got) == number


async def test_a_route_is_worked_by_one_agent_until_it_dies(tmp_path: Path) -> None:
    """Its slots may all be taken for longer than the server's patience with a worker that asks for nothing (5 s)."""
    sandbox = hotel()
    delivered = 'vendorwire_deliveries_total{outcome="delivered",route="crm"}'

    async def slow(_: Got) -> web.Response:
        await anyio.sleep(6.5)
        return web.Response()

    with start_nats(tmp_path / "nats") as nats:
        async with serve(sandbox) as vendor, receiving() as receiver:
            routes = [webhook("crm", receiver.url, concurrency=1)]
            file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)], routes=routes)
            async with (
                agent(file, "a.log", "--roles", "route") as a,
                agent(file, "b.log", "--roles", "route") as b,
                agent(file, "poller.log", "--roles", "poll") as poller,
            ):
                await ready(a)
                await ready(b)
                await synced(poller)
                receiver.answer = slow
                sandbox.change(KEY, {"totalGuest": 10})
                await until(partial(has_got, receiver, 1))
                receiver.answer = fine
                sandbox.change(KEY, {"totalGuest": 11})
                await until(partial(has_got, receiver, 2))
                counts = {process: await process.metric(delivered) for process in (a, b)}
                assert sorted(counts.values()) == [0, 2]
                max(counts, key=lambda process: counts[process]).kill()
                sandbox.change(KEY, {"totalGuest": 12})
                assert await until(partial(has_got, receiver, 3)) < 15
                assert [each.version for each in receiver.got] == [2, 3, 4]
