"""What a vendor's webhook does: one poll soon, however many call, whoever they are, and whatever the bus does."""

import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import anyio
import anyio.to_thread
import pytest

from agent import signals
from agent.configfile import load
from connectors.errors import Misconfigured
from connectors.sandbox.serve import serve
from events.jetstream.connection import Bus
from schemas.settings import Secret
from tests.agent.command import vendorwire
from tests.agent.harness import (
    Process,
    agent,
    events_on,
    hotel,
    octorate,
    reading,
    ready,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.nats import NatsServer
from tests.polled import Desk

pytestmark = pytest.mark.anyio

WORD = "canary-hint/with+signs"
HOOK = "/hooks/octorate/hotel/canary-hint%2Fwith%2Bsigns"


class There:
    """Agents whose accounts are polled every hour, unless a hint comes."""

    def __init__(self) -> None:
        self.fake = hotel()
        self.agents: list[Process] = []
        self.bus: Bus
        self.folder: Path
        self.http: aiohttp.ClientSession

    async def call(self, path: str = HOOK, agent: int = 0, **how: object) -> tuple[int, str]:
        """Status and body of the answer to a call of a hook."""
        url = f"http://{await self.agents[agent].address()}{path}"
        async with self.http.post(url, **how) as reply:  # type: ignore[arg-type]
            return reply.status, await reply.text()

    async def counted(self, outcome: str, account: str = "hotel") -> float:
        """So many hints, at all agents."""
        name = f'vendorwire_hints_total{{account="{account}",outcome="{outcome}",vendor="octorate"}}'
        return sum([await each.metric(name) for each in self.agents])

    async def is_counted(self, outcome: str, hints: int) -> bool:
        return await self.counted(outcome) == hints

    async def is_told(self, metric: str, value: float) -> bool:
        return await self.agents[0].metric(metric) == value

    def polls(self) -> int:
        """How often the bookings of the first property were asked for."""
        asked = ("type", "MODIFIED_BETWEEN")
        return sum(seen.path.endswith("/reservation/112696") and asked in seen.query for seen in self.fake.seen)

    async def has_told(self, *keys: object) -> bool:
        return {str(key) for key in keys} <= {event.subject for event in await events_on(self.bus)}

    async def command(self, *words: str) -> str:
        """A command's output; it ends well."""
        ran = await anyio.to_thread.run_sync(lambda: vendorwire(*words, "--config", "config.yaml", cwd=self.folder))
        assert (ran.status, WORD in ran.out + ran.err) == (0, False), ran
        return ran.out


@asynccontextmanager
async def there(
    folder: Path, nats: NatsServer, *, agents: int = 1, routes: tuple[Mapping[str, object], ...] = ()
) -> AsyncIterator[There]:
    scene = There()
    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(serve(scene.fake))
        scene.bus = await stack.enter_async_context(reading(nats.url))
        scene.http = await stack.enter_async_context(aiohttp.ClientSession())
        accounts = [
            octorate("hotel", vendor, every={"booking": "1h"}, hint_secret=WORD),
            octorate("inn", vendor, every={"booking": "1h"}),
        ]
        file = write_config(folder, bus={"url": nats.url}, accounts=accounts, routes=[dict(route) for route in routes])
        scene.folder = folder
        for number in range(agents):
            scene.agents.append(await stack.enter_async_context(agent(file, f"{number}.log")))
        for each in scene.agents:
            await ready(each)
            await synced(each)
            await synced(each, "inn")
        scene.fake.seen.clear()
        yield scene


async def test_a_change_at_the_vendor_is_delivered_within_a_second_though_it_is_polled_every_hour(
    tmp_path: Path, nats: NatsServer
) -> None:
    async with receiving() as crm, there(tmp_path, nats, routes=(webhook("crm", crm.url),)) as scene:
        public = f"http://{await scene.agents[0].address()}"
        said = await scene.command("authorize", "hotel", "--subscribe", public)
        assert said.startswith(f"octorate calls {public}/hooks/octorate/hotel/*** from now on: RESERVATION_CREATED, ")
        assert len(scene.fake.subscriptions.by_event) == 4
        assert '"act":"subscribe"' in await scene.command("audit", "--json")
        took = []
        for _ in range(2):
            started = time.monotonic()
            key = scene.fake.add()["id"]
            await until(lambda key=key: bool(crm.of(key)), 10)  # type: ignore[misc]
            took.append(time.monotonic() - started)
        assert took[0] < 1
        assert took[1] < 8  # the second comes within 5 s of the first
        assert [got.event.type for got in crm.got] == ["booking.created"] * 2


async def test_a_hook_is_subscribed_once_moved_with_its_secret_and_never_taken_from_another() -> None:
    desk, address = Desk(hint_secret=Secret(WORD)), "https://example.com/hooks/octorate/hotel/"
    subscribe = partial(desk.connector.subscribe, desk.api, address)  # type: ignore[attr-defined]
    kinds = [f"RESERVATION_{what}" for what in ("CREATED", "CHANGE", "CANCELLED", "CONFIRMED")]
    assert await subscribe(WORD) == kinds
    assert await subscribe(WORD) == []
    subscribed = desk.sandbox.subscriptions.by_event
    assert {each["endpoint"] for each in subscribed.values()} == {f"https://example.com{HOOK}"}
    assert await subscribe("another") == kinds
    assert {each["endpoint"] for each in subscribed.values()} == {f"{address}another"}
    subscribed["RESERVATION_CHANGE"]["endpoint"] = "https://example.com/of-another"
    with pytest.raises(Misconfigured, match="calls another address for RESERVATION_CHANGE: end that") as refused:
        await subscribe(WORD)
    assert "example.com" not in str(refused.value)


async def test_of_a_thousand_calls_at_two_agents_one_makes_a_poll_and_one_more_follows_the_last(
    tmp_path: Path, nats: NatsServer
) -> None:
    async with there(tmp_path, nats, agents=2) as scene:
        first = scene.fake.add()["id"]
        slowest, started = 0.0, time.monotonic()

        async def calls(agent: int) -> None:
            nonlocal slowest
            for _ in range(100):
                begun = time.monotonic()
                assert await scene.call(agent=agent, data=b'{"reference": "1"}') == (200, "")
                slowest = max(slowest, time.monotonic() - begun)

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(calls, number % 2)
        last = scene.fake.add()["id"]
        await scene.call()
        await until(lambda: scene.has_told(first, last), 12)
        took = time.monotonic() - started
        assert 2 <= scene.polls() <= 1 + took / 5
        assert slowest < 1, "an answer waits for nothing, though ten call at once"

        async def all_counted() -> bool:
            return await scene.counted("accepted") + await scene.counted("absorbed") == 1001

        await until(all_counted, 12)
        assert await scene.counted("accepted") <= 1 + (time.monotonic() - started) / 5
        assert scene.polls() <= 1 + (time.monotonic() - started) / 5


async def test_whoever_does_not_know_the_secret_learns_nothing(tmp_path: Path, nats: NatsServer) -> None:
    async with there(tmp_path, nats) as scene:
        nowhere = await scene.call("/nowhere")
        paths = (
            *("/hooks/octorate/hotel/wrong", "/hooks/octorate/nobody/wrong", "/hooks/octorate/inn/wrong"),
            *("/hooks/octorate/hotel/", "/hooks/ipro/hotel/canary-hint%2Fwith%2Bsigns", f"{HOOK}x", f"{HOOK}%00"),
            *(
                "/hooks/octorate/inn/canary-hint%2Fwith%2Bsigns",
                "/hooks/octorate/%F0%9F%8F%A8/%C3%A9",
                "/hooks/octorate",
            ),
        )
        assert {await scene.call(path) for path in paths} == {nowhere} == {(404, '{"error":"not found"}')}
        assert (await scene.call(data=bytes(70_000)))[0] == 413
        assert await scene.counted("refused", account="") == 7
        assert await scene.counted("accepted") + await scene.counted("absorbed") == 0
        assert scene.polls() == 0
        assert await scene.call(data=b'{"content": "\xff{{{') == (200, "")  # it is not read
        await until(lambda: scene.polls() == 1, 5)
        page = (await scene.agents[0].get("/metrics"))[1]
        assert "nobody" not in page
        assert "canary" not in page + scene.agents[0].log


async def test_a_hint_is_taken_at_once_while_the_bus_hangs_and_followed_when_it_is_back(
    tmp_path: Path, nats: NatsServer
) -> None:
    async with there(tmp_path, nats) as scene:
        key = scene.fake.add()["id"]
        for harm, mend in ((nats.pause, nats.resume), (nats.stop, nats.start)):
            harm()
            started = time.monotonic()
            assert await scene.call() == (200, "")
            assert time.monotonic() - started < 0.5
            await anyio.sleep(0.5)
            assert not scene.polls()
            mend()
            await scene.bus.ready()
            await until(lambda: scene.polls() > 0, 15)
            scene.fake.seen.clear()
        await until(lambda: scene.has_told(key), 5)
        assert scene.agents[0].ended is None
        await scene.agents[0].end(signal.SIGTERM)
        assert "Traceback" not in scene.agents[0].log


async def test_a_hint_asks_nothing_of_a_vendor_that_has_asked_for_patience_nor_of_a_paused_account(
    tmp_path: Path, nats: NatsServer
) -> None:
    async with there(tmp_path, nats) as scene:
        await signals.pause(scene.bus, load(tmp_path / "config.yaml"), "hotel", by="me")
        paused = 'vendorwire_account_paused{account="hotel",vendor="octorate"}'
        await until(lambda: scene.is_told(paused, 1), 5)
        await scene.call()
        await until(lambda: scene.is_counted("accepted", 1), 5)
        await anyio.sleep(0.5)
        assert not scene.polls()
        await signals.resume(scene.bus, load(tmp_path / "config.yaml"), "hotel")
        await until(lambda: scene.polls() == 1, 5)  # whatever was hinted at is read now
        scene.fake.fail(kind="ApiQuotaException", match="/reservation/", times=100)
        await scene.call()
        throttled = 'vendorwire_polls_total{account="hotel",outcome="throttled",resource="booking",vendor="octorate"}'
        await until(lambda: scene.is_told(throttled, 1), 10)
        scene.fake.heal()
        scene.fake.seen.clear()
        await scene.call()
        await until(lambda: scene.is_counted("absorbed", 1), 8)
        assert not scene.polls()
