"""What a delivery costs: `python -m benchmarks.deliveries`. A route's worker against a bare loop that signs and posts.

Both send the same events to the same receiver, as many at once, with the same client, which is aiohttp: the bare loop through
its session, as is usual, the product through the session's connections and parser only. Events lie in the ledger's stream
beforehand; the server and the receiver are processes of their own.
"""

import hmac
import random
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from itertools import count
from statistics import median

import aiohttp
import anyio

from agent.delivering import RouteWorker
from agent.log import FactLog
from agent.metrics import Metrics
from agent.pulse import Pulse
from agent.receivers import WebhookReceiver
from benchmarks.support import NAMES, Row, bus_server, child, emit, open_bus, run, spent
from events.jetstream.attempts import Attempts
from events.jetstream.connection import Bus, beside
from events.jetstream.ledger import KEY
from events.jetstream.outbox import RouteQueue
from events.routes import Secrets, Webhook
from events.signing import generate
from events.webhook import WebhookSender
from schemas.changes import Change, Scope
from schemas.envelope import CONTENT_TYPE, CloudEvent, encode, event_of
from schemas.facts import Delivered, Fact
from schemas.records import Booking, BookingStatus, Channel, Guest, Money
from schemas.settings import Secret

GROUP = "Deliveries"
IN_FLIGHT = (16, 64)
SCOPE = Scope("ipro", "office", "booking")
SHARE = 0.7  # of the bare loop's deliveries
WITHIN = 120.0  # seconds for one round, however busy the machine is


def events(number: int) -> Iterator[CloudEvent]:
    """As many changed bookings, each with an event about 1,000 bytes long."""
    now = datetime.now(UTC)
    for key in range(1, number + 1):
        before, after = _booking(key, BookingStatus.WAITING), _booking(key, BookingStatus.CONFIRMED)
        change = Change(key=str(key), version=2, verb="updated", before=before, after=after, fields=("status",))
        yield event_of(change, SCOPE, observed_at=now, poll_id="01J9Z3V5Q8W2")


def _booking(key: int, status: BookingStatus) -> Booking:
    return Booking(
        id=str(key),
        property_id=str(key % 40),
        arrival=date(2026, 7, 1 + key % 28),
        departure=date(2026, 8, 1 + key % 28),
        status=status,
        reference=f"REF-{key:08d}",
        channel=Channel(id="7", name="Booking.com", reference=f"{key:012d}"),
        guest=Guest(
            given_name="Ada", family_name=f"Guest {key}", email=f"guest{key}@example.com", phone="+44 20 7946 0000"
        ),
        guests=2 + key % 3,
        children=key % 2,
        total=Money(amount=Decimal(400 + key % 900), currency="GBP"),
        paid=Money(amount=Decimal(100), currency="GBP"),
        notes="Late arrival, please leave the key in the box beside the door.",
        booked_at=datetime(2026, 5, 1, 9, 30, tzinfo=UTC),
    )


async def commit(bus: Bus, bodies: Sequence[bytes]) -> None:
    """Put events into the ledger's stream, as its commits do."""
    told = [(NAMES.event(SCOPE, "updated"), body, {KEY: str(key)}) for key, body in enumerate(bodies, 1)]
    for event in told[:-1]:
        await bus.publish_plain(*event)
    await bus.publish(*told[-1], timeout=WITHIN)  # stored after all the others


class Route:
    """The product's side: routes of one webhook, each worked once, as the agent works it."""

    def __init__(self, bus: Bus, sender: WebhookSender, target: Webhook, bodies: Sequence[bytes]) -> None:
        self._bus = bus
        self._receiver = WebhookReceiver(target, sender)
        self._bodies = bodies
        self._numbers = count()
        self._metrics = Metrics("benchmark")
        self._log = FactLog()
        self._delivered = 0
        self._done = anyio.Event()
        self._name = ""

    async def prepare(self) -> None:
        """A new route, and its events in the stream."""
        self._name = f"r{self._receiver.concurrency}-{next(self._numbers)}"
        self._metrics.declare([], [self._name])
        self._queue = RouteQueue(self._bus, NAMES, self._name, [NAMES.events], self._receiver.timeout + 5)
        await self._queue.ensure()
        await commit(self._bus, self._bodies)
        self._delivered, self._done = 0, anyio.Event()

    async def work(self) -> None:
        """Deliver them all."""
        pulse = Pulse(time.monotonic)
        attempts = Attempts(self._bus, NAMES)
        worker = RouteWorker(
            self._name, self._receiver, self._queue, self._bus, NAMES, pulse, self._tell, random.Random(1), attempts
        )
        async with beside(attempts.run), anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            with anyio.fail_after(WITHIN):
                await self._done.wait()
            worker.stop()

    def _tell(self, fact: Fact) -> None:
        self._metrics.observe(fact)
        self._log.observe(fact)
        assert isinstance(fact, Delivered), fact
        assert fact.lag is not None, fact
        self._delivered += 1
        if self._delivered == len(self._bodies):
            self._done.set()


class BareLoop:
    """The limit: as many tasks as deliveries in flight, each signing and posting one event after the other."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, secret: str, told: Sequence[tuple[str, bytes]]
    ) -> None:
        self._session = session
        self._url = url
        self._key = b64decode(secret.removeprefix("whsec_"))
        self._told = told

    async def work(self, in_flight: int) -> None:
        """Deliver them all."""
        left = iter(self._told)
        async with anyio.create_task_group() as tasks:
            for _ in range(in_flight):
                tasks.start_soon(self._some, left)

    async def _some(self, left: Iterator[tuple[str, bytes]]) -> None:
        for event_id, body in left:
            headers = self._signed(event_id, body)
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as reply:
                await reply.read()
                assert reply.status == 204

    def _signed(self, event_id: str, body: bytes) -> dict[str, str]:
        now = str(int(time.time()))
        digest = hmac.digest(self._key, f"{event_id}.{now}.".encode() + body, "sha256")
        return {
            "webhook-id": event_id,
            "webhook-timestamp": now,
            "webhook-signature": "v1," + b64encode(digest).decode(),
            "content-type": CONTENT_TYPE,
            "user-agent": "vendorwire/benchmark",
        }


def _bare_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("Accept-Encoding",),
        timeout=aiohttp.ClientTimeout(total=15),
    )


async def throughput(url: str, number: int, rounds: int) -> None:
    """Deliveries a processor second, the route's worker and the bare loop taking turns."""
    secret = generate()
    told = [(event.id, encode(event)) for event in events(number)]
    bodies = [body for _, body in told]
    async with (
        open_bus(url) as bus,
        child("benchmarks.receiver") as receiver,
        WebhookSender(version="benchmark") as sender,
        _bare_session() as session,
    ):
        bare = BareLoop(session, receiver.said, secret, told)
        for in_flight in IN_FLIGHT:
            target = Webhook(
                url=receiver.said, secret=Secrets([Secret(secret)]), concurrency=in_flight, allow_private=True
            )
            route = Route(bus, sender, target, bodies)
            ours, limit = await _compared(route, bare, in_flight, rounds)
            ours, limit = number / ours, number / limit
            row = Row(
                group=GROUP,
                what=f"{in_flight} in flight, deliveries a CPU second",
                figure=f"{ours:,.0f}",
                limit=f"bare loop {limit:,.0f}",
                ratio=round(ours / limit, 3),
                bound=SHARE,
                at="least",
            )
            emit(row)


async def _compared(route: Route, bare: BareLoop, in_flight: int, rounds: int) -> tuple[float, float]:
    """The median processor seconds of a round of each. The first of each is not counted: it opens connections."""
    ours, limits = [], []
    for each in range(rounds + 1):
        await route.prepare()
        taken, limit = await spent(route.work), await spent(partial(bare.work, in_flight))
        if each:
            ours.append(taken)
            limits.append(limit)
    return median(ours), median(limits)


async def main(smoke: bool) -> None:
    """Compare."""
    number, rounds = (100, 1) if smoke else (3000, 5)
    async with bus_server() as url:
        await throughput(url, number, rounds)


if __name__ == "__main__":
    run(main)
