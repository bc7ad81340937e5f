"""One poll's reading: items in, changes out. Cheapest test first: the same bytes as last time need no decoding, the same
digest needs no look at the stored record; only a real difference fetches it and is compared field by field."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

import anyio.lowlevel
import msgspec

from agent.keyset import KeySet
from agent.known import Known, SeenPage, seen_page
from agent.recognised import Recognised
from agent.vouching import Vouch, vouched
from connectors.base import Page, Resource
from connectors.decoding import what_is_wrong
from connectors.errors import Unreadable
from events import failpoints
from events.diff import CANNOT_BE_READ, Stored, Unknown, decide, deleted, digest, redact, restated
from events.ledger import BATCH, Head, Ledger, Poll, State, messages
from events.packed import NO_ROW
from events.subjects import fits
from schemas.changes import Change
from schemas.envelope import CloudEvent
from schemas.records import Record

TOGETHER = 100  # records decided on one look at the ledger
UNREADABLE = (Unreadable, msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)
LARGEST = 256 * 1024  # bytes of an item: its event holds it up to three times and must fit into a message of 1 MiB


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What an account's settings say about reading."""

    resource: Resource
    first_sync: str
    redact: tuple[str, ...]
    vouch: Vouch | None = None  # of `resource.vouched_by`


class _News(msgspec.Struct, frozen=True):
    """An item that is not known by its bytes, with a copy of them: they would hold the whole page."""

    key: str
    raw: msgspec.Raw
    fingerprint: int
    again: bool  # this poll has read another copy of it already
    before: int  # the fingerprint of the bytes that were known of its record


class _Aside(msgspec.Struct, frozen=True):
    """What is to be decoded of a page, which may become known if all of it can be."""

    page: Page  # without its items
    part: str | None
    baseline: "Baseline | None"
    news: list[_News]
    seen: SeenPage | None


class _Item(msgspec.Struct, frozen=True):
    key: str
    record: Record
    made_at: datetime | None  # these two are kept here because the record's own may be redacted
    changed_at: datetime | None
    fingerprint: int
    again: bool
    before: int
    baseline: "Baseline | None"


class Baseline(msgspec.Struct, frozen=True):
    """The first complete sweep of a part: when it was made, and whether it would have listed a record."""

    at: datetime
    covers: Callable[[Record], bool]
    unread: frozenset[str] = frozenset()  # keys of what it listed and could not read

    def precedes(self, item: _Item) -> bool:
        """Whether the record came after. One that the sweep could have listed and did not was not there."""
        return self.covers(item.record) or item.made_at is None or item.made_at >= self.at


class Reading:
    """What one poll has read so far, and the changes not yet committed."""

    def __init__(
        self,
        ledger: Ledger,
        state: State,
        known: Known,
        rules: Rules,
        poll: Poll,
        published: Callable[[CloudEvent], None],
        quarantined: Callable[[str, str], None],
    ) -> None:
        self.state = state
        self.poll = poll
        self.seen = KeySet(state.entries)
        self.records = 0
        self.unreadable = 0
        self.changes = 0
        self.last_heard: datetime | None = None  # the newest sign of life of any record
        self.unread: set[str] = set()  # keys of records that cannot be read and of which nothing is stored
        self.anew: Literal["", "silent", "events"] = ""  # how what is read now is to be taken; see `events.ledger.Part`
        self.blind = False  # an item did not even show its key: what is missing cannot be told
        self._ledger = ledger
        self._known = known
        known.begin(state.entries)
        self._rules = rules
        self._published = published
        self._quarantined = quarantined
        self._aside: list[_Aside] = []  # decoded together: each by itself would cost several times as much
        self._waiting = 0  # items that were set aside
        self._different: dict[str, _Item] = {}
        self._pending: dict[str, Change] = {}
        self._fresh: dict[str, int] = {}  # key → fingerprint, remembered once committed
        self._withheld: dict[str, Change] = {}
        self._undecided: list[SeenPage] = []
        self._pages: list[SeenPage] = []  # known once what is pending is committed

    def cursor(self, part: str) -> datetime | None:
        """The newest vendor time read from a part, by this poll or before."""
        return self._known.cursors.get(part)

    async def page(self, page: Page, part: str | None, baseline: Baseline | None) -> None:
        """Take in one page of a part; None for what was looked up, which says nothing of how far a part was read.

        `baseline` is None where this part has never been read to the end.
        """
        failpoints.reached("poll.read", self.state.scope.vendor)
        items = self._known.items(page)
        self.records += len(items)
        if not page.timed and items.runs is not None and self._known.is_whole(items):
            self.seen.add_runs(items.runs)
            return
        await self._set_aside(page, items, part, baseline)
        if page.timed or self._waiting >= TOGETHER:
            await self._decode_aside()
        if len(self._different) >= TOGETHER:
            await self.settle()
        elif not self._different:
            self._all_decided()

    async def settle(self) -> None:
        """Decide on what was read and is not what the index knows. To be called at the end of each part, at the latest."""
        await self._decode_aside()
        items = list(self._different.values())
        self._different.clear()
        for start in range(0, len(items), TOGETHER):
            some = items[start : start + TOGETHER]
            await self._make_room(len(some))  # before the look at the ledger, which a commit would make out of date
            known = [item.key for item in some if item.key in self.state.entries]
            stored = await self.stored(known) if known else {}
            for item in some:
                self._decide(item, stored.get(item.key))
        self._all_decided()

    async def _set_aside(self, page: Page, items: Recognised, part: str | None, baseline: Baseline | None) -> None:
        """Keep the items of a page that are not known by their bytes, and have a key. The others are seen."""
        places: Sequence[int] = range(len(items))
        if not page.timed:
            places = items.news()
            self.seen.add_others(items, places)
        soon = page.timed or self._waiting + len(places) >= TOGETHER  # they are decoded while their page is there
        found: dict[int, _News | None] = {}
        for start in range(0, len(places), TOGETHER):
            some = places[start : start + TOGETHER]
            found |= {at: self._news(items, at, timed=page.timed, soon=soon) for at in some}
            await anyio.lowlevel.checkpoint()  # a page may be long: the others go on meanwhile
        news = {at: item for at, item in found.items() if item is not None}
        seen = None
        if not page.timed and len(news) == len(found):
            seen = seen_page(items, {at: item.key for at, item in news.items() if items.rows[at] == NO_ROW})
        if news:
            page = msgspec.structs.replace(page, items=())
            self._aside.append(_Aside(page, part, baseline, list(news.values()), seen))
            self._waiting += len(news)
        elif seen is not None:
            self._pages.append(seen)

    def _news(self, items: Recognised, at: int, *, timed: bool, soon: bool) -> _News | None:
        """An item that is to be decoded, and unless that is soon, a copy: until then no bytes are known of its record."""
        key, raw = "", items[at]
        try:
            key = items.key(at)
            _check_size(key, raw)
        except UNREADABLE as error:
            self._quarantine(key, error)
            return None
        again = not self.seen.add(key)
        if timed:
            return _News(key, raw, 0, again, 0)
        before = self._known.fingerprint(items.rows[at])
        if before:
            self._known.doubt(key)
        return _News(key, raw if soon else raw.copy(), items.prints[at], again, before)

    async def _decode_aside(self) -> None:
        """Decode what was set aside, in the order in which it came."""
        asides, self._aside, self._waiting = self._aside, [], 0
        for aside in asides:
            page = aside.page
            decoded: list[_Item] = []
            for start in range(0, len(aside.news), TOGETHER):
                some = aside.news[start : start + TOGETHER]
                decoded += filter(None, (self._decode(aside, news) for news in some))
                await anyio.lowlevel.checkpoint()
            in_doubt = []
            for item in decoded:
                if page.in_doubt is not None and page.in_doubt(item.record):
                    in_doubt.append(item)
                    self._known.doubt(item.key)
                else:
                    self._sort(item)
            for item in await self._second_look(page, in_doubt):
                self._sort(item)
            self._move_on(aside.part, max((item.changed_at for item in decoded if item.changed_at), default=None))
            if aside.seen is not None and len(decoded) == len(aside.news):
                self._undecided.append(aside.seen)

    def _all_decided(self) -> None:
        """Nothing that was decoded is undecided any more: its pages wait for what is pending at most."""
        self._pages += self._undecided
        self._undecided.clear()
        if not self._pending:
            self._note_pages()

    def _note_pages(self) -> None:
        """Nothing is pending: what was read is known."""
        for page in self._pages:
            self._known.note(page)
        self._pages.clear()

    def _move_on(self, part: str | None, newest: datetime | None) -> None:
        """Keep how far a part was read. Never ahead of now: a date in the far future must not hide what comes."""
        if part is not None and newest is not None:
            newest = min(newest, self.poll.observed_at)
            self._known.cursors[part] = max(newest, self._known.cursors.get(part, newest))

    @property
    def withheld(self) -> int:
        """How many records show the change that is told only once it is known how many show it at once."""
        return len(self._withheld)

    async def tell_withheld(self) -> None:
        """It is no vendor's fault: these are changes like any other."""
        for key, change in list(self._withheld.items()):
            await self._make_room(1)
            self._pending[key] = change
            del self._withheld[key]

    async def gone(self, keys: Sequence[str]) -> None:
        """Delete records that are certainly gone."""
        for start in range(0, len(keys), TOGETHER):
            some = keys[start : start + TOGETHER]
            await self._make_room(len(some))
            for key, stored in (await self.stored(some)).items():
                change = deleted(key, stored)
                if change is not None:
                    told = not self._rules.resource.only
                    self._pending[key] = change if told else msgspec.structs.replace(change, verb=None)

    async def stored(self, keys: Sequence[str]) -> dict[str, Stored]:
        """The stored records of these keys, without what has come to be redacted since they were stored."""
        found = await self._ledger.stored(self.state.scope, keys, self._rules.resource.record)
        return {key: self._redacted(stored) for key, stored in found.items()}

    @property
    def pending(self) -> bool:
        """Whether there are changes to commit."""
        return bool(self._pending)

    def alive(self) -> int:
        """How many records there are once what is pending is committed."""
        came = sum(1 for change in self._pending.values() if change.before is None)
        went = sum(1 for change in self._pending.values() if change.after is None)
        return self.state.entries.alive + came - went

    async def flush(self, head: Head | None = None) -> None:
        """Commit what is pending; without a head, as a correct prefix under the head there is."""
        if not self._pending and head is None:
            return
        changes = list(self._pending.values())
        head = head if head is not None else self.state.head
        for event in await self._ledger.commit(self.state, changes, head, self.poll):
            self._published(event)
        self.changes += sum(1 for change in changes if change.verb)
        for change in changes:
            if change.key in self._fresh:
                self._known.put(change.key, self._fresh.pop(change.key))
        self._pending.clear()
        self._note_pages()

    async def _second_look(self, page: Page, items: Sequence[_Item]) -> list[_Item]:
        """The items in doubt after a look at what else is known of them."""
        vouch = self._rules.vouch
        if vouch is None or not items:
            return list(items)
        records = [(item.key, item.record) for item in items]
        kept = await vouched(vouch, self._ledger, page, records, self.poll.observed_at, self._quarantine)
        pairs = zip(items, kept, strict=True)
        return [msgspec.structs.replace(item, record=record) for item, record in pairs if record is not None]

    def _decode(self, aside: _Aside, news: _News) -> _Item | None:
        key = news.key
        try:
            record = aside.page.to_record(news.raw)
        except UNREADABLE as error:
            self._quarantine(key, error)
            if not news.again:
                self._known.newest.put(key, 0.0)  # what another poll read of it says nothing of the copies to come
            if news.before:
                self._known.put(key, news.before)
            return None
        kept = redact(record, self._rules.redact)
        return _Item(
            key, kept, record.made_at, record.changed_at, news.fingerprint, news.again, news.before, aside.baseline
        )

    def _quarantine(self, key: str, error: Exception) -> None:
        """Tell that it cannot be read; what is stored of it stays."""
        self._quarantined(key, unreadable_place(error))
        self.unreadable += 1
        self.blind = self.blind or not key
        if self.seen.add(key):
            self._known.newest.put(key, 0.0)  # what another poll read of it says nothing of the copies to come
        if key and key not in self.state.entries:
            self.unread.add(key)

    def _sort(self, item: _Item) -> None:
        """Set aside what needs a look at the stored record. An older copy of what this poll has read counts nothing."""
        key = item.key
        self.last_heard = later(self.last_heard, item.record.heard_at)
        if item.changed_at is not None:
            changed_at = item.changed_at.timestamp()
            if item.again and changed_at < self._known.newest.get(key):
                if item.before:
                    self._known.put(key, item.before)
                return
            self._known.newest.put(key, changed_at)
        entry = self.state.entries.get(key)
        if entry is not None and not (entry.deleted or self.anew) and entry.digest == digest(item.record):
            self._different.pop(key, None)
            self._pending.pop(key, None)
            self._withheld.pop(key, None)
            if item.fingerprint:
                self._known.put(key, item.fingerprint)
        else:
            earlier = self._different.get(key)  # a copy in its place is as new to this poll as that one was
            self._different[key] = msgspec.structs.replace(item, again=earlier.again) if earlier else item
            self._known.doubt(key)

    def _decide(self, item: _Item, stored: Stored | None) -> None:
        if stored is not None and stored.unreadable:
            self._replace(item, stored)
            return
        if item.again and stored is not None and _is_older(item, stored):
            return
        if self._rules.resource.sudden and stored is not None and _lost_its_times(item, stored):
            self._quarantine(item.key, Unreadable("no sign of life is told of it any more"))
            return
        change = decide(item.key, stored, item.record, self._rules.resource.changes, self._unknown(item))
        entry = self.state.entries.get(item.key)
        if change is None and stored is not None and entry is not None and entry.digest != digest(item.record):
            # equal, but kept otherwise: by an older release, or before a redaction
            change = restated(item.key, stored, item.record)
        if change is None:
            return
        rules = self._rules.resource
        if rules.only and change.verb not in rules.changes:
            change = msgspec.structs.replace(change, verb=None)
        if rules.sudden and change.verb == rules.sudden:
            self._withheld[item.key] = change
            return
        if self.anew == "silent" and stored is not None:
            change = restated(item.key, stored, item.record)
        self._pending[item.key] = change
        if item.fingerprint:
            self._fresh[item.key] = item.fingerprint

    def _replace(self, item: _Item, stored: Stored) -> None:
        """What is stored cannot be read: it stays, unless a person wants it forgotten."""
        if self.anew:
            self._pending[item.key] = restated(item.key, stored, item.record, was_there=True)
        else:
            self._quarantine(item.key, Unreadable(CANNOT_BE_READ))

    def _unknown(self, item: _Item) -> Unknown:
        pending, baseline = self._pending.get(item.key), item.baseline
        silent = pending is not None and pending.version == 1 and pending.verb is None
        if baseline is None or silent or item.key in baseline.unread:
            first_sync = self.anew or self._rules.first_sync
            return Unknown(silent=first_sync != "events", first=True)
        if baseline.precedes(item):
            return Unknown()
        return Unknown(older=True, changed=item.changed_at is not None and item.changed_at >= baseline.at)

    def _redacted(self, stored: Stored) -> Stored:
        if stored.record is None:
            return stored
        return msgspec.structs.replace(stored, record=redact(stored.record, self._rules.redact))

    async def _make_room(self, changes: int) -> None:
        """Commit what is pending where it and so many more changes would not fit into one batch."""
        if messages(self._pending.values()) + 2 * changes > BATCH:
            await self.flush()


def later(one: datetime | None, other: datetime | None) -> datetime | None:
    """The later of two times, where there are two."""
    return max((time for time in (one, other) if time is not None), default=None)


def _is_older(item: _Item, stored: Stored) -> bool:
    known = stored.record.changed_at if stored.record is not None else None
    return known is not None and item.changed_at is not None and item.changed_at < known


def _lost_its_times(item: _Item, stored: Stored) -> bool:
    """Whether nothing is told any more of when it was heard last: that says nothing of whether it is silent."""
    return item.record.heard_at is None and stored.record is not None and stored.record.heard_at is not None


def _check_size(key: str, raw: msgspec.Raw) -> None:
    if not fits(key):
        raise Unreadable("the key is empty or too long to be a name on the bus")
    if len(bytes(raw)) > LARGEST:
        raise Unreadable(f"the record is longer than {LARGEST} bytes")


def unreadable_place(error: Exception) -> str:
    """Where an item is unreadable, without any of its values."""
    return str(error) if isinstance(error, Unreadable) else what_is_wrong(error)
