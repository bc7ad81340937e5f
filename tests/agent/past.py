"""A ledger with a past: properties of one hotel, committed as a poll would."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio

from events.jetstream import streams
from events.jetstream.connection import Bus
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.pull import Message
from events.jetstream.read import Last, at, held
from events.ledger import Head, Poll
from schemas.changes import Change, Scope
from schemas.records import Property
from tests.agent.harness import NAMES, reading
from tests.nats import NatsServer

SCOPE = Scope("octorate", "hotel", "property")
NOW = datetime(2026, 5, 20, 8, 0, tzinfo=UTC)


def on_the_bus(nats: NatsServer, work: Callable[[Bus], Awaitable[None]]) -> None:
    """Do something on the bus from outside, where there is no event loop yet."""

    async def run() -> None:
        async with reading(nats.url) as bus:
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            await work(bus)

    anyio.run(run)


def house(key: str, verb: str = "created", version: int = 1, name: str = "House") -> Change:
    after = Property(id=key, name=f"{name} {version}")
    return Change(key=key, version=version, verb=verb, before=None, after=after)


async def commit(bus: Bus, *changes: Change, together: int = 400) -> None:
    """Commit changes, and so their events, so many at once. No record twice in one commit."""
    ledger = JetStreamLedger(bus, NAMES, timedelta(days=30))
    state = await ledger.load(SCOPE)
    for start in range(0, len(changes), together):
        await ledger.commit(state, changes[start : start + together], Head(), Poll("p-1", NOW))


def publish(nats: NatsServer, *changes: Change, together: int = 400) -> None:
    """The same, where there is no event loop yet."""

    async def work(bus: Bus) -> None:
        await commit(bus, *changes, together=together)

    on_the_bus(nats, work)


def published(nats: NatsServer) -> list[Message]:
    """The events in the ledger."""
    found: list[Message] = []

    async def work(bus: Bus) -> None:
        found.extend([message async for message in held(bus, NAMES.ledger, [NAMES.events], every=True)])

    on_the_bus(nats, work)
    return found


def handed_over(nats: NatsServer) -> list[Last]:
    """What waits for a route to be delivered again."""
    found: list[Last | None] = []

    async def work(bus: Bus) -> None:
        state = (await bus.api(f"STREAM.INFO.{NAMES.replays}"))["state"]
        sequences = range(max(state["first_seq"], 1), state["last_seq"] + 1)
        found.extend([await at(bus, NAMES.replays, sequence) for sequence in sequences])

    on_the_bus(nats, work)
    return [message for message in found if message is not None]
