"""The shared tokens in a JetStream bucket: entries fenced on the one before, claims that the server itself ends.

An entry is the message on `$KV.<bucket>.<account>`, a claim the one on `$KV.<bucket>.claim.<account>`: stored only where
there is none, and gone when its TTL has run out. Ages are the server's: the time it stored a message, held against the time
it answers.
"""

import math
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime

import msgspec

from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusRefused, BusUnavailable
from events.jetstream.pull import ConsumerGone
from events.jetstream.read import Last, follow, last
from events.ledger import LedgerRefused, LedgerUnavailable
from events.subjects import Names
from events.tokens import Entry, Held, Moved, Taken, Trouble

NO_SUCH_MESSAGE = 10057
ASK_EVERY = 1.0  # seconds between two questions for the server's time while entries come one after the other
EXPECTED = "Nats-Expected-Last-Subject-Sequence"


class _Claim(msgspec.Struct, frozen=True):
    holder: str = ""
    trouble: Trouble | None = None


_entry = msgspec.json.Decoder(Entry)
_claim = msgspec.json.Decoder(_Claim)
_encode = msgspec.json.encode


class JetStreamTokenStore:
    """See `events.tokens.TokenStore`."""

    def __init__(self, bus: Bus, names: Names) -> None:
        self._bus = bus
        self._names = names
        self._stream = f"KV_{names.tokens_bucket}"

    async def read(self, account: str) -> Held | None:
        with _named():
            found = await last(self._bus, self._stream, self._names.token(account))
            return Held(_decoded(found.data), found.sequence, await self._age(found)) if found else None

    async def write(self, account: str, entry: Entry, after: int) -> int:
        with _named():
            try:
                return await self._put(self._names.token(account), entry, {EXPECTED: str(after)})
            except ApiError as error:
                if not error.is_conflict:
                    raise
        raise Moved(account)

    async def forget(self, account: str) -> None:
        with _named():
            for subject in (self._names.token(account), self._names.token_claim(account)):
                found = await last(self._bus, self._stream, subject)
                if found is not None:
                    await self._drop(found.sequence)

    async def claim(self, account: str, holder: str, seconds: float) -> int | Taken:
        subject = self._names.token_claim(account)
        with _named():
            try:
                return await self._put(subject, _Claim(holder), {EXPECTED: "0", "Nats-TTL": _ttl(seconds)})
            except ApiError as error:
                if not error.is_conflict:
                    raise
            found = await last(self._bus, self._stream, subject)
            if found is None:  # it ended this moment
                return Taken(None, 0.0)
            there = _claimed(found.data)
            if there is None or (there.holder == holder and there.trouble is None):  # our own, of which no answer came
                await self._drop(found.sequence)
                return Taken(None, 0.0)
            left = float(found.headers.get("Nats-TTL", "1s").removesuffix("s")) - await self._age(found)
            return Taken(there.trouble, max(left, 0.0))

    async def release(self, account: str, claim: int) -> None:  # noqa: ARG002 a sequence is no other account's
        with _named():
            await self._drop(claim)

    async def rest(self, account: str, claim: int, trouble: Trouble, seconds: float) -> None:
        headers = {EXPECTED: str(claim), "Nats-TTL": _ttl(seconds)}
        with _named():
            try:
                await self._put(self._names.token_claim(account), _Claim(trouble=trouble), headers)
            except ApiError as error:
                if not error.is_conflict:  # it had run out, and is another's now
                    raise

    async def follow(self) -> AsyncGenerator[tuple[str, Held] | None, None]:
        asked, server = -math.inf, 0.0
        with _named():
            async with aclosing(follow(self._bus, self._stream, [self._names.token("*")])) as messages:
                async for message in messages:
                    if message is None:
                        yield None
                        continue
                    if time.monotonic() >= asked + ASK_EVERY:
                        server, asked = await self._now(), time.monotonic()
                    age = server + time.monotonic() - asked - message.published_at
                    yield (
                        message.subject.rpartition(".")[2],
                        Held(_decoded(message.data), message.sequence, max(age, 0.0)),
                    )
                    if not message.pending:
                        yield None

    async def _put(self, subject: str, value: msgspec.Struct, headers: Mapping[str, str]) -> int:
        return await self._bus.publish(subject, _encode(value), headers)

    async def _drop(self, sequence: int) -> None:
        try:
            await self._bus.api(f"STREAM.MSG.DELETE.{self._stream}", {"seq": sequence, "no_erase": True})
        except ApiError as error:
            if error.err_code != NO_SUCH_MESSAGE:
                raise

    async def _age(self, message: Last) -> float:
        return max(await self._now() - _unix(message.published_at), 0.0)

    async def _now(self) -> float:
        """Unix seconds by the server's clock."""
        return _unix(str((await self._bus.api(f"STREAM.INFO.{self._stream}"))["ts"]))


@contextmanager
def _named() -> Iterator[None]:
    """Failures of the bus by the names that whoever polls knows."""
    try:
        yield
    except (ApiError, BusRefused) as error:
        raise LedgerRefused(f"the bus does not take the tokens: {error}") from None
    except (BusUnavailable, ConsumerGone) as error:
        raise LedgerUnavailable(str(error)) from None


def _decoded(data: bytes) -> Entry:
    """What a stranger wrote there is an entry that cannot be opened: it must not pass for none."""
    try:
        return _entry.decode(data)
    except (ValueError, RecursionError):
        return Entry(sealed="unreadable")


def _claimed(data: bytes) -> _Claim | None:
    """None for what a stranger wrote there: it would stay for ever."""
    try:
        return _claim.decode(data)
    except (ValueError, RecursionError):
        return None


def _ttl(seconds: float) -> str:
    return f"{max(math.ceil(seconds), 1)}s"


def _unix(text: str) -> float:
    """RFC 3339 with up to nine digits of a second; Python reads six."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() + float(f"0.{fraction or 0}")
