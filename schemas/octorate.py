"""Octorate's replies: only the fields used, lenient. Card, document, birth date and police fields are not among them,
so they are dropped while decoding and never enter a record."""

from decimal import Decimal

import msgspec


class Wire(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Unknown fields are ignored: Octorate's document is generated and moves. A whole number may be spelled `2.0`."""


class Identified(Wire, frozen=True, rename="camel"):
    id: int | float | str


class Guest(Wire, frozen=True, rename="camel", kw_only=True):
    type: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    customer_name: str | None = None
    email: str | None = None
    phone: str | None = None
    language: str | None = None
    nationality: str | None = None


class Place(Wire, frozen=True, rename="camel", kw_only=True):
    """The accommodation inside a reservation; absent from cancelled ones."""

    currency: str | None = None
    time_zone: str | None = None


class Reservation(Wire, frozen=True, rename="camel", kw_only=True):
    """`refer` may be an unquoted number beyond 64 bits, so it is kept as written. Times end in `[UTC]`, so they are texts."""

    id: int | float | str
    checkin: str
    checkout: str
    status: str
    refer: msgspec.Raw = msgspec.Raw(b"null")
    channel_id: int | float | str | None = None
    channel_name: str | None = None
    channel_refer: str | int | float | None = None
    create_time: str | None = None
    update_time: str | None = None
    product: int | float | str | None = None
    pms_product: int | float | str | None = None
    room_name: str | None = None
    rate_plan: str | int | float | None = None
    room_gross: Decimal | None = None
    total_gross: Decimal | None = None
    total_paid: Decimal | None = None
    total_guest: int | float | None = None
    total_children: int | float | None = None
    total_infants: int | float | None = None
    rooms: int | float | None = None
    currency: str | None = None
    free_cancellation: bool | None = None
    payment_status: str | None = None
    payment_type: str | None = None
    arrival_time: str | int | None = None
    effective_checkin: str | bool | None = None
    effective_checkout: str | bool | None = None
    cancelled_by: str | None = None
    cancelled_time: str | None = None
    no_show: bool | None = None
    guests: list[Guest] | None = None
    accommodation: Place | None = None


class Contact(Wire, frozen=True, rename="camel", kw_only=True):
    email: str | None = None


class Location(Wire, frozen=True, rename="camel", kw_only=True):
    city: str | None = None
    country: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    zip_code: str | None = None


class Accommodation(Wire, frozen=True, rename="camel", kw_only=True):
    id: str | int | float
    name: str
    currency: str | None = None
    time_zone: str | None = None
    property_category: str | None = None
    phone_number: str | None = None
    address: str | None = None
    city: str | None = None
    zip_code: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    checkin_start: int | float | None = None
    checkin_end: int | float | None = None
    checkout: int | float | None = None
    contact: Contact | None = None
    location: Location | None = None


class Listing(Wire, frozen=True, rename="camel"):
    """A page. Its `page` object is not read: `totalPages` lies and `href` points at an internal host."""

    data: list[msgspec.Raw]


class Subscription(Wire, frozen=True, rename="camel", kw_only=True):
    """A webhook that Octorate calls: at which event, and where."""

    id: int | float | str
    type: str = ""
    endpoint: str = ""


class Token(Wire, frozen=True, rename=None):  # OAuth field names are snake_case
    """`OAuthToken2`. A refresh reply may hold only `access_token` and `expireDate`."""

    access_token: str
    refresh_token: str | None = None
    expires_in: float | str | None = None
    expire_date: str | None = msgspec.field(default=None, name="expireDate")


class Refusal(Wire, frozen=True, rename="camel"):
    """`ApiError`: `type` tells what a status alone does not."""

    type: str = ""
    message: str = ""
