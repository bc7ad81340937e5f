"""A vendor that goes on changing while the bus is hurt, and whether the stream tells of each change, once and in its order."""

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import anyio
import psutil

from events.jetstream.connection import beside
from schemas.envelope import CloudEvent
from tests.agent.harness import Process, Receiver, events_on, hotel, reading, until

EVERY = 0.05  # seconds between two changes
MEGABYTE = 1 << 20


class Changing:
    """One hotel. Each change gives a booking a number of guests that it never had and never has again."""

    def __init__(self, bookings: int = 20) -> None:
        self.sandbox = hotel(bookings)
        alive = [each for each in self.sandbox.reservations.values() if each["status"] != "CANCELLED"]
        self.keys = [each["id"] for each in alive]  # of a cancelled one the vendor tells too little
        self.at_first = self.guests()
        self._rng = random.Random(bookings)
        self._number = itertools.count(1000)

    def guests(self) -> dict[str, int]:
        """How many guests each booking has by now."""
        return {str(key): self.sandbox.reservations[key]["totalGuest"] for key in self.keys}

    def change(self) -> None:
        self.sandbox.change(self._rng.choice(self.keys), {"totalGuest": next(self._number)})

    async def run(self) -> None:
        while True:
            self.change()
            await anyio.sleep(EVERY)

    def meanwhile(self) -> AbstractAsyncContextManager[None]:
        """It changes for as long as the block lasts."""
        return beside(self.run)

    async def story(self, url: str, within: float = 60, **how: object) -> list[CloudEvent]:
        """Every event, once the last one of each booking is the vendor's truth."""
        async with reading(url, **how) as bus:

            async def is_told() -> bool:
                return self._at_last(await events_on(bus)) == self.guests()

            await until(is_told, within)
            return await events_on(bus)

    def faults(self, events: Sequence[CloudEvent]) -> list[str]:
        """What is wrong with what the stream tells: nothing, if each event starts where the one before it ended."""
        known = self.at_first.copy()
        versions: dict[str, int] = defaultdict(lambda: 1)
        found = []
        for event in events:
            versions[event.subject] += 1
            changed = event.data["changes"]["guests"]
            if (event.version, changed["before"]) != (versions[event.subject], known[event.subject]):
                found.append(f"{event.subject} version {event.version}: {changed}, not from {known[event.subject]}")
            known[event.subject] = changed["after"]
        twice = len(events) - len({event.id for event in events})
        found += [f"{twice} events twice"] * bool(twice)
        return found + ["the last events are not the truth"] * (known != self.guests())

    def _at_last(self, events: Sequence[CloudEvent]) -> dict[str, int]:
        return self.at_first | {event.subject: event.data["record"]["guests"] for event in events}


async def each_came_once(receiver: Receiver, events: Sequence[CloudEvent], within: float = 60) -> None:
    """Wait until every event was delivered; none more than once, each booking's in their order."""
    await until(lambda: {event.id for event in events} <= {got.id for got in receiver.got}, within)
    assert len(receiver.got) == len(events)
    versions = defaultdict(list)
    for got in receiver.got:
        versions[got.key].append(got.version)
    assert all(told == sorted(told) for told in versions.values())


def memory(process: Process) -> float:
    """Megabytes that the agent has in memory."""
    return float(psutil.Process(process.pid).memory_info().rss / MEGABYTE)


async def is_told_as_down(process: Process, reason: str) -> None:
    """The agent says that its bus is away, and lives."""

    async def unready() -> bool:
        status, body = await process.get("/readyz")
        return status == 503 and reason in body

    await until(unready)
    await until(lambda: "bus lost" in process.log)
    assert (await process.get("/livez"))[0] == 200
    assert await process.metric("vendorwire_bus_connected") == 0
