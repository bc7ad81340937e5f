"""A page's items, recognised by their bytes: which rows of the index they are."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import compress, count, repeat
from operator import ne
from typing import overload

import msgspec
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from connectors.errors import VendorError
from connectors.listing import Items, KeyOf, Listed, key_or_bytes
from events.index import Index
from events.packed import NO_ROW

AT_ONCE = 32  # records: where fewer than these come in the order of their rows, they are looked for one by one


class Runs:
    """The rows of a page, in stretches: most of its records came into the index one after the other."""

    def __init__(self, rows: "array[int]") -> None:
        self._stretches = array("I")  # the first row of each, and the one behind its last
        self._length = len(rows)
        self._in_order = bool(rows) and rows == array("i", range(rows[0], rows[0] + len(rows)))
        if self._in_order:
            self._stretches.extend((rows[0], rows[0] + len(rows)))
            return
        behind = NO_ROW
        for row in sorted(rows):
            if row != behind:
                self._stretches.extend((row, row))
            self._stretches[-1] = behind = row + 1

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        ends = iter(self._stretches)
        return zip(ends, ends, strict=True)

    @property
    def first(self) -> int:
        """The first row, where all are one stretch and come in its order; else NO_ROW."""
        return self._stretches[0] if self._in_order else NO_ROW

    def prints_of(self, rows: "array[int]", index: Index) -> "array[int]":
        """The fingerprint that the index has for each of the rows that these were made of."""
        if self._in_order:
            return index.prints[self.first : self.first + len(self)]
        return array("Q", list(map(index.prints.__getitem__, rows)))

    def prints(self, index: Index) -> bytes:
        """A digest of the fingerprints that the index has for these rows."""
        prints = array("Q")
        for first, behind in self:
            prints += index.prints[first:behind]
        return xxh3_128_digest(prints)


class Recognising:
    """Finds records in the index by their bytes, each where it came last time: after the one that came before it."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._row = 0  # of the record that came last
        self._following = array("I")  # row → the row of the record that followed it

    def rows(self, prints: "array[int]", row_by_key: Callable[[int], int]) -> "array[int]":
        """The row of each record, by its fingerprint, else by its key; most come in the order of their rows."""
        stored, rows, at = self.index.prints, array("i"), 0
        self._following.extend(range(len(self._following) + 1, len(stored) + 2))
        alone = 1  # records looked for one by one, before it is tried again to take many at once
        while at < len(prints):
            first = self._following[self._row]
            alike = _alike(stored[first : first + len(prints) - at], prints[at:])
            if alike:
                rows.extend(range(first, first + alike))
                self._row, at = first + alike - 1, at + alike
            alone = 1 if alike >= AT_ONCE else min(2 * alone, AT_ONCE)
            until = min(at + alone, len(prints))
            rows.extend([self._one(prints[place], place, row_by_key) for place in range(at, until)])
            at = until
        return rows

    def _one(self, print_: int, at: int, row_by_key: Callable[[int], int]) -> int:
        found = self._following[self._row]
        if found >= len(self.index.prints) or self.index.prints[found] != print_:
            found = row_by_key(at)
        if found != NO_ROW:
            self._following[self._row] = self._row = found
        return found


def _alike(one: "array[int]", other: "array[int]") -> int:
    """How many they have in common at their beginning."""
    shorter = min(len(one), len(other))
    return shorter if one[:shorter] == other[:shorter] else next(compress(count(), map(ne, one, other)), shorter)


class Recognised(Items):
    """The items of a page, split when they are looked at.

    `runs` and `fingerprint` are given for a page that is known. `reply`: what the vendor says of the page, and what tells its
    reply from another; nothing for items that are not a whole reply.
    """

    def __init__(
        self,
        recognising: Recognising,
        split: Callable[[], Sequence[msgspec.Raw]],
        key_of: KeyOf,
        context: str,
        runs: Runs | None = None,
        fingerprint: bytes = b"",
    ) -> None:
        self.runs = runs
        self.context = context
        self.reply: tuple[Listed, bytes] = (Listed(items=()), b"")
        self._recognising = recognising
        self._split = split
        self._key_of = key_of
        self._items: Sequence[msgspec.Raw] | None = None
        self._rows: array[int] | None = None
        self._found: Runs | None = None
        self._fingerprint = fingerprint
        self._prints: array[int] | None = None
        self._keys: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._raws) if self.runs is None else len(self.runs)

    @overload
    def __getitem__(self, at: int) -> msgspec.Raw: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[msgspec.Raw]: ...
    def __getitem__(self, at: int | slice) -> msgspec.Raw | Sequence[msgspec.Raw]:
        return self._raws[at]

    def __iter__(self) -> Iterator[msgspec.Raw]:
        return iter(self._raws)

    def key(self, at: int) -> str:
        """The key of an item, read once. Raises what the connector raises where it cannot be."""
        if at not in self._keys:
            self._keys[at] = self._key_of(self._raws[at])
        return self._keys[at]

    def name(self, at: int) -> str:
        """What tells an item from others: its key, or its bytes where that cannot be read."""
        return key_or_bytes(lambda _: self.key(at))(self._raws[at])

    @property
    def fingerprint(self) -> bytes:
        """The same for the same items in the same order."""
        if not self._fingerprint:
            self._fingerprint = xxh3_128_digest(self.prints)
        return self._fingerprint

    @property
    def prints(self) -> "array[int]":
        """The fingerprint of each item's bytes, in this context."""
        if self._prints is None:
            seed = xxh3_64_intdigest(self.context.encode())
            self._prints = array("Q", list(map(xxh3_64_intdigest, self._raws, repeat(seed))))
        return self._prints

    @property
    def rows(self) -> "array[int]":
        """The row of each record; NO_ROW for one that is not in the index, or whose key cannot be read."""
        if self._rows is None:
            self._rows = self._recognising.rows(self.prints, self._row_by_key)
        return self._rows

    @property
    def found(self) -> Runs:
        """The rows of the records that are in the index."""
        if self._found is None:
            rows = self.rows
            self._found = Runs(array("i", [row for row in rows if row != NO_ROW]) if NO_ROW in rows else rows)
        return self._found

    def news(self) -> list[int]:
        """The places of the records that are not known by their bytes, and of all copies of one that comes in several."""
        index, rows = self._recognising.index, self.rows
        if len(self.found) < len(rows):
            pairs = enumerate(zip(rows, self.prints, strict=True))
            news = [at for at, (row, print_) in pairs if row == NO_ROW or index.prints[row] != print_]
        else:
            known = self.found.prints_of(rows, index)
            news = [] if known == self.prints else list(compress(count(), map(ne, known, self.prints)))
        if not news or self.found.first != NO_ROW:
            return news
        several = {rows[at] for at in news} - {NO_ROW} if len(set(rows)) < len(rows) else set()
        return sorted({*news, *(at for at, row in enumerate(rows) if row in several)}) if several else news

    @property
    def _raws(self) -> Sequence[msgspec.Raw]:
        if self._items is None:
            self._items = self._split()
        return self._items

    def _row_by_key(self, at: int) -> int:
        try:
            return self._recognising.index.rows.get(self.key(at))
        except (VendorError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return NO_ROW
