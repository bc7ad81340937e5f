"""The past of a route: which of its events were published in a stretch of time, and how they are handed to it again."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime

import msgspec

from events.jetstream.connection import Bus
from events.jetstream.ledger import KEY
from events.jetstream.outbox import record_of
from events.jetstream.pull import Message
from events.jetstream.read import held
from events.subjects import Names

AHEAD = 5.0  # seconds for which events are fetched at once: the server forgets a reader that is silent for 30
AT_ONCE = 200  # events fetched at once, at most: they may be large


class Past(msgspec.Struct):
    """Events of a stretch of time: how many of each change, and the first and last one's sequence and time (Unix seconds)."""

    changes: dict[str, int] = {}
    first: int = 0
    last: int = 0
    first_at: float = 0.0
    last_at: float = 0.0

    @property
    def events(self) -> int:
        return sum(self.changes.values())

    def add(self, message: Message) -> None:
        """The next one."""
        change = ".".join(message.subject.split(".")[-2:])
        self.changes[change] = self.changes.get(change, 0) + 1
        if not self.first:
            self.first, self.first_at = message.sequence, message.published_at
        self.last, self.last_at = message.sequence, message.published_at


async def look_back(
    bus: Bus, names: Names, filters: Sequence[str], since: datetime, until: datetime | None = None
) -> Past:
    """What was published from `since` up to now, or to `until`, and is still kept. Of each event only the headers are read."""
    newest = (await bus.api(f"STREAM.INFO.{names.ledger}"))["state"]["last_seq"]
    past = Past()
    async with aclosing(held(bus, names.ledger, filters, since=since, headers_only=True)) as messages:
        async for message in messages:
            if message.sequence > newest or (until is not None and message.published_at > until.timestamp()):
                break
            past.add(message)
    return past


async def oldest(bus: Bus, names: Names) -> float | None:
    """When the oldest event that is kept was published, in Unix seconds; None where there is no event."""
    given = held(bus, names.ledger, [names.events], every=True, headers_only=True, batch=1)
    async with aclosing(given) as messages:
        async for message in messages:
            return message.published_at
    return None


async def events_again(
    bus: Bus, names: Names, filters: Sequence[str], past: Past, rate: float, after: int = 0
) -> AsyncGenerator[Message, None]:
    """The events of the past one by one, for who handles `rate` of them a second; past the sequence `after`, if it has one."""
    batch = max(min(int(rate * AHEAD), AT_ONCE), 1)
    given = held(bus, names.ledger, filters, after=max(after, past.first - 1), every=True, batch=batch)
    async with aclosing(given) as messages:
        async for message in messages:
            if message.sequence > past.last:
                return
            yield message


async def hand_over(bus: Bus, names: Names, route: str, event: Message, run: str) -> None:
    """Give an event to its route again. Within one `run` (of a name of its own) an event is taken once."""
    headers = {"Nats-Msg-Id": f"{run}/{event.sequence}", KEY: record_of(event, names)}
    await bus.publish(names.replay(route), event.data, headers)
