"""An event as one line: what changed is told short, and nothing in it can hurt a terminal."""

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.commands import lines
from schemas.envelope import CloudEvent
from schemas.records import Booking, Property

AT = datetime(2026, 5, 20, 8, 0, 31, tzinfo=UTC)
FIVE = {"amount": "5.00", "currency": "EUR"}


def event(kind: str, data: dict[str, Any], *, subject: str = "92180827", firstsync: bool = False) -> CloudEvent:
    return CloudEvent(
        id="e-1",
        source="/octorate/hotel-roma",
        type=kind,
        subject=subject,
        time=AT,
        dataschema=f"urn:vendorwire:{kind}:1",
        vendor="octorate",
        account="hotel-roma",
        version=4,
        observedat=AT,
        pollid="p-1",
        data=data,
        firstsync=firstsync,
    )


def told(data: dict[str, Any]) -> str:
    return lines.line(event("booking.modified", data), UTC).split("  ", 4)[4]


def test_a_line_tells_when_where_what_which_and_how() -> None:
    changes = {"status": {"before": "confirmed", "after": "cancelled"}}

    assert lines.line(event("booking.cancelled", {"record": {"id": "1"}, "changes": changes}), UTC) == (
        "2026-05-20 08:00:31  hotel-roma  booking.cancelled  92180827  status confirmed → cancelled"
    )


@pytest.mark.parametrize(
    ("sides", "shown"),
    [
        ({"before": 1, "after": 2}, "x 1 → 2"),
        ({"after": True}, "x – → yes"),
        ({"before": "a"}, "x a → –"),
        ({"before": FIVE, "after": {"amount": "7.00", "currency": "EUR"}}, "x 5.00 EUR → 7.00 EUR"),
        ({"before": {"name": "A", "email": "a"}, "after": {"name": "A", "email": "b"}}, "x.email a → b"),
        ({"before": [1], "after": [1, 2]}, "x 1 item → 2 items"),
    ],
)  # fmt: skip
def test_a_change_is_told_short(sides: dict[str, Any], shown: str) -> None:
    assert told({"record": {"id": "1"}, "changes": {"x": sides}}) == shown


def test_a_new_record_is_told_by_its_first_fields() -> None:
    assert told({"record": {"id": "1", "name": "Palace", "city": "Roma", "tags": ["a"]}}) == "name Palace; city Roma"


def test_measurements_are_counted() -> None:
    assert told({"device": "7", "measurements": [{}, {}]}) == "2 measurements"


def test_a_first_sync_is_marked() -> None:
    assert lines.line(event("booking.created", {}, firstsync=True), UTC).endswith("  first sync")


def test_a_line_is_cut_to_the_terminal_after_hostile_letters_were_made_visible() -> None:
    hostile = event("booking.created", {"record": {"id": "1", "name": "\x1b[2J" * 40}}, subject="a\nb")

    shown = lines.line(hostile, UTC, width=80)

    assert "a\\nb" in shown
    assert len(shown) == 80
    assert shown.isprintable()
    assert shown.endswith("…")


def test_the_telling_fields_of_a_kind_are_those_it_cannot_be_without() -> None:
    assert lines.telling(Booking) == ("property_id", "arrival", "departure", "status")
    assert lines.telling(Property) == ("name", "currency", "timezone", "category")
