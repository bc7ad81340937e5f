"""The disk under the bus is full. The server answers questions and stores nothing: it says so to nobody who publishes."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from agent import configfile, polling
from connectors.sandbox.serve import serve
from schemas.facts import Fresh
from tests.agent.harness import (
    inside,
    octorate,
    receiving,
    until,
    webhook,
    write_config,
)
from tests.faults.changing import Changing, each_came_once
from tests.faults.small_disk import small_disk
from tests.nats import start_nats

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

Measured = Callable[[str, str, str], None]


async def test_a_full_disk_under_the_bus_costs_nothing(
    tmp_path: Path,
    torture: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    measured: Measured,
) -> None:
    if not torture:
        monkeypatch.setattr(polling, "CHECK_EVERY", 6.0)  # longer than a request waits for its answer
        monkeypatch.setattr(polling, "OVERDUE", timedelta(seconds=1))
    vendor = Changing()

    def said() -> int:
        return sum("the bus is there, and does not answer" in record.getMessage() for record in caplog.records)

    async with serve(vendor.sandbox) as url, receiving() as receiver:
        with (
            small_disk(tmp_path / "nats" / "jetstream", "16m") as disk,
            start_nats(tmp_path / "nats", within=disk.within) as nats,
        ):
            routes = [webhook("crm", receiver.url)]
            file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", url)], routes=routes)
            async with inside(configfile.load(file)) as agent:
                async with vendor.meanwhile():
                    await until(lambda: receiver.got != [])
                    disk.fill()
                    noticed = await until(lambda: said() == 1, 60)
                    read = len(agent.told(Fresh))
                    disk.free()
                    nats.restart()  # it does not find out by itself that there is room again
                    seconds = await until(lambda: len(agent.told(Fresh)) > read)
                events = await vendor.story(nats.url)
                assert vendor.faults(events) == []
                await each_came_once(receiver, events)
                assert said() == 1
    assert seconds < 5
    fault = "the disk under the NATS server full, then freed, and the server restarted"
    measured("nothing is lost", fault, f"{len(events)} events: 0 lost, 0 twice, 0 out of order; each delivered once")
    measured("never silent", fault, f"freshness ages, one log line after {noticed:.0f} s")
    measured("it resumes by itself", fault, f"polls {seconds:.1f} s after the server's start")
