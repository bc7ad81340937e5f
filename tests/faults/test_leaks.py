"""Thousands of polls and deliveries with faults: what an agent holds in a calm moment afterwards is what it held before.

Vendor errors, cut and unreadable replies, refused tokens, silence; receivers that fail, hang up and hang; a bus that is killed.
"""

import asyncio
import itertools
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import msgspec
import pytest
from aiohttp import web

from connectors.sandbox.octorate import OctorateSandbox
from tests.agent.harness import ROOT, octorate, until, webhook, write_config
from tests.faults.counted import Count
from tests.nats import NatsServer, start_nats

ACCOUNTS = 60
CALM = 5  # counts in a calm moment, of which the lowest count
HELD = ("tasks", "objects", "descriptors", "threads", "memory")

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800)]


class Weather:
    """A vendor and a receiver, and how often they fail."""

    def __init__(self) -> None:
        self.hotel = OctorateSandbox(seed=4, limit=10**9, noise=False)
        self.clear = anyio.Event()
        self._rng = random.Random(20260520)
        self._guests = itertools.count(1000)

    async def vendor(self, request: web.BaseRequest) -> web.Response:
        url, content = f"http://vendor{request.raw_path}", await request.read()
        asked = httpx.Request(request.method, url, headers=list(request.headers.items()), content=content)
        chance = 1.0 if self.clear.is_set() else self._rng.random()
        if chance < 0.03 and "/reservation/" in request.path:
            failing = self.hotel.error(500, None, "errSandboxFault"), self.hotel.error(401, "ApiKeyInvalid", "errToken")
            return answer(failing[chance < 0.01])
        reply = self.hotel(asked)
        if chance < 0.05:
            return cut_off(request, reply.content)
        if chance < 0.06:
            await self.clear.wait()
        return answer(reply, spoilt=0.06 < chance < 0.08)

    async def receiver(self, request: web.BaseRequest) -> web.Response:
        chance = 1.0 if self.clear.is_set() else self._rng.random()
        if chance < 0.02:
            await self.clear.wait()
        if chance < 0.04:
            return cut_off(request, b"well")
        return web.Response(status=500 if chance < 0.08 else 200)

    async def change(self) -> None:
        """Each change, while there are faults, is one event of each account."""
        for key in itertools.cycle(list(self.hotel.reservations)):
            await anyio.sleep(0.5)
            if not self.clear.is_set():
                self.hotel.change(key, {"totalGuest": next(self._guests)})

    @asynccontextmanager
    async def storm(self) -> AsyncIterator[None]:
        """Changes and faults, for as long as the block lasts."""
        self.clear = anyio.Event()
        yield
        self.clear.set()


def answer(reply: httpx.Response, *, spoilt: bool = False) -> web.Response:
    body = reply.content[:-1] if spoilt else reply.content
    return web.Response(status=reply.status_code, body=body, content_type="application/json")


def cut_off(request: web.BaseRequest, content: bytes) -> web.Response:
    """The beginning of a reply, and then the connection is reset."""
    assert isinstance(request.transport, asyncio.Transport)
    request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + content)
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def listening(handle: Callable[[web.BaseRequest], Awaitable[web.Response]]) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handle, access_log=None, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


class Counted:
    """The agent's process and what it has told."""

    def __init__(self, config: Path) -> None:
        self._out, self._err = config.with_name("counts"), config.with_name("agent.log")
        command = [sys.executable, "-m", "tests.faults.counted", str(config)]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def told(self) -> Sequence[Count]:
        lines = self._out.read_bytes().splitlines(keepends=True)
        return [msgspec.json.decode(line, type=Count) for line in lines if line.endswith(b"\n")]

    async def has_done(self, polls: int, deliveries: int) -> None:
        """Wait until it has."""

        def enough() -> bool:
            assert self._process.poll() is None, self._err.read_text()
            told = self.told()
            return bool(told) and told[-1].polls >= polls and told[-1].deliveries >= deliveries

        await until(enough, 1500)

    async def held_in_calm(self) -> Count:
        """The least it holds while it polls and nothing fails or changes any more, and what was failing has ended."""
        done = self.told()[-1]
        await self.has_done(done.polls + 2 * ACCOUNTS, done.deliveries)
        first = len(self.told())
        await until(lambda: len(self.told()) >= first + CALM)
        least = {name: min(getattr(each, name) for each in self.told()[first:]) for name in HELD}
        return msgspec.structs.replace(self.told()[-1], **least)

    def log(self) -> str:
        return self._err.read_text()

    def end(self) -> int:
        self._process.terminate()
        return self._process.wait(30)


@asynccontextmanager
async def counted(folder: Path, nats: NatsServer, weather: Weather) -> AsyncIterator[Counted]:
    async with (
        listening(weather.vendor) as vendor,
        listening(weather.receiver) as receiver,
        anyio.create_task_group() as changing,
    ):
        accounts = [octorate(f"hotel-{n}", vendor, accommodations=["112696"]) for n in range(ACCOUNTS)]
        route = webhook("crm", receiver, timeout="1s", retries=["1s"] * 20)
        file = write_config(folder, bus={"url": nats.url}, accounts=accounts, routes=[route])
        changing.start_soon(weather.change)
        agent = Counted(file)
        try:
            yield agent
        finally:
            agent._process.kill()
            agent._process.wait()
        changing.cancel_scope.cancel()


async def test_an_agent_holds_no_more_after_thousands_of_polls_and_deliveries_with_faults(
    tmp_path: Path, torture: bool, measured: Callable[[str, str, str], None]
) -> None:
    polls, deliveries, restarts = (10_000, 10_000, 10) if torture else (400, 800, 1)
    weather = Weather()
    with start_nats(tmp_path / "nats") as nats:
        async with counted(tmp_path, nats, weather) as agent:
            async with weather.storm():
                await agent.has_done(2 * ACCOUNTS, 2 * ACCOUNTS)
                nats.restart()
                await agent.has_done(3 * ACCOUNTS, 3 * ACCOUNTS)
            before = await agent.held_in_calm()
            async with weather.storm():
                for turn in range(1, restarts + 1):
                    done = turn / (restarts + 1)
                    await agent.has_done(before.polls + int(polls * done), before.deliveries + int(deliveries * done))
                    nats.restart()
                await agent.has_done(before.polls + polls, before.deliveries + deliveries)
            after = await agent.held_in_calm()
            assert agent.end() == 0
            assert "Traceback" not in agent.log()
    judge(before, after)
    did = f"{after.polls} polls ({after.failed_polls} failed), {after.deliveries} deliveries ({after.failed_deliveries} failed)"
    grown = {name: getattr(after, name) - getattr(before, name) for name in HELD}
    told = ", ".join(f"{name} {grown[name]:+g}" for name in ("tasks", "descriptors", "threads"))
    caused = f"vendor errors, resets, silence, a failing receiver, {restarts + 1} bus restarts: {did}"
    measured("no leaks", caused, f"{told}, memory {grown['memory']:+.1f} MB of {before.memory:.0f} MB")


def judge(before: Count, after: Count) -> None:
    """Nothing is held for what was done in between; a little comes and goes with the moment."""
    done = after.polls - before.polls + after.deliveries - before.deliveries
    assert after.failed_polls > before.failed_polls + 0.03 * (after.polls - before.polls)
    assert after.failed_deliveries > before.failed_deliveries + 0.03 * (after.deliveries - before.deliveries)
    assert after.tasks <= before.tasks + 12, (before, after)
    assert after.descriptors <= before.descriptors + 12, (before, after)
    assert after.threads <= before.threads, (before, after)
    assert after.objects <= before.objects + 500 + done / 4, (before, after)
    assert after.memory <= before.memory + 8, (before, after)
