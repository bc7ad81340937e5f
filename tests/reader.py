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
import nats
from nats.aio.client import Client

from events.jetstream import streams
from events.jetstream.connection import connect
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.options import BusOptions
from events.ledger import Head, Poll
from events.subjects import Names
from schemas.changes import Change, Scope
from schemas.records import Property
from tests.nats import NatsServer, start_nats
from tests.papers import SUBSCRIBERS, block

NOW = datetime(2026, 5, 20, 8, 0, tzinfo=UTC)
SCOPE = Scope("octorate", "hotel-roma", "property")
SHOWN = str(SCOPE).replace("/", ".")
PALACE, WHARF = "112 696", "200100"
GOES_ON = 0.8  # seconds in which whatever would come has come

USERS = f"""
accounts: {{APP: {{jetstream: enabled, users: [
  {{user: agent, password: agent}},
  {block(SUBSCRIBERS, "text", "user: crm").replace("…", "crm")}
]}}}}
"""


class Hotel:
    """What the agent commits of one account's properties."""

    def __init__(self, ledger: JetStreamLedger) -> None:
        self._ledger = ledger
        self._now: dict[str, tuple[int, Property | None]] = {}

    async def change(self, key: str, name: str | None) -> None:
        """A new name for a property, which may be new itself; None deletes it."""
        version, before = self._now.get(key, (0, None))
        after = None if name is None else Property(id=key, name=name)
        verb = "deleted" if after is None else "created" if before is None else "modified"
        fields = ("name",) if verb == "modified" else ()
        change = Change(key=key, version=version + 1, verb=verb, before=before, after=after, fields=fields)
        state = await self._ledger.load(SCOPE)
        poll = f"poll-{key}-{version}".replace(" ", "")
        await self._ledger.commit(state, [change], Head(poll_id=poll, at=NOW), Poll(poll, NOW))
        self._now[key] = (version + 1, after)


@asynccontextmanager
async def committing(server: NatsServer) -> AsyncIterator[Hotel]:
    """What commits, as the agent's user."""
    address = server.url.replace("//", "//agent:agent@")
    async with connect(BusOptions(urls=[address]), lambda _: None) as bus:
        await bus.ready()
        names = Names()
        await streams.ensure(bus, names, replicas=1, max_bytes=None)
        yield Hotel(JetStreamLedger(bus, names, timedelta(days=30)))


@asynccontextmanager
async def client(server: NatsServer) -> AsyncIterator[Client]:
    """A connection as the guide's user."""
    made = await nats.connect(
        server.url, user="crm", password="crm", max_reconnect_attempts=-1, reconnect_time_wait=0.1
    )
    try:
        yield made
    finally:
        await made.close()


@contextmanager
def served(folder: Path) -> Iterator[NatsServer]:
    """A server whose user may do what the guide says. What nats-py leaves open where a connection was lost goes with it."""
    with start_nats(folder, config_extra=USERS) as running:
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
