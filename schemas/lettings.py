"""Records of holiday lettings beyond bookings and properties: the day calendar, and enquiries."""

from datetime import date, datetime
from typing import Any, ClassVar, Self

from schemas.records import Guest, Record


class Availability(Record, frozen=True, kw_only=True):
    """A property's day calendar; its id is the property's. `days`: date → the vendor's code, such as `A` free, `B` booked.

    The calendar is a window that moves on every day. What leaves it at its start or enters it at its end is no change:
    only days that lie in both windows are compared.
    """

    resource: ClassVar[str] = "availability"

    by_entry: ClassVar[dict[str, str]] = {"days": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}

    days: dict[date, str] = {}  # noqa: RUF012 msgspec copies empty defaults

    def differences(self, before: Self) -> dict[str, tuple[Any, Any]]:
        """Each day that has another code: the day, its code before, its code now."""
        if not before.days or not self.days:
            return {}
        first, last = max(min(before.days), min(self.days)), min(max(before.days), max(self.days))
        days = sorted(day for day in before.days.keys() | self.days.keys() if first <= day <= last)
        sides = {day.isoformat(): (before.days.get(day), self.days.get(day)) for day in days}
        return {day: (old, new) for day, (old, new) in sides.items() if old != new}


class Enquiry(Record, frozen=True, kw_only=True):
    """Somebody asks about properties for some dates (local ones); not a booking yet."""

    resource: ClassVar[str] = "enquiry"

    property_ids: tuple[str, ...] = ()
    arrival: date | None = None
    departure: date | None = None
    nights: int | None = None
    guest: Guest | None = None
    adults: int | None = None
    children: int | None = None
    infants: int | None = None
    pets: int | None = None
    budget: str | None = None
    occasion: str | None = None
    comments: str | None = None
    asked_at: datetime | None = None

    @property
    def made_at(self) -> datetime | None:
        return self.asked_at
