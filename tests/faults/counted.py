"""An agent in a process of its own that keeps telling what it holds, a line each time: `… -m tests.faults.counted CONFIG`."""

import asyncio
import gc
import sys
from pathlib import Path

import anyio
import msgspec
import psutil

from agent import log, loop
from agent.app import App, stopped_by_signals
from agent.configfile import load
from schemas.facts import Delivered, Fact, Polled

EVERY = 0.5  # seconds between two counts
MEGABYTE = 1 << 20


class Count(msgspec.Struct, kw_only=True):
    """What has been done so far, and what is held now. `objects` are those that may hold others."""

    polls: int = 0
    failed_polls: int = 0
    deliveries: int = 0
    failed_deliveries: int = 0
    tasks: int = 0
    objects: int = 0
    descriptors: int = 0
    threads: int = 0
    memory: float = 0  # megabytes

    def observe(self, fact: Fact) -> None:
        if isinstance(fact, Polled):
            self.polls += 1
            self.failed_polls += not fact.outcome.succeeded
        elif isinstance(fact, Delivered):
            self.deliveries += 1
            self.failed_deliveries += fact.outcome != "delivered"

    def look(self) -> None:
        gc.collect()
        process = psutil.Process()
        self.tasks, self.objects = len(asyncio.all_tasks()), len(gc.get_objects())
        self.descriptors, self.threads = process.num_fds(), process.num_threads()
        self.memory = process.memory_info().rss / MEGABYTE


async def main(config: Path) -> None:
    count = Count()
    app = App(load(config), listeners=[count.observe])
    async with stopped_by_signals(app), anyio.create_task_group() as group:
        group.start_soon(_tell, count)
        await app.run()
        group.cancel_scope.cancel()


async def _tell(count: Count) -> None:
    while True:
        count.look()
        print(msgspec.json.encode(count).decode(), flush=True)
        await anyio.sleep(EVERY)


if __name__ == "__main__":
    log.setup("info", json=False)
    loop.run(main, Path(sys.argv[1]))
