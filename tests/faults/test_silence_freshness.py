"""Freshness ages whenever polling stops, whatever stopped it, on every agent that is left; and never by mistake."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import httpx
import msgspec
import pytest

from connectors.sandbox.serve import serve
from events.ledger import Head
from schemas.changes import Scope
from tests.agent.harness import (
    NAMES,
    Process,
    agent,
    hotel,
    octorate,
    reading,
    ready,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.faults.alerting import alerts, freshness
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

NOBODY = "http://127.0.0.1:9"  # an address where no vendor is
KEY = 92180827  # the sandbox's first booking
BOOKINGS = Scope("octorate", "hotel", "booking")
Measured = Callable[[str, str, str], None]


class Failing:
    """A hotel that answers every listing with 500 while `fails`."""

    def __init__(self) -> None:
        self._sandbox = hotel()
        self.fails = False
        self.refused = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.fails and "/reservation/" in request.url.path:
            self.refused += 1
            return httpx.Response(500)
        return self._sandbox(request)


async def is_live(process: Process) -> bool:
    return (await process.get("/livez"))[0] == 200


async def test_an_account_that_never_succeeded_alarms_from_the_first_second_with_or_without_a_bus(
    tmp_path: Path, nats: NatsServer
) -> None:
    file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", NOBODY)])
    nats.kill()
    async with agent(file) as process:
        await until(lambda: "bus lost" in process.log)
        assert await freshness(process) == 0
        assert ("hotel", "booking") in await alerts(process)
        nats.start()
        await ready(process)
        await until(lambda: "outcome=unavailable" in process.log)
        assert ("hotel", "booking") in await alerts(process)
        assert await is_live(process)


async def test_an_agent_that_only_delivers_tells_how_all_accounts_age_when_those_that_poll_are_gone(
    tmp_path: Path, nats: NatsServer, measured: Measured
) -> None:
    async with serve(hotel()) as vendor:
        accounts = [octorate("hotel", vendor), octorate("inn", NOBODY)]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=accounts)
        async with agent(file, "route.log", "--roles", "route") as route, agent(file, "poll.log") as poll:
            await synced(poll)
            await ready(route)

            async def both_know() -> bool:
                return abs(await freshness(route) - time.time()) < 5

            await until(both_know)
            assert ("hotel", "booking") not in await alerts(route)
            assert ("inn", "booking") in await alerts(route)
            poll.kill()
            killed = time.time()
            await anyio.sleep(2)
            assert await freshness(route) <= killed
            assert {("hotel", "booking"), ("inn", "booking")} <= await alerts(route, after=3 * 1 + 60)
            assert (await is_live(route), await route.is_ready()) == (True, True)
            age = time.time() - await freshness(route)
    measured(
        "never silent", "all agents that poll are gone", f"freshness ages on the others: {age:.1f} s old after 2 s"
    )


async def test_an_agent_with_a_clock_ahead_leaves_no_freshness_that_lies_ahead(
    tmp_path: Path, nats: NatsServer
) -> None:
    file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", NOBODY)])
    async with agent(file, "route.log", "--roles", "route") as process, reading(nats.url) as bus:
        await ready(process)
        ahead = Head(poll_id="ahead", at=datetime.now(UTC) + timedelta(hours=2), records=1)
        await bus.publish(NAMES.head(BOOKINGS), msgspec.json.encode(ahead))

        async def is_known() -> bool:
            return await freshness(process) > 0

        await until(is_known)
        assert await freshness(process) <= time.time()
        assert ("hotel", "booking") in await alerts(process, after=70)


async def test_a_failing_poll_moves_no_freshness_and_a_restart_neither(
    tmp_path: Path, nats: NatsServer, measured: Measured
) -> None:
    failing = Failing()
    async with serve(failing) as vendor:
        accounts = [octorate("hotel", vendor), octorate("sold", vendor)]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=accounts)
        async with agent(file) as process:
            await synced(process)
            await synced(process, "sold")
            failing.fails = True
            await until(lambda: "outcome=unavailable" in process.log)
            before = await freshness(process)
            refused = failing.refused
            await until(lambda: failing.refused > refused)
            assert abs(await freshness(process) - before) < 0.5  # a poll's end, or the beginning of the same
            assert await is_live(process)
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=accounts[:1])
        async with agent(file) as process:
            refused = failing.refused
            await until(lambda: failing.refused > refused)

            async def is_known() -> bool:
                return await freshness(process) > 0

            await until(is_known)
            assert before - 5 < await freshness(process) < before + 0.5
            assert "sold" not in (await process.get("/metrics"))[1]  # what is no longer configured alarms nobody
            back = time.time()
            failing.fails = False

            async def is_fresh() -> bool:
                return await freshness(process) >= back

            seconds = await until(is_fresh)
    measured(
        "never silent",
        "a vendor that fails, and a restart meanwhile",
        f"freshness moves {seconds:.1f} s after it is back",
    )


async def test_what_waits_for_a_route_is_told_by_every_agent_when_those_that_deliver_are_gone(
    tmp_path: Path, nats: NatsServer
) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver, reading(nats.url) as bus:
        routes = [webhook("crm", receiver.url), webhook("erp", receiver.url)]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)], routes=routes)
        async with agent(file, "poll.log", "--roles", "poll") as process:
            await synced(process)
            await bus.api(f"CONSUMER.DELETE.{NAMES.ledger}.route-crm")
            sandbox.change(KEY, {"totalGuest": 7})

            async def waits_for_the_other() -> bool:
                return await process.metric('vendorwire_route_pending{route="erp"}') == 1

            await until(waits_for_the_other)
            assert 'vendorwire_route_in_flight{route="erp"} 0.0' in (await process.get("/metrics"))[1]
            await until(lambda: "what waits for the route cannot be counted" in process.log)

            async def waits_for_both() -> bool:
                sandbox.change(KEY, {"totalGuest": 8})
                return await process.metric('vendorwire_route_pending{route="crm"}') > 0

            await until(waits_for_both)
            assert receiver.got == []
