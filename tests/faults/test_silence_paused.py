"""Consumers that an operator pauses on the server: what waits ages and piles up in the metrics, and goes on by itself."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from connectors.sandbox.serve import serve
from events.jetstream.connection import Bus
from events.jetstream.read import rfc3339
from events.jetstream.schedule import CONSUMER
from tests.agent.harness import NAMES, agent, hotel, octorate, reading, receiving, synced, until, webhook, write_config
from tests.faults.alerting import alerts, freshness
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

KEY = 92180827  # the sandbox's first booking
Measured = Callable[[str, str, str], None]


async def pause(bus: Bus, stream: str, consumer: str) -> None:
    """For an hour."""
    until_then = rfc3339(datetime.now(UTC) + timedelta(hours=1))
    await bus.api(f"CONSUMER.PAUSE.{stream}.{consumer}", {"pause_until": until_then})


async def resume(bus: Bus, stream: str, consumer: str) -> None:
    await bus.api(f"CONSUMER.PAUSE.{stream}.{consumer}", {})


async def test_paused_consumers_show_in_the_metrics_while_the_process_stays_live_and_work_goes_on_after(
    tmp_path: Path, nats: NatsServer, torture: bool, measured: Measured
) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver, reading(nats.url) as bus:
        accounts = [octorate("hotel", vendor)]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=accounts, routes=[webhook("crm", receiver.url)])
        async with agent(file) as process:
            await synced(process)
            await pause(bus, NAMES.ledger, "route-crm")
            sandbox.change(KEY, {"totalGuest": 7})

            async def waits() -> bool:
                return await process.metric('vendorwire_route_pending{route="crm"}') == 1

            await until(waits)
            assert receiver.got == []
            await pause(bus, NAMES.polls, CONSUMER)
            await anyio.sleep(1)  # a poll may have been under way
            before = await freshness(process)
            await anyio.sleep(2)
            assert abs(await freshness(process) - before) < 0.5
            assert ("hotel", "booking") in await alerts(process, after=3 * 1 + 60)
            assert (await process.get("/livez"))[0] == 200
            await until(lambda: "somebody has paused its consumer on the server route=crm" in process.log)
            if torture:  # said at the next look at the schedule
                await until(lambda: "no ticks come: somebody has paused their consumer" in process.log)
            resumed = time.time()
            await resume(bus, NAMES.ledger, "route-crm")
            await resume(bus, NAMES.polls, CONSUMER)

            async def is_fresh() -> bool:
                return await freshness(process) >= resumed

            seconds = await until(is_fresh)
            await until(lambda: len(receiver.got) == 1)
    measured("never silent", "consumers paused on the server", f"polled again {seconds:.1f} s after the pause ended")
