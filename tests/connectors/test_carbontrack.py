"""carbonTRACK: what its replies mean, from sign-in to a record."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import httpx
import pytest

from connectors.auth import Token
from connectors.base import Point, Query, Span
from connectors.errors import AuthRefused, Forbidden, Throttled, Unavailable, Unreadable
from connectors.sandbox.carbontrack import PASSWORD, USERNAME, CarbontrackSandbox
from connectors.sandbox.carbontrack_data import PRIVATE
from schemas.energy import Control, Customer, Device, DeviceStatus, Measured, Measurement
from schemas.facts import PollOutcome
from schemas.settings import Duration, Secret
from tests.connectors.subjects.carbontrack import settings
from tests.polled import NOON, Account, Clock

pytestmark = pytest.mark.anyio

DISTRIBUTOR = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
MINUTE = timedelta(minutes=1)

# The samples of the vendor's own document, with other times.
DEVICE = json.loads(
    """{"DeviceID": "8796541235874587", "DeviceName": "Main board", "CustomerRef": "ABC123", "IsRegistered": true,
    "TimezoneId": 57, "SensorConfig": "3P", "MeasurementConfig": "STD", "FirmwareVersion": "2.4.1",
    "DeviceStatusUpdateDateTime": "2026-05-20T11:59:35Z", "DeviceDataUpdateDateTime": "2026-05-20T11:59:30Z",
    "IPAddress": "203.0.113.7", "Longitude": 144.96, "Latitude": -37.81, "Distance": 0, "IsDeviceContainsInverter": true,
    "Weather": {"WeatherLocation": "Melbourne"}, "Controls": [{"ControlId": 1, "ControlType": "HotWater",
    "IsSwitchEnabled": true, "Status": false}]}"""
)
MEASUREMENT = {
    "ID": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
    "DeviceID": "8796541235874587",
    "RecordDateTime": "2026-05-20T11:59:35Z",
    "PowerUsage": "1234.50",
    "Power1N": "0.00",
    "PowerVAH2": "435.00",
    "Temperature7": "0.0",
    "PowerExportedNet": "",
    "SignalStrength": "1,000.00",
}
CUSTOMER = json.loads(
    """{"Devices": ["8796541235874587"], "CustomerId": "6fa459ea-ee8a-3ca4-894e-db77e160355e", "FirstName": "Jo",
    "LastName": "Sample", "Email": "jo@example.com", "UserId": "16fd2706-8baf-433b-82eb-8c7fada847da",
    "AccountNumber": "ABC123", "UserName": "jo.sample", "Mobile": "0400000000", "DayTimeContact": "0390000000",
    "Location": "1 Sample St, Melbourne VIC", "DateOfBirth": "1931-02-03",
    "DistributorId": "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "CurrencyId": "00000000-0000-0000-0000-000000000000",
    "TimezoneId": 57, "IsMetricsUnit": true, "WorkContact": ""}"""
)


class Fleet(Account):
    """A carbonTRACK account, with both hands on the fake vendor."""

    def __init__(self, *, sandbox: dict[str, Any] | None = None, **other: Any) -> None:
        clock = Clock()
        self.sandbox = CarbontrackSandbox(clock, **{"noise": False, **(sandbox or {})})
        super().__init__(settings(**other), self.sandbox, clock)

    async def read(self, resource: str = "device", part: str = "") -> list[Any]:
        """Everything one read gives, as records."""
        asked = Query(resource=resource, part=part, since=None, whole=True, now=self.clock.at)
        pages = self.connector.read(self.api, asked)
        return [page.to_record(raw) async for page in pages for raw in page.items]

    async def follow(self, start: datetime, end: datetime, *, part: str = "", source: str = "") -> list[Point]:
        span = Span(resource="measurement", part=part, start=start, end=end, source=source)
        pages = self.connector.follow(self.api, span)
        return [page.to_point(raw) async for page in pages for raw in page.items]

    @property
    def first(self) -> str:
        return next(iter(self.sandbox.devices))


def answering(**replies: Any) -> Callable[[httpx.Request], httpx.Response]:
    """A vendor that answers each path's last part with the same JSON, and signs in anybody."""

    def answer(request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        body = {"access_token": "access", "expires_in": 86400} if name == "token" else replies[name]
        return httpx.Response(200, json=body)

    return answer


async def device(item: dict[str, Any], **other: Any) -> Device:
    """The record that this item of a listing becomes."""
    fleet = Fleet(**other)
    fleet.vendor = answering(Device={"Devices": [item], "Count": 1, "Pages": 1, "PagesIndex": 0})
    [found] = await fleet.read(part=DISTRIBUTOR)
    assert isinstance(found, Device)
    return found


async def measured(item: dict[str, Any]) -> Point:
    fleet = Fleet()
    fleet.vendor = answering(Measurement={"Measurements": [item], "Pages": 1, "PagesIndex": 0})
    [found] = await fleet.follow(NOON, NOON, part=DISTRIBUTOR)
    return found


async def customer(item: dict[str, Any]) -> Customer:
    fleet = Fleet()
    fleet.vendor = answering(Customer={"RecordCount": 1, "CustomerList": [item]})
    [found] = await fleet.read("customer")
    assert isinstance(found, Customer)
    return found


# From reply to record


async def test_a_device_becomes_one() -> None:
    assert await device(DEVICE) == Device(
        id="8796541235874587",
        status=DeviceStatus.ONLINE,
        last_seen_at=datetime(2026, 5, 20, 11, 59, 35, tzinfo=UTC),
        distributor_id=DISTRIBUTOR,
        name="Main board",
        customer_reference="ABC123",
        timezone_id=57,
        sensors="3P",
        measures="STD",
        firmware="2.4.1",
        latitude=-37.81,
        longitude=144.96,
        has_inverter=True,
        controls={"1": Control(kind="HotWater", enabled=True, on=False)},
    )


async def test_an_ip_address_is_kept_only_where_that_is_wanted() -> None:
    assert (await device(DEVICE)).ip_address is None
    assert (await device(DEVICE, keep_ip_address=True)).ip_address == "203.0.113.7"


@pytest.mark.parametrize("digits", ["9876543210987654", "9007199254740993", "18446744073709551615"])
@pytest.mark.parametrize("written", [int, str, " {} ".format])
async def test_an_id_of_many_digits_is_the_same_as_text_and_as_a_number(
    digits: str, written: Callable[[str], Any]
) -> None:
    assert (await device({**DEVICE, "DeviceID": written(digits)})).id == digits
    assert (await measured({**MEASUREMENT, "DeviceID": written(digits)})).source == digits


async def test_a_device_may_be_little_more_than_its_id() -> None:
    assert await device({"DeviceID": "1", "Controls": None, "Latitude": ""}) == Device(
        id="1", status=DeviceStatus.OFFLINE, distributor_id=DISTRIBUTOR
    )


async def test_noise_in_coordinates_is_no_change() -> None:
    found = await device({**DEVICE, "Longitude": 144.960000001, "Latitude": "-37.8100000004"})
    assert (found.longitude, found.latitude) == (144.96, -37.81)


TIMES = [
    ("2026-05-20T11:45:00Z", "2026-05-20T11:00:00Z", DeviceStatus.ONLINE, "11:45"),
    ("2026-05-20T11:00:00Z", "2026-05-20T11:45:00.0000000Z", DeviceStatus.ONLINE, "11:45"),
    ("2026-05-20T11:44:59Z", "2026-05-20T11:00:00Z", DeviceStatus.OFFLINE, "11:44"),
    ("2026-05-20T21:00:00Z", None, DeviceStatus.ONLINE, "12:00"),  # ahead of now
    ("2026-05-20 11:50:00", "", DeviceStatus.ONLINE, "11:50"),
    ("0001-01-01T00:00:00", "20/05/2026 11:50:00", DeviceStatus.ONLINE, "11:50"),
]


@pytest.mark.parametrize(("state", "data", "status", "seen"), TIMES)
async def test_a_device_is_offline_when_neither_of_its_times_is_fresh(
    state: str, data: str | None, status: DeviceStatus, seen: str
) -> None:
    found = await device({**DEVICE, "DeviceStatusUpdateDateTime": state, "DeviceDataUpdateDateTime": data})
    assert (found.status, f"{found.last_seen_at:%H:%M}") == (status, seen)
    assert found.since == (found.last_seen_at if status is DeviceStatus.OFFLINE else None)


async def test_how_long_a_device_may_be_silent_is_a_setting() -> None:
    old = {"DeviceStatusUpdateDateTime": "2026-05-20T10:30:00Z", "DeviceDataUpdateDateTime": None}
    assert (await device({**DEVICE, **old}, offline_after=Duration(hours=2))).status is DeviceStatus.ONLINE
    connector = settings(offline_after=Duration(hours=2))
    assert (connector.patience("device"), connector.patience("customer")) == (timedelta(hours=2), None)


async def test_times_without_a_zone_are_of_the_configured_one() -> None:
    local = {"DeviceStatusUpdateDateTime": "2026-05-20T21:50:00", "DeviceDataUpdateDateTime": None}
    found = await device({**DEVICE, **local}, timezone=ZoneInfo("Australia/Melbourne"))
    assert found.last_seen_at == datetime(2026, 5, 20, 11, 50, tzinfo=UTC)


async def test_local_times_taken_for_utc_are_not_silently_fresh() -> None:
    ahead = {"DeviceStatusUpdateDateTime": "2026-05-20T21:59:00", "DeviceDataUpdateDateTime": ""}
    with pytest.raises(Unreadable, match="set `timezone` on the account"):
        await device({**DEVICE, **ahead})
    zone = ZoneInfo("Australia/Melbourne")
    assert (await device({**DEVICE, **ahead}, timezone=zone)).last_seen_at == NOON - MINUTE
    zoned = {**ahead, "DeviceStatusUpdateDateTime": "2026-05-20T21:59:00Z"}
    assert (await device({**DEVICE, **zoned})).last_seen_at == NOON


async def test_a_device_that_is_not_registered_is_neither_online_nor_offline() -> None:
    old = {"DeviceStatusUpdateDateTime": None, "DeviceDataUpdateDateTime": None, "IsRegistered": False}
    assert (await device({**DEVICE, **old})).status is DeviceStatus.DEREGISTERED


async def test_a_time_in_an_unknown_shape_is_unreadable_and_the_sentence_names_its_place() -> None:
    with pytest.raises(Unreadable, match=r"^\$\.DeviceDataUpdateDateTime: ") as caught:
        await device({**DEVICE, "DeviceDataUpdateDateTime": "a while ago"})
    assert "while" not in str(caught.value)


async def test_a_measurement_becomes_numbers() -> None:
    at = datetime(2026, 5, 20, 11, 59, 35, tzinfo=UTC)
    assert await measured(MEASUREMENT) == Point(
        source="8796541235874587",
        at=at,
        value=Measurement(
            at=at, power_usage=1234.5, power1n=0.0, power_vah2=435.0, temperature7=0.0, signal_strength=1000.0
        ),
    )


async def test_numbers_of_a_measurement_may_be_numbers_or_null() -> None:
    value = (await measured({**MEASUREMENT, "PowerUsage": 12, "Voltage": 239.1, "Flow": None})).value
    assert isinstance(value, Measurement)
    assert (value.power_usage, value.voltage, value.flow) == (12.0, 239.1, None)


async def test_a_time_of_a_measurement_without_a_zone_is_utc() -> None:
    assert (await measured({**MEASUREMENT, "RecordDateTime": "2026-05-20T11:59:35"})).at == (
        datetime(2026, 5, 20, 11, 59, 35, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"RecordDateTime": ""}, r"\$\.RecordDateTime"),
        ({"Power1N": "much"}, r"\$\.Power1N"),
        ({"DeviceID": ""}, r"\$\.DeviceID"),
    ],
)
async def test_a_measurement_that_cannot_be_read_names_the_place(wrong: dict[str, Any], place: str) -> None:
    with pytest.raises(Unreadable, match=place):
        await measured({**MEASUREMENT, **wrong})


async def test_a_customer_becomes_one_without_a_birth_date() -> None:
    assert await customer(CUSTOMER) == Customer(
        id="6fa459ea-ee8a-3ca4-894e-db77e160355e",
        given_name="Jo",
        family_name="Sample",
        user_name="jo.sample",
        user_id="16fd2706-8baf-433b-82eb-8c7fada847da",
        account_number="ABC123",
        distributor_id=DISTRIBUTOR,
        email="jo@example.com",
        mobile="0400000000",
        phone="0390000000",
        location="1 Sample St, Melbourne VIC",
        timezone_id=57,
        metric_units=True,
        devices=("8796541235874587",),
    )


async def test_ids_of_zeros_are_none_and_devices_have_no_order() -> None:
    nobody = "00000000-0000-0000-0000-000000000000"
    found = await customer({**CUSTOMER, "UserId": nobody, "DistributorId": None, "Devices": [2, "1", None, "1"]})
    assert (found.user_id, found.distributor_id, found.devices) == (None, None, ("1", "2"))


async def test_nothing_private_is_in_any_record() -> None:
    fleet = Fleet()
    [first, _] = await fleet.connector.parts(fleet.api, "device")
    records = [*await fleet.read("customer"), *await fleet.read(part=first)]
    assert len(records) > 5
    assert PRIVATE in str(fleet.sandbox.state())
    assert PRIVATE not in repr(records)


# Whether a device is silent


async def vouched(measured_at: datetime, **times: str | None) -> Device:
    """What is kept of a device after a look at how far its measurements go."""
    fleet = Fleet()
    fleet.vendor = answering(Device={"Devices": [{**DEVICE, "DeviceDataUpdateDateTime": None, **times}]})
    asked = Query(resource="device", part=DISTRIBUTOR, since=None, whole=True, now=NOON)
    [page] = [page async for page in fleet.connector.read(fleet.api, asked)]
    record = page.to_record(page.items[0])
    assert page.vouched
    assert page.in_doubt
    assert page.in_doubt(record) is (record.status is DeviceStatus.OFFLINE)  # type: ignore[attr-defined] # a Device
    kept = page.vouched(record, Measured(id=record.id, until=measured_at))
    assert isinstance(kept, Device)
    return kept


async def test_a_device_that_measures_is_not_offline() -> None:
    kept = await vouched(NOON - 10 * MINUTE, DeviceStatusUpdateDateTime="2026-05-20T10:00:00Z")
    assert (kept.status, kept.since, kept.last_seen_at) == (DeviceStatus.ONLINE, None, NOON - 10 * MINUTE)


async def test_old_measurements_only_tell_since_when_it_is_offline() -> None:
    kept = await vouched(NOON - 20 * MINUTE, DeviceStatusUpdateDateTime="2026-05-20T10:00:00Z")
    assert (kept.status, kept.since) == (DeviceStatus.OFFLINE, NOON - 20 * MINUTE)
    older = await vouched(NOON - 60 * MINUTE, DeviceStatusUpdateDateTime="2026-05-20T11:30:00Z")
    assert (older.status, older.since) == (DeviceStatus.OFFLINE, NOON - 30 * MINUTE)


async def test_a_measurement_from_the_future_counts_as_now_and_says_nothing_of_what_is_not_registered() -> None:
    kept = await vouched(NOON + 60 * MINUTE, DeviceStatusUpdateDateTime=None)
    assert (kept.status, kept.last_seen_at) == (DeviceStatus.ONLINE, NOON)
    gone = await vouched(NOON, DeviceStatusUpdateDateTime=None, IsRegistered=False)  # type: ignore[arg-type] # a bool
    assert gone.status is DeviceStatus.DEREGISTERED


async def test_silence_and_a_sign_of_life_are_told_and_so_are_switches() -> None:
    fleet = Fleet()
    await fleet.poll("device")
    first = fleet.first
    fleet.sandbox.silence(first)
    await fleet.poll("device", after=21 * MINUTE)
    fleet.sandbox.wake(first)
    await fleet.poll("device")
    fleet.sandbox.switch(first)
    await fleet.poll("device")
    fleet.sandbox.deregister(first)
    await fleet.poll("device")
    assert fleet.kinds() == ["device.offline", "device.online", "device.control_changed", "device.deregistered"]


async def test_a_device_belongs_to_its_distributor() -> None:
    fleet = Fleet()
    one, other = await fleet.connector.parts(fleet.api, "device")
    record = (await fleet.read(part=one))[0]
    asked = Query(resource="device", part=other, since=None, whole=True, now=NOON)
    assert not fleet.connector.covers(asked, record)


# Reading


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("zero", ["first", "empty"])
@pytest.mark.parametrize("pages", ["told", "absent", "zero", "one", "many"])
async def test_every_device_is_read_whatever_the_vendor_tells_of_its_pages(base: int, zero: str, pages: str) -> None:
    fleet = Fleet(sandbox={"seed": 47, "page_size": 5, "page_base": base, "zero": zero, "pages": pages})
    ended = await fleet.poll("device")
    assert set(await fleet.stored("device")) == set(fleet.sandbox.devices)
    # Pages that are never there could be there: it is told, loudly, and nothing is ever deleted.
    assert ended.outcome is (PollOutcome.UNREADABLE if pages == "many" else PollOutcome.UNCHANGED)


async def test_a_vendor_that_refuses_page_0_is_read_from_page_1_where_that_is_set() -> None:
    strict = {"seed": 17, "page_size": 5, "page_base": 1, "zero": "failure"}
    assert (await Fleet(sandbox=strict).poll("device")).outcome is PollOutcome.UNAVAILABLE
    fleet = Fleet(sandbox=strict, page_base=1)
    await fleet.poll("device")
    assert set(await fleet.stored("device")) == set(fleet.sandbox.devices)


@pytest.mark.parametrize("wrapped", [True, False])
async def test_a_listing_may_be_bare_or_hold_null(wrapped: bool) -> None:
    fleet = Fleet()
    fleet.vendor = answering(Device={"Devices": [DEVICE]} if wrapped else [DEVICE])
    assert len(await fleet.read(part=DISTRIBUTOR)) == 1
    fleet.vendor = answering(Device={"Devices": None, "Pages": None}, Customer={"CustomerList": None})
    assert await fleet.read(part=DISTRIBUTOR) + await fleet.read("customer") == []


async def test_customers_are_read_to_the_end_though_the_vendor_gives_smaller_pages_than_asked_for() -> None:
    fleet = Fleet(sandbox={"customers": 450}, customer_page_size=500)
    assert {each.id for each in await fleet.read("customer")} == set(fleet.sandbox.customers)
    assert ("customerRequest.pageSize", "500") in fleet.sandbox.seen[-1].query


async def test_all_devices_of_a_distributor_are_followed_at_once_and_one_by_its_id() -> None:
    fleet = Fleet(sandbox={"seed": 12, "page_size": 7})
    [part, _] = await fleet.connector.parts(fleet.api, "measurement")
    every = await fleet.follow(NOON - 60 * MINUTE, NOON, part=part)
    one = await fleet.follow(NOON - 60 * MINUTE, NOON, part=part, source=fleet.first)
    units = [unit for unit in fleet.sandbox.devices.values() if unit.distributor == part]
    assert len({(point.source, point.at) for point in every}) == 12 * len(units)
    assert ({point.source for point in one}, len(one)) == ({fleet.first}, 12)


async def test_a_span_is_asked_for_in_whole_seconds_that_hold_all_of_it() -> None:
    fleet, asked = Fleet(), list[dict[str, Any]]()

    def told(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/Measurement"):
            asked.append(json.loads(request.content))
        return fleet.sandbox(request)

    fleet.vendor = told
    [part, _] = await fleet.connector.parts(fleet.api, "measurement")
    half = timedelta(milliseconds=500)
    await fleet.follow(NOON + half, NOON + MINUTE + half, part=part)
    assert asked[0] == {
        "DistributorID": part,
        "FromUTCDate": "2026-05-20T12:00:00Z",
        "ToUTCDate": "2026-05-20T12:01:01Z",
        "PageIndex": 0,
    }


async def test_measurements_are_published_once_and_late_ones_too() -> None:
    fleet = Fleet(sandbox={"seed": 3})
    await fleet.poll("measurement")
    await fleet.poll("measurement", after=5 * MINUTE)
    news = fleet.told()
    assert {(event.type, event.subject) for event in news} == {
        ("measurement.batch", id_) for id_ in fleet.sandbox.devices
    }
    fleet.sandbox.upload(fleet.first, minutes_late=8)
    await fleet.poll("measurement", after=timedelta(seconds=1))
    await fleet.poll("measurement", after=timedelta(seconds=1))
    late = [event for event in fleet.told() if event.subject == fleet.first]
    assert len(late) == 1


async def test_a_fleet_of_five_thousand_is_read() -> None:
    fleet = Fleet(sandbox={"seed": 5000})
    await fleet.poll("device")
    assert len(await fleet.stored("device")) == 5000


# A listing that contradicts itself


def spoiling(fleet: Fleet, page: int, path: str = "/Device", **fault: Any) -> Callable[[httpx.Request], httpx.Response]:
    """The sandbox, told to fail each time this page of a listing is asked for."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(path) and json.loads(request.content)["PageIndex"] == page:
            fleet.sandbox.fail(match=path, **fault)
        return fleet.sandbox(request)

    return answer


async def grown(count: int) -> Fleet:
    """A fleet of one distributor over pages of ten, read once."""
    fleet = Fleet(sandbox={"seed": 0, "page_size": 10})
    for _ in range(count):
        fleet.sandbox.add_device()
    await fleet.poll("device")
    return fleet


SPOILT = [
    ("empty", PollOutcome.UNREADABLE),
    ("FailureByCode", PollOutcome.UNAVAILABLE),
    ("NoListing", PollOutcome.UNREADABLE),
]


@pytest.mark.parametrize(("kind", "outcome"), SPOILT)
@pytest.mark.parametrize("pages", ["told", "absent"])
async def test_an_end_in_the_middle_of_a_listing_deletes_nothing(kind: str, outcome: PollOutcome, pages: Any) -> None:
    fleet = await grown(28)
    fleet.sandbox.pages = pages
    fleet.vendor = spoiling(fleet, 2, kind=kind)
    assert [(await fleet.poll("device")).outcome for _ in range(4)] == [outcome] * 4
    fleet.vendor = fleet.sandbox
    assert (await fleet.poll("device")).outcome is PollOutcome.UNCHANGED
    assert fleet.kinds() == []


@pytest.mark.parametrize("kind", ["FailureByCode", "NoListing"])
async def test_the_only_device_is_not_gone_because_the_vendor_fails(kind: str) -> None:
    fleet = await grown(1)
    fleet.sandbox.fail(kind=kind, match="/Device", times=99)
    assert not any([(await fleet.poll("device")).outcome.succeeded for _ in range(3)])
    assert (len(await fleet.stored("device")), fleet.kinds()) == (1, [])


async def test_a_page_that_was_empty_once_is_asked_for_again() -> None:
    fleet = Fleet(sandbox={"seed": 0, "page_size": 20})
    for _ in range(10):
        fleet.sandbox.add_device()
    for _ in range(3):
        await fleet.poll("measurement", after=5 * MINUTE)
    fleet.told()
    start, glitches = fleet.clock.at, iter([True])

    def answer(request: httpx.Request) -> httpx.Response:
        if b'"PageIndex":2' in request.content and next(glitches, False):
            fleet.sandbox.fail(kind="empty", match="/Measurement")
        return fleet.sandbox(request)

    fleet.vendor = answer
    assert (await fleet.poll("measurement", after=6 * 60 * MINUTE)).outcome is PollOutcome.CHANGED
    told = {(event.data.device, each.at) for event in fleet.told() for each in event.data.measurements}
    times = [
        (id_, unit.times(start + timedelta(seconds=1), fleet.clock.at)) for id_, unit in fleet.sandbox.devices.items()
    ]
    assert told >= {(id_, time) for id_, found in times for time in found}


async def test_devices_that_move_from_page_to_page_while_they_are_read_are_all_read() -> None:
    fleet = await grown(35)

    def moving(request: httpx.Request) -> httpx.Response:
        reply = fleet.sandbox(request)
        if request.url.path.endswith("/Device") and json.loads(request.content)["PageIndex"] == 1:
            last = list(fleet.sandbox.devices)[-1]
            fleet.sandbox.devices = {last: fleet.sandbox.devices[last], **fleet.sandbox.devices}
        return reply

    fleet.vendor = moving
    for _ in range(4):
        assert (await fleet.poll("device")).outcome is PollOutcome.UNCHANGED
    assert fleet.kinds() == []


# Asking by id


class Hiding:
    """The sandbox, whose listings leave one device out and do not count it; asked for by its id it is there."""

    def __init__(self, fleet: Fleet, id_: str) -> None:
        self.fleet, self.id = fleet, id_
        self.asked: list[dict[str, Any]] = []  # by id

    def __call__(self, request: httpx.Request) -> httpx.Response:
        reply = self.fleet.sandbox(request)
        if not request.url.path.endswith("/Device"):
            return reply
        asked, body = json.loads(request.content), reply.json()
        if "DeviceID" in asked:
            self.asked.append(asked)
            return reply
        kept = [each for each in body["Devices"] if each["DeviceID"] != self.id]
        return httpx.Response(200, json={**body, "Devices": kept, "Count": body["Count"] - 1})


async def test_a_device_that_a_listing_leaves_out_is_asked_for_by_its_id_and_stays() -> None:
    fleet = await grown(5)
    fleet.vendor = hiding = Hiding(fleet, fleet.first)
    fleet.sandbox.switch(fleet.first)
    for _ in range(3):
        await fleet.poll("device")
    assert fleet.kinds() == ["device.control_changed"]
    distributor = fleet.sandbox.distributors[0]["ID"]
    one = {"DistributorID": distributor, "DeviceID": fleet.first, "RegisteredOnly": False, "PageIndex": 0}
    assert hiding.asked == [one] * 3
    [kept] = [each for id_, each in (await fleet.stored("device")).items() if id_ == fleet.first]
    assert isinstance(kept, Device)
    assert kept.distributor_id == distributor


async def test_a_device_that_the_vendor_does_not_know_by_its_id_is_gone() -> None:
    fleet = await grown(5)
    gone = fleet.first
    fleet.sandbox.remove_device(gone)
    await fleet.poll("device")
    assert fleet.kinds() == []
    await fleet.poll("device")
    assert [(event.type, event.subject) for event in fleet.told()] == [("device.deleted", gone)]


async def test_a_device_is_found_by_its_id_where_the_vendor_counts_from_one() -> None:
    fleet = Fleet(sandbox={"seed": 0, "page_base": 1, "zero": "empty"})
    for _ in range(5):
        fleet.sandbox.add_device()
    await fleet.poll("device")
    fleet.vendor = Hiding(fleet, fleet.first)
    for _ in range(3):
        await fleet.poll("device")
    assert fleet.kinds() == []


async def test_an_answer_by_id_that_counts_a_device_and_shows_none_deletes_nothing() -> None:
    fleet = await grown(5)
    hiding = Hiding(fleet, fleet.first)

    def answer(request: httpx.Request) -> httpx.Response:
        if b"DeviceID" in request.content:
            fleet.sandbox.fail(kind="empty", match="/Device")
        return hiding(request)

    fleet.vendor = answer
    assert {(await fleet.poll("device")).outcome for _ in range(3)} == {PollOutcome.UNREADABLE}
    assert fleet.kinds() == []


async def test_an_answer_by_id_with_other_devices_is_none() -> None:
    fleet = await grown(5)
    hiding, others = Hiding(fleet, fleet.first), list(fleet.sandbox.devices)[1:]

    def answer(request: httpx.Request) -> httpx.Response:
        reply = hiding(request)
        if b"DeviceID" not in request.content:
            return reply
        found = [fleet.sandbox.devices[id_].shown for id_ in others]
        return httpx.Response(200, json={**reply.json(), "Devices": found})

    fleet.vendor = answer
    ended = [await fleet.poll("device") for _ in range(3)]
    assert {each.detail for each in ended} == {
        "POST /ctapi/Device: asked for one device, the vendor answered with others"
    }
    assert fleet.kinds() == []


# Failures


INSIDE: list[dict[str, Any]] = [
    {"Error": 1},
    {"Error": "1"},
    {"Error": True},
    {"ErrorNumber": 1001},
    {"ErrorNumber": "1001"},
    {"Error": 0, "ErrorNumber": 0, "ErrorMessage": "Invalid device"},
]
WELL: list[dict[str, Any]] = [
    {"Error": 0, "ErrorNumber": 0, "ErrorMessage": "", "ResponseCode": 1},
    {"Error": "0", "ErrorNumber": "0.0", "ErrorMessage": None, "ResponseCode": 200, "ResponseMessage": "OK"},
    {"Error": False, "ErrorNumber": None, "ErrorMessage": " "},
]


@pytest.mark.parametrize("envelope", INSIDE)
async def test_a_failure_inside_a_200_is_an_outage_and_not_an_empty_fleet(envelope: dict[str, Any]) -> None:
    fleet = Fleet()
    fleet.vendor = answering(Device={"Devices": [], "Pages": 0, **envelope})
    with pytest.raises(Unavailable, match=r"^the vendor reports a failure inside a 200") as caught:
        await fleet.read(part=DISTRIBUTOR)
    assert "Invalid" not in str(caught.value)


CODES: list[object] = [1, "1", 500, "500", -1, True, "Failed", {"wrong": 1}]
GOOD_CODES: list[object] = [0, 200, "0", "200", "0.0", " ", "", None, False, "OK", "Success"]


@pytest.mark.parametrize("listing", [[], None])
@pytest.mark.parametrize("code", CODES)
async def test_a_response_code_without_a_listing_is_a_failure(code: object, listing: object) -> None:
    fleet = Fleet()
    fleet.vendor = answering(Device={"Devices": listing, "ResponseCode": code, "ResponseMessage": "Failed"})
    with pytest.raises(Unavailable, match=r"^the vendor reports a failure inside a 200"):
        await fleet.read(part=DISTRIBUTOR)


@pytest.mark.parametrize("code", CODES)
async def test_a_response_code_beside_a_listing_means_nothing(code: object) -> None:
    fleet = Fleet()
    fleet.vendor = answering(Device={"ResponseCode": code, "Devices": [DEVICE]})
    assert len(await fleet.read(part=DISTRIBUTOR)) == 1


@pytest.mark.parametrize("code", GOOD_CODES)
async def test_a_response_code_of_success_may_come_with_an_empty_listing(code: object) -> None:
    fleet = Fleet()
    fleet.vendor = answering(Device={"ResponseCode": code, "Devices": []})
    assert await fleet.read(part=DISTRIBUTOR) == []


@pytest.mark.parametrize("body", [{}, {"Message": "An error has occurred."}, {"Count": 0, "Pages": 0}, {"Rows": []}])
async def test_an_answer_without_its_listing_is_unreadable_and_never_empty(body: dict[str, Any]) -> None:
    fleet = Fleet()
    fleet.vendor = answering(Device=body, Measurement=body, Customer=body)
    with pytest.raises(Unreadable, match=r"^POST /ctapi/Device: Object missing required field `Devices`"):
        await fleet.read(part=DISTRIBUTOR)
    with pytest.raises(Unreadable, match=r"^POST /ctapi/Measurement: Object missing required field `Measurements`"):
        await fleet.follow(NOON, NOON, part=DISTRIBUTOR)
    with pytest.raises(Unreadable, match=r"^GET /ctapi/Customer: Object missing required field `CustomerList`"):
        await fleet.read("customer")


@pytest.mark.parametrize("envelope", WELL)
async def test_zero_in_any_spelling_is_no_failure(envelope: dict[str, Any]) -> None:
    fleet = Fleet()
    fleet.vendor = answering(Device={"Devices": [DEVICE], **envelope})
    assert len(await fleet.read(part=DISTRIBUTOR)) == 1


async def test_the_number_of_a_failure_is_told() -> None:
    fleet = Fleet()
    fleet.sandbox.fail(kind="FailureInside", match="/Device")
    assert (await fleet.poll("device")).detail == "the vendor reports a failure inside a 200 (ErrorNumber 1000)"


async def test_a_429_that_does_not_say_for_how_long_counts_as_a_minute() -> None:
    fleet = Fleet()
    fleet.sandbox.fail(status=429, match="/Customer")
    with pytest.raises(Throttled) as caught:
        await fleet.read("customer")
    assert caught.value.retry_after == 60.0


async def test_a_403_is_no_matter_of_the_token() -> None:
    fleet = Fleet()
    fleet.sandbox.fail(status=403, match="/Customer")
    with pytest.raises(Forbidden):
        await fleet.read("customer")


# Signing in


def signed_in(reply: dict[str, Any], token: Token | None = None, **other: Any) -> tuple[httpx.Request, Token]:
    """The request of a sign-in, and the token that this reply gives."""
    steps = settings(**other).sign_in(token)
    request = next(steps)
    with pytest.raises(StopIteration) as done:
        steps.send(httpx.Response(200, json=reply, headers={"Date": "Wed, 20 May 2026 12:00:00 GMT"}))
    found = done.value.value
    assert isinstance(found, Token)
    return request, found


def fields(request: httpx.Request) -> dict[str, str]:
    return {name: value[0] for name, value in parse_qs(request.content.decode()).items()}


def test_the_first_sign_in_is_by_password() -> None:
    request, token = signed_in({"access_token": "a", "refresh_token": "r", "expires_in": 3600, "issued_at": 1})
    assert (request.method, str(request.url)) == ("POST", "https://carbontrack.test/oauth/token")
    assert fields(request) == {"grant_type": "password", "username": USERNAME, "password": PASSWORD}
    assert token == Token(access="a", refresh="r", lifetime=3600.0)


def test_a_renewal_sends_user_name_and_password_again_and_keeps_the_refresh_token() -> None:
    request, token = signed_in({"access_token": "b"}, Token(access="a", refresh="r", lifetime=0), token_path="/token")
    assert request.url.path == "/token"
    assert fields(request) == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "username": USERNAME,
        "password": PASSWORD,
    }
    assert token.refresh == "r"


def test_a_new_refresh_token_replaces_the_old_one() -> None:
    _, token = signed_in({"access_token": "b", "refresh_token": "s"}, Token(access="a", refresh="r", lifetime=1))
    assert token.refresh == "s"


def test_tokens_may_be_numbers() -> None:
    _, token = signed_in({"access_token": 123, "refresh_token": 456})
    assert (token.access, token.refresh) == ("123", "456")


LIVES = [
    ({"expires_in": 86399}, 86399.0),
    ({"expires_in": "86399"}, 86399.0),
    ({"expires_in": 0}, 7200.0),
    ({"expires_in": "soon"}, 7200.0),
    ({}, 7200.0),
    ({".issued": "Sat, 16 May 2026 07:00:00 GMT", ".expires": "Sat, 16 May 2026 08:00:00 GMT"}, 3600.0),
    ({".issued": "2026-05-16T07:00:00Z", ".expires": "2026-05-16T07:30:00.0000000Z"}, 1800.0),
    ({".expires": "Wed, 20 May 2026 12:10:00 GMT"}, 600.0),  # by the reply's own date
    ({".expires": "Wed, 99 Nonsense"}, 7200.0),
]


@pytest.mark.parametrize(("reply", "lifetime"), LIVES)
def test_the_life_of_a_token_in_all_its_spellings(reply: dict[str, Any], lifetime: float) -> None:
    assert signed_in({"access_token": "a", **reply}, token_lifetime=Duration(hours=2))[1].lifetime == lifetime


@pytest.mark.parametrize("expiry", ["documented", "seconds", "dates"])
@pytest.mark.parametrize("rotates", [True, False])
async def test_tokens_are_renewed_for_days(expiry: str, rotates: bool) -> None:
    fleet = Fleet(sandbox={"expiry": expiry, "rotates": rotates})
    outcomes = {(await fleet.poll("customer", after=timedelta(hours=20))).outcome for _ in range(8)}
    assert outcomes == {PollOutcome.UNCHANGED}
    assert "401" not in fleet.requests


async def test_without_tokens_user_and_password_are_on_every_request() -> None:
    fleet = Fleet(sandbox={"auth": "header"}, auth="header")
    assert (await fleet.poll("customer")).outcome is PollOutcome.UNCHANGED
    assert not any("token" in seen.path for seen in fleet.sandbox.seen)


async def test_user_and_password_may_have_any_letters_without_tokens_too() -> None:
    fleet = Fleet(auth="header", username="jürgen", password=Secret("pä ss"))
    shown: list[tuple[bytes, bytes]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        shown.extend(request.headers.raw)
        return httpx.Response(200, json={"CustomerList": []})

    fleet.vendor = answer
    assert await fleet.read("customer") == []
    assert {(b"UserID", "jürgen".encode()), (b"Password", "pä ss".encode())} <= set(shown)


async def test_without_tokens_one_refusal_is_not_for_ever() -> None:
    fleet = Fleet(sandbox={"auth": "header"}, auth="header")
    fleet.sandbox.revoke()
    with pytest.raises(AuthRefused):
        await fleet.read("customer")
    assert (await fleet.poll("customer")).outcome is PollOutcome.UNAUTHORIZED
    fleet.sandbox.grant()
    assert (await fleet.poll("customer", after=5 * MINUTE)).outcome is PollOutcome.UNCHANGED


# Settings


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"username": " "}, "username is empty"),
        ({"token_path": "token"}, "token_path begins with a slash"),
        ({"customer_page_size": 0}, "customer_page_size must be at least 1"),
        ({"window": Duration(0)}, "offline_after and window must be longer than nothing"),
        ({"base_url": "http://apiv2.carbontrack.com.au"}, "base_url must be an https address"),
    ],
)
def test_a_wrong_setting_is_an_error_at_the_start(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        settings(**wrong)


@pytest.mark.parametrize(("before", "after"), [("opaque-oauth-token", "no-token-1"), ("no-token-7", "no-token-8")])
def test_a_token_from_before_the_header_mode_is_no_number(before: str, after: str) -> None:
    with pytest.raises(StopIteration) as done:
        next(settings(auth="header").sign_in(Token(access=before, lifetime=5)))
    assert done.value.value.access == after
