"""What the benchmarks share: rows, processor time, a real nats-server, and the other side in a process of its own.

A benchmark is a module with an async `main(smoke: bool)`; its last line is `run(main)`. It prints rows, one a line.
"""

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median as median  # for all benchmarks
from typing import Literal

import anyio
import anyio.to_thread
import msgspec
import psutil

from agent import loop
from events.jetstream import streams
from events.jetstream.connection import Bus, connect
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.options import BusOptions
from events.subjects import Names
from tests.nats import start_nats

ROOT = Path(__file__).parents[1]
NAMES = Names()
KEEP_EVENTS = timedelta(days=7)
PATIENCE = 30.0  # seconds for another process to start


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report.

    `figure` and `limit` are told to people, with their units; `ratio` is judged against `bound`: of figure to limit, or the
    plain figure where the requirement is absolute. `at` says which side of the bound it must be on.
    """

    group: str
    what: str
    figure: str
    limit: str
    ratio: float
    bound: float
    at: Literal["least", "most"]

    @property
    def holds(self) -> bool:
        return self.ratio >= self.bound if self.at == "least" else self.ratio <= self.bound


def emit(row: Row) -> None:
    """Print the row as one line of JSON."""
    print(msgspec.json.encode(row).decode(), flush=True)


def run(main: Callable[[bool], Awaitable[None]]) -> None:
    """Run a benchmark on the event loop the agent runs on; `--smoke` asks for tiny sizes."""
    loop.run(main, "--smoke" in sys.argv[1:])


def process_cpu(pid: int | None = None) -> float:
    """Processor seconds a process has used so far, user and system; this one without `pid`."""
    if pid is None:
        return time.process_time()
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def spent(work: Callable[[], Awaitable[object]]) -> float:
    """Processor seconds of this process that one call takes. What earlier work left to be collected does not count."""
    gc.collect()
    started = time.process_time()
    await work()
    return time.process_time() - started


async def medians(rounds: int, *works: Callable[[], Awaitable[object]]) -> list[float]:
    """The median processor seconds of each work; they take turns (A B A B …), so that a busy machine hits all alike."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, seconds in zip(works, taken, strict=True):
            seconds.append(await spent(work))
    return [median(seconds) for seconds in taken]


@asynccontextmanager
async def bus_server() -> AsyncIterator[str]:
    """The URL of a real nats-server with JetStream in a folder of its own; both are gone after the block."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, start_nats(Path(folder)) as server:
        yield server.url


@asynccontextmanager
async def open_bus(url: str) -> AsyncIterator[Bus]:
    """A connected bus with the product's streams."""
    async with connect(BusOptions(urls=[url]), lambda _: None) as bus:
        with anyio.fail_after(PATIENCE):
            await bus.ready()
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        yield bus


@asynccontextmanager
async def open_ledger() -> AsyncIterator[tuple[Bus, JetStreamLedger]]:
    """The product's ledger on a real, empty nats-server, and the bus it is on."""
    async with bus_server() as url, open_bus(url) as bus:
        yield bus, JetStreamLedger(bus, NAMES, KEEP_EVENTS)


class Child:
    """Another process: its id, and the first line it printed (an address, say)."""

    def __init__(self, process: subprocess.Popen[str], module: str) -> None:
        self.pid = process.pid
        self.said = ""
        self._process = process
        self._module = module

    async def ask(self, line: str | None, within: float = PATIENCE) -> str:
        """Write a line to it, if any; the next line it says. Raises RuntimeError where it has ended."""

        def exchange() -> str:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            if line is not None:
                self._process.stdin.write(line + "\n")
            return self._process.stdout.readline().strip()

        with anyio.fail_after(within):
            answer = await anyio.to_thread.run_sync(exchange, abandon_on_cancel=True)
        if not answer:
            raise RuntimeError(f"{self._module} ended")
        return answer


@asynccontextmanager
async def child(module: str, *arguments: str, python: str = sys.executable) -> AsyncIterator[Child]:
    """`python -m module` beside us once it has printed a line: its work does not count as ours. Killed after the block."""
    command: Sequence[str] = [python, "-m", module, *arguments]
    with subprocess.Popen(  # noqa: ASYNC220 - takes a few milliseconds, before anything is measured
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True, bufsize=1
    ) as process:
        try:
            started = Child(process, module)
            started.said = await started.ask(None)
            yield started
        finally:
            process.kill()


async def finished(module: str, *arguments: str, python: str = sys.executable, within: float = 300.0) -> str:
    """What `python -m module` printed, run to its end. Raises where it fails or takes more than `within` seconds."""
    command: Sequence[str] = [python, "-m", module, *arguments]
    with anyio.fail_after(within):
        done = await anyio.run_process(command, cwd=ROOT, env=dict(os.environ), stderr=None)
    return done.stdout.decode()
