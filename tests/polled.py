"""An account read by the real poller: a fake vendor, a ledger in memory, and a clock that only moves when told."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec

from agent.outcomes import Ended
from agent.poller import Poller
from agent.tokens import TokenKeeper
from agent.watched import Watched
from connectors.api import Api
from connectors.base import Connector
from connectors.budget import Pacer
from connectors.http import Sender
from connectors.octorate import Octorate
from connectors.sandbox.base import Sandbox
from connectors.sandbox.octorate import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, OctorateSandbox
from events.ledger import MemoryLedger, Part
from schemas.envelope import CloudEvent
from schemas.facts import Fact, Quarantined
from schemas.records import Record
from schemas.settings import Budget, Duration, Secret

NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)
ROME, LONDON = "112696", "200100"
LISTING = "/connect/rest/v1/reservation"
Reply = Callable[[httpx.Request], httpx.Response]


class Clock:
    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at

    def seconds(self) -> float:
        return self.at.timestamp()


def settings(**other: Any) -> Octorate:
    known: dict[str, Any] = {
        "name": "hotel",
        "base_url": "https://octorate.test/connect",
        "client_id": CLIENT_ID,
        "client_secret": Secret(CLIENT_SECRET),
        "refresh_token": Secret(REFRESH_TOKEN),
        "budget": Budget(requests=1_000_000, per=Duration(hours=1)),
    }
    return Octorate(**known | other)


class Account:
    """One account's whole way from its vendor to the ledger. `vendor` answers the requests; a test may put another there."""

    def __init__(
        self,
        connector: Connector,
        sandbox: Sandbox,
        clock: Clock,
        *,
        first_sync: str = "baseline",
        redact: tuple[str, ...] = (),
    ) -> None:
        self.connector = connector
        self.clock = clock
        self.vendor: Reply = sandbox
        self.requests: list[str] = []  # the status of each answer
        self.facts: list[Fact] = []
        self.ledger = MemoryLedger()
        self._told = 0
        http = httpx.MockTransport(lambda request: self.vendor(request))
        send = Sender(http).send
        keeper = TokenKeeper(connector, send, self.facts.append, rng=random.Random(1), clock=clock.seconds)
        pacer = Pacer(connector.pace, clock=clock.seconds)
        self.api = Api(connector, keeper, http, pacer, self._answered, clock=clock.seconds)
        self.watched = Watched(connector=connector, api=self.api, first_sync=first_sync, max_ratio=0.2, redact=redact)
        self.restart()

    def restart(self) -> None:
        """A new process: all that was remembered outside the ledger is lost."""
        self.poller = Poller(self.ledger, self.clock, self.facts.append)

    def configure(self, **changes: Any) -> None:
        self.watched = msgspec.structs.replace(self.watched, **changes)

    async def poll(self, resource: str = "booking", *, after: timedelta = timedelta(minutes=1)) -> Ended:
        """Poll, some time after the last."""
        self.clock.at += after
        return await self.poller.poll(self.watched, resource)

    async def sweep(self, resource: str = "booking") -> Ended:
        """Poll when the next whole read is certainly due."""
        return await self.poll(resource, after=timedelta(hours=24))

    def told(self) -> list[CloudEvent]:
        """The events published since the last look."""
        news, self._told = self.ledger.events[self._told :], len(self.ledger.events)
        return news

    def kinds(self) -> list[str]:
        """The types of the events published since the last look."""
        return [event.type for event in self.told()]

    async def stored(self, resource: str = "booking") -> dict[str, Record]:
        """The records that are there."""
        kind = self.connector.resources[resource].record
        found = self.ledger.snapshots(self.watched.scope(resource), kind)
        return {key: stored.record async for key, stored in found if stored.record is not None}

    def quarantined(self) -> list[str]:
        return [fact.path for fact in self.facts if isinstance(fact, Quarantined)]

    def _answered(self, status: str, _left: float | None) -> None:
        self.requests.append(status)


class Desk(Account):
    """An Octorate account, with both hands on the fake vendor."""

    def __init__(
        self,
        *,
        seed: int = 0,
        noise: bool = False,
        first_sync: str = "baseline",
        redact: tuple[str, ...] = (),
        **other: Any,
    ) -> None:
        clock = Clock()
        self.sandbox = OctorateSandbox(clock, seed=seed, noise=noise, limit=1_000_000)
        super().__init__(settings(**other), self.sandbox, clock, first_sync=first_sync, redact=redact)

    async def record(self, id_: int) -> Any:
        return (await self.stored())[str(id_)]

    async def held(self) -> int:
        return (await self.ledger.load(self.watched.scope("booking"))).head.held

    async def part(self, accommodation: str = ROME) -> Part:
        return (await self.ledger.load(self.watched.scope("booking"))).head.parts[accommodation]

    def add(self, accommodation: str = ROME, **fields: Any) -> int:
        return int(self.sandbox.add(accommodation, fields)["id"])

    def listings(self) -> list[dict[str, str]]:
        """The questions asked of booking listings, oldest first."""
        return [dict(seen.query) for seen in self.sandbox.seen if seen.path.startswith(LISTING)]


def refused(status: int, kind: str) -> httpx.Response:
    return httpx.Response(status, json={"message": "err", "nested": [], "type": kind})


def swapped(vendor: Reply, change: Callable[[httpx.Request, Any], Any]) -> Reply:
    """A vendor whose booking listings are changed on the way: `change` takes the request and the decoded reply."""

    def answer(request: httpx.Request) -> httpx.Response:
        reply = vendor(request)
        if not request.url.path.startswith(LISTING) or reply.status_code != 200:
            return reply
        return httpx.Response(200, json=change(request, reply.json()))

    return answer
