"""Records of holiday lettings beyond bookings and properties: the day calendar, and enquiries."""

from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Self

from schemas.meaning import says
from schemas.records import Guest, Record


class Availability(Record, frozen=True, kw_only=True):
    """A property's day calendar; its id is the property's.

    The codes: `A` free, `C` free and a stay may begin, `B` booked, `U` blocked out, `P` provisional, `OB` booked by the owner,
    `SBC` a short break may begin; others are passed on as they are.

    The calendar is a window that moves on every day. What leaves it at its start or enters it at its end is no change:
    only days that lie in both windows are compared.
    """

    resource: ClassVar[str] = "availability"

    by_entry: ClassVar[dict[str, str]] = {"days": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}

    days: Annotated[dict[date, str], says("Date → the vendor's code: `A` free, `B` booked.")] = {}  # noqa: RUF012 msgspec copies empty defaults

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
    personal: ClassVar[frozenset[str]] = frozenset({"guest", "budget", "occasion", "comments"})

    property_ids: Annotated[tuple[str, ...], says("The properties asked about, sorted.")] = ()
    arrival: Annotated[date | None, says("The first night asked for, a local date.")] = None
    departure: Annotated[date | None, says("The day of leaving, a local date.")] = None
    nights: Annotated[int | None, says("How long a stay.", "nights")] = None
    guest: Annotated[Guest | None, says("Who asks.")] = None
    adults: Annotated[int | None, says("How many adults.", "people")] = None
    children: Annotated[int | None, says("How many children.", "people")] = None
    infants: Annotated[int | None, says("How many infants.", "people")] = None
    pets: Annotated[int | None, says("How many animals.", "animals")] = None
    budget: Annotated[str | None, says("What they mean to spend, in their words.")] = None
    occasion: Annotated[str | None, says("Why they come, in their words.")] = None
    comments: Annotated[str | None, says("What they wrote.")] = None
    asked_at: Annotated[datetime | None, says("When they asked.")] = None

    @property
    def made_at(self) -> datetime | None:
        return self.asked_at
