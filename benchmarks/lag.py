"""From a commit to the receiver's 2xx on an idle system: `python -m benchmarks.lag`. The whole agent, one event at a time.

The time runs from before the event is sent to the bus until the receiver has written its answer.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import anyio

from benchmarks.deliveries import GROUP, SCOPE, events
from benchmarks.receiver import receiving
from benchmarks.support import NAMES, PATIENCE, ROOT, Row, bus_server, emit, open_bus, run
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError
from events.jetstream.ledger import KEY
from events.signing import generate
from schemas.envelope import CONTENT_TYPE, encode

ROUTE = "lag"
P50, P99 = 15.0, 60.0  # milliseconds
APART = 0.05  # seconds between an answer and the next event
AT_FIRST = 20  # events that are not counted


class _Answers:
    """When the receiver last answered."""

    def __init__(self) -> None:
        self.at = 0.0
        self.came = anyio.Event()

    def got(self) -> None:
        self.at = time.perf_counter()
        self.came.set()


@contextmanager
def _agent(folder: Path, nats: str, receiver: str) -> Iterator[None]:
    """An agent in a process of its own, as `vendorwire run` starts it, with one route."""
    account = {
        "vendor": SCOPE.vendor,
        "name": SCOPE.account,
        "base_url": "http://127.0.0.1:9",
        "client_id": "unused",
        "client_secret": "unused",
    }
    webhook = {"url": receiver, "secret": generate(), "allow_private": True}
    config = folder / "config.yaml"
    config.write_text(
        json.dumps(
            {
                "bus": {"url": nats},
                "http": {"listen": "127.0.0.1:0"},
                "accounts": [account],
                "routes": [{"name": ROUTE, "events": ["booking.*"], "webhook": webhook}],
            }
        )
    )
    command = [sys.executable, "-m", "agent.cli", "--config", str(config), "run", "--roles", "route"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


async def _worked(bus: Bus) -> None:
    """Wait until the agent works its route."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                info = await bus.api(f"CONSUMER.INFO.{NAMES.ledger}.route-{ROUTE}")
            except ApiError:
                info = {}
            if info.get("num_waiting"):
                return
            await anyio.sleep(0.05)


async def _lags(bus: Bus, answers: _Answers, number: int) -> list[float]:
    """Milliseconds from commit to answer, of one event after the other."""
    lags = []
    for event in events(number):
        answers.came = anyio.Event()
        started = time.perf_counter()
        headers = {KEY: event.subject, "Content-Type": CONTENT_TYPE}
        await bus.publish(NAMES.event(SCOPE, "updated"), encode(event), headers)
        with anyio.fail_after(PATIENCE):
            await answers.came.wait()
        lags.append(1000 * (answers.at - started))
        await anyio.sleep(APART)
    return lags


def _row(name: str, lag: float, bound: float) -> Row:
    return Row(
        group=GROUP,
        what=f"lag from commit to 2xx on an idle system, {name}",
        figure=f"{lag:.1f} ms",
        limit=f"{bound:g} ms",
        ratio=round(lag, 2),
        bound=bound,
        at="most",
    )


async def main(smoke: bool) -> None:
    """Measure."""
    number = 20 if smoke else 200
    answers = _Answers()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        async with bus_server() as nats, open_bus(nats) as bus, receiving(answers.got) as url:
            with _agent(Path(folder), nats, url):
                await _worked(bus)
                lags = sorted((await _lags(bus, answers, AT_FIRST + number))[AT_FIRST:])
    emit(_row("p50", median(lags), P50))
    emit(_row("p99", _percentile(lags, 0.99), P99))


def _percentile(ascending: Sequence[float], share: float) -> float:
    return ascending[min(int(share * len(ascending)), len(ascending) - 1)]


if __name__ == "__main__":
    run(main)
