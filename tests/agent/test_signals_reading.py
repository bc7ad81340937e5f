"""What a person has read anew, or again: who hears of what, under which ids."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from agent import signals
from agent.signals import NotPossible
from events.diff import Stored
from events.ledger import Head, Poll
from schemas.facts import PollOutcome
from schemas.settings import Duration
from tests.agent.test_feeding import MINUTE, Site
from tests.polled import LONDON, NOON, ROME, Account, Desk

pytestmark = pytest.mark.anyio

SOON = timedelta(minutes=5)


async def told_by_hand(account: Account, resource: str, change: Callable[[Head], Head]) -> None:
    """What the command does, on this ledger."""
    state = await account.ledger.load(account.watched.scope(resource))
    await account.ledger.commit(state, [], change(state.head), Poll(state.head.poll_id, account.clock()))


async def read_anew(account: Account, *, events: bool = False) -> None:
    scope = account.watched.scope("booking")
    await told_by_hand(account, "booking", lambda head: signals.anew(head, scope, events=events))


@pytest.fixture
async def desk() -> Desk:
    """Two bookings that everybody knows of, each changed once: the second so long ago that no poll asks for that day."""
    desk = Desk(reconcile=Duration(days=4))
    one, two = desk.add(LONDON), desk.add(LONDON)
    desk.add(ROME)
    await desk.poll()
    desk.sandbox.change(two, {"totalGross": 100})
    await desk.poll()
    desk.clock.at += timedelta(days=3)
    desk.sandbox.change(one, {"totalGross": 50})
    await desk.poll()
    assert desk.kinds() == ["booking.modified"] * 2
    return desk


async def swept(desk: Desk) -> None:
    """A whole read that was due."""
    await desk.poll(after=timedelta(days=4))


def quietly(desk: Desk, id_: int, **fields: object) -> None:
    """The vendor changes a booking without saying when, so that only a whole read finds it."""
    desk.sandbox.reservations[id_] |= fields


async def test_read_anew_silently_stores_what_differs_and_tells_nobody(desk: Desk) -> None:
    _, two, _ = desk.sandbox.reservations
    quietly(desk, two, totalGross=300)
    await desk.poll()
    assert (await desk.record(two)).total.amount == 100  # an ordinary poll does not see it
    await read_anew(desk)
    assert (await desk.poll()).outcome is PollOutcome.UNCHANGED
    assert ((await desk.record(two)).total.amount, desk.kinds()) == (300, [])


async def test_read_anew_with_events_tells_what_differs_and_nothing_else(desk: Desk) -> None:
    one, two, *_ = desk.sandbox.reservations
    quietly(desk, two, totalGross=300)
    desk.sandbox.reservations[7] = desk.sandbox.reservations[one] | {"id": 7}
    await read_anew(desk, events=True)
    await desk.poll()
    told = sorted((event.type, event.subject, event.version, event.firstsync) for event in desk.told())
    assert told == [("booking.created", "7", 1, True), ("booking.modified", str(two), 3, False)]


async def test_after_a_silent_reading_versions_go_on_and_no_id_is_given_twice(desk: Desk) -> None:
    _, two, _ = desk.sandbox.reservations
    before = [event.id for event in desk.ledger.events]
    quietly(desk, two, totalGross=300)
    await read_anew(desk)
    await desk.poll()
    desk.sandbox.change(two, {"totalGross": 301})
    await desk.poll()
    (event,) = desk.told()
    total = event.data["changes"]["total"]
    assert (event.version, event.id in before) == (3, False)
    assert [total[side].amount for side in ("before", "after")] == [300, 301]


@pytest.mark.parametrize("events", [True, False])
async def test_what_is_gone_is_not_guessed_when_read_anew_but_told_once_it_is_missed_twice(
    desk: Desk, *, events: bool
) -> None:
    one, *_ = desk.sandbox.reservations
    desk.sandbox.delete(one)
    await swept(desk)  # missed once
    await read_anew(desk, events=events)
    await desk.poll()
    assert desk.kinds() == []
    assert str(one) in await desk.stored()
    await desk.poll(after=timedelta(minutes=10))  # a read that misses records is repeated soon
    assert [(event.type, event.subject) for event in desk.told()] == [("booking.deleted", str(one))]


async def test_deletes_that_are_held_are_counted_anew() -> None:
    desk = Desk()
    ids = [desk.add() for _ in range(30)]
    await desk.poll()
    stolen = {id_: desk.sandbox.reservations.pop(id_) for id_ in ids[:20]}
    await swept(desk)
    assert await desk.held() == 20
    await read_anew(desk)
    await desk.poll()
    assert await desk.held() == 20  # they are still not there
    desk.sandbox.reservations |= stolen
    await read_anew(desk)
    await desk.poll()
    assert (await desk.held(), desk.kinds()) == (0, [])


async def test_a_reading_that_fails_halfway_goes_on_at_the_next_poll(desk: Desk) -> None:
    _, two, three = desk.sandbox.reservations
    quietly(desk, two, totalGross=300)
    quietly(desk, three, totalGross=301)
    await read_anew(desk)
    desk.sandbox.fail(status=503, match=f"/reservation/{ROME}", times=20)
    await desk.poll()
    assert ((await desk.part(ROME)).anew, (await desk.part(LONDON)).anew) == ("silent", "")
    desk.sandbox.heal()
    desk.restart()
    await desk.poll(after=SOON)
    assert ((await desk.part(ROME)).anew, desk.kinds()) == ("", [])
    assert [(await desk.record(each)).total.amount for each in (two, three)] == [300, 301]


async def test_a_record_that_was_deleted_and_is_back_is_stored_silently_under_the_version_it_had(desk: Desk) -> None:
    one, *_ = desk.sandbox.reservations
    gone = desk.sandbox.delete(one)
    await swept(desk)
    await swept(desk)
    assert desk.kinds() == ["booking.deleted"]
    desk.sandbox.reservations[one] = gone
    desk.sandbox._updated[one] = NOON
    await read_anew(desk)
    await desk.poll()
    assert (str(one) in await desk.stored(), desk.kinds()) == (True, [])
    desk.sandbox.change(one, {"totalGross": 5})
    await desk.poll()
    assert [(event.type, event.version) for event in desk.told()] == [("booking.modified", 4)]


@pytest.mark.parametrize("events", [True, False])
async def test_what_is_stored_and_cannot_be_read_is_replaced_when_read_anew_and_left_alone_before(
    desk: Desk, *, events: bool
) -> None:
    one, *_ = desk.sandbox.reservations
    records = desk.ledger._records[desk.watched.scope("booking")]
    records[str(one)] = Stored(1, 99, None, unreadable=True)
    await swept(desk)
    assert records[str(one)].unreadable
    await read_anew(desk, events=events)
    await desk.poll()
    stored = records[str(one)]
    assert (stored.unreadable, stored.version, desk.kinds()) == (False, 1, [])
    state = await desk.ledger.load(desk.watched.scope("booking"))
    assert state.head.records == 3


async def test_a_resource_that_was_never_read_cannot_be_read_anew() -> None:
    desk = Desk()
    with pytest.raises(NotPossible, match="never read"):
        await read_anew(desk)


async def test_an_incremental_read_that_is_rewound_asks_since_then_and_tells_nothing_twice(desk: Desk) -> None:
    to = desk.clock() - timedelta(days=20)
    scope = desk.watched.scope("booking")
    await told_by_hand(desk, "booking", lambda head: signals.rewound(head, scope, to))
    before = len(desk.listings())
    await desk.poll()
    asked = {each["startDate"] for each in desk.listings()[before:] if "startDate" in each}
    assert asked == {(to - timedelta(days=1)).date().isoformat()}
    assert desk.kinds() == []
    part = await desk.part(LONDON)
    assert part.cursor is not None
    assert part.cursor > to + timedelta(days=19)  # it stands where it stood


async def test_what_a_rewound_read_had_missed_is_told(desk: Desk) -> None:
    _, two, _ = desk.sandbox.reservations
    quietly(desk, two, totalGross=77)
    await desk.poll()
    assert desk.kinds() == []
    scope, to = desk.watched.scope("booking"), desk.clock() - timedelta(days=20)
    await told_by_hand(desk, "booking", lambda head: signals.rewound(head, scope, to))
    await desk.poll()
    assert desk.kinds() == ["booking.modified"]


async def test_a_cursor_is_never_moved_ahead(desk: Desk) -> None:
    scope = desk.watched.scope("booking")
    with pytest.raises(NotPossible, match="it stands at 2026-05-"):
        await told_by_hand(desk, "booking", lambda head: signals.rewound(head, scope, desk.clock() + timedelta(days=1)))


async def test_a_feed_that_is_rewound_tells_no_device_anything_twice_and_what_was_never_told_once() -> None:
    site = Site()
    await site.follow()
    site.vendor_side.upload("north-1", *site.ago(-1, -2))
    await site.follow()
    assert list(site.news()) == ["north-1"]
    await site.follow(after=600 * MINUTE)
    late = site.clock() - 300 * MINUTE
    site.vendor_side.upload("north-1", late - 900 * MINUTE)  # before the baseline, and long before what it was told
    site.vendor_side.upload("north-2", late)  # a device that nobody heard of
    scope = site.watched.scope("measurement")
    await told_by_hand(site, "measurement", lambda head: signals.rewound(head, scope, late - 60 * MINUTE))
    await site.follow()
    assert site.news() == {"north-2": [late]}
    await told_by_hand(site, "measurement", lambda head: signals.rewound(head, scope, late - 60 * MINUTE))
    await site.follow()
    assert site.news() == {}
