"""The history's stream: one message a subject, written beside the work and dropped rather than waited for.

It is a record for people to look at, and nothing depends on it: where the stream cannot be made, or the bus is away, that is
logged once and the work goes on.
"""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime

import anyio

from events.jetstream import streams
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusError, BusRefused
from events.jetstream.pull import Message
from events.jetstream.read import held
from events.jetstream.streams import STREAM_NOT_FOUND
from events.subjects import Names

MOST = 5_000  # messages that wait for the bus; beyond that none is taken
TOGETHER = 250  # messages in one write
AGAIN, REFUSED_AGAIN = 1.0, 60.0  # seconds until what could not be written, or was refused, is tried again
LAST = 0.5  # seconds in which what is left is written at the end

MINUTE, OUTCOME, UNREAD, AGENT, ROLL = "minute", "outcome", "unread", "agent", "roll"

log = logging.getLogger("vendorwire.history")


class History:
    """What this process has noted and not yet written. `write` may be cancelled at any time."""

    def __init__(self, bus: Bus, names: Names, replicas: int) -> None:
        self._bus = bus
        self._names = names
        self._replicas = replicas
        self._waiting: dict[str, bytes] = {}  # by subject: what is newer takes the place of what waits
        self._made = False
        self._trouble = ""
        self._not_before = 0.0
        self.dropped = 0

    def note(self, data: bytes, kind: str, *words: str) -> None:
        """Returns at once."""
        subject = self._names.noted(kind, *words)
        if subject in self._waiting or len(self._waiting) < MOST:
            self._waiting[subject] = data
        else:
            self.dropped += 1

    async def write(self) -> None:
        """Write what waits, and make the stream where it is not there. Raises nothing of the bus."""
        if time.monotonic() < self._not_before:
            return
        try:
            if not self._made:
                await streams.ensure_one(self._bus, "history", streams.history(self._names, self._replicas))
                self._made = True
            while self._waiting:
                taken = list(self._waiting.items())[:TOGETHER]
                await self._bus.publish_many(taken)
                for subject, data in taken:
                    if self._waiting.get(subject) is data:
                        del self._waiting[subject]
        except BusError as trouble:
            self._made = False  # it may have been deleted
            self._warn(str(trouble))
            refused = isinstance(trouble, ApiError | BusRefused)
            self._not_before = time.monotonic() + (REFUSED_AGAIN if refused else AGAIN)
            if refused:
                self.dropped += len(self._waiting)
                self._waiting.clear()
        else:
            if self._trouble or self.dropped:
                log.info("what the console shows is noted; %d notes are missing", self.dropped)
            self._trouble, self.dropped = "", 0

    async def end(self) -> None:
        """Write what is left, if the bus takes it at once."""
        with anyio.move_on_after(LAST, shield=True):
            await self.write()

    def _warn(self, trouble: str) -> None:
        """Once, until it is written again; a bus that is away is told by others."""
        if self._bus.connected and not self._trouble:
            log.warning("what the console shows of the past is not noted: %s", trouble)
            self._trouble = trouble


async def noted(bus: Bus, names: Names, kind: str, since: datetime | None = None) -> AsyncGenerator[Message, None]:
    """What is noted of one kind, by any agent; `since` a time or all. Nothing where there is no history. Raises BusError."""
    given = held(bus, names.history, [names.noted(kind, ">")], every=since is None, since=since)
    try:
        async with aclosing(given) as messages:
            async for message in messages:
                yield message
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:  # an agent from before there was any, or one that may not make it
            raise
