"""What can happen to a record: the catalogue of vendors, resources and changes, and one change."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec

from schemas.records import Record

CREATED, MODIFIED, DELETED, RESTORED = "created", "modified", "deleted", "restored"
COMMON = (CREATED, MODIFIED, DELETED, RESTORED)
DEGRADED, RECOVERED = "degraded", "recovered"

# vendor → resource → changes: the public names, also of vendors whose connectors are still to come. Every vendor also
# has `account.degraded` and `account.recovered`.
CATALOGUE: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "octorate": {
            "booking": (*COMMON, "confirmed", "cancelled", "checked_in", "checked_out", "no_show"),
            "property": COMMON,
        },
        "ipro": {
            "booking": (*COMMON, "confirmed", "cancelled", "reactivated"),
            "property": (*COMMON, "withdrawn", "suspended", "reinstated"),
            "availability": ("changed",),
            "enquiry": COMMON,
        },
        "carbontrack": {
            "device": (*COMMON, "offline", "online", "deregistered", "control_changed"),
            "measurement": ("batch",),
            "customer": COMMON,
        },
        "powerpro": {
            "course": (*COMMON, "cancelled"),
            "enrolment": (*COMMON, "withdrawn", "completed"),
            "student": COMMON,
        },
    }
)
ACCOUNT_CHANGES = (DEGRADED, RECOVERED)


def resources() -> set[str]:
    """Every resource any vendor has, and `account`."""
    return {resource for vendor in CATALOGUE.values() for resource in vendor} | {"account"}


def changes_of(resource: str) -> set[str]:
    """Every change a resource can have, over all vendors."""
    if resource == "account":
        return set(ACCOUNT_CHANGES)
    return {change for vendor in CATALOGUE.values() for change in vendor.get(resource, ())}


class Scope(msgspec.Struct, frozen=True, order=True):
    """One resource of one account: the unit of polling, of the index and of the fence."""

    vendor: str
    account: str
    resource: str

    def __str__(self) -> str:
        return f"{self.vendor}/{self.account}/{self.resource}"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One record's step from one version to the next.

    `verb` is None where the snapshot is restated without an event (first sync, upgrade). `before` is None for a record
    that was not there, `after` is None for one that is gone. `fields` names what differs. `told` is the event's data where
    that is not the record, and `at` the vendor's own time of it.
    """

    key: str
    version: int
    verb: str | None
    before: Record | None
    after: Record | None
    fields: tuple[str, ...] = ()
    first_sync: bool = False
    told: msgspec.Struct | None = None
    at: datetime | None = None

    @property
    def record(self) -> Record:
        """The whole record after the change; before it, for a delete."""
        record = self.after if self.after is not None else self.before
        if record is None:
            raise ValueError("a change has a record before or after")
        return record
