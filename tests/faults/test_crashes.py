"""Agents and the bus are killed at random moments and at every named place between two steps, while all vendors change.

Two agents poll an account of each vendor and deliver to a receiver that sometimes fails. At the end the stream must tell each
record's whole story, and the receiver must have got it. `make torture` kills a thousand times, at every place for every vendor.
"""

import random
import zlib
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from connectors.sandbox.serve import serve
from events import failpoints
from events.jetstream.outbox import dead_letters
from schemas.envelope import CloudEvent
from tests.agent.harness import (
    NAMES,
    Got,
    Process,
    Receiver,
    events_on,
    reading,
    ready,
    receiving,
    until,
    webhook,
    write_config,
)
from tests.faults.oracle import Begun, Verdict, judged, judged_deliveries
from tests.faults.ring import ANYWHERE, Ring, places
from tests.faults.worlds import WORLDS, World
from tests.nats import NatsServer

KILLS = 60
KILLS_OF_TORTURE = 1000
MOST = 3  # times as many, until every place was reached

Measured = Callable[[str, str, str], None]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]


class Driver:
    """Changes the vendors, a few times a second."""

    def __init__(self, worlds: dict[str, World], rng: random.Random) -> None:
        self._worlds = worlds
        self._rng = rng
        self.changes = dict.fromkeys(worlds, 0)

    async def run(self) -> None:
        while True:
            for name, world in self._worlds.items():
                for _ in range(self._rng.randrange(3)):
                    world.step(self._rng)
                    self.changes[name] += 1
            await anyio.sleep(0.3)


def fickle(got: Got) -> web.Response:
    """A receiver that never takes one event in thirty, and one in ten not the first time."""
    number = zlib.crc32(got.id.encode())
    bad = number % 30 == 0 or (number % 10 == 1 and got.attempt == 1)
    return web.Response(status=500 if bad else 200)


async def _is_read(process: Process, labels: str) -> bool:
    assert process.ended is None, process.log
    return await process.metric(f"vendorwire_snapshot_records{{{labels}}}") > 0


class Run:
    """Four accounts, their route, and what has become of them."""

    def __init__(self, nats: NatsServer, receiver: Receiver, rng: random.Random) -> None:
        self.worlds = {vendor: make() for vendor, make in WORLDS.items()}
        self.driver = Driver(self.worlds, rng)
        self._nats = nats
        self._receiver = receiver
        self._begun: dict[str, Begun] = {}
        self._events: list[CloudEvent] = []

    async def begin(self, first: Process) -> None:
        """Wait for the silent first sync of everything."""
        for name, world in self.worlds.items():
            for resource in world.polled:
                labels = f'account="{name}",resource="{resource}",vendor="{name}"'
                await until(partial(_is_read, first, labels))
            self._begun[name] = Begun(datetime.now(UTC), world.truth())

    async def is_told(self, ended: datetime) -> bool:
        """Whether the stream has all that happened."""
        async with reading(self._nats.url) as bus:
            self._events = await events_on(bus)
        return not any(verdict.lost for verdict in self.verdicts(ended).values())

    async def is_delivered(self) -> bool:
        return not (await self._deliveries()).lost

    def verdicts(self, ended: datetime) -> dict[str, Verdict]:
        return {
            name: judged(world, name, self._events, self._begun[name], ended) for name, world in self.worlds.items()
        }

    async def table(self, ended: datetime) -> dict[str, Verdict]:
        """The verdict of each vendor, deliveries included."""
        found = self.verdicts(ended)
        for name, verdict in found.items():
            found[name] = verdict + await self._deliveries(name)
            found[name].changes += self.driver.changes[name]
        return found

    async def _deliveries(self, account: str = "") -> Verdict:
        async with reading(self._nats.url) as bus:
            dead = [letter.event_id async for letter in dead_letters(bus, NAMES)]
        events = [event for event in self._events if not account or event.account == account]
        return judged_deliveries(self._receiver.got, lambda got: fickle(got).status == 200, dead, events)


async def test_nothing_is_lost_or_told_twice_wherever_agents_and_bus_are_killed(
    tmp_path: Path, nats: NatsServer, torture: bool, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(20260520)
    kills = KILLS_OF_TORTURE if torture else KILLS
    wanted = places(list(WORLDS), rng)
    wanted = wanted * (kills // len(wanted)) if torture else wanted[: len(failpoints.NAMES)]
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(receiving())
        receiver.answer = fickle
        run = Run(nats, receiver, rng)
        accounts = [
            world.configured(name, await stack.enter_async_context(serve(world.sandbox)))
            for name, world in run.worlds.items()
        ]
        routes = [webhook("crm", receiver.url, timeout="1s", retries=["1s", "1s"]) | {"events": ["*.*"]}]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=accounts, routes=routes)
        ring = Ring(file, nats, stack, wanted, rng)
        await ring.start()
        await run.begin(ring.agents[0])
        await ring.start()
        async with anyio.create_task_group() as changing:
            changing.start_soon(run.driver.run)
            while ring.kills < kills or (not torture and ring.left and ring.kills < MOST * kills):
                await ring.kill_one()
            changing.cancel_scope.cancel()
        ended = datetime.now(UTC)
        await ring.disarm()
        for process in ring.agents:
            await ready(process)
        await until(partial(run.is_told, ended), 60)
        await until(run.is_delivered, 90)
        table = await run.table(ended)
        reached = {place.partition("@")[0] for place in ring.died} - {ANYWHERE}
        with capsys.disabled():
            if torture:
                print(f"\n{told(table, ring)}")
    note(measured, table, ring)
    assert [line for verdict in table.values() for line in verdict.wrong] == []
    assert {name: verdict.faults for name, verdict in table.items()} == dict.fromkeys(table, (0, 0, 0, 0))
    assert all(verdict.events > kills for verdict in table.values())
    assert reached == set(failpoints.NAMES)
    assert not ring.unforeseen


def told(table: Mapping[str, Verdict], ring: Ring) -> str:
    """What came of it, for people."""
    columns = ["changes", "events", "lost", "doubled", "broken", "disordered", "redelivered"]
    lines = ["".join(f"{word:>13}" for word in ["vendor", *columns])]
    for name, verdict in table.items():
        lines.append("".join(f"{word!s:>13}" for word in [name, *(getattr(verdict, column) for column in columns)]))
    lines.append(f"\n{ring.kills} kills, the nats-server with it {ring.bus_kills} times:")
    lines += [f"{times:>5} {place}" for place, times in sorted(ring.died.items())]
    return "\n".join(lines)


def note(measured: Measured, table: Mapping[str, Verdict], ring: Ring) -> None:
    whole = sum(table.values(), Verdict())
    places = len({*ring.died} - {ANYWHERE})
    fault = f"{ring.kills} kills of one of two agents, at {places} named places and at random, {ring.bus_kills} with the server"
    figure = (
        f"{whole.changes:,} changes at four vendors, {whole.events:,} events: {whole.lost} lost, {whole.doubled} doubled, "
        f"{whole.broken} contradictory, {whole.disordered} out of order"
    )
    measured("nothing is lost", fault, figure)
    measured("at least once", fault, f"{whole.redelivered} deliveries repeated")
