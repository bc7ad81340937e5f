"""A poll, step by step: load the index, read the parts, decide, commit, say how it ended. Every poll ends in one outcome."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import msgspec

from agent.reading import Baseline, Bytes, Reading, Rules, later
from connectors.api import Api
from connectors.base import Connector, Query
from connectors.errors import (
    AuthRefused,
    Forbidden,
    Misconfigured,
    NothingThere,
    Throttled,
    Unavailable,
    Unreadable,
    VendorError,
)
from events.ledger import Conflict, Head, Ledger, Part, Poll, State
from schemas.changes import Scope
from schemas.envelope import CloudEvent
from schemas.facts import Fact, Fresh, Polled, PollOutcome, Published, Quarantined

MISSING_BYTES = 256 * 1024  # of keys remembered as missing once; more wait for a later sweep
HOLD_ABOVE = 10  # so many deletes at once are never held
LOOK_AT = 1000  # stored records looked at together
CONFIRM_AFTER = timedelta(minutes=5)  # a sweep that misses records is repeated after this, or ten intervals


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """An account ready to be polled: its connector, its way to the vendor, and its settings with the defaults filled in."""

    connector: Connector
    api: Api
    first_sync: str
    max_ratio: float
    redact: tuple[str, ...]

    def scope(self, resource: str) -> Scope:
        return Scope(self.connector.vendor, self.connector.name, resource)


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a poll ended. `retry_after` in seconds, where the vendor said."""

    outcome: PollOutcome
    detail: str = ""
    retry_after: float | None = None
    records: int = 0
    changes: int = 0


class Poller:
    """Polls one resource of one account at a time; holds what is remembered between polls."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime], tell: Callable[[Fact], None]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._tell = tell
        self._bytes: dict[Scope, Bytes] = {}
        self._turns: dict[Scope, int] = {}  # how often each was polled

    async def poll(self, watched: Watched, resource: str) -> Ended:
        """Poll and commit. Raises LedgerUnavailable when the bus is away; whatever the vendor does is an outcome."""
        started = time.monotonic()
        scope = watched.scope(resource)
        try:
            ended = await _Run(self, watched, resource).run()
        except Conflict:
            ended = Ended(outcome=PollOutcome.CONFLICT, detail="another agent polled this resource meanwhile")
        self._tell(
            Polled(
                scope=scope,
                outcome=ended.outcome,
                seconds=time.monotonic() - started,
                records=ended.records,
                detail=ended.detail,
            )
        )
        return ended


class _Run:
    """One poll."""

    def __init__(self, poller: Poller, watched: Watched, resource: str) -> None:
        self._ledger = poller._ledger  # noqa: SLF001 one room, two halves
        self._tell = poller._tell  # noqa: SLF001
        self._watched = watched
        self._connector = watched.connector
        self._name = resource
        self._resource = watched.connector.resources[resource]
        self._scope = watched.scope(resource)
        self._bytes = poller._bytes.setdefault(self._scope, Bytes())  # noqa: SLF001
        self._now = poller._clock()  # noqa: SLF001
        self._turn = poller._turns.get(self._scope, 0)  # noqa: SLF001
        poller._turns[self._scope] = self._turn + 1  # noqa: SLF001
        self._parts: dict[str, Part] = {}
        self._swept: list[Query] = []
        self._listed: dict[str, int] = {}  # swept part → how many keys it listed
        self._failures: list[VendorError] = []

    async def run(self) -> Ended:
        state = await self._ledger.load(self._scope)
        reading = self._reading(state)
        self._parts = dict(state.head.parts)
        try:
            for part in self._in_turn(await self._connector.parts(self._watched.api, self._name)):
                await self._part(reading, part)
        except VendorError as error:
            self._failures.append(error)
        if self._swept and not reading.blind:
            await self._missing(reading)
        head = Head(
            poll_id=reading.poll.id,
            at=state.head.at if self._failures else self._now,
            records=reading.alive(),
            parts=self._parts,
        )
        if not self._failures or reading.pending or head.parts != state.head.parts:
            await reading.flush(head)
        if head.at is not None:
            self._tell(Fresh(scope=self._scope, at=head.at, records=head.records, held=head.held))
        return self._ended(reading, head)

    def _reading(self, state: State) -> Reading:
        rules = Rules(resource=self._resource, first_sync=self._watched.first_sync, redact=self._watched.redact)
        poll = Poll(secrets.token_hex(8), self._now)
        return Reading(self._ledger, state, self._bytes, rules, poll, self._published, self._quarantined)

    def _in_turn(self, parts: Sequence[str]) -> list[str]:
        """Each part once, starting with another at each poll: one that the vendor throttles must not starve the others.

        What is no longer asked for is forgotten. What the vendor no longer lists is a failure: its records would grow old
        unseen.
        """
        parts = list(dict.fromkeys(parts))
        lost = [part for part in self._parts if part not in parts]
        if not self._connector.lists_parts(self._name):
            for part in lost:
                del self._parts[part]
        elif lost or not parts:
            what = f"{len(lost)} of what was read before" if lost else "anything"
            self._failures.append(Forbidden(f"the vendor does not list {what} as ours to read (any more)"))
        first = self._turn % len(parts) if parts else 0
        return parts[first:] + parts[:first]

    async def _part(self, reading: Reading, part: str) -> None:
        """Read one part. A failure of this part alone is kept and the others go on; any other failure is raised."""
        known = self._parts.get(part, Part())
        since = known.cursor or known.swept_at  # where nothing was there yet, what has come since
        query = Query(resource=self._name, part=part, since=since, whole=self._is_whole(known), now=self._now)
        listed, records, unreadable = len(reading.seen), reading.records, reading.unreadable
        try:
            async for page in self._connector.read(self._watched.api, query):
                await reading.page(page, part, self._baseline(query, known))
            if query.whole and reading.records - records == reading.unreadable - unreadable > 0:
                raise Unreadable(f"none of the {reading.records - records} records listed can be read")
        except (Forbidden, NothingThere, Unavailable, Unreadable) as error:
            self._failures.append(error)  # what was read is true all the same: it stays pending and is committed
            return
        if query.whole:
            self._swept.append(query)
            self._listed[part] = len(reading.seen) - listed
        missing = tuple(key for key in known.missing if key not in reading.seen)
        self._parts[part] = Part(
            began=known.began or (self._now if query.whole else None),
            cursor=later(known.cursor, reading.cursor(part)),
            swept_at=self._now if query.whole else known.swept_at,
            missing=missing,
            held=max(known.held - (len(known.missing) - len(missing)), 0),
        )

    def _baseline(self, query: Query, part: Part) -> Baseline | None:
        began = part.began or part.swept_at
        if began is None:
            return None
        then = msgspec.structs.replace(query, now=began)
        return Baseline(began, partial(self._connector.covers, then))

    def _is_whole(self, part: Part) -> bool:
        if not self._resource.incremental or part.swept_at is None or part.cursor is None:
            return True  # without a cursor (nothing was there yet) there is nothing to read on from
        wait: timedelta = self._connector.reconcile
        if part.missing:
            wait = min(wait, max(10 * self._connector.interval(self._name), CONFIRM_AFTER))
        return self._now - part.swept_at >= wait

    async def _missing(self, reading: Reading) -> None:
        """What complete sweeps did not list. Missing twice running is gone, unless too much is missing at once."""
        try:
            absent = await self._absent(reading)
        except VendorError as error:  # not looked up is not known: the next sweep compares with the same list
            self._failures.append(error)
            return
        held = held_parts(absent, self._listed, self._watched.max_ratio)
        for part, keys in absent.items():
            twice = set() if part in held else set(self._parts[part].missing).intersection(keys)
            await reading.gone(sorted(twice))
            missing = _fitting(sorted(set(keys) - twice))
            held_here = len(keys) if part in held else 0
            self._parts[part] = msgspec.structs.replace(self._parts[part], missing=missing, held=held_here)

    async def _absent(self, reading: Reading) -> dict[str, list[str]]:
        """The keys each swept part should have listed and did not, asked for by id where the vendor can be."""
        unseen = [key for key in reading.alive_keys() if key not in reading.seen]
        absent: dict[str, list[str]] = {query.part: [] for query in self._swept}
        for start in range(0, len(unseen), LOOK_AT):
            stored = await reading.stored(unseen[start : start + LOOK_AT])
            for query in self._swept:
                records = [
                    found.record
                    for found in stored.values()
                    if found.record and self._connector.covers(query, found.record)
                ]
                if records and self._name in self._connector.looks_up:
                    async for page in self._connector.look_up(self._watched.api, query, records):
                        await reading.page(page, None, self._baseline(query, self._parts[query.part]))
                absent[query.part] += [record.id for record in records if record.id not in reading.seen]
        return absent

    def _published(self, event: CloudEvent) -> None:
        age = (event.observedat - event.time).total_seconds() if event.time != event.observedat else None
        change = event.type.rpartition(".")[2]
        self._tell(Published(scope=self._scope, change=change, key=event.subject, event_id=event.id, age=age))

    def _quarantined(self, key: str, path: str) -> None:
        self._tell(Quarantined(scope=self._scope, key=key, path=path))

    def _ended(self, reading: Reading, head: Head) -> Ended:
        if self._failures:
            worst = min(self._failures, key=lambda error: _ORDER.index(_outcome(error)))
            return Ended(
                outcome=_outcome(worst),
                detail=str(worst),
                retry_after=worst.retry_after if isinstance(worst, Throttled) else None,
                records=reading.records,
                changes=reading.changes,
            )
        outcome = PollOutcome.CHANGED if reading.changes else PollOutcome.UNCHANGED
        if head.held:
            outcome = PollOutcome.HELD
        return Ended(outcome=outcome, records=reading.records, changes=reading.changes)


_ORDER = (
    PollOutcome.UNAUTHORIZED,
    PollOutcome.FORBIDDEN,
    PollOutcome.UNREADABLE,
    PollOutcome.THROTTLED,
    PollOutcome.UNAVAILABLE,
)


def _outcome(error: VendorError) -> PollOutcome:
    match error:
        case AuthRefused():
            return PollOutcome.UNAUTHORIZED
        case Throttled():
            return PollOutcome.THROTTLED
        case Forbidden() | Misconfigured():
            return PollOutcome.FORBIDDEN
        case Unreadable():
            return PollOutcome.UNREADABLE
        case _:
            return PollOutcome.UNAVAILABLE


def held_parts(absent: Mapping[str, Sequence[str]], listed: Mapping[str, int], max_ratio: float) -> set[str]:
    """The parts whose deletes are held: all, where too much is missing over all of them, else those that miss too much."""

    def too_much(parts: Sequence[str]) -> bool:
        missing, there = sum(len(absent[part]) for part in parts), sum(listed[part] for part in parts)
        if not there:
            return (
                missing > 1 and max_ratio < 1
            )  # an empty listing is more often a vendor's fault than the end of everything
        return missing > HOLD_ABOVE and missing > max_ratio * (missing + there)

    if too_much(list(absent)):
        return set(absent)
    return {part for part in absent if too_much([part])}


def _fitting(keys: Sequence[str]) -> tuple[str, ...]:
    """As many keys as the head has room for: the others are told missing by a later sweep."""
    size, fitting = 0, []
    for key in keys:
        size += len(key.encode()) + 3
        if size > MISSING_BYTES:
            break
        fitting.append(key)
    return tuple(fitting)
