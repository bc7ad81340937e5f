"""When each event is sent, in a sentence: said in its schema and in the catalogue of events."""

from collections.abc import Mapping
from types import MappingProxyType

from schemas.changes import CREATED, DELETED, MODIFIED, RESTORED

_COMMON: Mapping[str, str] = MappingProxyType(
    {
        CREATED: "The record was not seen before.",
        MODIFIED: "A field that is compared changed, and no other event says it better.",
        DELETED: (
            "The record is gone from the vendor: two whole reads running did not list it, or the vendor says so. "
            "The event holds the record as it was."
        ),
        RESTORED: "A record that was told as deleted is there again.",
    }
)
_OWN: Mapping[str, str] = MappingProxyType(
    {
        "booking.confirmed": "The booking's status became confirmed.",
        "booking.cancelled": (
            "The booking's status became cancelled. What the vendor tells no more of a cancelled booking "
            "is absent from the record, and its last values are in `changes`."
        ),
        "booking.checked_in": "The vendor noted that the guest came.",
        "booking.checked_out": "The vendor noted that the guest left.",
        "booking.no_show": "The vendor noted that the guest never came.",
        "booking.reactivated": "A cancelled booking lives again.",
        "property.withdrawn": "The property's status became withdrawn.",
        "property.suspended": "The property's status became suspended.",
        "property.reinstated": "The property is listed again, after either.",
        "availability.changed": "Days of the calendar have another code. A day that comes or goes with time is no change.",
        "device.offline": "The device has been silent for longer than the account allows (`offline_after`, 15 minutes).",
        "device.online": "The device speaks again.",
        "device.deregistered": "The vendor lists the device as no longer registered.",
        "device.control_changed": "A switch at the device, or what may be switched, is another.",
        "measurement.batch": (
            "There are new measurements of a device. One that was uploaded late comes in a later batch. "
            "A batch is smaller than 512 KiB; more is told in several."
        ),
        "course.cancelled": "The course will not take place.",
        "enrolment.withdrawn": "The student left the course.",
        "enrolment.completed": "The student has done the course.",
        "account.degraded": "The account cannot be read: at once where the vendor refuses us, else after three polls in a row.",
        "account.recovered": "The account can be read again.",
    }
)


def when(resource: str, change: str) -> str:
    """When `<resource>.<change>` is sent. Raises KeyError for an event that is not in the catalogue."""
    said = _OWN.get(f"{resource}.{change}") or _COMMON.get(change)
    if said is None:
        raise KeyError(f"say in schemas/when.py when {resource}.{change} is sent")
    return said
