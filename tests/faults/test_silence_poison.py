"""What a stranger writes into our streams stops no agent, neither one that runs nor one that finds it there at its start."""

from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.sandbox.serve import serve
from schemas.changes import Scope
from tests.agent.harness import NAMES, agent, hotel, octorate, reading, ready, synced, until, write_config
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

POISON = (
    b"[" * 100_000,
    b'{"x":' + b"[" * 100_000,
    b'{"\xff\xfe": 1}',
    b'{"failures": 1e400, "records": 99999999999999999999999}',
    b'{"at": "0001-01-01T00:00:00Z"}',
    b"null",
    b"",
)
BOOKINGS = Scope("octorate", "hotel", "booking")
SUBJECTS = (
    NAMES.head(Scope("octorate", "hotel", "property")),
    NAMES.head(Scope("octorate", "elsewhere", "booking")),
    NAMES.schedule(BOOKINGS),
    NAMES.poll(BOOKINGS),
    NAMES.token_claim("hotel"),
    NAMES.standing("crm"),
)
Measured = Callable[[str, str, str], None]


async def test_poison_on_the_bus_stops_no_agent(tmp_path: Path, nats: NatsServer, measured: Measured) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, reading(nats.url) as bus:
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)])
        async with agent(file) as process:
            await synced(process)
            for poison in POISON:
                for subject in SUBJECTS:
                    await bus.publish(subject, poison)
            asked = len(sandbox.seen)
            await until(lambda: len(sandbox.seen) > asked + 6 or process.ended is not None, 60)
            assert process.ended is None, process.log
        for subject in SUBJECTS:
            await bus.publish(subject, POISON[0])
        async with agent(file) as process:
            await ready(process)
            asked = len(sandbox.seen)
            await until(lambda: len(sandbox.seen) > asked + 6 or process.ended is not None, 60)
            assert process.ended is None, process.log
            assert (await process.get("/livez"))[0] == 200
    what = f"{len(POISON)} kinds of nonsense on {len(SUBJECTS)} kinds of subject"
    measured("never silent", what, "0 agents ended, before and after a restart")
