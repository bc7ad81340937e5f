"""An agent that dies between two steps of settling a delivery holds up none of the events behind it."""

from pathlib import Path

import pytest
from aiohttp import web

from connectors.sandbox.serve import serve
from events.failpoints import VARIABLE
from tests.agent.harness import Got, agent, hotel, octorate, receiving, synced, until, webhook, write_config
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

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
