"""Personal data: every kind of record says which of its fields tell of a person, and those are never shown unasked."""

import json
import re
from typing import Any

import msgspec
import pytest

from agent.console.masking import MASK, masked, personal, shown
from connectors.every import Every
from schemas.records import Record
from tests.polled import settings

RECORDS = sorted(
    {resource.record for connector in Every.__args__ for resource in connector.resources.values()},
    key=lambda record: record.__name__,
)
TELLING = (
    "name",
    "email",
    "phone",
    "mobile",
    "address",
    "guest",
    "postcode",
    "birth",
    "latitude",
    "longitude",
    "notes",
)
EVENT: dict[str, Any] = {
    "id": "e",
    "source": "/octorate/hotel",
    "type": "booking.created",
    "subject": "1",
    "time": "2026-05-20T08:00:00Z",
    "dataschema": "urn:vendorwire:booking.created:1",
    "vendor": "octorate",
    "account": "hotel",
    "version": 1,
    "observedat": "2026-05-20T08:00:31.250000Z",
    "pollid": "p",
    "data": {"record": {"id": "1"}},
    "specversion": "1.0",
    "datacontenttype": "application/json",
}
NO_PERSON = {
    ("Booking", "room_name"),
    ("Booking", "status_name"),
    ("Property", "name"),  # of a house
    ("Course", "name"),
    ("Booking", "guests"),  # a number
}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_fields_that_tell_of_a_person_are_declared_and_no_field_is_that_is_not_there(record: type[Record]) -> None:
    names = {field.encode_name for field in msgspec.structs.fields(record)}
    assert record.personal <= names
    telling = {name for name in names if any(word in name for word in TELLING)}
    assert {name for name in telling - record.personal if (record.__name__, name) not in NO_PERSON} == set()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_what_people_wrote_themselves_may_say_anything_and_is_personal(record: type[Record]) -> None:
    described = msgspec.json.schema(record)["$defs"][record.__name__]["properties"]
    written = {name for name, told in described.items() if re.search(r"wrote|their words", told.get("description", ""))}
    assert written <= record.personal


def test_a_guest_is_masked_whole_in_the_record_and_on_both_sides_of_a_change() -> None:
    guest = {"name": "Anna Rossi", "email": "anna@example.com"}
    data = {
        "record": {"id": "1", "arrival": "2026-05-20", "guest": guest, "notes": "late"},
        "changes": {
            "guest": {"before": guest, "after": None},
            "guest.email": {"before": "a@b", "after": "anna@example.com"},
            "arrival": {"before": "2026-05-19", "after": "2026-05-20"},
        },
    }
    told = show("booking.modified", data)
    assert "anna" not in json.dumps(told).lower()
    assert told["data"]["record"]["guest"] == {"name": MASK, "email": MASK}
    assert told["data"]["changes"]["guest"] == {"before": {"name": MASK, "email": MASK}, "after": None}
    assert told["data"]["changes"]["arrival"] == {"before": "2026-05-19", "after": "2026-05-20"}
    assert show("booking.modified", data, reveal=True)["data"] == data


def test_numbers_of_a_place_are_masked_too_and_measurements_are_not() -> None:
    assert show("device.online", {"record": {"id": "1", "latitude": 51.5}})["data"]["record"]["latitude"] == MASK
    data = {"device": "1", "from": "2026-05-20T08:00:00Z", "to": "2026-05-20T08:00:00Z", "measurements": [{"flow": 1}]}
    assert show("measurement.batch", data)["data"] == data


@pytest.mark.parametrize("kind", ["unheard.of", ""])
def test_of_what_nobody_knows_everything_is_masked(kind: str) -> None:
    told = show(kind, {"record": {"id": "1"}, "other": ["Anna", 1]})
    assert told["data"] == {"record": {"id": MASK}, "other": [MASK, MASK]}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"Anna"', b"[" * 9000, b"\xff"])
def test_what_is_no_event_is_not_shown(body: bytes) -> None:
    assert shown(body, reveal=False) is None
    assert shown(body, reveal=True) is None


def test_the_shape_stays_when_everything_is_masked() -> None:
    assert masked({"a": [1, None, {"b": "c"}]}) == {"a": [MASK, None, {"b": MASK}]}


def test_every_resource_of_every_vendor_is_known() -> None:
    assert personal("account") == frozenset()
    assert all(personal(resource) is not None for resource in settings().resources)
    assert personal("nothing") is None


STRANGE: list[dict[str, Any]] = [
    {"data": None},
    {"data": "Anna"},
    {"data": {"record": None}},
    {"data": {"changes": {"status": None}}},
    {"data": {"changes": []}},
    {"type": {}},
    {"id": 7},
    {"observedat": "yesterday"},
    {"subject": None},
]


@pytest.mark.parametrize("strange", STRANGE, ids=str)
def test_what_a_stranger_wrote_on_the_bus_is_not_shown(strange: dict[str, Any]) -> None:
    for reveal in (True, False):
        assert shown(json.dumps(EVENT | strange).encode(), reveal=reveal) is None


def test_what_a_stranger_put_beside_the_data_is_not_shown_unasked() -> None:
    body = json.dumps(EVENT | {"guest": "Anna"}).encode()
    assert shown(body, reveal=False) == EVENT
    assert shown(body, reveal=True) == EVENT | {"guest": "Anna"}


def show(kind: str, data: Any, *, reveal: bool = False) -> Any:
    return shown(json.dumps(EVENT | {"type": kind, "data": data}).encode(), reveal=reveal)
