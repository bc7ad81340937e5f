"""Keepers of one account's token on one store that can be made to fail, by one clock."""

import random
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel

from agent.signin import Send
from agent.tokens import TokenKeeper
from agent.vault import Vault
from events.ledger import LedgerUnavailable
from events.tokens import Entry, Held, MemoryTokenStore, Moved, Taken, Trouble
from schemas.facts import TokenState
from tests.agent.rotating import KEY
from tests.agent.test_tokens import Vendor


class Failing(MemoryTokenStore):
    """A store that can be made to fail."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.away = False
        self.moved = 0  # how many writes find that another entry was stored meanwhile
        self.released: Callable[[], None] = lambda: None
        self.restless = False  # whether a claim cannot be left to rest

    async def release(self, account: str, claim: int) -> None:
        await anyio.lowlevel.checkpoint()
        self.released()
        await super().release(account, claim)

    async def rest(self, account: str, claim: int, trouble: Trouble, seconds: float) -> None:
        if self.restless:
            raise LedgerUnavailable("the bus is away")
        await super().rest(account, claim, trouble, seconds)

    async def read(self, account: str) -> Held | None:
        if self.away:
            raise LedgerUnavailable("the bus is away")
        return await super().read(account)

    async def write(self, account: str, entry: Entry, after: int) -> int:
        if self.away:
            raise LedgerUnavailable("the bus is away")
        if self.moved:
            self.moved -= 1
            raise Moved(account)
        return await super().write(account, entry, after)


class Desk:
    """Keepers of one account on one store, by one clock."""

    def __init__(self, lifetime: float = 100.0) -> None:
        self.now = 500.0
        self.vendor = Vendor(lifetime)
        self.store = Failing(lambda: self.now)
        self.told: list[TokenState] = []

    def keeper(
        self, keys: str = KEY, sleep: Callable[[float], Awaitable[None]] = anyio.sleep, send: Send | None = None
    ) -> TokenKeeper:
        return TokenKeeper(
            self.vendor,
            send or self.vendor.send,
            self.told.append,
            rng=random.Random(1),
            store=self.store,
            vault=Vault.of(keys),
            clock=lambda: self.now,
            wall=lambda: self.now + 1_000_000,
            sleep=sleep,
            last_word=0.05,
        )

    async def entry(self) -> Entry:
        found = await MemoryTokenStore.read(self.store, "hotel")
        assert found is not None
        return found.entry

    async def claim(self) -> int | Taken:
        return await self.store.claim("hotel", "a person who looks", 1)
