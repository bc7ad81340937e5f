"""Octorate: what its replies mean, from sign-in to a record."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import httpx
import msgspec
import pytest

from connectors.auth import Token
from connectors.base import Query
from connectors.errors import (
    AuthRefused,
    Forbidden,
    Misconfigured,
    NothingThere,
    Throttled,
    Unavailable,
    Unreadable,
    VendorError,
)
from connectors.octorate import MOST_PAGES, PAGE_SIZE
from connectors.sandbox.octorate_data import PRIVATE
from schemas.records import Booking, BookingStatus, Channel, Guest, Money, Property
from tests.polled import LISTING, LONDON, NOON, ROME, Desk, refused, settings, swapped

pytestmark = pytest.mark.anyio

# The sample of the vendor's own document.
CONFIRMED = json.loads(
    """{"id": 92180827, "refer": "KW6PE8", "channelId": 142, "channelName": "Booking", "channelRefer": "26040G2696",
    "status": "CONFIRMED", "checkin": "2026-07-06T22:00:00Z[UTC]", "checkout": "2026-07-14T07:00:00Z[UTC]",
    "createTime": "2026-04-26T15:20:50Z[UTC]", "updateTime": "2026-05-18T14:04:31Z[UTC]", "product": 234762,
    "pmsProduct": 57600, "roomName": "Double Superior", "roomGross": 472.5, "totalGross": 552.5, "touristTax": 8.0,
    "totalGuest": 2, "totalChildren": 0, "totalInfants": 0, "totalPaid": 20.0, "currency": "EUR", "freeCancellation": true,
    "paymentStatus": "PARTIALLY_PAID", "paymentType": "CREDITCARD", "grouped": false, "rooms": 1,
    "guestsList": "Elisa Sample", "guests": [{"type": "BOOKER", "source": "PORTAL", "givenName": "Elisa",
    "familyName": "Sample", "email": "guest.1@example.com", "phone": "+39 000 000", "language": "IT", "nationality": "IT",
    "checkin": "2026-07-07", "checkout": "2026-07-14"}], "accommodation": {"id": "112696", "name": "Sample Palace Venice",
    "currency": "EUR", "timeZone": "Europe/Rome"}, "payments": [{"id": 3342726, "amount": 20.0}]}"""
)
CANCELLED = json.loads(
    """{"id": 92180827, "refer": "KW6PE8", "channelId": 142, "status": "CANCELLED", "cancelledBy": "guest",
    "cancelledTime": "2026-05-20T08:00:00Z[UTC]", "checkin": "2026-07-06T22:00:00Z[UTC]",
    "checkout": "2026-07-14T07:00:00Z[UTC]", "createTime": "2026-04-26T15:20:50Z[UTC]",
    "updateTime": "2026-05-20T08:00:02Z[UTC]", "product": 234762, "roomGross": 0, "totalGuest": 2, "totalChildren": 0,
    "totalInfants": 0, "guests": [], "noShow": false}"""
)


def listing(items: list[dict[str, Any]]) -> Callable[[httpx.Request, Any], Any]:
    return lambda _request, _body: {"data": items, "page": {"page": 0, "totalPages": 1}}


async def read(desk: Desk, resource: str = "booking", part: str = ROME, **query: Any) -> list[Any]:
    """Everything one read gives, as records."""
    known: dict[str, Any] = {"since": None, "whole": True, "now": NOON}
    asked = Query(resource=resource, part=part, **known | query)
    return [page.to_record(raw) async for page in desk.connector.read(desk.api, asked) for raw in page.items]


async def booking(item: dict[str, Any], part: str = ROME, **other: Any) -> Booking:
    """The record that this item of a listing becomes."""
    desk = Desk(**other)
    desk.vendor = swapped(desk.sandbox, listing([item]))
    found = await read(desk, part=part)
    assert isinstance(found[0], Booking)
    return found[0]


# From reply to record


async def test_a_reservation_becomes_a_booking() -> None:
    assert await booking(CONFIRMED) == Booking(
        id="92180827",
        property_id="112696",
        arrival=date(2026, 7, 7),
        departure=date(2026, 7, 14),
        status=BookingStatus.CONFIRMED,
        reference="KW6PE8",
        channel=Channel(id="142", name="Booking", reference="26040G2696"),
        guest=Guest(
            given_name="Elisa",
            family_name="Sample",
            email="guest.1@example.com",
            phone="+39 000 000",
            language="IT",
            nationality="IT",
        ),
        guests=2,
        children=0,
        infants=0,
        rooms=1,
        room_id="57600",
        room_name="Double Superior",
        product_id="234762",
        total=Money(Decimal("552.50"), "EUR"),
        room_total=Money(Decimal("472.50"), "EUR"),
        paid=Money(Decimal("20.00"), "EUR"),
        payment_status="partially_paid",
        payment_type="creditcard",
        free_cancellation=True,
        booked_at=datetime(2026, 4, 26, 15, 20, 50, tzinfo=UTC),
        updated_at=datetime(2026, 5, 18, 14, 4, 31, tzinfo=UTC),
    )


@pytest.mark.parametrize("other", [{}, {"timezone": ZoneInfo("Europe/Rome")}])
async def test_a_cancelled_reservation_finds_zone_and_currency_at_its_accommodation(other: dict[str, Any]) -> None:
    found = await booking(CANCELLED, **other)
    assert (found.status, found.arrival, found.cancelled_by) == (BookingStatus.CANCELLED, date(2026, 7, 7), "guest")
    assert (found.room_total, found.guest) == (Money(Decimal("0.00"), "EUR"), None)
    assert found.cancelled_at == datetime(2026, 5, 20, 8, tzinfo=UTC)


async def test_the_configured_zone_serves_only_where_the_vendor_gives_none() -> None:
    london = await booking(CANCELLED, LONDON, timezone=ZoneInfo("Europe/Rome"))
    assert london.arrival == date(2026, 7, 6)
    desk = Desk(timezone=ZoneInfo("Europe/Rome"))
    desk.sandbox.change_accommodation(LONDON, {"timeZone": None})
    desk.vendor = swapped(desk.sandbox, listing([CANCELLED]))
    assert (await read(desk, part=LONDON))[0].arrival == date(2026, 7, 7)


async def test_without_any_zone_a_booking_is_unreadable_and_the_sentence_says_what_to_set() -> None:
    desk = Desk()
    desk.sandbox.change_accommodation(ROME, {"timeZone": ""})
    desk.vendor = swapped(desk.sandbox, listing([CANCELLED]))
    with pytest.raises(Unreadable, match="set `timezone` on the account"):
        await read(desk)


TIMES = [
    ("2020-07-06T22:00:00Z[UTC]", datetime(2020, 7, 6, 22, tzinfo=UTC)),
    ("2020-07-06T22:00:00.1Z[UTC]", datetime(2020, 7, 6, 22, 0, 0, 100_000, tzinfo=UTC)),
    ("2020-07-06T22:00:00.36Z[UTC]", datetime(2020, 7, 6, 22, 0, 0, 360_000, tzinfo=UTC)),
    ("2020-07-06T22:00:00.178Z[UTC]", datetime(2020, 7, 6, 22, 0, 0, 178_000, tzinfo=UTC)),
    ("2020-07-06T22:00:00.123456789Z[UTC]", datetime(2020, 7, 6, 22, 0, 0, 123_456, tzinfo=UTC)),
    ("2020-06-18 00:00:00", datetime(2020, 6, 18, tzinfo=UTC)),
    ("2020-06-17 10:22:30+00:00", datetime(2020, 6, 17, 10, 22, 30, tzinfo=UTC)),
    ("2020-06-17T12:22:30+02:00[Europe/Rome]", datetime(2020, 6, 17, 10, 22, 30, tzinfo=UTC)),
]


@pytest.mark.parametrize(("text", "instant"), TIMES)
async def test_a_time_is_read_however_it_is_written(text: str, instant: datetime) -> None:
    found = await booking({**CONFIRMED, "updateTime": text})
    assert (found.updated_at, found.updated_at and found.updated_at.tzinfo) == (instant, UTC)


DATES = [
    ("Europe/Rome", "2026-07-06T22:00:00Z[UTC]", date(2026, 7, 7)),  # summer: midnight is 22:00Z
    ("Europe/Rome", "2026-07-06T21:59:59Z[UTC]", date(2026, 7, 6)),
    ("Europe/Rome", "2026-01-06T22:00:00Z[UTC]", date(2026, 1, 6)),
    ("Europe/Rome", "2026-01-06T23:00:00Z[UTC]", date(2026, 1, 7)),  # winter: midnight is 23:00Z
    ("Europe/Rome", "2026-03-28T23:00:00Z[UTC]", date(2026, 3, 29)),  # the clocks go forward on that day
    ("Europe/Rome", "2026-03-29T22:00:00Z[UTC]", date(2026, 3, 30)),
    ("Europe/Rome", "2026-10-24T22:00:00Z[UTC]", date(2026, 10, 25)),  # and back on that one
    ("Europe/Rome", "2026-10-25T22:30:00Z[UTC]", date(2026, 10, 25)),
    ("Europe/Rome", "2026-10-25T23:00:00Z[UTC]", date(2026, 10, 26)),
    ("Europe/London", "2026-07-06T22:00:00Z[UTC]", date(2026, 7, 6)),
    ("Europe/London", "2026-07-06T23:00:00Z[UTC]", date(2026, 7, 7)),
    ("Europe/London", "2026-01-07T00:00:00Z[UTC]", date(2026, 1, 7)),
    ("America/New_York", "2026-07-07T03:59:59Z[UTC]", date(2026, 7, 6)),
    ("Pacific/Auckland", "2026-07-06T12:00:00Z[UTC]", date(2026, 7, 7)),
    ("Europe/Rome", "2020-06-18 00:00:00", date(2020, 6, 18)),
]


@pytest.mark.parametrize(("zone", "text", "day"), DATES)
async def test_a_stay_begins_on_the_day_it_is_where_the_property_stands(zone: str, text: str, day: date) -> None:
    place = {"currency": "EUR", "timeZone": zone}
    assert (await booking({**CONFIRMED, "checkin": text, "accommodation": place})).arrival == day


@pytest.mark.parametrize("refer", [12345678901234567890, "12345678901234567890"])
async def test_a_reference_of_twenty_digits_keeps_its_digits(refer: object) -> None:
    assert (await booking({**CONFIRMED, "refer": refer})).reference == "12345678901234567890"


async def test_a_reference_may_be_empty_or_absent() -> None:
    absent = {name: value for name, value in CONFIRMED.items() if name != "refer"}
    for item in ({**CONFIRMED, "refer": None}, {**CONFIRMED, "refer": ""}, absent):
        assert (await booking(item)).reference is None


async def test_a_channels_reference_may_be_a_number_too() -> None:
    found = await booking({**CONFIRMED, "channelRefer": 98765432109876543210})
    assert found.channel == Channel(id="142", name="Booking", reference="98765432109876543210")


async def test_a_mere_yes_is_taken_to_mean_as_planned() -> None:
    found = await booking({**CONFIRMED, "effectiveCheckin": True, "effectiveCheckout": False})
    assert (found.checked_in_at, found.checked_out_at) == (datetime(2026, 7, 6, 22, tzinfo=UTC), None)


async def test_card_document_birth_date_and_police_fields_never_enter_a_record() -> None:
    desk = Desk(seed=30)
    private = {"creditCard": {"number": PRIVATE}, "policeRegistration": PRIVATE, "documentCode": PRIVATE}
    for id_ in desk.sandbox.reservations:
        desk.sandbox.reservations[id_] |= private
    found = msgspec.json.encode(await read(desk))
    assert found.count(b'"id"') >= 10
    for word in (PRIVATE, "1931-02-03", "PASSPORT"):
        assert word.encode() not in found


async def test_an_accommodation_becomes_a_property() -> None:
    desk = Desk()
    rome, london = await read(desk, "property", "")
    assert rome == Property(
        id="112696",
        name="Sample Palace",
        currency="EUR",
        timezone="Europe/Rome",
        category="HOTEL",
        city="Venezia",
        country="IT",
        postcode="30100",
        latitude=45.43,
        longitude=12.33,
        email="desk@example.com",
        checkin_from=14,
        checkin_until=22,
        checkout_until=10,
    )
    assert london.timezone == "Europe/London"


# Signing in


def signed_in(reply: dict[str, Any], token: Token | None = None, date_header: str = "") -> tuple[httpx.Request, Token]:
    steps = settings().sign_in(token)
    request = next(steps)
    headers = {"Date": date_header} if date_header else {}
    with pytest.raises(StopIteration) as done:
        steps.send(httpx.Response(200, json=reply, headers=headers))
    return request, done.value.value


def test_the_configured_refresh_token_signs_in_and_stays_where_none_is_returned() -> None:
    request, token = signed_in({"access_token": "one", "expires_in": 3600})
    sent = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
    assert (request.method, str(request.url)) == ("POST", "https://octorate.test/connect/rest/v1/identity/refresh")
    assert sent["refresh_token"] == token.refresh == "sandbox-refresh-octorate"
    assert (token.access, token.lifetime) == ("one", 3600)


def test_a_returned_refresh_token_takes_the_place_of_the_old_one() -> None:
    _, first = signed_in({"access_token": "one", "refresh_token": "rotated"})
    request, second = signed_in({"access_token": "two"}, first)
    assert b"refresh_token=rotated" in request.content
    assert second.refresh == "rotated"


LIVES = [
    ({"expires_in": 86400}, 86400),
    ({"expires_in": "7200"}, 7200),
    ({"expires_in": 0}, 86400),
    ({"expires_in": -5}, 86400),
    ({"expires_in": "soon"}, 86400),
    ({"expires_in": 1e30}, 86400),
    ({"expires_in": None}, 86400),
    ({}, 86400),
    ({"expireDate": "2026-05-20T14:00:00.178Z"}, 7200.178),
    ({"expireDate": "2026-05-20 13:00:00+00:00"}, 3600),
    ({"expireDate": "2020-01-01 00:00:00+00:00"}, 86400),
]


@pytest.mark.parametrize(("reply", "seconds"), LIVES)
def test_the_life_of_a_token_is_read_however_it_is_told(reply: dict[str, Any], seconds: float) -> None:
    _, token = signed_in({"access_token": "one", **reply}, date_header="Wed, 20 May 2026 12:00:00 GMT")
    assert token.lifetime == seconds


def test_a_date_without_a_clock_to_hold_it_against_counts_as_a_day() -> None:
    assert signed_in({"access_token": "one", "expireDate": "2026-05-20 13:00:00+00:00"})[1].lifetime == 86400


# What a refusal means

MEANINGS: list[tuple[int, str, type[VendorError] | None]] = [
    (401, "ApiKeyMissing", AuthRefused),
    (401, "ApiKeyInvalid", AuthRefused),
    (403, "ApiLoginExpired", AuthRefused),
    (403, "ApiQuotaException", Throttled),
    (429, "ApiQuotaException", Throttled),
    (403, "ApiSecurityException", Forbidden),
    (403, "WrongEnviroment", Misconfigured),
    (404, "ApiResourceEmpty", NothingThere),
    (404, "ApiResourceMissing", Forbidden),
    (422, "ApiResourceMissing", Misconfigured),
    (403, "SomethingNew", None),
    (500, "InternalServerError", None),
]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\r\n "])
@pytest.mark.parametrize(("status", "kind", "meaning"), MEANINGS)
def test_a_refusal_is_told_by_the_type_in_its_body(
    status: int, kind: str, meaning: type[VendorError] | None, mark: bytes
) -> None:
    reply = refused(status, kind)
    request = httpx.Request("GET", "https://octorate.test/rest/v1/reservation/1?type=STAY")
    said = settings().refusal(httpx.Response(status, content=mark + reply.content, request=request))
    assert (type(said) if said else None) == meaning


def test_only_a_token_that_has_run_out_is_worth_renewing() -> None:
    said = settings().refusal(refused(403, "ApiLoginExpired"))
    assert isinstance(said, AuthRefused)
    assert said.renewable


def test_a_404_without_json_is_an_outage() -> None:
    assert isinstance(settings().refusal(httpx.Response(404, text="Not Found")), Unavailable)


# Asking


async def test_the_three_questions_reach_from_the_day_before_the_cursor_to_tomorrow_in_rome() -> None:
    desk = Desk()
    now = datetime(2026, 5, 20, 22, 30, tzinfo=UTC)  # already the 21st in Rome
    await read(desk, since=datetime(2026, 5, 17, 21, 30, tzinfo=UTC), whole=False, now=now)
    assert [(asked["type"], asked["startDate"], asked["endDate"]) for asked in desk.listings()] == [
        (kind, "2026-05-16", "2026-05-22") for kind in ("MODIFIED_BETWEEN", "CREATETIME", "CANCELLATION")
    ]


async def test_a_whole_read_asks_for_all_stays_of_the_window_and_for_the_cancelled_ones() -> None:
    desk = Desk(window_past=timedelta(days=3), window_ahead=timedelta(days=10))
    await read(desk)
    assert [
        (asked["type"], asked["startDate"], asked["endDate"], asked.get("status")) for asked in desk.listings()
    ] == [
        ("STAY", "2026-05-17", "2026-05-30", None),
        ("STAY", "2026-05-17", "2026-05-30", "CANCELLED"),
    ]


async def test_paging_goes_on_past_what_the_vendor_says_and_follows_no_link() -> None:
    desk = Desk()
    for _ in range(2 * PAGE_SIZE + 1):
        desk.add(checkin="2026-06-01T22:00:00Z[UTC]", checkout="2026-06-02T08:00:00Z[UTC]")
    hosts: set[str] = set()

    def watched(request: httpx.Request) -> httpx.Response:
        hosts.add(request.url.host)
        return desk.sandbox(request)

    desk.vendor = watched
    found = await read(desk)
    assert (len({record.id for record in found}), hosts) == (401, {"octorate.test"})


async def test_a_plain_list_is_read_like_a_wrapped_one() -> None:
    desk = Desk()
    desk.vendor = swapped(desk.sandbox, lambda _request, _body: [CONFIRMED])
    assert {record.id for record in await read(desk)} == {"92180827"}


async def test_accommodations_end_where_a_page_brings_none_but_known_ones() -> None:
    desk = Desk(noise=True)  # never the same bytes twice
    desk.sandbox.fail(kind="repeat", match="accommodation", times=1000)
    assert len(await read(desk, "property", "")) == 2
    assert len(desk.sandbox.seen) < 6
    assert MOST_PAGES < 1000


async def test_only_the_configured_accommodations_are_read() -> None:
    desk = Desk(accommodations=(LONDON,))
    assert list(await desk.connector.parts(desk.api, "property")) == [LONDON]
    assert [record.id for record in await read(desk, "property", LONDON)] == [LONDON]
    assert list(await desk.connector.parts(desk.api, "booking")) == [LONDON]
    assert list(await Desk().connector.parts(Desk().api, "booking")) == [ROME, LONDON]


async def test_an_accommodation_that_cannot_be_read_does_not_keep_the_bookings_of_the_other_from_being_read() -> None:
    desk = Desk()
    desk.add(LONDON, id=2)
    desk.sandbox.accommodations[ROME].update(name={"wrong": 1}, currency=["wrong"])
    assert list(await desk.connector.parts(desk.api, "booking")) == [ROME, LONDON]
    assert [record.id for record in await read(desk, part=LONDON)] == ["2"]
    with pytest.raises(Unreadable, match=r"accommodation '112696': .* at \$.currency"):
        await read(desk)


@pytest.mark.parametrize("item", [None, 5, {}, {"id": None}, {"id": {"wrong": 1}}])
async def test_an_accommodation_without_an_id_is_handed_on_to_be_quarantined(item: object) -> None:
    desk = Desk(accommodations=(ROME,))
    desk.vendor = lambda request: (
        httpx.Response(200, json=[item, *desk.sandbox(request).json()])
        if request.url.path.endswith("/accommodation") and request.url.params["page"] == "0"
        else desk.sandbox(request)
    )
    ended = await desk.poll("property")
    assert (ended.outcome.succeeded, list(await desk.stored("property"))) == (True, [ROME])
    assert desk.quarantined()


@pytest.mark.parametrize("part", ["../x", "1?type=STAY", "1#", "a b", "1\r\nX: 1", "\x00", "é"])
async def test_a_hostile_accommodation_stays_within_its_place_in_the_path(part: str) -> None:
    desk = Desk(accommodations=(part,))
    asked: list[httpx.URL] = []

    def watched(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return desk.sandbox(request)

    desk.vendor = watched
    with pytest.raises((Unavailable, Forbidden)):
        await read(desk, part=part)
    (url,) = {url.raw_path.split(b"?")[0] for url in asked if url.path.startswith(LISTING)}
    assert url.startswith(b"/connect/rest/v1/reservation/")
    assert url.count(b"/") == 5


async def test_many_bookings_are_looked_up_fifty_at_a_time() -> None:
    desk = Desk()
    records = [(await booking({**CONFIRMED, "id": id_})) for id_ in range(120)]
    asked = Query(resource="booking", part=ROME, since=None, whole=True, now=NOON)
    async for _ in desk.connector.look_up(desk.api, asked, records):
        pass
    questions = [seen for seen in desk.sandbox.seen if seen.path.startswith(LISTING)]
    assert [sum(name == "ids[]" for name, _ in seen.query) for seen in questions] == [50, 50, 20]


def test_no_secret_is_in_a_repr() -> None:
    assert "sandbox-secret" not in repr(settings())
    assert "sandbox-refresh" not in repr(settings())


def test_the_quota_grows_with_the_accommodations_named() -> None:
    assert settings(budget=None).pace.requests == 100
    assert settings(budget=None, accommodations=(ROME, LONDON)).pace.requests == 200
