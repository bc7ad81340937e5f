"""PowerPro, a student management system for Australian training organisations.

Signs in with an API key, or with the root user's name and password; a token lives an hour and is renewed only before it
has run out, else it signs in anew. Reads scheduled courses, enrolments and students, each whole at every poll: no filter
for what changed is known. Odd: a data error is a 200 with an `error` inside, a text or an object; dates are not padded.
Little of it is documented: what is assumed is a setting.
"""

import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta, tzinfo
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

import httpx
import msgspec

from connectors import pages
from connectors.api import Api
from connectors.auth import LONGEST_LIFE, SignIn, Token, life
from connectors.base import Connector, Page, Query, Resource
from connectors.decoding import BOM, decode
from connectors.errors import AuthRefused, Misconfigured, NothingThere, Unavailable, VendorError
from connectors.http import told
from connectors.indexed import indexed
from connectors.listing import Listed, Listing
from connectors.tolerant import a_day, a_whole_number, an_id, an_instant, text
from schemas import powerpro as wire
from schemas.records import Record
from schemas.settings import Budget, Duration, Secret
from schemas.training import Course, Enrolment, Student, Unit

PERTH = ZoneInfo("Australia/Perth")
PATHS: Mapping[str, str] = MappingProxyType({"course": "/courses", "enrolment": "/enrolments", "student": "/students"})
SENSITIVE = ("usi", "date_of_birth")  # of a student
MOST_PAGES = 2000  # of one listing

# What a vendor may answer where it does not know an id, or cannot be asked by id at all.
_NOT_BY_ID = frozenset({400, 404, 405, 410, 422})
_PAGE = re.compile(r"\bpage\b", re.IGNORECASE)

_REQUEST_ID = re.compile(rb'"request_id"\s*:\s*"[^"]*"')  # another in each reply

_answer = msgspec.json.Decoder(wire.Answer)
_token = msgspec.json.Decoder(wire.Token)
_listing = msgspec.json.Decoder(wire.Listing)
_found = msgspec.json.Decoder(wire.Found)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_identified = msgspec.json.Decoder(wire.Identified)
_course = msgspec.json.Decoder(wire.Course)
_enrolment = msgspec.json.Decoder(wire.Enrolment)
_student = msgspec.json.Decoder(wire.Student)


class PowerPro(Connector, frozen=True, kw_only=True, tag="powerpro"):
    """A PowerPro account, by `api_key` or by `username` and `password`. `timezone` is for times without one; Perth's if unset.

    `keep`: sensitive fields of students that are part of the record; unless named they are neither stored nor published.
    `counters`: whether a course's count of enrolments is part of its record, so that each enrolment also changes its course.
    """

    resources: ClassVar[Mapping[str, Resource]] = MappingProxyType(
        {
            "course": Resource(record=Course, every=timedelta(seconds=60), changes=("cancelled",)),
            "enrolment": Resource(record=Enrolment, every=timedelta(seconds=60), changes=("withdrawn", "completed")),
            "student": Resource(record=Student, every=timedelta(minutes=15)),
        }
    )
    looks_up: ClassVar[frozenset[str]] = frozenset(resources)
    default_budget: ClassVar[Budget] = Budget(requests=1, per=Duration(seconds=1))  # chosen: no limit is documented

    api_key: Secret | None = None
    username: str | None = None
    password: Secret | None = None
    base_url: str = "https://api.powerprorto.com.au"
    keep: tuple[Literal["usi", "date_of_birth"], ...] = ()
    counters: bool = False
    # Assumed, not documented:
    paths: dict[str, str] = msgspec.field(default_factory=dict)  # resource → path, where it is another than in PATHS
    login_path: str = "/auth/login"  # this one is documented, and stands beside its sibling
    refresh_path: str = "/auth/refresh"
    token_lifetime: Duration = Duration(hours=1)  # where a reply does not tell

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_credentials()
        if unknown := sorted(self.paths.keys() - PATHS.keys()):
            raise ValueError(f"paths names {unknown[0]!a}, which is none of {', '.join(PATHS)}"[:200])
        places = [("paths", path) for path in self.paths.values()]
        for name, path in (*places, ("login_path", self.login_path), ("refresh_path", self.refresh_path)):
            if not re.fullmatch(r"/[^\s?#]+", path):
                raise ValueError(f"{name} must begin with a slash and have no blank, query or fragment")
        if not timedelta(0) < self.token_lifetime <= LONGEST_LIFE:
            raise ValueError("token_lifetime must be longer than nothing and at most a year")

    def _check_credentials(self) -> None:
        if self.api_key is not None:
            if self.username is not None or self.password is not None:
                raise ValueError("api_key is one way to sign in, username and password the other: give one of them")
        elif self.username is None and self.password is None:
            raise ValueError("api_key is missing, or else username and password")
        elif not (self.username or "").strip():
            raise ValueError("username is missing")
        elif self.password is None:
            raise ValueError("password is missing")
        elif ":" in (self.username or ""):
            raise ValueError("username must not hold a colon: HTTP Basic cannot carry it")

    @property
    def hidden(self) -> tuple[str, ...]:
        """What is sensitive and not kept, also where it was kept before."""
        return tuple(field for field in SENSITIVE if field not in self.keep)

    def sign_in(self, token: Token | None) -> SignIn:
        """Renew a token that still lives; without one, log in."""
        if token is not None and token.lifetime > 0:
            path, headers = self.refresh_path, {"Authorization": f"Bearer {token.access}"}
        else:
            path, headers = self.login_path, self._credentials()
        reply = yield httpx.Request("POST", self.base_url.rstrip("/") + path, headers=headers)
        answer = decode(reply.content, _token, f"POST {path}")
        return Token(access=answer.access_token, lifetime=life(answer.expires_in, self.token_lifetime))

    def _credentials(self) -> dict[str, str]:
        if self.api_key is not None:
            return {"X-API-Key": self.api_key.reveal()}
        password = self.password.reveal() if self.password is not None else ""
        return {"Authorization": f"Basic {b64encode(f'{self.username}:{password}'.encode()).decode()}"}

    def refusal(self, reply: httpx.Response) -> VendorError | None:
        """A 200 is none where there is an error inside. To a further page, and by id, an error is a plain no.

        It need not be true: the page is the end only where that is what the vendor says of its pages, and a record is told as
        deleted only once two whole reads have missed it.
        """
        asked, status = reply.request, reply.status_code
        by_id = asked.method == "GET" and "page" not in asked.url.params
        further = asked.url.params.get("page", "1") != "1"
        if status in _NOT_BY_ID and (by_id or (further and status == 404)):
            return NothingThere(f"{told(asked)}: the vendor answered {status}")
        if status == 404:
            return Misconfigured(f"{told(asked)}: the vendor answered 404; correct the account's paths or base_url")
        if not reply.is_success:
            return None
        error = _answer.decode(reply.content.removeprefix(BOM)).error
        if not error:
            return None
        words, what = _words(error), f"{told(asked)}: a data error inside a {status}{_code(error)}"
        if asked.method == "POST" or "unauth" in words.lower():
            return AuthRefused(what, renewable=True)
        if by_id or (further and _PAGE.search(words)):
            return NothingThere(what)
        return Unavailable(what)

    async def read(self, api: Api, query: Query) -> AsyncIterator[Page]:
        """Every record of a resource."""
        async for items in _pages(api, self._path(query.resource)):
            yield self._page(query.resource, items)

    async def look_up(self, api: Api, query: Query, records: Sequence[Record]) -> AsyncIterator[Page]:
        """Ask for records one by one."""

        async def one(id_: str) -> AsyncIterator[Page]:
            found = await api.get(f"{self._path(query.resource)}/{quote(id_, safe='')}", _found)
            yield self._page(query.resource, _items(found.data))

        async for page in pages.each((record.id for record in records), one):
            yield page

    def _path(self, resource: str) -> str:
        return self.paths.get(resource, PATHS[resource])

    def _page(self, resource: str, items: Sequence[msgspec.Raw]) -> Page:
        zone = self.timezone or PERTH
        mappers: dict[str, Callable[[msgspec.Raw], Record]] = {
            "course": partial(_to_course, zone, self.counters),
            "enrolment": partial(_to_enrolment, zone),
            "student": partial(_to_student, zone, self.keep),
        }
        return Page(items=items, to_record=mappers[resource], key_of=_key)


async def _pages(api: Api, path: str) -> AsyncIterator[Sequence[msgspec.Raw]]:
    """A listing. While the vendor tells nothing of its pages, its no to a further page is the end."""
    listing = Listing(
        path=path, decoder=_listing, page=_listed, key_of=_key, absent=Listed(items=()), varying=_REQUEST_ID
    )

    async def fetch(number: int) -> Listed:
        nonlocal listing
        listed = await api.listing(listing, [("page", str(number))])
        if listed.pages or listed.total:
            listing = msgspec.structs.replace(listing, absent=None)
        return listed

    async for items in indexed(fetch, _key, base=1, cap=MOST_PAGES, binding=True, keys=api.keys):
        yield items


def _listed(page: wire.Listing) -> Listed:
    items, paging = (page.data.data, page.data) if isinstance(page.data, wire.Paged) else (page.data, page.meta)
    if not isinstance(paging, wire.Paging):
        return Listed(items=items)
    last, full, total = map(_hint, (paging.last_page, paging.per_page, paging.total))
    return Listed(items=items, pages=last, size=full, total=total)


def _items(data: msgspec.Raw) -> Sequence[msgspec.Raw]:
    """What was found by id: an object, a list of it, or nothing."""
    match bytes(data)[:1]:
        case b"[":
            return _list.decode(data)
        case b"{":
            return [data]
    return []


def _hint(value: Any) -> int | None:
    """A number the vendor says of its paging, which need not be one."""
    digits = str(value)
    return int(digits) if re.fullmatch(r"[0-9]{1,9}", digits) else None


def _words(error: Any) -> str:
    return str(error.get("description", "")) if isinstance(error, dict) else str(error)


def _code(error: Any) -> str:
    """The number of an error, which is all of it that may be told."""
    code = str(error.get("code", "")) if isinstance(error, dict) else ""
    return f" (code {code})" if re.fullmatch(r"-?[0-9]{1,9}", code) else ""


def _key(raw: msgspec.Raw) -> str:
    return an_id(_identified.decode(raw).id)


def _lower(value: object) -> str | None:
    words = text(value)
    return words.lower() if words else None


def _to_course(zone: tzinfo, counters: bool, raw: msgspec.Raw) -> Course:  # noqa: FBT001  # bound by partial, in order
    found = _course.decode(raw)
    return Course(
        id=an_id(found.id),
        name=text(found.name),
        nat_code=text(found.nat_code),
        location=text(found.location),
        start_date=a_day(found.start_date, "$.start_date"),
        end_date=a_day(found.end_date, "$.end_date"),
        status=_lower(found.status),
        capacity=a_whole_number(found.capacity, "$.capacity"),
        enrolled=a_whole_number(found.enrolled, "$.enrolled") if counters else None,
        trainer=text(found.trainer),
        delivery_mode=text(found.delivery_mode),
        updated_at=an_instant(found.updated_at, "$.updated_at", zone),
    )


def _to_enrolment(zone: tzinfo, raw: msgspec.Raw) -> Enrolment:
    found = _enrolment.decode(raw)
    return Enrolment(
        id=an_id(found.id),
        student_id=text(found.student_id),
        course_id=text(found.course_id),
        status=_lower(found.status),
        enrolment_date=a_day(found.enrolment_date, "$.enrolment_date"),
        activity_start_date=a_day(found.activity_start_date, "$.activity_start_date"),
        activity_end_date=a_day(found.activity_end_date, "$.activity_end_date"),
        funding_source_national=text(found.funding_source_national),
        commencing_program=text(found.commencing_program),
        study_reason=text(found.study_reason),
        units=_units(found.units or ()),
        updated_at=an_instant(found.updated_at, "$.updated_at", zone),
    )


def _units(found: Sequence[wire.Unit]) -> tuple[Unit, ...]:
    """In an order of their own: the vendor's may be another at every read."""
    units = [
        Unit(
            subject_identifier=text(unit.subject_identifier),
            name=text(unit.name),
            outcome_national=text(unit.outcome_national),
            activity_start_date=a_day(unit.activity_start_date, "$.units[...].activity_start_date"),
            activity_end_date=a_day(unit.activity_end_date, "$.units[...].activity_end_date"),
        )
        for unit in found
    ]
    return tuple(sorted(units, key=lambda unit: (unit.subject_identifier or "", msgspec.json.encode(unit))))


def _to_student(zone: tzinfo, keep: Sequence[str], raw: msgspec.Raw) -> Student:
    found = _student.decode(raw)
    return Student(
        id=an_id(found.id),
        client_identifier=text(found.client_identifier),
        first_name=text(found.first_name),
        last_name=text(found.last_name),
        email=text(found.email),
        mobile=text(found.mobile),
        suburb=text(found.suburb),
        state=text(found.state),
        postcode=text(found.postcode),
        status=_lower(found.status),
        usi=text(found.usi) if "usi" in keep else None,
        date_of_birth=a_day(found.date_of_birth, "$.date_of_birth") if "date_of_birth" in keep else None,
        updated_at=an_instant(found.updated_at, "$.updated_at", zone),
    )
