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
OF_THEM_ARMED = 0.5  # of the agents that are started, while none is
PATIENCE = 8.0  # seconds for an agent to get to the place where it is to die


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
    """Two agents, of which one dies now and then; the one that was started last may be armed."""

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
        with anyio.move_on_after(PATIENCE if self._armed else self._rng.uniform(0, 1.6)):
            await until(lambda: any(each.ended is not None for each in self.agents))
        dead = next((each for each in self.agents if each.ended is not None), None)
        if dead is None:  # rather one that is not armed: the other gets to its place once it has this one's work
            dead = min(self.agents, key=lambda each: (each in self._armed, self._rng.random()))
            dead.kill()
        elif dead.ended != -signal.SIGKILL or dead not in self._armed:
            self.unforeseen += dead.log
        place = self._armed.pop(dead, ANYWHERE)
        self.died[place] += 1
        self.agents.remove(dead)
        if self.kills % BUS_TOO == 0:
            self.bus_kills += 1
            self._nats.restart()
        await forget_ticks(self._nats)
        arm = self._wanted and not self._armed and self._rng.random() < OF_THEM_ARMED
        await self.start(self._wanted.pop(0) if arm else "")

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
