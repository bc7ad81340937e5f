"""Our records, in the field's own words. One vocabulary for all vendors.

A record is what a subscriber reads in `data.record`. It is strict: amounts are decimal money, dates are dates, instants
are UTC. Fields without a value are left out. `volatile` fields are stored but not compared: a difference in them alone is
no change. `by_entry` names mappings whose changes are told entry by entry, with the pattern of the entries' names.
`schema` counts the versions of a record's shape, `added_in` names the version a field came with: a field that the stored
version did not have yet is restated without an event. `contract` is the number that subscribers see, at the end of an event's
`dataschema`: it goes up only when who reads the old shape would be misled (docs/compatibility.md).
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache, lru_cache
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Self

import msgspec

from schemas.meaning import says

# ISO 4217: how many decimals a currency has where it is not two.
_DECIMALS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
}
_LARGEST_AMOUNT = Decimal(10) ** 15


class Money(msgspec.Struct, frozen=True):
    """Decimal string and ISO 4217 currency: `{"amount": "552.50", "currency": "EUR"}`."""

    amount: Annotated[Decimal, says("A decimal number as text, with as many decimals as the currency has.")]
    currency: Annotated[str, says("ISO 4217 code, such as EUR.")]

    @classmethod
    def of(cls, amount: Decimal | None, currency: str | None) -> "Money | None":
        """The amount as money; None without an amount. An amount without a currency is an error: it cannot be told."""
        if amount is None:
            return None
        code, smallest = _unit(currency)
        if not amount.is_finite() or abs(amount) >= _LARGEST_AMOUNT:
            raise ValueError("an amount is not a number of ordinary size")
        return cls(amount.quantize(smallest) + 0, code)  # plus zero, so that -0 and 0 are written alike


@lru_cache
def _unit(currency: str | None) -> tuple[str, Decimal]:
    """The currency's code and its smallest amount."""
    if not currency or len(currency) != 3 or not currency.isascii() or not currency.isalpha():
        raise ValueError(f"an amount needs an ISO 4217 currency, not {currency!r}"[:200])
    code = currency.upper()
    return code, Decimal(1).scaleb(-_DECIMALS.get(code, 2))


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all records share."""

    resource: ClassVar[str]
    schema: ClassVar[int] = 1
    contract: ClassVar[int] = 1
    added_in: ClassVar[dict[str, int]] = {}
    volatile: ClassVar[frozenset[str]] = frozenset()
    by_entry: ClassVar[dict[str, str]] = {}
    personal: ClassVar[frozenset[str]] = frozenset()

    id: Annotated[str, says("The event's `subject`: the vendor's own id; of an account its name.")]

    @classmethod
    @cache
    def compared(cls) -> tuple[str, ...]:
        """The names of the fields that make a change."""
        return tuple(name for name in cls.__struct_fields__ if name not in cls.volatile)

    def differences(self, before: Self) -> dict[str, tuple[Any, Any]]:
        """What makes this record another than it was before: the name of each, its value before, its value now."""
        values = self._values()
        sides = zip(self.compared(), values(before), values(self), strict=False)
        return {name: (old, new) for name, old, new in sides if old is not new and old != new}

    @classmethod
    @cache
    def _values(cls) -> Callable[[Any], tuple[Any, ...]]:
        """Gives a record's compared fields, and the id once more: one field alone would come without a tuple."""
        return attrgetter(*cls.compared(), "id")

    @property
    def made_at(self) -> datetime | None:
        """The vendor's own time of the record's making, where it gives one."""
        return None

    @property
    def changed_at(self) -> datetime | None:
        """The vendor's own time of the last change, where it gives one."""
        return None

    @property
    def heard_at(self) -> datetime | None:
        """The last sign of life of what the record tells of, where it has a life of its own."""
        return None


class BookingStatus(StrEnum):
    WAITING = "waiting"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


class Channel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a booking came from: the portal, and its own reference there."""

    id: Annotated[str | None, says("The vendor's number of the portal.")] = None
    name: Annotated[str | None, says("The portal's name, such as Booking.")] = None
    reference: Annotated[str | None, says("The booking's own number at the portal.")] = None


class Guest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The person who booked. Identity documents, birth dates and police data are never part of it."""

    given_name: Annotated[str | None, says("First name.")] = None
    family_name: Annotated[str | None, says("Last name.")] = None
    name: Annotated[str | None, says("The whole name, where the vendor does not part it.")] = None
    email: Annotated[str | None, says("E-mail address; portals often give one of their own.")] = None
    phone: Annotated[str | None, says("Telephone number as the vendor has it.")] = None
    language: Annotated[str | None, says("Language code, such as IT.")] = None
    nationality: Annotated[str | None, says("Country code, such as IT.")] = None


class Booking(Record, frozen=True, kw_only=True):
    """A stay at a property, from any vendor. `arrival` and `departure` are local dates at the property.

    `status_name`: the vendor's own word for the status, where it knows more than three. `notes`: what the guest wrote.
    """

    resource: ClassVar[str] = "booking"
    volatile: ClassVar[frozenset[str]] = frozenset({"updated_at"})
    personal: ClassVar[frozenset[str]] = frozenset({"guest", "notes", "arrival_time"})

    property_id: Annotated[str, says("The property's id: `subject` of `property` events.")]
    arrival: Annotated[date, says("The first night, a local date at the property.")]
    departure: Annotated[date, says("The day of leaving, a local date at the property.")]
    status: Annotated[BookingStatus, says("Where the booking stands.")]
    reference: Annotated[str | None, says("The number that the guest knows.")] = None
    channel: Annotated[Channel | None, says("The portal it came through; absent for a direct one.")] = None
    guest: Annotated[Guest | None, says("Who booked.")] = None
    guests: Annotated[int | None, says("How many people come, children and infants among them.", "people")] = None
    children: Annotated[int | None, says("How many of them are children.", "people")] = None
    infants: Annotated[int | None, says("How many of them are infants.", "people")] = None
    rooms: Annotated[int | None, says("How many rooms are booked.", "rooms")] = None
    room_id: Annotated[str | None, says("The kind of room, by its id in the property's system.")] = None
    room_name: Annotated[str | None, says("The kind of room, by name.")] = None
    product_id: Annotated[str | None, says("What was sold, by the vendor's id.")] = None
    rate_plan: Annotated[str | None, says("The price plan it was sold by.")] = None
    total: Annotated[Money | None, says("What the whole stay costs.")] = None
    room_total: Annotated[Money | None, says("What the room costs, without extras.")] = None
    paid: Annotated[Money | None, says("What has been paid so far.")] = None
    payment_status: Annotated[str | None, says("Whether it is paid, in the vendor's words and lower case.")] = None
    payment_type: Annotated[str | None, says("How it is paid, in the vendor's words and lower case.")] = None
    free_cancellation: Annotated[bool | None, says("Whether it may be cancelled at no cost.")] = None
    arrival_time: Annotated[str | None, says("When the guest means to arrive, as the guest wrote it.")] = None
    checked_in_at: Annotated[
        datetime | None, says("When the guest came; as planned, where the vendor only says yes.")
    ] = None
    checked_out_at: Annotated[
        datetime | None, says("When the guest left; as planned, where the vendor only says yes.")
    ] = None
    cancelled_at: Annotated[datetime | None, says("When it was cancelled.")] = None
    cancelled_by: Annotated[str | None, says("Who cancelled, in the vendor's word.")] = None
    no_show: Annotated[bool | None, says("Whether the guest never came.")] = None
    balance: Annotated[Money | None, says("What is still to be paid.")] = None
    balance_due: Annotated[date | None, says("By when the balance is to be paid, a local date.")] = None
    deposit: Annotated[Money | None, says("What is to be paid in advance.")] = None
    deposit_due: Annotated[date | None, says("By when the deposit is to be paid, a local date.")] = None
    security_deposit: Annotated[Money | None, says("What is held against damage.")] = None
    commission: Annotated[Money | None, says("What the portal or agent takes.")] = None
    discount: Annotated[Money | None, says("What was taken off the price.")] = None
    pets: Annotated[int | None, says("How many animals come.", "animals")] = None
    tags: Annotated[tuple[str, ...], says("The vendor's labels, sorted.")] = ()
    notes: Annotated[str | None, says("What the guest wrote.")] = None
    status_name: Annotated[str | None, says("The vendor's own word for the status.")] = None
    booked_at: Annotated[datetime | None, says("When it was made.")] = None
    updated_at: Annotated[datetime | None, says("When the vendor last changed it. Alone it makes no event.")] = None

    @property
    def made_at(self) -> datetime | None:
        return self.booked_at

    @property
    def changed_at(self) -> datetime | None:
        return self.updated_at


class PropertyStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    WITHDRAWN = "withdrawn"


class Property(Record, frozen=True, kw_only=True):
    """A place that takes bookings. `timezone` is an IANA name; check-in and check-out are local hours.

    `status`: whether it is let, where the vendor tells. `listed`: whether it is shown on the vendor's site.
    """

    resource: ClassVar[str] = "property"
    personal: ClassVar[frozenset[str]] = frozenset({"address", "postcode", "latitude", "longitude", "phone", "email"})

    name: Annotated[str, says("What it is called.")]
    currency: Annotated[str | None, says("ISO 4217 code of its prices.")] = None
    timezone: Annotated[str | None, says("IANA name, such as Europe/Rome.")] = None
    category: Annotated[str | None, says("Its kind, in the vendor's words.")] = None
    city: Annotated[str | None, says("City or town.")] = None
    country: Annotated[str | None, says("Country, as the vendor writes it.")] = None
    address: Annotated[str | None, says("Street and number.")] = None
    postcode: Annotated[str | None, says("Postal code.")] = None
    latitude: Annotated[float | None, says("North is positive.", "degrees")] = None
    longitude: Annotated[float | None, says("East is positive.", "degrees")] = None
    phone: Annotated[str | None, says("Telephone number as the vendor has it.")] = None
    email: Annotated[str | None, says("E-mail address.")] = None
    checkin_from: Annotated[int | None, says("Check-in begins, local time.", "hour of the day")] = None
    checkin_until: Annotated[int | None, says("Check-in ends, local time.", "hour of the day")] = None
    checkout_until: Annotated[int | None, says("Check-out ends, local time.", "hour of the day")] = None
    status: Annotated[PropertyStatus | None, says("Whether it is let, where the vendor tells.")] = None
    listed: Annotated[bool | None, says("Whether it is shown on the vendor's site.")] = None
    bookable_online: Annotated[bool | None, says("Whether it can be booked there.")] = None
    reference: Annotated[str | None, says("The owner's or agent's own number of it.")] = None
    title: Annotated[str | None, says("The headline of its listing.")] = None
    owner_id: Annotated[str | None, says("The owner, by the vendor's id.")] = None
    lowest_rate: Annotated[Money | None, says("The lowest price asked.")] = None
    highest_rate: Annotated[Money | None, says("The highest price asked.")] = None


class AccountStatus(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"


class Account(Record, frozen=True, kw_only=True):
    """The health of one vendor account. `problems`: resource → poll outcome such as `unauthorized`; `reason`: the worst."""

    resource: ClassVar[str] = "account"
    volatile: ClassVar[frozenset[str]] = frozenset({"reason", "problems", "since"})

    status: Annotated[AccountStatus, says("Whether all of it can be read.")]
    reason: Annotated[
        str | None,
        says(
            "The worst of the problems, by the outcome of its polls, such as `unauthorized`. Alone it makes no event."
        ),
    ] = None
    problems: Annotated[
        dict[str, str],
        says("Resource → the outcome of its polls, for those that cannot be read. Alone it makes no event."),
    ] = {}
    since: Annotated[datetime | None, says("When the status became what it is. Alone it makes no event.")] = None


def instant(value: datetime) -> datetime:
    """The same instant in UTC. A time without a zone is taken as UTC."""
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
