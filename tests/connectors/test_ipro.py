"""iPRO: what its replies mean, from sign-in to a record."""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import msgspec
import pytest

from agent.outcomes import Ended
from connectors.base import Page, Query
from connectors.errors import Forbidden, Misconfigured, NothingThere, Unavailable, Unreadable
from connectors.indexed import READINGS
from connectors.ipro import Ipro
from connectors.sandbox.ipro import CLIENT_ID, CLIENT_SECRET, IproSandbox
from connectors.sandbox.ipro_data import PRIVATE
from schemas.facts import PollOutcome
from schemas.lettings import Availability, Enquiry
from schemas.records import Booking, BookingStatus, Channel, Guest, Money, Property, PropertyStatus, Record
from schemas.settings import Budget, Duration, Secret
from tests.polled import NOON, Account, Clock

pytestmark = pytest.mark.anyio

# The samples of the vendor's paper.
BOOKED = json.loads(
    """{"BookingId": 3707, "ExternalReservationID": null, "PropertyId": 7858, "ContactID": 5120, "BookingStatusId": 3,
    "Status": "Booking", "BrandId": 1, "OrderTime": "2026-03-18T05:45:00.9230000Z",
    "ModifiedTime": "2026-05-11T08:48:22.8070000Z", "CheckIn": "2026-07-28", "CheckOut": "2026-08-06",
    "Country": "United Kingdom", "Currency": "£", "RenterAmount": 990.00, "BookingFee": 25.00, "Discount": 0.0,
    "Commission": 178.19, "SecurityDeposit": 500.00, "RenterTotal": 1015.00, "PropertyTypes": ["Cottage"],
    "Source": "Website", "BookingTags": [], "CustomerName": "Sam Sample", "Adults": 2, "Children": 1, "Infants": 0,
    "Pets": 0, "Guests": [], "Deposit": 250.00, "DepositDueDate": "20/03/2026", "Balance": 765.00,
    "BalanceDueDate": "02/06/2026", "GuestNotes": "", "HouseKeeperNotes": "", "InternalNotes": "", "Payments": []}"""
)
CANCELLED = json.loads(
    """{"BookingId": 3691, "PropertyId": 10140, "ContactID": 4999, "BookingStatusId": 4, "Status": "Cancelled",
    "OrderTime": "2026-01-02", "ModifiedTime": "2026-05-11T09:02:00.0000000Z", "CheckIn": "2026-06-06",
    "CheckOut": "2026-06-13", "Currency": "£", "RenterTotal": 0.0, "Adults": 2}"""
)
ENQUIRY = json.loads(
    """{"Id": 4373, "Adults": 2, "Children": 1, "Infants": "1", "Pets": "1", "Budget": null,
    "Comments": "near the beach?", "Notes": "", "Days": null, "Email": "kim@example.com", "StartDate": "2026-11-23",
    "EndDate": "2026-11-30", "FullName": "Kim Sample", "Mobile": "07000000000", "Phone": null,
    "Properties": ["8862", "8849"], "CreateDate": "2026-10-23T09:49:17.0365971Z", "Currency": "€",
    "NatureOfStay": "Birthday"}"""
)
# What a poller may ask; whatever else is on the site, it keeps its hands off.
READING = re.compile(
    r"/oauth/2\.0/token|/apis/(bookings|properties|property/dayavailabilitycheck"
    r"|property/[0-9]+/(all|dayavailability|enquiries))"
)


def settings(**other: Any) -> Ipro:
    known: dict[str, Any] = {
        "name": "cottages",
        "base_url": "https://ipro.test",
        "client_id": CLIENT_ID,
        "client_secret": Secret(CLIENT_SECRET),
        "budget": Budget(requests=1_000_000, per=Duration(hours=1)),
    }
    return Ipro(**known | other)


class Site(Account):
    """An iPRO account, with both hands on the fake vendor. `site` are the sandbox's own settings."""

    def __init__(self, site: dict[str, Any] | None = None, **other: Any) -> None:
        clock = Clock()
        known: dict[str, Any] = {"seed": 0, "noise": False}
        self.sandbox = IproSandbox(clock, **known | (site or {}))
        super().__init__(settings(**other), self.sandbox, clock)

    def answers(self, path: str, body: Any, status: int = 200) -> None:
        """From now on every question whose path ends so is answered so."""
        plain = self.vendor

        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(status, json=body) if request.url.path.endswith(path) else plain(request)

        self.vendor = answer

    def asked(self, path: str = "/bookings") -> list[dict[str, str]]:
        return [dict(seen.query) for seen in self.sandbox.seen if seen.path.endswith(path)]

    async def read(self, resource: str = "booking", **query: Any) -> list[Any]:
        """Everything one read gives, as records."""
        known: dict[str, Any] = {"since": None, "whole": True, "now": NOON}
        asked = Query(resource=resource, part="", **known | query)
        return [settled(page, raw) async for page in self.connector.read(self.api, asked) for raw in page.items]

    async def look_up(self, resource: str, records: list[Any]) -> list[Any]:
        asked = Query(resource=resource, part="", since=None, whole=True, now=NOON)
        found = self.connector.look_up(self.api, asked, records)
        return [settled(page, raw) async for page in found for raw in page.items]


def settled(page: Page, raw: msgspec.Raw) -> Record:
    """The record, where nothing is stored of it yet."""
    record = page.to_record(raw)
    if not page.in_doubt or not page.in_doubt(record):
        return record
    assert page.vouched
    return page.vouched(record, None)


async def booking(item: dict[str, Any], **other: Any) -> Booking:
    """The record that this item of a listing becomes."""
    site = Site(**other)
    site.answers("/bookings", {"TotalHits": 1, "Items": [item]})
    found = (await site.read())[0]
    assert isinstance(found, Booking)
    return found


async def place(item: dict[str, Any], **other: Any) -> Property:
    site = Site(**other)
    site.answers("/properties", [{"Id": 1, "Name": "Old Mill", "CurrencyISO": "GBP", **item}])
    found = (await site.read("property"))[0]
    assert isinstance(found, Property)
    return found


# From reply to record


async def test_a_booking_becomes_a_booking() -> None:
    assert await booking(BOOKED) == Booking(
        id="3707",
        property_id="7858",
        arrival=date(2026, 7, 28),
        departure=date(2026, 8, 6),
        status=BookingStatus.CONFIRMED,
        status_name="Booking",
        channel=Channel(name="Website"),
        guest=Guest(name="Sam Sample"),
        guests=3,
        children=1,
        infants=0,
        pets=0,
        total=Money(Decimal("1015.00"), "GBP"),
        balance=Money(Decimal("765.00"), "GBP"),
        balance_due=date(2026, 6, 2),
        deposit=Money(Decimal("250.00"), "GBP"),
        deposit_due=date(2026, 3, 20),
        security_deposit=Money(Decimal("500.00"), "GBP"),
        commission=Money(Decimal("178.19"), "GBP"),
        discount=Money(Decimal("0.00"), "GBP"),
        booked_at=datetime(2026, 3, 18, 5, 45, 0, 923_000, tzinfo=UTC),
        updated_at=datetime(2026, 5, 11, 8, 48, 22, 807_000, tzinfo=UTC),
    )


async def test_a_booking_with_hardly_a_field_is_one_all_the_same() -> None:
    assert await booking(CANCELLED) == Booking(
        id="3691",
        property_id="10140",
        arrival=date(2026, 6, 6),
        departure=date(2026, 6, 13),
        status=BookingStatus.CANCELLED,
        status_name="Cancelled",
        guests=2,
        total=Money(Decimal("0.00"), "GBP"),
        booked_at=datetime(2026, 1, 2, tzinfo=UTC),
        updated_at=datetime(2026, 5, 11, 9, 2, tzinfo=UTC),
    )


async def test_the_same_booking_in_other_spellings_is_the_same_record() -> None:
    other = {
        **BOOKED,
        "BookingId": "3707",
        "PropertyId": 7858.0,
        "BookingStatusId": "3",
        "Adults": "2",
        "RenterTotal": "1,015.00",
        "CheckIn": "2026-07-28T00:00:00",
        "CheckOut": "06/08/2026",
        "DepositDueDate": "2026-03-20",
        "Infants": 0.0,
    }
    assert await booking(other) == await booking(BOOKED)


STATUSES = [
    (3, "Booking", "confirmed"),
    (4, "Cancelled", "cancelled"),
    (3, None, "confirmed"),
    (None, "Cancelled by owner", "cancelled"),
    (None, "Booking", "confirmed"),
    (9, "CONFIRMED", "confirmed"),
    (9, "Provisional booking", "waiting"),
    (None, None, "waiting"),
]


@pytest.mark.parametrize(("number", "word", "status"), STATUSES)
async def test_a_status_is_told_by_its_number_else_by_its_word(number: object, word: object, status: str) -> None:
    assert (await booking({**BOOKED, "BookingStatusId": number, "Status": word})).status == status


CURRENCIES = [
    ("EUR", 7858, None, "EUR"),  # a code
    ("$", 8862, "CAD", "USD"),  # the property's
    ("€", 10140, "CAD", "EUR"),  # a symbol of one currency
    ("$", 10140, "CAD", "CAD"),  # as configured
    (None, 10140, "CAD", "CAD"),
]


@pytest.mark.parametrize(("named", "property_id", "usual", "code"), CURRENCIES)
async def test_what_an_amount_is_in(named: object, property_id: int, usual: str | None, code: str) -> None:
    found = await booking({**BOOKED, "Currency": named, "PropertyId": property_id}, currency=usual)
    assert found.total == Money(Decimal("1015.00"), code)


async def test_an_amount_in_nobody_knows_what_is_unreadable_and_the_sentence_says_what_to_set() -> None:
    with pytest.raises(Unreadable, match=r"\$\.Currency: .* set `currency` on the account"):
        await booking({**BOOKED, "Currency": "$", "PropertyId": 10140})
    bare = {name: BOOKED[name] for name in ("BookingId", "PropertyId", "CheckIn", "CheckOut")}
    assert (await booking({**bare, "Currency": "$", "PropertyId": 10140})).total is None


async def test_properties_that_are_not_granted_or_not_readable_leave_bookings_readable() -> None:
    site = Site()
    site.answers("/bookings", [BOOKED])
    site.answers("/properties", [None, {"Id": {"wrong": 1}, "CurrencyISO": "EUR"}, {"Id": 7858, "CurrencyISO": 5}])
    assert (await site.read())[0].total.currency == "GBP"
    site = Site()
    site.answers("/bookings", [BOOKED])
    site.answers("/properties", {}, status=403)
    assert (await site.read())[0].total.currency == "GBP"


async def test_a_page_read_under_other_currencies_is_another_page() -> None:
    one, other = Site(), Site()
    other.sandbox.change_property(7858, {"CurrencyISO": "EUR"})
    asked = Query(resource="booking", part="", since=None, whole=True, now=NOON)
    one.sandbox.add(), other.sandbox.add()
    contexts = [{page.context async for page in site.connector.read(site.api, asked)} for site in (one, other, one)]
    assert contexts[0] == contexts[2] != contexts[1]


async def test_tags_are_texts_or_settings_and_have_no_order() -> None:
    found = await booking({**BOOKED, "BookingTags": [{"Id": 3, "Name": "Dog"}, "Returning", None, {"Id": 1}]})
    assert found.tags == ("1", "Dog", "Returning")


async def test_a_time_without_a_zone_is_the_accounts() -> None:

    found = await booking({**BOOKED, "ModifiedTime": "2026-05-11T08:00:00"}, timezone=ZoneInfo("Europe/London"))
    assert found.updated_at == datetime(2026, 5, 11, 7, tzinfo=UTC)


@pytest.mark.parametrize("field", ["CheckIn", "CheckOut", "BalanceDueDate", "ModifiedTime", "Adults", "RenterTotal"])
async def test_nonsense_is_unreadable_at_its_place(field: str) -> None:
    with pytest.raises(Unreadable, match=rf"\$\.{field}") as caught:
        await booking({**BOOKED, field: "when pigs fly"})
    assert "pigs" not in str(caught.value)


@pytest.mark.parametrize("resource", ["booking", "property", "enquiry"])
async def test_what_is_for_the_staff_never_enters_a_record(resource: str) -> None:
    site = Site({"seed": 30})
    found = msgspec.json.encode(await site.read(resource))
    assert found.count(b'"id"') >= 5
    assert PRIVATE.encode() not in found


async def test_a_property_becomes_a_property() -> None:
    harbour = (await Site().read("property"))[0]
    assert harbour == Property(
        id="7858",
        name="Harbour View",
        title="Harbour View, St Sample",
        reference="SS7858",
        status=PropertyStatus.ACTIVE,
        listed=True,
        bookable_online=True,
        owner_id="77",
        lowest_rate=Money(Decimal("410.00"), "GBP"),
        highest_rate=Money(Decimal("1320.00"), "GBP"),
        currency="GBP",
        city="St Sample",
        country="United Kingdom",
        address="1 Sample Street",
        postcode="AB1 2CD",
        latitude=50.1,
        longitude=-5.2,
    )


LETTING = [
    ({"Withdrawn": True, "Suspended": True}, "withdrawn"),
    ({"Withdrawn": "true"}, "withdrawn"),
    ({"Withdrawn": False, "Suspended": 1}, "suspended"),
    ({"Withdrawn": False}, "active"),
    ({}, None),
]


@pytest.mark.parametrize(("flags", "status"), LETTING)
async def test_whether_a_property_is_let(flags: dict[str, Any], status: str | None) -> None:
    assert (await place(flags)).status == status


async def test_a_property_that_is_hidden_or_not_bookable() -> None:
    found = await place({"HideOnWebsite": True, "DisableOnlineBooking": True})
    assert (found.listed, found.bookable_online) == (False, False)
    assert ((await place({})).listed, (await place({})).bookable_online) == (None, None)


@pytest.mark.parametrize("text", ["", "n/a", "50.1", "50.1,-5.2,3", None])
async def test_a_place_on_the_map_that_is_none_is_left_out(text: object) -> None:
    assert (await place({"GeoLocation": text})).latitude is None


@pytest.mark.parametrize("wrap", [lambda item: [item], lambda item: {"TotalHits": 1, "Items": [item]}])
@pytest.mark.parametrize("inner", [lambda item: item, lambda item: {"PropertyDetails": item, "PropertyRates": []}])
async def test_properties_in_every_wrapping(wrap: Callable[..., Any], inner: Callable[..., Any]) -> None:
    site = Site()
    site.answers("/properties", wrap(inner({"Id": "7858", "Title": "Harbour View"})))
    assert [(each.id, each.name) for each in await site.read("property")] == [("7858", "Harbour View")]


async def test_an_enquiry_becomes_an_enquiry() -> None:
    site = Site()
    site.answers("/7858/enquiries", {"TotalHits": 1, "Items": [ENQUIRY]})
    assert await site.read("enquiry") == [
        Enquiry(
            id="4373",
            property_ids=("8849", "8862"),
            arrival=date(2026, 11, 23),
            departure=date(2026, 11, 30),
            guest=Guest(name="Kim Sample", email="kim@example.com", phone="07000000000"),
            adults=2,
            children=1,
            infants=1,
            pets=1,
            occasion="Birthday",
            comments="near the beach?",
            asked_at=datetime(2026, 10, 23, 9, 49, 17, 36_597, tzinfo=UTC),
        )
    ]


CALENDAR = {"2026": {"7": {"18": "OB", "20": "A", "21": "C"}, "08": {"1": "U", "02": "P", "3": "??"}}}


async def days(calendar: Any) -> list[Availability]:
    site = Site()
    site.sandbox.properties = {7858: site.sandbox.properties[7858]}
    site.answers("/dayavailability", calendar)
    return await site.read("availability")


async def test_a_calendar_becomes_days_and_unknown_codes_stay() -> None:
    (found,) = await days(CALENDAR)
    assert (found.id, found.days) == (
        "7858",
        {
            date(2026, 7, 18): "OB",
            date(2026, 7, 20): "A",
            date(2026, 7, 21): "C",
            date(2026, 8, 1): "U",
            date(2026, 8, 2): "P",
            date(2026, 8, 3): "??",
        },
    )


@pytest.mark.parametrize("empty", [{}, {"2026": {}}, {"2026": {"7": None}}, {"2026": {"7": {"1": None}}}])
async def test_a_calendar_without_a_day_is_no_news(empty: Any) -> None:
    assert await days(empty) == []


@pytest.mark.parametrize(
    ("wrong", "where"), [({"2026": {"13": {"1": "A"}}}, "2026.13.1"), ({"x": {"1": {"1": "A"}}}, "?.1.1")]
)
async def test_a_day_that_cannot_be_is_unreadable_at_its_place(wrong: Any, where: str) -> None:
    with pytest.raises(Unreadable, match=re.escape(f"$.{where}")):
        await days(wrong)


async def test_a_calendar_of_another_shape_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="GET /apis/property/7858/dayavailability"):
        await days([{"Day": "2026-07-18"}])


# Signing in


def signed_in(reply: dict[str, Any]) -> tuple[httpx.Request, float]:
    steps = settings().sign_in(None)
    request = next(steps)
    with pytest.raises(StopIteration) as done:
        steps.send(httpx.Response(200, json=reply))
    return request, done.value.value.lifetime


def test_a_byte_order_mark_hides_neither_a_token_nor_a_failure() -> None:
    steps = settings().sign_in(None)
    next(steps)
    with pytest.raises(StopIteration) as done:
        steps.send(httpx.Response(200, content=b"\xef\xbb\xbf" + b'{"access_token": "a", "expires_in": 60}'))
    assert done.value.value.access == "a"
    request = httpx.Request("GET", "https://cottages.test/apis/bookings")
    assert (
        settings().refusal(httpx.Response(200, content=b'\xef\xbb\xbf{"Success": false}', request=request)) is not None
    )


def test_client_credentials_sign_in() -> None:
    request, lifetime = signed_in({"access_token": "one", "token_type": "bearer", "expires_in": 3600})
    assert (request.method, str(request.url), lifetime) == ("POST", "https://ipro.test/oauth/2.0/token", 3600)
    pair = b"sandbox-client:sandbox-secret-ipro"
    assert request.headers["Authorization"] == f"Basic {b64encode(pair).decode()}"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded; charset=utf-8"
    assert request.content == b"grant_type=client_credentials"


LIVES = [("7200", 7200), (300.0, 300), (None, 3600), (0, 3600), (-5, 3600), ("soon", 3600), (1e30, 3600)]


@pytest.mark.parametrize(("told", "seconds"), LIVES)
def test_the_life_of_a_token_is_read_however_it_is_told(told: object, seconds: float) -> None:
    assert signed_in({"access_token": "one", "expires_in": told})[1] == seconds


def test_a_token_that_says_nothing_of_its_life_lives_an_hour() -> None:
    assert signed_in({"access_token": "one"})[1] == 3600


async def test_every_call_tells_the_version() -> None:
    site, versions = Site(), set()

    def watched(request: httpx.Request) -> httpx.Response:
        versions.add((request.url.path == "/oauth/2.0/token", request.headers.get("version")))
        return site.sandbox(request)

    site.vendor = watched
    await site.read()
    assert versions == {(True, None), (False, "2.0")}


WRONG = [
    ({"client_id": " "}, "client_id is empty"),
    ({"path": "apis"}, "begin with a slash"),
    ({"token_path": "/token?x=1"}, "hold no query"),
    ({"currency": "£"}, "ISO 4217"),
    ({"currency": "XXX"}, "ISO 4217"),
    ({"page_size": 0}, "page_size"),
    ({"months": 0}, "months"),
    ({"availability_margin": Duration(seconds=-1)}, "below zero"),
]


@pytest.mark.parametrize(("other", "sentence"), WRONG)
def test_a_setting_that_cannot_be_is_refused(other: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        settings(**other)


def test_a_site_has_no_default() -> None:
    with pytest.raises(TypeError, match="base_url"):
        Ipro(name="cottages", client_id="a", client_secret=Secret("b"))  # type: ignore[call-arg]  # that is the point


def test_no_secret_is_in_a_repr() -> None:
    assert CLIENT_SECRET not in repr(settings())


# What a refusal means


def meaning(status: int, body: Any, path: str = "bookings?bookingstatus=3&size=200&index=1") -> type | None:
    request = httpx.Request("GET", f"https://ipro.test/apis/{path}")
    said = settings().refusal(httpx.Response(status, json=body, request=request))
    return type(said) if said else None


@pytest.mark.parametrize("word", ["Success", "success"])
@pytest.mark.parametrize(("value", "kind"), [(False, Unavailable), ("false", Unavailable), (True, None), (None, None)])
def test_a_failure_inside_a_200_is_one(word: str, value: object, kind: type | None) -> None:
    assert meaning(200, {word: value, "Items": []}) == kind


def test_a_success_deeper_down_is_none_of_the_replys() -> None:
    assert meaning(200, {"TotalHits": 1, "Items": [{"Success": False}]}) is None


MEANINGS = [
    (404, "property/1/all", NothingThere),
    (404, "property/1/dayavailability?months=24", NothingThere),
    (404, "property/dayavailabilitycheck?lastUpdated=5", None),
    (404, "properties", None),
    (400, "property/1/enquiries", None),
    (400, "bookings?size=200&index=1", NothingThere),
    (404, "bookings?bookingID=5&bookingstatus=4", NothingThere),
    (400, "bookings?bookingstatus=3", None),
    (403, "bookings?size=200", None),
]


@pytest.mark.parametrize(("status", "path", "kind"), MEANINGS)
def test_what_is_not_there(status: int, path: str, kind: type | None) -> None:
    assert meaning(status, {"Message": "no"}, path) == kind


# Asking for bookings


def passes(site: Site) -> list[tuple[str | None, str | None, str | None]]:
    return list(
        dict.fromkeys(
            (each.get("bookingstatus"), each.get("modifiedTimeFrom"), each.get("modifiedTimeTo"))
            for each in site.asked()
        )
    )


async def test_bookings_are_asked_for_once_per_status_from_the_day_before_the_cursor_to_tomorrow() -> None:
    site = Site()
    await site.read(since=datetime(2026, 5, 17, 21, 30, tzinfo=UTC), whole=False)
    assert passes(site) == [(status, "2026-05-16", "2026-05-21") for status in ("3", "4", None)]
    assert {each["Sort"] + each["SortDirection"] for each in site.asked()} == {"CreateDateasc"}


async def test_a_whole_read_asks_for_all() -> None:
    site = Site()
    await site.read(since=NOON, whole=True)
    assert passes(site) == [(status, None, None) for status in ("3", "4", None)]


async def test_a_provisional_booking_is_in_the_listing_without_a_status() -> None:
    site = Site()
    site.sandbox.add(fields={"BookingStatusId": 2, "Status": "Provisional"})
    assert [(each.status, each.status_name) for each in await site.read()] == [("waiting", "Provisional")]


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_a_site_that_lists_none_without_a_status_is_read_by_the_others(status: int) -> None:
    site = Site()
    site.sandbox.add()
    plain = site.vendor
    site.vendor = lambda request: (
        plain(request)
        if not request.url.path.endswith("/bookings") or "bookingstatus" in request.url.params
        else httpx.Response(status, json={"Message": "bookingstatus"})
    )
    assert len(await site.read()) == 1


@pytest.mark.parametrize(("status", "kind"), [(400, Misconfigured), (403, Forbidden), (404, Misconfigured)])
async def test_a_refusal_of_bookings_themselves_is_told(status: int, kind: type[Exception]) -> None:
    site = Site()
    site.answers("/bookings", {}, status)
    with pytest.raises(kind):
        await site.read()


SHAPES: list[dict[str, Any]] = [
    {"page_cap": cap, "totals": totals, "unasked": unasked}
    for cap in (7, 300)
    for totals in ("honest", "page", "low", "high", "none")
    for unasked in ("uncancelled", "all", "refused")
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
async def test_no_booking_is_lost_by_paging_whatever_the_site_says_of_it(shape: dict[str, Any]) -> None:
    site = Site(shape, page_size=10)
    for _ in range(23):
        site.sandbox.add()
    for id_ in list(site.sandbox.bookings)[::3]:
        site.sandbox.cancel(id_)
    found = {each.id: each.status for each in await site.read()}
    assert len(found) == 23
    assert sum(status == "cancelled" for status in found.values()) == 8


async def test_a_site_that_refuses_a_page_behind_its_last_is_read_to_the_end() -> None:
    site = Site()
    site.sandbox.add()
    plain = site.vendor
    site.vendor = lambda request: (
        httpx.Response(400, json={}) if request.url.params.get("index") == "2" else plain(request)
    )
    assert len({each.id for each in await site.read()}) == 1


async def test_a_listing_from_which_something_went_meanwhile_is_read_again() -> None:
    site = Site(page_size=2)
    ids = [site.sandbox.add(fields={"OrderTime": f"2026-05-0{day}"})["BookingId"] for day in range(1, 6)]
    plain = site.vendor

    def cancelling(request: httpx.Request) -> httpx.Response:
        if request.url.params.get("index") == "2" and site.sandbox.bookings[ids[0]]["Status"] != "Cancelled":
            site.sandbox.cancel(ids[0])  # the third slips to the first page
        return plain(request)

    site.vendor = cancelling
    assert {each.id for each in await site.read()} == set(map(str, ids))


async def test_a_site_whose_count_never_holds_still_is_read_three_times_and_no_more() -> None:
    site = Site({"totals": "page", "unasked": "refused"}, page_size=2)
    for _ in range(5):
        site.sandbox.add()
    await site.read()
    assert len([each for each in site.asked() if each.get("bookingstatus") == "3" and each["index"] == "1"]) == READINGS


@pytest.mark.parametrize("kind", ["endless", "repeat"])
async def test_a_listing_without_an_end_is_unreadable(kind: str) -> None:
    site = Site(page_size=1)
    site.sandbox.add(), site.sandbox.add()
    site.sandbox.fail(kind=kind, match="/bookings", times=10_000)
    with pytest.raises(Unreadable, match="page"):
        await site.read()


async def test_unreadable_bookings_do_not_keep_the_next_page_from_being_read() -> None:
    site = Site(page_size=2)
    for _ in range(4):
        site.sandbox.add()
    site.sandbox.fail(kind="wrong_types", match="/bookings")
    asked = Query(resource="booking", part="", since=None, whole=True, now=NOON)
    assert sum([len(page.items) async for page in site.connector.read(site.api, asked)]) >= 4


# Looking up


@pytest.mark.parametrize("unasked", ["uncancelled", "all", "refused"])
async def test_a_booking_is_looked_up_whatever_its_status(unasked: str) -> None:
    site = Site({"unasked": unasked})
    for _ in range(3):
        site.sandbox.add()
    known = await site.read()
    first, second, third = (int(each.id) for each in known[:3])
    site.sandbox.cancel(second)
    site.sandbox.remove(third)
    found = {int(each.id): each.status for each in await site.look_up("booking", known[:3])}
    assert found == {first: "confirmed", second: "cancelled"}


async def test_a_site_that_does_not_look_up_by_id_makes_nothing_missing() -> None:
    site = Site()
    site.sandbox.add()
    (known,) = {each.id: each for each in await site.read()}.values()
    site.answers("/bookings", {"TotalHits": 1, "Items": [CANCELLED]})
    with pytest.raises(Unreadable, match="the site lists others"):
        await site.look_up("booking", [msgspec.structs.replace(known, id="1")])


async def test_a_property_is_looked_up_and_one_that_is_gone_is_missing() -> None:
    site = Site()
    known = await site.read("property")
    site.sandbox.withdraw(7858)
    site.sandbox.remove_property(7864)
    found = await site.look_up("property", known[:2])
    assert [(each.id, each.status) for each in found] == [("7858", "withdrawn")]


# Availability


async def test_only_properties_that_the_check_names_are_read() -> None:
    site = Site()
    await site.poll("availability")
    site.sandbox.seen.clear()
    site.clock.at = NOON + timedelta(hours=1)
    site.sandbox.block(7864, date(2026, 7, 1), date(2026, 7, 3))
    ids = [each.id for each in await site.read("availability", since=NOON, whole=False, now=site.clock.at)]
    assert ids == ["7864"]
    assert site.asked("/dayavailabilitycheck") == [{"lastUpdated": "70"}]


MINUTES = [
    ({}, timedelta(minutes=5), "15"),
    ({}, timedelta(minutes=5, seconds=1), "16"),
    ({"every": {"availability": Duration(minutes=30)}}, timedelta(minutes=30), "90"),
    ({"availability_margin": Duration(0), "every": {"availability": Duration(seconds=1)}}, timedelta(seconds=1), "3"),
]


@pytest.mark.parametrize(("other", "ago", "minutes"), MINUTES)
async def test_the_check_reaches_back_further_than_the_last_look(
    other: dict[str, Any], ago: timedelta, minutes: str
) -> None:
    site = Site(**other)
    await site.read("availability", since=NOON - ago, whole=False)
    assert site.asked("/dayavailabilitycheck") == [{"lastUpdated": minutes}]


@pytest.mark.parametrize(
    "query",
    [
        {"since": None, "whole": True},
        {"since": NOON, "whole": True},
        {"since": NOON - timedelta(days=2), "whole": False},
    ],
)
async def test_without_a_recent_look_all_calendars_are_read(query: dict[str, Any]) -> None:
    site = Site()
    assert len(await site.read("availability", **query)) == 5
    assert site.asked("/dayavailabilitycheck") == []
    assert site.asked("/7858/dayavailability") == [{"months": "24"}]


NAMED: list[Any] = [
    [{"PropertyIDs": [7858, "7864"]}],
    {"PropertyIDs": [7858, 7864]},
    [{"PropertyIDs": [7858]}, {"PropertyIDs": [7864, 7858]}],
    [7858, "7864"],
]


@pytest.mark.parametrize("named", NAMED)
async def test_the_check_answers_in_every_shape(named: Any) -> None:
    site = Site()
    site.answers("/dayavailabilitycheck", named)
    assert [each.id for each in await site.read("availability", since=NOON, whole=False)] == ["7858", "7864"]


@pytest.mark.parametrize("nobody", [[], {"PropertyIDs": []}, [{"PropertyIDs": None}]])
async def test_the_check_names_nobody(nobody: Any) -> None:
    site = Site()
    site.answers("/dayavailabilitycheck", nobody)
    assert await site.read("availability", since=NOON, whole=False) == []


async def test_a_check_of_another_shape_is_unreadable() -> None:
    site = Site()
    site.answers("/dayavailabilitycheck", {"Changed": [1]})
    with pytest.raises(Unreadable, match="PropertyIDs"):
        await site.read("availability", since=NOON, whole=False)


async def test_a_calendar_that_fails_keeps_no_other_from_being_read() -> None:
    site = Site()
    site.sandbox.fail(status=500, match="/7858/dayavailability")
    assert (await site.poll("availability")).outcome is PollOutcome.UNAVAILABLE
    assert set(await site.stored("availability")) == {"7864", "7902", "8849", "8862"}


async def test_a_property_that_is_gone_meanwhile_is_passed_over() -> None:
    site = Site()
    site.answers("/dayavailabilitycheck", {"PropertyIDs": [1, 7858]})
    assert [each.id for each in await site.read("availability", since=NOON, whole=False)] == ["7858"]


@pytest.mark.parametrize("resource", ["availability", "enquiry"])
async def test_a_site_that_knows_not_one_of_its_own_properties_is_down(resource: str) -> None:
    site = Site()
    site.answers("/dayavailability" if resource == "availability" else "/enquiries", {}, status=404)
    with pytest.raises(Unavailable, match="each of its own properties"):
        await site.read(resource)


@pytest.mark.parametrize("resource", ["availability", "enquiry"])
async def test_a_site_without_properties_has_none_of_it(resource: str) -> None:
    site = Site()
    site.sandbox.properties = {}
    assert await site.read(resource) == []


async def test_a_property_without_an_id_is_told_and_the_others_are_read() -> None:
    site = Site()
    site.answers("/properties", [{"Name": "Nameless"}, {"Id": 7858, "Name": "Harbour View"}])
    with pytest.raises(Unreadable, match="without an id"):
        await site.read("availability")
    assert len(site.asked("/7858/dayavailability")) == 1


# Polled


async def everything(site: Site, after: timedelta = timedelta(minutes=20)) -> list[Ended]:
    return [await site.poll(resource, after=after) for resource in site.connector.resources]


async def test_what_happens_on_the_site_is_told_under_its_own_verb() -> None:
    site = Site({"seed": 8, "noise": True})
    await everything(site)
    site.told()
    made = site.sandbox.add(7902, {"BookingStatusId": 2, "Status": "Provisional"})["BookingId"]
    site.sandbox.suspend(7858)
    site.sandbox.enquire([7864])
    await everything(site)
    assert site.kinds() == ["booking.created", "property.suspended", "availability.changed", "enquiry.created"]
    steps = (
        (site.sandbox.confirm, "booking.confirmed"),
        (site.sandbox.cancel, "booking.cancelled"),
        (site.sandbox.reactivate, "booking.reactivated"),
    )
    for step, kind in steps:
        step(made)
        await everything(site)
        assert site.kinds() == [kind, "availability.changed"]
    site.sandbox.touch(made)
    site.sandbox.reinstate(7858)
    await everything(site)
    assert site.kinds() == ["property.reinstated"]


async def test_a_removed_blockout_changes_the_calendar_and_the_event_names_the_days() -> None:
    site = Site()
    block = site.sandbox.block(7858, date(2026, 7, 1), date(2026, 7, 3))
    await site.poll("availability")
    site.sandbox.unblock(block["ID"])
    await site.poll("availability")
    (event,) = site.told()
    assert (event.type, event.subject) == ("availability.changed", "7858")


async def test_an_empty_calendar_wipes_nothing_even_after_whole_reads() -> None:
    site = Site()
    await site.poll("availability")
    known = await site.stored("availability")
    plain = site.vendor
    site.answers("/7858/dayavailability", {})
    for _ in range(3):
        await site.sweep("availability")
    assert site.told() == []
    assert "7858" in await site.stored("availability")
    site.vendor = plain
    await site.sweep("availability")
    assert site.kinds() == []
    assert set(await site.stored("availability")) == set(known)


async def test_a_withdrawn_property_that_is_not_listed_any_more_is_told_as_withdrawn() -> None:
    site = Site()
    await site.poll("property")
    site.sandbox.withdraw(7858)
    site.answers("/properties", [each for each in site.sandbox.properties.values() if each["Id"] != 7858])
    await site.poll("property")
    await site.poll("property")
    assert site.kinds() == ["property.withdrawn"]


async def test_a_token_that_runs_out_is_asked_for_anew() -> None:
    site = Site()
    await site.poll()
    site.sandbox.expire_tokens()
    assert (await site.poll()).outcome is PollOutcome.UNCHANGED
    assert len(site.asked("/token")) == 2


async def test_whatever_fails_only_reading_paths_are_ever_asked() -> None:
    site = Site({"seed": 10, "noise": True})
    asked: list[str] = []

    def watched(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        return site.sandbox(request)

    site.vendor = watched
    kinds = ["html", "truncated", "hang", "empty", "wrong_types", "one_bad", "repeat", *site.sandbox.errors]
    for kind in kinds:
        for match in ("", "/bookings", "/properties", "/property/"):
            site.sandbox.heal()
            site.sandbox.step()
            site.sandbox.fail(kind=kind, match=match, times=3)
            await everything(site, after=timedelta(hours=7))
    site.sandbox.heal()
    site.sandbox.remove(next(iter(site.sandbox.bookings)))
    site.sandbox.remove_property(7864)
    await everything(site, after=timedelta(hours=25))
    paths = {each.split()[1] for each in asked}
    assert all(READING.fullmatch(path) for path in paths), paths
    assert {each.split()[0] for each in asked if "/token" not in each} == {"GET"}
    assert any(path.endswith("/all") for path in paths)
    assert site.sandbox.writes == []


# What is known of properties comes and goes; what a booking is paid in stays

HARBOUR, MILL = 7858, 7864
PLACES: list[dict[str, Any]] = [
    {"Id": HARBOUR, "Name": "Harbour View", "Currency": "$", "CurrencyISO": "AUD", "MinRate": 410.0, "MaxRate": 1320.0},
    {"Id": MILL, "Name": "Old Mill", "Currency": "£", "CurrencyISO": "GBP"},
]
NAMELESS = {**PLACES[0], "CurrencyISO": None}
DOLLARS = {**BOOKED, "Currency": "$", "PropertyId": HARBOUR}
NEW = {**DOLLARS, "BookingId": 3708, "OrderTime": "2026-05-20T12:30:00Z", "ModifiedTime": "2026-05-20T12:30:00Z"}
ELEVEN_MINUTES = timedelta(minutes=11)  # after these nothing is remembered of properties

losing = pytest.mark.parametrize(
    ("status", "listing"),
    [(403, {}), (404, {}), (200, []), (200, {"TotalHits": 0, "Items": []}), (200, PLACES[1:]), (200, [NAMELESS])],
    ids=["forbidden", "no such page", "empty", "empty page", "delisted", "without its code"],
)
usually = pytest.mark.parametrize("usual", [None, "USD"])


async def dollars(*bookings: dict[str, Any], **other: Any) -> Site:
    """A site read while it tells that the dollars of Harbour View are Australian."""
    site = Site(**other)
    site.answers("/properties", PLACES)
    listed(site, *(bookings or [DOLLARS]))
    for resource in ("property", "booking"):
        await site.poll(resource)
    assert (site.told(), site.quarantined()) == ([], [])
    return site


def listed(site: Site, *bookings: dict[str, Any]) -> None:
    site.answers("/bookings", {"TotalHits": len(bookings), "Items": bookings})


def restarted(site: Site, **other: Any) -> Site:
    """A new process over the same ledger and the same vendor."""
    again = Site(**{"currency": site.connector.currency} | other)  # type: ignore[attr-defined] # an Ipro
    again.clock.at, again.ledger, again.vendor = site.clock.at, site.ledger, site.vendor
    again.restart()
    again.told()
    return again


async def paid_in(site: Site, id_: str = "3707") -> set[str]:
    """What the amounts of a stored booking are in."""
    record = (await site.stored())[id_]
    values = [getattr(record, name) for name in record.__struct_fields__]
    return {value.currency for value in values if isinstance(value, Money)}


@losing
@usually
async def test_a_booking_is_not_priced_anew_where_its_property_is_not_known_any_more(
    usual: str | None, status: int, listing: Any
) -> None:
    site = restarted(await dollars(currency=usual))
    site.answers("/properties", listing, status)
    assert (await site.poll()).outcome is PollOutcome.UNCHANGED
    assert (site.told(), site.quarantined(), await paid_in(site)) == ([], [], {"AUD"})
    site.answers("/properties", PLACES)
    for after in (timedelta(minutes=1), ELEVEN_MINUTES):
        await site.poll(after=after)
        assert (site.told(), await paid_in(site)) == ([], {"AUD"})


@losing
@usually
async def test_what_else_changes_meanwhile_is_told_and_nothing_but_that(
    usual: str | None, status: int, listing: Any
) -> None:
    site = restarted(await dollars(DOLLARS, {**DOLLARS, "BookingId": 3709}, currency=usual))
    site.answers("/properties", listing, status)
    gone = {**DOLLARS, "BookingStatusId": 4, "Status": "Cancelled", "ModifiedTime": "2026-05-20T12:01:00Z"}
    dearer = {**DOLLARS, "BookingId": 3709, "RenterTotal": 1100.0, "ModifiedTime": "2026-05-20T12:01:00Z"}
    listed(site, gone, dearer)
    await site.poll()
    cancelled, modified = site.told()
    assert (cancelled.type, cancelled.data["changes"].keys()) == ("booking.cancelled", {"status", "status_name"})
    assert modified.data["changes"] == {
        "total": {"before": Money(Decimal("1015.00"), "AUD"), "after": Money(Decimal("1100.00"), "AUD")}
    }
    assert site.quarantined() == []


@losing
async def test_nothing_is_priced_anew_within_one_process_either(status: int, listing: Any) -> None:
    site = await dollars(currency="USD")
    site.answers("/properties", listing, status)
    for after in (timedelta(minutes=1), ELEVEN_MINUTES, ELEVEN_MINUTES):
        await site.poll(after=after)
    site.answers("/properties", PLACES)
    for after in (timedelta(minutes=1), ELEVEN_MINUTES):
        await site.poll(after=after)
    assert (site.told(), site.quarantined(), await paid_in(site)) == ([], [], {"AUD"})


@pytest.mark.parametrize(("status", "listing"), [(403, {}), (404, {}), (200, [])])
async def test_properties_that_are_shown_again_are_known_at_the_next_poll(status: int, listing: Any) -> None:
    site = restarted(await dollars(currency="USD"))
    site.answers("/properties", listing, status)
    await site.poll()
    site.answers("/properties", PLACES)
    listed(site, DOLLARS, NEW)
    await site.poll()
    assert (site.kinds(), await paid_in(site, "3708")) == (["booking.created"], {"AUD"})


@losing
async def test_a_new_booking_at_an_unknown_property_is_in_the_usual_currency(status: int, listing: Any) -> None:
    site = restarted(await dollars(currency="USD"))
    site.answers("/properties", listing, status)
    listed(site, DOLLARS, NEW)
    await site.poll()
    assert (site.kinds(), await paid_in(site, "3708")) == (["booking.created"], {"USD"})


@losing
async def test_a_new_booking_at_an_unknown_property_without_a_usual_currency_waits(status: int, listing: Any) -> None:
    site = restarted(await dollars())
    site.answers("/properties", listing, status)
    listed(site, DOLLARS, NEW)
    await site.poll()
    assert (site.told(), set(await site.stored())) == ([], {"3707"})
    assert all(place.startswith("$.Currency: ") for place in site.quarantined())
    site.answers("/properties", PLACES)
    await site.poll(after=ELEVEN_MINUTES)
    assert (site.kinds(), await paid_in(site, "3708")) == (["booking.created"], {"AUD"})


async def test_a_first_sync_without_properties_is_corrected_once_they_are_known() -> None:
    site = Site(currency="USD")
    site.answers("/properties", {}, 403)
    listed(site, DOLLARS)
    await site.poll()
    assert await paid_in(site) == {"USD"}
    site.answers("/properties", PLACES)
    await site.poll()
    assert (site.kinds(), await paid_in(site)) == (["booking.modified"], {"AUD"})


async def test_a_property_that_comes_to_be_paid_in_something_else_changes_its_bookings() -> None:
    site = restarted(await dollars())
    site.answers("/properties", [{**PLACES[0], "CurrencyISO": "NZD"}])
    await site.poll()
    assert (site.kinds(), await paid_in(site)) == (["booking.modified"], {"NZD"})


async def test_any_amount_of_the_stored_booking_tells_its_currency() -> None:
    bare = {name: DOLLARS[name] for name in ("BookingId", "PropertyId", "CheckIn", "CheckOut", "Currency", "Deposit")}
    site = restarted(await dollars(bare))
    site.answers("/properties", [])
    listed(site, {**bare, "RenterTotal": 700.0})
    await site.poll()
    (event,) = site.told()
    assert event.data["changes"] == {"total": {"after": Money(Decimal("700.00"), "AUD")}}


async def test_an_amount_keeps_the_decimals_of_its_currency() -> None:
    site = Site()
    site.answers("/properties", [{**PLACES[0], "CurrencyISO": "KWD"}])
    listed(site, {**DOLLARS, "RenterTotal": "1,015.125"})
    await site.poll()
    site = restarted(site)
    site.answers("/properties", [])
    await site.poll()
    assert (site.told(), (await site.stored())["3707"].total.amount) == ([], Decimal("1015.125"))  # type: ignore[attr-defined] # a Booking


async def test_nonsense_is_unreadable_at_its_place_whatever_it_is_in() -> None:
    for amount in ("when pigs fly", 1e20):
        with pytest.raises(Unreadable, match=r"\$\.RenterTotal"):
            await booking({**BOOKED, "Currency": "$", "PropertyId": 10140, "RenterTotal": amount}, currency="USD")


@usually
async def test_no_currency_is_never_a_currency(usual: str | None) -> None:
    site = await dollars(currency=usual)
    site.answers("/properties", [{**PLACES[0], "CurrencyISO": "XXX", "Currency": "XXX"}])
    listed(site, {**DOLLARS, "Currency": "XXX"}, {**NEW, "Currency": "xxx"})
    await site.poll("property", after=ELEVEN_MINUTES)
    await site.poll(after=ELEVEN_MINUTES)
    stored = [*(await site.stored()).values(), *(await site.stored("property")).values()]
    assert len(stored) == (4 if usual else 3)
    assert b"XXX" not in msgspec.json.encode([stored, site.told()])


async def test_redacted_amounts_stay_away() -> None:
    site = Site(currency="USD")
    site.configure(redact=("total", "currency"))
    site.answers("/properties", [NAMELESS])
    listed(site, DOLLARS)
    await site.poll()
    await site.poll("property")
    kept, place_ = (await site.stored())["3707"], (await site.stored("property"))[str(HARBOUR)]
    assert isinstance(kept, Booking)
    assert isinstance(place_, Property)
    assert (kept.total, kept.deposit) == (None, Money(Decimal("250.00"), "USD"))
    assert (place_.currency, place_.lowest_rate) == (None, Money(Decimal("410.00"), "USD"))


@usually
async def test_a_property_keeps_its_currency_where_the_site_does_not_tell_it_any_more(usual: str | None) -> None:
    site = restarted(await dollars(currency=usual))
    site.answers("/properties", [{**NAMELESS, "MinRate": 420.0}, PLACES[1]])
    await site.poll("property")
    (event,) = site.told()
    assert event.data["changes"] == {
        "lowest_rate": {"before": Money(Decimal("410.00"), "AUD"), "after": Money(Decimal("420.00"), "AUD")}
    }
    assert event.data["record"].currency == "AUD"


async def test_a_property_whose_currency_nobody_knows_is_one_without_rates() -> None:
    site = Site()
    site.answers("/properties", [NAMELESS])
    await site.poll("property")
    found = (await site.stored("property"))[str(HARBOUR)]
    assert found == Property(id=str(HARBOUR), name="Harbour View")
    assert site.quarantined() == []


@pytest.mark.parametrize("resource", ["property", "availability", "enquiry"])
async def test_a_site_without_a_listing_of_properties_is_a_failure_of_what_needs_it(resource: str) -> None:
    site = Site()
    await site.poll(resource)
    known = await site.stored(resource)
    site.answers("/properties", {}, 404)
    for _ in range(3):
        assert (await site.sweep(resource)).outcome is PollOutcome.FORBIDDEN
    assert (site.told(), await site.stored(resource)) == ([], known)


async def test_an_enquiry_is_told_at_the_time_it_was_made() -> None:
    site = Site()
    await site.poll("enquiry")
    site.answers("/7858/enquiries", {"TotalHits": 1, "Items": [{**ENQUIRY, "CreateDate": "2026-05-20T12:07:00Z"}]})
    await site.poll("enquiry", after=timedelta(minutes=15))
    (event,) = site.told()
    assert (event.type, event.time) == ("enquiry.created", NOON + timedelta(minutes=7))


@pytest.mark.parametrize("newest_first", [True, False])
async def test_of_two_copies_on_one_page_the_newer_counts_also_where_both_are_in_doubt(newest_first: bool) -> None:
    site = Site(currency="USD")
    site.answers("/properties", [NAMELESS])
    listed(site, DOLLARS)
    await site.poll()
    copies = [{**DOLLARS, "Adults": 5, "ModifiedTime": "2026-05-20T12:01:00Z"}, DOLLARS]
    listed(site, *(copies if newest_first else copies[::-1]))
    await site.poll()
    await site.poll()
    assert site.kinds() == ["booking.modified"]
    assert (await site.stored())["3707"].guests == 6  # type: ignore[attr-defined]
