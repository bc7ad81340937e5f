"""iPRO's replies: only the fields used, lenient. Internal notes, payments, bills and housekeeping are not among them, so they
are dropped while decoding and never enter a record."""

import msgspec

BOOKED, CANCELLED = 3, 4  # the only numbers of a booking's status that are published

Number = float | str | None
"""An amount or a count: some are texts (`"Infants": "1"`)."""
Id = int | float | str
Flag = bool | int | str | None


class Wire(msgspec.Struct, frozen=True, rename="pascal", gc=False):
    """Unknown fields are ignored. Dates and times are texts: three formats are mixed inside one booking."""


class Identified(Wire, frozen=True, rename="pascal", kw_only=True):
    """Anything with an `Id`; a property may come inside its `PropertyDetails`."""

    id: Id | None = None
    property_details: "Identified | None" = None


class BookingId(Wire, frozen=True, rename="pascal"):
    booking_id: Id


class Named(Wire, frozen=True, rename="pascal", kw_only=True):
    """An entry of a settings list, such as a booking tag."""

    id: Id | None = None
    name: str | None = None


class Booking(Wire, frozen=True, rename="pascal", kw_only=True):
    """`status` is a word, `booking_status_id` 3 for a booking and 4 for a cancelled one; other numbers are not published."""

    booking_id: Id
    property_id: Id
    check_in: str
    check_out: str
    booking_status_id: Number = None
    status: str | None = None
    external_reservation_id: Id | None = msgspec.field(default=None, name="ExternalReservationID")
    order_time: str | None = None
    modified_time: str | None = None
    source: str | None = None
    customer_name: str | None = None
    adults: Number = None
    children: Number = None
    infants: Number = None
    pets: Number = None
    currency: str | None = None
    renter_total: Number = None
    balance: Number = None
    balance_due_date: str | None = None
    deposit: Number = None
    deposit_due_date: str | None = None
    security_deposit: Number = None
    commission: Number = None
    discount: Number = None
    booking_tags: list[Named | str | int | float | None] | None = None
    guest_notes: str | None = None


class Property(Wire, frozen=True, rename="pascal", kw_only=True):
    """A property, or what `property/<id>/all` wraps one in."""

    property_details: "Property | None" = None
    id: Id | None = None
    name: str | None = None
    property_name: str | None = None
    title: str | None = None
    property_reference: Id | None = None
    owner_company_id: Id | None = None
    suspended: Flag = None
    withdrawn: Flag = None
    hide_on_website: Flag = None
    disable_online_booking: Flag = None
    currency: str | None = None
    currency_iso: str | None = msgspec.field(default=None, name="CurrencyISO")
    min_rate: Number = None
    max_rate: Number = None
    address: str | None = None
    address2: str | None = None
    city: str | None = None
    postcode: Id | None = None
    country: str | None = None
    geo_location: str | None = None


class Currency(Wire, frozen=True, rename="pascal", kw_only=True):
    """A property, for those who only ask what it is paid in."""

    property_details: "Currency | None" = None
    id: Id | None = None
    currency_iso: str | None = msgspec.field(default=None, name="CurrencyISO")


class Enquiry(Wire, frozen=True, rename="pascal", kw_only=True):
    id: Id
    properties: list[int | float | str] | None = None
    start_date: str | None = None
    end_date: str | None = None
    days: Number = None
    full_name: str | None = None
    email: str | None = None
    mobile: Id | None = None
    phone: Id | None = None
    adults: Number = None
    children: Number = None
    infants: Number = None
    pets: Number = None
    budget: Id | None = None
    nature_of_stay: str | None = None
    comments: str | None = None
    create_date: str | None = None


class Listing(Wire, frozen=True, rename="pascal", kw_only=True):
    """A page: its items, and how many there are on all pages, as the vendor counts."""

    items: list[msgspec.Raw] | None
    total_hits: Number = None


class Touched(Wire, frozen=True):
    """Properties whose calendar changed lately."""

    property_ids: list[int | float | str] | None = msgspec.field(name="PropertyIDs")


Calendar = dict[str, dict[str, dict[str, str | None] | None] | None]
"""Year → month → day → code."""


class Token(Wire, frozen=True, rename=None):  # OAuth field names are snake_case
    access_token: str
    expires_in: Number = None


class Outcome(Wire, frozen=True, rename="pascal", kw_only=True):
    """Some replies say inside a 200 that they are a failure."""

    success: Flag = None
    small: Flag = msgspec.field(default=None, name="success")
