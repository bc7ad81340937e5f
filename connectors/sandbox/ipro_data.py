"""The fake iPRO's data: properties, bookings and enquiries in the vendor's own shape, and the ways it spells them.

All of it is invented. What is for the staff alone contains PRIVATE: it must never leave a connector.
"""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

from connectors.sandbox.base import Wire

PRIVATE = "sandbox-private"
BOOKED, CANCELLED, PROVISIONAL = 3, 4, 2  # the last is invented: the vendor publishes no other number
STATUSES = {BOOKED: "Booking", CANCELLED: "Cancelled", PROVISIONAL: "Provisional"}
DAY = timedelta(days=1)

_PROPERTIES = [
    (7858, "Harbour View", "St Sample", "£", "GBP"),
    (7864, "Gull Cottage", "St Sample", "£", "GBP"),
    (7902, "Old Mill", "Sampleford", "£", "GBP"),
    (8849, "Teach na Trá", "Baile Sample", "€", "EUR"),
    (8862, "Lake House", "Sample Falls", "$", "USD"),
]
_NAMES = ["Sam Sample", "Kim Sample", "Robin Muster", "Ada Esempio", "Jan Voorbeeld"]
_TAGS = ["Late arrival", "Returning", "Dog"]


def properties() -> list[Wire]:
    return [property_(*each) for each in _PROPERTIES]


def property_(id_: int, name: str, city: str, symbol: str, code: str) -> Wire:
    return {
        "Id": id_,
        "PropertyReference": f"SS{id_}",
        "Name": name,
        "PropertyName": name,
        "Title": f"{name}, {city}",
        "OwnerCompanyId": 77,
        "OwnerContactId": 5120,
        "Suspended": False,
        "Withdrawn": False,
        "HideOnWebsite": False,
        "DisableOnlineBooking": False,
        "Url": f"/sample/{id_}",
        "Currency": symbol,
        "CurrencyISO": code,
        "MinRate": 410.0,
        "MaxRate": 1320.0,
        "Commission": 17.5,
        "Intro": "Invented.",
        "Address": "1 Sample Street",
        "Address2": None,
        "City": city,
        "Postcode": "AB1 2CD",
        "Country": "United Kingdom",
        "GeoLocation": "50.1,-5.2",
        "Attributes": [],
        "Rooms": [{"Name": "Bedroom 1", "Beds": 1}],
        "Reviews": [],
        "AssignedContacts": [{"Name": f"{PRIVATE}-contact"}],
    }


def booking(id_: int, place: Wire, rng: random.Random, now: datetime) -> Wire:
    """An invented booking made now, beginning within half a year."""
    arrival = now.astimezone(UTC).date() + timedelta(days=rng.randrange(-5, 180))
    nights = rng.choice([3, 4, 7, 7, 14])
    rent = float(rng.randrange(60, 220) * nights)
    total = rent + 25
    return {
        "BookingId": id_,
        "ExternalReservationID": rng.choice([None, None, f"X{rng.getrandbits(32):08X}"]),
        "PropertyId": place["Id"],
        "ContactID": 4000 + rng.randrange(2000),
        "RepContactId": None,
        "BookingStatusId": BOOKED,
        "Status": STATUSES[BOOKED],
        "BrandId": rng.choice([1, -1]),
        "TransactionID": None,
        "OrderTime": instant(now),
        "ModifiedTime": instant(now),
        "CheckIn": arrival.isoformat(),
        "CheckOut": (arrival + timedelta(days=nights)).isoformat(),
        "Country": "United Kingdom",
        "Currency": place["Currency"],
        "RenterAmount": rent,
        "BookingFee": 25.0,
        "RenterBalance": total,
        "Commission": round(rent * 0.18, 2),
        "SecurityDeposit": 500.0,
        "RenterTotal": total,
        "RatePerDay": round(rent / nights, 2),
        "Discount": 0.0,
        "PropertyTypes": ["Cottage"],
        "Source": rng.choice(["Website", "Phone", "Portal"]),
        "BookingTags": rng.sample(_TAGS, rng.randrange(3)),
        "CustomerName": rng.choice(_NAMES),
        "Adults": rng.randrange(1, 5),
        "Children": rng.randrange(3),
        "Infants": 0,
        "Pets": rng.randrange(2),
        "Guests": [{"Name": f"{PRIVATE}-guest-{id_}", "Age": 40}],
        "HolidayExtrasOrdered": [],
        "Deposit": round(total / 4, 2),
        "DepositDueDate": british(now.astimezone(UTC).date() + 2 * DAY),
        "Balance": round(total * 3 / 4, 2),
        "BalanceDueDate": british(arrival - 56 * DAY),
        "GuestNotes": "",
        "HouseKeeperNotes": f"{PRIVATE}-housekeeper",
        "InternalNotes": f"{PRIVATE}-internal-{id_}",
        "PaymentSchedules": [],
        "Payments": [{"Id": id_, "Amount": 1.0, "Note": f"{PRIVATE}-payment"}],
        "HolidayNotes": "",
        "ArrivalNotes": "",
        "DepartureNotes": "",
        "Bills": [],
    }


def enquiry(id_: int, places: list[int], rng: random.Random, now: datetime) -> Wire:
    start = now.astimezone(UTC).date() + timedelta(days=rng.randrange(10, 200))
    name = rng.choice(_NAMES)
    return {
        "Id": id_,
        "Adults": rng.randrange(1, 5),
        "Children": rng.randrange(3),
        "Infants": str(rng.randrange(2)),
        "Pets": str(rng.randrange(2)),
        "Budget": None,
        "Comments": "near the beach?",
        "Notes": f"{PRIVATE}-notes",
        "Days": None,
        "Email": f"{name.split(maxsplit=1)[0].lower()}@example.com",
        "StartDate": start.isoformat(),
        "EndDate": (start + 7 * DAY).isoformat(),
        "FullName": name,
        "Mobile": "07000000000",
        "Phone": None,
        "Properties": [str(place) for place in places],
        "CreateDate": instant(now),
        "Currency": "€",
        "NatureOfStay": rng.choice([None, "Birthday"]),
    }


def calendar(first: date, last: date, bookings: list[Wire], blockouts: list[Wire]) -> Wire:
    """Year → month → day → code, up to the day before `last`. Changeover day is Saturday."""
    codes = {first + timedelta(days=each): "A" for each in range((last - first).days)}
    codes = {day: "C" if day.weekday() == 5 else code for day, code in codes.items()}
    for taken, code in (
        *((each, "U") for each in blockouts),
        *((each, _code(each)) for each in bookings if each["BookingStatusId"] != CANCELLED),
    ):
        day, end = date.fromisoformat(taken["CheckIn"]), date.fromisoformat(taken["CheckOut"])
        while day < end:
            if day in codes:
                codes[day] = code
            day += DAY
    shown: Wire = {}
    for day, code in codes.items():
        shown.setdefault(str(day.year), {}).setdefault(str(day.month), {})[str(day.day)] = code
    return shown


def _code(booking: Wire) -> str:
    if booking["Source"] == "Owner":
        return "OB"
    return "P" if booking["BookingStatusId"] == PROVISIONAL else "B"


def instant(at: datetime) -> str:
    """As .NET writes it: `2026-05-11T08:48:22.8070000Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")


def british(day: date) -> str:
    return f"{day:%d/%m/%Y}"


def respelled(value: Any, noise: random.Random) -> Any:
    """The same value, as one read of many happens to spell it: keys in another order, null or absent, seven digits or three."""
    if isinstance(value, dict):
        names = [name for name in value if value[name] is not None or noise.random() < 0.5]
        return {name: respelled(value[name], noise) for name in noise.sample(names, len(names))}
    if isinstance(value, list):
        return [respelled(each, noise) for each in noise.sample(value, len(value))]
    if isinstance(value, str) and value.endswith("0000Z") and noise.random() < 0.5:
        return value.removesuffix("0000Z") + "Z"
    return value
