"""When a record is gone, and when it only seems so. Deletes are never guessed."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from agent.sweeping import CONFIRM_AFTER, held_parts
from schemas.facts import Fresh, PollOutcome
from tests.polled import LISTING, LONDON, ROME, Desk, refused, swapped

pytestmark = pytest.mark.anyio

STAY = {"checkin": "2026-06-09T22:00:00Z[UTC]", "checkout": "2026-06-12T08:00:00Z[UTC]"}


async def stocked(bookings: int, accommodation: str = ROME, **other: Any) -> Desk:
    """A desk that knows so many bookings, numbered from 1."""
    desk = Desk(**other)
    for id_ in range(1, bookings + 1):
        desk.add(accommodation, id=id_, **STAY)
    await desk.poll()
    desk.sandbox.seen.clear()
    return desk


def without_looking_up(vendor: Callable[[httpx.Request], httpx.Response], *ids: int) -> Any:
    """A vendor that never lists these bookings unless asked for them by id."""

    def change(request: httpx.Request, body: Any) -> Any:
        if "ids[]" in request.url.params:
            return body
        return {"data": [each for each in body["data"] if each["id"] not in ids]}

    return swapped(vendor, change)


def hidden(vendor: Callable[[httpx.Request], httpx.Response], *ids: int) -> Any:
    """A vendor that says nothing of these bookings, however it is asked."""
    return swapped(vendor, lambda _, body: {"data": [each for each in body["data"] if each["id"] not in ids]})


# Twice running


async def test_a_record_missing_once_is_not_deleted_and_missing_twice_it_is() -> None:
    desk = await stocked(3)
    desk.sandbox.delete(2)
    await desk.sweep()
    assert desk.kinds() == []
    assert (await desk.part()).missing == ("2",)
    await desk.sweep()
    (event,) = desk.told()
    assert (event.type, event.subject, event.version, event.time) == ("booking.deleted", "2", 2, event.observedat)
    assert (event.data["record"].id, "changes" in event.data) == ("2", False)
    assert (await desk.part()).missing == ()
    assert sorted(await desk.stored()) == ["1", "3"]


async def test_a_deleted_record_is_told_deleted_once() -> None:
    desk = await stocked(3)
    desk.sandbox.delete(2)
    for _ in range(5):
        await desk.sweep()
    assert desk.kinds() == ["booking.deleted"]


async def test_the_second_sweep_comes_long_before_the_next_day() -> None:
    desk = await stocked(3)
    desk.sandbox.delete(2)
    await desk.sweep()
    await desk.poll(after=CONFIRM_AFTER)
    assert desk.kinds() == []  # ten intervals of a minute are longer than that
    await desk.poll(after=timedelta(minutes=5))
    assert desk.kinds() == ["booking.deleted"]


async def test_between_two_sweeps_nothing_is_read_whole() -> None:
    desk = await stocked(3, accommodations=(ROME,))
    desk.sandbox.delete(2)
    await desk.sweep()
    desk.sandbox.seen.clear()
    await desk.poll()
    assert {asked["type"] for asked in desk.listings()} == {"MODIFIED_BETWEEN", "CREATETIME", "CANCELLATION"}


async def test_a_record_that_reappears_in_between_starts_anew() -> None:
    desk = await stocked(3)
    plain = desk.sandbox
    for vendor in (hidden(plain, 2), plain, hidden(plain, 2), plain):
        desk.vendor = vendor
        await desk.sweep()
    assert desk.kinds() == []


async def test_a_record_seen_between_two_sweeps_is_not_missing_twice_running() -> None:
    desk = await stocked(3)
    desk.vendor = hidden(desk.sandbox, 2)
    await desk.sweep()
    desk.vendor = desk.sandbox
    desk.sandbox.touch(2)
    await desk.poll()
    desk.vendor = hidden(desk.sandbox, 2)
    await desk.sweep()
    assert desk.kinds() == []
    assert (await desk.part()).missing == ("2",)


async def test_the_memory_of_what_is_missing_survives_a_restart() -> None:
    desk = await stocked(3)
    desk.sandbox.delete(2)
    await desk.sweep()
    desk.restart()
    await desk.sweep()
    assert desk.kinds() == ["booking.deleted"]


async def test_a_record_that_returns_is_restored_and_its_version_goes_on() -> None:
    desk = await stocked(3)
    gone = desk.sandbox.delete(2)
    await desk.sweep()
    await desk.sweep()
    desk.add(**{name: value for name, value in gone.items() if name != "accommodation"})
    await desk.sweep()
    desk.sandbox.change(2, {"totalGuest": 9})
    await desk.poll()
    deleted, restored, modified = desk.told()
    assert [(event.type, event.version) for event in (deleted, restored, modified)] == [
        ("booking.deleted", 2),
        ("booking.restored", 3),
        ("booking.modified", 4),
    ]
    assert restored.time == restored.observedat  # not the time it was once made
    assert ("changes" in restored.data, restored.firstsync) == (False, False)


async def test_a_property_that_is_no_longer_listed_is_deleted_in_the_second_poll() -> None:
    desk = Desk()
    await desk.poll("property")
    del desk.sandbox.accommodations[LONDON]
    await desk.poll("property")
    assert desk.kinds() == []
    await desk.poll("property")
    assert desk.kinds() == ["property.deleted"]


# Sweeps that tell nothing


SPOILT = [
    "html",
    "truncated",
    "wrong_types",
    "hang",
    "huge",
    "InternalServerError",
    "ApiQuotaException",
    "WrongEnviroment",
]


@pytest.mark.parametrize("kind", SPOILT)
async def test_a_failed_sweep_deletes_nothing_and_counts_for_nothing(kind: str) -> None:
    desk = await stocked(3, accommodations=(ROME,))
    desk.sandbox.delete(2)
    await desk.sweep()
    missing = (await desk.part()).missing
    desk.sandbox.fail(kind=kind, match="reservation", times=50)
    ended = await desk.sweep()
    assert not ended.outcome.succeeded
    assert (desk.kinds(), (await desk.part()).missing) == ([], missing)
    desk.sandbox.heal()
    await desk.sweep()
    assert desk.kinds() == ["booking.deleted"]


async def test_a_listing_that_repeats_its_first_page_deletes_nothing() -> None:
    desk = await stocked(450, accommodations=(ROME,))
    desk.sandbox.fail(kind="repeat", match="reservation", times=1000)
    for _ in range(3):
        ended = await desk.sweep()
    assert (ended.outcome, desk.kinds(), len(await desk.stored())) == (PollOutcome.UNREADABLE, [], 450)


async def test_a_page_that_fails_halfway_deletes_nothing() -> None:
    desk = await stocked(450, accommodations=(ROME,))
    desk.vendor = lambda request: (
        httpx.Response(503) if request.url.params.get("page") == "1" else hidden(desk.sandbox, 2)(request)
    )
    for _ in range(3):
        assert (await desk.sweep()).outcome is PollOutcome.UNAVAILABLE
    assert desk.kinds() == []


async def test_an_item_without_a_key_makes_the_sweep_blind() -> None:
    desk = await stocked(3, accommodations=(ROME,))

    def blind(_: httpx.Request, body: Any) -> Any:
        return {"data": [{**each, "id": {"wrong": 1}} if each["id"] == 2 else each for each in body["data"]]}

    desk.vendor = swapped(desk.sandbox, blind)
    for _ in range(3):
        await desk.sweep()
    assert (desk.kinds(), len(desk.quarantined()) > 0) == ([], True)
    desk.vendor = hidden(desk.sandbox, 2)
    await desk.sweep()
    assert desk.kinds() == []


async def test_an_unreadable_record_is_not_a_missing_one() -> None:
    desk = await stocked(3, accommodations=(ROME,))
    desk.sandbox.fail(kind="one_bad", match="reservation", times=1000)
    for _ in range(3):
        await desk.sweep()
    assert (desk.kinds(), len(await desk.stored())) == ([], 3)


async def test_a_property_that_came_to_be_forbidden_keeps_its_bookings() -> None:
    desk = await stocked(3)
    desk.sandbox.forbid(ROME)
    for _ in range(3):
        await desk.sweep()
    desk.sandbox.allow(ROME)
    await desk.sweep()
    assert desk.kinds() == []


async def test_a_property_that_is_no_longer_listed_keeps_its_bookings() -> None:
    desk = await stocked(3)
    del desk.sandbox.accommodations[ROME]
    for _ in range(3):
        await desk.sweep()
    assert (desk.kinds(), len(await desk.stored())) == ([], 3)


# Looked up by id


async def test_a_record_that_is_found_by_its_id_is_not_deleted() -> None:
    desk = await stocked(3)
    desk.vendor = without_looking_up(desk.sandbox, 2)
    for _ in range(3):
        await desk.sweep()
    assert desk.kinds() == []
    assert [asked["ids[]"] for asked in desk.listings() if "ids[]" in asked] == ["2"] * 3


async def test_a_record_found_by_its_id_to_have_changed_is_told_so() -> None:
    desk = await stocked(3)
    desk.sandbox.cancel(2)
    desk.vendor = without_looking_up(desk.sandbox, 2)
    await desk.sweep()
    assert desk.kinds() == ["booking.cancelled"]


async def test_a_look_up_that_fails_leaves_everything_as_it_was() -> None:
    desk = await stocked(3)
    desk.sandbox.delete(2)
    desk.vendor = lambda request: (
        refused(403, "ApiQuotaException") if "ids[]" in request.url.params else desk.sandbox(request)
    )
    for _ in range(3):
        assert (await desk.sweep()).outcome is PollOutcome.THROTTLED
    assert (desk.kinds(), (await desk.part()).missing) == ([], ())


@pytest.mark.parametrize("reply", [refused(404, "ApiResourceMissing"), refused(404, "ApiResourceEmpty")])
async def test_a_look_up_may_say_gone_by_a_404(reply: httpx.Response) -> None:
    desk = await stocked(3)
    desk.sandbox.delete(2)
    desk.vendor = lambda request: (
        httpx.Response(reply.status_code, content=reply.content)
        if "ids[]" in request.url.params
        else desk.sandbox(request)
    )
    await desk.sweep()
    await desk.sweep()
    assert desk.kinds() == ["booking.deleted"]


async def test_a_record_outside_the_window_of_stays_is_not_missing() -> None:
    desk = await stocked(3)
    desk.sandbox.change(2, {"checkin": "2031-01-01T23:00:00Z[UTC]", "checkout": "2031-01-03T09:00:00Z[UTC]"})
    for _ in range(4):
        await desk.sweep()
    assert desk.kinds() == ["booking.modified"]


async def test_a_record_moved_out_of_the_window_unnoticed_is_found_by_its_id() -> None:
    desk = await stocked(3)
    desk.sandbox.reservations[2].update(checkin="2031-01-01T23:00:00Z[UTC]", checkout="2031-01-03T09:00:00Z[UTC]")
    for _ in range(4):
        await desk.sweep()
    assert desk.kinds() == ["booking.modified"]


async def test_a_stay_that_time_has_left_behind_is_kept() -> None:
    desk = await stocked(3)
    for _ in range(3):
        desk.add()  # moves the cursor on, so that the old ones are not read for being recent
        await desk.poll(after=timedelta(days=40))
    assert (desk.kinds(), len(await desk.stored())) == (["booking.created"] * 3, 6)
    assert not any("ids[]" in asked for asked in desk.listings())  # nor is it asked for again and again


# Too many at once


async def test_where_a_person_allows_any_number_they_are_all_deleted_in_batches() -> None:
    desk = await stocked(1200, accommodations=(ROME,))
    desk.configure(max_ratio=1.0)
    for id_ in range(1, 1201):
        desk.sandbox.delete(id_)
    await desk.sweep()
    await desk.sweep()
    assert (len(desk.kinds()), await desk.stored()) == (1200, {})


async def test_a_thousand_that_vanish_at_once_are_held() -> None:
    desk = await stocked(1000)
    desk.sandbox.fail(kind="empty", match="reservation", times=1000)
    outcomes = [(await desk.sweep()).outcome for _ in range(3)]
    assert (set(outcomes), desk.kinds(), await desk.held()) == ({PollOutcome.HELD}, [], 1000)
    fresh = [fact for fact in desk.facts if isinstance(fact, Fresh)][-1]
    assert (fresh.held, fresh.records, fresh.at) == (1000, 1000, desk.clock.at)
    desk.sandbox.heal()
    ended = await desk.sweep()
    assert (ended.outcome, await desk.held(), desk.kinds()) == (PollOutcome.UNCHANGED, 0, [])


@pytest.mark.parametrize(("left", "held", "deleted"), [(799, 201, 0), (800, 0, 200), (801, 0, 199)])
async def test_the_line_between_deleted_and_held(left: int, held: int, deleted: int) -> None:
    desk = await stocked(1000)
    for id_ in range(left + 1, 1001):
        desk.sandbox.delete(id_)
    await desk.sweep()
    await desk.sweep()
    assert (await desk.held(), len(desk.kinds())) == (held, deleted)


async def test_up_to_ten_of_more_are_never_held() -> None:
    desk = await stocked(11)
    for id_ in range(1, 11):
        desk.sandbox.delete(id_)
    await desk.sweep()
    await desk.sweep()
    assert desk.kinds() == ["booking.deleted"] * 10


@pytest.mark.parametrize(("there", "held", "kinds"), [(5, 5, []), (2, 2, []), (1, 0, ["booking.deleted"])])
async def test_an_empty_listing_is_held_unless_it_was_the_only_record(there: int, held: int, kinds: list[str]) -> None:
    desk = await stocked(there)
    desk.sandbox.fail(kind="empty", match="reservation", times=1000)
    await desk.sweep()
    await desk.sweep()
    assert (await desk.held(), desk.kinds()) == (held, kinds)


async def test_what_is_held_stays_held_between_sweeps_and_is_looked_at_again_soon() -> None:
    desk = await stocked(50)
    desk.sandbox.fail(kind="empty", match="reservation", times=1000)
    await desk.sweep()
    assert ((await desk.poll()).outcome, await desk.held()) == (PollOutcome.HELD, 50)
    desk.sandbox.heal()
    await desk.poll(after=timedelta(minutes=11))
    assert await desk.held() == 0


async def test_a_sweep_that_tells_nothing_keeps_what_is_held() -> None:
    desk = await stocked(50)
    desk.sandbox.fail(kind="empty", match="reservation", times=1000)
    await desk.sweep()
    desk.vendor = swapped(desk.sandbox, lambda _, body: {"data": [*body["data"], None]})
    await desk.sweep()
    assert await desk.held() == 50


async def test_what_is_listed_again_is_held_no_more() -> None:
    desk = await stocked(50)
    desk.sandbox.fail(kind="empty", match="reservation", times=1000)
    await desk.sweep()
    desk.sandbox.heal()
    desk.vendor = swapped(desk.sandbox, lambda _, body: {"data": [*body["data"], None]})
    await desk.sweep()
    assert await desk.held() == 0


async def test_one_property_that_vanishes_among_large_ones_is_held_alone() -> None:
    desk = await stocked(300)
    for id_ in range(1001, 1021):
        desk.add(LONDON, id=id_, **STAY)
    await desk.poll()
    desk.told()
    desk.sandbox.delete(7)
    desk.vendor = lambda request: (
        httpx.Response(200, json={"data": []}) if LONDON in request.url.path else desk.sandbox(request)
    )
    await desk.sweep()
    await desk.sweep()
    assert ([event.subject for event in desk.told()], await desk.held()) == (["7"], 20)


async def test_a_vendor_that_numbers_everything_anew_deletes_nothing() -> None:
    desk = await stocked(50)
    desk.vendor = swapped(
        desk.sandbox, lambda _, body: {"data": [{**each, "id": each["id"] + 500} for each in body["data"]]}
    )
    await desk.sweep()
    await desk.sweep()
    assert (set(desk.kinds()), await desk.held()) == ({"booking.created"}, 50)


NOTHING = {
    "200 empty body": httpx.Response(200),
    "200 null": httpx.Response(200, content=b"null"),
    "200 with an error inside": refused(200, "ApiSecurityException"),
    "204": httpx.Response(204),
    "404 without a reason": httpx.Response(404, text="Not Found"),
    "404 page": httpx.Response(404, html="<p>Not Found</p>"),
    "404 gone": refused(404, "ApiResourceMissing"),
    "302": httpx.Response(302, headers={"Location": "https://elsewhere.test/"}),
}


@pytest.mark.parametrize("name", NOTHING)
async def test_nothing_said_is_never_nothing_there(name: str) -> None:
    desk = await stocked(5)
    said = NOTHING[name]
    desk.vendor = lambda request: (
        httpx.Response(said.status_code, headers=said.headers, content=said.content)
        if request.url.path.startswith(LISTING)
        else desk.sandbox(request)
    )
    for _ in range(3):
        assert not (await desk.sweep()).outcome.succeeded
    assert (desk.kinds(), len(await desk.stored())) == ([], 5)


async def test_a_listing_that_was_never_filled_is_an_empty_one_and_held_all_the_same() -> None:
    desk = await stocked(50)
    desk.sandbox.fail(kind="ApiResourceEmpty", match="reservation", times=1000)
    for _ in range(3):
        await desk.sweep()
    assert (desk.kinds(), await desk.held()) == ([], 50)


async def test_a_change_and_a_hold_go_together() -> None:
    desk = await stocked(100)
    desk.vendor = hidden(desk.sandbox, *range(1, 51))
    await desk.sweep()
    desk.sandbox.change(100, {"totalGuest": 9})
    ended = await desk.sweep()
    assert (ended.outcome, ended.changes, desk.kinds()) == (PollOutcome.HELD, 1, ["booking.modified"])


def test_parts_that_each_miss_little_are_held_where_it_is_much_together() -> None:
    absent = {str(part): [f"{part}-{number}" for number in range(6)] for part in range(5)}
    assert held_parts(absent, dict.fromkeys(absent, 4), 0.2) == set(absent)
    assert held_parts(absent, dict.fromkeys(absent, 94), 0.2) == set()


@pytest.mark.parametrize(("ratio", "held"), [(0.0, {"a"}), (0.5, set()), (1.0, set())])
def test_the_ratio_is_a_setting(ratio: float, held: set[str]) -> None:
    assert held_parts({"a": [str(number) for number in range(50)]}, {"a": 50}, ratio) == held


async def test_the_list_of_missing_keys_has_room_for_what_fits_only() -> None:
    desk = await stocked(400, accommodations=(ROME,))
    desk.configure(max_ratio=1.0)
    long = "x" * 900

    def lengthened(_: httpx.Request, body: Any) -> Any:
        return {"data": [{**each, "id": f"{long}{each['id']}"} for each in body["data"]]}

    desk.vendor = swapped(desk.sandbox, lengthened)
    await desk.poll()  # 400 more, with keys of 900 bytes
    await desk.sweep()
    desk.told()
    desk.vendor = lambda request: (
        httpx.Response(200, json={"data": []}) if request.url.path.startswith(LISTING) else desk.sandbox(request)
    )
    for _ in range(2):
        await desk.sweep()
        assert len(json.dumps((await desk.part()).missing)) < 300_000
    assert 0 < len(desk.kinds()) < 800
    for _ in range(3):
        await desk.sweep()
    assert len(await desk.stored()) == 0
