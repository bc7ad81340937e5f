"""The benchmarks' vendor as a process of its own, and an account there, read as the agent reads it."""

import random
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import httpx
import msgspec

from agent import vendors
from agent.config import Config
from agent.log import FactLog
from agent.metrics import Metrics
from agent.outcomes import Ended
from agent.poller import Poller
from agent.vault import Vault
from agent.watched import Watched
from benchmarks.support import NAMES, child
from connectors.http import open_http
from connectors.ipro import Ipro
from events.jetstream.connection import Bus
from events.jetstream.tokens import JetStreamTokenStore
from events.ledger import Ledger
from schemas.facts import Fact
from schemas.settings import Budget, Duration, Secret

# Never the reason to wait, and short: what a request costs must not grow with the window.
WIDE_OPEN = Budget(requests=50, per=Duration(milliseconds=1))


class _Asked(msgspec.Struct):
    asked: list[str]


class Site(msgspec.Struct, frozen=True):
    """A served site of so many bookings."""

    url: str
    records: int
    pid: int

    async def change(self, share: float, turn: int, newest: float = 1.0) -> None:
        """Change a share of the bookings, spread evenly over the newest part of them; each turn changes others."""
        await self._control(f"change?share={share}&round={turn}&newest={newest}")

    async def asked(self) -> list[str]:
        """The booking pages that were asked for since this was asked last, in order."""
        return msgspec.json.decode(await self._control("asked"), type=_Asked).asked

    async def _control(self, what: str) -> bytes:
        async with httpx.AsyncClient(trust_env=False) as http:
            reply = await http.post(f"{self.url}/control/{what}")
            return reply.raise_for_status().content


@asynccontextmanager
async def served(records: int) -> AsyncIterator[Site]:
    """A site in a process of its own, until the block ends."""
    async with child("benchmarks.vendor_server", "--records", str(records)) as process:
        yield Site(process.said, records, process.pid)


class Account(msgspec.Struct, frozen=True):
    """An account as the agent has it, and its poller."""

    watched: Watched
    poller: Poller

    async def poll(self) -> Ended:
        """Poll all bookings. Raises RuntimeError where the poll failed: its cost would mean nothing."""
        ended = await self.poller.poll(self.watched, "booking")
        if ended.outcome not in {"changed", "unchanged"}:
            raise RuntimeError(f"the poll ended as {ended.outcome}: {ended.detail}")
        return ended


def settings(site: Site, page_size: int, name: str = "agency") -> Ipro:
    """Read whole at every poll."""
    return Ipro(
        name=name,
        base_url=site.url,
        client_id="benchmark",
        client_secret=Secret("sandbox-secret"),
        page_size=page_size,
        budget=WIDE_OPEN,
        reconcile=Duration(0),
    )


@asynccontextmanager
async def accounts(
    bus: Bus, ledger: Ledger, site: Site, page_sizes: Sequence[int], name: str = "agency"
) -> AsyncIterator[list[Account]]:
    """The same account once for each size of pages, with one poller, opened as the agent opens it."""
    metrics, log = Metrics("benchmark"), FactLog()

    def tell(fact: Fact) -> None:
        metrics.observe(fact)
        log.observe(fact)

    poller = Poller(ledger, lambda: datetime.now(UTC), tell)
    shelf = vendors.Shelf(JetStreamTokenStore(bus, NAMES), Vault())
    async with AsyncExitStack() as stack:
        found = []
        for size in page_sizes:
            config = Config(accounts=(settings(site, size, name),))
            opened = await stack.enter_async_context(vendors.opened(config, tell, random.Random(1), shelf))
            found.append(Account(opened[name].watched, poller))
        yield found


class Fetching:
    """The limit: the same client asks for the same pages and throws them away."""

    def __init__(self, http: httpx.AsyncClient, site: Site, asked: Sequence[str]) -> None:
        self._http = http
        self._urls = [f"{site.url}{target}" for target in asked]
        self._authorization = f"Bearer {secrets.token_hex(700)}"  # as long as the vendor's own

    async def fetch(self) -> None:
        for url in self._urls:
            request = httpx.Request("GET", url, headers={"Authorization": self._authorization, "version": "2.0"})
            reply = await self._http.send(request, stream=True, follow_redirects=False)
            async for _ in reply.aiter_raw():
                pass
            await reply.aclose()


@asynccontextmanager
async def fetching(site: Site, asked: Sequence[str]) -> AsyncIterator[Fetching]:
    """A client like the agent's."""
    async with open_http() as transport, httpx.AsyncClient(transport=transport) as http:
        yield Fetching(http, site, asked)
