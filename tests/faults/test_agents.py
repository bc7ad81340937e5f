"""Three agents start, restart and hang side by side: no poll is made twice, but for the one whose commit is refused."""

import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from connectors.sandbox.serve import serve
from events.jetstream.connection import Bus
from events.jetstream.schedule import CONSUMER, Schedule
from schemas.changes import Scope
from schemas.envelope import CloudEvent
from tests.agent.harness import (
    NAMES,
    Process,
    Vendor,
    agent,
    events_on,
    hotel,
    octorate,
    reading,
    ready,
    synced,
    until,
    write_config,
)
from tests.faults.changing import Changing
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

KEY = 92180827
CONFLICTS = 'vendorwire_polls_total{account="hotel",outcome="conflict",resource="booking",vendor="octorate"}'
Measured = Callable[[str, str, str], None]


class Watched(Vendor):
    """A hotel that keeps changing, and tells who asks."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.changing = Changing()
        self.sandbox = self.changing.sandbox

    def holder(self) -> str:
        """Who waits for an answer now; nobody: an empty text."""
        return next((who for who, spans in self.asked.items() if spans and spans[-1][1] == float("inf")), "")


@asynccontextmanager
async def configured(
    folder: Path, nats: NatsServer, vendor: Vendor, *agents: str, **account: str
) -> AsyncIterator[dict[str, Path]]:
    """A configuration for each agent, with the hotel at an address of its own."""
    async with AsyncExitStack() as stack:
        files = {}
        for who in agents:
            url = await stack.enter_async_context(serve(vendor.to(who)))
            accounts = [octorate("hotel", url, **account)]
            files[who] = write_config(folder, bus={"url": nats.url}, accounts=accounts, name=f"{who}.yaml")
        yield files


async def test_three_agents_start_at_once_on_an_empty_bus_and_restart_one_by_one_and_no_poll_is_doubled(
    tmp_path: Path, nats: NatsServer, torture: bool, measured: Measured
) -> None:
    vendor = Watched(0.1)
    async with (
        configured(tmp_path, nats, vendor, "a", "b", "c", first_sync="events") as files,
        AsyncExitStack() as stack,
    ):
        running: dict[str, Process] = {}
        for who, file in files.items():
            running[who] = await stack.enter_async_context(agent(file, f"{who}.log"))
        for process in running.values():
            await ready(process)
        async with reading(nats.url) as bus:
            await until(lambda: are_told(bus, len(vendor.sandbox.reservations)))
            created = await events_on(bus)
        assert len({(event.type, event.subject) for event in created}) == len(created)
        async with vendor.changing.meanwhile():
            began = time.monotonic()
            for who in list(files) * (10 if torture else 2):
                status, _ = await running[who].end()
                assert (status, "Traceback" in running[who].log) == (0, False), running[who].log
                running[who] = await stack.enter_async_context(agent(files[who], f"{who}.log"))
                await ready(running[who])
            gap = vendor.longest_gap(began)
        assert vendor.overlaps() == []
        assert gap < 6
        async with reading(nats.url) as bus:
            await until(lambda: is_whole_story(bus, vendor.changing))
            events = changes(await events_on(bus))
    start, rolling = "three agents start at once on an empty bus", "three agents are restarted one by one"
    measured("nothing twice", start, f"{len(created)} records, each told once; no two polls at a time")
    measured(
        "it resumes by itself", rolling, f"{len(events)} events, no two polls at a time, none for {gap:.1f} s at most"
    )


def changes(events: Sequence[CloudEvent]) -> list[CloudEvent]:
    return [event for event in events if "guests" in event.data.get("changes", {})]


async def is_whole_story(bus: Bus, changing: Changing) -> bool:
    return changing.faults(changes(await events_on(bus))) == []


async def are_told(bus: Bus, number: int) -> bool:
    return len(await events_on(bus)) >= number


async def test_what_an_agent_read_before_it_hung_is_refused_once_another_has_polled(
    tmp_path: Path, nats: NatsServer, measured: Measured
) -> None:
    """The server gives the hung one's tick away after 2 s, so that it still believes in its lease of 30 s when it goes on."""
    vendor = Watched(0.0)
    async with (
        configured(tmp_path, nats, vendor, "a", "b") as files,
        agent(files["a"], "a.log") as a,
        agent(files["b"], "b.log") as b,
        reading(nats.url) as bus,
    ):
        await ready(a)
        await ready(b)
        await until(lambda: {*vendor.asked} == {"a", "b"})
        vendor.seconds = 1.0
        vendor.sandbox.change(KEY, {"totalGuest": 50})
        await until(lambda: bool(vendor.holder()))
        hung, heir = (a, "b") if vendor.holder() == "a" else (b, "a")
        hung.tell(signal.SIGSTOP)
        stopped = time.monotonic()
        await let_go_after(bus, timedelta(seconds=2))
        vendor.sandbox.change(KEY, {"totalGuest": 60})
        asked = len(vendor.asked[heir])
        await until(lambda: len(vendor.asked[heir]) > asked)
        taken_over = time.monotonic() - stopped
        vendor.seconds = 0.0
        await until(lambda: tells(bus, 60))
        assert time.monotonic() - stopped < 25, "it would know by itself that its lease has run out"
        hung.tell(signal.SIGCONT)

        async def is_refused() -> bool:
            return await hung.metric(CONFLICTS) == 1

        await until(is_refused)
        vendor.sandbox.change(KEY, {"totalGuest": 70})
        events = await vendor.changing.story(nats.url)
        assert vendor.changing.faults(events) == []
        assert await a.metric(CONFLICTS) + await b.metric(CONFLICTS) == 1
        assert "Traceback" not in a.log + b.log
    fault = "the agent that polls hangs (SIGSTOP) beyond its lease while the vendor changes"
    measured(
        "nothing twice", fault, f"taken over after {taken_over:.1f} s of a lease of 2 s; what it read is refused, once"
    )


async def let_go_after(bus: Bus, lease: timedelta) -> None:
    """From now on the server gives a tick to another agent after this time."""
    config = (await bus.api(f"CONSUMER.INFO.{NAMES.polls}.{CONSUMER}"))["config"]
    wanted = {**config, "ack_wait": lease // timedelta(microseconds=1) * 1000}
    await bus.api(f"CONSUMER.CREATE.{NAMES.polls}.{CONSUMER}", {"stream_name": NAMES.polls, "config": wanted})


async def tells(bus: Bus, guests: int) -> bool:
    """Whether the last event is about a booking that has so many guests."""
    events = await events_on(bus)
    return bool(events) and events[-1].data["record"]["guests"] == guests


async def test_a_tick_that_went_to_a_connection_as_it_died_is_handed_out_again_once_the_bus_is_back(
    tmp_path: Path, nats: NatsServer, measured: Measured
) -> None:
    vendor = hotel()
    async with serve(vendor) as url:
        accounts = [octorate("hotel", url, every={"booking": "1h", "property": "1h"})]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=accounts)
        async with agent(file, "stays.log", "--log-level", "debug") as stays:
            await synced(stays)
            async with agent(file, "dies.log", env={"VENDORWIRE_FAILPOINT": "poll.taken@octorate:1"}) as dies:
                await ready(dies)

                async def has_died_of_a_tick() -> bool:
                    await poll_now(nats)
                    return dies.ended is not None

                await until(has_died_of_a_tick)
            asked = len(vendor.seen)
            nats.restart()
            seconds = await until(lambda: len(vendor.seen) > asked)
    assert seconds < 6  # and not the 30 of a lease
    fault = "a tick handed out just as the connection to the NATS server died"
    measured("it resumes by itself", fault, f"polled {seconds:.1f} s after the bus was back")


async def poll_now(nats: NatsServer) -> None:
    async with reading(nats.url) as bus:
        await Schedule(bus, NAMES).poll_now(Scope("octorate", "hotel", "booking"))
