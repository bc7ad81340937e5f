"""Agents as real processes, and what surrounds them: vendors, receivers, and a reader of the bus.

async with serve(sandbox) as vendor, receiving() as receiver:
    file = write_config(tmp_path, accounts=[octorate("hotel", vendor)], routes=[webhook("crm", receiver.url)])
    async with agent(file) as process:
        ...
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import anyio
import anyio.to_thread
import httpx
from aiohttp import web

from agent.app import App
from agent.config import Config
from connectors.sandbox.octorate import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, OctorateSandbox
from events.jetstream.connection import Bus, connect
from events.jetstream.options import BusOptions
from events.jetstream.read import held
from events.jetstream.schedule import CONSUMER
from events.signing import generate
from events.subjects import Names
from schemas import envelope
from schemas.envelope import CloudEvent
from schemas.facts import Fact, Polled

NAMES = Names()
PATIENCE = 30.0  # seconds for what should take one or two: the machine may be busy
SECRET = generate()
COMMAND = [sys.executable, "-m", "agent.cli"]
ROOT = Path(__file__).parents[2]

Wire = dict[str, Any]
F = TypeVar("F", bound=Fact)


class Process:
    """An agent, its log and its HTTP address."""

    def __init__(
        self,
        config: Path,
        log: Path,
        *options: str,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._log = log
        self._skip = log.stat().st_size if log.exists() else 0  # what an agent before it wrote there
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [*command, "--config", str(config), "run", *options],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            )
        self.pid = self._process.pid

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_bytes()[self._skip :].decode()

    @property
    def ended(self) -> int | None:
        """The exit status, once it has ended."""
        return self._process.poll()

    def tell(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for it."""
        self._process.kill()
        self._process.wait()

    async def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Ask it to end; its exit status and the seconds it took."""
        started = time.monotonic()
        self.tell(number)
        return await self.exit(), time.monotonic() - started

    async def exit(self) -> int:
        """Wait for its end; the exit status."""
        status: int = await anyio.to_thread.run_sync(lambda: self._process.wait(PATIENCE))
        return status

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page it serves."""
        url = f"http://{await self.address()}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as reply:
            return reply.status, await reply.text()

    async def address(self) -> str:
        """Where it serves HTTP, from its log."""
        await until(lambda: "listening on" in self.log or self.ended is not None)
        assert "listening on" in self.log, self.log
        return self.log.rpartition("listening on ")[2].split()[0].strip('"}')  # also where each line is JSON

    async def is_ready(self) -> bool:
        return (await self.get("/readyz"))[0] == 200

    async def metric(self, name: str) -> float:
        """The value of a metric by its name and labels as in the text format; 0 where there is none."""
        for line in (await self.get("/metrics"))[1].splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        return 0.0


@asynccontextmanager
async def agent(
    config: Path, log: str = "agent.log", *options: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    """A running agent, not necessarily ready yet; killed at the end if it still runs. `env` is added to this process's own."""
    process = Process(config, config.with_name(log), *options, env=env)
    try:
        yield process
    finally:
        process.kill()


class Inside:
    """An agent in this process, and the facts it told."""

    def __init__(self, app: App, facts: list[Fact]) -> None:
        self.app = app
        self.facts = facts

    def told(self, kind: type[F]) -> list[F]:
        """The facts of one kind, in order."""
        return [fact for fact in self.facts if isinstance(fact, kind)]


@asynccontextmanager
async def inside(config: Config) -> AsyncIterator[Inside]:
    """An agent in this process that has read each account's bookings once; it ends in good order."""
    facts: list[Fact] = []
    app = App(config, listeners=[facts.append])
    async with anyio.create_task_group() as group:
        group.start_soon(app.run)
        agent = Inside(app, facts)
        wanted = {account.name for account in config.accounts}
        await until(
            lambda: {fact.scope.account for fact in agent.told(Polled) if fact.scope.resource == "booking"} >= wanted
        )
        yield agent
        app.stop()


async def ready(process: Process) -> None:
    """Wait until the agent says it is ready."""

    async def asked() -> bool:
        assert process.ended is None, process.log
        return await process.is_ready()

    await until(asked)


async def synced(process: Process, account: str = "hotel") -> None:
    """Wait until an account's bookings have been read once: what changes from now on is told."""
    stored = f'vendorwire_snapshot_records{{account="{account}",resource="booking",vendor="octorate"}}'

    async def asked() -> bool:
        assert process.ended is None, process.log
        return await process.metric(stored) > 0

    await until(asked)


def write_config(
    folder: Path,
    *,
    bus: Wire,
    accounts: Sequence[Wire],
    routes: Sequence[Wire] = (),
    name: str = "config.yaml",
    **rest: Any,
) -> Path:
    """A configuration file. JSON is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    told = {"bus": bus, "http": {"listen": "127.0.0.1:0"}, "accounts": list(accounts), "routes": list(routes), **rest}
    file.write_text(json.dumps(told))
    return file


def octorate(name: str, vendor: str, **rest: Any) -> Wire:
    """An account at a served sandbox, polled every second."""
    return {
        "vendor": "octorate",
        "name": name,
        "base_url": vendor,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "refresh_token": REFRESH_TOKEN,
        "every": {"booking": "1s"},
        "budget": {"requests": 1_000_000, "per": "1m"},
        **rest,
    }


def hotel(seed: int = 3) -> OctorateSandbox:
    """A vendor whose quota is never used up."""
    return OctorateSandbox(seed=seed, limit=10**9)


class _Slow(httpx.AsyncByteStream):
    """A reply that takes its time; `ended` is told when it is over, however it ends."""

    def __init__(self, content: bytes, seconds: float, ended: Callable[[], None]) -> None:
        self._content = content
        self._seconds = seconds
        self._ended = ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await anyio.sleep(self._seconds)
        yield self._content

    async def aclose(self) -> None:
        self._ended()


class Vendor:
    """One hotel, slow to answer, served to each agent at an address of its own, which tells who asks, and when."""

    def __init__(self, seconds: float) -> None:
        self.sandbox = hotel()
        self.seconds = seconds
        self.asked: dict[str, list[list[float]]] = defaultdict(list)  # agent → begin and end of each of its requests

    def to(self, who: str) -> Callable[[httpx.Request], httpx.Response]:
        def answer(request: httpx.Request) -> httpx.Response:
            response = self.sandbox(request)
            if "/reservation/" not in request.url.path:
                return response
            span = [time.monotonic(), float("inf")]
            self.asked[who].append(span)
            slow = _Slow(response.content, self.seconds, lambda: span.__setitem__(1, time.monotonic()))
            return httpx.Response(response.status_code, headers=response.headers, stream=slow)

        return answer

    def overlaps(self) -> list[tuple[list[float], list[float]]]:
        """Requests of two agents that were under way at the same time."""
        pairs = itertools.combinations([(who, span) for who, spans in self.asked.items() for span in spans], 2)
        return [(one, two) for (a, one), (b, two) in pairs if a != b and one[0] < two[1] and two[0] < one[1]]

    def times(self) -> int:
        """How many requests there were."""
        return sum(len(spans) for spans in self.asked.values())

    def longest_gap(self, since: float) -> float:
        """Seconds without any request, from `since` until now."""
        begins = sorted(span[0] for spans in self.asked.values() for span in spans if span[0] > since)
        return max(b - a for a, b in itertools.pairwise([since, *begins, time.monotonic()]))


def webhook(name: str, url: str, **rest: Any) -> Wire:
    """A route of all bookings to a receiver on this machine."""
    return {
        "name": name,
        "events": ["booking.*"],
        "webhook": {"url": url, "secret": SECRET, "allow_private": True, **rest},
    }


class Got:
    """A webhook as it came in."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.at = time.monotonic()
        self.id = headers["webhook-id"]
        self.signed_at = int(headers["webhook-timestamp"])
        self.attempt = int(headers["vendorwire-attempt"])
        self.event = envelope.decode(body)
        self.key = self.event.subject
        self.version = self.event.version


Answer = Callable[[Got], web.Response | Awaitable[web.Response]]


def fine(_: Got) -> web.Response:
    return web.Response()


class Receiver:
    """A webhook endpoint; `answer` says what it answers, `got` holds every request, answered or not."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answer: Answer = fine
        self.url = ""

    def of(self, key: object) -> list[Got]:
        """What came about one record."""
        return [each for each in self.got if each.key == str(key)]

    async def handle(self, request: web.Request) -> web.Response:
        got = Got({name.lower(): value for name, value in request.headers.items()}, await request.read())
        self.got.append(got)
        answer = self.answer(got)
        return answer if isinstance(answer, web.Response) else await answer


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


@asynccontextmanager
async def reading(url: str, **how: Any) -> AsyncIterator[Bus]:
    """The bus, for looking at what an agent did there."""
    async with connect(BusOptions(urls=[url], inbox_prefix="_INBOX.test", **how), lambda _: None) as bus:
        with anyio.fail_after(PATIENCE):
            await bus.ready()
        yield bus


async def events_on(bus: Bus) -> list[CloudEvent]:
    """Every event in the stream, in order."""
    info = await bus.api(f"STREAM.INFO.{NAMES.ledger}", {"subjects_filter": NAMES.events})
    if not info["state"].get("subjects"):
        return []
    return [envelope.decode(each.data) async for each in held(bus, NAMES.ledger, [NAMES.events], every=True)]


async def ticks_taken(bus: Bus) -> int:
    """How often a poll was handed to an agent."""
    info = await bus.api(f"CONSUMER.INFO.{NAMES.polls}.{CONSUMER}")
    return int(info["delivered"]["consumer_seq"])


async def until(true: Callable[[], bool | Awaitable[bool]], within: float = PATIENCE) -> float:
    """Wait for a condition; the seconds it took. Fails when they are more than `within`."""
    started = time.monotonic()
    while True:
        answer = true()
        if answer if isinstance(answer, bool) else await answer:
            return time.monotonic() - started
        assert time.monotonic() - started < within, f"not within {within:g} s"
        await anyio.sleep(0.05)
