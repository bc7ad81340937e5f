"""The event: its id, its time, its bytes."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.changes import Change, Scope
from schemas.envelope import decode, decode_sealed, encode, event_id, event_of
from schemas.records import Booking, BookingStatus, Property

SCOPE = Scope("octorate", "hotel", "booking")
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(hours=2), NOW - timedelta(hours=1)


def booking(**fields: Any) -> Booking:
    known: dict[str, Any] = {
        "id": "1",
        "property_id": "2",
        "arrival": date(2026, 7, 7),
        "departure": date(2026, 7, 9),
        "status": BookingStatus.CONFIRMED,
    }
    return Booking(**known | fields)


def event(verb: str, before: Any, after: Any, **other: Any) -> Any:
    change = Change(key="1", version=3, verb=verb, before=before, after=after, **other)
    return event_of(change, SCOPE, observed_at=NOW, poll_id="p")


TIMES = [
    ("created", None, booking(booked_at=EARLIER, updated_at=LATER), EARLIER),
    ("created", None, booking(updated_at=LATER), LATER),
    ("created", None, booking(), NOW),
    ("modified", booking(updated_at=EARLIER), booking(updated_at=LATER), LATER),
    ("modified", booking(), booking(updated_at=LATER), LATER),
    ("modified", booking(updated_at=LATER), booking(updated_at=LATER), NOW),
    ("modified", booking(updated_at=LATER), booking(updated_at=EARLIER), NOW),
    ("modified", booking(updated_at=LATER), booking(), NOW),
    ("cancelled", booking(updated_at=EARLIER), booking(cancelled_at=EARLIER, updated_at=LATER), EARLIER),
    ("cancelled", booking(updated_at=EARLIER), booking(updated_at=LATER), LATER),
    ("deleted", booking(updated_at=LATER), None, NOW),
    ("restored", None, booking(booked_at=EARLIER, updated_at=LATER), NOW),
]


@pytest.mark.parametrize(("verb", "before", "after", "time"), TIMES)
def test_the_time_is_the_vendors_own_where_it_is_the_time_of_this_change(
    verb: str, before: Any, after: Any, time: datetime
) -> None:
    assert event(verb, before, after).time == time


def test_a_delete_shows_the_record_as_it_was_and_no_changes() -> None:
    assert event("deleted", booking(guests=2), None).data == {"record": booking(guests=2)}


def test_a_side_without_a_value_is_left_out_and_a_false_one_is_not() -> None:
    told = event("modified", booking(guests=2), booking(no_show=False), fields=("guests", "no_show"))
    assert told.data["changes"] == {"guests": {"before": 2}, "no_show": {"after": False}}


def test_what_is_not_so_is_left_out() -> None:
    plain = msgspec.json.decode(encode(event("created", None, booking())))
    marked = msgspec.json.decode(encode(event("created", None, booking(), first_sync=True)))
    assert "firstsync" not in plain
    assert "replay" not in plain
    assert marked["firstsync"] is True
    assert (plain["specversion"], plain["datacontenttype"]) == ("1.0", "application/json")


def test_an_event_survives_its_bytes() -> None:
    told = event("modified", booking(), booking(guests=2), fields=("guests",))
    again = decode(encode(told))
    assert (again.id, again.time, again.version, encode(again)) == (told.id, NOW, 3, encode(told))


def test_what_a_subscriber_finds_an_event_by_has_the_form_that_is_promised() -> None:
    change = Change(key="a/b c", version=2, verb="confirmed", before=booking(), after=booking(guests=2))
    told = msgspec.json.decode(encode(event_of(change, SCOPE, observed_at=NOW, poll_id="p-1")))
    del told["id"], told["data"]
    assert told == {
        "source": "/octorate/hotel",
        "type": "booking.confirmed",
        "subject": "a/b c",
        "time": "2026-05-20T12:00:00Z",
        "dataschema": "urn:vendorwire:booking.confirmed:1",
        "vendor": "octorate",
        "account": "hotel",
        "version": 2,
        "observedat": "2026-05-20T12:00:00Z",
        "pollid": "p-1",
        "specversion": "1.0",
        "datacontenttype": "application/json",
    }


def test_a_record_of_another_kind_needs_no_times() -> None:
    change = Change(key="1", version=1, verb="created", before=None, after=Property(id="1", name="Palace"))
    told = event_of(change, Scope("octorate", "hotel", "property"), observed_at=NOW, poll_id="p")
    assert (told.type, told.time, told.dataschema) == ("property.created", NOW, "urn:vendorwire:property.created:1")


names = st.sampled_from(["a", "b", "a-b"])  # of vendors, accounts and resources: the configuration allows no more
changes = st.tuples(names, names, names, st.text(st.sampled_from("a\x001"), min_size=1), st.integers(1, 12))


@given(changes, changes)
def test_an_id_tells_what_and_which_version_and_nothing_else(one: Any, other: Any) -> None:
    def identified(vendor: str, account: str, resource: str, key: str, version: int) -> str:
        return event_id(Scope(vendor, account, resource), key, version)

    assert (identified(*one) == identified(*other)) == (one == other)


def test_the_id_of_a_change_never_changes_between_releases() -> None:
    assert event_id(SCOPE, "92180827", 4) == "0f42869d-d13f-52e8-a174-3d2877d6fd42"


@pytest.mark.parametrize("inside", [b"\xff", b"\xed\xa0\x80"])
def test_what_is_no_text_is_no_event_though_only_its_attributes_are_looked_at(inside: bytes) -> None:
    change = Change(key="1", version=1, verb="created", before=None, after=booking(reference="MARK"))
    body = encode(event_of(change, SCOPE, observed_at=NOW, poll_id="p"))
    assert decode_sealed(body).id == decode(body).id
    for read in (decode, decode_sealed):
        with pytest.raises(ValueError):  # noqa: PT011  # whichever way it cannot be read
            read(body.replace(b"MARK", inside))
