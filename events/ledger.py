"""The ledger: the last known record of everything, and the events that led there, committed together or not at all.

`Ledger` is the contract. `MemoryLedger` keeps it in a process, `events.jetstream.ledger` on a JetStream stream; one
suite of tests runs over both.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from events.diff import Stored, digest
from events.index import Entry, Index
from schemas.changes import Change, Scope
from schemas.envelope import CloudEvent, event_of
from schemas.records import Record

BATCH = 1000  # messages in one atomic batch; the server's limit


class Conflict(Exception):
    """Another poller committed meanwhile. Nothing of this commit is stored: throw the work away and load again."""


class LedgerUnavailable(Exception):
    """The ledger cannot be reached. Nothing is known to be stored: load again."""


class LedgerRefused(LedgerUnavailable):
    """The ledger is there and does not take the commit (it is full, say): a person must look. Nothing is stored."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far one part of a resource has been read.

    `began`: when the first complete sweep was made: the baseline. `cursor`: the newest vendor time seen. `swept_at`: the last
    complete sweep; None until the first. `missing`: keys that the last complete sweep did not list. `held`: how many deletes
    a person must approve, because that was too many. `unread`: keys that the baseline listed and that could not be read then.
    `anew`: a person wants it read as for the first time, what differs being told (`events`) or not (`silent`).
    """

    began: datetime | None = None
    cursor: datetime | None = None
    swept_at: datetime | None = None
    missing: tuple[str, ...] = ()
    held: int = 0
    unread: tuple[str, ...] = ()
    anew: Literal["", "silent", "events"] = ""


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One per account and resource: the state of its polling. `at` is the last poll that read everything it asked for.

    `stale_at`: when the vendor was last seen to stand still.
    """

    poll_id: str = ""
    at: datetime | None = None
    records: int = 0
    stale_at: datetime | None = None
    parts: dict[str, Part] = {}

    @property
    def held(self) -> int:
        """How many deletes are held, over all parts."""
        return sum(part.held for part in self.parts.values())


class State(msgspec.Struct):
    """What a poll starts from: the head, the head's sequence (the fence) and the index. The entries are a live view of a
    cache: read them, let `commit` change them."""

    scope: Scope
    head: Head
    fence: int
    entries: Index


class Poll(msgspec.Struct, frozen=True):
    """The poll a commit belongs to."""

    id: str
    observed_at: datetime


class Ledger(Protocol):
    """Snapshots and events, fenced per scope."""

    async def load(self, scope: Scope) -> State:
        """The present state, caught up with whoever committed last. Raises LedgerUnavailable."""
        ...

    async def stored(self, scope: Scope, keys: Sequence[str], kind: type[Record]) -> Mapping[str, Stored]:
        """The stored records of these keys; keys without one are left out."""
        ...

    async def commit(self, state: State, changes: Sequence[Change], head: Head, poll: Poll) -> list[CloudEvent]:
        """Store the changes, their events and the head at once; `state` moves on with them.

        At most `batch_limit(changes)` changes. Returns the events published. Raises Conflict when the head is not the one
        `state` was loaded from.
        """
        ...

    def snapshots(self, scope: Scope, kind: type[Record]) -> AsyncIterator[tuple[str, Stored]]:
        """Every stored record of a scope, tombstones included."""
        ...


def messages(changes: Iterable[Change]) -> int:
    """How many messages a commit of these changes takes."""
    return 1 + sum(1 if change.verb is None else 2 for change in changes)


def entry_of(change: Change) -> Entry:
    """What the index keeps of a change."""
    if change.after is None:
        return Entry(change.version, 0, deleted=True)
    return Entry(change.version, digest(change.after))


def events_of(changes: Iterable[Change], scope: Scope, poll: Poll) -> list[tuple[Change, CloudEvent | None]]:
    """Each change with its event; None where it is silent."""
    return [
        (change, event_of(change, scope, observed_at=poll.observed_at, poll_id=poll.id) if change.verb else None)
        for change in changes
    ]


class MemoryLedger:
    """The contract in one process, for tests and for `poll --dry-run`."""

    def __init__(self) -> None:
        self.events: list[CloudEvent] = []
        self._records: dict[Scope, dict[str, Stored]] = {}
        self._heads: dict[Scope, tuple[int, Head]] = {}
        self._indexes: dict[Scope, Index] = {}
        self._sequence = 0

    async def load(self, scope: Scope) -> State:
        fence, head = self._heads.get(scope, (0, Head()))
        return State(scope, head, fence, self._index(scope))

    async def stored(self, scope: Scope, keys: Sequence[str], kind: type[Record]) -> Mapping[str, Stored]:  # noqa: ARG002 the records are typed already
        known = self._records.get(scope, {})
        return {key: known[key] for key in keys if key in known}

    async def commit(self, state: State, changes: Sequence[Change], head: Head, poll: Poll) -> list[CloudEvent]:
        if messages(changes) > BATCH:
            raise ValueError(f"a commit holds at most {BATCH} messages")
        if self._heads.get(state.scope, (0, None))[0] != state.fence:
            raise Conflict(str(state.scope))
        published = []
        for change, event in events_of(changes, state.scope, poll):
            stored = Stored(change.version, change.record.schema, change.after)
            self._records.setdefault(state.scope, {})[change.key] = stored
            self._index(state.scope)[change.key] = entry_of(change)
            if event is not None:
                published.append(event)
        self._sequence += messages(changes)
        self._heads[state.scope] = (self._sequence, head)
        state.fence, state.head = self._sequence, head
        self.events += published
        return published

    async def snapshots(self, scope: Scope, kind: type[Record]) -> AsyncIterator[tuple[str, Stored]]:  # noqa: ARG002
        for item in list(self._records.get(scope, {}).items()):
            yield item

    def _index(self, scope: Scope) -> Index:
        if scope not in self._indexes:
            known = self._records.get(scope, {}).items()
            self._indexes[scope] = Index((key, _entry(stored)) for key, stored in known)
        return self._indexes[scope]


def _entry(stored: Stored) -> Entry:
    return Entry(stored.version, digest(stored.record)) if stored.record else Entry(stored.version, 0, deleted=True)
