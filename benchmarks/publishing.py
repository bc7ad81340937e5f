"""How fast a commit of a thousand messages is, against a bare atomic batch of the same bytes.

The bare batch is made beforehand: its first and last message are requests, as they must be, and all between is one write.
The rate is of time that passes, as the server's work is most of it; processor time is of this process.
"""

import gc
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from statistics import median

import msgspec

from benchmarks.support import NAMES, Row, emit, open_ledger, run
from events.jetstream.connection import Bus
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.read import held
from events.ledger import BATCH, Head, Ledger, Poll
from schemas.changes import CREATED, Change, Scope
from schemas.records import Booking, BookingStatus, Channel, Guest, Money

GROUP = "Publishing"
NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)
BOUND = 0.8
ROUNDS = 75
Message = tuple[str, bytes, Mapping[str, str]]  # subject, data, headers
HEADER_NAMES = ("Nats-Rollup", "Nats-TTL", "Content-Type")  # beside our own: what a message keeps once it is stored


class Spent(msgspec.Struct, frozen=True):
    """Seconds that passed, and of processor time of this process."""

    wall: float
    cpu: float


async def main(smoke: bool) -> None:
    size, rounds = (20, 1) if smoke else (BATCH, ROUNDS)
    async with open_ledger() as (bus, ledger):
        for what, verb, count in (
            ("first sync, without events", None, size - 1),
            ("changes with their events", CREATED, (size - 1) // 2),
        ):
            changes = [change(number, verb) for number in range(count)]
            emit(await row(bus, ledger, what, changes, rounds))


async def row(bus: Bus, ledger: JetStreamLedger, what: str, changes: Sequence[Change], rounds: int) -> Row:
    name = what.partition(",")[0].replace(" ", "-")
    known = Scope("octorate", name, "booking")
    await committed(ledger, known, changes)
    stored = await outgoing(bus, known)
    ours, bare = [], []
    for number in range(rounds):
        ours.append(await committed(ledger, Scope("octorate", f"{name}-{number}", "booking"), changes))
        bare.append(await published(bus, Batch(stored, name, f"bare-{name}-{number}")))
    wall, least = (median(spent.wall for spent in each) / len(stored) for each in (ours, bare))
    cpu, idle = (median(spent.cpu for spent in each) / len(stored) for each in (ours, bare))
    return Row(
        group=GROUP,
        what=f"{len(stored):,} messages in a commit, {what}: messages a second (processor time each)",
        figure=f"{1 / wall:,.0f} ({cpu * 1e6:.1f} µs)",
        limit=f"bare atomic batch {1 / least:,.0f} ({idle * 1e6:.1f} µs)",
        ratio=least / wall,
        bound=BOUND,
        at="least",
    )


async def committed(ledger: Ledger, scope: Scope, changes: Sequence[Change]) -> Spent:
    state = await ledger.load(scope)
    watch = Watch()
    await ledger.commit(state, changes, Head(poll_id="bare", at=NOON, records=len(changes)), Poll("bare", NOON))
    return watch.spent()


async def outgoing(bus: Bus, scope: Scope) -> list[Message]:
    """What a commit has stored, in order."""
    subjects = [f"{NAMES.prefix}.*.{scope.vendor}.{scope.account}.>"]
    found: list[Message] = []
    async for message in held(bus, NAMES.ledger, subjects, every=True):
        kept = {
            name: value for name, value in message.headers.items() if name in HEADER_NAMES or name.startswith("Vendor")
        }
        found.append((message.subject, message.data, kept))
    return found


class Batch:
    """A batch of the same messages in another account, ready to be written."""

    def __init__(self, messages: Sequence[Message], account: str, another: str) -> None:
        name = secrets.token_hex(12)
        marked = [
            (subject.replace(f".{account}.", f".{another}."), data, {**headers, **marks(name, number)})
            for number, (subject, data, headers) in enumerate(messages, 1)
        ]
        self.first, *between, (subject, data, headers) = marked
        fence = {"Nats-Expected-Last-Subject-Sequence": "0", "Nats-Batch-Commit": "1"}
        self.last = (subject, data, {**headers, **fence})
        self.between = b"".join(line(*message) for message in between)


async def published(bus: Bus, batch: Batch) -> Spent:
    watch = Watch()
    await bus.request(*batch.first)
    await bus.client.write(batch.between)
    await bus.publish(*batch.last)
    return watch.spent()


def marks(name: str, number: int) -> Mapping[str, str]:
    return {"Nats-Batch-Id": name, "Nats-Batch-Sequence": str(number)}


def line(subject: str, data: bytes, headers: Mapping[str, str]) -> bytes:
    block = "".join(["NATS/1.0\r\n", *(f"{name}: {value}\r\n" for name, value in headers.items()), "\r\n"]).encode()
    return f"HPUB {subject} {len(block)} {len(block) + len(data)}\r\n".encode() + block + data + b"\r\n"


class Watch:
    """Runs from when it is made. What earlier work left to be collected does not count."""

    def __init__(self) -> None:
        gc.collect()
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def spent(self) -> Spent:
        return Spent(time.perf_counter() - self._wall, time.process_time() - self._cpu)


def change(number: int, verb: str | None) -> Change:
    """A new booking of some 700 bytes."""
    record = Booking(
        id=str(100_000 + number),
        property_id="112696",
        arrival=date(2026, 6, 1 + number % 28),
        departure=date(2026, 7, 1 + number % 28),
        status=BookingStatus.CONFIRMED,
        reference=f"K{number:08X}",
        channel=Channel(id="142", name="Booking", reference=f"{number * 7919:010X}"),
        guest=Guest(
            given_name="Elisa",
            family_name="Sample",
            email=f"guest.{number}@example.com",
            phone="+39 000 000",
            language="IT",
        ),
        guests=2,
        children=number % 3,
        rooms=1,
        room_id="57600",
        room_name="Double Superior",
        product_id="234762",
        total=Money(Decimal(60_000 + number) / 100, "EUR"),
        room_total=Money(Decimal(57_000 + number) / 100, "EUR"),
        paid=Money(Decimal("20.00"), "EUR"),
        payment_status="partially_paid",
        payment_type="creditcard",
        free_cancellation=number % 2 == 0,
        no_show=False,
        booked_at=NOON,
        updated_at=NOON,
    )
    return Change(key=record.id, version=1, verb=verb, before=None, after=record)


if __name__ == "__main__":
    run(main)
