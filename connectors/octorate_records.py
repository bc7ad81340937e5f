"""From Octorate's replies to our records. Pure.

Odd: times end in `[UTC]`; a stay is two instants that become local dates only in the accommodation's zone; a reference may be
a number of any length; that a guest has come may be a time or a mere yes.
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from zoneinfo import ZoneInfo

import msgspec

from connectors.decoding import EXACT, at, whole
from connectors.errors import Unreadable
from schemas import octorate as wire
from schemas.records import Booking, BookingStatus, Channel, Guest, Money, Property, instant

_NO_CHANNEL, _NOBODY = Channel(), Guest()

_identified = msgspec.json.Decoder(wire.Identified)
_reservation = msgspec.json.Decoder(wire.Reservation)
_accommodation = msgspec.json.Decoder(wire.Accommodation)
_maybe_text = msgspec.json.Decoder(str | None)


def own_key(raw: msgspec.Raw) -> str:
    return _id(_identified.decode(raw).id)


def id_of(raw: msgspec.Raw) -> str | None:
    """The id of an accommodation; None where it has none that can be read."""
    try:
        return own_key(raw) or None
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def an_instant(text: str) -> datetime:
    """`2020-07-06T22:00:00.178Z[UTC]`, `2020-06-17 10:22:30+00:00` or `2020-06-18 00:00:00` (taken as UTC)."""
    return instant(datetime.fromisoformat(text.split("[", 1)[0].strip()))


def _maybe_instant(text: str | None, path: str) -> datetime | None:
    if not text:
        return None
    with at(path):
        return an_instant(text)


def _moment(value: object, planned: str, path: str) -> datetime | None:
    """When something took place: a time, or a mere yes, which is taken to mean as planned (a time that stays the same)."""
    if isinstance(value, str):
        return _maybe_instant(value, path)
    return _maybe_instant(planned, path) if value else None


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        value = int(value)  # 3.0 is the 3 it was before
    return str(value)


def _id(value: float | str) -> str:
    return value if isinstance(value, str) else str(whole(value, "$.id"))


def _local_date(text: str, zone: str | None, path: str) -> date:
    if not zone:
        raise Unreadable(f"{path}: no time zone is known for this accommodation; set `timezone` on the account")
    try:
        local = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):  # the last for names of directories, or too long for a file
        raise Unreadable(f"{path}: the accommodation's time zone is none that is known") from None
    with at(path):
        return an_instant(text).astimezone(local).date()


def _reference(raw: msgspec.Raw) -> str | None:
    """As written: text, or a number of any length."""
    text = bytes(raw)
    return text.decode() if text.isdigit() else _text(_maybe_text.decode(text))


def to_property(raw: msgspec.Raw) -> Property:
    found = _accommodation.decode(raw)
    location = found.location or wire.Location()
    return Property(
        id=_id(found.id),
        name=found.name,
        currency=_text(found.currency),
        timezone=_text(found.time_zone),
        category=_text(found.property_category),
        city=_text(found.city or location.city),
        country=_text(location.country),
        address=_text(found.address),
        postcode=_text(found.zip_code or location.zip_code),
        latitude=found.latitude if found.latitude is not None else location.latitude,
        longitude=found.longitude if found.longitude is not None else location.longitude,
        phone=_text(found.phone_number),
        email=_text(found.contact and found.contact.email),
        checkin_from=whole(found.checkin_start, "$.checkinStart"),
        checkin_until=whole(found.checkin_end, "$.checkinEnd"),
        checkout_until=whole(found.checkout, "$.checkout"),
    )


def to_booking(part: str, place: wire.Place, raw: msgspec.Raw) -> Booking:
    found = _reservation.decode(raw)
    own = found.accommodation or place
    zone = own.time_zone or place.time_zone
    money = partial(_money, found.currency or own.currency or place.currency)
    channel = Channel(id=_text(found.channel_id), name=_text(found.channel_name), reference=_text(found.channel_refer))
    return Booking(
        id=_id(found.id),
        property_id=part,
        arrival=_local_date(found.checkin, zone, "$.checkin"),
        departure=_local_date(found.checkout, zone, "$.checkout"),
        status=_status(found.status),
        reference=_reference(found.refer),
        channel=channel if channel != _NO_CHANNEL else None,
        guest=_guest(found.guests or ()),
        guests=whole(found.total_guest, "$.totalGuest"),
        children=whole(found.total_children, "$.totalChildren"),
        infants=whole(found.total_infants, "$.totalInfants"),
        rooms=whole(found.rooms, "$.rooms"),
        room_id=_text(found.pms_product),
        room_name=_text(found.room_name),
        product_id=_text(found.product),
        rate_plan=_text(found.rate_plan),
        total=money(found.total_gross, "$.totalGross"),
        room_total=money(found.room_gross, "$.roomGross"),
        paid=money(found.total_paid, "$.totalPaid"),
        payment_status=_lower(found.payment_status),
        payment_type=_lower(found.payment_type),
        free_cancellation=found.free_cancellation,
        arrival_time=_text(found.arrival_time),
        checked_in_at=_moment(found.effective_checkin, found.checkin, "$.effectiveCheckin"),
        checked_out_at=_moment(found.effective_checkout, found.checkout, "$.effectiveCheckout"),
        cancelled_at=_maybe_instant(found.cancelled_time, "$.cancelledTime"),
        cancelled_by=_text(found.cancelled_by),
        no_show=found.no_show,
        booked_at=_maybe_instant(found.create_time, "$.createTime"),
        updated_at=_maybe_instant(found.update_time, "$.updateTime"),
    )


def _money(currency: str | None, amount: Decimal | None, path: str) -> Money | None:
    if amount is None:
        return None
    with at(f"{path} in $.currency"):
        return Money.of(amount, currency)


def _lower(text: str | None) -> str | None:
    return text.lower() if text else None


def _status(text: str) -> BookingStatus:
    try:
        return BookingStatus(text.lower())
    except ValueError:
        raise Unreadable("$.status: none of CANCELLED, WAITING, CONFIRMED") from None


def _guest(guests: Sequence[wire.Guest]) -> Guest | None:
    """The one who booked; the order of guests means nothing."""
    if not guests:
        return None
    booker = min(guests, key=lambda guest: (guest.type != "BOOKER", msgspec.json.encode(guest)))
    guest = Guest(
        given_name=_text(booker.given_name),
        family_name=_text(booker.family_name),
        name=_text(booker.customer_name),
        email=_text(booker.email),
        phone=_text(booker.phone),
        language=_text(booker.language),
        nationality=_text(booker.nationality),
    )
    return guest if guest != _NOBODY else None
