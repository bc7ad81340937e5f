"""The wall clock of one of two agents jumps by hours, as it does when NTP finds out that it was off."""

import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
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
    octorate,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.faults.changing import Changing
from tests.faults.clock import WallClock, wall_clock
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

HOUR = 3600
JUMPS = {"+2h": 2 * HOUR, "-2h": -2 * HOUR, "+0": 0}  # each from where the one before left it
ACCOUNTS = ("one", "two", "three", "four")
FRESH = 'vendorwire_poll_last_success_timestamp_seconds{account="hotel",resource="booking",vendor="octorate"}'
HEALTHY = 'vendorwire_token_healthy{account="hotel",vendor="octorate"}'
LOOKED_AT = 4.0  # seconds in which polls are counted
Measured = Callable[[str, str, str], None]


class Watch:
    """What the vendors are asked from now on."""

    def __init__(self, vendors: Mapping[str, Vendor]) -> None:
        self._vendors = vendors
        self._before = {name: vendor.times() for name, vendor in vendors.items()}
        self.began = time.monotonic()

    def rate(self) -> float:
        """Requests a second for the account that is asked most."""
        seconds = time.monotonic() - self.began
        return max(vendor.times() - self._before[name] for name, vendor in self._vendors.items()) / seconds

    def longest_gap(self) -> float:
        """Seconds in which some account was not asked."""
        return max(vendor.longest_gap(self.began) for vendor in self._vendors.values())

    def asking(self) -> set[str]:
        """The agents that asked."""
        asked = itertools.chain.from_iterable(vendor.asked.items() for vendor in self._vendors.values())
        return {who for who, spans in asked if any(span[0] > self.began for span in spans)}


class Scene:
    """Two agents, `moved` with a clock that jumps. It alone delivers what is told of an account that keeps changing; four more
    accounts are counted."""

    def __init__(self, clock: WallClock, receiver: Receiver) -> None:
        self.clock = clock
        self.receiver = receiver
        self.changing = Changing()
        self.vendors = {name: Vendor(0.01) for name in ACCOUNTS}
        self.agents: list[Process] = []
        self.url = ""

    async def start(self, folder: Path, nats: NatsServer, stack: AsyncExitStack) -> None:
        self.url = nats.url
        changing = await stack.enter_async_context(serve(self.changing.sandbox))
        for who in ("moved", "steady"):
            accounts = [octorate("hotel", changing)]
            for name, vendor in self.vendors.items():
                accounts.append(octorate(name, await stack.enter_async_context(serve(vendor.to(who)))))
            routes = [webhook("crm", self.receiver.url, retries=["2s"])]
            file = write_config(folder, bus={"url": nats.url}, accounts=accounts, routes=routes, name=f"{who}.yaml")
            options, env = ([], self.clock.env) if who == "moved" else (["--roles", "poll"], None)
            process = await stack.enter_async_context(agent(file, f"{who}.log", *options, env=env))
            for name in ("hotel", *ACCOUNTS):
                await synced(process, name)
            self.agents.append(process)

    def renewals(self) -> int:
        sandboxes = [self.changing.sandbox, *(vendor.sandbox for vendor in self.vendors.values())]
        return sum(asked.path.endswith("/identity/refresh") for sandbox in sandboxes for asked in sandbox.seen)

    async def looked_at(self) -> Watch:
        """What the vendors are asked for some time, and that something is delivered after it."""
        watch = Watch(self.vendors)
        await anyio.sleep(LOOKED_AT)
        delivered = len(self.receiver.got)
        await until(lambda: len(self.receiver.got) > delivered, 10)
        return watch


@pytest.fixture
async def scene(tmp_path: Path, nats: NatsServer) -> AsyncIterator[Scene]:
    clock = wall_clock(tmp_path / "clock")
    async with AsyncExitStack() as stack:
        made = Scene(clock, await stack.enter_async_context(receiving()))
        await made.start(tmp_path, nats, stack)
        yield made


def refuses_once(receiver: Receiver) -> list[Got]:
    """The next delivery is refused; it is in the list that is returned."""
    refused: list[Got] = []

    def answer(got: Got) -> web.Response:
        if not refused:
            refused.append(got)
            return web.Response(status=503)
        return web.Response()

    receiver.answer = answer
    return refused


async def test_an_agent_whose_clock_jumps_by_hours_polls_and_delivers_on_as_if_it_had_not(
    scene: Scene, torture: bool, measured: Measured
) -> None:
    receiver = scene.receiver

    async with scene.changing.meanwhile():
        usual = (await scene.looked_at()).rate()
        fastest, longest, slowest = 0.0, 0.0, 0.0
        for jump, off in list(JUMPS.items()) * (10 if torture else 1):
            refused = refuses_once(receiver)
            await until(partial(any, refused))
            scene.clock.jump(jump)  # while an event waits for its retry
            await until(partial(is_signed, receiver, off), 5)
            watch = await scene.looked_at()
            assert watch.asking() == {"moved", "steady"}
            assert [abs(await process.metric(FRESH) - time.time()) < 10 for process in scene.agents] == [True, True]
            fastest, longest = max(fastest, watch.rate()), max(longest, watch.longest_gap())
            slowest = max(slowest, await retried(receiver, refused[0]) - refused[0].at)
        assert [await process.metric(HEALTHY) for process in scene.agents] == [1, 1]
        assert scene.renewals() <= len(scene.agents) * (1 + len(ACCOUNTS))  # each agent's first, and none after it
    events = await scene.changing.story(scene.url)
    assert scene.changing.faults(events) == []
    await until(lambda: {event.id for event in events} <= {got.id for got in receiver.got})
    for process in scene.agents:
        troubles = [line for line in process.log.splitlines() if " INFO " not in line and "route fails" not in line]
        assert troubles == []
    assert fastest < 1.5 * usual
    assert longest < 4
    assert slowest < 6
    jumps = "the clock of one of two agents jumps by 2 and by 4 hours, to and fro"
    measured(
        "it resumes by itself",
        jumps,
        f"polls at {fastest / usual:.2f} times their usual rate, none stopped for {longest:.1f} s",
    )
    measured("it resumes by itself", jumps, f"a retry due in 2 s came after {slowest:.1f} s at the latest")
    measured("nothing twice", jumps, f"{len(events)} events, none lost, none twice, no token renewed")


def is_signed(receiver: Receiver, off: float) -> bool:
    """Whether the last signature's time is off by so many seconds."""
    return abs(receiver.got[-1].signed_at - time.time() - off) < 5


async def retried(receiver: Receiver, refused: Got) -> float:
    """When the event that was refused came again."""

    def again() -> list[Got]:
        return [got for got in receiver.got if got.id == refused.id and got.attempt > 1]

    await until(lambda: bool(again()), 20)
    return again()[0].at
