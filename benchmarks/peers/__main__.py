"""Rivals doing the same job as Vendorwire, in turns with it: `make bench-peers`.

Finding what changed among bookings of which none did, and delivering signed webhooks from JetStream. Each rival is written
as its own documentation advises, in its fastest reasonable way, and is a process of its own.
"""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from benchmarks.deliveries import Route, events
from benchmarks.peers import INSTALLED, PYTHON
from benchmarks.support import Child, Row, bus_server, child, emit, finished, median, open_bus, open_ledger, run, spent
from benchmarks.vendor import Account, Site, accounts, served
from events.jetstream.connection import Bus
from events.routes import Secrets, Webhook
from events.signing import generate
from events.webhook import WebhookSender
from schemas.envelope import CloudEvent, encode
from schemas.settings import Secret

PAGES = (100, 1000)
IN_FLIGHT = 64
POLLERS = {  # module → its name, and how many times as fast we must be
    "airbyte": ("airbyte-cdk, hashes in SQLite", 15.0),
    "singer": ("singer-sdk, hashes in SQLite", 15.0),
    "loadtool": ("dlt into duckdb, scd2", 15.0),
    "plain": ("a plain script with httpx, json and SQLite", 6.0),
}
DELIVERERS = {"fast_stream": "FastStream with httpx", "nats_sink": "nats-sinks"}


class Found(msgspec.Struct):
    """A rival's answer to a poll."""

    changes: int
    processor: float


class Delivered(msgspec.Struct):
    """A rival's answer when it has delivered everything."""

    processor: float


async def main(smoke: bool) -> None:
    if not INSTALLED:
        raise SystemExit("the rivals are not installed: `make bench-peers` installs and runs them")
    records, number, rounds = (1000, 100, 1) if smoke else (10_000, 1000, 3)
    async with served(records) as site, open_ledger() as (bus, ledger), accounts(bus, ledger, site, PAGES) as opened:
        for account, page in zip(opened, PAGES, strict=True):
            for row in await polls(site, account, page, rounds):
                emit(row)
    for row in await deliveries(number, rounds):
        emit(row)


async def polls(site: Site, account: Account, page: int, rounds: int) -> list[Row]:
    """Unchanged polls, everyone in turn; then a hundredth changes, and everyone must find just that."""
    async with AsyncExitStack() as stack:
        rivals = {name: await stack.enter_async_context(_poller(name, site, page)) for name in POLLERS}
        await account.poll()
        await account.poll()
        for rival in rivals.values():
            await _ask(rival, site.records)
        ours: list[float] = []
        theirs: dict[str, list[float]] = {name: [] for name in rivals}
        for _ in range(rounds):
            ours.append(await spent(account.poll))
            for name, rival in rivals.items():
                theirs[name].append(await _ask(rival, 0))
        await site.change(0.01, page)
        for rival in rivals.values():
            await _ask(rival, site.records // 100)
    rate = site.records / median(ours)
    return [_poll_row(name, page, rate, site.records / median(taken)) for name, taken in theirs.items()]


def _poll_row(name: str, page: int, ours: float, theirs: float) -> Row:
    told, times = POLLERS[name]
    return Row(
        group="Rivals: unchanged poll",
        what=f"pages of {page}, records a processor second",
        figure=f"{ours:,.0f}",
        limit=f"{told}: {theirs:,.0f}",
        ratio=ours / theirs,
        bound=times,
        at="least",
    )


@asynccontextmanager
async def _poller(name: str, site: Site, page: int) -> AsyncIterator[Child]:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        arguments = ("--vendor", site.url, "--page", str(page), "--folder", folder)
        async with child(f"benchmarks.peers.{name}", *arguments, python=str(PYTHON)) as process:
            yield process


async def _ask(rival: Child, expected: int) -> float:
    found = msgspec.json.decode(await rival.ask("poll", within=60.0), type=Found)
    if found.changes != expected:
        raise RuntimeError(f"a rival found {found.changes} changes where there were {expected}")
    return found.processor


async def deliveries(number: int, rounds: int) -> list[Row]:
    """The same events to the same receiver, everyone in turn, over streams of the same kind."""
    secret, told = generate(), list(events(number))
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in DELIVERERS}
    async with (
        bus_server() as url,
        open_bus(url) as bus,
        child("benchmarks.receiver") as receiver,
        WebhookSender(version="benchmark") as sender,
    ):
        target = Webhook(url=receiver.said, secret=Secrets([Secret(secret)]), concurrency=IN_FLIGHT, allow_private=True)
        route = Route(bus, sender, target, [encode(event) for event in told])
        for turn in range(rounds):
            await route.prepare()
            ours.append(await spent(route.work))
            for name, taken in theirs.items():
                stream = f"{name}-{turn}"
                await _stream(bus, stream, told)
                taken.append(await _deliver(name, url, stream, receiver.said, secret, number))
    rate = number / median(ours)
    return [_delivery_row(name, rate, number / median(taken)) for name, taken in theirs.items()]


def _delivery_row(name: str, ours: float, theirs: float) -> Row:
    return Row(
        group="Rivals: deliveries",
        what=f"{IN_FLIGHT} in flight, deliveries a processor second",
        figure=f"{ours:,.0f}",
        limit=f"{DELIVERERS[name]}: {theirs:,.0f}",
        ratio=ours / theirs,
        bound=1.0,
        at="least",
    )


async def _stream(bus: Bus, name: str, told: Sequence[CloudEvent]) -> None:
    """A stream of its own that holds the events."""
    await bus.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.event"], "num_replicas": 1})
    for event in told:
        headers = {"Nats-Msg-Id": event.id, "Content-Type": "application/cloudevents+json"}
        await bus.publish_plain(f"{name}.event", encode(event), headers)
    await bus.ping()


async def _deliver(name: str, bus: str, stream: str, receiver: str, secret: str, number: int) -> float:
    options = {"bus": bus, "stream": stream, "subject": f"{stream}.event", "receiver": receiver, "secret": secret}
    arguments = [f"--{option}={value}" for option, value in options.items()]
    arguments += [f"--number={number}", f"--in-flight={IN_FLIGHT}"]
    answer = await finished(f"benchmarks.peers.{name}", *arguments, python=str(PYTHON), within=60.0)
    return msgspec.json.decode(answer, type=Delivered).processor


if __name__ == "__main__":
    run(main)
