"""What is remembered of a resource between two polls, so that a poll in which nothing changed costs little more than its bytes.

Cheapest first: a page whose bytes are known is not split, a record whose bytes are known is not decoded. All of it is a cache:
losing it costs a decoding, never correctness.
"""

from array import array
from collections.abc import Callable
from datetime import datetime

import msgspec

from agent.keyset import KeySet, Newest
from agent.recognised import Recognised, Recognising, Runs
from connectors.base import Page
from connectors.listing import KeyOf, Keys, Listed
from events.index import Index
from events.packed import NO_ROW


class Sheet(msgspec.Struct):
    """A page all of whose records are known by their bytes: what the vendor says of it, and the rows of its records.

    `fingerprint` tells its items from others; `prints`: what the index must hold of their rows, and did when it had seen `at`
    changes.
    """

    listed: Listed
    runs: Runs
    context: str
    fingerprint: bytes
    prints: bytes
    at: int


class Known:
    """What one process remembers of one resource. It is a `connectors.listing.Memory`.

    What is known is not decoded again, so this is kept here even where the poll that decoded it failed: `cursors`, part → the
    newest vendor time among all that was decoded; and `newest`, the vendor time of the newest copy of each record.
    """

    def __init__(self) -> None:
        self.cursors: dict[str, datetime] = {}
        self._recognising = Recognising(Index())
        self.newest = Newest(self.index)
        self._sheets: dict[bytes, Sheet] = {}  # by what tells one reply from another
        self._before: dict[bytes, Sheet] = {}  # of the poll before, not seen in this one

    @property
    def index(self) -> Index:
        """The index of the poll that has begun."""
        return self._recognising.index

    def begin(self, index: Index) -> None:
        """A poll begins, on this index. A page that the poll before did not see is forgotten."""
        if index is not self.index:
            index.forget()  # what its fingerprints were taken of is not known here
            self._recognising, self.newest, self._sheets = Recognising(index), Newest(index), {}
        self.newest.begin()
        self._before, self._sheets = self._sheets, {}

    def forget(self) -> None:
        """What comes is to be decoded, whatever its bytes."""
        self._recognising = Recognising(Index())
        self._sheets = {}
        self.cursors.clear()

    def knows(self, fingerprint: bytes) -> bool:
        """See `connectors.listing.Memory`."""
        if fingerprint in self._before:
            self._sheets[fingerprint] = self._before.pop(fingerprint)
        return fingerprint in self._sheets

    def listed(self, fingerprint: bytes, read: Callable[[], Listed], key_of: KeyOf, context: str) -> Listed:
        """See `connectors.listing.Memory`."""
        sheet = self._sheets.get(fingerprint)
        if sheet is None or sheet.context != context:
            listed = read()
            items = Recognised(self._recognising, lambda: listed.items, key_of, context)
        else:
            listed = sheet.listed
            items = Recognised(self._recognising, lambda: read().items, key_of, context, sheet.runs, sheet.fingerprint)
        items.reply = msgspec.structs.replace(listed, items=()), fingerprint
        return msgspec.structs.replace(listed, items=items)

    def keys(self) -> Keys:
        """See `connectors.listing.Memory`."""
        return KeySet(self.index)

    def items(self, page: Page) -> Recognised:
        """A page's items, with what is known of them."""
        if isinstance(page.items, Recognised) and page.items.context == page.context:
            return page.items
        return Recognised(self._recognising, lambda: page.items, page.key_of, page.context)

    def is_whole(self, items: Recognised) -> bool:
        """Whether a page is known as a whole: each of its records is still stored as its bytes say."""
        sheet = self._sheets.get(items.reply[1])
        if sheet is None or sheet.runs is not items.runs:
            return False
        if sheet.at != self.index.changes:
            if sheet.runs.prints(self.index) != sheet.prints:
                return False
            sheet.at = self.index.changes
        return True

    def fingerprint(self, row: int) -> int:
        """Of the bytes that are known to say what is stored of a record; 0 where none are."""
        return self.index.prints[row] if row != NO_ROW else 0

    def put(self, key: str, fingerprint: int) -> None:
        """These bytes say what is stored of this record."""
        self.index.tell(key, fingerprint)

    def doubt(self, key: str) -> None:
        """No bytes are known to say what is stored of this record: they are to be decoded, whichever come."""
        self.index.tell(key, 0)

    def note(self, seen: "SeenPage") -> None:
        """Remember a page, where all its records have become known."""
        index, rows = self.index, seen.rows[:]
        for at, key in seen.keys.items():
            rows[at] = index.rows.get(key)
        if NO_ROW in rows:
            return
        runs = Runs(rows) if seen.keys else seen.found
        if runs.prints_of(rows, index) == seen.prints:
            prints = runs.prints(index)
            self._sheets[seen.reply] = Sheet(seen.listed, runs, seen.context, seen.fingerprint, prints, index.changes)


class SeenPage(msgspec.Struct):
    """A page that was read and may become known, without its bytes: the row of each record, and by place the keys of those
    that had none yet; `found` are the rows there were."""

    listed: Listed
    reply: bytes
    rows: "array[int]"
    found: Runs
    keys: dict[int, str]
    prints: "array[int]"
    fingerprint: bytes
    context: str


def seen_page(items: Recognised, keys: dict[int, str]) -> SeenPage | None:
    """What to keep of a page, `keys` by place being those that had no row; None where it is no whole reply."""
    listed, reply = items.reply
    if not reply:
        return None
    return SeenPage(listed, reply, items.rows, items.found, keys, items.prints, items.fingerprint, items.context)
