"""From carbonTRACK's replies to our records, where no setting has a say. Pure."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from connectors.base import Point
from connectors.errors import Unreadable
from connectors.tolerant import a_number, a_whole_number, an_id, an_instant, text
from schemas import carbontrack as wire
from schemas.energy import Control, Customer, Device, DeviceStatus, Measurement
from schemas.records import Record

DEGREES = 5  # decimals of a coordinate, about a metre: the rest is noise
NOBODY = "00000000-0000-0000-0000-000000000000"

_device_key = msgspec.json.Decoder(wire.DeviceKey)
_measurement = msgspec.json.Decoder(wire.Measurement)
_measurement_key = msgspec.json.Decoder(wire.MeasurementKey)
_customer = msgspec.json.Decoder(wire.Customer)
_customer_key = msgspec.json.Decoder(wire.CustomerKey)
# Each number of a measurement, and the vendor's name for it.
_NUMBERS = tuple(
    (field.name, f"$.{field.encode_name}")
    for field in msgspec.structs.fields(wire.Measurement)
    if field.name in Measurement.__struct_fields__
)


def device_id(raw: msgspec.Raw) -> str:
    return an_id(_device_key.decode(raw).device_id, "$.DeviceID")


def customer_id(raw: msgspec.Raw) -> str:
    return an_id(_customer_key.decode(raw).customer_id, "$.CustomerId")


def measured_key(raw: msgspec.Raw) -> str:
    found = _measurement_key.decode(raw)
    return f"{an_id(found.device_id, '$.DeviceID')} {_recorded(found)}"


def _recorded(found: wire.MeasurementKey) -> datetime:
    time = an_instant(found.record_date_time, "$.RecordDateTime")
    if time is None:
        raise Unreadable("$.RecordDateTime: it has no time")
    return time


def is_offline(record: Record) -> bool:
    return isinstance(record, Device) and record.status is DeviceStatus.OFFLINE


def degrees(value: float | str | None, path: str) -> float | None:
    found = a_number(value, path)
    return None if found is None else round(found, DEGREES) + 0.0  # -0.0 and 0.0 are written alike


def controls(listed: Sequence[wire.Control]) -> dict[str, Control]:
    return {
        an_id(each.control_id, "$.Controls[...].ControlId"): Control(
            kind=text(each.control_type), enabled=each.is_switch_enabled, on=each.status
        )
        for each in listed
    }


def to_point(raw: msgspec.Raw) -> Point:
    found = _measurement.decode(raw)
    at = _recorded(found)
    numbers = {name: a_number(getattr(found, name), path) for name, path in _NUMBERS}
    return Point(source=an_id(found.device_id, "$.DeviceID"), at=at, value=Measurement(at=at, **numbers))


def to_customer(raw: msgspec.Raw) -> Customer:
    found = _customer.decode(raw)
    return Customer(
        id=an_id(found.customer_id, "$.CustomerId"),
        given_name=text(found.first_name),
        family_name=text(found.last_name),
        user_name=text(found.user_name),
        user_id=_reference(found.user_id, "$.UserId"),
        account_number=text(found.account_number),
        distributor_id=_reference(found.distributor_id, "$.DistributorId"),
        email=text(found.email),
        mobile=text(found.mobile),
        phone=text(found.day_time_contact),
        work_contact=text(found.work_contact),
        location=text(found.location),
        timezone_id=a_whole_number(found.timezone_id, "$.TimezoneId"),
        metric_units=found.is_metrics_unit,
        devices=tuple(
            sorted({an_id(each, "$.Devices[...]") for each in found.devices or () if each not in {None, ""}})
        ),
    )


def _reference(value: float | str | None, path: str) -> str | None:
    return None if value in {None, "", NOBODY} else an_id(value, path)
