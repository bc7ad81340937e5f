"""A poll that will not fall due is found and planned anew within a minute, whatever became of its message in the schedule."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from connectors.sandbox.serve import serve
from events.jetstream.connection import Bus
from schemas.changes import Scope
from tests.agent.harness import NAMES, Process, agent, hotel, octorate, reading, synced, until, write_config
from tests.faults.alerting import freshness
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

EVERY = 4.0  # seconds between polls: long enough to harm what is planned between two
WITHIN = 60.0  # seconds from when a poll was due
HARMS = ("purged", "years-ahead", "without-a-time", "of-no-known-kind")
REPLANNED = 'vendorwire_polls_replanned_total{{account="{}",resource="booking",vendor="octorate"}}'
Measured = Callable[[str, str, str], None]


async def harm(bus: Bus, how: str) -> None:
    """Take an account's next poll of its bookings off the schedule, or put there what will not fall due."""
    scope = Scope("octorate", how, "booking")
    times = {
        "years-ahead": (datetime.now(UTC) + timedelta(days=3 * 365)).strftime("@at %Y-%m-%dT%H:%M:%SZ"),
        "of-no-known-kind": "@every 2h",
    }
    if how == "purged":
        await bus.api(f"STREAM.PURGE.{NAMES.polls}", {"filter": NAMES.schedule(scope)})
    else:
        at = {"Nats-Schedule": times[how], "Nats-Schedule-Target": NAMES.poll(scope)} if how in times else {}
        await bus.publish(NAMES.schedule(scope), b"{}", at)


async def test_a_poll_that_will_not_fall_due_is_planned_anew_within_a_minute(
    tmp_path: Path, nats: NatsServer, measured: Measured
) -> None:
    async with serve(hotel()) as vendor, reading(nats.url) as bus:
        accounts = [octorate(how, vendor, every={"booking": f"{EVERY:g}s"}) for how in HARMS]
        async with agent(write_config(tmp_path, bus={"url": nats.url}, accounts=accounts)) as process:
            late: dict[str, float] = {}

            async def hurt(how: str) -> None:
                await synced(process, how)
                polled = await fresher(process, how, await freshness(process, how))
                await harm(bus, how)
                late[how] = await fresher(process, how, polled) - polled - EVERY

            async with anyio.create_task_group() as all_at_once:
                for how in HARMS:
                    all_at_once.start_soon(hurt, how)
            assert min(late[how] for how in HARMS if how != "purged") > EVERY, "it fell due by itself"
            assert max(late.values()) < WITHIN
            assert [how for how in HARMS if not await process.metric(REPLANNED.format(how))] == []
            assert "Traceback" not in process.log
            assert (await process.get("/livez"))[0] == 200
    slowest = max(late.values())
    fault = "schedule messages purged, put years ahead, or made unreadable"
    measured("never silent", fault, f"polled again at most {slowest:.0f} s after it was due")


async def fresher(process: Process, account: str, than: float) -> float:
    """Wait until an account's bookings have been read once more; when that was."""

    async def is_fresher() -> bool:
        return await freshness(process, account) > than + 1

    await until(is_fresher, EVERY + WITHIN)
    return await freshness(process, account)
