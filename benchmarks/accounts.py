"""1,000 accounts of 100 records each in one agent: what a poll costs beside its requests, and the memory it takes.

Each is a PowerPro account of 20 courses, 40 enrolments and 40 students in three listings of one page. The agent is the
real process; its processor time over a window is divided by the polls it made in it. The limit is the same listings
fetched with as many of the product's HTTP clients and thrown away.
"""

import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

import anyio
import httpx
import psutil

from benchmarks.fleet import account, fleet
from benchmarks.support import NAMES, Row, bus_server, emit, open_bus, process_cpu, run
from connectors.http import HEADERS, open_http
from connectors.powerpro import PATHS
from connectors.sandbox.powerpro import API_KEY
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError
from events.jetstream.outbox import CONSUMER_NOT_FOUND
from events.jetstream.schedule import CONSUMER
from tests.agent.harness import agent, ready, write_config

MOST_POLLS = 3.0  # times what their requests cost
MOST_MEMORY = 400.0  # MB
EVERY = 12.0  # seconds between two polls of a listing
COURSES = 20
RESOURCES = ("course", "enrolment", "student")
WINDOW = 4.0  # seconds
FETCHES = 300
PATIENCE = 120.0


async def main(smoke: bool) -> None:
    accounts, every, rounds, window = (20, 2.0, 1, 2.0) if smoke else (1000, EVERY, 5, WINDOW)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        async with bus_server() as url, open_bus(url) as bus, fleet({"powerpro": COURSES}) as urls:
            configured = [
                account("powerpro", f"org-{n}", urls["powerpro"], every=dict.fromkeys(RESOURCES, f"{every:g}s"))
                for n in range(accounts)
            ]
            file = write_config(Path(folder), bus={"url": url}, accounts=configured, grace="1s")
            async with agent(file) as process:
                started = time.monotonic()
                await ready(process)
                start = time.monotonic() - started
                await _polled(bus, accounts * len(RESOURCES))
                ours, limits = [], []
                async with _bare(urls["powerpro"], accounts) as bare:
                    for _ in range(rounds):
                        ours.append(await _poll_cost(bus, process.pid, window))
                        limits.append(await bare.request_cost())
                memory = psutil.Process(process.pid).memory_info().rss / 1e6
    poll, request = median(ours), median(limits)
    emit(
        Row(
            group="Many accounts",
            what=f"a poll with {accounts:,} accounts of 100 records, processor time",
            figure=f"{poll * 1e6:,.0f} µs",
            limit=f"its request {request * 1e6:,.0f} µs",
            ratio=round(poll / request, 2),
            bound=MOST_POLLS,
            at="most",
        )
    )
    emit(
        Row(
            group="Many accounts",
            what=f"memory of an agent with {accounts:,} accounts of 100 records",
            figure=f"{memory:,.0f} MB, ready after {start:.1f} s",
            limit=f"{MOST_MEMORY:,.0f} MB",
            ratio=round(memory, 1),
            bound=MOST_MEMORY,
            at="most",
        )
    )


async def _polls(bus: Bus) -> int:
    """How many polls have ended, as the server counts ticks: the agent's own metrics cost it time."""
    try:
        info = await bus.api(f"CONSUMER.INFO.{NAMES.polls}.{CONSUMER}")
    except ApiError as error:
        if error.err_code != CONSUMER_NOT_FOUND:
            raise
        return 0  # an agent is ready a moment before it polls
    return int(info["delivered"]["consumer_seq"]) - int(info["num_ack_pending"])


async def _polled(bus: Bus, times: int) -> None:
    with anyio.fail_after(PATIENCE):
        while await _polls(bus) < times:  # noqa: ASYNC110 - the server tells nobody
            await anyio.sleep(0.2)


async def _poll_cost(bus: Bus, agent: int, window: float) -> float:
    """Seconds of the agent's processor time a poll."""
    polls, cpu = await _polls(bus), process_cpu(agent)
    await anyio.sleep(window)
    return (process_cpu(agent) - cpu) / (await _polls(bus) - polls)


class _Bare:
    """The same listings, read by the product's HTTP clients alone: one for each account, with its connection open."""

    def __init__(self, url: str, clients: Sequence[httpx.AsyncClient], token: str) -> None:
        self._url = url
        self._clients = clients
        self._headers = {"Authorization": f"Bearer {token}"}
        self._turn = 0

    async def connect(self) -> None:
        for _ in self._clients:
            await self._fetch()

    async def request_cost(self) -> float:
        """Seconds of our processor time for a listing that is fetched and thrown away."""
        before = process_cpu()
        for _ in range(FETCHES):
            await self._fetch()
        return (process_cpu() - before) / FETCHES

    async def _fetch(self) -> None:
        http = self._clients[self._turn % len(self._clients)]
        path = PATHS[RESOURCES[self._turn % len(RESOURCES)]]
        self._turn += 1
        request = httpx.Request("GET", f"{self._url}{path}?page=1", headers={**HEADERS, **self._headers})
        reply = await http.send(request, stream=True)
        async for _ in reply.aiter_raw():
            pass
        await reply.aclose()
        assert reply.status_code == 200


@asynccontextmanager
async def _bare(url: str, accounts: int) -> AsyncIterator[_Bare]:
    async with AsyncExitStack() as stack:
        transports = [await stack.enter_async_context(open_http()) for _ in range(accounts)]
        clients = [httpx.AsyncClient(transport=transport) for transport in transports]
        login = await clients[0].post(f"{url}/auth/login", headers={"X-API-Key": API_KEY})
        bare = _Bare(url, clients, login.json()["access_token"])
        await bare.connect()
        yield bare


if __name__ == "__main__":
    run(main)
