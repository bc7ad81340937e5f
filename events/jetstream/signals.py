"""What people tell running agents, in a JetStream bucket: written by commands and consoles, followed by every agent.

A signal is the last message on its subject, until the next one; one without content has ended.
"""

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError
from events.jetstream.pull import Message
from events.jetstream.read import follow, held, last
from events.subjects import Names
from schemas.changes import Scope

ENDED = b""
EXPECTED = "Nats-Expected-Last-Subject-Sequence"


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """An account is not to be polled: by whose word, `since` when, and `until` when (None: until it is resumed)."""

    by: str
    since: datetime
    until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it has not run out."""
        return self.until is None or now < self.until


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A resource is to be polled every so many seconds."""

    seconds: float


class Heard(msgspec.Struct, frozen=True):
    """A signal, or its end (None), about an account or one of its resources."""

    about: str | Scope
    signal: Pause | Interval | None


T = TypeVar("T", Pause, Interval)

_pause = msgspec.json.Decoder(Pause)
_interval = msgspec.json.Decoder(Interval)


class Signals:
    """The bucket. Its methods raise BusError."""

    def __init__(self, bus: Bus, names: Names) -> None:
        self._bus = bus
        self._names = names
        self._stream = f"KV_{names.signals_bucket}"
        self._subjects = [names.pause("*"), names.interval(Scope("*", "*", "*"))]

    async def pause(self, account: str, pause: Pause | None) -> None:
        """Pause an account, or end that."""
        await self._write(self._names.pause(account), pause)

    async def interval(self, scope: Scope, interval: Interval | None) -> None:
        """Set how often a resource is polled, or end that."""
        await self._write(self._names.interval(scope), interval)

    async def paused(self, account: str) -> Pause | None:
        """What the bus says at this moment of an account."""
        found = await last(self._bus, self._stream, self._names.pause(account))
        return _decoded(_pause, found.data) if found else None

    async def all(self) -> tuple[list[Heard], int]:
        """Every signal there is, and the sequence of the last."""
        found, newest = [], 0
        async with aclosing(held(self._bus, self._stream, self._subjects)) as messages:
            async for message in messages:
                found.append(self._heard(message))
                newest = max(newest, message.sequence)
        return found, newest

    async def follow(self, after: int) -> AsyncGenerator[Heard | None, None]:
        """Signals as they come; None now and then while none does."""
        async with aclosing(follow(self._bus, self._stream, self._subjects, after=after)) as messages:
            async for message in messages:
                yield None if message is None else self._heard(message)

    async def claim_hint(self, account: str, lasts: timedelta) -> float | None:
        """Take the claim to follow a hint about an account, for so long: None where it is ours now, else when the one who
        has it took it, in Unix seconds by the server's clock."""
        subject = self._names.hint_claim(account)
        headers = {EXPECTED: "0", "Nats-TTL": f"{math.ceil(lasts.total_seconds())}s"}
        while True:
            try:
                await self._bus.publish(subject, b"{}", headers)
                return None
            except ApiError as error:
                if not error.is_conflict:
                    raise
            found = await last(self._bus, self._stream, subject)
            if found is not None:  # else it ended this moment
                return datetime.fromisoformat(found.published_at).timestamp()

    async def _write(self, subject: str, signal: msgspec.Struct | None) -> None:
        data = ENDED if signal is None else msgspec.json.encode(signal)
        await self._bus.publish(subject, data, {"Nats-Rollup": "sub"})

    def _heard(self, message: Message) -> Heard:
        kind, *about = message.subject.removeprefix(f"$KV.{self._names.signals_bucket}.").split(".")
        if kind == "pause":
            return Heard(about[0], _decoded(_pause, message.data))
        return Heard(Scope(*about), _decoded(_interval, message.data))


def _decoded(decoder: msgspec.json.Decoder[T], data: bytes) -> T | None:
    """None for what a stranger wrote there, as for what has ended."""
    try:
        return decoder.decode(data)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
