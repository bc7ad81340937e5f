"""Three nats-servers, two agents, vendors that keep changing: whatever a cluster does, or is done to it, loses nothing."""

import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
import pytest

from connectors.sandbox.serve import serve
from events.jetstream.connection import TIMEOUT, Bus
from events.jetstream.outbox import TAKE_OVER
from events.jetstream.schedule import LEASE
from events.jetstream.tokens import JetStreamTokenStore
from events.tokens import Taken
from schemas.envelope import CloudEvent
from tests.agent.harness import (
    NAMES,
    Process,
    Receiver,
    Wire,
    agent,
    events_on,
    octorate,
    reading,
    ready,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.faults.changing import Changing
from tests.faults.cluster import SERVERS, Cluster, clustered, replicated

pytestmark = pytest.mark.anyio

STREAMS = {
    *(NAMES.ledger, NAMES.polls, NAMES.dead, NAMES.replays, NAMES.attempts, NAMES.history, NAMES.audit),
    *(f"KV_{name}" for name in (NAMES.lanes_bucket, NAMES.routes_bucket, NAMES.tokens_bucket, NAMES.signals_bucket)),
}
CONSUMERS = {f"{NAMES.polls}.agents", f"{NAMES.ledger}.route-crm", f"{NAMES.replays}.route-crm"}
BUSY = {
    NAMES.ledger,
    NAMES.polls,
    f"{NAMES.polls}.agents",
    f"{NAMES.ledger}.route-crm",
}  # each poll and delivery waits for these
DELIVERY = 5.0  # seconds an attempt may take: what was in hand at the loss comes again ACK_MARGIN after that
# From the election on: a request that went to nobody is given up, and the route that its agent let go of for that is handed out
# anew. The rest is for the polls, LOST_PAUSE between two of them, and for what was in hand.
RESUMES = TIMEOUT + TAKE_OVER + 5.0
CLEAN = "0 lost, 0 twice, 0 broken chains, 0 out of order"
Measured = Callable[[str, str, str], None]


class Scene:
    """Two agents on a cluster. The first knows all its servers, the second only `n2`."""

    def __init__(self, cluster: Cluster, receiver: Receiver, bookings: int) -> None:
        self.cluster = cluster
        self.receiver = receiver
        self.hotels = {name: Changing(bookings + number) for number, name in enumerate(("one", "two", "three"))}
        self.agents: list[Process] = []
        self.changes = AsyncExitStack()

    async def start(self, folder: Path, stack: AsyncExitStack) -> None:
        accounts = [
            octorate(name, await stack.enter_async_context(serve(hotel.sandbox))) for name, hotel in self.hotels.items()
        ]
        for name, urls in ("all", self.cluster.urls), ("n2", [self.cluster.of("n2").url]):
            file = write_config(
                folder,
                bus={"url": urls, "replicas": 3},
                accounts=accounts,
                routes=[webhook("crm", self.receiver.url, timeout=f"{DELIVERY:.0f}s")],
                name=f"{name}.yaml",
            )
            process = await stack.enter_async_context(agent(file, f"{name}.log"))
            self.agents.append(process)
        for process in self.agents:
            await ready(process)
        for name in self.hotels:
            await synced(self.agents[0], name)

    async def works(self, within: float) -> float:
        """Seconds until a change made now has been delivered, of every account."""
        newest = {}
        for name, hotel in self.hotels.items():
            hotel.change()
            newest[name] = max(hotel.guests().values())
        delivered = len(self.receiver.got)

        def all_told() -> bool:
            told: dict[str, int] = defaultdict(int)
            for got in self.receiver.got[delivered:]:
                told[got.event.account] = max(told[got.event.account], got.event.data["record"]["guests"])
            return all(told[name] >= number for name, number in newest.items())

        return await until(all_told, within)

    async def settled(self) -> list[CloudEvent]:
        """Every event, once all is told and delivered. Each chain unbroken, each delivery in its record's order."""
        await self.changes.aclose()
        await until(self.cluster.is_whole, 60)
        events: list[CloudEvent] = []

        async def all_well() -> bool:
            nonlocal events
            async with reading(self.cluster.urls[0]) as bus:
                events = await events_on(bus)
            return self.faults(events) == []

        try:
            await until(all_well, 60)
        except AssertionError:
            assert self.faults(events) == []
            raise
        await until(lambda: {event.id for event in events} <= {got.id for got in self.receiver.got}, 60)
        self._in_order()
        for process in self.agents:
            assert "Traceback" not in process.log, process.log
            assert "cannot be stored" not in process.log, process.log
        return events

    def faults(self, events: list[CloudEvent]) -> list[str]:
        """What is wrong with what the stream tells of each account."""
        own = {name: [event for event in events if event.account == name] for name in self.hotels}
        return [fault for name, hotel in self.hotels.items() for fault in hotel.faults(own[name])]

    def _in_order(self) -> None:
        first: dict[str, tuple[str, str, int]] = {}
        for got in self.receiver.got:
            first.setdefault(got.id, (got.event.account, got.key, got.version))
        latest: dict[tuple[str, str], int] = defaultdict(int)
        for account, key, version in first.values():
            assert version > latest[account, key]
            latest[account, key] = version


def longest_silence(receiver: Receiver, since: float) -> float:
    """Seconds without a delivery, from then until now."""
    times = [since, *(got.at for got in receiver.got if got.at > since), time.monotonic()]
    return max(after - before for before, after in itertools.pairwise(times))


@asynccontextmanager
async def staged(folder: Path, bookings: int = 20) -> AsyncIterator[Scene]:
    async with clustered(folder) as cluster, receiving() as receiver, AsyncExitStack() as stack:
        scene = Scene(cluster, receiver, bookings)
        await scene.start(folder, stack)
        async with scene.changes:
            for hotel in scene.hotels.values():
                await scene.changes.enter_async_context(hotel.meanwhile())
            await scene.works(30)
            yield scene


async def test_leaders_that_step_down_and_servers_restarted_one_by_one_cost_nothing(
    tmp_path: Path, torture: bool, measured: Measured
) -> None:
    async with staged(tmp_path) as scene:
        cluster, receiver = scene.cluster, scene.receiver
        async with reading(cluster.urls[0]) as bus:
            groups = await replicated(bus)
            names = [of_group(each) for each in groups]
            assert {*names} == STREAMS | CONSUMERS
            assert {each["config"]["num_replicas"] for each in groups if "stream_name" not in each} == {3}
            assert all(len(each["cluster"]["replicas"]) == 2 for each in groups)
            await one_gets_what_two_claim(cluster)
            silences = []
            for name in names * (10 if torture else 1):
                asked = time.monotonic()
                await bus.api(f"{'CONSUMER' if '.' in name else 'STREAM'}.LEADER.STEPDOWN.{name}")
                if torture or name in BUSY:
                    await scene.works(30)
                    silences.append(longest_silence(receiver, asked))
            await until(cluster.is_whole, 60)
            led = {of_group(each): each["cluster"]["leader_since"] for each in await replicated(bus)}
            assert all(led[of_group(each)] != each["cluster"]["leader_since"] for each in groups)
        restarts = []
        for name in SERVERS:
            began = time.monotonic()
            cluster.of(name).stop()
            cluster.of(name).start()
            await until(cluster.is_whole, 60)
            await scene.works(30)
            restarts.append(longest_silence(receiver, began))
        events = await scene.settled()
    mostly = sorted(silences)[len(silences) * 95 // 100]
    assert mostly < 3  # the polls' own second is in it
    assert max(silences) < 3 + TIMEOUT  # a request that went to nobody is made again when it was not answered
    assert max(restarts) < 15
    steps = "in a cluster of three, the leader of each stream and consumer steps down"
    rolling = "three servers are restarted one by one"
    pauses = f"pauses between deliveries: 95 of 100 at most {mostly:.1f} s, the longest {max(silences):.1f} s"
    measured("it resumes by itself", steps, pauses)
    measured("it resumes by itself", rolling, f"no pause between deliveries longer than {max(restarts):.1f} s")
    measured("nothing is lost", f"{steps}; {rolling}", f"{len(events)} events: {CLEAN}")


async def test_a_killed_leader_and_a_lost_majority_cost_nothing_but_time(
    tmp_path: Path, torture: bool, measured: Measured
) -> None:
    async with staged(tmp_path, 30) as scene:
        cluster, waits, elections, late = scene.cluster, [], [], []
        for _ in range(5 if torture else 1):
            leader = await cluster.leader(NAMES.ledger)
            cluster.of(leader).kill()
            waits.append(await scene.works(60))
            elections.append(await elected(cluster.others(leader)[0].url, waits[-1]))
            # whoever knows no other server than n2 keeps the polls in its hand for as long as their lease lasts
            cut_off = LEASE.total_seconds() if leader == "n2" else 0
            late.append(waits[-1] - elections[-1] - cut_off)
            cluster.of(leader).start()
            await until(cluster.is_whole, 60)
        assert max(late) < RESUMES
        killed = f"the leading server of three is killed ({len(waits)} times)"
        figure = f"delivers again after {max(waits):.1f} s, {max(elections):.1f} s of it until another was elected"
        measured("it resumes by itself", killed, figure)
        for seconds in (3, 30, 90) if torture else (3,):
            await without_majority(scene, seconds, measured)
        events = await scene.settled()
    measured("nothing is lost", f"{killed}; two servers of three are gone", f"{len(events)} events: {CLEAN}")


async def without_majority(scene: Scene, seconds: float, measured: Measured) -> None:
    """Two servers of three are gone; the third answers, and can store nothing. One agent knows only that one, and hears from
    it that all is well until it finds out itself."""
    gone = scene.cluster.others("n2")
    for server in gone:
        server.kill()
    lost = time.monotonic()
    noticed = [await until(partial(is_unready, process), 40) for process in scene.agents]
    assert [(await process.get("/livez"))[0] for process in scene.agents] == [200, 200]
    await anyio.sleep(max(lost + seconds - time.monotonic(), 0))
    for server in gone:
        server.start()
    wait = await scene.works(60)
    election = await elected(scene.cluster.urls[0], wait)
    for process in scene.agents:
        await ready(process)
    await until(scene.cluster.is_whole, 60)
    assert wait - election < RESUMES
    fault = f"two servers of three are gone for {seconds:.0f} s"
    measured("never silent", fault, f"both agents say that they are not ready within {sum(noticed):.1f} s")
    figure = f"delivers again {wait:.1f} s after their return, {election:.1f} s of it until all had a leader"
    measured("it resumes by itself", fault, figure)


async def elected(url: str, within: float) -> float:
    """Seconds, of those that have just passed, until what polls and deliveries need had a leader again."""
    began = time.time() - within
    async with reading(url) as bus:
        groups = [each["cluster"] for each in await replicated(bus) if of_group(each) in BUSY]
    return max(0.0, *(datetime.fromisoformat(each["leader_since"]).timestamp() - began for each in groups))


async def one_gets_what_two_claim(cluster: Cluster) -> None:
    """A cluster has its own word for a conflict with what it is still writing to its replicas."""
    async with reading(cluster.urls[0]) as one, reading(cluster.urls[1]) as other:
        for turn in range(20):
            got: list[int | Taken] = []

            async def claim(bus: Bus, turn: int, got: list[int | Taken]) -> None:
                got.append(await JetStreamTokenStore(bus, NAMES).claim(f"account-{turn}", bus.client.new_inbox(), 60))

            async with anyio.create_task_group() as group:
                group.start_soon(claim, one, turn, got)
                group.start_soon(claim, other, turn, got)
            assert sorted(isinstance(each, Taken) for each in got) == [False, True]


async def is_unready(process: Process) -> bool:
    return not await process.is_ready()


def of_group(group: Wire) -> str:
    """A stream's name, or a consumer's behind that of its stream."""
    return f"{group['stream_name']}.{group['name']}" if "stream_name" in group else str(group["config"]["name"])
