"""Whether deliveries last: memory over many of them, behind a dead receiver, and what a hanging receiver costs its neighbours.

The routes' workers run in this process, as in an agent; the server and the receivers are processes of their own.
"""

import gc
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from statistics import median

import anyio
import psutil

from agent.delivering import RouteWorker
from agent.metrics import Metrics
from agent.pulse import Pulse
from agent.receivers import WebhookReceiver
from benchmarks.deliveries import commit, events
from benchmarks.support import NAMES, Row, bus_server, child, emit, open_bus, run
from events.jetstream.attempts import Attempts
from events.jetstream.connection import Bus, beside
from events.jetstream.outbox import RouteQueue
from events.routes import ALL, NOW, Begin, Secrets, Webhook
from events.signing import generate
from events.webhook import WebhookSender
from schemas.envelope import encode
from schemas.facts import Delivered, DeliveryOutcome, Fact
from schemas.settings import Duration, Secret

GROUP = "Soak"
WARM = 0.2  # of the deliveries, after which memory is looked at first
MOST_GROWTH = 10.0  # MB
DEAD_FOR = 30.0  # seconds: long enough for the circuit to open
NEIGHBOURS = 10
LEAST_LEFT = 0.9  # of the healthy routes' throughput, beside one that hangs
WITHIN = 200.0  # seconds for one part, however busy the machine is
PAGE = 2000  # events stored at once


class Routes:
    """Routes and their workers, as many as are asked for, on one bus."""

    def __init__(self, bus: Bus, sender: WebhookSender) -> None:
        self._bus = bus
        self._sender = sender
        self._secret = Secrets([Secret(generate())])
        self._metrics = Metrics("benchmark")
        self._attempts = Attempts(bus, NAMES)
        self._numbers = count()
        self.delivered: Counter[str] = Counter()
        self._news = anyio.Event()

    async def route(self, url: str, concurrency: int, begin: Begin = NOW) -> RouteWorker:
        """A new route; its name is told with its deliveries."""
        target = Webhook(
            url=url, secret=self._secret, timeout=Duration(seconds=30), concurrency=concurrency, allow_private=True
        )
        name = f"r{next(self._numbers)}"
        self._metrics.declare([], [name])
        queue = RouteQueue(self._bus, NAMES, name, [NAMES.events], 40, begin)
        await queue.ensure()
        receiver = WebhookReceiver(target, self._sender)
        return RouteWorker(
            name, receiver, queue, self._bus, NAMES, Pulse(time.monotonic), self._tell, random.Random(1), self._attempts
        )

    @asynccontextmanager
    async def working(self, *workers: RouteWorker) -> AsyncIterator[None]:
        """They work for as long as the block lasts; what hangs is not waited for."""
        async with beside(self._attempts.run), anyio.create_task_group() as tasks:
            for worker in workers:
                tasks.start_soon(worker.run)
            yield
            for worker in workers:
                worker.stop()
            tasks.cancel_scope.deadline = anyio.current_time() + 2

    async def until(self, number: int) -> None:
        """So many events have been delivered by now, over all routes."""
        with anyio.fail_after(WITHIN):
            while self.delivered.total() < number:
                self._news = anyio.Event()
                await self._news.wait()

    def _tell(self, fact: Fact) -> None:
        self._metrics.observe(fact)
        if isinstance(fact, Delivered) and fact.outcome is DeliveryOutcome.DELIVERED:
            self.delivered[fact.route] += 1
            if self.delivered.total() % 50 == 0:
                self._news.set()


def resident() -> float:
    """Megabytes."""
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6


async def publish(bus: Bus, number: int, bodies: Sequence[bytes]) -> None:
    """So many events, some at a time."""
    for start in range(0, number, PAGE):
        await commit(bus, bodies[: min(PAGE, number - start)])


async def lasting(bus: Bus, routes: Routes, url: str, number: int, bodies: Sequence[bytes]) -> None:
    """Memory over many deliveries."""
    worker = await routes.route(url, 64)
    await publish(bus, number, bodies)
    async with routes.working(worker):
        await routes.until(int(number * WARM))
        before = resident()
        await routes.until(number)
    grown(f"memory over {number:,} deliveries, from the first {number * WARM:,.0f} to the last", before)


async def dead(routes: Routes, number: int, seconds: float) -> None:
    """Memory while all that was published waits behind a receiver that refuses connections."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        worker = await routes.route(f"http://127.0.0.1:{nobody.getsockname()[1]}/hook", 16, ALL)
        before = resident()
        async with routes.working(worker):
            await anyio.sleep(seconds)
    grown(f"memory while more than {number:,} events wait behind a dead receiver, {seconds:g} s", before)


def grown(what: str, before: float) -> None:
    growth = resident() - before
    emit(
        Row(
            group=GROUP,
            what=what,
            figure=f"{growth:+.1f} MB",
            limit=f"{MOST_GROWTH:g} MB",
            ratio=round(growth, 1),
            bound=MOST_GROWTH,
            at="most",
        )
    )


async def neighbours(bus: Bus, routes: Routes, url: str, number: int, bodies: Sequence[bytes], rounds: int) -> None:
    """Throughput of healthy routes, alone and beside one whose receiver never answers."""
    alone: list[float] = []
    hung: list[float] = []
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen(64)  # connections are made, and nobody reads them
        silent = f"http://127.0.0.1:{hanging.getsockname()[1]}/hook"
        for each in range(rounds + 1):
            for times, others in ((alone, ()), (hung, (silent,))):
                taken = await _round(bus, routes, [url] * NEIGHBOURS, others, number, bodies)
                if each:
                    times.append(taken)
    ours, limit = (NEIGHBOURS * number / median(times) for times in (hung, alone))
    emit(
        Row(
            group=GROUP,
            what=f"{NEIGHBOURS} routes beside one whose receiver hangs, deliveries a second",
            figure=f"{ours:,.0f}",
            limit=f"alone {limit:,.0f}",
            ratio=round(ours / limit, 3),
            bound=LEAST_LEFT,
            at="least",
        )
    )


async def _round(
    bus: Bus, routes: Routes, healthy: Sequence[str], others: Sequence[str], number: int, bodies: Sequence[bytes]
) -> float:
    """Seconds until the healthy ones have delivered."""
    workers = [await routes.route(url, 16) for url in (*healthy, *others)]
    await publish(bus, number, bodies)
    goal = routes.delivered.total() + len(healthy) * number
    async with routes.working(*workers):
        began = time.perf_counter()
        await routes.until(goal)
        return time.perf_counter() - began


async def main(smoke: bool) -> None:
    """The three of them."""
    number, each, rounds, seconds = (200, 50, 1, 1.0) if smoke else (100_000, 1000, 3, DEAD_FOR)
    bodies = [encode(event) for event in events(PAGE)]
    async with (
        bus_server() as url,
        open_bus(url) as bus,
        child("benchmarks.receiver") as receiver,
        WebhookSender(version="benchmark") as sender,
    ):
        routes = Routes(bus, sender)
        await neighbours(bus, routes, receiver.said, each, bodies, rounds)
        routes.delivered.clear()
        await lasting(bus, routes, receiver.said, number, bodies)
        await dead(routes, number, seconds)


if __name__ == "__main__":
    run(main)
