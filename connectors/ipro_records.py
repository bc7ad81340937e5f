"""From iPRO's replies to our records. Pure.

Odd: three formats of dates inside one booking; counts that are texts; a currency that is a code, a mere symbol or missing.
Amounts whose currency is not known right now are in `XXX` until `vouched_booking` and `vouched_property` have looked at what
is stored: what is known of properties comes and goes, and must not price anew what was told already.
"""

import re
from collections.abc import Iterable
from datetime import date, tzinfo
from decimal import Decimal
from functools import cache, partial
from typing import TypeVar, get_args, get_type_hints

import msgspec
from xxhash import xxh3_64_hexdigest

from connectors.decoding import at
from connectors.errors import Unreadable
from connectors.tolerant import a_day, a_number, a_whole_number, an_id, an_instant, currency, money, text
from schemas import ipro as wire
from schemas.lettings import Availability, Enquiry
from schemas.records import Booking, BookingStatus, Channel, Guest, Money, Property, PropertyStatus, Record

R = TypeVar("R", bound=Record)

NO_CURRENCY = "XXX"  # ISO 4217
_NO_CHANNEL = Channel()

_PLACE = re.compile(r"\s*(-?[0-9]{1,3}(?:\.[0-9]+)?)\s*,\s*(-?[0-9]{1,3}(?:\.[0-9]+)?)\s*")

_identified = msgspec.json.Decoder(wire.Identified)
_booking_id = msgspec.json.Decoder(wire.BookingId)
_booking = msgspec.json.Decoder(wire.Booking)
_property = msgspec.json.Decoder(wire.Property)
_currency = msgspec.json.Decoder(wire.Currency)
_enquiry = msgspec.json.Decoder(wire.Enquiry)
_calendar = msgspec.json.Decoder(wire.Calendar)


class Paid(msgspec.Struct, frozen=True):
    """What amounts are in. `by_property`: property id → ISO code; `digest`: the same for equal ones."""

    by_property: dict[str, str] = {}
    digest: str = ""

    @classmethod
    def of(cls, properties: Iterable[msgspec.Raw]) -> "Paid":
        """As the properties themselves say; one that cannot be read says nothing."""
        found = dict(filter(None, map(_paid_in, properties)))
        return cls(found, xxh3_64_hexdigest(msgspec.json.encode(found, order="deterministic")))

    def code(self, named: str | None, property_id: str) -> str:
        """The ISO code of a booking at this property whose currency is named like this; `XXX` where it is not known now."""
        return currency(named, self.by_property.get(property_id)) or NO_CURRENCY


def booking_key(raw: msgspec.Raw) -> str:
    return an_id(_booking_id.decode(raw).booking_id, "$.BookingId")


def own_key(raw: msgspec.Raw) -> str:
    found = _identified.decode(raw)
    id_ = (found.property_details or found).id
    return an_id("" if id_ is None else id_, "$.Id")


def property_id_of(raw: msgspec.Raw) -> str | None:
    """None for a property without an id that can be read."""
    try:
        return own_key(raw)
    except (Unreadable, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def to_booking(paid: Paid, zone: tzinfo, raw: msgspec.Raw) -> Booking:
    found = _booking.decode(raw)
    property_id = an_id(found.property_id, "$.PropertyId")
    amount = partial(_money, paid.code(found.currency, property_id))
    channel = Channel(name=text(found.source), reference=text(found.external_reservation_id))
    name = text(found.customer_name)
    children, infants = a_whole_number(found.children, "$.Children"), a_whole_number(found.infants, "$.Infants")
    party = [a_whole_number(found.adults, "$.Adults"), children, infants]
    known = [number for number in party if number is not None]
    return Booking(
        id=an_id(found.booking_id, "$.BookingId"),
        property_id=property_id,
        arrival=_date(found.check_in, "$.CheckIn"),
        departure=_date(found.check_out, "$.CheckOut"),
        status=_status(found),
        status_name=text(found.status),
        channel=channel if channel != _NO_CHANNEL else None,
        guest=Guest(name=name) if name else None,
        guests=sum(known) if known else None,
        children=children,
        infants=infants,
        pets=a_whole_number(found.pets, "$.Pets"),
        total=amount(found.renter_total, "$.RenterTotal"),
        balance=amount(found.balance, "$.Balance"),
        balance_due=a_day(found.balance_due_date, "$.BalanceDueDate"),
        deposit=amount(found.deposit, "$.Deposit"),
        deposit_due=a_day(found.deposit_due_date, "$.DepositDueDate"),
        security_deposit=amount(found.security_deposit, "$.SecurityDeposit"),
        commission=amount(found.commission, "$.Commission"),
        discount=amount(found.discount, "$.Discount"),
        tags=tuple(sorted(filter(None, map(_tag, found.booking_tags or ())))),
        notes=text(found.guest_notes),
        booked_at=an_instant(found.order_time, "$.OrderTime", zone),
        updated_at=an_instant(found.modified_time, "$.ModifiedTime", zone),
    )


def to_property(raw: msgspec.Raw) -> Property:
    found = _property.decode(raw)
    found = found.property_details or found
    code = currency(found.currency_iso) or currency(found.currency) or NO_CURRENCY
    name = text(found.name) or text(found.property_name) or text(found.title)
    if name is None:
        raise Unreadable("$.Name: the property has no name")
    latitude, longitude = _coordinates(found.geo_location)
    return Property(
        id=an_id(found.id, "$.Id"),
        name=name,
        status=_letting(found),
        listed=_not(found.hide_on_website),
        bookable_online=_not(found.disable_online_booking),
        reference=text(found.property_reference),
        title=text(found.title),
        owner_id=text(found.owner_company_id),
        lowest_rate=_money(code, found.min_rate, "$.MinRate"),
        highest_rate=_money(code, found.max_rate, "$.MaxRate"),
        currency=code,
        city=text(found.city),
        country=text(found.country),
        address=", ".join(filter(None, map(text, (found.address, found.address2)))) or None,
        postcode=text(found.postcode),
        latitude=latitude,
        longitude=longitude,
    )


def _not(value: wire.Flag) -> bool | None:
    known = flag(value)
    return None if known is None else not known


def _money(code: str, amount: float | str | None, path: str) -> Money | None:
    """With all its decimals where the currency is not known yet: nobody knows how many it has."""
    found = money(amount, code, path)
    if found is None or code != NO_CURRENCY:
        return found
    return Money(Decimal(repr(a_number(amount, path))), code)


def in_doubt(record: Record) -> bool:
    """Whether anything of it is in nobody knows what."""
    return NO_CURRENCY in _named(record).values()


def vouched_booking(usual: str | None, record: Record, stored: Record | None) -> Record:
    """The booking in what its stored amounts are in, else in the usual currency. Raises Unreadable where there is neither."""
    code = _known(stored) or usual
    if code is None:
        raise Unreadable("$.Currency: no ISO 4217 code is known for it; set `currency` on the account")
    return _paid_out(record, code)


def vouched_property(usual: str | None, record: Record, stored: Record | None) -> Record:
    """The property in its stored currency, else in the usual one; without its rates where there is neither."""
    return _paid_out(record, _known(stored) or usual)


def _named(record: Record) -> dict[str, str]:
    """The currency of each field that has one."""
    named = {}
    for name in _priced(type(record)):
        value = getattr(record, name)
        if value is not None:
            named[name] = value.currency if isinstance(value, Money) else value
    return named


@cache
def _priced(kind: type[Record]) -> tuple[str, ...]:
    """The fields that hold an amount, and then the one that says a currency."""
    types = get_type_hints(kind)
    amounts = [name for name in kind.__struct_fields__ if Money in get_args(types[name])]
    return (*amounts, *(name for name in kind.__struct_fields__ if name == "currency"))


def _known(stored: Record | None) -> str | None:
    return next((code for code in _named(stored).values() if code != NO_CURRENCY), None) if stored is not None else None


def _paid_out(record: R, code: str | None) -> R:
    """The record with this currency in place of none."""
    changes: dict[str, Money | str | None] = {}
    for name, named in _named(record).items():
        value = getattr(record, name)
        if named == NO_CURRENCY:
            changes[name] = Money.of(value.amount, code) if code and isinstance(value, Money) else code
    return msgspec.structs.replace(record, **changes)


def _date(value: str, path: str) -> date:
    day = a_day(value, path)
    if day is None:
        raise Unreadable(f"{path}: there is no date")
    return day


def _status(found: wire.Booking) -> BookingStatus:
    """By its number where that is published, else by its word."""
    match a_whole_number(found.booking_status_id, "$.BookingStatusId"):
        case wire.BOOKED:
            return BookingStatus.CONFIRMED
        case wire.CANCELLED:
            return BookingStatus.CANCELLED
    word = (found.status or "").strip().lower()
    if word.startswith("cancel"):
        return BookingStatus.CANCELLED
    return BookingStatus.CONFIRMED if word.startswith(("book", "confirm")) else BookingStatus.WAITING


def _tag(tag: wire.Named | str | float | None) -> str | None:
    if not isinstance(tag, wire.Named):
        return text(tag)
    named = text(tag.name) or text(tag.id)
    if named is None:
        raise Unreadable("$.BookingTags: a tag has neither a name nor an id")
    return named


def _letting(found: wire.Property) -> PropertyStatus | None:
    withdrawn, suspended = flag(found.withdrawn), flag(found.suspended)
    if withdrawn:
        return PropertyStatus.WITHDRAWN
    if suspended:
        return PropertyStatus.SUSPENDED
    return None if withdrawn is suspended is None else PropertyStatus.ACTIVE


def _coordinates(place: str | None) -> tuple[float | None, float | None]:
    """`50.1,-5.2`: latitude and longitude. Typed in by hand, so what is anything else is left out."""
    found = _PLACE.fullmatch(place or "")
    return (float(found[1]), float(found[2])) if found else (None, None)


def codes(calendar: wire.Calendar) -> list[tuple[str, str, str, str]]:
    """Year, month, day and code of each day."""
    return [
        (year, month, day, code)
        for year, months in calendar.items()
        for month, days in (months or {}).items()
        for day, code in (days or {}).items()
        if code
    ]


def to_availability(id_: str, raw: msgspec.Raw) -> Availability:
    days = {}
    for year, month, day, code in codes(_calendar.decode(raw)):
        parts = [part if part.isascii() and part.isdecimal() else "?" for part in (year, month, day)]
        with at(f"$.{'.'.join(parts)}"[:40]):
            days[date(*map(int, parts))] = code
    return Availability(id=id_, days=days)


def to_enquiry(zone: tzinfo, raw: msgspec.Raw) -> Enquiry:
    found = _enquiry.decode(raw)
    guest = Guest(name=text(found.full_name), email=text(found.email), phone=text(found.mobile) or text(found.phone))
    return Enquiry(
        id=an_id(found.id, "$.Id"),
        property_ids=tuple(sorted(an_id(id_, "$.Properties") for id_ in found.properties or ())),
        arrival=a_day(found.start_date, "$.StartDate"),
        departure=a_day(found.end_date, "$.EndDate"),
        nights=a_whole_number(found.days, "$.Days"),
        guest=guest if guest != Guest() else None,
        adults=a_whole_number(found.adults, "$.Adults"),
        children=a_whole_number(found.children, "$.Children"),
        infants=a_whole_number(found.infants, "$.Infants"),
        pets=a_whole_number(found.pets, "$.Pets"),
        budget=text(found.budget),
        occasion=text(found.nature_of_stay),
        comments=text(found.comments),
        asked_at=an_instant(found.create_date, "$.CreateDate", zone),
    )


def _paid_in(raw: msgspec.Raw) -> tuple[str, str] | None:
    """A property's id and its ISO code; None for one that cannot be read, or has none."""
    try:
        found = _currency.decode(raw)
        found = found.property_details or found
        code = currency(found.currency_iso)
        return (an_id(found.id or "", "$.Id"), code) if code else None
    except (Unreadable, ValueError, RecursionError):
        return None


def flag(value: wire.Flag) -> bool | None:
    """A yes or no, also as a number or a word; None for neither."""
    word = str(value).strip().lower()
    return True if word in {"true", "1", "yes"} else False if word in {"false", "0", "no"} else None
