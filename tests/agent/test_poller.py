"""What a poll decides, through the real connector and the fake vendor, up to the events."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, ClassVar

import httpx
import msgspec
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as Checked

from agent.reading import LARGEST
from agent.sweeping import CONFIRM_AFTER
from connectors.base import Resource
from connectors.octorate import MOST_PAGES, PAGE_SIZE, Octorate
from connectors.sandbox.octorate_data import PRIVATE
from events.ledger import Conflict, Head, MemoryLedger, State
from schemas.envelope import encode
from schemas.facts import Fresh, Polled, PollOutcome, Published
from schemas.records import Booking
from tests.polled import LISTING, LONDON, NOON, ROME, Desk, refused, swapped

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)
STAY = {"checkin": "2026-06-09T22:00:00Z[UTC]", "checkout": "2026-06-12T08:00:00Z[UTC]"}


async def synced(**other: Any) -> Desk:
    """A desk whose first sync is over, with one booking at each property."""
    desk = Desk(**other)
    desk.add(id=1, status="CONFIRMED", **STAY)
    desk.add(LONDON, id=2)
    assert (await desk.poll()).outcome.succeeded
    desk.told()
    return desk


# First sync


async def test_a_first_sync_stores_everything_and_tells_nothing() -> None:
    desk = Desk(seed=30)
    ended = await desk.poll()
    assert (ended.outcome, desk.kinds()) == (PollOutcome.UNCHANGED, [])
    assert set(await desk.stored()) == {str(id_) for id_ in desk.sandbox.reservations}


async def test_a_first_sync_with_events_tells_of_each_once_and_marks_it() -> None:
    desk = Desk(seed=30, first_sync="events")
    await desk.poll()
    events = desk.told()
    assert sorted(event.subject for event in events) == sorted(str(id_) for id_ in desk.sandbox.reservations)
    assert {(event.type, event.firstsync, event.version) for event in events} == {("booking.created", True, 1)}


async def test_after_the_first_sync_no_event_is_marked() -> None:
    desk = Desk(seed=3, first_sync="events")
    await desk.poll()
    desk.told()
    desk.add()
    desk.sandbox.touch(92180827)
    desk.sandbox.change(92180827, {"totalGuest": 9})
    await desk.poll()
    assert sorted((event.type, event.firstsync) for event in desk.told()) == [
        ("booking.created", False),
        ("booking.modified", False),
    ]


@pytest.mark.parametrize("first_sync", ["baseline", "events"])
async def test_a_first_sync_that_fails_on_its_second_page_goes_on_without_doubling_or_missing(first_sync: str) -> None:
    desk = Desk(first_sync=first_sync, accommodations=(ROME,))
    for _ in range(450):
        desk.add(**STAY)
    desk.vendor = lambda request: (
        httpx.Response(502) if request.url.params.get("page") == "1" else desk.sandbox(request)
    )
    broken = await desk.poll()
    desk.vendor = desk.sandbox
    whole = await desk.poll()
    assert (broken.outcome, whole.outcome.succeeded) == (PollOutcome.UNAVAILABLE, True)
    assert len(await desk.stored()) == 450
    events = desk.told()
    assert len(events) == len({event.subject for event in events}) == (450 if first_sync == "events" else 0)
    assert all(event.firstsync for event in events)
    assert (await desk.part()).cursor == NOON


async def test_a_property_without_bookings_shows_its_first_one_at_the_next_poll() -> None:
    desk = Desk()
    await desk.poll()
    desk.add()
    await desk.poll()
    assert desk.kinds() == ["booking.created"]


async def test_properties_are_polled_like_any_other_resource() -> None:
    desk = Desk()
    await desk.poll("property")
    desk.sandbox.change_accommodation(ROME, {"name": "New Palace"})
    await desk.poll("property")
    (event,) = desk.told()
    assert (event.type, event.subject) == ("property.modified", ROME)
    assert event.data["changes"] == {"name": {"before": "Sample Palace", "after": "New Palace"}}
    assert event.time == event.observedat


# No change, no event


async def test_what_is_noise_at_every_read_makes_no_event() -> None:
    desk = Desk(seed=40, noise=True)
    for _ in range(4):
        await desk.poll(after=timedelta(hours=25))
    assert desk.kinds() == []


@pytest.mark.parametrize("spelling", ["552.5", "552.50", "5.525e2", "552.500000", "5525E-1"])
async def test_the_same_amount_in_another_spelling_is_no_change(spelling: str) -> None:
    desk = Desk(accommodations=(ROME,))
    id_ = desk.add(totalGross=552.5)
    await desk.poll()
    desk.sandbox.touch(id_)

    def respelled(request: httpx.Request) -> httpx.Response:
        reply = desk.sandbox(request)
        content = reply.content.replace(b'"totalGross":552.5,', b'"totalGross":%s,' % spelling.encode())
        return httpx.Response(reply.status_code, content=content)

    desk.vendor = respelled
    ended = await desk.poll()
    assert (ended.outcome, desk.kinds(), desk.quarantined()) == (PollOutcome.UNCHANGED, [], [])
    assert str((await desk.record(id_)).total.amount) == "552.50"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"touristTax": 99.0, "tagColor": "#000000", "autoLoginParam": "x", "threadId": 4, "itemCompleted": True},
        {"privateNotes": "n", "metaData": [1], "newField": {"a": 1}, "creditCard": None},
    ],
)
async def test_what_subscribers_do_not_care_for_is_no_change(fields: dict[str, Any]) -> None:
    desk = await synced()
    desk.sandbox.change(1, fields)
    assert ((await desk.poll()).outcome, desk.kinds()) == (PollOutcome.UNCHANGED, [])


async def test_null_and_absent_are_the_same_and_so_is_any_order_of_guests() -> None:
    desk = await synced()
    stored = desk.sandbox.reservations[1]
    stored["guests"] = stored["guests"][::-1]
    for name in [name for name, value in stored.items() if value is None]:
        del stored[name]
    desk.sandbox.touch(1)
    assert ((await desk.poll()).outcome, desk.kinds()) == (PollOutcome.UNCHANGED, [])


async def test_two_bookers_of_one_name_are_told_apart_whatever_their_order() -> None:
    twins = [{"type": "BOOKER", "familyName": "Sample", "email": email} for email in ("b@example.com", "a@example.com")]
    desk = Desk()
    desk.add(id=1, guests=twins)
    await desk.poll()
    desk.sandbox.change(1, {"guests": twins[::-1]})
    await desk.poll()
    assert desk.kinds() == []


# Verbs


VERBS: list[tuple[str, dict[str, Any], Callable[[Desk], object]]] = [
    ("confirmed", {"status": "WAITING"}, lambda desk: desk.sandbox.confirm(1)),
    ("cancelled", {}, lambda desk: desk.sandbox.cancel(1)),
    ("checked_in", {}, lambda desk: desk.sandbox.check_in(1)),
    ("checked_out", {}, lambda desk: desk.sandbox.check_out(1)),
    ("no_show", {}, lambda desk: desk.sandbox.no_show(1)),
    ("modified", {}, lambda desk: desk.sandbox.change(1, {"totalGuest": 7})),
    ("modified", {"status": "CANCELLED", "cancelledBy": "guest", "cancelledTime": "2026-05-01T00:00:00Z[UTC]"},
     lambda desk: desk.sandbox.change(1, {"status": "WAITING"})),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "fields", "act"), VERBS)
async def test_each_change_has_its_verb(verb: str, fields: dict[str, Any], act: Callable[[Desk], object]) -> None:
    desk = Desk()
    known: dict[str, Any] = {"id": 1, "status": "CONFIRMED", **STAY}
    desk.add(**known | fields)
    await desk.poll()
    act(desk)
    ended = await desk.poll()
    assert (ended.outcome, desk.kinds()) == (PollOutcome.CHANGED, [f"booking.{verb}"])


async def test_a_new_booking_is_created_at_the_time_it_was_made() -> None:
    desk = await synced()
    desk.clock.at += timedelta(seconds=7)
    made = desk.clock.at
    desk.add(id=3)
    await desk.poll()
    (event,) = desk.told()
    assert (event.type, event.version, event.time, "changes" in event.data) == ("booking.created", 1, made, False)


async def test_many_fields_at_once_are_one_event_under_the_most_telling_verb() -> None:
    desk = await synced()
    desk.sandbox.check_in(1)
    desk.sandbox.change(1, {"totalGuest": 7, "noShow": True})
    desk.sandbox.cancel(1)
    await desk.poll()
    (event,) = desk.told()
    assert event.type == "booking.cancelled"
    assert {"status", "cancelled_at", "cancelled_by", "guests", "no_show"} <= event.data["changes"].keys()


async def test_a_booking_checked_in_by_a_mere_yes_does_not_change_at_every_touch() -> None:
    desk = await synced()
    desk.sandbox.change(1, {"effectiveCheckin": True})
    await desk.poll()
    desk.sandbox.touch(1)
    await desk.poll()
    assert desk.kinds() == ["booking.checked_in"]


# The event


async def test_an_event_is_exactly_what_the_contract_says() -> None:
    desk = await synced()
    desk.clock.at = datetime(2026, 5, 21, 8, tzinfo=UTC)
    desk.sandbox.change(1, {"totalGross": 552.5, "currency": "EUR"})
    desk.sandbox.reservations[1]["totalGuest"] = 9
    await desk.poll()
    (event,) = desk.told()
    told = json.loads(encode(event))
    changes = told["data"].pop("changes")
    record = told["data"].pop("record")
    assert told == {
        "specversion": "1.0",
        "id": event.id,
        "source": "/octorate/hotel",
        "type": "booking.modified",
        "subject": "1",
        "time": "2026-05-21T08:00:00Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:vendorwire:booking.modified:1",
        "vendor": "octorate",
        "account": "hotel",
        "version": 2,
        "observedat": "2026-05-21T08:01:00Z",
        "pollid": event.pollid,
        "data": {},
    }
    assert changes["total"]["after"] == record["total"] == {"amount": "552.50", "currency": "EUR"}
    assert changes["guests"]["after"] == record["guests"] == 9
    assert set(changes) == {"total", "guests"}
    assert (record["arrival"], record["departure"]) == ("2026-06-10", "2026-06-12")
    assert None not in record.values()
    assert "checked_in_at" not in record


async def test_events_are_valid_by_the_cloudevents_library() -> None:
    desk = Desk(seed=8, first_sync="events")
    await desk.poll()
    desk.sandbox.cancel(next(iter(desk.sandbox.reservations)))
    await desk.poll()
    events = desk.told()
    assert len(events) == 9
    for event in events:
        read = JSONFormat().read(Checked, encode(event))
        assert (read.get_id(), read.get_type(), read.get_time()) == (event.id, event.type, event.time)
        assert read.get_extension("version") == event.version


async def test_a_side_without_a_value_is_left_out() -> None:
    desk = await synced()
    desk.sandbox.change(1, {"ratePlan": "FLEX", "paymentStatus": None})
    await desk.poll()
    (event,) = desk.told()
    assert event.data["changes"]["rate_plan"] == {"after": "FLEX"}
    assert "after" not in event.data["changes"]["payment_status"]


async def test_a_cancellation_has_its_own_time() -> None:
    desk = await synced()
    cancelled = desk.clock.at + timedelta(seconds=5)
    desk.clock.at = cancelled
    desk.sandbox.cancel(1)
    desk.clock.at += timedelta(seconds=20)
    desk.sandbox.touch(1)
    await desk.poll()
    assert [event.time for event in desk.told()] == [cancelled]


async def test_a_change_without_a_time_of_its_own_has_the_time_it_was_seen() -> None:
    desk = await synced()
    desk.sandbox.reservations[1]["totalGuest"] = 9  # and updateTime stays
    await desk.poll()
    (event,) = desk.told()
    assert event.time == event.observedat == desk.clock.at


async def test_what_is_published_is_told_with_its_age() -> None:
    desk = await synced()
    desk.clock.at += timedelta(seconds=10)
    desk.sandbox.change(1, {"totalGuest": 9})
    await desk.poll(after=timedelta(seconds=30))
    (event,) = desk.told()
    (fact,) = [fact for fact in desk.facts if isinstance(fact, Published)]
    assert (fact.event_id, fact.change, fact.age) == (event.id, "modified", 30.0)


# There and back


@pytest.mark.parametrize("time_goes_back", [False, True])
async def test_there_and_back_again_is_three_events(time_goes_back: bool) -> None:
    desk = Desk(first_sync="events")
    desk.add(id=1, totalGuest=2)
    original = desk.sandbox.reservations[1]["updateTime"]
    await desk.poll()
    desk.sandbox.change(1, {"totalGuest": 3})
    await desk.poll()
    desk.sandbox.change(1, {"totalGuest": 2, **({"updateTime": original} if time_goes_back else {})})
    await desk.sweep()
    events = desk.told()
    assert [(event.type, event.version) for event in events] == [
        ("booking.created", 1),
        ("booking.modified", 2),
        ("booking.modified", 3),
    ]
    assert len({event.id for event in events}) == 3
    assert [event.data["changes"]["guests"] for event in events[1:]] == [
        {"before": 2, "after": 3},
        {"before": 3, "after": 2},
    ]
    assert events[2].time > events[1].time


async def test_a_poll_whose_commit_was_refused_gives_the_same_ids_again() -> None:
    desk = await synced()
    desk.sandbox.change(1, {"totalGuest": 9})
    twin = MemoryLedger()
    twin._records = {scope: dict(known) for scope, known in desk.ledger._records.items()}
    twin._heads = dict(desk.ledger._heads)
    await desk.poll()
    (one,) = desk.told()
    desk.ledger = twin
    desk.restart()
    await desk.poll()
    (other,) = twin.events
    assert (one.id, one.version) == (other.id, other.version)
    assert one.pollid != other.pollid


async def test_the_loser_of_two_pollers_commits_nothing_and_the_next_poll_finds_the_rest() -> None:
    class Contested(MemoryLedger):
        contested = True

        async def commit(self, state: State, changes: Any, head: Head, poll: Any) -> Any:
            if self.contested:
                self.contested = False
                raise Conflict(str(state.scope))
            return await super().commit(state, changes, head, poll)

    desk = Desk()
    desk.add(id=1)
    desk.ledger = Contested()
    desk.restart()
    first, second = await desk.poll(), await desk.poll()
    assert (first.outcome, second.outcome) == (PollOutcome.CONFLICT, PollOutcome.UNCHANGED)
    assert list(await desk.stored()) == ["1"]
    assert (await desk.part()).cursor == NOON


# The cursor


async def test_the_cursor_is_the_newest_update_seen_and_not_the_clock() -> None:
    desk = await synced()
    await desk.poll(after=timedelta(hours=3))
    assert (await desk.part()).cursor == NOON
    desk.sandbox.touch(1)
    touched = desk.clock.at
    await desk.poll(after=timedelta(hours=3))
    assert (await desk.part()).cursor == touched


async def test_a_time_in_the_far_future_hides_no_later_change() -> None:
    desk = await synced()
    desk.sandbox.change(1, {"updateTime": "2999-01-01T00:00:00Z[UTC]", "totalGuest": 9})
    await desk.sweep()
    assert (await desk.part()).cursor == desk.clock.at
    desk.add(id=3)
    await desk.poll()
    assert desk.kinds() == ["booking.modified", "booking.created"]


async def test_a_change_made_while_the_agent_was_down_is_found_even_outside_the_window_of_stays() -> None:
    desk = await synced()
    desk.clock.at += timedelta(hours=1)
    desk.sandbox.change(1, {"checkin": "2031-01-01T23:00:00Z[UTC]", "checkout": "2031-01-03T09:00:00Z[UTC]"})
    desk.add(id=3, checkin="2031-02-01T23:00:00Z[UTC]", checkout="2031-02-03T09:00:00Z[UTC]")
    desk.restart()
    await desk.poll(after=3 * DAY)
    assert sorted(desk.kinds()) == ["booking.created", "booking.modified"]
    assert (await desk.record(1)).arrival.isoformat() == "2031-01-02"


@pytest.mark.parametrize("minute", [-61, -1, 0, 1, 61])
async def test_a_change_around_midnight_in_rome_is_found(minute: int) -> None:
    desk = await synced()
    desk.clock.at = datetime(2026, 5, 20, 22, tzinfo=UTC) + timedelta(minutes=minute)  # 22:00Z is midnight there
    desk.sandbox.change(1, {"totalGuest": 9})
    desk.add(id=3)
    desk.sandbox.cancel(2)
    await desk.poll(after=timedelta(seconds=30))
    assert sorted(desk.kinds()) == ["booking.cancelled", "booking.created", "booking.modified"]


async def test_between_sweeps_only_the_three_questions_around_the_cursor_are_asked() -> None:
    desk = Desk(accommodations=(ROME,))
    desk.add(id=1)
    await desk.poll()
    desk.sandbox.seen.clear()
    await desk.poll()
    assert [(asked["type"], asked["startDate"], asked["endDate"]) for asked in desk.listings()] == [
        ("MODIFIED_BETWEEN", "2026-05-19", "2026-05-21"),
        ("CREATETIME", "2026-05-19", "2026-05-21"),
        ("CANCELLATION", "2026-05-19", "2026-05-21"),
    ]


async def test_everything_is_read_on_its_own_cadence() -> None:
    desk = Desk(accommodations=(ROME,), reconcile=timedelta(hours=6))
    desk.add(id=1)
    whole = []
    for hours in (0, 1, 5, 4, 3):
        desk.sandbox.seen.clear()
        await desk.poll(after=timedelta(hours=hours))
        whole.append(sum(asked["type"] == "STAY" for asked in desk.listings()))
    assert whole == [2, 0, 2, 0, 2]


# One part fails, the others go on


async def test_a_forbidden_property_does_not_keep_the_other_from_being_read() -> None:
    desk = await synced()
    desk.sandbox.forbid(ROME)
    desk.sandbox.change(1, {"totalGuest": 9})
    desk.sandbox.change(2, {"totalGuest": 9})
    ended = await desk.poll()
    events = desk.told()
    assert ended.outcome is PollOutcome.FORBIDDEN
    assert "ApiSecurityException" in ended.detail
    assert [event.subject for event in events] == ["2"]
    desk.sandbox.allow(ROME)
    assert (await desk.poll()).outcome is PollOutcome.CHANGED
    assert [event.subject for event in desk.told()] == ["1"]


async def test_a_property_first_forbidden_has_its_own_silent_first_sync() -> None:
    desk = Desk()
    desk.add(id=1)
    desk.add(LONDON, id=2)
    desk.sandbox.forbid(ROME)
    await desk.poll()
    desk.sandbox.allow(ROME)
    await desk.poll()
    assert (sorted(await desk.stored()), desk.kinds()) == (["1", "2"], [])


@pytest.mark.parametrize("accommodations", [(), (ROME, LONDON)])
async def test_an_expired_token_is_renewed_once_and_the_request_replayed(accommodations: tuple[str, ...]) -> None:
    desk = await synced(accommodations=accommodations)
    desk.sandbox.change(1, {"totalGuest": 9})
    desk.sandbox.expire_tokens()
    desk.sandbox.seen.clear()
    assert (await desk.poll()).outcome is PollOutcome.CHANGED
    assert [seen.path for seen in desk.sandbox.seen if "identity" in seen.path] == ["/connect/rest/v1/identity/refresh"]


FAILURES = [
    ("ApiQuotaException", PollOutcome.THROTTLED, 60.0),
    ("ApiSecurityException", PollOutcome.FORBIDDEN, None),
    ("WrongEnviroment", PollOutcome.FORBIDDEN, None),
    ("ApiResourceMissing", PollOutcome.FORBIDDEN, None),
    ("ApiParamsExemption", PollOutcome.FORBIDDEN, None),
    ("ApiPartnerServerError", PollOutcome.UNAVAILABLE, None),
    ("InternalServerError", PollOutcome.UNAVAILABLE, None),
    ("html", PollOutcome.UNREADABLE, None),
    ("truncated", PollOutcome.UNREADABLE, None),
    ("hang", PollOutcome.UNAVAILABLE, None),
    ("wrong_types", PollOutcome.UNREADABLE, None),
]


@pytest.mark.parametrize(("kind", "outcome", "retry_after"), FAILURES)
async def test_a_failure_has_its_outcome_and_says_when_to_come_back(
    kind: str, outcome: PollOutcome, retry_after: float | None
) -> None:
    desk = await synced()
    fresh = desk.facts[-2] if isinstance(desk.facts[-2], Fresh) else None
    desk.sandbox.fail(kind=kind, match="reservation", times=100)
    ended = await desk.sweep()
    assert (ended.outcome, ended.retry_after, desk.kinds()) == (outcome, retry_after, [])
    told = [fact for fact in desk.facts if isinstance(fact, Fresh)][-1]
    assert fresh is not None
    assert told.at == fresh.at  # it is not fresh because it failed
    assert isinstance(desk.facts[-1], Polled)


async def test_withdrawn_consent_is_unauthorized_and_heals_by_itself() -> None:
    desk = await synced()
    desk.sandbox.revoke()
    assert (await desk.poll()).outcome is PollOutcome.UNAUTHORIZED
    desk.sandbox.grant()
    assert (await desk.poll(after=timedelta(minutes=2))).outcome is PollOutcome.UNCHANGED


async def test_a_byte_order_mark_is_nothing_bad() -> None:
    desk = await synced()
    desk.sandbox.change(1, {"totalGuest": 9})
    desk.sandbox.fail(kind="bom", match="reservation", times=100)
    assert (await desk.poll()).outcome is PollOutcome.CHANGED


async def test_a_page_of_fifty_megabytes_is_refused() -> None:
    desk = await synced(accommodations=(ROME,))
    desk.sandbox.fail(kind="huge", match="reservation")
    ended = await desk.poll()
    assert ended.outcome is PollOutcome.UNREADABLE
    assert "longer than" in ended.detail


async def test_a_listing_without_end_ends_after_a_known_number_of_requests() -> None:
    desk = await synced(accommodations=(ROME,))
    asked = []

    def endless(request: httpx.Request) -> httpx.Response:
        if not request.url.path.startswith(LISTING):
            return desk.sandbox(request)
        asked.append(request)
        number = int(request.url.params["page"])
        ids = range(10**6 + number * PAGE_SIZE, 10**6 + (number + 1) * PAGE_SIZE)
        return httpx.Response(200, content=b'{"data":[%s]}' % b",".join(b'{"id":%d}' % id_ for id_ in ids))

    desk.vendor = endless
    ended = await desk.poll()
    assert (ended.outcome, len(asked)) == (PollOutcome.UNREADABLE, MOST_PAGES)
    assert MOST_PAGES * PAGE_SIZE == 50_000


# Items that cannot be read


async def test_one_unreadable_booking_is_quarantined_and_the_rest_goes_on() -> None:
    desk = await synced()
    for id_ in (3, 4):
        desk.add(id=id_)
    await desk.poll()
    desk.told()
    good = desk.sandbox.reservations[3]["checkin"]
    for id_ in (3, 4):
        desk.sandbox.change(id_, {"totalGuest": 9})
    desk.sandbox.reservations[3]["checkin"] = {"wrong": 1}
    ended = await desk.poll()
    assert [event.subject for event in desk.told()] == ["4"]
    assert (ended.outcome, set(desk.quarantined())) == (
        PollOutcome.CHANGED,
        {"Expected `str`, got `object` at $.checkin"},
    )
    desk.sandbox.reservations[3].update(checkin=good, totalGuest=desk.sandbox.reservations[3]["totalGuest"])
    await desk.poll()
    assert [event.subject for event in desk.told()] == ["3"]


async def test_a_booking_unreadable_for_days_is_not_deleted_and_tells_nothing_when_it_can_be_read_again() -> None:
    desk = await synced()
    whole = dict(desk.sandbox.reservations[1])
    desk.sandbox.reservations[1].update(status="NEWSTATE", totalGuest="many")
    desk.add(id=3)
    for _ in range(4):
        await desk.sweep()
    desk.sandbox.reservations[1].update(whole)
    await desk.sweep()
    assert desk.kinds() == ["booking.created"]
    assert {"1", "2", "3"} == set(await desk.stored())


UNREADABLE: list[tuple[str, Any]] = [
    ("checkin", None),
    ("checkin", "yesterday"),
    ("checkin", "0001-01-01T00:00:00+14:00"),
    ("checkin", "9999-12-31T23:59:59Z[UTC]"),
    ("checkout", 20260520),
    ("status", "PAID"),
    ("status", 1),
    ("refer", {"PRIVATE": 1}),
    ("refer", [1]),
    ("refer", True),
    ("totalGross", "1,000.00"),
    ("totalGross", ""),
    ("totalGross", 10**400),
    ("totalGross", {}),
    ("totalGuest", "2"),
    ("totalGuest", 2.5),
    ("noShow", "yes"),
    ("guests", "nobody"),
    ("guests", [1]),
    ("accommodation", {"timeZone": "Mars/Olympus", "currency": "EUR"}),
    ("accommodation", {"timeZone": "Europe", "currency": "EUR"}),
    ("accommodation", {"timeZone": "../../etc/passwd", "currency": "EUR"}),
    ("accommodation", {"timeZone": "x" * 5000, "currency": "EUR"}),
    ("currency", "Euro"),
    ("currency", "€€€"),
    ("updateTime", "now"),
    ("roomName", "x" * LARGEST),
]


@pytest.mark.parametrize(("field", "value"), UNREADABLE)
async def test_an_odd_value_quarantines_its_booking_only_and_is_never_repeated(field: str, value: Any) -> None:
    desk = Desk(accommodations=(ROME,))
    desk.add(id=1)
    desk.add(id=2)

    def odd(_: httpx.Request, body: Any) -> Any:
        return {"data": [{**each, field: value} if each["id"] == 1 else each for each in body["data"]]}

    desk.vendor = swapped(desk.sandbox, odd)
    ended = await desk.poll()
    assert ended.outcome is PollOutcome.UNCHANGED
    assert list(await desk.stored()) == ["2"]
    (path,) = set(desk.quarantined())
    assert not any(text in path for text in ("PRIVATE", "Mars", "passwd", "xxxx", "yesterday", "1,000", "PAID", "€"))


NUMBERS = [b"1" * 5000, b"1e99999999999", b"-1e400", b"9" * 400 + b".5"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("field", [b"totalGross", b"totalGuest", b"id", b"rooms", b"product"])
async def test_monstrous_numbers_never_stop_a_poll(number: bytes, field: bytes) -> None:
    desk = Desk(accommodations=(ROME,))
    desk.add(id=1, **STAY)
    desk.add(id=2, **STAY)

    def monstrous(request: httpx.Request) -> httpx.Response:
        reply = desk.sandbox(request)
        if not request.url.path.startswith(LISTING):
            return reply
        first, *rest = reply.json()["data"] or [{}]
        text = json.dumps({**first, field.decode(): "MONSTER"}).encode().replace(b'"MONSTER"', number)
        return httpx.Response(
            200, content=b'{"data":[%s]}' % b",".join([text, *[json.dumps(each).encode() for each in rest]])
        )

    desk.vendor = monstrous
    ended = await desk.poll()
    assert ended.outcome is PollOutcome.UNCHANGED
    assert list(await desk.stored()) == ["2"]


async def test_an_endless_reference_number_is_kept_as_text() -> None:
    desk = Desk(accommodations=(ROME,))
    desk.add(id=1, refer=int("9" * 4000))
    await desk.poll()
    assert (await desk.record(1)).reference == "9" * 4000


ODD_ITEMS = [
    b"null",
    b"5",
    b"[]",
    b"{}",
    b'{"id":""}',
    b'{"id":null}',
    b'{"id":true}',
    b'{"id":"\xff"}',
]


@pytest.mark.parametrize("item", ODD_ITEMS)
async def test_an_item_without_a_key_is_quarantined_and_the_rest_goes_on(item: bytes) -> None:
    desk = await synced(accommodations=(ROME,))
    desk.add(id=3)

    def odd(request: httpx.Request) -> httpx.Response:
        reply = desk.sandbox(request)
        if not request.url.path.startswith(LISTING):
            return reply
        items = [item, *[json.dumps(each).encode() for each in reply.json()["data"]]]
        return httpx.Response(200, content=b'{"data":[%s]}' % b",".join(items))

    desk.vendor = odd
    await desk.poll()
    assert desk.kinds() == ["booking.created"]
    assert desk.quarantined()


HOSTILE = ["a\x00b", "a\r\nNats-TTL: 1", ".", "*", ">", "a b", "_head", "../x", "%41", "‮evil", "é" * 50]


@pytest.mark.parametrize("key", HOSTILE)
async def test_a_hostile_key_is_kept_as_it_is(key: str) -> None:
    desk = await synced(accommodations=(ROME,))
    desk.vendor = swapped(desk.sandbox, lambda _, body: {"data": [{**each, "id": key} for each in body["data"]]})
    await desk.poll()
    (event,) = desk.told()
    assert (event.subject, event.type) == (key, "booking.created")


@pytest.mark.parametrize("key", ["x" * 2**20, "x" * 1025, "." * 400])
async def test_a_key_too_long_for_the_bus_is_quarantined(key: str) -> None:
    desk = await synced(accommodations=(ROME,))
    desk.vendor = swapped(desk.sandbox, lambda _, body: {"data": [{**each, "id": key} for each in body["data"]]})
    await desk.poll()
    assert desk.kinds() == []
    assert set(desk.quarantined()) == {"the key is empty or too long to be a name on the bus"}


async def test_nothing_private_reaches_a_record_an_event_or_a_fact() -> None:
    desk = Desk(seed=20, noise=True, first_sync="events")
    await desk.poll()
    for id_ in list(desk.sandbox.reservations):
        desk.sandbox.change(id_, {"totalGuest": 9, "creditCard": {"number": f"{PRIVATE}-other"}})
    await desk.sweep()
    events = desk.told()
    everything = b"".join(map(encode, events)) + msgspec.json.encode(await desk.stored()) + repr(desk.facts).encode()
    assert len(events) == 40
    for word in (PRIVATE, "1931-02-03", "2031-02-03", "PASSPORT", "birth", "document"):
        assert word.encode() not in everything


# Copies within one poll


def copies(*guests: tuple[int, str]) -> Callable[[httpx.Request, Any], Any]:
    """Booking 1 listed several times over, with these numbers of guests and times of change."""

    def change(_: httpx.Request, body: Any) -> Any:
        items = [
            {**each, "totalGuest": number, "updateTime": f"2026-05-20T{time}Z[UTC]"}
            for each in body["data"]
            if each["id"] == 1
            for number, time in guests
        ]
        return {"data": items}

    return change


ORDERS = [
    [(3, "12:01:00"), (2, "12:00:00")],
    [(2, "12:00:00"), (3, "12:01:00")],
    [(4, "12:00:30"), (3, "12:01:00"), (2, "12:00:00")],
    [(3, "12:01:00"), (3, "12:01:00"), (4, "12:00:30")],
]


@pytest.mark.parametrize("order", ORDERS)
async def test_of_several_copies_in_one_poll_the_newest_counts(order: list[tuple[int, str]]) -> None:
    desk = Desk(accommodations=(ROME,))
    desk.add(id=1, totalGuest=2)
    await desk.poll()
    desk.vendor = swapped(desk.sandbox, copies(*order))
    await desk.poll(after=timedelta(minutes=5))
    (event,) = desk.told()
    assert event.data["changes"]["guests"] == {"before": 2, "after": 3}
    await desk.poll()
    assert desk.kinds() == []


async def test_a_change_taken_back_within_one_poll_is_none() -> None:
    desk = Desk(accommodations=(ROME,))
    desk.add(id=1, totalGuest=2)
    await desk.poll()
    desk.vendor = swapped(desk.sandbox, copies((3, "12:01:00"), (2, "12:02:00")))
    await desk.poll(after=timedelta(minutes=5))
    assert desk.kinds() == []


@pytest.mark.parametrize("stale_first", [True, False])
async def test_a_stale_copy_beside_the_known_bytes_is_no_change(stale_first: bool) -> None:
    desk = Desk(accommodations=(ROME,))
    desk.add(id=1, totalGuest=2)
    await desk.poll()

    def beside(_: httpx.Request, body: Any) -> Any:
        stale = [{**each, "totalGuest": 9, "updateTime": "2026-05-19T00:00:00Z[UTC]"} for each in body["data"]]
        return {"data": stale + body["data"] if stale_first else body["data"] + stale}

    plain = desk.sandbox
    desk.vendor = swapped(plain, lambda _, body: body)
    await desk.poll()  # now the bytes are known as this vendor spells them
    desk.vendor = swapped(plain, beside)
    for _ in range(3):
        await desk.poll()
    assert desk.kinds() == []


async def test_a_copy_older_than_what_is_stored_is_a_change_in_a_poll_of_its_own() -> None:
    desk = Desk(accommodations=(ROME,))
    desk.add(id=1, totalGuest=2)
    await desk.poll()
    desk.vendor = swapped(desk.sandbox, copies((9, "11:00:00")))
    await desk.poll()
    assert desk.kinds() == ["booking.modified"]


async def test_thousands_of_changes_in_one_poll_are_all_told_once_in_batches() -> None:
    desk = Desk(accommodations=(ROME,))
    for _ in range(2500):
        desk.add(**STAY, totalGuest=1)
    await desk.poll()
    for id_ in desk.sandbox.reservations:
        desk.sandbox.change(id_, {"totalGuest": 2})
    assert (await desk.poll()).changes == 2500
    events = desk.told()
    assert len({event.subject for event in events}) == len(events) == 2500
    assert {event.version for event in events} == {2}


async def test_a_copy_committed_halfway_is_what_the_next_copy_is_compared_with() -> None:
    desk = Desk(accommodations=(ROME,))
    for _ in range(1200):
        desk.add(**STAY, totalGuest=1)
    await desk.poll()
    for id_ in desk.sandbox.reservations:
        desk.sandbox.change(id_, {"totalGuest": 2})

    def moving(request: httpx.Request, body: Any) -> Any:
        """Each question finds one guest more, a second later, as if the vendor changed while it is read."""
        more = ("MODIFIED_BETWEEN", "CREATETIME").index(request.url.params["type"])
        for each in body["data"]:
            each["totalGuest"] += more
            each["updateTime"] = f"2026-05-20T12:01:{10 + more}Z[UTC]"
        return body

    desk.vendor = swapped(
        lambda request: (
            httpx.Response(200, json={"data": []})
            if request.url.params.get("type") == "CANCELLATION"
            else desk.sandbox(request)
        ),
        lambda request, body: body if request.url.params["type"] == "CANCELLATION" else moving(request, body),
    )
    await desk.poll()
    chains: dict[str, list[dict[str, int]]] = {}
    for event in desk.told():
        chains.setdefault(event.subject, []).append({"version": event.version, **event.data["changes"]["guests"]})
    assert len(chains) == 1200
    for chain in chains.values():
        assert [step["version"] for step in chain] == list(range(2, 2 + len(chain)))
        assert chain[0]["before"] == 1
        assert chain[-1]["after"] == 3
        assert all(one["after"] == other["before"] for one, other in pairwise(chain))


# Redaction and upgrades


@pytest.mark.parametrize("path", ["guest.email", "guest"])
async def test_a_redacted_field_is_never_stored_nor_told_and_its_change_is_none(path: str) -> None:
    desk = Desk(redact=(path,), first_sync="events")
    desk.add(id=1)
    await desk.poll()
    guests = [{**each, "email": "other@example.com"} for each in desk.sandbox.reservations[1]["guests"]]
    desk.sandbox.change(1, {"guests": guests})
    await desk.poll()
    events = desk.told()
    assert [event.type for event in events] == ["booking.created"]
    assert b"@example.com" not in b"".join(map(encode, events)) + msgspec.json.encode(await desk.stored())


async def test_a_field_that_comes_to_be_redacted_leaves_the_snapshot_without_an_event() -> None:
    desk = await synced()
    desk.configure(redact=("guest.email",))
    desk.restart()
    await desk.sweep()
    assert desk.kinds() == []
    assert b"@example.com" not in msgspec.json.encode(await desk.stored())
    desk.sandbox.delete(1)
    await desk.sweep()
    await desk.sweep()
    (event,) = desk.told()
    assert (event.type, event.version) == ("booking.deleted", 2)
    assert b"@example.com" not in encode(event)


async def test_a_field_that_comes_to_be_redacted_is_not_told_with_the_next_change() -> None:
    desk = await synced()
    desk.configure(redact=("guest.email",))
    desk.restart()
    desk.sandbox.change(1, {"totalGuest": 9})
    await desk.poll()
    (event,) = desk.told()
    assert set(event.data["changes"]) == {"guests"}
    assert b"@example.com" not in encode(event)


async def test_redacting_the_time_of_change_does_not_lose_the_cursor() -> None:
    desk = await synced(redact=("updated_at",))
    assert (await desk.part()).cursor == NOON


class Older(Octorate, frozen=True, kw_only=True, tag="octorate"):
    """The connector of a release that did not map the room's name yet."""

    resources: ClassVar[Any] = {
        "booking": Resource(record=Booking, every=timedelta(minutes=1), changes=("cancelled",), incremental=True)
    }

    async def read(self, api: Any, query: Any) -> Any:
        async for page in super().read(api, query):
            yield msgspec.structs.replace(page, to_record=lambda raw, read=page.to_record: _without_room(read(raw)))


def _without_room(record: Any) -> Any:
    return msgspec.structs.replace(record, room_name=None)


class NewBooking(Booking, frozen=True, kw_only=True):
    schema: ClassVar[int] = 2
    added_in: ClassVar[dict[str, int]] = {"room_name": 2}


class Newer(Octorate, frozen=True, kw_only=True, tag="octorate"):
    """The connector of the release that maps it."""

    resources: ClassVar[Any] = {
        "booking": Resource(record=NewBooking, every=timedelta(minutes=1), changes=("cancelled",), incremental=True)
    }

    async def read(self, api: Any, query: Any) -> Any:
        async for page in super().read(api, query):
            yield msgspec.structs.replace(page, to_record=lambda raw, read=page.to_record: _as_new(read(raw)))


def _as_new(record: Any) -> NewBooking:
    return msgspec.convert(msgspec.to_builtins(record), NewBooking)


def _as(kind: type[Octorate], desk: Desk) -> Octorate:
    return kind(**{name: getattr(desk.connector, name) for name in desk.connector.__struct_fields__})


async def test_an_upgrade_that_maps_one_more_field_restates_every_record_silently() -> None:
    desk = Desk()
    desk.add(id=1, roomName="Double")
    desk.add(id=2, roomName="Single")
    desk.configure(connector=_as(Older, desk))
    await desk.poll()
    assert (await desk.record(1)).room_name is None
    desk.configure(connector=_as(Newer, desk))
    desk.restart()
    desk.sandbox.change(2, {"totalGuest": 9})
    await desk.poll()
    (event,) = desk.told()
    assert (event.subject, event.version) == ("2", 2)  # only what really changed
    assert (await desk.record(1)).room_name == "Double"
    desk.sandbox.change(1, {"roomName": "Suite"})
    await desk.poll()
    (event,) = desk.told()
    assert (event.version, event.data["changes"]["room_name"]) == (2, {"before": "Double", "after": "Suite"})


async def test_a_restated_record_is_not_restated_again() -> None:
    class Counting(MemoryLedger):
        stored_records = 0

        async def commit(self, state: State, changes: Any, head: Head, poll: Any) -> Any:
            self.stored_records += len(changes)
            return await super().commit(state, changes, head, poll)

    desk = Desk(noise=True)
    desk.ledger = ledger = Counting()
    desk.restart()
    desk.add(id=1)
    desk.configure(connector=_as(Older, desk))
    await desk.poll()
    desk.configure(connector=_as(Newer, desk))
    for _ in range(4):
        desk.restart()
        await desk.sweep()
    assert ledger.stored_records == 2


def test_a_missing_record_is_looked_for_again_long_before_the_next_day() -> None:
    assert timedelta(minutes=1) <= CONFIRM_AFTER <= timedelta(hours=1)


async def test_an_unknown_vendor_error_is_told_without_its_words() -> None:
    desk = await synced()
    desk.vendor = lambda request: (
        refused(403, "SECRET-words") if request.url.path.startswith(LISTING) else desk.sandbox(request)
    )
    ended = await desk.poll()
    assert (ended.outcome, "SECRET" in ended.detail) == (PollOutcome.FORBIDDEN, False)
