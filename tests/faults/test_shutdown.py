"""An agent that is told to end, at any moment: it ends well and soon, and costs neither an event nor a second delivery.

One agent after another on the same bus, each ended by SIGTERM, while the vendor goes on changing and a receiver listens.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

import anyio
import pytest
from aiohttp import web

from connectors.sandbox.serve import serve
from tests.agent.harness import (
    NAMES,
    Got,
    Process,
    Receiver,
    Vendor,
    Wire,
    agent,
    octorate,
    reading,
    ready,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.faults.changing import Changing
from tests.nats import NatsServer, start_nats

LONGEST = 20.0  # seconds that an agent may take to end
TERM = 1 << (signal.SIGTERM - 1)
Note = Callable[[str, str, str], None]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800)]


class Scene:
    """A vendor that changes, a receiver that takes a moment, and the agent between them, one life after the other."""

    def __init__(
        self, folder: Path, bus: Wire, vendor: str, receiver: Receiver, changing: Changing, line: Vendor
    ) -> None:
        self.changing = changing
        self.line = line
        self.receiver = receiver
        self.rng = random.Random(20260520)
        self.slowest = 0.3  # seconds until the receiver answers, at most
        self.took: list[float] = []
        self.excused: set[str] = set()
        receiver.answer = self._answer
        route = webhook("crm", receiver.url, timeout="8s")
        self._file = write_config(folder, bus=bus, accounts=[octorate("hotel", vendor)], routes=[route])

    async def _answer(self, _: Got) -> web.Response:
        await anyio.sleep(self.rng.uniform(0, self.slowest))
        return web.Response()

    @asynccontextmanager
    async def life(self, *, begun: bool = True) -> AsyncIterator[Process]:
        """An agent that is told to end when the block has ended."""
        async with agent(self._file, f"{time.monotonic_ns()}.log") as process:
            if begun:
                await ready(process)
            yield process
            status, seconds = await process.end()
            self.took.append(seconds)
            assert (status, "Traceback" in process.log) == (0, False), process.log
            assert seconds < LONGEST

    def came(self) -> list[Got]:
        """What was delivered, each event once."""
        return list({got.id: got for got in self.receiver.got}.values())

    def twice(self) -> set[str]:
        """The ids that came more than once."""
        return {each for each, times in Counter(got.id for got in self.receiver.got).items() if times > 1}

    async def all_came(self, process: Process) -> None:
        """Wait until the last that was told of each booking is the truth."""

        def is_told() -> bool:
            assert process.ended is None, process.log
            last = {got.key: got.event.data["record"]["guests"] for got in self.came()}
            return self.changing.at_first | last == self.changing.guests()

        await until(is_told, 90)


@asynccontextmanager
async def scene(folder: Path, bus: Wire) -> AsyncIterator[Scene]:
    changing, line = Changing(), Vendor(0.1)
    line.sandbox = changing.sandbox
    async with serve(line.to("agent")) as vendor, receiving() as receiver:
        made = Scene(folder, bus, vendor, receiver, changing, line)
        async with made.life() as first:
            await synced(first)
        yield made


async def while_it_starts(scene: Scene) -> None:
    """From the first moment at which it can know of the signal, up to when it is ready and works."""
    async with scene.life(begun=False) as process:
        await listens_to_signals(process)
        await anyio.sleep(scene.rng.uniform(0, 1.5))


async def while_it_works(scene: Scene) -> None:
    """In the middle of polls, commits and deliveries."""
    async with scene.life():
        before = len(scene.receiver.got)
        await until(lambda: len(scene.receiver.got) > before)
        await anyio.sleep(scene.rng.uniform(0, 1))


async def while_the_vendor_hangs(scene: Scene) -> None:
    async with scene.life():
        scene.line.seconds = 3600
        before = scene.line.times()
        await until(lambda: scene.line.times() > before)
    scene.line.seconds = 0.1


async def while_the_receiver_is_slow(scene: Scene) -> None:
    """Slower than anything else, and quick enough to be waited for."""
    async with scene.life():
        scene.slowest = 3
        before = len(scene.receiver.got)
        await until(lambda: len(scene.receiver.got) > before)
    scene.slowest = 0.3


async def while_the_bus_is_away(scene: Scene, nats: NatsServer) -> None:
    """What was being delivered could not be acknowledged: that is the bus's absence, not the shutdown."""
    async with scene.life():
        before = len(scene.receiver.got)
        await until(lambda: len(scene.receiver.got) > before)
        began = time.monotonic() - scene.slowest - 1
        nats.kill()
        await anyio.sleep(scene.rng.uniform(0, 1))
    scene.excused |= {got.id for got in scene.receiver.got if got.at > began}
    nats.start()
    async with reading(nats.url) as bus:  # a tick that could not be given back is leased for 30 s
        await bus.api(f"STREAM.PURGE.{NAMES.polls}", {"filter": "vendorwire.poll.>"})


async def listens_to_signals(process: Process) -> None:
    """Wait until the interpreter has come to our first lines."""
    status = Path(f"/proc/{process.pid}/status")

    def caught() -> bool:
        told = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return bool(int(told["SigCgt"], 16) & TERM)

    await until(caught)


MOMENTS = (
    *(while_it_starts, while_it_works, while_the_receiver_is_slow, while_it_starts),
    *(while_it_works, while_the_vendor_hangs, while_it_starts),
)


async def test_agents_told_to_end_at_any_moment_end_well_and_nothing_is_lost_or_delivered_twice(
    tmp_path: Path, torture: bool, measured: Note
) -> None:
    with start_nats(tmp_path / "nats") as nats:
        async with scene(tmp_path, {"url": nats.url}) as made:
            async with made.changing.meanwhile():
                for turn in range(80 if torture else len(MOMENTS) + 1):
                    if (which := turn % (len(MOMENTS) + 1)) < len(MOMENTS):
                        await MOMENTS[which](made)
                    else:
                        await while_the_bus_is_away(made, nats)
            async with made.life() as last:
                await made.all_came(last)
    note(made, measured, "agents on a NATS server")


async def test_agents_with_a_server_of_their_own_lose_nothing_by_being_told_to_end(
    tmp_path: Path, torture: bool, measured: Note
) -> None:
    async with scene(tmp_path, {"data": str(tmp_path / "data")}) as made:
        async with made.changing.meanwhile():
            for turn in range(20 if torture else 2):
                await (while_it_works, while_it_starts)[turn % 2](made)
        async with made.life() as last:
            await made.all_came(last)
    note(made, measured, "agents with the embedded server")


def note(made: Scene, measured: Note, who: str) -> None:
    """Judge and tell."""
    assert made.changing.faults([got.event for got in made.came()]) == []
    assert made.twice() - made.excused == set()
    p99 = quantiles(made.took, n=100, method="inclusive")[98]
    told = f"{len(made.took)} of {len(made.took)} exit 0; p50 {median(made.took):.1f} s, p99 {p99:.1f} s"
    lost = f"{len(made.came())} events, 0 lost, {len(made.twice() - made.excused)} twice"
    measured("a clean end", f"SIGTERM at random moments of {who}", f"{told}; {lost}")


async def test_a_second_signal_ends_the_wait_for_a_receiver_and_the_event_comes_again(
    tmp_path: Path, nats: NatsServer, measured: Note
) -> None:
    async with scene(tmp_path, {"url": nats.url}) as made:
        made.receiver.answer = hang
        async with agent(made._file) as process:
            await ready(process)
            made.changing.change()
            await until(lambda: len(made.receiver.got) == 1)
            process.tell(signal.SIGTERM)
            await until(lambda: "stopping" in process.log)
            status, seconds = await process.end(signal.SIGINT)
            assert (status, "Traceback" in process.log) == (0, False), process.log
            assert seconds < 4, process.log  # a grace of 6 s is not waited for
        made.receiver.answer = made._answer
        async with made.life():
            await until(lambda: len(made.receiver.got) == 2)
        assert len(made.came()) == 1
    measured(
        "a clean end", "a second signal while a receiver hangs", f"exit 0 after {seconds:.1f} s, the event comes again"
    )


async def hang(_: Got) -> web.Response:
    await anyio.sleep_forever()
    raise AssertionError


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_agent_that_has_not_begun_yet_ends_on_the_spot(
    tmp_path: Path, number: signal.Signals, measured: Note
) -> None:
    """It waits for its configuration here, which is a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "config.yaml")
    async with agent(tmp_path / "config.yaml") as process:
        began = time.monotonic()
        await listens_to_signals(process)
        knows = time.monotonic() - began
        await anyio.sleep(0.3)
        status, seconds = await process.end(number)
        assert (status, process.log) == (0, "")
    told = (
        f"exit 0 after {seconds * 1000:.0f} ms; it knows of signals {knows * 1000:.0f} ms after its start, not before"
    )
    measured("a clean end", f"{number.name} while an agent starts", told)


async def test_a_flood_of_signals_does_not_spoil_the_exit_status(
    tmp_path: Path, nats: NatsServer, torture: bool
) -> None:
    """Also in the last moments, when the agent has ended and the interpreter has not."""
    async with scene(tmp_path, {"url": nats.url}) as made:
        for _ in range(10 if torture else 1):
            async with agent(made._file, f"{time.monotonic_ns()}.log") as process:
                await ready(process)
                while process.ended is None:
                    process.tell(signal.SIGTERM)
                    await anyio.sleep(0.001)
                assert (process.ended, "Traceback" in process.log) == (0, False), process.log
