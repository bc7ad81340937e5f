"""Deciding what changed: pure, and the same whatever the vendor's spelling."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.known import Known
from agent.reading import Baseline, Reading, Rules
from connectors.base import Page, Resource
from events.diff import Stored, Unknown, decide, deleted, digest, most_telling, redact, restated
from events.ledger import Head, MemoryLedger, Poll
from schemas.changes import Scope
from schemas.energy import Control, Customer, Device, DeviceStatus
from schemas.envelope import CloudEvent, decode, encode
from schemas.lettings import Availability, Enquiry
from schemas.records import Booking, BookingStatus, Channel, Guest, Money, Property, Record
from schemas.training import Course, Enrolment, Unit

VERBS = ("cancelled", "no_show", "checked_out", "checked_in", "confirmed")
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
SCOPE = Scope("octorate", "hotel", "booking")

texts = st.none() | st.sampled_from(["", "a", "Ä", "\x00"]) | st.text(max_size=5)
times = st.none() | st.integers(0, 3).map(lambda hours: NOW + timedelta(hours=hours))
amounts = st.none() | st.decimals(-1000, 1000, places=3).map(lambda amount: Money.of(amount, "EUR"))
bookings = st.builds(
    Booking,
    id=st.just("1"),
    property_id=st.just("112696"),
    arrival=st.just(date(2026, 7, 7)),
    departure=st.dates(date(2026, 7, 8), date(2026, 7, 10)),
    status=st.sampled_from(BookingStatus),
    reference=texts,
    channel=st.none() | st.builds(Channel, name=texts),
    guest=st.none() | st.builds(Guest, email=texts, name=texts),
    guests=st.none() | st.integers(0, 2),
    total=amounts,
    checked_in_at=times,
    checked_out_at=times,
    cancelled_at=times,
    no_show=st.none() | st.booleans(),
    updated_at=times,
)


def booking(**fields: Any) -> Booking:
    known: dict[str, Any] = {
        "id": "1",
        "property_id": "112696",
        "arrival": date(2026, 7, 7),
        "departure": date(2026, 7, 9),
        "status": BookingStatus.CONFIRMED,
    }
    return Booking(**known | fields)


def decided(before: Booking | None, after: Booking, **other: Any) -> Any:
    stored = None if before is None else Stored(4, 1, before)
    return decide("1", stored, after, VERBS, Unknown(**other))


# The digest


@given(bookings, bookings)
def test_digests_are_equal_exactly_where_no_compared_field_differs(one: Booking, other: Booking) -> None:
    assert (digest(one) == digest(other)) == (not other.differences(one))


@given(bookings)
def test_a_record_read_back_from_its_stored_bytes_is_the_same(record: Booking) -> None:
    again = msgspec.json.decode(msgspec.json.encode(record), type=Booking)
    assert (again, digest(again)) == (record, digest(record))


@pytest.mark.parametrize("amount", ["552.5", "552.50", "5.525e2", "552.5000"])
def test_an_amount_has_one_spelling(amount: str) -> None:
    assert digest(booking(total=Money.of(Decimal(amount), "eur"))) == digest(
        booking(total=Money.of(Decimal("552.5"), "EUR"))
    )


def test_minus_nothing_is_nothing() -> None:
    assert digest(booking(total=Money.of(Decimal("-0.0"), "EUR"))) == digest(booking(total=Money.of(Decimal(0), "EUR")))


def test_a_volatile_field_is_not_in_the_digest() -> None:
    assert digest(booking(updated_at=NOW)) == digest(booking())


def test_digests_are_what_earlier_releases_stored() -> None:
    guest, total = Guest(name="Ada Sample"), Money.of(Decimal("10.5"), "EUR")
    stay = Booking(
        id="1",
        property_id="2",
        arrival=date(2026, 6, 1),
        departure=date(2026, 6, 5),
        status=BookingStatus.CONFIRMED,
        guest=guest,
        total=total,
        tags=("a",),
        updated_at=NOW,
    )
    calendar = Availability(id="1", days={date(2026, 6, 2): "B", date(2026, 6, 1): "A"})
    device = Device(
        id="1", status=DeviceStatus.ONLINE, distributor_id="d", controls={"2": Control(on=True), "1": Control()}
    )
    assert [digest(stay), digest(calendar), digest(device)] == [
        6690131021559747427,
        13096300120844809846,
        6025463783079070616,
    ]


def test_the_same_text_in_another_field_is_another_digest() -> None:
    assert digest(booking(reference="a")) != digest(booking(room_name="a"))


# Deciding


@given(bookings, bookings)
def test_deciding_again_after_the_change_finds_nothing(before: Booking, after: Booking) -> None:
    change = decided(before, after)
    if change is not None:
        assert decide("1", Stored(change.version, 1, change.after), after, VERBS, Unknown()) is None
    else:
        assert digest(before) == digest(after)


@given(bookings)
def test_the_same_record_is_no_change(record: Booking) -> None:
    assert decided(record, record) is None


@given(bookings, bookings)
def test_what_is_told_as_changed_are_the_fields_that_differ(before: Booking, after: Booking) -> None:
    change = decided(before, after)
    if change is not None:
        assert change.fields
        assert "updated_at" not in change.fields
        assert all(getattr(before, name) != getattr(after, name) for name in change.fields)
        assert (change.version, change.before, change.after) == (5, before, after)


def test_a_record_not_known_yet_is_created_or_in_a_silent_first_sync_only_stored() -> None:
    assert (decided(None, booking()).verb, decided(None, booking()).version) == ("created", 1)
    assert decided(None, booking(), first=True).first_sync
    assert decided(None, booking(), first=True, silent=True).verb is None


def test_a_tombstone_makes_it_restored() -> None:
    change = decide("1", Stored(7, 1, None), booking(), VERBS, Unknown(silent=True, first=True))
    assert change is not None
    assert (change.verb, change.version, change.first_sync, change.before) == ("restored", 8, False, None)


def test_a_deleted_record_is_deleted_once() -> None:
    change = deleted("1", Stored(7, 1, booking()))
    assert change is not None
    assert (change.verb, change.version, change.after) == ("deleted", 8, None)
    assert deleted("1", Stored(8, 1, None)) is None


TELLING: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"status": BookingStatus.CANCELLED}, "cancelled"),
    ({"status": BookingStatus.WAITING}, {"status": BookingStatus.CONFIRMED}, "confirmed"),
    ({"status": BookingStatus.CANCELLED}, {"status": BookingStatus.CONFIRMED}, "confirmed"),
    ({"status": BookingStatus.CANCELLED}, {"status": BookingStatus.CANCELLED, "guests": 3}, "modified"),
    ({}, {"checked_in_at": NOW}, "checked_in"),
    ({"checked_in_at": NOW}, {"checked_in_at": NOW + timedelta(1)}, "modified"),
    ({"checked_in_at": NOW}, {"checked_in_at": None}, "modified"),
    ({}, {"checked_in_at": NOW, "checked_out_at": NOW}, "checked_out"),
    ({}, {"no_show": True}, "no_show"),
    ({"no_show": False}, {"no_show": True, "checked_out_at": NOW}, "no_show"),
    ({"no_show": True}, {"no_show": False}, "modified"),
    ({}, {"no_show": False}, "modified"),
    (
        {},
        {"status": BookingStatus.CANCELLED, "no_show": True, "checked_in_at": NOW, "checked_out_at": NOW},
        "cancelled",
    ),
    ({}, {"guests": 3}, "modified"),
]


@pytest.mark.parametrize(("before", "after", "verb"), TELLING)
def test_a_change_is_told_by_its_most_telling_verb(before: dict[str, Any], after: dict[str, Any], verb: str) -> None:
    assert most_telling(booking(**before), booking(**after), VERBS) == verb


# Upgrades


class Later(Property, frozen=True, kw_only=True):
    """A property as a later release maps it."""

    schema: ClassVar[int] = 3
    added_in: ClassVar[dict[str, int]] = {"stars": 2, "pets": 3}

    stars: int | None = None
    pets: bool | None = None


@pytest.mark.parametrize(
    ("schema", "before", "after", "verb"),
    [
        (1, {}, {"stars": 4, "pets": True}, None),
        (2, {"stars": 4}, {"stars": 4, "pets": True}, None),
        (2, {}, {"stars": 4}, "modified"),
        (3, {}, {"pets": True}, "modified"),
        (1, {"city": "Roma"}, {"city": "Venezia", "stars": 4}, "modified"),
        (1, {"stars": 4}, {}, None),
    ],
)
def test_only_fields_that_the_stored_version_did_not_have_are_restated(
    schema: int, before: dict[str, Any], after: dict[str, Any], verb: str | None
) -> None:
    stored = Stored(4, schema, Later(id="1", name="Palace", **before))
    change = decide("1", stored, Later(id="1", name="Palace", **after), (), Unknown())
    assert change is not None
    assert (change.verb, change.version) == (verb, 5 if verb else 4)


def test_what_is_restated_keeps_its_version_because_nobody_is_told() -> None:
    change = restated("1", Stored(4, 1, booking()), booking(guests=2))
    assert (change.verb, change.version, change.fields, change.record) == (None, 4, (), booking(guests=2))


# Redaction


@given(
    bookings, st.sampled_from([("guest.email",), ("guest",), ("guest", "guest.email"), ("reference", "channel.name")])
)
def test_redacting_twice_is_redacting_once_and_leaves_the_rest(record: Booking, paths: tuple[str, ...]) -> None:
    clean = redact(record, paths)
    assert redact(clean, paths) == clean
    assert set(clean.differences(record)) <= {path.split(".")[0] for path in paths}
    if "guest.email" in paths:
        assert clean.guest is None or clean.guest.email is None  # a booking again


def test_a_path_that_this_record_does_not_have_is_nothing_to_redact() -> None:
    assert redact(booking(), ("guest.email", "nonsense", "reference.more")) == booking()


# Chains


class Shop:
    """A vendor of one page, read into a ledger the way a poll does it."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.seen = Known()
        self.resource = Resource(record=Booking, every=timedelta(minutes=1), changes=VERBS)
        self.before: dict[str, Booking] = {}

    async def poll(self, state: dict[str, Booking], number: int, *, forget: bool) -> None:
        if forget:
            self.seen = Known()
        known = await self.ledger.load(SCOPE)
        poll = Poll(f"poll-{number}", NOW + timedelta(minutes=number))
        rules = Rules(resource=self.resource, first_sync="events", redact=())
        reading = Reading(self.ledger, known, self.seen, rules, poll, lambda event: None, lambda key, path: None)
        items = [msgspec.Raw(msgspec.json.encode(record)) for record in state.values()]
        page = Page(items=items, to_record=_read, key_of=lambda raw: _read(raw).id)
        await reading.page(page, "", Baseline(NOW, lambda record: True) if number else None)
        await reading.settle()
        await reading.gone(sorted(set(reading.seen.missing()) - set(state)))
        assert reading.alive() == len(state)
        await reading.flush(Head(poll_id=poll.id, at=poll.observed_at, records=reading.alive()))


def _read(raw: msgspec.Raw) -> Booking:
    return msgspec.json.decode(raw, type=Booking)


states = st.dictionaries(st.sampled_from("abc"), bookings, max_size=3).map(
    lambda state: {key: msgspec.structs.replace(record, id=key) for key, record in state.items()}
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(states, st.booleans()), max_size=12))
def test_every_history_is_told_as_unbroken_chains(history: list[tuple[dict[str, Booking], bool]]) -> None:
    shop = Shop()

    async def live() -> None:
        for number, (state, forget) in enumerate(history):
            await shop.poll(state, number, forget=forget)

    anyio.run(live)
    told: dict[str, list[CloudEvent]] = {}
    for event in shop.ledger.events:
        told.setdefault(event.subject, []).append(decode(encode(event)))
    assert len({event.id for event in shop.ledger.events}) == len(shop.ledger.events)
    for key, events in told.items():
        assert [event.version for event in events] == list(range(1, len(events) + 1))
        _check_chain(events, [state.get(key) for state, _ in history])


def _check_chain(events: list[CloudEvent], states: list[Booking | None]) -> None:
    """The events, applied one after the other, lead through the states the record had."""
    present: Any = None
    for event in events:
        verb = event.type.rpartition(".")[2]
        if verb in {"created", "restored"}:
            assert present is None
            present = event.data["record"]
        elif verb == "deleted":
            assert _plain(event.data["record"]) == _plain(present)
            present = None
        else:
            for name, sides in event.data["changes"].items():
                assert present.get(name) == sides.get("before") != sides.get("after")
                assert event.data["record"].get(name) == sides.get("after")
            assert _plain(event.data["record"]) == _plain(_applied(present, event.data["changes"]))
            present = event.data["record"]
    last = states[-1] if states else None
    assert _plain(present) == _plain(None if last is None else msgspec.to_builtins(last))


def _applied(record: Any, changes: Any) -> Any:
    return {**record, **{name: sides.get("after") for name, sides in changes.items()}}


def _plain(record: Any) -> Any:
    """Without what is absent, and without what is not compared."""
    if record is None:
        return None
    return {name: value for name, value in record.items() if value is not None and name != "updated_at"}


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (Enrolment(id="1", units=(Unit(name="x"),)), "units"),
        (Availability(id="1", days={date(2026, 7, 1): "A"}), "days"),
        (Device(id="1", status=DeviceStatus.ONLINE, distributor_id="d", controls={"1": Control(on=True)}), "controls"),
        (Customer(id="1", devices=("1",)), "devices"),
        (Enquiry(id="1", property_ids=("1",)), "property_ids"),
        (Course(id="1", name="x"), "name"),
    ],
)
def test_a_redacted_field_is_as_if_it_had_never_been_there(record: Record, field: str) -> None:
    clean = redact(record, [field])
    written = msgspec.json.encode(clean)
    assert field not in msgspec.json.decode(written)
    assert msgspec.json.decode(written, type=type(record)) == clean
