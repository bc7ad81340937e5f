"""The fake Octorate's data: properties and reservations in the vendor's own shape, and the ways it spells them.

All of it is invented. Every card, document and police value contains PRIVATE: it must never leave a connector.
"""

import random
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from connectors.sandbox.base import Wire

PRIVATE = "sandbox-private"
INSTANT = "%Y-%m-%dT%H:%M:%S"
# fmt: off
_CANCELLED_FIELDS = (
    "id", "refer", "channelId", "status", "cancelledBy", "cancelledTime", "checkin", "checkout", "createTime", "updateTime",
    "product", "roomGross", "totalGuest", "totalChildren", "totalInfants", "guests", "noShow",
)
# fmt: on
_NAMES = [("Elisa", "Sample"), ("Ada", "Esempio"), ("Jan", "Voorbeeld"), ("Mia", "Muster"), ("Noé", "Exemple")]
_ROOMS = [(234762, 57600, "Double Superior"), (234763, 57601, "Single"), (234764, 57602, "Family Suite")]
_CHANNELS = [(142, "Booking"), (160, "Expedia"), (1, "Direct")]


def accommodations() -> list[Wire]:
    return [
        _place("112696", "Sample Palace", "Venezia", "IT", "Europe/Rome", "EUR"),
        _place("200100", "Sample Wharf", "London", "GB", "Europe/London", "GBP"),
    ]


def _place(id_: str, name: str, city: str, country: str, zone: str, currency: str) -> Wire:
    return {
        "id": id_,
        "name": name,
        "currency": currency,
        "timeZone": zone,
        "city": city,
        "checkinStart": 14,
        "checkinEnd": 22,
        "checkout": 10,
        "contact": {"email": "desk@example.com", "givenName": "Ada", "familyName": "Rossi", "mobilePrefix": "+39"},
        "location": {"city": city, "country": country, "latitude": 45.43, "longitude": 12.33, "zipCode": "30100"},
        "networkInfo": {"accessEnabled": True, "accessNetwork": "314142", "accessRoot": True},
        "propertyCategory": "HOTEL",
        "sandboxProperty": True,
    }


def reservation(id_: int, place: Wire, rng: random.Random, now: datetime) -> Wire:
    """An invented reservation made now, the stay beginning between 5 days ago and half a year ahead."""
    zone = ZoneInfo(place["timeZone"])
    arrival = now.astimezone(zone).date() + timedelta(days=rng.choice([rng.randrange(-5, 3), rng.randrange(3, 180)]))
    nights = rng.randrange(1, 8)
    departure = arrival + timedelta(days=nights)
    product, room, room_name = rng.choice(_ROOMS)
    channel, channel_name = rng.choice(_CHANNELS)
    gross = round(nights * rng.uniform(60, 220), 2)
    paid = rng.choice([0.0, 20.0, gross])
    numbered = rng.random() < 0.2
    made = instant(now)
    return {
        "id": id_,
        # Some portals' references are digits only, and then this vendor writes a number.
        "refer": 10**19 + rng.randrange(10**18) if numbered else f"K{rng.getrandbits(32):08X}",
        "channelId": channel,
        "channelName": channel_name,
        "channelRefer": f"{rng.getrandbits(40):010X}",
        "status": rng.choice(["CONFIRMED", "CONFIRMED", "CONFIRMED", "WAITING"]),
        "checkin": _local(arrival, 0, zone),
        "checkout": _local(departure, 10, zone),
        "effectiveCheckin": None,
        "effectiveCheckout": None,
        "createTime": made,
        "updateTime": made,
        "cancelledBy": None,
        "cancelledTime": None,
        "noShow": False,
        "product": product,
        "pmsProduct": room,
        "roomName": room_name,
        "ratePlan": None,
        "roomGross": gross,
        "totalGross": round(gross + 30, 2),
        "totalPaid": paid,
        "touristTax": 8.0,
        "currency": place["currency"],
        "totalGuest": rng.randrange(1, 5),
        "totalChildren": 0,
        "totalInfants": 0,
        "freeCancellation": rng.random() < 0.5,
        "paymentStatus": "UNPAID" if paid == 0 else "PAID" if paid == gross else "PARTIALLY_PAID",
        "paymentType": "CREDITCARD",
        "grouped": False,
        "rooms": 1,
        "arrivalTime": None,
        "tagColor": "#ffffff",
        "autoLoginParam": "0",
        "creditCard": {"number": f"{PRIVATE}-card-{id_}", "holder": f"{PRIVATE}-holder", "cvv": f"{PRIVATE}-cvv"},
        "policeRegistration": f"{PRIVATE}-police-{id_}",
        **_party(id_, arrival, departure, rng),
        "accommodation": brief(place),
        "payments": [
            {"id": id_ + each, "amount": paid / 2, "paymentMode": "CASH", "insertTime": made} for each in (1, 2)
        ],
        "priceBreakdown": [
            {"type": "DAILY_ROOM_PRICE", "day": None, "price": gross, "included": True, "quantity": nights},
            {"type": "ROOM_NET", "day": None, "price": gross, "included": True, "quantity": None},
        ],
    }


def brief(place: Wire) -> Wire:
    return {name: place[name] for name in ("id", "name", "currency", "timeZone")}


def _party(id_: int, arrival: date, departure: date, rng: random.Random) -> Wire:
    """Who comes: the one who booked, and one more guest."""
    names = rng.sample(_NAMES, 2)
    guests = [
        {
            "type": kind,
            "source": "PORTAL",
            "givenName": given,
            "familyName": family,
            "email": f"{kind.lower()}.{id_}@example.com",
            "phone": "+39 000 000",
            "language": "IT",
            "nationality": "IT",
            "checkin": arrival.isoformat(),
            "checkout": departure.isoformat(),
            "birthDate": "1931-02-03",
            "documentType": "PASSPORT",
            "documentCode": f"{PRIVATE}-document-{id_}",
            "documentExpire": "2031-02-03",
        }
        for kind, (given, family) in zip(("BOOKER", "GUEST"), names, strict=True)
    ]
    return {"guests": guests, "guestsList": " ".join(names[0]), "guestMailAddress": guests[0]["email"]}


def _local(day: date, hour: int, zone: ZoneInfo) -> str:
    return instant(datetime.combine(day, time(hour), zone))


def listed(reservation: Wire) -> Wire:
    """A reservation as a listing has it: a cancelled one is shortened."""
    if reservation["status"] != "CANCELLED":
        return reservation
    return {name: reservation[name] for name in _CANCELLED_FIELDS} | {"roomGross": 0, "guests": []}


def instant(at: datetime) -> str:
    """An instant as the vendor writes it, to the hundredth of a second: `2026-05-17T14:49:30.36Z[UTC]`."""
    at = at.astimezone(UTC)
    hundredths = at.microsecond // 10_000
    return at.strftime(INSTANT) + (f".{hundredths:02}" if hundredths else "") + "Z[UTC]"


def respelled(value: Any, noise: random.Random) -> Any:
    """The same value with each instant's fraction in none, two or three digits."""
    if isinstance(value, dict):
        return {name: respelled(each, noise) for name, each in value.items()}
    if isinstance(value, list):
        return [respelled(each, noise) for each in value]
    if isinstance(value, str) and value.endswith("Z[UTC]"):
        seconds, _, hundredths = value.removesuffix("Z[UTC]").partition(".")
        spellings = [f".{hundredths or '00'}", f".{hundredths or '00'}0", *([] if hundredths else [""])]
        return f"{seconds}{noise.choice(spellings)}Z[UTC]"
    return value
