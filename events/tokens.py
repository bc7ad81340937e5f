"""Where agents share what they know of an account's token: one entry per account, and a claim that lets one of them sign in.

Nothing here can be read by whoever finds it: a token is sealed before it comes here. Times are counted by the store's own
clock, never by an agent's.
"""

import time
from collections.abc import AsyncGenerator, Callable
from typing import Literal, Protocol

import anyio
import msgspec

GLANCE = 1.0  # seconds after which `follow` says that nothing came


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of an account's token. Times in seconds; `left` and `trial` count from when the entry was stored.

    `sealed`: the token, encrypted; empty where the agents share no key, or have no token. `trial`: for so long the vendor
    may not be asked again when it refuses this token too, since it replaced one refused before its time. `spent`: the vendor
    refused to renew it. `failures`: sign-ins in a row that failed.
    """

    sealed: str = ""
    lifetime: float = 0.0
    left: float = 0.0
    trial: float = 0.0
    spent: bool = False
    problem: Literal["", "refused", "failed"] = ""
    failures: int = 0


class Held(msgspec.Struct, frozen=True):
    """An entry as stored: `revision` grows with each, `age` is the seconds since."""

    entry: Entry
    revision: int
    age: float


class Trouble(msgspec.Struct, frozen=True):
    """Why the vendor is left alone for a while: the name of the failure, and its sentence, which holds no secret."""

    kind: str
    message: str


class Taken(msgspec.Struct, frozen=True):
    """Somebody has the claim: he signs in, or (`trouble`) nobody is to, for `left` seconds."""

    trouble: Trouble | None
    left: float


class Moved(Exception):
    """Another entry was stored meanwhile: read again."""


class TokenStore(Protocol):
    """The shared place. Every call raises LedgerUnavailable (what was asked may have been done), LedgerRefused."""

    async def read(self, account: str) -> Held | None:
        """The entry of an account, never an older one than was stored."""
        ...

    async def write(self, account: str, entry: Entry, after: int) -> int:
        """Store an entry where the one before has the revision `after` (0: there is none); its own. Raises Moved."""
        ...

    async def forget(self, account: str) -> None:
        """Remove the entry of an account and its claim, whoever has it."""
        ...

    async def claim(self, account: str, holder: str, seconds: float) -> int | Taken:
        """Take the claim, which ends by itself: what `release` and `rest` want to see. Or who has it."""
        ...

    async def release(self, account: str, claim: int) -> None:
        """Give the claim back. One that has run out may be another's: that is left alone."""
        ...

    async def rest(self, account: str, claim: int, trouble: Trouble, seconds: float) -> None:
        """Leave the claim so that nobody asks the vendor for so long, and everybody knows why."""
        ...

    def follow(self) -> AsyncGenerator[tuple[str, Held] | None, None]:
        """Each account's entry, then each new one, with its account. None where no more is there, and while nothing comes."""
        ...


class MemoryTokenStore:
    """One process's own. `clock` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._revision = 0
        self._entries: dict[str, tuple[Entry, int, float]] = {}
        self._claims: dict[str, tuple[int, float, Trouble | None]] = {}
        self._news = anyio.Event()

    async def read(self, account: str) -> Held | None:
        await anyio.lowlevel.checkpoint()
        found = self._entries.get(account)
        return Held(found[0], found[1], max(self._clock() - found[2], 0.0)) if found else None

    async def write(self, account: str, entry: Entry, after: int) -> int:
        await anyio.lowlevel.checkpoint()
        found = self._entries.get(account)
        if (found[1] if found else 0) != after:
            raise Moved(account)
        self._revision += 1
        self._entries[account] = (entry, self._revision, self._clock())
        self._news.set()
        self._news = anyio.Event()
        return self._revision

    async def forget(self, account: str) -> None:
        self._entries.pop(account, None)
        self._claims.pop(account, None)

    async def claim(self, account: str, holder: str, seconds: float) -> int | Taken:  # noqa: ARG002 the clock never stops: none is forgotten
        await anyio.lowlevel.checkpoint()
        found = self._claims.get(account)
        if found is not None and self._clock() < found[1]:
            return Taken(found[2], found[1] - self._clock())
        self._revision += 1
        self._claims[account] = (self._revision, self._clock() + seconds, None)
        return self._revision

    async def release(self, account: str, claim: int) -> None:
        if self._holds(account, claim):
            del self._claims[account]

    async def rest(self, account: str, claim: int, trouble: Trouble, seconds: float) -> None:
        if self._holds(account, claim):
            self._claims[account] = (claim, self._clock() + seconds, trouble)

    async def follow(self) -> AsyncGenerator[tuple[str, Held] | None, None]:
        told = 0
        while True:
            news = self._news
            for account, (entry, revision, at) in sorted(self._entries.items(), key=lambda each: each[1][1]):
                if revision > told:
                    told = revision
                    yield account, Held(entry, revision, max(self._clock() - at, 0.0))
            with anyio.move_on_after(GLANCE) as silence:
                await news.wait()
            if silence.cancelled_caught:
                yield None

    def _holds(self, account: str, claim: int) -> bool:
        return account in self._claims and self._claims[account][0] == claim
