"""A ledger for rehearsals: it reads the real one, and keeps for itself whatever a poll would have committed there."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec

from events.diff import Stored
from events.index import Index
from events.ledger import Head, Ledger, Poll, State, entry_of, events_of
from schemas.changes import Change, Scope
from schemas.envelope import CloudEvent
from schemas.records import Record


class RehearsalLedger:
    """See `events.ledger.Ledger`. `tell` hears of each event at the moment it would be published; nothing is stored."""

    def __init__(self, ledger: Ledger, tell: Callable[[CloudEvent], None]) -> None:
        self._ledger = ledger
        self._tell = tell
        self._changed: dict[Scope, dict[str, Stored]] = {}
        self.silent = 0  # changes that would be stored without an event: a baseline, or an upgrade
        self.events = 0

    async def load(self, scope: Scope) -> State:
        """The real state, with an index of its own: the real one may be a cache that others share."""
        return _apart(await self._ledger.load(scope))

    async def stored(self, scope: Scope, keys: Sequence[str], kind: type[Record]) -> Mapping[str, Stored]:
        """The real records, and above them those that would have been stored."""
        changed = self._changed.get(scope, {})
        real = await self._ledger.stored(scope, [key for key in keys if key not in changed], kind)
        return {**real, **{key: changed[key] for key in keys if key in changed}}

    async def commit(self, state: State, changes: Sequence[Change], head: Head, poll: Poll) -> list[CloudEvent]:
        """Move `state` on as a commit would, and tell the events."""
        told = [event for _, event in events_of(changes, state.scope, poll) if event is not None]
        kept = self._changed.setdefault(state.scope, {})
        for change in changes:
            kept[change.key] = Stored(change.version, change.record.schema, change.after)
            state.entries[change.key] = entry_of(change)
        state.head = head
        self.silent += len(changes) - len(told)
        self.events += len(told)
        for event in told:
            self._tell(event)
        return told

    def snapshots(self, scope: Scope, kind: type[Record]) -> AsyncIterator[tuple[str, Stored]]:
        """The real ones."""
        return self._ledger.snapshots(scope, kind)


def _apart(state: State) -> State:
    return msgspec.structs.replace(state, entries=Index(state.entries.items()))
