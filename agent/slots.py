"""Tasks that stay: waking one costs a fifth of starting one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from anyio.abc import TaskGroup

T = TypeVar("T")


class Slots(Generic[T]):
    """Handles what is given, in its order, as many things side by side as there are slots; whatever is more waits."""

    def __init__(self, handle: Callable[[T], Awaitable[None]], number: int) -> None:
        self._tasks: TaskGroup | None = None
        self._handle = handle
        self._number = number
        self._given: asyncio.Queue[T | None] = asyncio.Queue()
        self._started = 0
        self._free = 0

    def open(self, tasks: TaskGroup) -> None:
        """From now on things are handled, by tasks of this group."""
        self._tasks = tasks

    def give(self, thing: T) -> None:
        """Have it handled."""
        self._given.put_nowait(thing)
        if self._tasks and self._given.qsize() > self._free and self._started < self._number:
            self._started += 1
            self._tasks.start_soon(self._work)

    def end(self) -> None:
        """Nothing more is given: each task ends once what was given is done."""
        for _ in range(self._started):
            self._given.put_nowait(None)

    def left(self) -> list[T]:
        """What was given and no task has taken up, after the tasks were cancelled."""
        things = [self._given.get_nowait() for _ in range(self._given.qsize())]
        return [thing for thing in things if thing is not None]

    async def _work(self) -> None:
        while True:
            self._free += 1
            try:
                thing = await self._given.get()
            finally:
                self._free -= 1
            if thing is None:
                return
            await self._handle(thing)
