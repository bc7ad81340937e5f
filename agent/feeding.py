"""A step along a feed: read on from the cursor, leave out what was told before, publish a batch per source, move on.

Each source (a device, say) has a record of its own of how far it was told; it is committed together with its batch, so a
crash between two commits leaves a correct prefix. Everything of a part is read at once, window by window; only a source that
was silent beyond the overlap is asked for what it may have uploaded late, and until that is told its news wait.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from agent.outcomes import Ended, failed
from agent.reading import unreadable_place
from agent.watched import Task
from connectors.base import Feeding, Point, Points, Span
from connectors.errors import Forbidden, Misconfigured, NothingThere, Unavailable, Unreadable, VendorError
from events import failpoints
from events.diff import CANNOT_BE_READ, Stored, redact
from events.ledger import BATCH, Head, Part, State, messages
from events.subjects import fits
from schemas.changes import Change
from schemas.energy import Batch, Measured
from schemas.facts import Fresh, PollOutcome

LARGEST = 480 * 1024  # bytes of one event's points, so that the event stays under 512 KiB
COMMIT_BYTES = 8 * 1024 * 1024  # of the points in one commit
LONG = 24  # windows: the longest time that is asked for at once of one source alone
MOST_SPANS = 48  # reads of one poll for what sources kept while they were silent
STORED_AT_ONCE = 1000

# Failures of one part, or of one source: the others go on.
ALONE = (Forbidden, Misconfigured, NothingThere, Unavailable, Unreadable)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.encode

Told = dict[datetime, msgspec.Struct]


class _Sources(msgspec.Struct, frozen=True):
    """Sources of a part that are read at once: by name where it is one alone, else all that the part has."""

    part: str
    source: str
    keys: frozenset[str]


class Follow:
    """One poll of a feed."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._feeding: Feeding = task.connector.feeding(task.name)
        self._parts: dict[str, Part] = {}
        self._records = 0
        self._unreadable = 0
        self._changes = 0
        self._spans = 0

    async def run(self) -> Ended:
        task = self._task
        state = await task.ledger.load(task.scope)
        self._parts = dict(state.head.parts)
        try:
            parts, self._parts = await task.parts(self._parts)
            for part in parts:
                await self._part(state, part)
        except VendorError as error:
            task.failures.append(error.with_traceback(None))
        head = self._head(state, at=state.head.at if task.failures else task.now)
        if not task.failures or head.parts != state.head.parts:
            await task.ledger.commit(state, [], head, task.poll)
        if head.at is not None:
            task.tell(Fresh(scope=task.scope, at=head.at, records=head.records, held=0))
        if task.failures:
            return failed(task.failures, self._records, self._changes)
        outcome = PollOutcome.CHANGED if self._changes else PollOutcome.UNCHANGED
        return Ended(outcome=outcome, records=self._records, changes=self._changes)

    async def _part(self, state: State, part: str) -> None:
        """Read one part from its cursor to now. A failure of this part alone is kept and the others go on."""
        known = self._parts.get(part, Part())
        first = known.cursor is None
        start = min(known.cursor or self._task.now, self._task.now) - self._feeding.overlap
        self._spans = 0
        try:
            for low, high in windows(start, self._task.now, self._feeding.window):
                told = await self._read(part, low, high)
                stored = await self._stored(told)
                behind = self._behind(told, stored, None if first else known.began, start)
                level = {key: points for key, points in told.items() if key not in behind}
                await self._publish(state, level, stored, first_sync=first)
                if behind:
                    filled = await self._fill(state, part, behind, start)
                    level = {key: points for key, points in told.items() if key in filled}
                    await self._publish(state, level, await self._stored(level), first_sync=False)
                known = Part(began=known.began or self._task.now, cursor=max(high, known.cursor or high))
                self._parts[part] = known
        except ALONE as error:
            self._task.failures.append(error.with_traceback(None))

    def _behind(
        self, told: Iterable[str], stored: Mapping[str, Measured], began: datetime | None, start: datetime
    ) -> dict[str, datetime]:
        """The sources that speak again after a silence beyond `start`, since which all is read, and until when they were told.

        One that was never heard is given a day, but not more than there is since the baseline (`began`; None: this is it).
        """
        untils = {key: stored[key].until for key in told if key in stored}
        if began is not None:
            oldest = max(began, start - LONG * self._feeding.window)
            untils |= dict.fromkeys((key for key in told if key not in stored), oldest)
        return {key: until for key, until in untils.items() if until < start}

    async def _fill(self, state: State, part: str, behind: Mapping[str, datetime], start: datetime) -> set[str]:
        """Tell what these sources have uploaded for the time before `start`; those of which all of that has been read.

        So many reads that the account's other resources are not held up. How far each was read is kept: the next poll goes on.
        """
        filled: set[str] = set()
        together, alone = grouped(behind, start, self._feeding.window)
        groups = [(together, self._feeding.window, "")] if together else []
        groups += [([key], LONG * self._feeding.window, key) for key in alone]
        for keys, longest, source in groups:
            try:
                reached = await self._read_on(state, _Sources(part, source, frozenset(keys)), behind, start, longest)
            except ALONE as error:
                self._task.failures.append(error.with_traceback(None))
                continue
            if reached >= start:
                filled.update(keys)
        return filled

    async def _read_on(
        self, state: State, span: _Sources, behind: Mapping[str, datetime], start: datetime, longest: timedelta
    ) -> datetime:
        """Read these sources from where they were told; how far that came."""
        reached = min(behind[key] for key in span.keys)
        for low, high in windows(reached, start, longest):
            if self._spans >= MOST_SPANS:
                break
            self._spans += 1
            told = await self._read(span.part, low, high, span.source)
            level = {key: points for key, points in told.items() if key in span.keys}
            await self._publish(state, level, await self._stored(level), first_sync=False)
            reached = high
        if reached < start:
            await self._move_on(state, span.keys, reached)
        return reached

    async def _move_on(self, state: State, keys: Iterable[str], reached: datetime) -> None:
        """Keep that these sources have been read up to there, though they may have had nothing to tell."""
        stored = await self._stored(keys)
        moves = []
        for key in keys:
            known = stored.get(key, Measured(id=key, until=reached))
            if key in stored and known.until >= reached:
                continue
            entry = state.entries.get(key)
            after = msgspec.structs.replace(known, until=reached)
            version = entry.version if entry else 1
            moves.append(Change(key=key, version=version, verb=None, before=None, after=after))
        for at in range(0, len(moves), BATCH - 1):
            await self._commit(state, moves[at : at + BATCH - 1])

    async def _read(self, part: str, low: datetime, high: datetime, source: str = "") -> dict[str, Told]:
        """What there is in a stretch of time, by source and time."""
        span = Span(resource=self._task.name, part=part, start=low, end=high, source=source)
        told: dict[str, Told] = {}
        records, unreadable = self._records, self._unreadable
        async for page in self._task.connector.follow(self._task.api, span):
            for point in self._points(page):
                if not source or point.source == source:
                    told.setdefault(point.source, {})[point.at] = redact(point.value, self._task.watched.redact)
        failpoints.reached("poll.read", self._task.scope.vendor)
        if self._records - records == self._unreadable - unreadable > 0:
            raise Unreadable(f"none of the {self._records - records} entries listed can be read")
        return told

    def _points(self, page: Points) -> Iterator[Point]:
        for raw in page.items:
            self._records += 1
            try:
                point = page.to_point(raw)
                if not fits(point.source):
                    raise Unreadable("the key is empty or too long to be a name on the bus")
            except (Unreadable, msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
                self._unreadable += 1
                self._task.quarantined("", unreadable_place(error))
            else:
                yield point

    async def _stored(self, sources: Iterable[str]) -> dict[str, Measured]:
        """How far each source has been told."""
        keys, found = list(sources), dict[str, Stored]()
        for at in range(0, len(keys), STORED_AT_ONCE):
            some = keys[at : at + STORED_AT_ONCE]
            found |= await self._task.ledger.stored(self._task.scope, some, self._task.resource.record)
        if any(
            each.unreadable for each in found.values()
        ):  # how far it was told is not known: nothing is to be told twice
            raise Unreadable(CANNOT_BE_READ)
        return {key: each.record for key, each in found.items() if isinstance(each.record, Measured)}

    async def _publish(
        self, state: State, told: Mapping[str, Told], stored: Mapping[str, Measured], *, first_sync: bool
    ) -> None:
        """Commit what was not told before: the first chunk of every source, then the second, in batches."""
        news = {key for key in told if first_sync and key not in stored}
        silent = news if self._task.watched.first_sync == "baseline" else set()
        chunks = {
            key: list(self._chunks(key, points, stored.get(key), whole=key in silent)) for key, points in told.items()
        }
        for turn in range(max(map(len, chunks.values()), default=0)):
            pending: list[Change] = []
            size = 0
            for key, of_source in chunks.items():
                if turn >= len(of_source):
                    continue
                batch, measured = of_source[turn]
                weight = len(_encode(batch))
                if pending and (messages(pending) + 2 > BATCH or size + weight > COMMIT_BYTES):
                    await self._commit(state, pending)
                    pending, size = [], 0
                pending.append(self._change(state, key, batch, measured, silent=key in silent, first_sync=key in news))
                size += weight
            if pending:
                await self._commit(state, pending)

    def _chunks(
        self, key: str, points: Told, known: Measured | None, *, whole: bool
    ) -> Iterator[tuple[Batch, Measured]]:
        for some in chunked(fresh(points, known, self._feeding.overlap), points, LARGEST if not whole else None):
            known = moved(key, known, some, self._feeding.overlap, self._task.now)
            values: list[msgspec.Struct] = [points[at] for at in some]
            yield Batch(device=key, from_=some[0], to=some[-1], measurements=values), known  # type: ignore[arg-type]

    def _change(
        self, state: State, key: str, batch: Batch, measured: Measured, *, silent: bool, first_sync: bool
    ) -> Change:
        entry = state.entries.get(key)
        return Change(
            key=key,
            version=entry.version + 1 if entry else 1,
            verb=None if silent else self._task.resource.changes[0],
            before=None,
            after=measured,
            first_sync=first_sync,
            told=batch,
            at=batch.to,
        )

    async def _commit(self, state: State, changes: Sequence[Change]) -> None:
        for event in await self._task.ledger.commit(state, changes, self._head(state, state.head.at), self._task.poll):
            self._task.published(event)
        self._changes += sum(1 for change in changes if change.verb)

    def _head(self, state: State, at: datetime | None) -> Head:
        return Head(poll_id=self._task.poll.id, at=at, records=state.entries.alive, parts=self._parts)


def windows(start: datetime, end: datetime, longest: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """A stretch of time in pieces no longer than `longest`, oldest first."""
    while end - start > longest:
        yield start, start + longest
        start += longest
    yield start, end


def grouped(behind: Mapping[str, datetime], start: datetime, window: timedelta) -> tuple[list[str], list[str]]:
    """Which sources to read together, window by window, and which one by one, `LONG` windows at once: the fewest reads."""
    nearest = sorted(behind, key=lambda key: behind[key], reverse=True)
    one_by_one = [_pieces(start - behind[key], LONG * window) for key in nearest]
    cost = best = sum(one_by_one)
    together = 0
    for number, key in enumerate(nearest):
        cost -= one_by_one[number]
        whole = cost + _pieces(start - behind[key], window)
        if whole < best:
            best, together = whole, number + 1
    return nearest[:together], nearest[together:]


def _pieces(time: timedelta, longest: timedelta) -> int:
    return max(1, -(-time // longest))


def fresh(points: Iterable[datetime], known: Measured | None, overlap: timedelta) -> list[datetime]:
    """The times not told before, ascending. What is older than the overlap before the newest one told counts as told."""
    if known is None:
        return sorted(points)
    seen = set(known.seen)
    return sorted(at for at in points if at > known.until - overlap and _micros(at) not in seen)


def moved(key: str, known: Measured | None, told: Sequence[datetime], overlap: timedelta, now: datetime) -> Measured:
    """How far a source has been told once these are. A time in the future does not move it beyond now."""
    newest = min(max(told), now)
    until = max(newest, known.until) if known else newest
    floor = _micros(until - overlap)
    seen = {*(known.seen if known else ()), *map(_micros, told)}
    return Measured(id=key, until=until, seen=tuple(sorted(each for each in seen if each > floor)))


def chunked(times: Sequence[datetime], points: Told, largest: int | None) -> Iterator[list[datetime]]:
    """The times in pieces whose points take at most `largest` bytes as JSON; None: in one piece."""
    piece: list[datetime] = []
    size = 0
    for at in times:
        weight = len(_encode(points[at])) + 1 if largest else 0
        if piece and largest and size + weight > largest:
            yield piece
            piece, size = [], 0
        piece.append(at)
        size += weight
    if piece:
        yield piece


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
