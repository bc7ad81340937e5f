"""What each verb tells, and what it does not: status by status, for every kind of record that has verbs."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from events.diff import Stored, Unknown, decide, deleted, digest, most_telling, redact, restated
from schemas.changes import Change
from schemas.energy import Control, Device, DeviceStatus
from schemas.lettings import Availability
from schemas.records import Guest, Property, PropertyStatus, Record
from schemas.training import Course, Enrolment, Unit
from tests.events.test_diff import NOW, booking

BOOKING = ("cancelled", "reactivated", "confirmed")
PROPERTY = ("withdrawn", "suspended", "reinstated")
DEVICE = ("deregistered", "offline", "online", "control_changed")
ENROLMENT = ("withdrawn", "completed")
COURSE = ("cancelled",)


def told(before: Record, after: Record, verbs: Sequence[str]) -> str:
    return most_telling(before, after, verbs)


@pytest.mark.parametrize(
    ("before", "after", "verb"),
    [
        ("confirmed", "cancelled", "cancelled"),
        ("waiting", "cancelled", "cancelled"),
        ("cancelled", "confirmed", "reactivated"),
        ("cancelled", "waiting", "reactivated"),
        ("waiting", "confirmed", "confirmed"),
        ("confirmed", "waiting", "modified"),
        ("confirmed", "confirmed", "modified"),
        ("cancelled", "cancelled", "modified"),
    ],
)
def test_a_booking_that_comes_back_is_reactivated_before_it_is_confirmed(before: str, after: str, verb: str) -> None:
    assert told(booking(status=before), booking(status=after, guests=2), BOOKING) == verb


@pytest.mark.parametrize(
    ("before", "after", "verb"),
    [
        ("active", "suspended", "suspended"),
        ("withdrawn", "suspended", "suspended"),
        (None, "suspended", "suspended"),
        ("active", "withdrawn", "withdrawn"),
        ("suspended", "withdrawn", "withdrawn"),
        ("suspended", "active", "reinstated"),
        ("withdrawn", "active", "reinstated"),
        (None, "active", "modified"),
        ("active", "active", "modified"),
        ("active", None, "modified"),
        ("suspended", None, "modified"),
        ("suspended", "suspended", "modified"),
        ("withdrawn", "withdrawn", "modified"),
    ],
)
def test_a_property_is_reinstated_only_after_it_was_out(before: str | None, after: str | None, verb: str) -> None:
    one, other = (None if status is None else PropertyStatus(status) for status in (before, after))
    assert told(Property(id="1", name="A", status=one), Property(id="1", name="B", status=other), PROPERTY) == verb


def device(status: str, **controls: bool) -> Device:
    switches = {name: Control(on=on) for name, on in controls.items()}
    return Device(id="1", status=DeviceStatus(status), distributor_id="d", controls=switches)


@pytest.mark.parametrize(
    ("before", "after", "verb"),
    [
        ("online", "offline", "offline"),
        ("offline", "online", "online"),
        ("online", "deregistered", "deregistered"),
        ("offline", "deregistered", "deregistered"),
        ("deregistered", "online", "modified"),
        ("deregistered", "offline", "modified"),
        ("online", "online", "modified"),
        ("offline", "offline", "modified"),
        ("deregistered", "deregistered", "modified"),
    ],
)
def test_a_device_goes_offline_from_online_only_and_back(before: str, after: str, verb: str) -> None:
    assert told(device(before), device(after), DEVICE) == verb


@pytest.mark.parametrize("before", ["online", "offline"])
def test_a_device_that_was_taken_away_is_neither_offline_nor_online(before: str) -> None:
    assert told(device(before), device("deregistered"), ("offline", "online")) == "modified"


def test_a_switch_at_a_device_is_told_where_nothing_weightier_is() -> None:
    assert told(device("online", pump=True), device("online", pump=False), DEVICE) == "control_changed"
    assert told(device("online", pump=True), device("online"), DEVICE) == "control_changed"
    assert told(device("online", pump=True), device("offline", pump=False), DEVICE) == "offline"


@pytest.mark.parametrize(
    ("before", "after", "verb"),
    [
        ("active", "withdrawn", "withdrawn"),
        ("active", "completed", "completed"),
        ("withdrawn", "completed", "completed"),
        ("completed", "withdrawn", "withdrawn"),
        ("completed", "active", "modified"),
        ("completed", "completed", "modified"),
        (None, "active", "modified"),
    ],
)
def test_an_enrolment_ends_in_one_of_two_ways(before: str | None, after: str, verb: str) -> None:
    one, other = Enrolment(id="1", status=before), Enrolment(id="1", status=after)
    assert told(one, other, ENROLMENT) == verb


def test_a_course_is_cancelled_by_its_own_word_for_it() -> None:
    assert told(Course(id="1", status="open"), Course(id="1", status="cancelled"), COURSE) == "cancelled"
    assert told(Course(id="1", status="cancelled"), Course(id="1", status="open"), COURSE) == "modified"


def test_any_difference_of_a_calendar_is_one_that_changed() -> None:
    before, after = (Availability(id="1", days={NOW.date(): code}) for code in "AB")
    assert told(before, after, ("changed",)) == "changed"
    assert told(before, before, ("changed",)) == "modified"


def test_the_first_verb_that_tells_is_the_one_and_without_one_it_is_modified() -> None:
    before, after = booking(), booking(checked_in_at=NOW, checked_out_at=NOW)
    assert told(before, after, ("checked_in", "checked_out")) == "checked_in"
    assert told(before, after, ("checked_out", "checked_in")) == "checked_out"
    assert told(before, after, ()) == "modified"


@pytest.mark.parametrize(
    ("unknown", "verb"),
    [
        (Unknown(), "created"),
        (Unknown(first=True), "created"),
        (Unknown(silent=True), None),
        (Unknown(silent=True, older=True, changed=True), None),
        (Unknown(older=True), None),
        (Unknown(older=True, changed=True), "modified"),
        (Unknown(changed=True), "created"),
    ],
)
def test_what_was_there_before_the_baseline_is_told_only_where_it_has_changed_since(
    unknown: Unknown, verb: str | None
) -> None:
    change = decide("k", None, booking(), (), unknown)
    assert change == Change(
        key="k", version=1, verb=verb, before=None, after=booking(), fields=(), first_sync=unknown.first
    )


def test_each_decision_names_the_record_its_version_and_both_sides() -> None:
    old, new = booking(), booking(guests=2)
    unknown = Unknown()
    assert decide("k", Stored(4, 1, old), new, BOOKING, unknown) == Change(
        key="k", version=5, verb="modified", before=old, after=new, fields=("guests",), first_sync=False
    )
    assert decide("k", Stored(4, 1, None), new, BOOKING, unknown) == Change(
        key="k", version=5, verb="restored", before=None, after=new, fields=(), first_sync=False
    )
    assert deleted("k", Stored(4, 1, old)) == Change(
        key="k", version=5, verb="deleted", before=old, after=None, fields=(), first_sync=False
    )
    assert restated("k", Stored(4, 1, old), new) == Change(
        key="k", version=4, verb=None, before=old, after=new, fields=(), first_sync=False
    )


def test_what_is_not_stored_and_nothing_more_is_known_of_is_no_first_sync() -> None:
    change = decide("k", None, booking(), (), Unknown())
    assert change is not None
    assert change.first_sync is False


class Later(Property, frozen=True, kw_only=True):
    """A property as a later release maps it."""

    schema: ClassVar[int] = 2
    added_in: ClassVar[dict[str, int]] = {"stars": 2}

    stars: int | None = None


def test_what_only_a_new_field_tells_is_restated_as_the_record_it_is() -> None:
    old, new = Later(id="1", name="A"), Later(id="1", name="A", stars=4)
    assert decide("k", Stored(4, 1, old), new, (), Unknown()) == Change(
        key="k", version=4, verb=None, before=old, after=new, fields=(), first_sync=False
    )


def test_a_new_field_is_no_part_of_a_change_that_is_told_for_another() -> None:
    old, new = Later(id="1", name="A"), Later(id="1", name="B", stars=4)
    assert decide("k", Stored(4, 1, old), new, (), Unknown()) == Change(
        key="k", version=5, verb="modified", before=Later(id="1", name="A", stars=4), after=new, fields=("name",)
    )


def test_switches_in_another_order_are_the_same_state_in_the_digest() -> None:
    assert digest(device("online", a=True, b=False)) == digest(device("online", b=False, a=True))
    assert digest(device("online", a=True)) != digest(device("online", b=True))
    assert digest(device("online", a=True)) != digest(device("online", a=False))


def test_a_list_in_another_order_is_another_state_in_the_digest() -> None:
    one, two = Unit(name="1"), Unit(name="2")
    assert digest(Enrolment(id="1", units=(one, two))) != digest(Enrolment(id="1", units=(two, one)))


class Odd(Record, frozen=True, kw_only=True):
    """What can be redacted: a field without a default value, one with, and one whose value is made each time."""

    needed: str | None
    guest: Guest | None = None
    count: int = 3
    names: dict[str, str] = {}  # noqa: RUF012 msgspec copies empty defaults


@pytest.mark.parametrize(
    ("path", "kept"), [("needed", {"needed": None}), ("count", {"count": 3}), ("names", {"names": {}})]
)
def test_a_redacted_field_has_the_value_of_one_that_was_never_there(path: str, kept: dict[str, Any]) -> None:
    given: dict[str, Any] = {"needed": "x", "count": 7, "names": {"a": "b"}}
    assert redact(Odd(id="1", **given), [path]) == Odd(id="1", **given | kept)


def test_what_is_redacted_inside_of_a_record_leaves_what_stands_beside_it() -> None:
    guest = Guest(name="Ada Sample", email="ada@example.org", phone="1")
    record = redact(booking(guest=guest, guests=2), ["guest.email", "guest.phone"])
    assert record == booking(guest=Guest(name="Ada Sample"), guests=2)
