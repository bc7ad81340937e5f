"""An agent that dies between two steps of settling a delivery holds up none of the events behind it."""

from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web

from connectors.sandbox.serve import serve
from events.failpoints import VARIABLE
from tests.agent.harness import (
    NAMES,
    Got,
    agent,
    hotel,
    octorate,
    reading,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.faults.slow_line import slow_line
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

BOOKINGS = 300
KEY = 92180827
SOON = 30.0  # seconds; an event that is known to have been handed out and does not come is waited for much longer


@pytest.mark.parametrize("place", ["delivery.acked", "delivery.answered:4"])
async def test_what_was_settled_as_the_agent_died_holds_up_nothing(
    tmp_path: Path, nats: NatsServer, place: str
) -> None:
    def answer(got: Got) -> web.Response:
        fails = got.key != str(KEY) or (got.version, got.attempt) == (2, 1)
        return web.Response(status=503 if fails else 200)

    sandbox = hotel()
    other = next(key for key in sandbox.reservations if key != KEY)
    async with serve(sandbox) as vendor, receiving() as receiver:
        receiver.answer = answer
        routes = [webhook("crm", receiver.url, retries=["3s", "10m"], timeout="1s")]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)], routes=routes)
        async with agent(file, "dies.log", env={VARIABLE: place}) as dies:
            await synced(dies)
            sandbox.change(
                other, {"totalGuest": 7}
            )  # keeps the server from saying that all up to some event is settled
            await until(lambda: len(receiver.of(other)) == 1)
            sandbox.change(KEY, {"totalGuest": 7})
            await until(lambda: len(receiver.of(KEY)) == 1)
            sandbox.change(KEY, {"totalGuest": 8})
            await until(lambda: dies.ended == -9)
            assert {got.version for got in receiver.of(KEY)} == {2}  # the other was waiting behind it
        async with agent(file, "heir.log"):
            assert await until(lambda: receiver.of(KEY)[-1].version == 3, 60) < SOON


async def test_what_was_delivered_before_the_end_is_settled_however_slow_the_bus_is(
    tmp_path: Path, nats: NatsServer
) -> None:
    """Each event fails once, so that each record's lane is stored; then all of them are taken at about the same time."""
    failed: set[str] = set()
    taken: Counter[str] = Counter()

    def answer(got: Got) -> web.Response:
        if got.id not in failed:
            failed.add(got.id)
            return web.Response(status=503)
        taken[got.id] += 1
        return web.Response()

    async with (
        serve(hotel(seed=BOOKINGS)) as vendor,
        receiving() as receiver,
        slow_line(nats.port) as line,
    ):
        receiver.answer = answer
        routes = [webhook("crm", receiver.url, retries=["6s", "3s", "3s"], timeout="1s")]
        account = octorate("hotel", vendor, first_sync="events")
        file = write_config(tmp_path, bus={"url": line.url}, accounts=[account], routes=routes)
        line.delay = 0.02
        async with agent(file, "ends.log") as ends:
            await until(lambda: len(taken) >= BOOKINGS * 0.9, 90)
            assert (await ends.end())[0] == 0
        line.delay = 0
        async with agent(file, "heir.log"):
            await until(lambda: len(taken) == BOOKINGS, 90)
            async with reading(nats.url) as bus:

                async def settled() -> bool:
                    info = await bus.api(f"CONSUMER.INFO.{NAMES.ledger}.route-crm")
                    return bool(info["num_ack_pending"] == 0)

                await until(settled, 60)
    assert [id_ for id_, times in taken.items() if times > 1] == []
