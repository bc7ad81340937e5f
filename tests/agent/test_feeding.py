"""A feed is published once, whole and in order, whatever is uploaded late and wherever the agent dies."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, ClassVar

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.feeding import LARGEST, grouped, windows
from connectors.api import Api
from connectors.auth import SignIn, Token
from connectors.base import Connector, Feeding, Point, Points, Resource, Span
from connectors.errors import Forbidden, Misconfigured, Throttled, Unavailable, Unreadable
from events.ledger import Head, MemoryLedger, Poll, State
from schemas.changes import Change
from schemas.energy import Batch, Measured, Measurement
from schemas.envelope import CloudEvent, encode
from schemas.facts import PollOutcome
from schemas.records import Record
from schemas.settings import Budget, Duration
from tests.polled import NOON, Account, Clock

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
OVERLAP = 15 * MINUTE
WINDOW = 60 * MINUTE


class Meters(Connector, frozen=True, kw_only=True, tag="carbontrack"):
    """Reads what the test put into `MEMORY` under the account's name."""

    resources: ClassVar[MappingProxyType[str, Resource]] = MappingProxyType(
        {
            "measurement": Resource(
                record=Measured, every=5 * MINUTE, changes=("batch",), only=True, feed=True, told=Batch
            )
        }
    )
    default_budget: ClassVar[Budget] = Budget(requests=1000, per=Duration(seconds=1))

    base_url: str = "https://meters.test"

    @property
    def vendor_side(self) -> "VendorSide":
        return MEMORY[self.name]

    def sign_in(self, token: Token | None) -> SignIn:
        yield httpx.Request("POST", self.base_url)
        return Token(access="a", lifetime=60)

    async def parts(self, api: Api, resource: str) -> Sequence[str]:
        return self.vendor_side.parts

    def feeding(self, resource: str) -> Feeding:
        return Feeding(overlap=OVERLAP, window=WINDOW)

    async def follow(self, api: Api, span: Span) -> AsyncIterator[Points]:
        self.vendor_side.asked.append(span)
        if len(self.vendor_side.asked) > self.vendor_side.patience:
            raise Throttled("enough")
        for name in {span.part, span.source} & self.vendor_side.broken.keys():
            raise self.vendor_side.broken[name]
        items = self.vendor_side.between(span)
        for at in range(0, len(items), 1000):
            yield Points(items=items[at : at + 1000], to_point=_point)


class VendorSide:
    """What the vendor holds: device → time → value."""

    def __init__(self) -> None:
        self.parts: tuple[str, ...] = ("north",)
        self.points: dict[str, dict[datetime, float]] = {}
        self.asked: list[Span] = []
        self.broken: dict[str, Exception] = {}
        self.spoilt: set[datetime] = set()
        self.patience = 1_000_000  # requests until it throttles

    def upload(self, device: str, *times: datetime, value: float = 1.5) -> None:
        self.points.setdefault(device, {}).update(dict.fromkeys(times, value))

    def between(self, span: Span) -> list[msgspec.Raw]:
        found = [
            {"device": device, "at": at, "value": "?" if at in self.spoilt else value}
            for device, points in self.points.items()
            if span.source in {"", device} and span.part in {"north", device[:5]}
            for at, value in points.items()
            if span.start <= at <= span.end
        ]
        random.Random(len(found)).shuffle(found)
        return [msgspec.Raw(msgspec.json.encode(each)) for each in found]


MEMORY: dict[str, VendorSide] = {}


class _Wire(msgspec.Struct):
    device: str
    at: datetime
    value: float


def _point(raw: msgspec.Raw) -> Point:
    found = msgspec.json.decode(raw, type=_Wire)
    return Point(source=found.device, at=found.at, value=Measurement(at=found.at, power_usage=found.value))


class Crashing(MemoryLedger):
    """Dies at its `fatal`th commit, before or after it is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.fatal = -1
        self.stored_first = False

    async def commit(self, state: State, changes: Sequence[Change], head: Head, poll: Poll) -> list[CloudEvent]:
        self.fatal -= 1
        if self.fatal == 0 and not self.stored_first:
            raise KilledError
        events = await super().commit(state, changes, head, poll)
        if self.fatal == 0:
            raise KilledError
        return events


class KilledError(Exception):
    pass


class Site(Account):
    def __init__(self, name: str = "site", **other: Any) -> None:
        MEMORY[name] = self.vendor_side = VendorSide()
        super().__init__(Meters(name=name), lambda _: httpx.Response(500), Clock(), **other)  # type: ignore[arg-type]
        self.ledger = self.crashing = Crashing()
        self.restart()

    async def follow(self, after: timedelta = 5 * MINUTE) -> Any:
        return await self.poll("measurement", after=after)

    def news(self) -> dict[str, list[datetime]]:
        """Device → the times told since the last look, in the order they were told."""
        told: dict[str, list[datetime]] = {}
        for event in self.told():
            told.setdefault(event.data.device, []).extend(each.at for each in event.data.measurements)
        return told

    def ago(self, *minutes: float) -> list[datetime]:
        return [self.clock() - each * MINUTE for each in minutes]


@pytest.fixture
def site() -> Site:
    return Site()


async def test_what_was_there_before_the_first_poll_is_no_news(site: Site) -> None:
    site.vendor_side.upload("north-1", *site.ago(10, 5, 0))
    assert (await site.follow()).outcome is PollOutcome.UNCHANGED
    assert site.news() == {}
    assert (await site.follow()).outcome is PollOutcome.UNCHANGED


async def test_a_first_sync_with_events_tells_what_the_overlap_holds() -> None:
    site = Site(first_sync="events")
    times = [*site.ago(4, 2), NOON]
    site.vendor_side.upload("north-1", *times)
    await site.follow()
    event = site.told()[0]
    assert ([each.at for each in event.data.measurements], event.firstsync) == (times, True)


async def test_a_batch_per_device_ascending_as_the_contract_says(site: Site) -> None:
    await site.follow()
    site.vendor_side.upload("north-1", *site.ago(-2, -1, -3), value=1234.5)
    site.vendor_side.upload("north-2", *site.ago(-4))
    ended = await site.follow()
    first, second = sorted(site.told(), key=lambda event: event.subject)
    assert (ended.outcome, ended.changes) == (PollOutcome.CHANGED, 2)
    assert (first.type, first.subject, first.version) == ("measurement.batch", "north-1", 1)
    data = msgspec.json.decode(encode(first))["data"]
    assert data == {
        "device": "north-1",
        "from": "2026-05-20T12:06:00Z",
        "to": "2026-05-20T12:08:00Z",
        "measurements": [{"at": f"2026-05-20T12:0{minute}:00Z", "power_usage": 1234.5} for minute in (6, 7, 8)],
    }
    assert (first.time, second.data.device) == (first.data.to, "north-2")


async def test_what_is_read_again_is_not_told_again(site: Site) -> None:
    await site.follow()
    site.vendor_side.upload("north-1", *site.ago(-1, -2))
    await site.follow()
    assert len(site.news()["north-1"]) == 2
    for _ in range(5):
        assert (await site.follow()).outcome is PollOutcome.UNCHANGED
    assert site.news() == {}


async def test_a_late_upload_within_the_overlap_is_told_once(site: Site) -> None:
    await site.follow()
    site.vendor_side.upload("north-1", *site.ago(-4))
    await site.follow()
    site.news()
    late = site.ago(3)
    site.vendor_side.upload("north-1", *late)
    await site.follow()
    await site.follow()
    assert site.news() == {"north-1": late}


async def test_a_device_back_after_long_silence_is_asked_for_all_it_uploaded_meanwhile(site: Site) -> None:
    await site.follow()
    site.vendor_side.upload("north-1", *site.ago(-1))
    await site.follow()
    site.news()
    for _ in range(60):
        await site.follow()
    meanwhile = site.ago(*range(290, 0, -10))
    site.vendor_side.upload("north-1", *meanwhile)
    site.vendor_side.asked.clear()
    await site.follow()
    assert site.news() == {"north-1": meanwhile}
    assert [span.source for span in site.vendor_side.asked] == ["", "north-1"]


async def test_a_whole_fleet_needs_few_requests_also_when_it_reports_rarely(site: Site) -> None:
    fleet = [f"north-{number}" for number in range(5000)]
    await site.follow()
    for device in fleet:
        site.vendor_side.upload(device, *site.ago(-1))
    await site.follow()
    for _ in range(6):
        await site.follow()
    site.news()
    for device in fleet:
        site.vendor_side.upload(device, *site.ago(25, 1))  # one within the overlap, one long before
    site.vendor_side.asked.clear()
    await site.follow()
    assert len(site.news()) == 5000
    assert len(site.vendor_side.asked) <= 3


async def silent_for(site: Site, devices: int, time: timedelta) -> list[str]:
    """Devices that were told once and have been silent since, while another one went on."""
    names = [f"north-{number}" for number in range(1, devices + 1)]
    await site.follow()
    for name in [*names, "north-0"]:
        site.vendor_side.upload(name, *site.ago(-1))
    await site.follow()
    await site.follow(after=time)
    for _ in range(3):
        site.vendor_side.upload("north-0", *site.ago(-1))
        await site.follow()
    assert len(site.news()["north-0"]) == 4
    site.vendor_side.asked.clear()
    return names


async def test_a_device_that_kept_months_holds_nobody_up_and_goes_on_where_the_vendor_stopped_it(site: Site) -> None:
    (name,) = await silent_for(site, 1, timedelta(days=90))
    kept = site.ago(*(60 * hours for hours in range(89 * 24, 0, -6)))
    kept.append(site.clock() + MINUTE)
    site.vendor_side.upload(name, *kept)
    site.vendor_side.patience = 20
    told: dict[str, list[datetime]] = {}
    others = []
    for _ in range(8):
        site.vendor_side.asked.clear()
        others.append(site.clock() + 2 * MINUTE)
        site.vendor_side.upload("north-0", others[-1])
        await site.follow()
        for device, times in site.news().items():
            told.setdefault(device, []).extend(times)
        assert told["north-0"] == others
    assert told[name] == kept


async def test_a_fleet_that_was_silent_for_hours_is_read_together(site: Site) -> None:
    names = await silent_for(site, 500, timedelta(hours=3))
    for name in names:
        site.vendor_side.upload(name, *site.ago(100, 1))
    await site.follow()
    assert {len(times) for times in site.news().values()} == {2}
    assert len(site.vendor_side.asked) <= 5


async def test_a_device_that_cannot_be_asked_alone_waits_and_the_others_go_on(site: Site) -> None:
    (name,) = await silent_for(site, 1, timedelta(hours=5))
    kept = [*site.ago(100), site.clock() + MINUTE]
    site.vendor_side.upload(name, *kept)
    site.vendor_side.upload("north-0", *site.ago(-2))
    site.vendor_side.broken[name] = Misconfigured("404")
    assert (await site.follow()).outcome is PollOutcome.FORBIDDEN
    assert list(site.news()) == ["north-0"]
    site.vendor_side.broken.clear()
    site.vendor_side.upload(name, *site.ago(-1))
    await site.follow()
    assert site.news() == {name: [*kept, site.clock() - 4 * MINUTE]}


async def test_a_known_device_under_a_newly_listed_part_misses_nothing(site: Site) -> None:
    site.vendor_side.parts = ("south",)
    await site.follow()
    site.vendor_side.upload("south-1", *site.ago(-1))
    await site.follow()
    assert len(site.news()["south-1"]) == 1
    site.vendor_side.parts = ("north",)
    site.vendor_side.upload("south-1", *site.ago(-1, -2))
    site.vendor_side.upload("north-1", *site.ago(-1, -2))
    await site.follow()
    assert {device: len(times) for device, times in site.news().items()} == {"south-1": 2}


async def test_a_device_that_is_new_brings_what_it_kept_for_a_day(site: Site) -> None:
    await site.follow()
    await site.follow(after=timedelta(days=3))
    kept = site.ago(25 * 60, 100, 50, -1)
    site.vendor_side.upload("north-1", *kept)
    await site.follow()
    assert site.news() == {"north-1": kept[1:]}


def test_sources_are_read_together_where_that_takes_fewer_reads() -> None:
    near = {f"near-{number}": NOON - 2 * WINDOW for number in range(10)}
    far = {"far": NOON - timedelta(days=90)}
    together, alone = grouped({**near, **far}, NOON, WINDOW)
    assert (set(together), alone) == (set(near), ["far"])
    assert grouped(far, NOON, WINDOW) == ([], ["far"])


async def test_a_long_gap_is_read_in_windows_and_each_is_kept(site: Site) -> None:
    await site.follow()
    times = [NOON + 5 * MINUTE * number for number in range(2, 12 * 24)]
    site.vendor_side.upload("north-1", *times)
    site.vendor_side.asked.clear()
    site.crashing.fatal = 5
    with pytest.raises(KilledError):
        await site.follow(after=timedelta(days=1))
    first = site.news()["north-1"]
    assert 0 < len(first) < len(times)
    site.restart()
    await site.follow(after=timedelta(0))
    assert first + site.news()["north-1"] == times
    assert all(span.end - span.start <= WINDOW for span in site.vendor_side.asked)


async def test_a_large_batch_is_split_under_half_a_megabyte_and_told_once(site: Site) -> None:
    await site.follow()
    times = [site.clock() + timedelta(milliseconds=20 * number) for number in range(12_000)]
    site.vendor_side.upload("north-1", *times)
    await site.follow()
    events = site.told()
    assert len(events) > 1
    assert all(len(encode(event)) < 512 * 1024 for event in events)
    assert len(encode(events[0])) > LARGEST / 2
    assert [each.at for event in events for each in event.data.measurements] == times
    assert [event.version for event in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize("stored_first", [False, True])
@pytest.mark.parametrize("fatal", range(1, 8))
async def test_a_crash_at_any_commit_loses_nothing_and_tells_nothing_twice(fatal: int, stored_first: bool) -> None:
    site = Site()
    await site.follow()
    times = {f"north-{number}": site.ago(-1, -2, -3)[::-1] for number in range(1100)}
    for device, each in times.items():
        site.vendor_side.upload(device, *sorted(each))
    site.crashing.fatal, site.crashing.stored_first = fatal, stored_first
    try:
        await site.follow()
    except KilledError:
        site.restart()
    site.crashing.fatal = -1
    await site.follow()
    assert site.news() == {device: sorted(each) for device, each in times.items()}


async def test_a_device_whose_clock_is_ahead_does_not_hide_what_comes(site: Site) -> None:
    await site.follow()
    site.vendor_side.points["north-1"] = {NOON + timedelta(days=365): 1.0}
    MEMORY["site"].between = lambda span: [  # type: ignore[method-assign]  # a vendor that does not heed the end
        msgspec.Raw(msgspec.json.encode({"device": "north-1", "at": at, "value": 1.0}))
        for at in site.vendor_side.points["north-1"]
        if at >= span.start
    ]
    await site.follow()
    site.vendor_side.upload("north-1", *site.ago(-1))
    await site.follow()
    await site.follow()
    assert sorted(site.news()["north-1"]) == [NOON + 11 * MINUTE, NOON + timedelta(days=365)]


async def test_a_part_that_fails_does_not_hold_up_the_others(site: Site) -> None:
    site.vendor_side.parts = ("north", "south")
    await site.follow()
    site.vendor_side.broken["south"] = Forbidden("not ours")
    site.vendor_side.upload("north-1", *site.ago(-1))
    ended = await site.follow()
    assert ended.outcome is PollOutcome.FORBIDDEN
    assert len(site.news()) == 1
    del site.vendor_side.broken["south"]
    missed = site.ago(2)
    site.vendor_side.upload("south-1", *missed)
    assert (await site.follow()).outcome is PollOutcome.CHANGED
    assert site.news()["south-1"] == missed


async def test_a_failure_moves_no_cursor(site: Site) -> None:
    await site.follow()
    site.vendor_side.broken["north"] = Unavailable("down")
    for _ in range(20):
        site.vendor_side.upload("north-1", *site.ago(-1))
        assert (await site.follow()).outcome is PollOutcome.UNAVAILABLE
    site.vendor_side.broken.clear()
    await site.follow()
    assert len(site.news()["north-1"]) == 20


async def test_an_unreadable_entry_is_quarantined_and_the_others_go_on(site: Site) -> None:
    await site.follow()
    site.vendor_side.upload("north-1", *site.ago(-1, -2, -3))
    site.vendor_side.spoilt.update(site.ago(-2))
    await site.follow()
    assert len(site.news()["north-1"]) == 2
    assert site.quarantined() == ["Expected `float`, got `str` at $.value"]


async def test_where_nothing_can_be_read_the_poll_says_so_and_comes_back_to_it(site: Site) -> None:
    await site.follow()
    times = site.ago(-2, -1)
    site.vendor_side.upload("north-1", *times)
    site.vendor_side.spoilt.update(times)
    assert (await site.follow()).outcome is PollOutcome.UNREADABLE
    site.vendor_side.spoilt.clear()
    await site.follow()
    assert site.news() == {"north-1": sorted(times)}


async def test_redacted_values_are_neither_published_nor_missed(site: Site) -> None:
    site.configure(redact=("power_usage",))
    await site.follow()
    site.vendor_side.upload("north-1", *site.ago(-1))
    await site.follow()
    assert msgspec.json.decode(encode(site.told()[0]))["data"]["measurements"] == [{"at": "2026-05-20T12:06:00Z"}]


async def test_what_is_stored_says_how_far_a_device_was_told(site: Site) -> None:
    await site.follow()
    site.vendor_side.upload("north-1", *site.ago(-1))
    await site.follow()
    stored: dict[str, Record] = await site.stored("measurement")
    assert stored["north-1"].until == NOON + 6 * MINUTE  # type: ignore[attr-defined]


@settings(deadline=None, max_examples=60)
@given(
    uploads=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 200), st.integers(0, 14)), max_size=40, unique_by=lambda u: u[:2]
    ),
    crashes=st.dictionaries(st.integers(1, 60), st.booleans(), max_size=3),
)
async def test_every_point_is_told_exactly_once(uploads: list[tuple[int, int, int]], crashes: dict[int, bool]) -> None:
    """Points (device, minute) come to the vendor up to 14 minutes late; the agent polls every 5 and dies now and then."""
    site = Site("property")
    await site.follow()
    begun = site.clock()
    waiting = sorted((minute + late, f"north-{device}", begun + minute * MINUTE) for device, minute, late in uploads)
    for step in range(1, 60):
        while waiting and begun + waiting[0][0] * MINUTE <= site.clock() + 5 * MINUTE:
            _, device, at = waiting.pop(0)
            site.vendor_side.upload(device, at)
        if step in crashes:
            site.crashing.fatal, site.crashing.stored_first = 1, crashes[step]
        try:
            await site.follow()
        except KilledError:
            site.restart()
    told = [(device, at) for device, times in site.news().items() for at in times]
    assert sorted(told) == sorted((f"north-{device}", begun + minute * MINUTE) for device, minute, _ in uploads)


def test_windows_cover_a_stretch_without_a_gap() -> None:
    found = list(windows(NOON, NOON + 150 * MINUTE, WINDOW))
    assert [(low - NOON, high - NOON) for low, high in found] == [
        (0 * MINUTE, 60 * MINUTE),
        (60 * MINUTE, 120 * MINUTE),
        (120 * MINUTE, 150 * MINUTE),
    ]


async def test_all_unreadable_is_told_as_unreadable(site: Site) -> None:
    site.vendor_side.broken["north"] = Unreadable("HTML")
    assert (await site.follow()).outcome is PollOutcome.UNREADABLE
