"""A fake PowerPro that behaves as the vendor's paper says; where that knows two shapes, a switch chooses.

A data error is a 200 with an `error` inside; a course's dates are not padded; `page` must be given and be a number; a token
is renewed only while it lives, and with `rotates` the old one is dead at once. Noise, different at every read: a course's
`enrolled`, the padding of dates, the type of ids, null or absent, the order of keys and units, the spelling of `updated_at`.

All data are invented. Every USI contains PRIVATE and every birth date is BORN: they must not leave a connector unasked.
"""

import random
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from math import ceil
from types import MappingProxyType
from typing import Any, ClassVar, Literal
from uuid import UUID

import httpx

from connectors.sandbox.base import LISTING, Control, Refusal, Refused, Sandbox, Wire, spoilt, utc_now
from connectors.sandbox.powerpro_data import course, enrolment, instant, respelled, student

API_KEY = "sandbox-key-powerpro"
USERNAME = "root@example.com"
PASSWORD = "sandbox-password-powerpro"  # noqa: S105  # invented

Kind = Literal["courses", "enrolments", "students"]
Shape = Literal["list", "paginator", "meta"]
PastEnd = Literal["empty", "error", "repeat", "missing"]
_FIRST = {"courses": 1298, "enrolments": 88120, "students": 5521}
_USUAL = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed"}
_WORDS = {
    "Forbidden": "This action is unauthorized for the API key",
    "NotFound": "Not Found",
    "PageError": "Could not load the page: database timeout",
}


class PowerProSandbox(Sandbox):
    """One training organisation. `seed` is how many courses there are at first; it also seeds all randomness.

    Switches: the `shape` of listings, their `page_size`, what comes `past_end`; `error_as`, how a data error is written;
    `refuses_with`, the status of refused credentials; `rotates`, whether a renewal kills the old token; `expires_as`, how its
    life is told. With `noise` off, the same record is the same bytes at every read.
    """

    errors: ClassVar[Mapping[str, int]] = MappingProxyType(
        {
            "DataError": 200,
            "PageError": 200,  # a data error whose words name the page
            "BadRequest": 400,
            "Unauthorized": 401,
            "Forbidden": 403,
            "NotFound": 404,
            "MethodNotAllowed": 405,
            "ServerError": 500,
        }
    )

    def __init__(
        self,
        now: Callable[[], datetime] = utc_now,
        *,
        seed: int = 3,
        noise: bool = False,
        shape: Shape = "meta",
        page_size: int = 15,
        past_end: PastEnd = "empty",
        error_as: Literal["object", "string"] = "object",
        refuses_with: Literal[200, 401] = 401,
        rotates: bool = False,
        expires_as: Literal["number", "text", "nothing"] = "number",
        token_lifetime: timedelta = timedelta(hours=1),
    ) -> None:
        super().__init__(now, token_lifetime)
        self.seed = seed
        self.noise = noise
        self.shape, self.page_size, self.past_end = shape, page_size, past_end
        self.error_as, self.refuses_with = error_as, refuses_with
        self.rotates, self.expires_as = rotates, expires_as
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Begin again: the first courses (or `seed` of them), nothing forbidden, failing or revoked."""
        self.seed = self.seed if seed is None else seed
        self._random, self._noise = random.Random(self.seed), random.Random(self.seed)
        self.courses: dict[int, Wire] = {}
        self.enrolments: dict[int, Wire] = {}
        self.students: dict[int, Wire] = {}
        self._next = dict(_FIRST)
        self.forbidden: set[str] = set()
        self.refreshes = True
        self._dead: set[str] = set()  # tokens that a renewal has replaced
        self.revoked = False
        self.heal()
        self.tokens.forget()
        self.seen.clear()
        for _ in range(self.seed):
            place = self.add_course()["id"]
            for _ in range(2):
                self.enrol(self.add_student()["id"], place)

    # Controls

    def controls(self) -> dict[str, Control]:
        own: tuple[Control, ...] = (
            *(self.add_course, self.change_course, self.cancel_course, self.add_student, self.change_student),
            *(self.enrol, self.change_enrolment, self.withdraw, self.complete, self.outcome, self.remove, self.touch),
            *(self.forbid, self.allow, self.refuse_refresh, self.allow_refresh, self.reset),
        )
        return super().controls() | {control.__name__: control for control in own}

    def add_course(self, fields: Wire | None = None) -> Wire:
        """A new course; `fields` override the invented ones, `id` included."""
        return self._add("courses", course(self._next["courses"], self._random, self.now()), fields)

    def change_course(self, id_: int, fields: Wire) -> Wire:
        return self._change("courses", id_, fields)

    def cancel_course(self, id_: int) -> Wire:
        return self._change("courses", id_, {"status": "cancelled"})

    def add_student(self, fields: Wire | None = None) -> Wire:
        """A new student; `fields` override the invented ones, `id` included."""
        return self._add("students", student(self._next["students"], self._random, self.now()), fields)

    def change_student(self, id_: int, fields: Wire) -> Wire:
        return self._change("students", id_, fields)

    def enrol(self, student_id: int, course_id: int, fields: Wire | None = None) -> Wire:
        """A student takes a place in a course, whose own counter goes up without its `updated_at`."""
        self._one("students", student_id)
        place = self._one("courses", course_id)
        new = enrolment(self._next["enrolments"], student_id, place, self._random, self.now())
        place["enrolled"] += 1
        return self._add("enrolments", new, fields)

    def change_enrolment(self, id_: int, fields: Wire) -> Wire:
        return self._change("enrolments", id_, fields)

    def withdraw(self, id_: int) -> Wire:
        """The student leaves: what was continuing is withdrawn (40)."""
        units = [{**unit, "outcome_national": "40"} for unit in self._one("enrolments", id_)["units"]]
        return self._change("enrolments", id_, {"status": "withdrawn", "units": units})

    def complete(self, id_: int) -> Wire:
        """The student has achieved all units (20)."""
        units = [{**unit, "outcome_national": "20"} for unit in self._one("enrolments", id_)["units"]]
        return self._change("enrolments", id_, {"status": "completed", "units": units})

    def outcome(self, id_: int, subject_identifier: str, outcome_national: str) -> Wire:
        """The outcome of one unit of an enrolment, such as 20 achieved, 30 not achieved."""
        units = self._one("enrolments", id_)["units"]
        if all(unit["subject_identifier"] != subject_identifier for unit in units):
            raise Refused(f"The enrolment {id_} has no unit {subject_identifier}.")
        changed = [
            {**unit, "outcome_national": outcome_national} if unit["subject_identifier"] == subject_identifier else unit
            for unit in units
        ]
        return self._change("enrolments", id_, {"units": changed})

    def remove(self, kind: Kind, id_: int) -> Wire:
        """Gone without a trace: the vendor documents no other way."""
        self._one(kind, id_)
        return self._all(kind).pop(id_)

    def touch(self, kind: Kind, id_: int) -> Wire:
        """Only the time of the last change moves."""
        return self._change(kind, id_, {})

    def forbid(self, kind: Kind) -> None:
        """The key has no rights for this resource."""
        self.forbidden.add(kind)

    def allow(self, kind: Kind) -> None:
        self.forbidden.discard(kind)

    def refuse_refresh(self) -> None:
        """No token is renewed any more, even before it has run out; logging in still works."""
        self.refreshes = False

    def allow_refresh(self) -> None:
        self.refreshes = True

    def state(self) -> Wire:
        return {
            **{kind: [dict(each) for each in self._all(kind).values()] for kind in _FIRST},
            "forbidden": sorted(self.forbidden),
            "revoked": self.revoked,
            "refreshes": self.refreshes,
            "faults": list(self.faults),
        }

    def step(self) -> str:
        active = [each["id"] for each in self.enrolments.values() if each["status"] == "active"]
        running = [each["id"] for each in self.courses.values() if each["status"] == "open"]
        chosen = self._random.choices(
            ["add_course", "enrol", "change", "outcome", "complete", "withdraw", "cancel", "remove"],
            [10, 30, 15, 20, 10, 8, 5, 2],
        )[0]
        if chosen == "add_course" or not running:
            return f"course {self.add_course()['id']} scheduled"
        if chosen == "enrol" or not active:
            new = self.enrol(self.add_student()["id"], self._random.choice(running))
            return f"student {new['student_id']} enrolled in course {new['course_id']}"
        if chosen in {"change", "cancel"}:
            return self._step_of_course(chosen, self._random.choice(running))
        return self._step_of_enrolment(chosen, self._random.choice(active))

    def _step_of_course(self, chosen: str, id_: int) -> str:
        if chosen == "cancel":
            self.cancel_course(id_)
            return f"course {id_} cancelled"
        self.change_course(id_, {"capacity": self._random.randrange(10, 40)})
        return f"course {id_} changed"

    def _step_of_enrolment(self, chosen: str, id_: int) -> str:
        if chosen == "outcome":
            unit = self._random.choice(self.enrolments[id_]["units"])["subject_identifier"]
            self.outcome(id_, unit, self._random.choice(["20", "30", "51"]))
            return f"enrolment {id_} has an outcome for {unit}"
        if chosen == "remove":
            self.remove("enrolments", id_)
            return f"enrolment {id_} deleted"
        (self.complete if chosen == "complete" else self.withdraw)(id_)
        return f"enrolment {id_} {'completed' if chosen == 'complete' else 'withdrawn'}"

    def _all(self, kind: str) -> dict[int, Wire]:
        known = {"courses": self.courses, "enrolments": self.enrolments, "students": self.students}
        return known[kind]

    def _one(self, kind: str, id_: int) -> Wire:
        if id_ not in self._all(kind):
            raise Refused(f"There is no {id_} among the {kind}.")
        return self._all(kind)[id_]

    def _add(self, kind: str, new: Wire, fields: Wire | None) -> Wire:
        new |= fields or {}
        id_ = new["id"]
        if not isinstance(id_, int) or id_ in self._all(kind):
            raise Refused("An id is a whole number that no other has.")
        self._next[kind] = max(self._next[kind], id_) + 1
        self._all(kind)[id_] = new
        return dict(new)

    def _change(self, kind: str, id_: int, fields: Wire) -> Wire:
        if "id" in fields:
            raise Refused("What has an id keeps it.")
        one = self._one(kind, id_)
        one |= {"updated_at": instant(self.now())} | fields
        return dict(one)

    # The vendor's side

    def error(self, status: int, kind: str | None, message: str) -> httpx.Response:
        kind = kind or _USUAL.get(status)
        if kind == "Unauthorized":
            return httpx.Response(status, json={"error": "Unauthorized"})
        words = _WORDS.get(kind or "", message)
        error = words if self.error_as == "string" else {"code": 1, "description": words}
        return httpx.Response(status, json={"request_id": self._request_id(), "error": error})

    def answer(self, request: httpx.Request) -> httpx.Response:
        match request.method, request.url.path.strip("/").split("/"):
            case "POST", ["auth", "login"]:
                return self._login(request)
            case "POST", ["auth", "refresh"]:
                return self._refresh(request)
            case "GET", ["courses" | "enrolments" | "students" as kind, *rest]:
                self._admit(request, kind)
                return self._read(kind, rest, request.url)
            case _, ["auth", "login" | "refresh"] | ["courses" | "enrolments" | "students", *_]:
                raise Refusal("MethodNotAllowed", "Method Not Allowed")
        raise Refusal("NotFound", "Not Found")

    def _login(self, request: httpx.Request) -> httpx.Response:
        basic = "Basic " + b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        shown = request.headers
        if self.revoked or (shown.get("X-API-Key") != API_KEY and shown.get("Authorization") != basic):
            return self.error(self.refuses_with, "Unauthorized", "")
        return self._token()

    def _refresh(self, request: httpx.Request) -> httpx.Response:
        access = _bearer(request)
        if self.revoked or not self.refreshes or not self._lives(access):
            return self.error(self.refuses_with, "Unauthorized", "")
        if self.rotates:
            self._dead.add(access)
        return self._token()

    def _token(self) -> httpx.Response:
        life = int(self.tokens.lifetime.total_seconds())
        lives: dict[str, Wire] = {"number": {"expires_in": life}, "text": {"expires_in": str(life)}, "nothing": {}}
        body = {"access_token": self.tokens.issue(), "token_type": "bearer", **lives[self.expires_as]}
        return httpx.Response(200, json={**body, "message": "Success"})

    def _lives(self, access: str) -> bool:
        return access not in self._dead and self.tokens.check(access) == "valid"

    def _admit(self, request: httpx.Request, kind: str) -> None:
        if not self._lives(_bearer(request)):
            raise Refusal("Unauthorized", "")
        if kind in self.forbidden:
            raise Refusal("Forbidden", "")

    def _read(self, kind: str, rest: list[str], url: httpx.URL) -> httpx.Response:
        match rest:
            case []:
                fault = self.due(url.path, LISTING)
                return self._listing(kind, url.params, fault.kind if fault else None)
            case [id_] if id_.isdecimal() and int(id_) in self._all(kind):
                return self._ok({"data": self._spelled(self._all(kind)[int(id_)])})
        raise Refusal("NotFound", "Not Found")

    def _listing(self, kind: str, params: httpx.QueryParams, fault: str | None) -> httpx.Response:
        number = params.get("page", "")
        if not number.isdecimal() or len(number) > 9 or int(number) < 1:
            raise Refusal("DataError", "A valid 'page' was not provided")
        page, size = int(number), self.page_size
        course_id = params.get("course_id") if kind == "enrolments" else None
        found = [each for each in self._all(kind).values() if course_id in {None, str(each.get("course_id"))}]
        last = max(ceil(len(found) / size), 1)
        if fault == "endless":
            shown, last = self._invented(kind, page), page + 1
        elif fault == "repeat":
            shown = found[:size]
        else:
            shown = self._slice(found, page, last)
        items = spoilt([self._spelled(each) for each in shown], fault, "id")
        return self._ok(self._paged(items, {"current_page": page, "last_page": last, "per_page": size}, len(found)))

    def _slice(self, found: list[Wire], page: int, last: int) -> list[Wire]:
        if page > last and self.past_end == "error":
            raise Refusal("DataError", "A valid 'page' was not provided")
        if page > last and self.past_end == "missing":
            raise Refusal("NotFound", "Not Found")
        if page > last and self.past_end == "repeat":
            page = last
        return found[(page - 1) * self.page_size : page * self.page_size]

    def _invented(self, kind: str, page: int) -> list[Wire]:
        """A full page of records that do not exist."""
        makes: dict[str, Callable[[int], Wire]] = {
            "courses": lambda id_: course(id_, self._random, self.now()),
            "students": lambda id_: student(id_, self._random, self.now()),
            "enrolments": lambda id_: enrolment(id_, 1, {"id": 1}, self._random, self.now()),
        }
        return [makes[kind](10**10 + page * self.page_size + each) for each in range(self.page_size)]

    def _paged(self, items: list[Wire], paging: Wire, total: int) -> Wire:
        paging = {**paging, "total": total}
        match self.shape:
            case "list":
                return {"data": items}
            case "paginator":
                return {"data": {"data": items, **paging}}
            case "meta":
                # A proxy in front writes its own host: links lead nowhere.
                links = {"next": f"http://localhost:8080/?page={paging['current_page'] + 1}"}
                return {"data": items, "meta": paging, "links": links}

    def _ok(self, body: Wire) -> httpx.Response:
        return httpx.Response(200, json={"request_id": self._request_id(), **body})

    def _request_id(self) -> str:
        return str(UUID(int=self._noise.getrandbits(128), version=4))

    def _spelled(self, value: Wire) -> Any:
        """The same record as this read happens to spell it."""
        if not self.noise:
            return value
        counted = {"enrolled": self._noise.randrange(40)} if "enrolled" in value else {}
        return respelled({**value, **counted}, self._noise)


def _bearer(request: httpx.Request) -> str:
    scheme, _, access = request.headers.get("Authorization", "").partition(" ")
    return access if scheme == "Bearer" else ""
