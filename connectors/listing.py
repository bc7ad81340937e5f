"""A page of a listing, and the memory in which pages and records that were read before are known again by their bytes."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec
from xxhash import xxh3_128, xxh3_128_digest, xxh3_128_hexdigest

from connectors.errors import VendorError

T = TypeVar("T")
KeyOf = Callable[[msgspec.Raw], str]

EDGE = 300  # bytes


class Items(Sequence[msgspec.Raw]):
    """The items of a page, by an object that knows more of them than their bytes."""

    @property
    def fingerprint(self) -> bytes:
        """The same for the same items in the same order."""
        raise NotImplementedError


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A page, and what the vendor says of it: how many pages there are, which one this is, how many items there are in all,
    how many are on a full page."""

    items: Sequence[msgspec.Raw]
    pages: int | None = None
    index: int | None = None
    total: int | None = None
    size: int | None = None


class Listing(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """How a listing is read: `page` from a decoded reply, `key_of` an item, which is mapped in a `context` (see `Page`).

    `absent` and `forbidden` are the page where the vendor says that nothing is there, or does not grant it; None: a failure.
    `varying` is what no two replies have alike (such as an id of the request), within EDGE bytes of either end: it says nothing.
    """

    path: str
    decoder: msgspec.json.Decoder[T]
    page: Callable[[T], Listed]
    key_of: KeyOf
    context: str = ""
    absent: Listed | None = None
    forbidden: Listed | None = None
    varying: re.Pattern[bytes] | None = None

    def fingerprint(self, pieces: Sequence[bytes]) -> bytes:
        """The same for replies that say the same."""
        print_ = xxh3_128()
        for piece in pieces if self.varying is None else self._without(self.varying, pieces):
            print_.update(piece)
        return print_.digest()

    def _without(self, varying: re.Pattern[bytes], pieces: Sequence[bytes]) -> Iterator[bytes]:
        *others, last = pieces or (b"",)
        edge = max(len(last) - EDGE, 0)
        whole = [*others, last[:edge], last[edge:]]
        yield varying.sub(b"", whole[0][:EDGE])
        yield whole[0][EDGE:]
        yield from whole[1:-1]
        yield varying.sub(b"", whole[-1])


class Keys(Protocol):
    """The keys that the pages of a listing have brought so far."""

    def __len__(self) -> int: ...

    def add_items(self, items: Sequence[msgspec.Raw], key_of: KeyOf) -> int:
        """Put the keys of items in; how many of them are new."""
        ...


class Memory(Protocol):
    """What is remembered of a resource between two polls."""

    def knows(self, fingerprint: bytes) -> bool:
        """Whether a reply was read before, and all it listed became known."""
        ...

    def listed(self, fingerprint: bytes, read: Callable[[], Listed], key_of: KeyOf, context: str) -> Listed:
        """The page that a reply is: as remembered, else as `read` says. What is remembered is split when it is looked at."""
        ...

    def keys(self) -> Keys:
        """A set of keys with nothing in it."""
        ...


class PlainKeys:
    """Keys as they are."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def __len__(self) -> int:
        return len(self._keys)

    def add_items(self, items: Sequence[msgspec.Raw], key_of: KeyOf) -> int:
        before = len(self._keys)
        self._keys.update(map(key_or_bytes(key_of), items))
        return len(self._keys) - before


class NoMemory:
    """Remembers nothing."""

    def knows(self, fingerprint: bytes) -> bool:  # noqa: ARG002  # there is nothing to compare it with
        return False

    def listed(self, fingerprint: bytes, read: Callable[[], Listed], key_of: KeyOf, context: str) -> Listed:  # noqa: ARG002
        return read()

    def keys(self) -> Keys:
        return PlainKeys()


def key_or_bytes(key_of: KeyOf) -> KeyOf:
    """What tells items apart while paging; one without a key that can be read is known by its bytes."""

    def key(raw: msgspec.Raw) -> str:
        try:
            return key_of(raw)
        except (VendorError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return f"bytes {xxh3_128_hexdigest(raw)}"

    return key


def fingerprint(items: Sequence[msgspec.Raw]) -> bytes:
    """The same for the same items in the same order."""
    return items.fingerprint if isinstance(items, Items) else xxh3_128_digest(b",".join(map(bytes, items)))
