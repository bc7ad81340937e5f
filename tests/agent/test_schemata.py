"""The schemas: what the agent publishes fits them, anything else does not, and they come from the structs themselves."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent import schemata
from agent.commands.failures import WrongUsage
from agent.configfile import VENDORS
from schemas.changes import ACCOUNT_CHANGES, Change, Scope
from schemas.envelope import encode, event_of
from schemas.records import Account, AccountStatus, Booking, BookingStatus, Channel, Guest, Money, Property, Record
from schemas.when import when

NOW = datetime(2026, 5, 20, 8, 0, 31, 250_000, tzinfo=UTC)
BOOKING = Booking(
    id="92180827",
    property_id="112696",
    arrival=date(2026, 6, 1),
    departure=date(2026, 6, 4),
    status=BookingStatus.CONFIRMED,
    channel=Channel(id="142", name="Booking"),
    guest=Guest(given_name="Elisa", email="booker@example.com"),
    total=Money(Decimal("552.50"), "EUR"),
    paid=Money(Decimal(0), "JPY"),
    free_cancellation=True,
    booked_at=NOW,
    updated_at=NOW,
)
CANCELLED = Booking(
    id="92180827",
    property_id="112696",
    arrival=date(2026, 6, 1),
    departure=date(2026, 6, 4),
    status=BookingStatus.CANCELLED,
    cancelled_at=NOW,
)
PROPERTY = Property(id="112696", name="Sample Palace", currency="EUR", latitude=45.43, checkin_from=14)
DEGRADED = Account(id="hotel-roma", status=AccountStatus.DEGRADED, problems={"booking": "unauthorized"}, since=NOW)
FIELDS = ("status", "total", "guest", "cancelled_at")

FORMATS = jsonschema.FormatChecker(["date"])


@FORMATS.checks("date-time", raises=ValueError)
def is_instant(value: object) -> bool:
    """Stands in for a package jsonschema would want: RFC 3339 with a zone."""
    return not isinstance(value, str) or ("T" in value and datetime.fromisoformat(value).tzinfo is not None)


def published(resource: str, verb: str, before: Record | None, after: Record | None, *fields: str) -> Any:
    change = Change(key="92180827", version=4, verb=verb, before=before, after=after, fields=fields)
    told = event_of(change, Scope("octorate", "hotel-roma", resource), observed_at=NOW, poll_id="p1")
    return json.loads(encode(told))


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = schemata.catalogue(VENDORS)[name][1]()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=FORMATS)


EVENTS = [
    published("booking", "created", None, BOOKING),
    published("booking", "restored", None, CANCELLED),
    published("booking", "deleted", BOOKING, None),
    published("booking", "cancelled", BOOKING, CANCELLED, *FIELDS),
    published("booking", "modified", CANCELLED, BOOKING, *FIELDS),
    published("property", "created", None, PROPERTY),
    published("account", "degraded", None, DEGRADED),
    published("account", "degraded", Account(id="hotel-roma", status=AccountStatus.OK), DEGRADED, "status"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event['type']}")
def test_what_is_published_fits_the_schema_of_its_type_and_of_all_events(event: Any) -> None:
    validator(event["type"]).validate(event)
    validator("event").validate(event)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event['type']}")
def test_the_record_of_an_event_fits_the_schema_of_its_resource(event: Any) -> None:
    validator(event["type"].partition(".")[0]).validate(event["data"]["record"])


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (["type"], "booking.created"),
        (["dataschema"], "urn:vendorwire:booking.created:1"),
        (["specversion"], "0.3"),
        (["time"], "yesterday"),
        (["observedat"], "2026-05-20T08:00:00"),
        (["version"], "4"),
        (["data", "record", "status"], "lost"),
        (["data", "record", "arrival"], "1 June"),
        (["data", "record", "cancelled_at"], "2026-05-20"),
        (["data", "record", "guest"], None),
        (["data", "changes", "status", "after"], "lost"),
        (["data", "changes", "total", "before", "amount"], 552.5),
        (["data", "changes", "total", "before", "amount"], "552,50"),
        (["data", "changes", "total", "before"], None),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, list) else repr(value),
)
def test_a_wrong_value_does_not_fit(path: list[str], wrong: object) -> None:
    event = published("booking", "cancelled", BOOKING, CANCELLED, *FIELDS)
    place = event
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = wrong
    assert not validator("booking.cancelled").is_valid(event)


@pytest.mark.parametrize("path", [["id"], ["specversion"], ["data"], ["data", "record"], ["data", "changes"]])
def test_what_every_event_has_may_not_be_missing(path: list[str]) -> None:
    event = published("booking", "cancelled", BOOKING, CANCELLED, *FIELDS)
    place = event
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    assert not validator("booking.cancelled").is_valid(event)


def test_fields_to_come_do_not_break_a_subscriber() -> None:
    event = published("booking", "cancelled", BOOKING, CANCELLED, *FIELDS)
    event["traceparent"] = event["data"]["record"]["mascots"] = "new"
    validator("booking.cancelled").validate(event)


def test_every_change_the_connectors_can_tell_has_a_schema_and_no_other_vendors_has() -> None:
    names = {each.name for each in schemata.event_types(VENDORS)}
    told = {
        f"{name}.{change}"
        for connector in VENDORS
        for name, resource in connector.resources.items()
        for change in resource.changes
    }
    assert told | {f"account.{change}" for change in ACCOUNT_CHANGES} <= names
    assert {name.partition(".")[0] for name in names} == {"account"} | {
        name for connector in VENDORS for name in connector.resources
    }


def test_who_adds_an_event_hears_where_to_say_when_it_is_sent() -> None:
    with pytest.raises(KeyError, match=r"say in schemas/when\.py when booking\.moved is sent"):
        when("booking", "moved")


def test_a_schema_names_every_field_of_its_struct() -> None:
    assert set(schemata.standalone(Booking)["properties"]) == set(Booking.__struct_fields__)


def test_no_schema_allows_null() -> None:
    for _, make in schemata.catalogue(VENDORS).values():
        assert '"null"' not in json.dumps(make())


def test_the_asyncapi_document_has_the_subjects_of_the_bus() -> None:
    addresses = {channel["address"] for channel in schemata.document(VENDORS)["channels"].values()}
    assert addresses >= {
        "vendorwire.event.{vendor}.{account}.booking.{change}",
        "vendorwire.event.{vendor}.{account}.account.{change}",
        "vendorwire.snapshot.{vendor}.{account}.property.{key}",
        None,  # the webhook's is the subscriber's own
    }


def test_every_parameter_of_an_address_is_described() -> None:
    for channel in schemata.document(VENDORS)["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"] or "")) == set(channel.get("parameters", {}))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        for each in node.values():
            yield from references(each)
    elif isinstance(node, list):
        for each in node:
            yield from references(each)


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = schemata.document(VENDORS)
    for reference in set(references(document)):
        place = document
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]


def test_the_webhook_is_an_operation_with_its_signed_headers() -> None:
    document = schemata.document(VENDORS)
    assert document["operations"]["webhook"]["bindings"]["http"]["method"] == "POST"
    headers = document["components"]["messages"]["webhook"]["headers"]["required"]
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= set(headers)


def test_without_a_name_all_there_is_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert schemata.main(None, None, False) == 0
    listed = capsys.readouterr().out
    assert re.search(r"^booking\.cancelled +urn:vendorwire:booking\.cancelled:1$", listed, re.MULTILINE)
    assert {"asyncapi", "event", "booking"} <= {line.split()[0] for line in listed.splitlines()}


def test_a_program_gets_the_list_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    schemata.main(None, None, True)
    names = [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()]
    assert names == list(schemata.catalogue(VENDORS))


@pytest.mark.parametrize("as_json", [False, True])
def test_with_a_name_its_document_is_printed(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    assert schemata.main("booking", None, as_json) == 0
    assert json.loads(capsys.readouterr().out) == schemata.standalone(Booking)


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(WrongUsage, match=r"no schema 'bookings'.*asyncapi.*booking\.cancelled"):
        schemata.main("bookings", None, False)


def test_all_documents_are_written_as_files_the_same_each_time(tmp_path: Path) -> None:
    for _ in range(2):
        schemata.main(None, tmp_path / "new" / "folder", False)
    first, second = tmp_path / "new" / "folder", tmp_path / "second"
    schemata.main(None, second, False)
    assert {file.name: file.read_bytes() for file in first.iterdir()} == {
        file.name: file.read_bytes() for file in second.iterdir()
    }
    assert {file.name for file in first.iterdir()} == {f"{name}.json" for name in schemata.catalogue(VENDORS)}


def test_one_document_alone_can_be_written(tmp_path: Path) -> None:
    schemata.main("booking.created", tmp_path, False)
    assert [file.name for file in tmp_path.iterdir()] == ["booking.created.json"]
