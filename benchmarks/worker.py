"""An agent's polling in a fresh process, for what must be asked of a whole process: its memory, and a start from nothing.

    python -m benchmarks.worker --bus nats://… --vendor http://… --records 100000 --page 1000

prints `ready`, then answers each line on its standard input (`rest`, `poll` or `load`) with one line of JSON, a `Told`.
"""

import argparse
import sys
import time
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import psutil

from benchmarks.support import KEEP_EVENTS, NAMES, open_bus, run
from benchmarks.vendor import Site, accounts
from events.jetstream.ledger import JetStreamLedger


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What was done and what it took: seconds; bytes resident now, and at most since the process began."""

    processor: float
    seconds: float
    resident: int
    peak: int


async def main(smoke: bool) -> None:  # noqa: ARG001 - as large as it is told
    asked = _arguments()
    site = Site(asked.vendor, asked.records, 0)
    async with open_bus(asked.bus) as bus:
        ledger = JetStreamLedger(bus, NAMES, KEEP_EVENTS)
        async with accounts(bus, ledger, site, [asked.page], f"agency-{asked.records}") as (account,):
            print("ready", flush=True)
            while line := (await anyio.to_thread.run_sync(sys.stdin.readline)).strip():
                began, processor = time.monotonic(), time.process_time()
                match line:
                    case "poll":
                        await account.poll()
                    case "load":
                        await ledger.load(account.watched.scope("booking"))
                print(msgspec.json.encode(_told(began, processor)).decode(), flush=True)


def _told(began: float, processor: float) -> Told:
    resident = psutil.Process().memory_info().rss
    return Told(
        processor=time.process_time() - processor,
        seconds=time.monotonic() - began,
        resident=resident,
        peak=max(_peak(), resident),
    )


def _peak() -> int:
    """From Linux, which counts it for this program alone; `ru_maxrss` begins with what the parent had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bus", required=True)
    parser.add_argument("--vendor", required=True)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--page", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
