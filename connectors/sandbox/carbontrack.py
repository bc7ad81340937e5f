"""A fake carbonTRACK that behaves as the vendor's paper says, its contradictions included.

A device measures and reports every five minutes by the clock, unless it is silenced: nobody ever says that it is
offline. What it measured at a moment is always the same. Where the paper knows two shapes, a switch chooses: what
`PageIndex` counts from and what page 0 is then, what is told of the number of pages, how a token reply spells its life,
whether a refresh returns a refresh token, and whether one signs in at all. Noise, different at every read: the weather,
`Distance`, `IPAddress`, the order of keys and lists, null or empty, ids as numbers, the spelling of times and numbers.

All data are invented. Requests in a shape that the vendor does not document are refused, so that mistakes show.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import MappingProxyType
from typing import ClassVar, Literal, TypeVar

import httpx
import msgspec

from connectors.sandbox.base import LISTING, Control, Refusal, Refused, Sandbox, Wire, form, spoilt, utc_now
from connectors.sandbox.carbontrack_data import (
    customer,
    device,
    distributors,
    envelope,
    instant,
    measurement,
    outcome,
    respelled,
)

USERNAME = "sandbox-user"
PASSWORD = "sandbox-secret-carbontrack"  # noqa: S105  # invented

_HISTORY = timedelta(days=30)  # how long the first devices have been measuring
_USUAL = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}
_CUSTOMER_FILTERS = {"customerRef": "AccountNumber", "phone": "Mobile", "address": "Location"}
_LARGEST_PAGE = 200  # of customers

Ask = TypeVar("Ask", bound="_Ask")
T = TypeVar("T")


class _Ask(msgspec.Struct, rename="pascal", forbid_unknown_fields=True, kw_only=True):
    page_index: int = 0
    device_id: str | None = msgspec.field(default=None, name="DeviceID")
    distributor_id: str | None = msgspec.field(default=None, name="DistributorID")


class _AskDevices(_Ask, rename="pascal", forbid_unknown_fields=True, kw_only=True):
    customer_reference: str | None = None
    registered_only: bool = False
    advance_key: str | None = None


class _AskMeasurements(_Ask, rename="pascal", forbid_unknown_fields=True, kw_only=True):
    id: str | None = msgspec.field(default=None, name="ID")
    from_: str | None = msgspec.field(default=None, name="FromUTCDate")
    to: str | None = msgspec.field(default=None, name="ToUTCDate")


class Unit(msgspec.Struct, kw_only=True):
    """A device: what the vendor shows of it, when it began to measure, when it was silent, and what it uploaded late."""

    shown: Wire
    distributor: str
    began: datetime
    every: timedelta  # how often it measures and reports
    phase: timedelta  # its own second within that interval
    silences: list[tuple[datetime, datetime | None]] = []  # msgspec copies empty defaults
    late: list[tuple[datetime, datetime]] = []  # uploaded at, measured at

    @property
    def silent(self) -> bool:
        return bool(self.silences) and self.silences[-1][1] is None

    def times(self, start: datetime, end: datetime) -> list[datetime]:
        """When it measured, from `start` to `end`, silences left out."""
        found, time = [], max(self._tick(start), self._tick(self.began))
        while time <= end:
            if not any(begun <= time and (ended is None or time < ended) for begun, ended in self.silences):
                found.append(time)
            time += self.every
        return found

    def heard(self, now: datetime) -> datetime:
        """When it reported last; the silenced reports once more as it wakes."""
        last = self._tick(self.silences[-1][0] if self.silent else now + timedelta(microseconds=1)) - self.every
        woken = [ended for _, ended in self.silences if ended is not None]
        return max([last, self.began, *woken[-1:]])

    def _tick(self, time: datetime) -> datetime:
        """The first regular report at or after a time."""
        epoch = datetime(2020, 1, 1, tzinfo=UTC) + self.phase
        return epoch + -((epoch - time) // self.every) * self.every


class CarbontrackSandbox(Sandbox):
    """One carbonTRACK user with two distributors.

    `seed` is how many devices there are at first, `customers` how many customers; `seed` also seeds all randomness.
    `page_size` is that of devices and measurements, `reporting` how often a device measures. `zero` is what a vendor that
    counts pages from 1 answers to page 0: its first page, an empty one, or a failure inside a 200. `pages` is what it tells
    of their number, `expiry` how a token reply spells its life; with `rotates` a refresh returns a refresh token. With
    `noise` off, the same record is the same bytes at every read.
    """

    errors: ClassVar[Mapping[str, int]] = MappingProxyType(
        {
            "invalid_grant": 400,
            "unsupported_grant_type": 400,
            "BadRequest": 400,
            "Unauthorized": 401,
            "Forbidden": 403,
            "NotFound": 404,
            "MethodNotAllowed": 405,
            "TooManyRequests": 429,
            "InternalServerError": 500,
            "ServiceUnavailable": 503,
            "FailureInside": 200,
            "FailureByCode": 200,  # only its ResponseCode tells
            "NoListing": 200,
        }
    )

    def __init__(
        self,
        now: Callable[[], datetime] = utc_now,
        *,
        seed: int = 8,
        customers: int = 5,
        reporting: timedelta = timedelta(minutes=5),
        page_size: int = 100,
        page_base: Literal[0, 1] = 0,
        zero: Literal["first", "empty", "failure"] = "first",
        pages: Literal["told", "absent", "zero", "one", "many"] = "told",
        auth: Literal["oauth", "header"] = "oauth",
        token_path: str = "/oauth/token",  # noqa: S107  # a path
        expiry: Literal["documented", "seconds", "dates"] = "documented",
        rotates: bool = False,
        token_lifetime: timedelta = timedelta(hours=24),
        noise: bool = True,
    ) -> None:
        super().__init__(now, token_lifetime)
        self.seed = seed
        self._first_customers = customers
        self.reporting = reporting
        self.page_size = page_size
        self.page_base = page_base
        self.zero = zero
        self.pages = pages
        self.auth = auth
        self.token_path = token_path
        self.expiry = expiry
        self.rotates = rotates
        self.noise = noise
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Begin again: the first devices (or `seed` of them) and customers, nothing silent, failing or revoked."""
        self.seed = self.seed if seed is None else seed
        self._random, self._noise = random.Random(self.seed), random.Random(self.seed)
        self.distributors = distributors()
        self.devices: dict[str, Unit] = {}
        self.customers: dict[str, Wire] = {}
        self._refresh_tokens: set[str] = set()
        self._issued = self._made = 0
        self._found: tuple[object, list[tuple[datetime, str]]] = (None, [])
        self.revoked = False
        self.heal()
        self.tokens.forget()
        self.seen.clear()
        for _ in range(self.seed):
            self.add_device(self._random.choice([*self.distributors, self.distributors[0]])["ID"])
        for unit in self.devices.values():
            unit.began -= _HISTORY
        for _ in range(self._first_customers):
            self.add_customer()

    # Controls

    def controls(self) -> dict[str, Control]:
        own: tuple[Control, ...] = (
            *(self.add_device, self.change_device, self.remove_device, self.register, self.deregister, self.switch),
            *(self.silence, self.wake, self.silence_all, self.wake_all, self.upload, self.add_distributor),
            *(self.add_customer, self.change_customer, self.remove_customer, self.reset),
        )
        return super().controls() | {control.__name__: control for control in own}

    def add_distributor(self, id_: str, name: str = "new.distributor") -> Wire:
        self.distributors.append({"ID": id_, "UserName": name})
        return self.distributors[-1]

    def add_device(self, distributor: str | None = None, fields: Wire | None = None) -> Wire:
        """A new device, of the first distributor unless another is named; `fields` override the invented ones."""
        distributor = distributor or self.distributors[0]["ID"]
        if distributor not in {each["ID"] for each in self.distributors}:
            raise Refused(f"There is no distributor {distributor}.")
        self._made += 1
        shown = device(self._made, self._random) | (fields or {})
        if shown["DeviceID"] in self.devices:
            raise Refused("The id of a device is one that no other has.")
        phase = timedelta(seconds=self._random.randrange(int(self.reporting.total_seconds())))
        now = self.now().replace(microsecond=0)
        unit = Unit(shown=shown, distributor=distributor, began=now, every=self.reporting, phase=phase)
        self.devices[shown["DeviceID"]] = unit
        return dict(shown)

    def change_device(self, id_: str, fields: Wire) -> Wire:
        if "DeviceID" in fields:
            raise Refused("A device keeps its id.")
        unit = self._device(id_)
        unit.shown = unit.shown | fields
        return dict(unit.shown)

    def remove_device(self, id_: str) -> Wire:
        """Gone without a trace, its measurements too."""
        self._device(id_)
        return self.devices.pop(id_).shown

    def register(self, id_: str) -> Wire:
        return self.change_device(id_, {"IsRegistered": True})

    def deregister(self, id_: str) -> Wire:
        return self.change_device(id_, {"IsRegistered": False})

    def switch(self, id_: str, control: int = 1, *, on: bool | None = None) -> Wire:
        """Switch a control of a device on or off; the other way where it is not said."""
        known = self._device(id_).shown["Controls"]
        if control not in {each["ControlId"] for each in known}:
            raise Refused(f"The device has no control {control}.")
        controls = [
            each | {"Status": not each["Status"] if on is None else on} if each["ControlId"] == control else each
            for each in known
        ]
        return self.change_device(id_, {"Controls": controls})

    def silence(self, id_: str) -> None:
        """The device neither measures nor reports from now on."""
        unit = self._device(id_)
        if not unit.silent:
            unit.silences.append((self.now().replace(microsecond=0), None))

    def wake(self, id_: str) -> None:
        """It reports at once and measures again; what it missed stays missing."""
        unit = self._device(id_)
        if unit.silent:
            unit.silences[-1] = (unit.silences[-1][0], self.now().replace(microsecond=0))

    def silence_all(self) -> None:
        for id_ in self.devices:
            self.silence(id_)

    def wake_all(self) -> None:
        for id_ in self.devices:
            self.wake(id_)

    def upload(self, id_: str, minutes_late: float = 30) -> Wire:
        """A measurement from some minutes ago arrives only now, at a second that is no regular one."""
        unit, now = self._device(id_), self.now()
        at = (now - timedelta(minutes=minutes_late)).replace(microsecond=0)
        while at in {*unit.times(at, at), *(time for _, time in unit.late)}:
            at += timedelta(seconds=1)
        unit.late.append((now, at))
        return measurement(id_, at)

    def add_customer(self, fields: Wire | None = None) -> Wire:
        """A new customer of the first distributor, of one of its devices where there is one."""
        self._made += 1
        devices = self._random.sample(list(self.devices), 1) if self.devices else []
        new = customer(self._made, self.distributors[0]["ID"], devices, self._random) | (fields or {})
        self.customers[new["CustomerId"]] = new
        return dict(new)

    def change_customer(self, id_: str, fields: Wire) -> Wire:
        if id_ not in self.customers:
            raise Refused(f"There is no customer {id_}.")
        self.customers[id_] = self.customers[id_] | fields
        return dict(self.customers[id_])

    def remove_customer(self, id_: str) -> Wire:
        if id_ not in self.customers:
            raise Refused(f"There is no customer {id_}.")
        return self.customers.pop(id_)

    def state(self) -> Wire:
        return {
            "distributors": self.distributors,
            "devices": [self._timed(unit) | {"silent": unit.silent} for unit in self.devices.values()],
            "customers": list(self.customers.values()),
            "revoked": self.revoked,
            "faults": list(self.faults),
        }

    def step(self) -> str:
        chosen = self._random.choices(
            ["switch", "silence", "wake", "upload", "add", "deregister", "customer"], [40, 12, 15, 15, 6, 4, 8]
        )[0]
        if chosen == "customer" and self.customers:
            id_ = self._random.choice(list(self.customers))
            self.change_customer(id_, {"Mobile": f"04{self._random.randrange(10**8):08}"})
            return f"customer {id_} has a new number"
        fitting = [id_ for id_, unit in self.devices.items() if _plausible(chosen, unit)]
        if not fitting:
            return f"device {self.add_device()['DeviceID']} added"
        id_ = self._random.choice(fitting)
        acts: dict[str, Callable[[str], object]] = {
            "silence": self.silence,
            "wake": self.wake,
            "upload": self.upload,
            "deregister": self.deregister,
        }
        acts.get(chosen, self.switch)(id_)
        done = {"silence": "fell silent", "wake": "woke", "upload": "uploaded late", "deregister": "deregistered"}
        return f"device {id_} {done.get(chosen, 'switched')}"

    def _device(self, id_: str) -> Unit:
        if id_ not in self.devices:
            raise Refused(f"There is no device {id_}.")
        return self.devices[id_]

    # The vendor's side

    def error(self, status: int, kind: str | None, message: str) -> httpx.Response:
        kind = kind or _USUAL.get(status)
        if kind in {"FailureInside", "FailureByCode"}:
            number, _, sentence = message.partition(" ") if message[:1].isdigit() else ("1000", "", "Failed")
            empty = {"Devices": [], "Measurements": [], "Count": 0, "Pages": 0, "PagesIndex": 0}
            code = {"ResponseCode": 1, "ResponseMessage": "Failed"}
            told = outcome(int(number), sentence) if kind == "FailureInside" else outcome(0, "") | code
            return httpx.Response(200, json=empty | told)
        if kind is None:
            return httpx.Response(status, text="error")
        if kind in {"invalid_grant", "unsupported_grant_type"}:
            return httpx.Response(status, json={"error": kind, "error_description": message})
        return httpx.Response(status, json={"Message": message})

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == self.token_path and self.auth == "oauth":
            if request.method != "POST":
                raise Refusal("MethodNotAllowed", "errMethod")
            return self._grant(form(request))
        if not path.startswith("/ctapi/"):
            raise Refusal("NotFound", "errPath")
        self._admit(request)
        fault = self.due(path, LISTING)
        kind = fault.kind if fault else None
        match request.method, path.removeprefix("/ctapi/"):
            case "GET", "Distributor":
                return httpx.Response(200, json=[self._spelled(each) for each in self.distributors])
            case "GET", "Customer":
                return httpx.Response(200, json=self._customers(request.url.params, kind))
            case "POST", "Device":
                return httpx.Response(200, json=self._devices(_asked(request, _AskDevices), kind))
            case "POST", "Measurement":
                return httpx.Response(200, json=self._measurements(_asked(request, _AskMeasurements), kind))
            case _, "Distributor" | "Customer" | "Device" | "Measurement":
                raise Refusal("MethodNotAllowed", "errMethod")
        raise Refusal("NotFound", "errPath")

    def _grant(self, fields: dict[str, str]) -> httpx.Response:
        """Password grant; a refresh needs user name and password too."""
        if (fields.get("username"), fields.get("password")) != (USERNAME, PASSWORD) or self.revoked:
            raise Refusal("invalid_grant", "The user name or password is incorrect.")
        match fields.get("grant_type"):
            case "password":
                returns = True
            case "refresh_token":
                if fields.get("refresh_token") not in self._refresh_tokens:
                    raise Refusal("invalid_grant", "The refresh token is unknown.")
                returns = self.rotates
            case _:
                raise Refusal("unsupported_grant_type", "The grant type is not supported.")
        body = self._token()
        if returns:
            self._issued += 1
            body["refresh_token"] = f"sandbox-refresh-{self._issued}"
            self._refresh_tokens = {body["refresh_token"]}
        return httpx.Response(200, json=body)

    def _token(self) -> Wire:
        now, life = self.now(), self.tokens.lifetime
        body: Wire = {"access_token": self.tokens.issue(), "token_type": "bearer"}
        dates = {
            ".issued": format_datetime(now.astimezone(UTC), usegmt=True),
            ".expires": format_datetime((now + life).astimezone(UTC), usegmt=True),
        }
        match self.expiry:
            case "documented":
                return body | {"issued_at": int(now.timestamp()), "expires_in": int(life.total_seconds())}
            case "seconds":
                return body | dates | {"expires_in": int(life.total_seconds()) - 1}
            case "dates":
                return body | dates

    def revoke(self) -> None:
        """The user is locked out."""
        super().revoke()
        self._refresh_tokens = set()

    def _admit(self, request: httpx.Request) -> None:
        if self.auth == "header":
            given = request.headers.get("UserID"), request.headers.get("Password")
            if given != (USERNAME, PASSWORD) or self.revoked:
                raise Refusal("Unauthorized", "Authorization has been denied for this request.")
            return
        scheme, _, access = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or self.tokens.check(access) != "valid":
            raise Refusal("Unauthorized", "Authorization has been denied for this request.")

    def _customers(self, params: httpx.QueryParams, fault: str | None) -> Wire:
        asked = {name.removeprefix("customerRequest."): value for name, value in params.items()}
        known = {"page", "pageSize", *_CUSTOMER_FILTERS}
        if not asked.keys() <= known or not all(name.startswith("customerRequest.") for name in params):
            raise Refusal("BadRequest", "The request is invalid.")
        page, size = _whole(asked, "page", 1), min(_whole(asked, "pageSize", 20), _LARGEST_PAGE)
        found = list(self.customers.values())
        for name, field in _CUSTOMER_FILTERS.items():
            found = [each for each in found if asked.get(name, "").lower() in str(each[field]).lower()]
        if fault == "endless":
            first = 10**6 + page * size
            shown = [customer(first + each, self.distributors[0]["ID"], [], self._random) for each in range(size)]
        else:
            shown = list(_page(found, 0 if fault == "repeat" else page - 1, size))
        items = spoilt([self._spelled(each) for each in shown], fault, "CustomerId")
        return {"RecordCount": len(found), "CustomerList": items}

    def _devices(self, ask: _AskDevices, fault: str | None) -> Wire:
        units = [
            unit
            for unit in self._units(ask)
            if (unit.shown["IsRegistered"] or not ask.registered_only)
            and ask.customer_reference in {None, unit.shown["CustomerRef"]}
            and (ask.advance_key or "").lower() in str(unit.shown["DeviceName"]).lower()
        ]

        def invented(number: int) -> Wire:
            return device(10**6 + number, self._random)

        return self._listing("Devices", "DeviceID", ask, fault, units, self._timed, invented)

    def _measurements(self, ask: _AskMeasurements, fault: str | None) -> Wire:
        start, end = _instant(ask.from_), _instant(ask.to)

        def shown(found: tuple[datetime, str]) -> Wire:
            return measurement(found[1], found[0])

        def invented(number: int) -> Wire:
            return measurement(next(iter(self.devices), "0"), (start or self.now()) + timedelta(seconds=number))

        found = self._measured(ask, start, end)
        return self._listing("Measurements", "DeviceID", ask, fault, found, shown, invented)

    def _measured(
        self, ask: _AskMeasurements, start: datetime | None, end: datetime | None
    ) -> list[tuple[datetime, str]]:
        """When which device measured, oldest first; kept for the next page of the same question."""
        now = self.now().replace(microsecond=0)
        start, end = start or now - _HISTORY, min(end or now, now)
        units = self._units(ask)
        late = sum(len(unit.late) for unit in units)
        question = (start, end, ask.device_id, ask.distributor_id, now, late, len(units))
        if self._found[0] != question:
            times = [(time, unit.shown["DeviceID"]) for unit in units for time in unit.times(start, end)]
            times += [(at, unit.shown["DeviceID"]) for unit in units for _, at in unit.late if start <= at <= end]
            self._found = (question, sorted(times))
        return self._found[1]

    def _units(self, ask: _Ask) -> list[Unit]:
        if ask.distributor_id is not None and ask.distributor_id not in {each["ID"] for each in self.distributors}:
            raise Refusal("FailureInside", "1002 Invalid distributor")
        if ask.device_id is not None and ask.device_id not in self.devices:
            raise Refusal("FailureInside", "1001 Invalid device")
        units: Iterable[Unit] = self.devices.values() if ask.device_id is None else [self.devices[ask.device_id]]
        return [unit for unit in units if ask.distributor_id in {None, unit.distributor}]

    def _listing(
        self,
        name: str,
        key: str,
        ask: _Ask,
        fault: str | None,
        found: Sequence[T],
        shown: Callable[[T], Wire],
        invented: Callable[[int], Wire],
    ) -> Wire:
        """A page of what was found: only its own items are made."""
        size, page = self.page_size, ask.page_index - self.page_base
        if page < 0 and (self.zero == "failure" or ask.page_index < 0):
            raise Refusal("FailureInside", "1003 Invalid page")
        if page < 0 and self.zero == "first":
            page = 0
        index, pages = page + self.page_base, -(-len(found) // size)
        if fault == "endless":
            made = [invented(max(page, 0) * size + each) for each in range(size)]
        else:
            made = [shown(each) for each in _page(found, 0 if fault == "repeat" else page, size)]
        items = spoilt([self._spelled(each) for each in made], fault, key)
        told = {"told": pages, "zero": 0, "one": 1, "many": pages + 3}
        count = {"Pages": told[self.pages], "PagesIndex": index} if self.pages in told else {}
        return envelope(name, items, Count=len(found), **count)

    def _timed(self, unit: Unit) -> Wire:
        """A device with the times of its last reports: it measures first, and reports its state some seconds later."""
        heard = unit.heard(self.now())
        status = min(heard + timedelta(seconds=5), max(self.now(), heard))
        times = {"DeviceStatusUpdateDateTime": instant(status), "DeviceDataUpdateDateTime": instant(heard)}
        return unit.shown | times

    def _spelled(self, item: Wire) -> Wire:
        return respelled(item, self._noise) if self.noise else item


def _plausible(act: str, unit: Unit) -> bool:
    fits = {
        "silence": not unit.silent,
        "wake": unit.silent,
        "upload": not unit.silent,
        "switch": bool(unit.shown["Controls"]),
        "deregister": bool(unit.shown["IsRegistered"]),
    }
    return fits.get(act, False)


def _page(found: Sequence[T], page: int, size: int) -> Sequence[T]:
    return found[page * size : (page + 1) * size] if page >= 0 else []


def _asked(request: httpx.Request, shape: type[Ask]) -> Ask:
    if request.headers.get("Content-Type", "").partition(";")[0] != "application/json":
        raise Refusal("BadRequest", "The request is invalid.")
    try:
        return msgspec.json.decode(request.content, type=shape)
    except msgspec.MsgspecError:
        raise Refusal("BadRequest", "The request is invalid.") from None


def _whole(asked: Mapping[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise Refusal("BadRequest", "The request is invalid.")
    return int(text)


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refusal("BadRequest", "The request is invalid.") from None
