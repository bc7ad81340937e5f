"""The index: what a process knows of the records of one scope, in as few bytes each as Python allows."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping

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
        row = self.rows.add(key)
        if row < len(self._versions):
            self._replace(row, entry)
            return
        self.changes += 1
        self.prints.append(0)
        self._versions.append(entry.version)
        self._digests.append(entry.digest)
        self._deleted.append(entry.deleted)
        self.alive += not entry.deleted

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

    def prepared(self, entries: Mapping[str, Entry]) -> Callable[[], None]:
        """Make ready to enter records, or what they have become. What is returned enters them, at a fraction of the cost,
        whatever was entered in between; until then nothing is changed."""
        rows = list(map(self.rows.get, entries))
        known = [(row, entry) for row, entry in zip(rows, entries.values(), strict=True) if row != NO_ROW]
        new = {key: entry for row, (key, entry) in zip(rows, entries.items(), strict=True) if row == NO_ROW}
        placed = self.rows.placed(new)
        prints = array("Q", bytes(8 * len(new)))
        versions = array("I", [entry.version for entry in new.values()])
        digests = array("Q", [entry.digest for entry in new.values()])
        gone = bytes([entry.deleted for entry in new.values()])

        def enter() -> None:
            for row, entry in known:
                self._replace(row, entry)
            if not self.rows.enter(placed):
                self.update(new.items())
                return
            self.changes += len(new)
            self.prints += prints
            self._versions += versions
            self._digests += digests
            self._deleted += gone
            self.alive += gone.count(0)

        return enter

    def _replace(self, row: int, entry: Entry) -> None:
        self.changes += 1
        self.alive += self._deleted[row] - entry.deleted
        self.prints[row] = 0
        self._versions[row], self._digests[row], self._deleted[row] = entry.version, entry.digest, entry.deleted

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
