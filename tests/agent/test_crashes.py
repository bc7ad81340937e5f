"""The crash oracle: agents and the bus are killed at random moments while the vendor goes on changing.

Two agents poll three accounts. Now and then one is killed with SIGKILL and started again; sometimes the nats-server is too.
At the end the stream must tell each record's whole story: nothing lost, nothing twice, every step joining the one before,
the last one the vendor's truth. `VENDORWIRE_KILLS=1000` makes the same run longer.
"""

import os
import random
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.serve import serve
from schemas.envelope import CloudEvent
from schemas.records import Booking
from tests.agent.harness import (
    NAMES,
    Process,
    Receiver,
    agent,
    events_on,
    hotel,
    octorate,
    reading,
    ready,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.nats import NatsServer, start_nats

KILLS = int(os.environ.get("VENDORWIRE_KILLS", "10"))
BUS_TOO = 4  # of so many kills, one takes the nats-server with it
Record = dict[str, Any]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120 + 8 * KILLS)]


class Figures(msgspec.Struct):
    """What the run has shown."""

    kills: int = 0
    bus_kills: int = 0
    changes: int = 0
    events: int = 0
    lost: int = 0
    doubled: int = 0
    broken: int = 0
    delivered_twice: int = 0


class Driver:
    """Changes the vendors' bookings, a few each tenth of a second; the vendors themselves are the truth."""

    def __init__(self, hotels: dict[str, OctorateSandbox], rng: random.Random) -> None:
        self._hotels = hotels
        self._rng = rng
        self.changes = 0

    async def run(self) -> None:
        while True:
            for sandbox in self._hotels.values():
                for _ in range(self._rng.randrange(4)):
                    self._change(sandbox)
            await anyio.sleep(0.1)

    def _change(self, sandbox: OctorateSandbox) -> None:
        self.changes += 1
        booking = self._rng.choice(list(sandbox.reservations.values()))
        match self._rng.randrange(12):
            case 0 if len(sandbox.reservations) < 40:
                sandbox.add("112696", {"totalGuest": 1})
            case 1:
                sandbox.change(booking["id"], {"roomName": f"Room {self._rng.randrange(100)}"})
            case _:  # a value that never comes back: no change can hide another
                sandbox.change(booking["id"], {"totalGuest": booking["totalGuest"] + 1})


def truth(sandbox: OctorateSandbox) -> dict[str, Record]:
    """What the vendor says now, in the words of our records."""
    return {
        str(each["id"]): {"guests": each["totalGuest"], "room_name": each["roomName"]}
        for each in sandbox.reservations.values()
    }


def joins(known: Record, event: CloudEvent, fields: set[str]) -> bool:
    """Whether an event starts where its forerunner ended: what it changes had that value, and the rest stayed as it was."""
    record, changes = event.data["record"], event.data.get("changes", {})
    return all(
        (changes[field].get("before"), changes[field].get("after")) == (known.get(field), record.get(field))
        if field in changes
        else known.get(field) == record.get(field)
        for field in fields
    )


def judge(story: list[CloudEvent], at_first: Record | None, at_last: Record, figures: Figures) -> None:
    """One record's events, in the stream's order, against what it was when first read (if it was there) and what it is."""
    known, version = at_first, 0 if at_first is None else 1
    fields = set(at_last)  # what is known of a record first read in silence
    for event in story:
        record = event.data["record"]
        version += 1
        broken = event.version != version or (known is not None and not joins(known, event, fields))
        figures.broken += broken or (known is None and event.type != "booking.created")
        known, fields = record, {*record, *event.data.get("changes", {})} - Booking.volatile
    figures.lost += known is None or any(known.get(field) != value for field, value in at_last.items())


def judge_all(
    events: list[CloudEvent], baseline: dict[str, dict[str, Record]], hotels: dict[str, OctorateSandbox]
) -> Figures:
    figures = Figures(events=len(events))
    figures.doubled = len(events) - len({event.id for event in events})
    stories: dict[tuple[str, str], list[CloudEvent]] = defaultdict(list)
    for event in events:
        stories[event.account, event.subject].append(event)
    for account, sandbox in hotels.items():
        for key, at_last in truth(sandbox).items():
            judge(stories.pop((account, key), []), baseline[account].get(key), at_last, figures)
    figures.broken += len(stories)  # events of records that no vendor has
    return figures


def judge_deliveries(receiver: Receiver, events: list[CloudEvent], figures: Figures) -> None:
    """Every event came, the first time in the order of its record; then again only under the same id."""
    seen: dict[tuple[str, str], int] = {}
    ids = set()
    for got in receiver.got:
        if got.id in ids:
            figures.delivered_twice += 1
            continue
        ids.add(got.id)
        record = (got.event.account, got.key)
        figures.broken += got.version < seen.get(record, 0)
        seen[record] = got.version
    figures.lost += len({event.id for event in events} - ids)


async def forget_ticks(nats: NatsServer) -> None:
    """A dead agent's ticks are leased to it for 30 s; they are taken off instead of sat out, and put back by who starts.

    Another agent may be at such a resource just then: that is what the fence is for.
    """
    async with reading(nats.url) as bus:
        await bus.api(f"STREAM.PURGE.{NAMES.polls}", {"filter": "vendorwire.poll.>"})


class Ring:
    """Two agents, of which one dies now and then."""

    def __init__(self, file: Path, nats: NatsServer, stack: AsyncExitStack) -> None:
        self._file = file
        self._nats = nats
        self._stack = stack
        self.agents: list[Process] = []

    async def start(self) -> Process:
        process = await self._stack.enter_async_context(agent(self._file, f"{time.monotonic_ns()}.log"))
        self.agents.append(process)
        return process

    async def kill_one(self, rng: random.Random, *, bus_too: bool) -> None:
        self.agents.pop(rng.randrange(len(self.agents))).kill()
        if bus_too:
            self._nats.kill()
            self._nats.start()
        await forget_ticks(self._nats)
        await self.start()


async def is_told(nats: NatsServer, hotels: dict[str, OctorateSandbox]) -> bool:
    """Whether the last event of every record is the vendor's truth."""
    async with reading(nats.url) as bus:
        last = {(event.account, event.subject): event.data["record"] for event in await events_on(bus)}
    return all(
        last.get((account, key), value).get(field) == wanted
        for account, sandbox in hotels.items()
        for key, value in truth(sandbox).items()
        for field, wanted in value.items()
    )


async def test_no_change_is_lost_or_told_twice_whenever_agents_and_bus_are_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(20260520)
    hotels = {name: hotel(seed=5) for name in ("one", "two", "three")}
    async with AsyncExitStack() as stack:
        nats = stack.enter_context(start_nats(tmp_path / "nats"))
        receiver = await stack.enter_async_context(receiving())
        accounts = [octorate(name, await stack.enter_async_context(serve(sandbox))) for name, sandbox in hotels.items()]
        routes = [webhook("crm", receiver.url, timeout="1s")]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=accounts, routes=routes)
        ring = Ring(file, nats, stack)
        first = await ring.start()
        await ring.start()
        for name in hotels:
            await synced(first, name)
        baseline = {name: truth(sandbox) for name, sandbox in hotels.items()}
        driver = Driver(hotels, rng)
        bus_kills = 0
        async with anyio.create_task_group() as changing:
            changing.start_soon(driver.run)
            for kill in range(1, KILLS + 1):
                await anyio.sleep(rng.uniform(0, 1.6))
                bus_kills += kill % BUS_TOO == 0
                await ring.kill_one(rng, bus_too=kill % BUS_TOO == 0)
            changing.cancel_scope.cancel()
        for process in ring.agents:
            await ready(process)
        await until(lambda: is_told(nats, hotels), 60)
        async with reading(nats.url) as bus:
            events = await events_on(bus)
        await until(lambda: {event.id for event in events} <= {got.id for got in receiver.got}, 90)
        figures = judge_all(events, baseline, hotels)
        judge_deliveries(receiver, events, figures)
        figures.kills, figures.bus_kills, figures.changes = KILLS, bus_kills, driver.changes
        with capsys.disabled():
            print(f"\n{figures}")
        assert not any("Traceback" in process.log for process in ring.agents)
    assert (figures.lost, figures.doubled, figures.broken) == (0, 0, 0)
    assert figures.events > 5 * KILLS
