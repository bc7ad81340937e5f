"""Agents that die and are started again: by a signal at a random moment, or at a named place between two steps."""

import random
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import anyio

from events import failpoints
from tests.agent.harness import NAMES, Process, agent, reading, until
from tests.nats import NatsServer

BUS_TOO = 5  # of so many kills, one takes the nats-server with it
ANYWHERE = "anywhere"
PATIENCE = (0, 2.5)  # seconds for one to get to its place
YOUNGER = 0.75


def places(vendors: list[str], rng: random.Random) -> list[str]:
    """Each place of a poll for each vendor, the first round with each place once, and those of deliveries."""
    polls = [[f"{name}@{vendor}" for vendor in vendors] for name in failpoints.POLL]
    for each in polls:
        rng.shuffle(each)
    rounds = [[each[turn] for each in polls] for turn in range(len(vendors))]
    for each in rounds:
        each += failpoints.DELIVERY
        rng.shuffle(each)
    return [place for each in rounds for place in each]


class Ring:
    """Two agents, each armed while there are places left, of which one dies now and then."""

    def __init__(
        self, file: Path, nats: NatsServer, stack: AsyncExitStack, wanted: list[str], rng: random.Random
    ) -> None:
        self.agents: list[Process] = []
        self.died: Counter[str] = Counter()  # where
        self.bus_kills = 0
        self.unforeseen = ""  # the log of an agent that ended by itself
        self._file = file
        self._nats = nats
        self._stack = stack
        self._wanted = wanted
        self._rng = rng
        self._armed: dict[Process, str] = {}

    @property
    def kills(self) -> int:
        return self.died.total()

    @property
    def left(self) -> bool:
        """Whether there are places where none has died yet."""
        return bool(self._wanted or self._armed)

    async def start(self, place: str = "") -> None:
        turn = 1 if place.startswith("token.") else self._rng.randrange(1, 3)  # one signs in once
        env = {failpoints.VARIABLE: f"{place}:{turn}"} if place else None
        process = await self._stack.enter_async_context(agent(self._file, f"{time.monotonic_ns()}.log", env=env))
        self.agents.append(process)
        if place:
            self._armed[process] = place

    async def kill_one(self) -> None:
        """The next death, and a new agent in place of the dead."""
        with anyio.move_on_after(self._rng.uniform(*PATIENCE)):
            await until(lambda: any(each.ended is not None for each in self.agents))
        dead = next((each for each in self.agents if each.ended is not None), None)
        if (
            dead is None
        ):  # rather the younger: the other gets to its place in time, also where it must take over a route first
            dead = self.agents[self._rng.random() < YOUNGER]
            dead.kill()
            if place := self._armed.pop(dead, ""):
                self._wanted.append(place)
            self.died[ANYWHERE] += 1
        else:
            if dead.ended != -signal.SIGKILL or dead not in self._armed:
                self.unforeseen += dead.log
            self.died[self._armed.pop(dead, ANYWHERE)] += 1
        self.agents.remove(dead)
        if self.kills % BUS_TOO == 0:
            self.bus_kills += 1
            self._nats.restart()
        await forget_ticks(self._nats)
        await self.start(self._wanted.pop(0) if self._wanted else "")

    async def disarm(self) -> None:
        """Agents that nothing ends any more in place of the armed ones."""
        for process in list(self._armed):
            process.kill()
            self.agents.remove(process)
            await self.start()
        self._armed.clear()
        await forget_ticks(self._nats)


async def forget_ticks(nats: NatsServer) -> None:
    """A dead agent's ticks are leased to it for 30 s; they are taken off instead of sat out, and put back by who starts.

    Another agent may be at such a resource just then: that is what the fence is for.
    """
    async with reading(nats.url) as bus:
        await bus.api(f"STREAM.PURGE.{NAMES.polls}", {"filter": "vendorwire.poll.>"})
