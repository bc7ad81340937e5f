"""A real agent whose vendors all turn hostile at once: its memory is bounded, the account that is well goes on at its pace, and
what really changed is told when the vendors are well again, nothing else."""

import gzip
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connectors.sandbox.base import utc_now
from connectors.sandbox.every import FAKES
from schemas.changes import CATALOGUE
from tests.agent.harness import Process, Wire, agent, events_on, hotel, octorate, reading, until, write_config
from tests.faults.hostile import (
    MEGABYTE,
    SLOW,
    VENDORS,
    Hostile,
    Site,
    Trick,
    bomb,
    flooding,
    full,
    hostile,
    listing,
    reply,
    says,
)
from tests.nats import NatsServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

Measured = Callable[[str, str, str], None]

MOST_GROWTH = 64.0  # MB
PATIENCE = 120.0  # seconds: the machine may be busy
EVERY = "1s"


def body_of(text: bytes) -> Trick:
    """This, gzipped."""
    packed = gzip.compress(text, 1)
    return says(lambda _: reply(packed, "Content-Encoding: gzip"))


# What a page may be that only wants to be taken in.
PAGES: dict[str, Callable[[str], Trick]] = {
    "a page of 200 MB": lambda _: flooding(reply(b"[", length=200 * MEGABYTE), b" " * MEGABYTE, 200),
    "a gzip bomb of 4 GB": lambda _: bomb(),
    "a page of five million empty objects": lambda vendor: full(b"{}", listing(vendor)),
    "a page of 400,000 empty objects": lambda vendor: full(b"{}", listing(vendor), size=3 * 400_000),
    "15 MB of escapes that are none": lambda _: body_of(b"\\a" * (15 * MEGABYTE // 2)),
    "15 MB of half characters": lambda vendor: body_of(listing(vendor)(b'"%s"' % (b"\\ud800" * (15 * MEGABYTE // 6)))),
    "a record of 15 MB": lambda vendor: full(b'{"id":1,"name":"%s"}' % (b"x" * (14 * MEGABYTE)), listing(vendor)),
}


class Peak:
    """The most memory of a process since it was asked to begin, beyond what it had then; in MB."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._begin = 0.0

    def begin(self) -> None:
        self._folder.joinpath("clear_refs").write_text("5")  # forgets the peak so far
        self._begin = self._of("VmRSS")

    @property
    def growth(self) -> float:
        return self._of("VmHWM") - self._begin

    def _of(self, name: str) -> float:
        lines = self._folder.joinpath("status").read_text().splitlines()
        return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(name))


class World:
    """An agent, its four hostile vendors, and one that is always well."""

    def __init__(self, process: Process, sites: dict[str, Site], doors: dict[str, Hostile], well: list[float]) -> None:
        self.process = process
        self.sites = sites
        self.doors = doors
        self.well = well  # when the account that is well asked for its bookings
        self.changes: list[tuple[str, str]] = []  # each vendor's real ones, in order
        self._number = 0

    def turn(self, tricks: Mapping[str, Trick]) -> None:
        """These vendors turn hostile; the others are well (again)."""
        for vendor, door in self.doors.items():
            door.trick = tricks.get(vendor)

    def change(self) -> None:
        """Something happens at each."""
        self._number += 1
        self.changes += [(vendor, site.change(self._number)) for vendor, site in self.sites.items()]

    async def polls(self, vendor: str, *outcomes: str) -> float:
        """How many polls of the vendor's records ended so."""
        where = f'resource="{self.sites[vendor].of.resource}",vendor="{vendor}"'
        name = 'vendorwire_polls_total{{account="of-{}",outcome="{}",{}}}'
        return sum([await self.process.metric(name.format(vendor, outcome, where)) for outcome in outcomes])

    async def fail(self, outcome: str, times: int, vendors: Sequence[str] = VENDORS) -> None:
        """Wait until each of the vendors has failed so many times more."""
        before = {vendor: await self.polls(vendor, outcome) for vendor in vendors}
        for vendor in vendors:
            await until(partial(self._has_failed, vendor, outcome, before[vendor] + times), PATIENCE)

    async def _has_failed(self, vendor: str, outcome: str, times: float) -> bool:
        assert self.process.ended is None, self.process.log
        return await self.polls(vendor, outcome) >= times

    def longest_gap(self, since: float) -> float:
        """Seconds in which the account that is well asked for nothing."""
        at = [since, *(each for each in self.well if each > since), time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(at))


def account(vendor: str, url: str, resource: str) -> Wire:
    fake = FAKES[vendor](0 if vendor not in {"ipro", "carbontrack", "powerpro"} else 3, lively=False)
    every = {**dict.fromkeys(CATALOGUE[vendor], "1h"), resource: EVERY}
    budget = {"requests": 1_000_000, "per": "1m"}
    own: dict[str, Any] = {**fake.account, "base_url": url + fake.account["base_url"]}
    if vendor == "carbontrack":
        own["offline_after"] = "12h"
    return {"vendor": vendor, "name": f"of-{vendor}", **own, "every": every, "budget": budget, "reconcile": "1s"}


@asynccontextmanager
async def world(folder: Path, nats: NatsServer) -> AsyncIterator[World]:
    """All of it, once each account has been read."""
    sites = {vendor: Site(vendor, utc_now) for vendor in VENDORS}
    async with AsyncExitStack() as stack:
        doors = {
            vendor: await stack.enter_async_context(hostile(site.sandbox, site.of.listing))
            for vendor, site in sites.items()
        }
        asked: list[float] = []
        quiet = hotel()

        def noting(request: Any) -> Any:
            if "/reservation/" in request.url.path:
                asked.append(time.monotonic())
            return quiet(request)

        well = await stack.enter_async_context(hostile(noting, "nothing"))
        accounts = [account(vendor, doors[vendor].url, site.of.resource) for vendor, site in sites.items()]
        accounts.append(octorate("well", well.url, every={"booking": EVERY, "property": "1h"}))
        process = await stack.enter_async_context(agent(write_config(folder, bus={"url": nats.url}, accounts=accounts)))
        found = World(process, sites, doors, asked)
        for vendor in VENDORS:
            await until(partial(found._has_failed, vendor, "unchanged", 2), PATIENCE)
        yield found


async def told(nats: NatsServer) -> list[tuple[str, str, str]]:
    async with reading(nats.url) as bus:
        return [(event.vendor, event.type, event.subject) for event in await events_on(bus)]


async def tells(nats: NatsServer, events: int) -> bool:
    """Whether so many changes of records have been told."""
    return len([each for each in await told(nats) if not each[1].startswith("account.")]) >= events


async def is_well(world: World, nats: NatsServer) -> bool:
    """Whether all that happened has been told, and every account is as well as it is."""
    events = await told(nats)
    troubled = [kind for _, kind, _ in events].count("account.degraded")
    recovered = [kind for _, kind, _ in events].count("account.recovered")
    return troubled == recovered and len(events) >= len(world.changes) + 2 * troubled


async def judge(world: World, nats: NatsServer) -> set[str]:
    """The vendors are well again: exactly what really changed is told. The verbs of all that was told, of accounts too."""
    await until(partial(is_well, world, nats), PATIENCE)
    events = await told(nats)
    of_records = [(vendor, key) for vendor, kind, key in events if not kind.startswith("account.")]
    assert sorted(of_records) == sorted(world.changes)
    return {kind.rpartition(".")[2] for _, kind, _ in events}


async def test_no_page_costs_memory_or_holds_up_the_others(
    tmp_path: Path, nats: NatsServer, torture: bool, measured: Measured
) -> None:
    names = list(PAGES)
    async with world(tmp_path, nats) as all_:
        peak = Peak(all_.process.pid)
        for at, name in enumerate(names):
            grown: list[float] = []
            for vendor in VENDORS if torture else (VENDORS[at % len(VENDORS)],):
                peak.begin()
                all_.turn({vendor: PAGES[name](vendor)})
                await all_.fail("unreadable", 1, (vendor,))
                grown.append(peak.growth)
            assert (name, max(grown) <= MOST_GROWTH, grown) == (name, True, grown)
            measured("bounded memory", f"a vendor answers with {name}", f"{max(grown):.0f} MB more")
        all_.change()
        since = time.monotonic()
        all_.turn({vendor: PAGES[names[at]](vendor) for at, vendor in enumerate(VENDORS)})
        await all_.fail("unreadable", 3)
        gap = all_.longest_gap(since)
        assert gap <= 10
        measured(
            "the rest goes on", "four vendors at once answer with huge pages", f"another account waits {gap:.1f} s"
        )
        all_.turn({})
        assert await judge(all_, nats) == {"modified", "degraded", "recovered"}
        for vendor, site in all_.sites.items():
            assert f"{vendor}/of-{vendor}/{site.of.resource}" in all_.process.log
        assert all_.process.log.count("outcome=unreadable") >= len(VENDORS)


async def test_vendors_that_drip_are_left_at_the_deadline_and_hold_up_nobody(
    tmp_path: Path, nats: NatsServer, torture: bool, measured: Measured
) -> None:
    kinds = list(SLOW)
    async with world(tmp_path, nats) as all_:
        peak = Peak(all_.process.pid)
        for turn in range(len(kinds) if torture else 1):
            slow = {vendor: kinds[(turn + at) % len(kinds)] for at, vendor in enumerate(VENDORS)}
            all_.change()
            since = time.monotonic()
            peak.begin()
            all_.turn({vendor: SLOW[kind] for vendor, kind in slow.items()})
            await all_.fail("unavailable", 1, VENDORS if torture else ("ipro", "powerpro"))  # the others have two parts
            took, grown, gap = time.monotonic() - since, peak.growth, all_.longest_gap(since)
            all_.turn({})
            await until(partial(tells, nats, len(all_.changes)), PATIENCE)
            assert took >= 25
            assert grown <= MOST_GROWTH
            assert gap <= 10
            figure = f"left after {took:.0f} s, {grown:.0f} MB more, another account waits {gap:.1f} s"
            measured("the rest goes on", f"vendors that drip: {', '.join(kinds)}", figure)
        assert "no answer within 30 s" in all_.process.log
        assert await judge(all_, nats) <= {"modified", "degraded", "recovered"}
