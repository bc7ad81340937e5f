"""What a poll keeps of each key it has read, by row for those in the index: a flag, a time."""

from array import array
from collections.abc import Iterable, Sequence

import msgspec

from agent.recognised import Recognised
from connectors.listing import KeyOf, key_or_bytes
from events.index import Index
from events.packed import NO_ROW


class KeySet:
    """A set of keys: those in the index as a flag each, by row, the others as they are."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._flags = bytearray(len(index))
        self._flagged = 0
        self._others: set[str] = set()

    def __contains__(self, key: str) -> bool:
        row = self._index.rows.get(key)
        return (0 <= row < len(self._flags) and self._flags[row] > 0) or key in self._others

    def __len__(self) -> int:
        return self._flagged + len(self._others)

    def add(self, key: str) -> bool:
        """Put a key in; whether it is new."""
        row = self._index.rows.get(key)
        if row != NO_ROW:
            return self.add_rows((row,)) > 0
        if key in self._others:
            return False
        self._others.add(key)
        return True

    def add_rows(self, rows: Iterable[int]) -> int:
        """Put the keys of these rows in; how many of them are new."""
        flags, new = self._grown(), 0
        for row in rows:
            if not flags[row]:
                flags[row] = 1
                new += 1
        self._flagged += new
        return new

    def add_runs(self, runs: Iterable[tuple[int, int]]) -> int:
        """Put the keys of these rows in; how many of them are new."""
        flags, new = self._grown(), 0
        for first, behind in runs:
            new += flags.count(0, first, behind)
            flags[first:behind] = b"\1" * (behind - first)
        self._flagged += new
        return new

    def add_items(self, items: Sequence[msgspec.Raw], key_of: KeyOf) -> int:
        """Put the keys of items in; how many of them are new. One whose key cannot be read is known by its bytes."""
        if not isinstance(items, Recognised):
            return sum(map(self.add, map(key_or_bytes(key_of), items)))
        if items.runs is not None:
            return self.add_runs(items.runs)
        new = self.add_runs(items.found)
        if len(items.found) < len(items):
            new += sum(self.add(items.name(at)) for at, row in enumerate(items.rows) if row == NO_ROW)
        return new

    def add_others(self, items: Recognised, places: Sequence[int]) -> None:
        """Put in the keys of items that are in the index: of all but those at these places, which come in their order."""
        first = items.found.first
        if first == NO_ROW or len(items.found) < len(items):
            left_out = set(places)
            self.add_rows([row for at, row in enumerate(items.rows) if at not in left_out])
            return
        starts, ends = [0, *(at + 1 for at in places)], [*places, len(items)]
        self.add_runs((first + start, first + end) for start, end in zip(starts, ends, strict=True))

    def missing(self) -> list[str]:
        """The keys of the records that are there and not in this set."""
        flags, keys = self._grown(), []
        row = flags.find(0)
        while row >= 0:
            if self._index.is_alive(row):
                keys.append(self._index.rows.key(row))
            row = flags.find(0, row + 1)
        return keys

    def _grown(self) -> bytearray:
        """The flags, one for each row: what has come into the index meanwhile is moved there from the others."""
        known = len(self._flags)
        self._flags.extend(bytes(len(self._index) - known))
        if self._others:
            for row, key in enumerate(self._index.rows.keys(known), known):
                if key in self._others:
                    self._others.discard(key)
                    self._flags[row] = 1
                    self._flagged += 1
        return self._flags


class Newest:
    """The vendor time of each record's newest copy, in Unix seconds: by row for those in the index. 0 where none is told."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._times = array("d")
        self._others: dict[str, float] = {}

    def begin(self) -> None:
        """A poll begins: what never came into the index is forgotten."""
        self._grow()
        self._others.clear()

    def get(self, key: str) -> float:
        """The newest time of a record."""
        row = self._index.rows.get(key)
        return (self._times[row] if 0 <= row < len(self._times) else 0.0) or self._others.get(key, 0.0)

    def put(self, key: str, time: float) -> None:
        """A record was read as of this time."""
        self._grow()
        row = self._index.rows.get(key)
        if row == NO_ROW:
            self._others[key] = time
        else:
            self._times[row] = time

    def _grow(self) -> None:
        known = len(self._times)
        self._times.frombytes(bytes(8 * (len(self._index) - known)))
        if self._others:
            for row, key in enumerate(self._index.rows.keys(known), known):
                self._times[row] = self._others.pop(key, 0.0)
