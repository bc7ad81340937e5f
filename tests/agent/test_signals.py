"""What running agents are told by hand: two agents, a real bus, a vendor that counts what it is asked."""

import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent import signals
from agent.configfile import load
from connectors.octorate import ROME
from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.serve import serve
from events.jetstream.connection import Bus
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.schedule import Schedule
from schemas.changes import Scope
from tests.agent.harness import (
    NAMES,
    Process,
    agent,
    events_on,
    hotel,
    octorate,
    reading,
    ready,
    synced,
    until,
    write_config,
)
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

BOOKING = Scope("octorate", "hotel", "booking")
LABELS = 'account="hotel",resource="booking",vendor="octorate"'
PAUSED = 'vendorwire_account_paused{account="hotel",vendor="octorate"}'
INTERVAL = f"vendorwire_poll_interval_seconds{{{LABELS}}}"


class There:
    """Two agents, what they poll, and the bus."""

    def __init__(self, folder: Path, nats: NatsServer, vendor: str, fake: OctorateSandbox, **every: str) -> None:
        self.fake = fake
        accounts = [octorate("hotel", vendor, **({"every": every} if every else {}))]
        self.file = write_config(folder, bus={"url": nats.url}, accounts=accounts)
        self.config = load(self.file)
        self.agents: list[Process] = []
        self.bus: Bus

    def listings(self) -> int:
        """How often the vendor was asked for bookings."""
        return sum("/reservation/" in seen.path for seen in self.fake.seen)

    async def rests(self, seconds: float) -> bool:
        """Whether nothing is asked for so long."""
        before, ends = self.listings(), time.monotonic() + seconds
        await until(lambda: time.monotonic() > ends)
        return self.listings() == before

    async def is_read(self) -> bool:
        """Whether nothing waits any more to be read anew."""
        head = (await JetStreamLedger(self.bus, NAMES, timedelta(days=30)).load(BOOKING)).head
        return not any(part.anew for part in head.parts.values())

    async def all_tell(self, metric: str, value: float) -> None:
        """Wait until each agent tells this."""

        async def told() -> bool:
            return [await each.metric(metric) for each in self.agents] == [value] * len(self.agents)

        await until(told)


@asynccontextmanager
async def there(folder: Path, nats: NatsServer, *, agents: int = 1, **every: str) -> AsyncIterator[There]:
    fake = hotel()
    async with serve(fake) as vendor, reading(nats.url) as bus:
        scene = There(folder, nats, vendor, fake, **every)
        scene.bus = bus
        async with AsyncExitStack() as stack:
            for number in range(agents):
                scene.agents.append(await stack.enter_async_context(agent(scene.file, f"{number}.log")))
            for each in scene.agents:
                await ready(each)
                await synced(each)
            yield scene


async def test_a_paused_account_is_not_polled_by_any_agent_also_after_a_restart_and_goes_on_when_resumed(
    tmp_path: Path, nats: NatsServer
) -> None:
    async with there(tmp_path, nats, agents=2) as scene:
        said = await signals.pause(scene.bus, scene.config, "hotel", by="root@desk")
        assert said == "hotel is paused until `vendorwire resume hotel`"
        await scene.all_tell(PAUSED, 1)
        await until(
            lambda: all("an account is paused" in each.log and "root@desk" in each.log for each in scene.agents)
        )
        await scene.rests(0.5)  # a poll that was under way ends
        new = scene.fake.add()["id"]
        assert await scene.rests(1.5)
        scene.agents.pop().kill()
        async with agent(scene.file, "c.log") as restarted:
            scene.agents.append(restarted)
            await ready(restarted)
            await scene.all_tell(PAUSED, 1)
            assert await scene.rests(1.5)
            assert await Schedule(scene.bus, NAMES).planned(BOOKING) is not None  # its ticks go on
            assert await signals.resume(scene.bus, scene.config, "hotel") == "hotel is polled again"
            await until(lambda: scene.listings() > 0, 2)
            await scene.all_tell(PAUSED, 0)

            async def told() -> bool:
                return [event.subject for event in await events_on(scene.bus)] == [str(new)]

            await until(told, 3)
            assert "Traceback" not in "".join(each.log for each in scene.agents)


async def test_a_pause_ends_by_itself_when_its_time_is_over(tmp_path: Path, nats: NatsServer) -> None:
    async with there(tmp_path, nats, booking="30s", property="30s") as scene:
        until_ = datetime.now(UTC) + timedelta(seconds=3)
        await signals.pause(scene.bus, scene.config, "hotel", by="me", span=timedelta(seconds=3))
        await scene.all_tell(PAUSED, 1)
        assert list(await signals.paused(scene.bus, NAMES)) == ["hotel"]
        await signals.poll(scene.bus, NAMES, BOOKING)  # a tick that falls due meanwhile
        before = scene.listings()
        await until(lambda: scene.listings() > before, 8)  # 30 s would be its interval
        assert datetime.now(UTC) >= until_ - timedelta(seconds=0.3)
        await scene.all_tell(PAUSED, 0)
        assert await signals.paused(scene.bus, NAMES) == {}


async def test_an_interval_holds_for_all_agents_until_one_starts(tmp_path: Path, nats: NatsServer) -> None:
    async with there(tmp_path, nats, agents=2, booking="1h") as scene:
        every = timedelta(seconds=1)
        said = await signals.interval(scene.bus, scene.config, "hotel", "booking", every=every)
        assert said == "octorate/hotel/booking is polled every 1s until an agent starts, or `--reset`"
        before = scene.listings()
        await scene.all_tell(INTERVAL, 1)
        await until(lambda: scene.listings() >= before + 6, 8)  # two polls of three questions
        assert await signals.intervals(scene.bus, NAMES) == {BOOKING: every}
        async with agent(scene.file, "c.log") as another:
            scene.agents.append(another)
            await ready(another)
            await scene.all_tell(INTERVAL, 3600)
            assert await signals.intervals(scene.bus, NAMES) == {}
            await scene.rests(1)
            assert await scene.rests(1.5)
            await signals.interval(scene.bus, scene.config, "hotel", "booking", every=every)
            await scene.all_tell(INTERVAL, 1)
            await signals.interval(scene.bus, scene.config, "hotel", "booking", every=None)
            await scene.all_tell(INTERVAL, 3600)


async def test_signals_are_followed_again_after_the_bus_was_away(tmp_path: Path, nats: NatsServer) -> None:
    async with there(tmp_path, nats) as scene:
        await signals.pause(scene.bus, scene.config, "hotel", by="me")
        await scene.all_tell(PAUSED, 1)
        nats.restart()
        await scene.bus.ready()
        await scene.all_tell(PAUSED, 1)
        for each in scene.agents:
            await ready(each)
        assert await scene.rests(1.5)
        await signals.resume(scene.bus, scene.config, "hotel")
        await scene.all_tell(PAUSED, 0)


async def test_a_resource_is_read_anew_and_again_by_running_agents(tmp_path: Path, nats: NatsServer) -> None:
    async with there(tmp_path, nats, booking="1h") as scene:
        old = min(scene.fake.reservations, key=lambda id_: scene.fake.reservations[id_]["updateTime"])
        scene.fake.reservations[old]["totalGross"] = 4321.0
        said = await signals.rebaseline(scene.bus, scene.config, "hotel", "booking", events=True)
        assert said == "octorate/hotel/booking is read anew: what differs is published"

        async def told() -> bool:
            return [(each.subject, each.version) for each in await events_on(scene.bus)] == [(str(old), 2)]

        await until(told, 5)
        scene.fake.reservations[old]["totalGross"] = 1234.0
        await signals.rebaseline(scene.bus, scene.config, "hotel", "booking", events=False)
        await until(scene.is_read, 5)
        to = datetime.now(UTC) - timedelta(days=40)
        said = await signals.rewind(scene.bus, scene.config, "hotel", "booking", to=to)
        assert re.fullmatch(r"octorate/hotel/booking is read again since .*Z; what was told is not told again", said)
        day = (to.astimezone(ROME) - timedelta(days=1)).date().isoformat()
        await until(lambda: ("startDate", day) in {pair for seen in scene.fake.seen for pair in seen.query}, 5)
        assert len(await events_on(scene.bus)) == 1


async def test_polls_under_way_and_what_a_stranger_wrote_there_are_in_nobodys_way(
    tmp_path: Path, nats: NatsServer
) -> None:
    async with there(tmp_path, nats) as scene:  # polls every second, so that heads keep changing
        for subject in (NAMES.pause("hotel"), NAMES.interval(BOOKING), NAMES.pause("nobody")):
            await scene.bus.publish(subject, b"{!", {"Nats-Rollup": "sub"})
        for _ in range(5):
            await signals.rebaseline(scene.bus, scene.config, "hotel", "booking", events=False)
        await until(scene.is_read, 10)
        changed = scene.fake.add()["id"]  # sooner, and it would be stored silently like the rest

        async def told() -> bool:
            return str(changed) in [each.subject for each in await events_on(scene.bus)]

        await until(told, 10)
        assert "Traceback" not in scene.agents[0].log


async def test_what_cannot_be_done_is_said_with_what_to_do_instead(tmp_path: Path, nats: NatsServer) -> None:
    async with reading(nats.url) as bus:
        fleet = {"vendor": "carbontrack", "name": "fleet", "username": "a", "password": "invented"}
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", "http://127.0.0.1:1"), fleet])
        config, now = load(file), datetime.now(UTC)
        with pytest.raises(signals.NotPossible, match="measurement is a feed: there is no set of records"):
            await signals.rebaseline(bus, config, "fleet", "measurement", events=False)
        with pytest.raises(signals.NotPossible, match="property is read whole at each poll: it has no cursor"):
            await signals.rewind(bus, config, "hotel", "property", to=now)
        with pytest.raises(signals.NotPossible, match="too long ago"):
            await signals.rewind(bus, config, "hotel", "booking", to=now - timedelta(days=400))
        with pytest.raises(signals.UnknownResource, match="no resource 'room'; there are: booking, property"):
            await signals.rebaseline(bus, config, "hotel", "room", events=False)
        for span in (timedelta(0), timedelta(days=400)):
            with pytest.raises(signals.NotPossible, match="a pause lasts up to 365d"):
                await signals.pause(bus, config, "hotel", by="me", span=span)
        for every in (timedelta(milliseconds=10), timedelta(days=8)):
            with pytest.raises(signals.NotPossible, match="an interval is from 1s to 7d"):
                await signals.interval(bus, config, "hotel", "booking", every=every)
