"""No task of an agent dies alone: the process ends with a failure, so that whatever runs it starts it again."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from agent.app import App
from agent.config import Config
from agent.configfile import load
from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.serve import serve
from schemas.facts import BusState, Delivered, Fact, Fresh, Polled, RouteState
from tests.agent.harness import Receiver, hotel, octorate, receiving, until, webhook, write_config
from tests.nats import NatsServer

# What a task leaves behind that is cancelled behind its owner's back ends with the process; here that is the tests' own.
pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

KEY = 92180827  # the sandbox's first booking
FACTS: tuple[type[Fact], ...] = (RouteState, Delivered, BusState)
MORE_FACTS: tuple[type[Fact], ...] = (Fresh, Polled)  # told by tasks that the others stand for
ENDING = (  # tasks without which an agent must not go on: some that others own, some that keep no pulse
    "agent.app.App._watch_freshness",
    "agent.leases.Leases.keep",
    "agent.polling.Polling._poll",
    "agent.settling.Settler.run",
    "agent.slots.Slots._work",
    "events.jetstream.connection._caught",
)
MORE_ENDING = (
    "agent.backlogs.Backlogs.run",
    "agent.delivering.RouteWorker.run",
    "agent.polling.Polling.keep_schedule",
    "agent.polling.Polling.run",
    "agent.tokens.TokenKeeper.keep",
    "agent.tokenwatch.watch",
    "agent.upkeep.Upkeep.run",
    "events.jetstream.attempts.Attempts.run",
)
RESTARTED = (  # tasks that the agent starts anew by itself
    "agent.delivering.RouteWorker._keep",
    "agent.delivering.RouteWorker._take_events",
    "agent.delivering.RouteWorker._take_replays",
)
Measured = Callable[[str, str, str], None]


class Running:
    """An agent in this process that polls and delivers; `ended` says how it came to an end by itself."""

    def __init__(self, config: Config) -> None:
        self.facts: list[Fact] = []
        self.broken: type[Fact] | None = None  # the kind of fact over which whoever hears it stumbles
        self.app = App(config, listeners=[self._hear])
        self.ended = ""

    def _hear(self, fact: Fact) -> None:
        self.facts.append(fact)
        if self.broken is not None and isinstance(fact, self.broken):
            raise ZeroDivisionError

    async def run(self) -> None:
        try:
            await self.app.run()
        except Exception:  # noqa: BLE001 - whatever it is, the process ends with status 1
            self.ended = "with a failure"
        else:
            self.ended = "as if it had been told to"

    def has_read_the_bookings(self) -> bool:
        polls = [fact for fact in self.facts if isinstance(fact, Polled)]
        return any(poll.scope.resource == "booking" and poll.outcome.succeeded for poll in polls)

    async def end(self) -> str:
        """How it ends by itself."""
        await until(lambda: self.ended != "")
        return self.ended


class World:
    """What is around the agents: a hotel in which something happens, a receiver, and a bus; each has streams of its own."""

    def __init__(
        self, nats: NatsServer, sandbox: OctorateSandbox, receiver: Receiver, folder: Path, vendor: str
    ) -> None:
        self.nats = nats
        self.receiver = receiver
        self._sandbox = sandbox
        self._folder = folder
        self._vendor = vendor
        self._agents = 0
        self._guests = 10

    def change(self) -> None:
        """A booking changes."""
        self._guests += 1
        self._sandbox.change(KEY, {"totalGuest": self._guests})

    async def deliver(self) -> None:
        """A booking changes, and that is delivered."""
        before = len(self.receiver.got)
        self.change()
        await until(lambda: len(self.receiver.got) > before)

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Running]:
        """An agent that has just polled something."""
        self._agents += 1
        accounts = [octorate("hotel", self._vendor)]
        routes = [webhook("crm", self.receiver.url)]
        bus = {"url": self.nats.url, "prefix": f"vendorwire{self._agents}"}
        running = Running(load(write_config(self._folder, bus=bus, accounts=accounts, routes=routes)))
        async with anyio.create_task_group() as group:
            group.start_soon(running.run)
            await until(lambda: running.has_read_the_bookings())
            yield running
            group.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def _leave_nothing_to_the_next_test() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
async def world(tmp_path: Path, nats: NatsServer) -> AsyncIterator[World]:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver:
        yield World(nats, sandbox, receiver, tmp_path, vendor)


async def cancel(name: str) -> None:
    """As a library does that cancels what it waits for: whoever owns the task knows nothing of it."""

    def those() -> list[asyncio.Task[Any]]:
        return [task for task in asyncio.all_tasks() if task.get_name() == name]

    await until(lambda: those() != [])
    for task in those():
        task.cancel()


async def test_a_task_that_fails_ends_the_agent_with_a_failure(world: World, torture: bool) -> None:
    for kind in FACTS + (MORE_FACTS if torture else ()):
        async with world.agent() as agent:
            agent.broken = kind
            world.change()
            if kind is BusState:
                world.nats.restart()
            assert await agent.end() == "with a failure", kind


async def test_a_task_that_is_cancelled_by_nobody_of_ours_ends_the_agent_with_a_failure_or_goes_on(
    world: World, torture: bool, measured: Measured
) -> None:
    ending = ENDING + (MORE_ENDING if torture else ())
    for name in ending:
        async with world.agent() as agent:
            world.change()
            await cancel(name)
            assert await agent.end() == "with a failure", name
    async with world.agent() as agent:
        await world.deliver()
        for name in RESTARTED:
            await cancel(name)
        await world.deliver()
        assert agent.ended == ""
    figure = f"{len(ending)} kinds of task end the process with a failure, {len(RESTARTED)} start anew"
    measured("never silent", "each task cancelled behind the agent's back", figure)
