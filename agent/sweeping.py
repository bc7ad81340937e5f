"""A poll of a set of records, step by step: read the parts, decide, commit. What a complete sweep does not list is missing."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

import msgspec

from agent.known import Known
from agent.outcomes import Ended, VendorStale, failed
from agent.reading import Baseline, Reading, Rules, later
from agent.vouching import Vouch
from agent.watched import Task
from connectors.base import Query
from connectors.errors import Forbidden, Misconfigured, NothingThere, Unavailable, Unreadable, VendorError
from events.ledger import Head, Part, State
from schemas.facts import Fresh, PollOutcome
from schemas.records import Record

MISSING_BYTES = 256 * 1024  # of keys remembered as missing once; more wait for a later sweep
HOLD_ABOVE = 10  # so many deletes at once are never held
LOOK_AT = 1000  # stored records looked at together
CONFIRM_AFTER = timedelta(minutes=5)  # a sweep that misses records is repeated after this, or ten intervals
LARGE_FLEET = 20
MOST_LOOK_UPS = 100  # requests of one sweep that ask for records by id


class Sweep:
    """One poll of a set of records. `known`: what is remembered of them since the last."""

    def __init__(self, task: Task, known: Known) -> None:
        self._task = task
        self._connector = task.connector
        self._name = task.name
        self._resource = task.resource
        self._known = known
        self._api = task.api.remembering(known)
        self._now = task.now
        self._failures = task.failures
        self._parts: dict[str, Part] = {}
        self._anew: dict[str, Literal["", "silent", "events"]] = {}  # part → how it is to be taken
        self._swept: list[Query] = []
        self._looked_up = 0
        self._unasked: set[str] = set()  # missing, and not asked for by id
        self._listed: dict[str, int] = {}  # swept part → how many keys it listed

    async def run(self) -> Ended:
        state = await self._task.ledger.load(self._task.scope)
        self._parts = dict(state.head.parts)
        self._anew = {name: part.anew for name, part in self._parts.items()}
        if any(self._anew.values()):
            self._known.forget()
        reading = self._reading(state)
        try:
            parts, self._parts = await self._task.parts(self._parts)
            for part in parts:
                await self._part(reading, part)
        except VendorError as error:
            self._failures.append(error.with_traceback(None))
        await reading.settle()
        if self._swept and not reading.blind:
            await self._missing(reading)
        stale_at = state.head.stale_at
        if self._resource.sudden:
            stale_at = await self._judge(reading, stale_at)
        head = Head(
            poll_id=reading.poll.id,
            at=state.head.at if self._failures else self._now,
            records=reading.alive(),
            stale_at=stale_at,
            parts=self._parts,
        )
        if not self._failures or reading.pending or (head.parts, stale_at) != (state.head.parts, state.head.stale_at):
            await reading.flush(head)
        if head.at is not None:
            self._task.tell(Fresh(scope=self._task.scope, at=head.at, records=head.records, held=head.held))
        return self._ended(reading, head)

    def _reading(self, state: State) -> Reading:
        watched, resource = self._task.watched, self._resource
        task, by = self._task, resource.vouched_by
        vouch = None
        if by:
            kind, every = self._connector.resources[by].record, self._connector.interval(by)
            patience = self._connector.patience(self._name) if by != self._name else None
            vouch = Vouch(by=watched.scope(by), kind=kind, every=every, patience=patience)
        rules = Rules(resource=resource, first_sync=watched.first_sync, redact=watched.redact, vouch=vouch)
        return Reading(task.ledger, state, self._known, rules, task.poll, task.published, task.quarantined)

    async def _part(self, reading: Reading, part: str) -> None:
        """Read one part. A failure of this part alone is kept and the others go on; any other failure is raised."""
        known = self._parts.get(part, Part())
        since = known.cursor or known.swept_at  # where nothing was there yet, what has come since
        query = Query(resource=self._name, part=part, since=since, whole=self._is_whole(known), now=self._now)
        listed, records, unreadable = len(reading.seen), reading.records, reading.unreadable
        reading.anew = known.anew
        try:
            async for page in self._connector.read(self._api, query):
                await reading.page(page, part, self._baseline(query, known))
            await reading.settle()
            if query.whole and reading.records - records == reading.unreadable - unreadable > 0:
                raise Unreadable(f"none of the {reading.records - records} records listed can be read")
        except (Forbidden, Misconfigured, NothingThere, Unavailable, Unreadable) as error:
            self._failures.append(error.with_traceback(None))
            await reading.settle()  # what was read is true all the same
            return
        if query.whole:
            self._swept.append(query)
            self._listed[part] = len(reading.seen) - listed
        missing = tuple(key for key in known.missing if key not in reading.seen)
        self._parts[part] = Part(
            began=known.began or (self._now if query.whole else None),
            cursor=self._now if self._resource.by_our_clock else later(known.cursor, reading.cursor(part)),
            swept_at=self._now if query.whole else known.swept_at,
            missing=missing,
            unread=self._unread(reading, known),
            held=max(known.held - (len(known.missing) - len(missing)), 0),
        )

    def _baseline(self, query: Query, part: Part) -> Baseline | None:
        began = part.began or part.swept_at
        if began is None:
            return None
        then = msgspec.structs.replace(query, now=began)
        return Baseline(began, partial(self._connector.covers, then), frozenset(part.unread))

    def _unread(self, reading: Reading, part: Part) -> tuple[str, ...]:
        """What the baseline could not read. That it becomes readable is no news of the vendor's."""
        keys = part.unread if part.began else sorted(reading.unread)
        return _fitting([key for key in keys if key not in reading.state.entries])

    def _is_whole(self, part: Part) -> bool:
        if not self._resource.incremental or part.swept_at is None or part.cursor is None:
            return True  # without a cursor (nothing was there yet) there is nothing to read on from
        wait: timedelta = self._connector.reconcile
        if part.missing:
            wait = min(wait, max(10 * self._connector.interval(self._name), CONFIRM_AFTER))
        return self._now - part.swept_at >= wait

    async def _judge(self, reading: Reading, stale_at: datetime | None) -> datetime | None:
        """Tell of what fell silent, unless that is so much of a large fleet that it must be the vendor who stands still.

        When it did so last: devices come back one by one, so after it they are given their time again.
        """
        patience = self._connector.patience(self._name) or timedelta(0)
        fleet = Fleet(
            size=len(reading.seen) + len(reading.seen.missing()),
            looked_at=len(reading.seen),
            silent=reading.withheld,
            last_heard=reading.last_heard,
        )
        if fleet.is_stale(self._now, patience):
            what = f"{fleet.silent} of {fleet.looked_at} fell silent at once"
            self._failures.append(VendorStale(f"{what}: the vendor seems to stand still, so none is told as silent"))
            return self._now
        recovers = stale_at is not None and self._now - stale_at <= patience
        if not recovers and not fleet.stands_still(self._now, patience):
            await reading.tell_withheld()
        return stale_at

    async def _missing(self, reading: Reading) -> None:
        """What complete sweeps did not list. Missing twice running is gone, unless too much is missing at once."""
        try:
            absent = await self._absent(reading)
        except VendorError as error:  # not looked up is not known: the next sweep compares with the same list
            self._failures.append(error.with_traceback(None))
            return
        held = held_parts(absent, self._listed, self._task.watched.max_ratio)
        for part, keys in absent.items():
            twice = set() if part in held else set(self._parts[part].missing).intersection(keys) - self._unasked
            await reading.gone(sorted(twice))
            missing = _fitting(sorted(set(keys) - twice))
            held_here = len(keys) if part in held else 0
            self._parts[part] = msgspec.structs.replace(self._parts[part], missing=missing, held=held_here)

    async def _absent(self, reading: Reading) -> dict[str, list[str]]:
        """The keys each swept part should have listed and did not, asked for by id where the vendor can be."""
        unseen = reading.seen.missing()
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
                    await self._look_up(reading, query, records)
                absent[query.part] += [record.id for record in records if record.id not in reading.seen]
        return absent

    async def _look_up(self, reading: Reading, query: Query, records: Sequence[Record]) -> None:
        """Ask for the records by id, those first that were missing before: only they may be deleted.

        So many that the other resources of the account are not held up; the rest waits for the next sweep.
        """
        known = set(self._parts[query.part].missing)
        room = max(MOST_LOOK_UPS * self._connector.looks_up_at_once - self._looked_up, 0)
        asked = sorted(records, key=lambda record: record.id not in known)[:room]
        self._looked_up += len(asked)
        self._unasked |= {record.id for record in records} - {record.id for record in asked}
        if asked:
            reading.anew = self._anew.get(query.part, "")
            async for page in self._connector.look_up(self._task.api, query, asked):
                await reading.page(page, None, self._baseline(query, self._parts[query.part]))
            await reading.settle()

    def _ended(self, reading: Reading, head: Head) -> Ended:
        if self._failures:
            return failed(self._failures, reading.records, reading.changes)
        outcome = PollOutcome.CHANGED if reading.changes else PollOutcome.UNCHANGED
        if head.held:
            outcome = PollOutcome.HELD
        return Ended(outcome=outcome, records=reading.records, changes=reading.changes)


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


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """What a poll saw of records with a life of their own: how many there are, were looked at, and newly seem silent."""

    size: int
    looked_at: int
    silent: int
    last_heard: datetime | None

    def is_stale(self, now: datetime, patience: timedelta) -> bool:
        """Whether so many of a large fleet fell silent at once, or all of it is silent, that it is the vendor's fault."""
        if self.size < LARGE_FLEET or not self.silent:
            return False
        unheard = self.last_heard is None or now - self.last_heard > patience
        return 2 * self.silent > self.looked_at or unheard

    def stands_still(self, now: datetime, patience: timedelta) -> bool:
        """Whether not one of a large fleet has been heard of for half as long as one may be silent.

        When a vendor stops, its devices seem to fall silent one after the other, each by when it reported last: they wait
        until the fleet is heard again, or until all of it is silent.
        """
        return self.size >= LARGE_FLEET and (self.last_heard is None or now - self.last_heard > patience / 2)
