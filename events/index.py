"""The index: what a process knows of the records of one scope, in as few bytes each as Python allows."""

from array import array
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from events.packed import NO_ROW, Rows


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What the index knows of a record: its version, the digest of what is compared, and whether it is gone."""

    version: int
    digest: int
    deleted: bool = False


class Index(Mapping[str, Entry]):
    """Keys and their entries, kept in columns: some 35 bytes a record, besides its key.

    A record's row is its place in the columns, for as long as the index lives. `prints`: by row, the fingerprint of the bytes
    that are known to say what is stored, 0 where none are; a record that is entered again loses it. `changes` counts whatever
    changes in the index, `alive` the records that are there, not deleted.
    """

    def __init__(self, entries: Iterable[tuple[str, Entry]] = ()) -> None:
        self.rows = Rows()
        self.prints = array("Q")
        self.changes = 0
        self.alive = 0
        self._versions = array("I")
        self._digests = array("Q")
        self._deleted = bytearray()
        self.update(entries)

    def __getitem__(self, key: str) -> Entry:
        row = self.rows.get(key)
        if row == NO_ROW:
            raise KeyError(key)
        return Entry(self._versions[row], self._digests[row], deleted=bool(self._deleted[row]))

    def __setitem__(self, key: str, entry: Entry) -> None:
        self.changes += 1
        row = self.rows.add(key)
        if row == len(self._versions):
            self.prints.append(0)
            self._versions.append(entry.version)
            self._digests.append(entry.digest)
            self._deleted.append(entry.deleted)
            self.alive += not entry.deleted
        else:
            self.alive += self._deleted[row] - entry.deleted
            self.prints[row] = 0
            self._versions[row], self._digests[row], self._deleted[row] = entry.version, entry.digest, entry.deleted

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self.rows

    def __iter__(self) -> Iterator[str]:
        return self.rows.keys()

    def __len__(self) -> int:
        return len(self.rows)

    def update(self, entries: Iterable[tuple[str, Entry]]) -> None:
        """Enter records, or what they have become."""
        for key, entry in entries:
            self[key] = entry

    def tell(self, key: str, fingerprint: int) -> None:
        """These bytes say what is stored of a record; 0: none are known to."""
        row = self.rows.get(key)
        if row != NO_ROW:
            self.changes += 1
            self.prints[row] = fingerprint

    def forget(self) -> None:
        """No bytes are known to say what is stored."""
        self.changes += 1
        self.prints = array("Q", bytes(8 * len(self.prints)))

    def is_alive(self, row: int) -> bool:
        """Whether the record in a row is there, not deleted."""
        return not self._deleted[row]
