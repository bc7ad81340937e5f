"""A packed mapping of texts to numbers: it takes a fraction of what a dictionary of them takes."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice

import msgspec

NO_ROW = -1
_SLOTS = 2  # for every key, at least


class Placed(msgspec.Struct, frozen=True):
    """Keys that are to get the rows from `first` on: their bytes, where each ends, and the slots that will lead to them."""

    first: int
    text: bytes
    ends: "array[int]"
    slots: Sequence[int]


class Rows:
    """Keys, each with its row: its number in the order in which they came. None is ever taken out.

    The keys' bytes stand one after the other; a table of slots, searched from where a key's hash says, leads to them.
    """

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends = array("Q", [0])  # row and one → where its key ends
        self._slots = array("I", bytes(4 * 16))  # row and one; 0 where nothing is

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __contains__(self, key: str) -> bool:
        return self.get(key) != NO_ROW

    def get(self, key: str) -> int:
        """The row of a key; NO_ROW where it has none."""
        return self._slots[self._slot(_bytes(key))] - 1

    def add(self, key: str) -> int:
        """The row of a key, which is the last where it is new."""
        text = _bytes(key)
        slot = self._slot(text)
        known = self._slots[slot]
        if known:
            return known - 1
        row = len(self._ends) - 1
        self._text += text
        self._ends.append(len(self._text))
        self._slots[slot] = row + 1
        if _SLOTS * (row + 1) > len(self._slots):
            self._widen()
        return row

    def placed(self, keys: Iterable[str]) -> "Placed":
        """Where keys that have no row, and are all different, would stand: what `enter` needs. None is added by this."""
        texts = [_bytes(key) for key in keys]
        while _SLOTS * (len(self) + len(texts)) > len(self._slots):
            self._widen()
        slots, last = self._slots, len(self._slots) - 1
        places: dict[int, None] = {}
        for text in texts:
            slot = hash(text) & last
            while slots[slot] or slot in places:
                slot = (slot + 1) & last
            places[slot] = None
        ends = accumulate(map(len, texts), initial=len(self._text))
        return Placed(len(self), b"".join(texts), array("Q", islice(ends, 1, None)), list(places))

    def enter(self, placed: "Placed") -> bool:
        """Add the keys, as the last rows. False, and none is added, where others were added since they were placed."""
        if placed.first != len(self):
            return False
        slots = self._slots
        self._text += placed.text
        self._ends += placed.ends
        for row, slot in enumerate(placed.slots, placed.first + 1):
            slots[slot] = row
        return True

    def key(self, row: int) -> str:
        """The key of a row."""
        return self._text[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogatepass")

    def keys(self, first: int = 0) -> Iterator[str]:
        """The keys in their order, from a row on."""
        return map(self.key, range(first, len(self)))

    def _slot(self, text: bytes) -> int:
        """Where a key is, or would be."""
        slots, ends, known = self._slots, self._ends, self._text
        last = len(slots) - 1
        slot = hash(text) & last
        while (row := slots[slot]) and known[ends[row - 1] : ends[row]] != text:
            slot = (slot + 1) & last
        return slot

    def _widen(self) -> None:
        slots = array("I", bytes(8 * len(self._slots)))
        last, start, known = len(slots) - 1, 0, bytes(self._text)
        for row, end in enumerate(self._ends[1:], 1):
            slot = hash(known[start:end]) & last
            while slots[slot]:
                slot = (slot + 1) & last
            slots[slot], start = row, end
        self._slots = slots


def _bytes(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError:  # half a character
        return key.encode("utf-8", "surrogatepass")
