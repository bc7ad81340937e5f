"""What the agents note for people to look at: how the last day went, minute by minute. Pure: the messages and their packing.

With ten thousand accounts a minute holds as many polls, nearly all alike. So a minute counts in columns, by the place of each
resource in a sorted list of all (the roll), and is compressed: a poll then takes a few bits. Which list that is, the minute
says by a digest; the list itself is noted once.
"""

import hashlib
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Annotated

import msgspec

from schemas.changes import Scope

SLOT = 60  # seconds
LAGS = (
    0.01,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
    1800,
    7200,
    28800,
    86400,
)  # seconds; a last slot is beyond
LARGEST = 16 * 1024 * 1024  # bytes of a message unpacked: what a stranger writes there must not fill the memory
LONGEST = 300  # characters of a text
_Unix = Annotated[float, msgspec.Meta(ge=0, lt=1e11)]


class Columns(msgspec.Struct, frozen=True, array_like=True):
    """Counts by place: how far each place is from the one before, and what was counted there, column by column."""

    gaps: list[int] = []
    counts: list[list[int]] = []

    @classmethod
    def of(cls, rows: Mapping[int, Sequence[int]]) -> "Columns":
        """The rows by place."""
        places = sorted(rows)
        gaps = [after - before for before, after in pairwise((0, *places))]
        return cls(gaps, [list(column) for column in zip(*(rows[place] for place in places), strict=True)])

    def rows(self) -> Iterator[tuple[int, ...]]:
        """Each place with its counts."""
        return zip(accumulate(self.gaps), *self.counts, strict=True)


class Deliveries(msgspec.Struct, frozen=True, array_like=True):
    """A route's attempts: outcome → how many; and the lags of what was delivered, counted up to each of LAGS and beyond."""

    outcomes: dict[str, int] = {}
    lags: list[int] = []


class Minute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one agent did in one minute, which began at `at` (Unix seconds).

    `resources` count by place in the roll: polls that succeeded, polls that failed, changes. `accounts` count by place among
    the roll's accounts: requests, those of them that failed.
    """

    agent: str
    at: Annotated[int, msgspec.Meta(ge=0, lt=10**11)]
    roll: str
    resources: Columns = Columns()
    accounts: Columns = Columns()
    routes: dict[str, Deliveries] = {}


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the last poll of a resource ended, where that is trouble or the end of it. `since`: when it first ended so."""

    at: _Unix
    outcome: str
    detail: str = ""
    since: _Unix = 0.0


class Unread(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record that could not be read. `path` is the place in it; `key` is empty where that is what cannot be read."""

    at: _Unix
    scope: Scope
    path: str
    key: str = ""


class Alive(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An agent says that it lives, or (`gone`) that it has ended in good order. Times in Unix seconds."""

    agent: str
    host: str
    version: str
    roles: tuple[str, ...]
    since: _Unix
    seen: _Unix
    gone: bool = False


class Roll:
    """All resources that are polled, in order, and their accounts."""

    def __init__(self, scopes: Iterable[Scope]) -> None:
        self.scopes = tuple(sorted(set(scopes)))
        self.accounts = tuple(sorted({(scope.vendor, scope.account) for scope in self.scopes}))
        self.digest = hashlib.sha256("\n".join(map(str, self.scopes)).encode()).hexdigest()[:16]

    def place(self, scope: Scope) -> int | None:
        """Of a resource; None for one that is not in it."""
        at = bisect_left(self.scopes, scope)
        return at if at < len(self.scopes) and self.scopes[at] == scope else None

    def place_of(self, vendor: str, account: str) -> int | None:
        """Of an account."""
        at = bisect_left(self.accounts, (vendor, account))
        return at if at < len(self.accounts) and self.accounts[at] == (vendor, account) else None

    def pack(self) -> bytes:
        """The list itself, as it is noted."""
        return pack([[scope.vendor, scope.account, scope.resource] for scope in self.scopes])

    @classmethod
    def unpack(cls, data: bytes) -> "Roll":
        """Raises ValueError."""
        return cls(Scope(*words) for words in _roll.decode(_inflated(data)))


_roll = msgspec.json.Decoder(list[tuple[str, str, str]])
_minute = msgspec.json.Decoder(Minute)


def pack(value: object) -> bytes:
    """A message's bytes."""
    return zlib.compress(msgspec.json.encode(value), 1)


def minute_in(data: bytes) -> Minute:
    """The minute in a message. Raises ValueError for what is none: also where its columns do not fit one another."""
    minute = _minute.decode(_inflated(data))
    for columns, width in ((minute.resources, 3), (minute.accounts, 2)):
        sizes = {len(columns.gaps), *map(len, columns.counts)}
        if len(sizes) > 1 or (columns.gaps and len(columns.counts) != width):
            raise ValueError("the columns of a minute do not fit one another")
    return minute


def lag_slot(seconds: float) -> int:
    """Which of the counted lags this is."""
    return bisect_left(LAGS, seconds)


def quantile(lags: Sequence[int], share: float) -> float | None:
    """The lag that this share of deliveries did not exceed, as exactly as it was counted; None without any."""
    total = sum(lags)
    if not total:
        return None
    wanted, seen = share * total, 0
    for slot, count in enumerate(lags):
        if count and seen + count >= wanted:
            low = LAGS[slot - 1] if slot else 0.0
            high = LAGS[min(slot, len(LAGS) - 1)]
            return float(low + (high - low) * max((wanted - seen) / count, 0.0))
        seen += count
    return float(LAGS[-1])


def _inflated(data: bytes) -> bytes:
    opened = zlib.decompressobj()
    try:
        text = opened.decompress(data, LARGEST)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if opened.unconsumed_tail:
        raise ValueError("a message of the history is too large")
    return text
