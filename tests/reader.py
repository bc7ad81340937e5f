"""Who reads the bus as the subscriber's guide shows, and what an agent commits meanwhile."""

import asyncio
import gc
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from nats.aio.client import Client

from events.jetstream import streams
from events.jetstream.connection import connect
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.options import BusOptions
from events.ledger import Head, Poll
from events.subjects import Names
from schemas.changes import Change, Scope
from schemas.records import Property
from schemas.settings import Secret
from tests.helm import users
from tests.nats import NatsServer

NOW = datetime(2026, 5, 20, 8, 0, tzinfo=UTC)
SCOPE = Scope("octorate", "hotel-roma", "property")
SHOWN = str(SCOPE).replace("/", ".")
PALACE, WHARF = "112 696", "200100"
GOES_ON = 0.8  # seconds in which whatever would come has come


class Hotel:
    """What the agent commits of one account's properties."""

    def __init__(self, ledger: JetStreamLedger, server: NatsServer) -> None:
        self._ledger = ledger
        self._server = server
        self._now: dict[str, tuple[int, Property | None]] = {}

    async def fill(self, count: int, size: int) -> None:
        """Records, each of so many bytes."""
        houses = [Property(id=str(number), name="x" * size) for number in range(count)]
        changes = [Change(key=house.id, version=1, verb=None, before=None, after=house) for house in houses]
        await self._ledger.commit(await self._ledger.load(SCOPE), changes, Head(poll_id="p", at=NOW), Poll("p", NOW))
        await users.in_step(self._server)

    async def change(self, key: str, name: str | None, *, seen: bool = True) -> None:
        """A new name for a property, which may be new itself; None deletes it. Returns once subscribers can read it."""
        version, before = self._now.get(key, (0, None))
        after = None if name is None else Property(id=key, name=name)
        verb = "deleted" if after is None else "created" if before is None else "modified"
        fields = ("name",) if verb == "modified" else ()
        change = Change(key=key, version=version + 1, verb=verb, before=before, after=after, fields=fields)
        state = await self._ledger.load(SCOPE)
        poll = f"poll-{key}-{version}".replace(" ", "")
        await self._ledger.commit(state, [change], Head(poll_id=poll, at=NOW), Poll(poll, NOW))
        self._now[key] = (version + 1, after)
        if seen:
            await users.in_step(self._server)


@asynccontextmanager
async def committing(server: NatsServer, *, copied: bool = True) -> AsyncIterator[Hotel]:
    """What commits, as the agent's user. The copy that subscribers read is made, as by its keeper."""
    sign_in = BusOptions(urls=[server.url], user="agent", password=Secret(users.password("agent")))
    async with connect(sign_in, lambda _: None) as bus:
        await bus.ready()
        names = Names()
        await streams.ensure(bus, names, replicas=1, max_bytes=None)
        if copied:
            await users.make_copy(server)
        yield Hotel(JetStreamLedger(bus, names, timedelta(days=30)), server)


@asynccontextmanager
async def client(server: NatsServer) -> AsyncIterator[Client]:
    """A connection as the guide's user."""
    async with users.signed_in(server, "crm") as made:
        yield made


@contextmanager
def served(folder: Path) -> Iterator[NatsServer]:
    """A server whose user may do what the guide says. What nats-py leaves open where a connection was lost goes with it."""
    with users.started(folder) as running:
        yield running
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def name_in(event: Any) -> str:
    data = event["data"] if isinstance(event, dict) else msgspec.json.decode(event.data)
    return str(data["record"]["name"])


async def until(true: Callable[[], bool], within: float = 20) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"not within {within:g} s"
        await asyncio.sleep(0.02)
