"""What the first sync could not see is neither announced as new nor lost; what stops being listed does not look healthy."""

from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from schemas.facts import PollOutcome
from tests.polled import LONDON, ROME, Desk, settings

pytestmark = pytest.mark.anyio

LONG_OVER = {
    "checkin": "2025-11-02T22:00:00Z[UTC]",
    "checkout": "2025-11-05T08:00:00Z[UTC]",
    "createTime": "2025-04-01T08:00:00Z[UTC]",
}
FAR_AHEAD = {
    "checkin": "2028-06-09T22:00:00Z[UTC]",
    "checkout": "2028-06-12T08:00:00Z[UTC]",
    "createTime": "2026-01-02T08:00:00Z[UTC]",
}


def reconfigured(desk: Desk, **other: Any) -> None:
    """The same account under another configuration, in a new process."""
    connector = msgspec.structs.replace(settings(), **other)
    desk.connector = connector
    desk.configure(connector=connector)
    desk.restart()


@pytest.mark.parametrize("stay", [LONG_OVER, FAR_AHEAD])
async def test_a_booking_outside_the_window_that_changed_before_the_first_sync_is_stored_silently(
    stay: dict[str, Any],
) -> None:
    desk = Desk()
    desk.add(id=1, **stay)
    desk.add(id=2)
    for _ in range(3):
        await desk.poll()
    assert desk.kinds() == []


async def test_a_booking_outside_the_window_that_changes_later_is_modified_not_created() -> None:
    desk = Desk()
    desk.add(id=1, **LONG_OVER)
    desk.add(id=2)
    await desk.poll()
    desk.clock.at += timedelta(hours=2)
    desk.sandbox.change(1, {"totalPaid": 99.0})
    await desk.poll()
    (event,) = desk.told()
    assert (event.type, event.subject, event.version, "changes" in event.data) == ("booking.modified", "1", 1, False)
    assert event.time > event.data["record"].booked_at


async def test_a_new_booking_for_a_date_beyond_the_window_is_created() -> None:
    desk = Desk()
    await desk.poll()
    desk.clock.at += timedelta(hours=2)
    desk.add(id=1, checkin=FAR_AHEAD["checkin"], checkout=FAR_AHEAD["checkout"])
    await desk.poll()
    assert desk.kinds() == ["booking.created"]


async def test_a_booking_in_the_window_is_created_whatever_its_times_say() -> None:
    desk = Desk()
    await desk.poll()
    desk.add(id=1, createTime="2025-04-01T08:00:00Z[UTC]")
    await desk.sweep()
    assert desk.kinds() == ["booking.created"]


async def test_a_window_that_moves_on_announces_nothing() -> None:
    desk = Desk()
    desk.add(
        id=1,
        checkin="2027-11-15T23:00:00Z[UTC]",
        checkout="2027-11-18T08:00:00Z[UTC]",
        createTime="2026-01-02T08:00:00Z[UTC]",
        updateTime="2026-01-02T08:00:00Z[UTC]",
    )
    desk.add(id=2)
    await desk.poll()
    desk.clock.at += timedelta(days=60)
    await desk.sweep()
    assert (desk.kinds(), set(await desk.stored())) == ([], {"1", "2"})


async def test_choosing_other_accommodations_is_no_event() -> None:
    desk = Desk(accommodations=(ROME,))
    await desk.poll("property")
    for chosen in ((ROME, LONDON), (LONDON,), (), (ROME,)):
        reconfigured(desk, accommodations=chosen)
        await desk.sweep("property")
        await desk.sweep("property")
    assert desk.kinds() == []


async def test_an_accommodation_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="names one twice"):
        settings(accommodations=(ROME, ROME))
    with pytest.raises(ValueError, match="holds an empty id"):
        settings(accommodations=("",))


async def test_a_vendor_that_lists_no_accommodation_is_no_success() -> None:
    desk = Desk()
    desk.add(id=1)
    fresh = await desk.poll()
    desk.clock.at += timedelta(minutes=20)
    desk.vendor = lambda request: (
        httpx.Response(200, json=[]) if request.url.path.endswith("/accommodation") else desk.sandbox(request)
    )
    ended = await desk.poll()
    head = (await desk.ledger.load(desk.watched.scope("booking"))).head
    assert (fresh.outcome.succeeded, ended.outcome) == (True, PollOutcome.FORBIDDEN)
    assert head.at is not None
    assert head.at < desk.clock.at - timedelta(minutes=15)


async def test_a_throttled_accommodation_does_not_starve_the_others() -> None:
    desk = Desk(accommodations=(ROME, LONDON))
    await desk.poll()
    desk.add(LONDON, id=5)
    desk.vendor = lambda request: (
        httpx.Response(429, headers={"Retry-After": "1"}) if ROME in request.url.path else desk.sandbox(request)
    )
    for _ in range(2):
        await desk.poll(after=timedelta(minutes=5))
    assert desk.kinds() == ["booking.created"]


async def test_a_whole_number_spelled_as_a_float_is_no_change() -> None:
    desk = Desk()
    id_ = desk.add(totalGuest=2)
    await desk.poll()
    desk.sandbox.touch(id_)
    desk.sandbox.reservations[id_]["totalGuest"] = 2.0
    await desk.poll()
    assert (desk.kinds(), desk.quarantined()) == ([], [])


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("updateTime", "garbage", "$.updateTime: it cannot be understood"),
        ("currency", "EURO", "$.roomGross in $.currency: it cannot be understood"),
        ("totalGuest", 2.5, "$.totalGuest: not a whole number"),
    ],
)
async def test_a_quarantine_names_the_place(field: str, value: Any, path: str) -> None:
    desk = Desk()
    fields: dict[str, Any] = {"totalGross": None, field: value}
    desk.add(**fields)
    await desk.poll()
    assert set(desk.quarantined()) == {path}


async def test_what_the_first_sync_could_not_read_is_no_news_once_it_can() -> None:
    desk = Desk()
    for _ in range(3):
        desk.add()
    desk.sandbox.fail(kind="one_bad", match="/reservation/", times=2)
    await desk.poll()
    assert len(desk.quarantined()) >= 1
    await desk.sweep()
    assert (desk.told(), len(await desk.stored())) == ([], 3)
    new = desk.add()
    await desk.poll()
    assert [(event.type, event.subject) for event in desk.told()] == [("booking.created", str(new))]
