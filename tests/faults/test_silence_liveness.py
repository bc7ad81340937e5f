"""Liveness answers from the loop that does the work: where that stands still no probe is told that all is well."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from connectors.sandbox.serve import serve
from tests.agent.harness import agent, hotel, octorate, synced, until, write_config
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

STANDS_STILL = 6  # seconds
# Python runs this at the start of an agent: SIGUSR1 then keeps its only loop from going on, as a bug would.
BLOCKER = f"""
import signal, time
signal.signal(signal.SIGUSR1, lambda *_: time.sleep({STANDS_STILL}))
"""
Measured = Callable[[str, str, str], None]


async def probe(url: str) -> int | None:
    """The status, as a probe with a time-out of a second sees it; None for no answer."""
    timeout = aiohttp.ClientTimeout(total=1)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as reply:
            return reply.status
    except TimeoutError:
        return None


async def test_while_the_loop_is_blocked_no_probe_is_answered_and_afterwards_work_goes_on(
    tmp_path: Path, nats: NatsServer, measured: Measured
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    sandbox = hotel()
    async with serve(sandbox) as vendor:
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)])
        async with agent(file, env={"PYTHONPATH": str(tmp_path)}) as process:
            await synced(process)
            url = f"http://{await process.address()}/livez"
            assert await probe(url) == 200
            blocked = time.monotonic()
            process.tell(signal.SIGUSR1)
            answers = [await probe(url) for _ in range(3)]
            assert answers == [None, None, None]

            async def is_live() -> bool:
                return await probe(url) == 200

            await until(is_live)
            seconds = time.monotonic() - blocked
            asked = len(sandbox.seen)
            await until(lambda: len(sandbox.seen) > asked)
            assert process.ended is None
    measured(
        "never silent",
        f"the event loop blocked for {STANDS_STILL} s",
        f"no probe answered, live again after {seconds:.1f} s",
    )
