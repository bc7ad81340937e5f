"""A device that is silent is offline, each outage once; a whole fleet that falls silent is the vendor's fault."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from agent.health import Health
from agent.outcomes import VENDOR_STALE
from agent.sweeping import Fleet as Fleet_
from connectors.sandbox.carbontrack import CarbontrackSandbox
from schemas.changes import Scope
from schemas.facts import PollOutcome
from tests.connectors.subjects.carbontrack import settings
from tests.polled import NOON, Account, Clock

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)


class Fleet(Account):
    """Some devices that report every minute; one that is silent for 15 is offline."""

    def __init__(self, devices: int) -> None:
        clock = Clock()
        self.sandbox = CarbontrackSandbox(clock, seed=0, customers=0, reporting=MINUTE, noise=True)
        for _ in range(devices):
            self.sandbox.add_device()
        super().__init__(settings(), self.sandbox, clock)
        self.ids = sorted(self.sandbox.devices)
        self.health = Health(self.ledger, clock, self.facts.append)

    async def look(self, after: timedelta = MINUTE) -> Any:
        """Poll as the agent does: the account's health is noted too."""
        ended = await self.poll("device", after=after)
        await self.health.note(self.watched, "device", ended, 0 if ended.outcome.succeeded else 1)
        return ended

    async def silence(self, ids: Iterable[str], minutes: int = 17) -> None:
        for id_ in ids:
            self.sandbox.silence(id_)
        for _ in range(minutes):
            await self.look()

    def news(self) -> list[tuple[str, str]]:
        return sorted((event.type, event.subject) for event in self.told())


async def fleet_of(devices: int) -> Fleet:
    fleet = Fleet(devices)
    await fleet.look()
    await fleet.look()
    assert fleet.told() == []
    return fleet


async def test_each_outage_is_an_event_of_its_own_that_says_since_when() -> None:
    fleet = await fleet_of(3)
    outages: list[datetime] = []
    for _ in range(2):
        await fleet.silence(fleet.ids[:1])
        (event,) = fleet.told()
        outages.append(event.data["record"].since)
        assert (event.type, event.subject) == ("device.offline", fleet.ids[0])
        assert timedelta(minutes=15) < fleet.clock() - event.data["record"].since < timedelta(minutes=18)
        fleet.sandbox.wake(fleet.ids[0])
        await fleet.look()
        (event,) = fleet.told()
        assert (event.type, event.data["record"].since) == ("device.online", None)
    assert outages[0] < outages[1]


async def test_an_outage_is_told_once_however_long_it_lasts_and_over_restarts() -> None:
    fleet = await fleet_of(3)
    await fleet.silence(fleet.ids[:1])
    fleet.told()
    for _ in range(5):
        fleet.restart()
        await fleet.look(after=timedelta(hours=7))
    assert fleet.told() == []


async def test_an_agent_that_was_away_tells_an_outage_that_lasts_and_none_that_is_over() -> None:
    fleet = await fleet_of(3)
    fleet.sandbox.silence(fleet.ids[0])
    fleet.sandbox.silence(fleet.ids[1])
    fleet.clock.at += timedelta(hours=2)
    fleet.sandbox.wake(fleet.ids[1])
    await fleet.look()
    assert fleet.news() == [("device.offline", fleet.ids[0])]


@pytest.mark.parametrize(("devices", "silent"), [(20, 10), (19, 19), (40, 20), (3, 3)])
async def test_up_to_half_of_a_fleet_and_all_of_a_small_one_are_told_one_by_one(devices: int, silent: int) -> None:
    fleet = await fleet_of(devices)
    await fleet.silence(fleet.ids[:silent])
    assert fleet.news() == [("device.offline", id_) for id_ in fleet.ids[:silent]]


@pytest.mark.parametrize(("devices", "silent"), [(20, 11), (20, 20), (41, 21)])
async def test_more_than_half_of_a_large_fleet_at_once_is_one_event_about_the_account(
    devices: int, silent: int
) -> None:
    fleet = await fleet_of(devices)
    await fleet.silence(fleet.ids[:silent], minutes=0)
    ended = await fleet.look(after=timedelta(minutes=30))
    await fleet.look()
    (event,) = fleet.told()
    assert (event.type, event.data["record"].reason) == ("account.degraded", VENDOR_STALE)
    assert (ended.outcome, f"{silent} of {devices}" in ended.detail) == (PollOutcome.UNAVAILABLE, True)


async def test_a_vendor_that_stands_still_is_no_flood_though_devices_cross_the_line_one_by_one() -> None:
    fleet = Fleet(0)
    fleet.sandbox.reporting = 5 * MINUTE
    for _ in range(40):
        fleet.sandbox.add_device()
    fleet.ids = sorted(fleet.sandbox.devices)
    for _ in range(7):
        await fleet.look()
    await fleet.silence(fleet.ids, minutes=40)
    assert fleet.news() == [("account.degraded", fleet.connector.name)]


async def test_after_the_vendor_is_back_those_still_silent_are_told() -> None:
    fleet = await fleet_of(30)
    await fleet.silence(fleet.ids, minutes=30)
    assert fleet.news() == [("account.degraded", fleet.connector.name)]
    for id_ in fleet.ids[5:]:
        fleet.sandbox.wake(id_)
    for _ in range(17):
        await fleet.look()
    assert fleet.news() == [
        ("account.recovered", fleet.connector.name),
        *(("device.offline", id_) for id_ in fleet.ids[:5]),
    ]


async def test_other_changes_are_told_while_the_vendor_stands_still() -> None:
    fleet = await fleet_of(20)
    await fleet.silence(fleet.ids, minutes=20)
    fleet.told()
    fleet.sandbox.change_device(fleet.ids[0], {"DeviceName": "new"})
    await fleet.look()
    # That one fell silent too, which says more: it waits with the others, and its new name with it.
    fleet.sandbox.deregister(fleet.ids[1])
    await fleet.look()
    assert fleet.news() == [("device.deregistered", fleet.ids[1])]
    fleet.sandbox.wake_all()
    await fleet.look()
    assert ("device.modified", fleet.ids[0]) in fleet.news()


@pytest.mark.parametrize("devices", [8, 150])
async def test_a_vendor_that_tells_no_times_any_more_is_unreadable_however_small_the_fleet(devices: int) -> None:
    fleet = await fleet_of(devices)

    def timeless(request: httpx.Request) -> httpx.Response:
        reply = fleet.sandbox(request)
        known = re.sub(rb'"Device(?:Data|Status)UpdateDateTime": ?"[^"]*"', b'"Gone": ""', reply.content)
        return httpx.Response(reply.status_code, content=known)

    fleet.vendor = timeless
    for _ in range(3):
        assert (await fleet.look()).outcome is PollOutcome.UNREADABLE


async def test_fresh_measurements_are_a_sign_of_life() -> None:
    fleet = await fleet_of(2)
    fleet.sandbox.silence(fleet.ids[0])
    for _ in range(3):
        for _ in range(10):
            await fleet.look()
        fleet.sandbox.upload(fleet.ids[0], minutes_late=0)
        await fleet.poll("measurement", after=timedelta(0))
    assert [kind for kind, _ in fleet.news() if kind.startswith("device.")] == []
    for _ in range(17):
        await fleet.look()
        await fleet.poll("measurement", after=timedelta(0))
    assert [news for news in fleet.news() if news[0].startswith("device.")] == [("device.offline", fleet.ids[0])]
    fleet.sandbox.upload(fleet.ids[0], minutes_late=0)
    await fleet.poll("measurement", after=timedelta(0))
    await fleet.look()
    assert ("device.online", fleet.ids[0]) in fleet.news()


async def test_while_the_vendor_stands_still_the_account_is_not_fresh() -> None:
    fleet = await fleet_of(20)
    scope = Scope(fleet.connector.vendor, fleet.connector.name, "device")
    before = (await fleet.ledger.load(scope)).head.at
    await fleet.silence(fleet.ids, minutes=0)
    await fleet.look(after=timedelta(hours=1))
    assert (await fleet.ledger.load(scope)).head.at == before


def fleet(**other: Any) -> Fleet_:
    return msgspec.structs.replace(Fleet_(size=20, looked_at=20, silent=0, last_heard=NOON), **other)


@pytest.mark.parametrize(
    ("seen", "stale"),
    [
        ({"silent": 10}, False),
        ({"silent": 11}, True),
        ({"size": 19, "looked_at": 19, "silent": 19}, False),
        ({"size": 40, "looked_at": 10, "silent": 6}, True),  # the other pages could not be read
        ({"silent": 1, "last_heard": NOON - 16 * MINUTE}, True),  # the others are offline already
        ({"silent": 0, "last_heard": NOON - 16 * MINUTE}, False),
    ],
)
def test_a_fleet_is_stale_when_most_or_all_of_it_is_silent(seen: dict[str, Any], stale: bool) -> None:
    assert fleet(**seen).is_stale(NOON, 15 * MINUTE) is stale


def test_a_large_fleet_stands_still_when_none_of_it_was_heard_for_half_its_patience() -> None:
    assert not fleet(last_heard=NOON - 7 * MINUTE).stands_still(NOON, 15 * MINUTE)
    assert fleet(last_heard=NOON - 8 * MINUTE).stands_still(NOON, 15 * MINUTE)
    assert fleet(last_heard=None).stands_still(NOON, 15 * MINUTE)
    assert not fleet(size=19, last_heard=None).stands_still(NOON, 15 * MINUTE)


async def test_a_fleet_that_comes_back_one_by_one_is_no_flood_either() -> None:
    fleet = await fleet_of(40)
    await fleet.silence(fleet.ids, minutes=30)
    fleet.told()
    for at in range(5):
        for id_ in fleet.ids[8 * at : 8 * at + 8]:
            fleet.sandbox.wake(id_)
        await fleet.look()
    assert fleet.news() == [("account.recovered", fleet.connector.name)]


async def test_a_restart_after_hours_waits_for_the_measurements_before_it_calls_anything_silent() -> None:
    fleet = await fleet_of(2)
    for id_ in fleet.ids:  # their own times stand still from now on, they only measure
        fleet.sandbox.silence(id_)
        fleet.sandbox.upload(id_, minutes_late=0)
    await fleet.poll("measurement", after=timedelta(0))
    fleet.told()
    fleet.restart()
    await fleet.look(after=timedelta(hours=2))
    assert fleet.told() == []
    fleet.sandbox.upload(fleet.ids[0], minutes_late=0)
    await fleet.poll("measurement", after=timedelta(0))
    fleet.told()
    await fleet.look()
    assert fleet.news() == [("device.offline", fleet.ids[1])]


async def test_a_device_of_which_no_time_is_told_any_more_keeps_its_state_and_is_quarantined() -> None:
    fleet = await fleet_of(2)
    plain = fleet.vendor

    def blank(request: httpx.Request) -> httpx.Response:
        reply = plain(request)
        if not request.url.path.endswith("/Device"):
            return reply
        body = reply.json()
        for device in body["Devices"]:
            device["DeviceStatusUpdateDateTime"] = device["DeviceDataUpdateDateTime"] = ""
        return httpx.Response(200, json=body)

    fleet.vendor = blank
    await fleet.look()
    assert (fleet.told(), len(fleet.quarantined())) == ([], 2)
    fleet.vendor = plain
    await fleet.look()
    assert fleet.told() == []
