"""A fake Octorate that behaves as the vendor's paper says, its lies included.

Lies: `totalPages` is always 1 and `next` always points at an internal host; MODIFIED_BETWEEN leaves out new and cancelled
reservations, STAY leaves out cancelled ones unless `status=CANCELLED`; a cancelled one is a shortened record; query days
are Rome days; a refresh gives no refresh token back, and its life is spelled in one of two ways; `refer` may be a number of
20 digits. Noise, different at every read: `touristTax`, `tagColor`, `autoLoginParam`, the order of keys and of lists, null or
absent, the digits of a fraction of a second.

All data are invented. Every card, document and police value contains PRIVATE: it must never leave a connector.
"""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import ClassVar, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import httpx

from connectors.sandbox.base import LISTING, Control, Refusal, Refused, Sandbox, Wire, form, spoilt, utc_now
from connectors.sandbox.octorate_data import (
    INSTANT,
    accommodations,
    brief,
    instant,
    listed,
    reservation,
    respelled,
)
from connectors.sandbox.octorate_hooks import Subscriptions, event_of

CLIENT_ID = "sandbox-client"
CLIENT_SECRET = "sandbox-secret-octorate"  # noqa: S105  # invented
REFRESH_TOKEN = "sandbox-refresh-octorate"  # noqa: S105  # invented

_ROME = ZoneInfo("Europe/Rome")
_WINDOW = timedelta(minutes=5)
_FIRST_ID = 92180827
_USUAL = {
    400: "ApiParamsExemption",
    401: "ApiKeyInvalid",
    403: "ApiSecurityException",
    500: "InternalServerError",
    550: "ApiPartnerServerError",
}
# `type` → the field whose Rome day it asks for. STAY asks for two and stands apart.
_ASKS = {
    "MODIFIED_BETWEEN": "updateTime",
    "CREATETIME": "createTime",
    "CANCELLATION": "cancelledTime",
    "CHECKIN": "checkin",
    "CHECKOUT": "checkout",
}
_STATUSES = {
    "CANCELLED": {"CANCELLED"},
    "WAITING": {"WAITING"},
    "CONFIRMED": {"CONFIRMED"},
    "ACTIVE": {"WAITING", "CONFIRMED"},
}
_SORTS = ("createTime", "updateTime", "checkin", "checkout")


class OctorateSandbox(Sandbox):
    """One Octorate user with two properties.

    `seed` is how many reservations there are at first; it also seeds all randomness. `limit` is the calls in a window of 5
    minutes. `expiry` is how a refresh reply spells the life of its token. With `noise` off, the same record is the same
    bytes at every read. One that `rotates` gives a new refresh token at each refresh, and withdraws the consent when an old
    one comes back.
    """

    errors: ClassVar[Mapping[str, int]] = MappingProxyType(
        {
            "ApiParamsExemption": 400,
            "ApiValidationFailed": 400,
            "ApiKeyMissing": 401,
            "ApiKeyInvalid": 401,
            "ApiLoginExpired": 403,
            "ApiQuotaException": 403,
            "ApiSecurityException": 403,
            "WrongEnviroment": 403,
            "ApiResourceMissing": 404,
            "ApiResourceEmpty": 404,
            "MethodNotAllowed": 405,
            "InternalServerError": 500,
            "ApiPartnerServerError": 550,
        }
    )

    def __init__(
        self,
        now: Callable[[], datetime] = utc_now,
        *,
        seed: int = 12,
        limit: int = 100,
        token_lifetime: timedelta = timedelta(hours=24),
        expiry: Literal["expires_in", "expireDate", "alternate"] = "alternate",
        modified_lists_all: bool = False,
        noise: bool = True,
        rotates: bool = False,
    ) -> None:
        super().__init__(now, token_lifetime)
        self.seed = seed
        self._first_limit = limit
        self.expiry = expiry
        self.modified_lists_all = modified_lists_all
        self.noise = noise
        self.rotates = rotates
        self._replies = 0
        self._refreshes = 0
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Begin again: the first reservations (or `seed` of them), nothing forbidden, failing or revoked."""
        self.seed = self.seed if seed is None else seed
        self._random, self._noise = random.Random(self.seed), random.Random(self.seed)
        self.accommodations: dict[str, Wire] = {each["id"]: each for each in accommodations()}
        self.reservations: dict[int, Wire] = {}
        self._updated: dict[int, datetime] = {}
        self.forbidden: set[str] = set()
        self._codes: dict[str, datetime] = {}
        self.subscriptions = Subscriptions(self.now)
        self.refresh_token = REFRESH_TOKEN
        self._next_id = _FIRST_ID
        self.revoked = False
        self.heal()
        self.tokens.forget()
        self.seen.clear()
        self.quota(self._first_limit)
        for _ in range(self.seed):
            self._seed_one()

    def _seed_one(self) -> None:
        now = self.now()
        new = self.add(self._random.choice(["112696", "112696", "200100"]))
        created = now - timedelta(days=self._random.randrange(1, 60), seconds=self._random.randrange(86_400))
        stored = self.reservations[new["id"]]
        stored["createTime"] = stored["updateTime"] = instant(created)
        if self._random.random() < 0.15:
            at = instant(created + (now - created) / 2)
            stored.update(status="CANCELLED", cancelledBy="guest", cancelledTime=at, updateTime=at)

    # Controls

    def controls(self) -> dict[str, Control]:
        own: tuple[Control, ...] = (
            *(self.add, self.change, self.cancel, self.confirm, self.check_in, self.check_out, self.no_show),
            *(self.delete, self.touch, self.change_accommodation, self.forbid, self.allow, self.quota, self.reset),
        )
        return super().controls() | {control.__name__: control for control in own}

    def add(self, accommodation: str = "112696", fields: Wire | None = None) -> Wire:
        """A new reservation made now; `fields` override the invented ones, `id` included."""
        place, now = self._accommodation(accommodation), self.now()
        new = reservation(self._next_id, place, self._random, now) | (fields or {}) | {"accommodation": brief(place)}
        id_ = new["id"]
        if not isinstance(id_, int) or id_ in self.reservations:
            raise Refused("The id of a reservation is a whole number that no other has.")
        self._next_id = max(self._next_id, id_) + 1
        self.reservations[id_], self._updated[id_] = new, now
        self._tell(None, new)
        return dict(new)

    def change(self, id_: int, fields: Wire) -> Wire:
        """Set some fields, and the time of the last change."""
        reservation = self._reservation(id_)
        if {"id", "accommodation"} & fields.keys():
            raise Refused("A reservation keeps its id and its accommodation.")
        # Two changes within the vendor's smallest step of time still have two times.
        self._updated[id_] = max(self.now(), self._updated[id_] + timedelta(milliseconds=10))
        before = dict(reservation)
        reservation |= {"updateTime": instant(self._updated[id_])} | fields
        self._tell(before, reservation)
        return dict(reservation)

    def _tell(self, before: Wire | None, after: Wire) -> None:
        for call in self.subscriptions.calls(event_of(before, after), after):
            self.call(call)

    def cancel(self, id_: int, by: Literal["guest", "accommodation"] = "guest") -> Wire:
        return self.change(id_, {"status": "CANCELLED", "cancelledBy": by, "cancelledTime": instant(self.now())})

    def confirm(self, id_: int) -> Wire:
        return self.change(id_, {"status": "CONFIRMED"})

    def check_in(self, id_: int) -> Wire:
        return self.change(id_, {"effectiveCheckin": instant(self.now())})

    def check_out(self, id_: int) -> Wire:
        return self.change(id_, {"effectiveCheckout": instant(self.now())})

    def no_show(self, id_: int) -> Wire:
        return self.change(id_, {"noShow": True})

    def touch(self, id_: int) -> Wire:
        """Only the time of the last change moves."""
        return self.change(id_, {})

    def delete(self, id_: int) -> Wire:
        """Gone without a trace, as no vendor should do it."""
        self._reservation(id_)
        del self._updated[id_]
        return self.reservations.pop(id_)

    def change_accommodation(self, accommodation: str, fields: Wire) -> Wire:
        place = self._accommodation(accommodation)
        place.update(fields)
        return dict(place)

    def forbid(self, accommodation: str) -> None:
        """The token no longer reaches this property, though it is still listed."""
        self._accommodation(accommodation)
        self.forbidden.add(accommodation)

    def allow(self, accommodation: str) -> None:
        self.forbidden.discard(accommodation)

    def quota(self, limit: int) -> None:
        """Calls allowed in 5 minutes; begins a new window."""
        self.limit, self.remaining, self._window_ends = limit, limit, self.now() + _WINDOW

    def state(self) -> Wire:
        return {
            "accommodations": [dict(each) for each in self.accommodations.values()],
            "reservations": [dict(each) for each in self.reservations.values()],
            "forbidden": sorted(self.forbidden),
            "revoked": self.revoked,
            "faults": list(self.faults),
            "quota": {"limit": self.limit, "remaining": self.remaining},
        }

    def step(self) -> str:
        chosen = self._random.choices(
            ["add", "change", "confirm", "check_in", "check_out", "cancel", "delete"], [20, 35, 15, 15, 10, 8, 2]
        )[0]
        fitting = [each for each in self.reservations.values() if _plausible(chosen, each, instant(self.now()))]
        if chosen == "add" or not fitting:
            new = self.add(self._random.choice(list(self.accommodations)))
            return f"booking {new['id']} made at {new['accommodation']['name']}"
        reservation = self._random.choice(fitting)
        id_, place = reservation["id"], reservation["accommodation"]["name"]
        if chosen == "change":
            gross = round(reservation["totalGross"] + self._random.randrange(5, 60), 2)
            self.change(id_, {"totalGross": gross, "totalGuest": self._random.randrange(1, 5)})
            return f"booking {id_} changed at {place}"
        acts = {"confirm": self.confirm, "check_in": self.check_in, "check_out": self.check_out, "delete": self.delete}
        acts.get(chosen, self.cancel)(id_)
        done = {"confirm": "confirmed", "check_in": "checked in", "check_out": "checked out", "delete": "deleted"}
        return f"booking {id_} {done.get(chosen, 'cancelled')} at {place}"

    def _reservation(self, id_: int) -> Wire:
        if id_ not in self.reservations:
            raise Refused(f"There is no reservation {id_}.")
        return self.reservations[id_]

    def _accommodation(self, id_: str) -> Wire:
        if id_ not in self.accommodations:
            raise Refused(f"There is no accommodation {id_}.")
        return self.accommodations[id_]

    # The vendor's side

    def headers(self) -> dict[str, str]:
        self._replies += 1
        return {"X-RateLimit-Remaining": str(self.remaining), "request-id": f"sandbox-request-{self._replies}"}

    def error(self, status: int, kind: str | None, message: str) -> httpx.Response:
        kind = kind or _USUAL.get(status)
        if kind is None:  # a gateway's page; a 404 like this means a wrong link, or that the vendor's sandbox is down
            return httpx.Response(status, text="error")
        return httpx.Response(status, json={"message": message, "nested": [], "type": kind})

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/connect")
        if (request.method, path) == ("GET", "/octobook/identity/oauth.xhtml"):
            return self._consent(request.url.params)
        match request.method, path.removeprefix("/rest/v1/").split("/"):
            case "POST", ["identity", "refresh"]:
                return self._refresh(form(request))
            case "POST", ["identity", "token"]:
                return self._exchange(form(request))
            case "GET", ["accommodation" | "reservation" | "api", *_] as parts:
                self._admit(request)
                return self._read(path, parts, request.url.params)
            case _, ["subscription", *parts]:
                self._admit(request)
                return self.subscriptions.answer(request, parts)
            case _, ["accommodation" | "reservation" | "api", *_]:
                raise Refusal("MethodNotAllowed", "errMethod")
            case _:
                return self.error(404, None, "")

    def _read(self, path: str, parts: list[str], params: httpx.QueryParams) -> httpx.Response:
        match parts:
            case ["accommodation"]:
                return httpx.Response(200, json=self._places(params, self._spoiling(path)))
            case ["accommodation", id_]:
                return httpx.Response(200, json=self._spelled(self._granted(id_)))
            case ["reservation", id_]:
                return httpx.Response(200, json=self._listing(self._granted(id_), params, self._spoiling(path)))
            case ["api", "configuration"]:
                return httpx.Response(200, json=self._configuration())
            case _:
                return self.error(404, None, "")

    def _spoiling(self, path: str) -> str | None:
        fault = self.due(path, LISTING)
        return fault.kind if fault else None

    def _consent(self, params: httpx.QueryParams) -> httpx.Response:
        if params.get("client_id") != CLIENT_ID or "redirect_uri" not in params:
            raise Refusal("ApiParamsExemption", "errClient")
        code = f"sandbox-code-{self._noise.getrandbits(64):x}"
        self._codes[code] = self.now() + timedelta(minutes=1)
        back = {"code": code} | ({"state": params["state"]} if "state" in params else {})
        return httpx.Response(302, headers={"Location": f"{params['redirect_uri']}?{urlencode(back)}"})

    def _exchange(self, fields: dict[str, str]) -> httpx.Response:
        self._check_client(fields)
        if fields.get("grant_type", "code") not in {"code", "authorization_code"}:
            raise Refusal("ApiParamsExemption", "errGrantType")
        if self.now() >= self._codes.pop(fields.get("code", ""), datetime.min.replace(tzinfo=UTC)):
            raise Refusal("ApiKeyInvalid", "errCode")
        self.grant()
        body = self._token("expires_in") | {"refresh_token": self.refresh_token, "token_type": "Bearer"}
        return httpx.Response(200, json=body)

    def _refresh(self, fields: dict[str, str]) -> httpx.Response:
        self._check_client(fields)
        if self.revoked or fields.get("refresh_token") != self.refresh_token:
            if self.rotates:
                self.revoke()
            raise Refusal("ApiKeyInvalid", "errRefreshToken")
        self._refreshes += 1
        spelling = self.expiry
        if spelling == "alternate":
            spelling = "expireDate" if self._refreshes % 2 else "expires_in"
        body = self._token(spelling)
        if self.rotates:
            self.refresh_token = body["refresh_token"] = f"{REFRESH_TOKEN}-{self._refreshes}"
        return httpx.Response(200, json=body)

    def _check_client(self, fields: dict[str, str]) -> None:
        if (fields.get("client_id"), fields.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            raise Refusal("ApiKeyInvalid", "errClient")

    def _token(self, spelling: str) -> Wire:
        access = self.tokens.issue()
        if spelling == "expires_in":
            return {"access_token": access, "expires_in": int(self.tokens.lifetime.total_seconds())}
        end = (self.now() + self.tokens.lifetime).astimezone(UTC)
        return {"access_token": access, "expireDate": f"{end:%Y-%m-%d %H:%M:%S}+00:00"}

    def _admit(self, request: httpx.Request) -> None:
        scheme, _, access = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not access:
            raise Refusal("ApiKeyMissing", "errMissingToken")
        match self.tokens.check(access):
            case "unknown":
                raise Refusal("ApiKeyInvalid", "errInvalidToken")
            case "expired":
                raise Refusal("ApiLoginExpired", "Expired Token")
        if self.now() >= self._window_ends:
            self.quota(self.limit)
        if self.remaining == 0:
            raise Refusal("ApiQuotaException", "errQuota")
        self.remaining -= 1

    def _granted(self, id_: str) -> Wire:
        if id_ in self.forbidden:
            raise Refusal("ApiSecurityException", "errNoResourcesForIdentity")
        if id_ not in self.accommodations:
            raise Refusal("ApiResourceMissing", "errAccommodation")
        return self.accommodations[id_]

    def _configuration(self) -> Wire:
        none = dict.fromkeys(("content", "license", "cardDetail"), "NONE")
        return {
            "environment": "SANDBOX",
            "active": True,
            "applicationName": "Sample agent",
            "quotaLimit": self.limit,
            "quotaStatus": self.remaining,
            "permissions": {"accommodation": "READONLY", "reservation": "READONLY", **none},
            "maintenance": False,
        }

    def _places(self, params: httpx.QueryParams, fault: str | None) -> list[Wire]:
        """A plain list; a user's properties fit on the first page."""
        page = _whole(params, "page", default=0, least=0, most=1000, message="errPage")
        shown = self.accommodations.values() if page == 0 or fault == "repeat" else ()
        return spoilt([self._spelled(place) for place in shown], fault, "id")

    def _listing(self, place: Wire, params: httpx.QueryParams, fault: str | None) -> Wire:
        size = _whole(params, "size", default=20, least=1, most=200, message="errPageSize")
        page = _whole(params, "page", default=0, least=0, most=1000, message="errPage")
        found = self._found(place["id"], params)
        if fault == "endless":
            first = 10**10 + page * size
            shown = [reservation(first + each, place, self._random, self.now()) for each in range(size)]
        else:
            start = 0 if fault == "repeat" else page * size
            shown = found[start : start + size]
        items = spoilt([self._spelled(listed(each)) for each in shown], fault, "id")
        if names := {name for name in params.get("fields", "").split(",") if name}:
            items = [{name: value for name, value in item.items() if name in names} for item in items]
        links = {
            rel: {
                "href": f"http://localhost:8080/octobook/rest/reservation/{place['id']}?page={number}",
                "rel": rel,
                "type": "ApiReservationResp",
            }
            for rel, number in (("self", page), ("next", page + 1))
        }
        return {"data": items, "page": {"page": page, "totalPages": 1, **links}}

    def _found(self, accommodation: str, params: httpx.QueryParams) -> list[Wire]:
        every = [each for each in self.reservations.values() if each["accommodation"]["id"] == accommodation]
        if ids := params.get_list("ids[]"):
            return [each for each in every if str(each["id"]) in ids]
        sort, _, order = params.get("sortBy", "createTime.asc").partition(".")
        if sort not in _SORTS or order not in {"", "asc", "desc"}:
            raise Refusal("ApiParamsExemption", "errSortBy")
        status = params.get("status")
        if status is not None and status not in _STATUSES:
            raise Refusal("ApiParamsExemption", "errStatus")
        asked = self._asked(params, hides_cancelled=status != "CANCELLED")
        found = [each for each in every if (status is None or each["status"] in _STATUSES[status]) and asked(each)]
        return sorted(found, key=lambda each: (_text(each, sort), each["id"]), reverse=order == "desc")

    def _asked(self, params: httpx.QueryParams, *, hides_cancelled: bool) -> Callable[[Wire], bool]:
        """Whether a reservation is in the days asked for. Instants are compared as text: all begin `YYYY-MM-DDThh:mm:ss`."""
        kind = params.get("type", "STAY")
        low = _rome_midnight(params, "startDate", timedelta(0)) or ""
        high = _rome_midnight(params, "endDate", timedelta(days=1)) or "~"
        if kind == "STAY":
            return lambda each: (
                _text(each, "checkin") < high
                and _text(each, "checkout") >= low
                and not (hides_cancelled and each["status"] == "CANCELLED")
            )
        if kind not in _ASKS:
            raise Refusal("ApiParamsExemption", "errType")
        field, everything = _ASKS[kind], kind != "MODIFIED_BETWEEN" or self.modified_lists_all
        return lambda each: (
            low <= _text(each, field) < high
            and (kind != "CANCELLATION" or each["status"] == "CANCELLED")
            and (everything or (each["status"] != "CANCELLED" and each["updateTime"] != each["createTime"]))
        )

    def _spelled(self, value: Wire) -> Wire:
        """The same record as this read happens to spell it."""
        if not self.noise:
            return value
        noise = self._noise
        shown = {name: each for name, each in value.items() if each is not None or noise.random() < 0.5}
        if "touristTax" in shown:
            shown["touristTax"] = round(noise.uniform(1, 20), 2)
            shown["tagColor"] = f"#{noise.randrange(1 << 24):06x}"
            shown["autoLoginParam"] = f"{noise.getrandbits(64):016x}"
        for name in ("guests", "payments", "priceBreakdown"):
            if name in shown:
                shown[name] = noise.sample(shown[name], len(shown[name]))
        names = noise.sample(list(shown), len(shown))
        return {name: respelled(shown[name], noise) for name in names}


def _plausible(act: str, reservation: Wire, now: str) -> bool:
    alive = reservation["status"] != "CANCELLED"
    inside, left = reservation["effectiveCheckin"] is not None, reservation["effectiveCheckout"] is not None
    due = reservation["status"] == "CONFIRMED" and _text(reservation, "checkin") <= now < _text(reservation, "checkout")
    fits: dict[str, bool] = {
        "change": alive and not left,
        "confirm": reservation["status"] == "WAITING",
        "check_in": due and not inside,
        "check_out": inside and not left,
        "cancel": alive and not inside,
        "delete": not inside,
    }
    return fits.get(act, False)


def _whole(params: httpx.QueryParams, name: str, *, default: int, least: int, most: int, message: str) -> int:
    text = params.get(name, str(default))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise Refusal("ApiParamsExemption", message)
    return int(text)


def _rome_midnight(params: httpx.QueryParams, name: str, later: timedelta) -> str | None:
    """The instant at which a day asked for begins in Rome, as text; None where none is asked for."""
    if name not in params:
        return None
    try:
        day = datetime.strptime(params[name], "%Y-%m-%d").replace(tzinfo=_ROME)
    except ValueError:
        raise Refusal("ApiParamsExemption", "errDate") from None
    return (day + later).astimezone(UTC).strftime(INSTANT)


def _text(reservation: Wire, field: str) -> str:
    """A field to compare by; nothing where it holds anything but text, as a test may want it."""
    value = reservation.get(field)
    return value if isinstance(value, str) else ""
