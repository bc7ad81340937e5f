"""What cannot be done now is tried again after waits that grow, and what stays wrong is said again, now and then."""

import itertools
import time
from datetime import timedelta
from pathlib import Path

import pytest

from agent import configfile, polling
from agent.outcomes import Ended
from agent.poller import Poller
from agent.watched import Watched
from connectors.sandbox.serve import serve
from events.jetstream.pull import Message
from events.jetstream.schedule import CONSUMER, LEASE
from events.ledger import LedgerUnavailable
from tests.agent.harness import NAMES, hotel, inside, octorate, reading, until, write_config
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio


async def test_polls_that_the_bus_is_lost_under_are_tried_again_after_waits_that_grow(
    tmp_path: Path, nats: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[float] = []

    async def lost(self: Poller, watched: Watched, resource: str) -> Ended:
        if resource == "booking":
            tried.append(time.monotonic())
        raise LedgerUnavailable("no answer")

    async with serve(hotel()) as url:
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", url)])
        async with inside(configfile.load(file)):
            monkeypatch.setattr(Poller, "poll", lost)
            await until(lambda: len(tried) == polling.IN_VAIN + 1)
            await until(lambda: "polls are given up: the bus is there, and does not answer" in caplog.text)
    waits = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert waits == sorted(waits)
    assert waits[-1] > 2  # and never more than LOST_PAUSE


async def test_a_poll_that_the_bus_is_lost_under_is_made_again_though_nobody_hears_what_is_handed_back(
    tmp_path: Path, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that chooses a leader for the consumer of the ticks hears nothing meanwhile."""
    sandbox, real = hotel(), Poller.poll
    tried: list[float] = []

    async def lost_once(self: Poller, watched: Watched, resource: str) -> Ended:
        if resource == "booking":
            tried.append(time.monotonic())
            if len(tried) == 1:
                raise LedgerUnavailable("no answer")
        return await real(self, watched, resource)

    async def unheard(self: Message, seconds: float) -> None:
        pass

    async with serve(sandbox) as url:
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", url)])
        async with inside(configfile.load(file)):
            monkeypatch.setattr(Message, "retry", unheard)
            monkeypatch.setattr(Poller, "poll", lost_once)
            await until(lambda: len(tried) >= 3)
    assert tried[1] - tried[0] < polling.LOST_PAUSE
    assert tried[2] - tried[1] < polling.LOST_PAUSE  # and the next one when it is due


async def test_a_poll_that_fails_here_for_as_long_as_a_lease_lasts_is_left_to_others(
    tmp_path: Path, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(self: Poller, watched: Watched, resource: str) -> Ended:
        raise LedgerUnavailable("no answer")

    async def is_handed_out_again() -> bool:
        return bool((await bus.api(f"CONSUMER.INFO.{NAMES.polls}.{CONSUMER}"))["num_redelivered"])

    monkeypatch.setattr(polling, "LEASE", timedelta(seconds=1))
    async with serve(hotel()) as url, reading(nats.url) as bus:
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", url)])
        async with inside(configfile.load(file)):
            monkeypatch.setattr(Poller, "poll", lost)
            await until(is_handed_out_again, LEASE.total_seconds() / 2)  # the server's own lease is the longer one


async def test_what_stays_wrong_is_said_again_after_a_while(
    tmp_path: Path, nats: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(polling, "REFUSED_PAUSE", 0.1)
    monkeypatch.setattr(polling, "SAY_AGAIN", 2.0)

    def said() -> list[float]:
        return [record.created for record in caplog.records if "cannot be stored" in record.getMessage()]

    async with serve(hotel()) as url, reading(nats.url) as bus:
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", url)])
        async with inside(configfile.load(file)):
            info = await bus.api(f"STREAM.INFO.{NAMES.ledger}")
            await bus.api(f"STREAM.UPDATE.{NAMES.ledger}", {**info["config"], "max_bytes": info["state"]["bytes"]})
            await until(lambda: len(said()) == 3)
    first, second, third = said()
    assert min(second - first, third - second) >= 2
