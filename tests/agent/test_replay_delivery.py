"""Replays as the receiver sees them: beside what is live, at the route's rate, in order, and after the worker's death."""

import itertools
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from aiohttp import web

from agent.app import ACK_MARGIN
from events.jetstream import streams
from events.jetstream.connection import Bus
from events.jetstream.ledger import KEY
from events.jetstream.outbox import TAKE_OVER, DeadLetter, RouteQueue, dead_letters
from events.jetstream.pull import Puller
from tests.agent.command import vendorwire
from tests.agent.harness import (
    NAMES,
    Got,
    Process,
    Receiver,
    agent,
    octorate,
    reading,
    ready,
    receiving,
    until,
    webhook,
    write_config,
)
from tests.agent.past import SCOPE, commit, house
from tests.nats import start_nats

pytestmark = pytest.mark.anyio


class Setting:
    """A bus, a receiver, and agents that only deliver."""

    def __init__(self, bus: Bus, url: str, receiver: Receiver, folder: Path) -> None:
        self.bus = bus
        self.receiver = receiver
        self._url = url
        self._folder = folder
        self._numbers = itertools.count()

    def configure(self, **route: Any) -> Path:
        """`events` and such as a route has them; the rest is the webhook's."""
        own = {name: route.pop(name) for name in ("events", "from", "order") if name in route}
        crm = webhook("crm", self.receiver.url, **route) | {"events": ["property.*"], **own}
        account = octorate("hotel", "https://api.example.com")
        return write_config(
            self._folder, bus={"url": self._url}, accounts=[account], routes=[crm], name="vendorwire.yaml"
        )

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Process]:
        """One that is ready."""
        file = self._folder / "vendorwire.yaml"
        async with agent(file, f"{next(self._numbers)}.log", "--roles", "route") as process:
            await ready(process)
            yield process

    async def replay(self, *words: str) -> None:
        """`vendorwire replay crm` of the last hour."""
        command = partial(vendorwire, "replay", "crm", "--since", "1h", "--rate", "1000000", *words, cwd=self._folder)
        ran = await anyio.to_thread.run_sync(command)
        assert ran.status == 0, ran

    async def got(self, number: int, within: float = 30) -> list[Got]:
        await until(lambda: len(self.receiver.got) >= number, within)
        return self.receiver.got


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    with start_nats(tmp_path / "nats") as nats:
        async with reading(nats.url) as bus, receiving() as receiver:
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            yield Setting(bus, nats.url, receiver, tmp_path)


async def test_each_replay_is_delivered_again_under_the_same_id_and_marked(setting: Setting) -> None:
    setting.configure()
    async with setting.agent():
        await commit(setting.bus, house("a"), house("b"))
        await setting.got(2)
        for times in (1, 2):
            await setting.replay()
            await setting.got(2 + 2 * times)
    live, again = setting.receiver.got[:2], setting.receiver.got[2:]
    assert {got.id for got in live} == {got.id for got in again}
    assert [got.event.replay for got in live + again] == [False] * 2 + [True] * 4
    assert {got.attempt for got in again} == {1}
    assert [got.event.data for got in again if got.key == "a"] == [got.event.data for got in live if got.key == "a"] * 2


async def test_what_is_replayed_while_no_agent_runs_waits_for_one(setting: Setting) -> None:
    setting.configure()
    await commit(setting.bus, house("a"), house("b"))
    await setting.replay()
    async with setting.agent():
        await setting.got(2)
    assert sorted((got.key, got.event.replay) for got in setting.receiver.got) == [("a", True), ("b", True)]


async def test_a_replay_keeps_to_the_rate_of_its_route(setting: Setting) -> None:
    setting.configure(rate=20)
    await commit(setting.bus, *(house(str(number)) for number in range(30)))
    await setting.replay()
    async with setting.agent():
        got = await setting.got(30)
    assert got[-1].at - got[0].at > 0.9 * 29 / 20


async def test_a_long_replay_does_not_hold_up_what_is_live(setting: Setting) -> None:
    async def slow(_: Got) -> web.Response:
        await anyio.sleep(0.05)
        return web.Response()

    setting.receiver.answer = slow
    setting.configure(concurrency=2)
    await commit(setting.bus, *(house(str(number)) for number in range(400)))
    async with setting.agent():
        await setting.replay()
        await setting.got(50)
        await commit(setting.bus, house("live"))
        # its turn comes after the few that were taken ahead; it would take longer had the agent let go of the route
        await until(lambda: bool(setting.receiver.of("live")), within=TAKE_OVER - 1)
        assert len(setting.receiver.got) < 300


async def test_a_records_events_are_replayed_in_their_order(setting: Setting) -> None:
    rng = random.Random(5)

    async def uneven(_: Got) -> web.Response:
        await anyio.sleep(rng.uniform(0, 0.03))
        return web.Response(status=500 if rng.random() < 0.1 else 200)

    setting.receiver.answer = uneven
    setting.configure(retries=["100ms"] * 20)
    for version in range(1, 11):
        await commit(setting.bus, *(house(str(key), "modified", version) for key in range(8)))
    await setting.replay()
    async with setting.agent():
        await until(lambda: len({(got.key, got.version) for got in setting.receiver.got}) == 80)
    for key in range(8):
        versions = [got.version for got in setting.receiver.of(key)]
        assert versions == sorted(versions)


async def test_a_new_route_may_begin_in_the_past(setting: Setting) -> None:
    setting.configure(**{"from": "all"})
    await commit(setting.bus, house("a"), house("b"))
    async with setting.agent():
        await setting.got(2)
    assert [got.event.replay for got in setting.receiver.got] == [False, False]


async def test_an_event_whose_worker_dies_in_its_last_attempt_is_one_dead_letter(setting: Setting) -> None:
    setting.configure(timeout="1s", retries=["200ms"])
    async with setting.agent() as first:

        def answer(got: Got) -> web.Response:
            if got.attempt == 2 and first.ended is None:
                os.kill(first.pid, signal.SIGKILL)
            return web.Response(status=500)

        setting.receiver.answer = answer
        await commit(setting.bus, house("a"))
        await first.exit()
    assert [got.attempt for got in setting.receiver.got] == [1, 2]
    assert await letters(setting.bus) == []
    before = datetime.now(UTC)
    async with setting.agent():
        await until(lambda: buried(setting.bus), within=40)
        assert [got.attempt for got in setting.receiver.got] == [1, 2, 2]
        [letter] = await letters(setting.bus)
    assert (letter.route, letter.reason, letter.status, letter.attempts) == ("crm", "answered 500", "500", 2)
    assert (letter.event_id, letter.record) == (setting.receiver.got[0].id, "octorate/hotel/property/a")
    assert letter.failed_at >= before.timestamp()


async def letters(bus: Bus) -> list[DeadLetter]:
    return [letter async for letter in dead_letters(bus, NAMES)]


async def buried(bus: Bus) -> bool:
    return bool(await letters(bus))


async def test_replays_find_their_way_from_an_idle_agent_to_the_one_that_works_the_route(setting: Setting) -> None:
    file = setting.configure(timeout="1s")
    queue = RouteQueue(setting.bus, NAMES, "crm", ["vendorwire.event.*.*.property.*"], ACK_MARGIN + 1)
    await queue.ensure()
    await commit(setting.bus, house("live"))
    async with queue.events() as events, anyio.create_task_group() as working:
        [live] = await events.take(1)
        await live.ack()
        working.start_soon(stay, events)
        async with agent(file, "idle.log", "--roles", "route") as process:
            await ready(process)
            await setting.replay()
            await anyio.sleep(1)  # the idle one has been handed the replay
            async with queue.replays() as replays:
                working.start_soon(stay, replays)
                with anyio.fail_after(20):
                    while not (found := await replays.take(1)):
                        pass
        assert found[0].headers[KEY] == f"{SCOPE}/live"
        assert setting.receiver.got == []
        working.cancel_scope.cancel()


async def stay(puller: Puller) -> None:
    while True:
        await puller.stay()
        await anyio.sleep(1)
