"""A fake iPRO site that behaves as the vendor's paper says, its lies included.

Lies: without `bookingstatus` cancelled bookings are left out (or the question is refused); TotalHits may be anything; the
availability check answers a list or an object; `size` may be cut down; some failures come inside a 200. `booking/cancel` and
`booking/reactivate` are GETs that change data, here too: `writes` names each. Noise, different at every read: the order of
keys and of lists, null or absent, the digits of a fraction of a second.

All data are invented. What is for the staff alone contains PRIVATE: it must never leave a connector.
"""

import random
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import ClassVar, Literal

import httpx

from connectors.sandbox.base import LISTING, Control, Refusal, Refused, Sandbox, Wire, form, spoilt, utc_now
from connectors.sandbox.ipro_data import (
    BOOKED,
    CANCELLED,
    DAY,
    STATUSES,
    booking,
    calendar,
    enquiry,
    instant,
    properties,
    property_,
    respelled,
)

CLIENT_ID = "sandbox-client"
CLIENT_SECRET = "sandbox-secret-ipro"  # noqa: S105  # invented
TOKEN_PATH = "/oauth/2.0/token"  # noqa: S105  # an address

_FIRST_BOOKING, _FIRST_ENQUIRY, _FIRST_BLOCKOUT = 3691, 4373, 55102
_USUAL = {400: "bad_request", 401: "invalid_token", 403: "denied", 404: "not_found"}
_BASIC = "Basic " + b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
_PADDING = "A" * 1400  # the vendor's tokens are about 1.5 kB long
# fmt: off
_ASKED = {
    "size", "index", "term", "bookingstatus", "propertyids", "repid", "balancestatus", "taskstatus", "orderDateFrom",
    "orderDateTo", "checkinfrom", "checkinto", "IncludeBookingTags", "ExcludeBookingTags", "LocationId", "Sort",
    "SortDirection", "modifiedTimeFrom", "modifiedTimeTo", "contactIDs", "bookingID", "BrandID", "propertyID",
}
# fmt: on
Totals = Literal["honest", "page", "low", "high", "none"]
"""TotalHits: all there are; those on this page; too few; too many; left out."""


class IproSandbox(Sandbox):
    """One site with five properties.

    `seed` is how many bookings there are at first; it also seeds all randomness. `check` is the shape of the availability
    check's reply, `listings` that of enquiries and of properties, `page_cap` the longest page whatever is asked for.
    `unasked`: what bookings without `bookingstatus` are. With `noise` off, the same record is the same bytes at every read.
    """

    errors: ClassVar[Mapping[str, int]] = MappingProxyType(
        {
            "bad_request": 400,
            "invalid_client": 400,
            "invalid_token": 401,
            "denied": 403,
            "not_found": 404,
            "failed": 200,
            "broken": 500,
        }
    )

    def __init__(
        self,
        now: Callable[[], datetime] = utc_now,
        *,
        seed: int = 12,
        token_lifetime: timedelta = timedelta(hours=1),
        check: Literal["list", "object", "alternate"] = "alternate",
        listings: Literal["wrapped", "plain"] = "wrapped",
        totals: Totals = "honest",
        unasked: Literal["uncancelled", "all", "refused"] = "uncancelled",
        page_cap: int = 300,
        noise: bool = True,
    ) -> None:
        super().__init__(now, token_lifetime)
        self.seed = seed
        self.check = check
        self.listings = listings
        self.totals = totals
        self.unasked = unasked
        self.page_cap = page_cap
        self.noise = noise
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Begin again: the first bookings (or `seed` of them) and enquiries, nothing failing or revoked."""
        self.seed = self.seed if seed is None else seed
        self._random, self._noise = random.Random(self.seed), random.Random(self.seed)
        self.properties: dict[int, Wire] = {each["Id"]: each for each in properties()}
        self.bookings: dict[int, Wire] = {}
        self.enquiries: dict[int, Wire] = {}
        self.blockouts: dict[int, Wire] = {}
        self.writes: list[str] = []
        self._modified: dict[int, datetime] = {}  # of bookings
        self._moved: dict[int, datetime] = {}  # the last change of a property's calendar
        self._updated: dict[int, datetime] = {}  # of properties
        self._checks = 0
        self.revoked = False
        self.heal()
        self.tokens.forget()
        self.seen.clear()
        for _ in range(self.seed):
            self._seed_one()

    def _seed_one(self) -> None:
        new = self.add(self._random.choice(list(self.properties)))
        made = self.now() - timedelta(days=self._random.randrange(2, 60), seconds=self._random.randrange(86_400))
        stored = self.bookings[new["BookingId"]]
        stored["OrderTime"] = stored["ModifiedTime"] = instant(made)
        self._modified[new["BookingId"]] = made
        if self._random.random() < 0.15:
            stored |= {"BookingStatusId": CANCELLED, "Status": STATUSES[CANCELLED]}
        if self._random.random() < 0.3:
            self.enquire([new["PropertyId"]])

    # Controls

    def controls(self) -> dict[str, Control]:
        own: tuple[Control, ...] = (
            *(self.add, self.change, self.cancel, self.reactivate, self.confirm, self.touch, self.remove),
            *(self.block, self.unblock, self.enquire, self.withdraw_enquiry, self.reset),
            *(
                self.add_property,
                self.change_property,
                self.withdraw,
                self.suspend,
                self.reinstate,
                self.remove_property,
            ),
        )
        return super().controls() | {control.__name__: control for control in own}

    def add(self, property_id: int = 7858, fields: Wire | None = None) -> Wire:
        """A new booking made now; `fields` override the invented ones, `BookingId` included."""
        id_ = max(self.bookings, default=_FIRST_BOOKING - 1) + 1
        new = booking(id_, self._property(property_id), self._random, self.now()) | (fields or {})
        id_ = new["BookingId"]
        if not isinstance(id_, int) or id_ in self.bookings:
            raise Refused("The BookingId is a whole number that no other has.")
        self.bookings[id_], self._modified[id_] = new, self.now()
        self._moved[property_id] = self.now()
        return dict(new)

    def change(self, id_: int, fields: Wire) -> Wire:
        """Set some fields of a booking, and the time of its last change."""
        booking = self._booking(id_)
        if {"BookingId", "PropertyId"} & fields.keys():
            raise Refused("A booking keeps its id and its property.")
        # Two changes within the vendor's smallest step of time still have two times.
        self._modified[id_] = max(self.now(), self._modified[id_] + timedelta(milliseconds=1))
        booking |= {"ModifiedTime": instant(self._modified[id_])} | fields
        if {"CheckIn", "CheckOut", "BookingStatusId", "Source"} & fields.keys():
            self._moved[booking["PropertyId"]] = self.now()
        return dict(booking)

    def cancel(self, id_: int) -> Wire:
        return self.change(id_, {"BookingStatusId": CANCELLED, "Status": STATUSES[CANCELLED]})

    def reactivate(self, id_: int) -> Wire:
        return self.change(id_, {"BookingStatusId": BOOKED, "Status": STATUSES[BOOKED]})

    def confirm(self, id_: int) -> Wire:
        """What was provisional is a booking."""
        return self.reactivate(id_)

    def touch(self, id_: int) -> Wire:
        """Only the time of the last change moves."""
        return self.change(id_, {})

    def remove(self, id_: int) -> Wire:
        """Gone without a trace, as no vendor should do it."""
        self._moved[self._booking(id_)["PropertyId"]] = self.now()
        del self._modified[id_]
        return self.bookings.pop(id_)

    def block(self, property_id: int, first: date, last: date, comments: str = "boiler service") -> Wire:
        """Block a property from the night of `first` to the day of leaving, `last`."""
        self._property(property_id)
        id_ = max(self.blockouts, default=_FIRST_BLOCKOUT - 1) + 1
        self.blockouts[id_] = {
            "ID": id_,
            "PropertyID": property_id,
            "CheckIn": first.isoformat(),
            "CheckOut": last.isoformat(),
            "Comments": comments,
            "ImportedFromiCal": None,
            "ImportedFromChannel": None,
        }
        self._moved[property_id] = self.now()
        return dict(self.blockouts[id_])

    def unblock(self, id_: int) -> Wire:
        if id_ not in self.blockouts:
            raise Refused(f"There is no blockout {id_}.")
        blockout = self.blockouts.pop(id_)
        self._moved[blockout["PropertyID"]] = self.now()
        return blockout

    def enquire(self, property_ids: list[int] | None = None, fields: Wire | None = None) -> Wire:
        """A new enquiry about some properties."""
        asked = [self._property(id_)["Id"] for id_ in property_ids or [7858]]
        id_ = max(self.enquiries, default=_FIRST_ENQUIRY - 1) + 1
        self.enquiries[id_] = enquiry(id_, asked, self._random, self.now()) | (fields or {})
        return dict(self.enquiries[id_])

    def withdraw_enquiry(self, id_: int) -> Wire:
        if id_ not in self.enquiries:
            raise Refused(f"There is no enquiry {id_}.")
        return self.enquiries.pop(id_)

    def add_property(self, id_: int, name: str = "New Barn") -> Wire:
        if id_ in self.properties:
            raise Refused(f"There is a property {id_}.")
        self.properties[id_] = property_(id_, name, "St Sample", "£", "GBP")
        return dict(self.properties[id_])

    def change_property(self, id_: int, fields: Wire) -> Wire:
        place = self._property(id_)
        place.update(fields)
        self._updated[id_] = self.now()
        return dict(place)

    def withdraw(self, id_: int) -> Wire:
        return self.change_property(id_, {"Withdrawn": True})

    def suspend(self, id_: int) -> Wire:
        return self.change_property(id_, {"Suspended": True})

    def reinstate(self, id_: int) -> Wire:
        return self.change_property(id_, {"Withdrawn": False, "Suspended": False})

    def remove_property(self, id_: int) -> Wire:
        self._property(id_)
        return self.properties.pop(id_)

    def state(self) -> Wire:
        return {
            "properties": [dict(each) for each in self.properties.values()],
            "bookings": [dict(each) for each in self.bookings.values()],
            "enquiries": [dict(each) for each in self.enquiries.values()],
            "blockouts": [dict(each) for each in self.blockouts.values()],
            "writes": list(self.writes),
            "revoked": self.revoked,
            "faults": list(self.faults),
        }

    def step(self) -> str:
        chosen = self._random.choices(
            ["add", "change", "cancel", "reactivate", "block", "unblock", "enquire", "suspend", "reinstate"],
            [20, 25, 12, 5, 12, 6, 12, 4, 4],
        )[0]
        place = self._random.choice(list(self.properties.values()))
        if chosen in {"change", "cancel", "reactivate"}:
            return self._step_of_booking(chosen)
        match chosen:
            case "block":
                first = self.now().astimezone(UTC).date() + timedelta(days=self._random.randrange(200))
                self.block(place["Id"], first, first + 4 * DAY)
                return f"{place['Name']} blocked from {first}"
            case "unblock" if self.blockouts:
                blockout = self.unblock(self._random.choice(list(self.blockouts)))
                return f"blockout {blockout['ID']} removed"
            case "enquire":
                return f"enquiry {self.enquire([place['Id']])['Id']} about {place['Name']}"
            case "suspend":
                self.suspend(place["Id"])
                return f"{place['Name']} suspended"
            case "reinstate":
                self.reinstate(place["Id"])
                return f"{place['Name']} reinstated"
        return f"booking {self.add(place['Id'])['BookingId']} made at {place['Name']}"

    def _step_of_booking(self, chosen: str) -> str:
        cancelled = chosen == "reactivate"
        fitting = [id_ for id_, each in self.bookings.items() if (each["BookingStatusId"] == CANCELLED) is cancelled]
        if not fitting:
            new = self.add(self._random.choice(list(self.properties)))
            return f"booking {new['BookingId']} made"
        id_ = self._random.choice(fitting)
        if chosen == "change":
            self.change(
                id_, {"Adults": self._random.randrange(1, 7), "RenterTotal": float(self._random.randrange(300, 3000))}
            )
            return f"booking {id_} changed"
        if cancelled:
            self.reactivate(id_)
            return f"booking {id_} reactivated"
        self.cancel(id_)
        return f"booking {id_} cancelled"

    def _booking(self, id_: int) -> Wire:
        if id_ not in self.bookings:
            raise Refused(f"There is no booking {id_}.")
        return self.bookings[id_]

    def _property(self, id_: int) -> Wire:
        if id_ not in self.properties:
            raise Refused(f"There is no property {id_}.")
        return self.properties[id_]

    # The vendor's side

    def error(self, status: int, kind: str | None, message: str) -> httpx.Response:
        kind = kind or _USUAL.get(status)
        if kind == "failed":
            return httpx.Response(200, json={"Success": False, "Message": message})
        if kind == "invalid_client":
            return httpx.Response(status, json={"error": kind})
        if kind is None:
            return httpx.Response(status, text="error")
        return httpx.Response(status, json={"Success": False, "Message": message})

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == TOKEN_PATH:
            return self._token(request)
        if not request.url.path.startswith("/apis/"):
            raise Refusal("not_found", "no such page")
        self._admit(request)
        parts, params = request.url.path.removeprefix("/apis/").split("/"), request.url.params
        if (request.method, parts) == ("POST", ["enquiry"]):
            return httpx.Response(200, json=self._enquire(form(request)))
        if request.method != "GET":
            raise Refusal("bad_request", "method")
        if parts[0] == "booking":
            return httpx.Response(200, json=self._write(parts, params))
        return httpx.Response(200, json=self._read(request.url.path, parts, params))

    def _read(self, path: str, parts: list[str], params: httpx.QueryParams) -> object:
        match parts:
            case ["bookings" | "reservations"]:
                return self._bookings(path, params)
            case ["properties"]:
                shown = spoilt([self._spelt(each) for each in self.properties.values()], self._spoiling(path), "Id")
                return shown if self.listings == "wrapped" else {"Items": [{"PropertyDetails": each} for each in shown]}
            case ["properties", "lastupdated"]:
                return self._changed(self._updated, params)
            case ["property", "dayavailabilitycheck"]:
                return self._changed(self._moved, params)
            case ["property", id_, *rest]:
                return self._of_property(path, self._known(id_), rest, params)
            case ["sources"]:
                return [{"Id": number, "Name": name} for number, name in enumerate(("Website", "Phone", "Portal"), 1)]
            case ["bookingtags"]:
                return [{"Id": 1, "Name": "Late arrival"}, {"Id": 2, "Name": "Returning"}, {"Id": 3, "Name": "Dog"}]
        raise Refusal("not_found", "no such page")

    def _of_property(self, path: str, place: Wire, rest: list[str], params: httpx.QueryParams) -> object:
        id_ = place["Id"]
        blockouts = [each for each in self.blockouts.values() if each["PropertyID"] == id_]
        match rest:
            case []:
                return self._spelt(place)
            case ["all"]:
                lists = ("PropertyImages", "PropertyRates", "PropertyAvailabilities", "PropertyHolidayExtras")
                return {"PropertyDetails": self._spelt(place)} | {name: [] for name in (*lists, "PropertyDiscounts")}
            case ["dayavailability"]:
                first = self.now().astimezone(UTC).date() - DAY
                months = first.year * 12 + first.month - 1 + _whole(params, "months", default=24, most=120)
                last = date(months // 12, months % 12 + 1, min(first.day, 28))
                stays = [each for each in self.bookings.values() if each["PropertyId"] == id_]
                return self._spelt(calendar(first, last, stays, blockouts))
            case ["blockouts"]:
                return [self._spelt(each) for each in blockouts]
            case ["enquiries"]:
                found = [each for each in self.enquiries.values() if str(id_) in each["Properties"]]
                made = lambda number: enquiry(number, [id_], self._random, self.now())  # noqa: E731  # one line, used once
                listed = self._paged(path, params, found, "Id", made)
                return listed if self.listings == "wrapped" else listed["Items"]
        raise Refusal("not_found", "no such page")

    def _token(self, request: httpx.Request) -> httpx.Response:
        kind = request.headers.get("Content-Type", "")
        if request.method != "POST" or not kind.startswith("application/x-www-form-urlencoded"):
            raise Refusal("bad_request", "a form is posted")
        if self.revoked or request.headers.get("Authorization") != _BASIC:
            raise Refusal("invalid_client", "")
        if form(request).get("grant_type") != "client_credentials":
            return httpx.Response(400, json={"error": "unsupported_grant_type"})
        life = int(self.tokens.lifetime.total_seconds())
        token = {"access_token": self.tokens.issue() + _PADDING, "token_type": "bearer", "expires_in": life}
        return httpx.Response(200, json=token, headers={"Cache-Control": "no-cache, no-store"})

    def _admit(self, request: httpx.Request) -> None:
        scheme, _, access = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or self.tokens.check(access.removesuffix(_PADDING)) != "valid":
            raise Refusal("invalid_token", "the token is not valid")

    def _known(self, id_: str) -> Wire:
        if not id_.isdecimal() or int(id_) not in self.properties:
            raise Refusal("not_found", "no such property")
        return self.properties[int(id_)]

    def _write(self, parts: list[str], params: httpx.QueryParams) -> Wire:
        """The GETs that change data."""
        id_ = params.get("BookingId", "")
        if parts[1:] not in (["cancel"], ["reactivate"]) or not id_.isdecimal() or int(id_) not in self.bookings:
            raise Refusal("not_found", "no such booking")
        self.writes.append(f"{parts[1]} {id_}")
        (self.cancel if parts[1] == "cancel" else self.reactivate)(int(id_))
        return {"Success": True}

    def _enquire(self, fields: dict[str, str]) -> Wire:
        asked = [int(id_) for id_ in fields.get("Properties", "").split(",") if id_.isdecimal()]
        if not asked or not set(asked) <= self.properties.keys():
            raise Refusal("bad_request", "Properties")
        return self.enquire(asked, {name: value for name, value in fields.items() if name != "Properties"})

    def _changed(self, times: dict[int, datetime], params: httpx.QueryParams) -> object:
        if "lastUpdated" not in params:
            raise Refusal("bad_request", "lastUpdated")
        since = self.now() - timedelta(minutes=_whole(params, "lastUpdated", default=0, most=10**6))
        named = {"PropertyIDs": sorted(id_ for id_, at in times.items() if at >= since and id_ in self.properties)}
        self._checks += 1
        as_list = self.check == "list" or (self.check == "alternate" and self._checks % 2)
        return [named] if as_list else named

    def _bookings(self, path: str, params: httpx.QueryParams) -> Wire:
        status = params.get("bookingstatus")
        if params.keys() - _ASKED or (status is not None and not status.isdecimal()):
            raise Refusal("bad_request", "parameter")
        if status is None and self.unasked == "refused":
            raise Refusal("bad_request", "bookingstatus")
        if params.get("Sort", "CreateDate") not in {"CreateDate", "CheckIn"}:
            raise Refusal("bad_request", "Sort")
        if params.get("SortDirection", "asc") not in {"asc", "desc"}:
            raise Refusal("bad_request", "SortDirection")
        first, last = _day(params, "modifiedTimeFrom", date.min), _day(params, "modifiedTimeTo", date.max)
        wanted = params.get("bookingID")
        found = [
            each
            for id_, each in self.bookings.items()
            if first <= self._modified[id_].astimezone(UTC).date() <= last
            and (wanted is None or wanted == str(id_))
            and self._shows(each, status)
        ]
        field = {"CreateDate": "OrderTime", "CheckIn": "CheckIn"}[params.get("Sort", "CreateDate")]
        order = params.get("SortDirection") == "desc"
        found.sort(key=lambda each: (str(each[field]), each["BookingId"]), reverse=order)
        place = next(iter(self.properties.values()))
        return self._paged(path, params, found, "BookingId", lambda id_: booking(id_, place, self._random, self.now()))

    def _shows(self, booking: Wire, status: str | None) -> bool:
        if status is not None:
            return str(booking["BookingStatusId"]) == status
        return self.unasked == "all" or booking["BookingStatusId"] != CANCELLED

    def _paged(
        self, path: str, params: httpx.QueryParams, found: list[Wire], key: str, made: Callable[[int], Wire]
    ) -> Wire:
        size = min(_whole(params, "size", default=15, most=1000), self.page_cap)
        index = _whole(params, "index", default=1, most=10**6)
        fault = self._spoiling(path)
        start = 0 if fault == "repeat" else (index - 1) * size
        shown = found[start : start + size]
        if fault == "endless":
            shown = [made(10**9 + index * size + each) for each in range(size)]
        items = spoilt([self._spelt(each) for each in shown], fault, key)
        total = {"honest": len(found), "page": len(items), "low": len(found) // 2, "high": 10 * len(found) + 10}
        counted = {} if self.totals == "none" else {"TotalHits": total[self.totals]}
        return counted | {"Items": items}

    def _spoiling(self, path: str) -> str | None:
        fault = self.due(path, LISTING)
        return fault.kind if fault else None

    def _spelt(self, value: Wire) -> Wire:
        """The same record as this read happens to spell it."""
        spelt: Wire = respelled(value, self._noise) if self.noise else value
        return spelt


def _whole(params: httpx.QueryParams, name: str, *, default: int, most: int) -> int:
    text = params.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise Refusal("bad_request", name)
    return int(text)


def _day(params: httpx.QueryParams, name: str, default: date) -> date:
    try:
        return date.fromisoformat(params[name]) if name in params else default
    except ValueError:
        raise Refusal("bad_request", name) from None
