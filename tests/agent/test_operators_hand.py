"""What an operator or a stranger does to the bus is said, and mended where it can be."""

from pathlib import Path

import pytest

from connectors.sandbox.serve import serve
from tests.agent.harness import NAMES, agent, hotel, octorate, ready, until, write_config
from tests.events.bus import connected
from tests.nats import start_nats

pytestmark = pytest.mark.anyio


async def test_strange_subjects_and_a_deleted_schedule_do_not_stop_the_polling(tmp_path: Path) -> None:
    sandbox = hotel()
    with start_nats(tmp_path / "nats") as nats:
        async with serve(sandbox) as vendor, connected(nats.url) as bus:
            file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)])
            async with agent(file) as process:
                await ready(process)
                for subject in ("vendorwire.poll.hotel", "vendorwire.poll.a.b.c.d"):
                    await bus.publish(subject, b"oops")
                seen = len(sandbox.seen)
                await until(lambda: len(sandbox.seen) > seen + 6)
                await bus.api(f"STREAM.DELETE.{NAMES.polls}")
                await until(lambda: "a stream was gone" in process.log, 40)
                seen = len(sandbox.seen)
                await until(lambda: len(sandbox.seen) > seen + 6, 60)
                assert process.ended is None
                assert "Traceback" not in process.log
            async with agent(file) as process:  # what a stranger left there does not keep one from starting either
                await ready(process)
