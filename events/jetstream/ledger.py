"""The ledger on a JetStream stream: one atomic, fenced batch per commit.

Snapshots replace their forerunners by roll-up, events carry their own time to live, and the head, the last message of
every batch, carries the sequence of the head the poll started from. If another poller committed meanwhile the server
refuses the whole batch: there is no moment in which an event is out and its snapshot is not.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache

import anyio
import msgspec

from events import failpoints
from events.diff import Stored
from events.index import Entry, Index
from events.jetstream.asking import Outgoing
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusRefused, BusUnavailable
from events.jetstream.pull import ConsumerGone, Message
from events.jetstream.read import held, last
from events.ledger import (
    BATCH,
    Conflict,
    Head,
    LedgerRefused,
    LedgerUnavailable,
    Poll,
    State,
    entry_of,
    messages,
)
from events.subjects import HEAD, Names, key_of, token
from schemas.changes import Change, Scope
from schemas.envelope import CONTENT_TYPE, CloudEvent, encode, event_of
from schemas.records import Record

VERSION, DIGEST, SCHEMA, DELETED, KEY = (
    "Vendorwire-Version",
    "Vendorwire-Digest",
    "Vendorwire-Schema",
    "Vendorwire-Deleted",
    "Vendorwire-Key",
)
READ_BATCH = 1000
TOMBSTONE_AT_LEAST = timedelta(days=90)
_head = msgspec.json.Decoder(Head)
_encode = msgspec.json.encode


class _Index(msgspec.Struct):
    """What this process knows of a scope, up to the head at `fence`."""

    fence: int
    entries: Index


class JetStreamLedger:
    """See `events.ledger.Ledger`. `keep_events` applies to the events committed from now on."""

    def __init__(self, bus: Bus, names: Names, keep_events: timedelta) -> None:
        self._bus = bus
        self._names = names
        self._event_ttl = str(max(int(keep_events.total_seconds()), 1))
        # A record that returns goes on counting versions for as long as anybody may remember its last event.
        self._tombstone_ttl = str(int(max(2 * keep_events, TOMBSTONE_AT_LEAST).total_seconds()))
        self._indexes: dict[Scope, _Index] = {}
        self._loading: dict[Scope, anyio.Lock] = {}

    async def load(self, scope: Scope) -> State:
        """Catch up from the last commit this process knows of; from the snapshots' headers the first time."""
        async with self._loading.setdefault(scope, anyio.Lock(fast_acquire=True)):
            fence, head = await self._read_head(scope)
            index = self._indexes.get(scope)
            if index is None or fence < index.fence:  # a stream that went backwards is a stream made anew
                index = self._indexes[scope] = _Index(0, Index())
            if fence != index.fence:  # where this is cut off, the next load starts from the same fence again
                async for message in self._snapshots(scope, index.fence, fence, headers_only=True):
                    index.entries[key_of(message.subject.rpartition(".")[2])] = _entry(message.headers)
                index.fence = fence
            return State(scope, head, fence, index.entries)

    async def stored(self, scope: Scope, keys: Sequence[str], kind: type[Record]) -> Mapping[str, Stored]:
        """Batch direct gets, checked against the index: a replica that lags behind is asked no further."""
        found: dict[str, Stored] = {}
        entries = self._indexes[scope].entries if scope in self._indexes else {}
        for start in range(0, len(keys), READ_BATCH):
            subjects = [self._names.snapshot(scope, key) for key in keys[start : start + READ_BATCH]]
            for headers, data in await self._multi_last(subjects):
                found[key_of(headers["Nats-Subject"].rpartition(".")[2])] = _stored(data, headers, kind)
        for key in keys:
            entry = entries.get(key)
            if entry and (key not in found or found[key].version != entry.version):
                with _named():
                    fresh = await last(self._bus, self._names.ledger, self._names.snapshot(scope, key))
                if fresh is not None:
                    found[key] = _stored(fresh.data, fresh.headers, kind)
        return found

    async def commit(self, state: State, changes: Sequence[Change], head: Head, poll: Poll) -> list[CloudEvent]:
        """One atomic batch. After BusUnavailable nothing is known: the next load asks the server."""
        if messages(changes) > BATCH:
            raise ValueError(f"a commit holds at most {BATCH} messages")
        failpoints.reached("commit.begun", state.scope.vendor)
        writing = _Writing(self._names, state, poll, self._event_ttl, self._tombstone_ttl)
        fence = f"Nats-Rollup: sub\r\nNats-Expected-Last-Subject-Sequence: {state.fence}\r\n"
        last = (self._names.head(state.scope), _encode(head), fence)
        async with self._loading.setdefault(state.scope, anyio.Lock(fast_acquire=True)):
            with _named(state.scope):
                sequence = await self._bus.publish_batch(writing.outgoing(changes), last, meanwhile=writing.prepare)
            failpoints.reached("commit.stored", state.scope.vendor)
            fenced, state.fence = state.fence, sequence
            state.head = head
            writing.enter()
            index = self._indexes.get(state.scope)
            if index is not None and index.entries is state.entries and index.fence == fenced:
                index.fence = state.fence  # otherwise the next load catches up with this commit too
        return writing.events

    async def snapshots(self, scope: Scope, kind: type[Record]) -> AsyncIterator[tuple[str, Stored]]:
        """Every stored record, tombstones included."""
        fence, _ = await self._read_head(scope)
        if fence:
            async for message in self._snapshots(scope, 0, fence, headers_only=False):
                yield key_of(message.subject.rpartition(".")[2]), _stored(message.data, message.headers, kind)

    async def _read_head(self, scope: Scope) -> tuple[int, Head]:
        with _named():
            found = await last(self._bus, self._names.ledger, self._names.head(scope))
        return (found.sequence, _head.decode(found.data)) if found else (0, Head())

    async def _snapshots(self, scope: Scope, after: int, until: int, *, headers_only: bool) -> AsyncIterator[Message]:
        """The scope's snapshots after one sequence, in order; its head, at `until`, comes last."""
        subjects = [self._names.snapshots(scope)]
        with _named():
            async for message in held(
                self._bus, self._names.ledger, subjects, after=after, until=until, headers_only=headers_only
            ):
                if not message.subject.endswith(HEAD):
                    yield message

    async def _multi_last(self, subjects: Sequence[str]) -> list[tuple[dict[str, str], bytes]]:
        body = _encode({"multi_last": list(subjects), "batch": len(subjects)})
        with _named():
            return await self._bus.request_many(f"$JS.API.DIRECT.GET.{self._names.ledger}", body)


class _Writing:
    """A commit's messages, made one by one as they are sent; `events` are whole once all are made.

    Once `prepare` was called, `enter` enters into the state's index what the commit has changed.
    """

    def __init__(self, names: Names, state: State, poll: Poll, event_ttl: str, tombstone_ttl: str) -> None:
        self.events: list[CloudEvent] = []
        self.enter: Callable[[], None]
        self._index = state.entries
        self._entries: dict[str, Entry] = {}
        self._scope = scope = state.scope
        self._poll = poll
        self._snapshots, self._events = (
            names.snapshot(scope, ""),
            names.event(scope, ""),
        )  # what their subjects begin with
        self._of_events = f"Content-Type: {CONTENT_TYPE}\r\nNats-TTL: {event_ttl}\r\n{KEY}:"
        self._of_tombstones = f"{DELETED}: 1\r\nNats-TTL: {tombstone_ttl}\r\n"

    def prepare(self) -> None:
        """Do all that can be done before the commit is known to be stored."""
        failpoints.reached("commit.sent", self._scope.vendor)
        self.enter = self._index.prepared(self._entries)

    def outgoing(self, changes: Iterable[Change]) -> Iterator[Outgoing]:
        for change in changes:
            key = token(change.key)
            self._entries[change.key] = entry = entry_of(change)
            headers = f"Nats-Rollup: sub\r\n{VERSION}: {change.version}\r\n{SCHEMA}: {change.record.schema}\r\n"
            after = None if change.after is None else _encode(change.after)
            if after is None:
                yield self._snapshots + key, b"", headers + self._of_tombstones
            else:
                yield self._snapshots + key, after, f"{headers}{DIGEST}: {entry.digest:016x}\r\n"
            if change.verb is not None:
                poll = self._poll
                event = event_of(change, self._scope, observed_at=poll.observed_at, poll_id=poll.id, encoded=after)
                self.events.append(event)
                yield self._events + change.verb, encode(event), f"{self._of_events} {key}\r\n"
        failpoints.reached("commit.rendered", self._scope.vendor)


@contextmanager
def _named(scope: Scope | None = None) -> Iterator[None]:
    """Failures of the bus under the ledger's own names."""
    try:
        yield
    except ApiError as error:
        if error.is_conflict:
            raise Conflict(str(scope)) from None
        raise LedgerRefused(f"the bus refused: {error.description}") from None
    except BusRefused as error:
        raise LedgerRefused(str(error)) from None
    except (BusUnavailable, ConsumerGone) as error:
        raise LedgerUnavailable(str(error)) from None


def _entry(headers: Mapping[str, str]) -> Entry:
    return Entry(int(headers[VERSION]), int(headers.get(DIGEST, "0"), 16), deleted=DELETED in headers)


def _stored(data: bytes, headers: Mapping[str, str], kind: type[Record]) -> Stored:
    version, schema = int(headers[VERSION]), int(headers.get(SCHEMA, "1"))
    try:
        record = None if DELETED in headers else _decoder(kind).decode(data)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return Stored(version, schema, None, unreadable=True)
    return Stored(version, schema, record)


@lru_cache
def _decoder(kind: type[Record]) -> msgspec.json.Decoder[Record]:
    return msgspec.json.Decoder(kind)
