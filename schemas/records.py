"""Our records, in the field's own words. One vocabulary for all vendors.

A record is what a subscriber reads in `data.record`. It is strict: amounts are decimal money, dates are dates, instants
are UTC. Fields without a value are left out. `volatile` fields are stored but not compared: a difference in them alone is
no change. `by_entry` names mappings whose changes are told entry by entry, with the pattern of the entries' names.
`schema` counts the versions of a record's shape, `added_in` names the version a field came with: a field that the stored
version did not have yet is restated without an event.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, ClassVar, Self

import msgspec

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

    amount: Decimal
    currency: str

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
    added_in: ClassVar[dict[str, int]] = {}
    volatile: ClassVar[frozenset[str]] = frozenset()
    by_entry: ClassVar[dict[str, str]] = {}

    id: str

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

    id: str | None = None
    name: str | None = None
    reference: str | None = None


class Guest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The person who booked. Identity documents, birth dates and police data are never part of it."""

    given_name: str | None = None
    family_name: str | None = None
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    language: str | None = None
    nationality: str | None = None


class Booking(Record, frozen=True, kw_only=True):
    """A stay at a property, from any vendor. `arrival` and `departure` are local dates at the property.

    `status_name`: the vendor's own word for the status, where it knows more than three. `notes`: what the guest wrote.
    """

    resource: ClassVar[str] = "booking"
    volatile: ClassVar[frozenset[str]] = frozenset({"updated_at"})

    property_id: str
    arrival: date
    departure: date
    status: BookingStatus
    reference: str | None = None
    channel: Channel | None = None
    guest: Guest | None = None
    guests: int | None = None
    children: int | None = None
    infants: int | None = None
    rooms: int | None = None
    room_id: str | None = None
    room_name: str | None = None
    product_id: str | None = None
    rate_plan: str | None = None
    total: Money | None = None
    room_total: Money | None = None
    paid: Money | None = None
    payment_status: str | None = None
    payment_type: str | None = None
    free_cancellation: bool | None = None
    arrival_time: str | None = None
    checked_in_at: datetime | None = None
    checked_out_at: datetime | None = None
    cancelled_at: datetime | None = None
    cancelled_by: str | None = None
    no_show: bool | None = None
    balance: Money | None = None
    balance_due: date | None = None
    deposit: Money | None = None
    deposit_due: date | None = None
    security_deposit: Money | None = None
    commission: Money | None = None
    discount: Money | None = None
    pets: int | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None
    status_name: str | None = None
    booked_at: datetime | None = None
    updated_at: datetime | None = None

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

    name: str
    currency: str | None = None
    timezone: str | None = None
    category: str | None = None
    city: str | None = None
    country: str | None = None
    address: str | None = None
    postcode: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    phone: str | None = None
    email: str | None = None
    checkin_from: int | None = None
    checkin_until: int | None = None
    checkout_until: int | None = None
    status: PropertyStatus | None = None
    listed: bool | None = None
    bookable_online: bool | None = None
    reference: str | None = None
    title: str | None = None
    owner_id: str | None = None
    lowest_rate: Money | None = None
    highest_rate: Money | None = None


class AccountStatus(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"


class Account(Record, frozen=True, kw_only=True):
    """The health of one vendor account. `problems`: resource → poll outcome such as `unauthorized`; `reason`: the worst."""

    resource: ClassVar[str] = "account"
    volatile: ClassVar[frozenset[str]] = frozenset({"reason", "problems", "since"})

    status: AccountStatus
    reason: str | None = None
    problems: dict[str, str] = {}
    since: datetime | None = None


def instant(value: datetime) -> datetime:
    """The same instant in UTC. A time without a zone is taken as UTC."""
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
