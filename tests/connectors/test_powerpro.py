"""PowerPro: what its replies mean, from sign-in to a record."""

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from connectors.auth import Token
from connectors.base import Query
from connectors.errors import (
    AuthRefused,
    Forbidden,
    Misconfigured,
    NothingThere,
    Throttled,
    Unavailable,
    Unreadable,
    VendorError,
)
from connectors.powerpro import MOST_PAGES, PowerPro
from connectors.sandbox.powerpro import API_KEY, PASSWORD, USERNAME, PowerProSandbox
from connectors.sandbox.powerpro_data import BORN, PRIVATE
from schemas.facts import PollOutcome
from schemas.settings import Budget, Duration, Secret
from schemas.training import Course, Enrolment, Student, Unit
from tests.polled import NOON, Account, Clock

pytestmark = pytest.mark.anyio

ID = "12345678-9012-3456-7890-123456789012"
# The sample of the vendor's own document, with the comma it forgets.
COURSE = {
    "id": 1298,
    "name": "Certificate III in Music",
    "nat_code": "CUA30920",
    "location": "Perth Northbridge Campus",
    "start_date": "2024-9-20",
}
ENROLMENT: dict[str, Any] = json.loads(
    """{"id": 88120, "student_id": 5521, "course_id": 1298, "status": "active", "enrolment_date": "2024-08-12",
    "activity_start_date": "2024-9-20", "activity_end_date": "2025-6-27", "funding_source_national": "20",
    "study_reason": "03", "units": [{"subject_identifier": "CUAMUP311", "name": "Prepare personal appearance for
    performances", "outcome_national": "70"}], "updated_at": "2024-09-02T00:00:00Z"}""".replace("\n    ", " ")
)
STUDENT = {
    "id": 5521,
    "client_identifier": "C005521",
    "usi": PRIVATE,
    "first_name": "Elisa",
    "last_name": "Sample",
    "email": "student@example.com",
    "mobile": "0400 000 000",
    "date_of_birth": BORN,
    "suburb": "Northbridge",
    "state": "WA",
    "postcode": 6003,
    "status": "Active",
    "updated_at": "2024-09-02 08:00:00",
}


def settings(**other: Any) -> PowerPro:
    known: dict[str, Any] = {
        "name": "college",
        "base_url": "https://powerpro.test",
        "api_key": Secret(API_KEY),
        "budget": Budget(requests=1_000_000, per=Duration(hours=1)),
    }
    return PowerPro(**known | other)


class College(Account):
    """A PowerPro account, with both hands on the fake vendor."""

    def __init__(self, sandbox: dict[str, Any] | None = None, **other: Any) -> None:
        clock = Clock()
        self.sandbox = PowerProSandbox(clock, **{"seed": 0} | (sandbox or {}))
        super().__init__(settings(**other), self.sandbox, clock)

    async def poll(self, resource: str = "course", *, after: timedelta = timedelta(minutes=1)) -> Any:
        return await super().poll(resource, after=after)

    async def read(self, resource: str = "course") -> list[Any]:
        """Everything a read gives, as records. Raises VendorError."""
        asked = Query(resource=resource, part="", since=None, whole=True, now=NOON)
        return [page.to_record(raw) async for page in self.connector.read(self.api, asked) for raw in page.items]

    async def look_up(self, resource: str, *ids: str) -> list[Any]:
        kind = self.connector.resources[resource].record
        asked = Query(resource=resource, part="", since=None, whole=True, now=NOON)
        found = self.connector.look_up(self.api, asked, [kind(id=id_) for id_ in ids])
        return [page.to_record(raw) async for page in found for raw in page.items]

    def paths(self) -> list[str]:
        return [seen.path for seen in self.sandbox.seen]

    def answers(self, change: Callable[[int], Any]) -> None:
        """From now on each page of a listing is what `change` makes of its number."""

        def answer(request: httpx.Request) -> httpx.Response:
            if request.method == "POST":
                return self.sandbox(request)
            return httpx.Response(200, json=change(int(request.url.params.get("page", "0"))))

        self.vendor = answer


def page_of(*items: Any) -> dict[str, Any]:
    return {"request_id": ID, "data": list(items)}


async def record(resource: str, item: dict[str, Any], **other: Any) -> Any:
    """The record that this item of a listing becomes."""
    college = College(**other)
    college.answers(lambda page: page_of(item) if page == 1 else page_of())
    return (await college.read(resource))[0]


# Settings

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"api_key": None}, "api_key is missing"),
    ({"username": "root"}, "api_key is one way"),
    ({"password": Secret("x")}, "api_key is one way"),
    ({"api_key": None, "username": "root"}, "password is missing"),
    ({"api_key": None, "username": " ", "password": Secret("x")}, "username is missing"),
    ({"api_key": None, "password": Secret("x")}, "username is missing"),
    ({"api_key": None, "username": "a:b", "password": Secret("x")}, "username must not hold a colon"),
    ({"paths": {"courses": "/courses"}}, "paths names 'courses'"),
    ({"paths": {"course": "courses"}}, "paths must begin with a slash"),
    ({"paths": {"course": "/courses?x=1"}}, "paths must begin with a slash"),
    ({"login_path": ""}, "login_path must begin"),
    ({"refresh_path": "@evil.test/"}, "refresh_path must begin"),
    ({"token_lifetime": Duration(0)}, "token_lifetime must be longer"),
]


@pytest.mark.parametrize(("other", "sentence"), WRONG)
def test_a_wrong_setting_is_told_by_its_name(other: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        settings(**other)


async def test_paths_may_be_set_one_by_one() -> None:
    college = College(paths={"course": "/v2/scheduled-courses"})
    college.sandbox.fail(status=500, match="/v2/scheduled-courses")
    with pytest.raises(Unavailable):
        await college.read("course")
    assert await college.read("student") == []


def test_no_secret_is_in_a_repr() -> None:
    assert API_KEY not in repr(settings())
    assert PASSWORD not in repr(settings(api_key=None, username=USERNAME, password=Secret(PASSWORD)))


# From reply to record


async def test_the_documented_course_becomes_one() -> None:
    assert await record("course", COURSE) == Course(
        id="1298",
        name="Certificate III in Music",
        nat_code="CUA30920",
        location="Perth Northbridge Campus",
        start_date=date(2024, 9, 20),
    )


async def test_a_full_course_becomes_one() -> None:
    full = {
        **COURSE,
        "end_date": "2025-06-27",
        "status": "Open",
        "capacity": "20",
        "enrolled": 14,
        "trainer": " A. T. ",
    }
    found = await record("course", {**full, "delivery_mode": 10, "updated_at": "2024-09-01T02:15:00Z"})
    assert (found.end_date, found.status, found.capacity, found.trainer) == (date(2025, 6, 27), "open", 20, "A. T.")
    assert (found.delivery_mode, found.enrolled) == ("10", None)
    assert found.changed_at == datetime(2024, 9, 1, 2, 15, tzinfo=UTC)


async def test_a_course_counts_its_enrolments_only_where_asked_to() -> None:
    assert (await record("course", {**COURSE, "enrolled": 14}, counters=True)).enrolled == 14


async def test_an_enrolment_becomes_one() -> None:
    assert await record("enrolment", ENROLMENT) == Enrolment(
        id="88120",
        student_id="5521",
        course_id="1298",
        status="active",
        enrolment_date=date(2024, 8, 12),
        activity_start_date=date(2024, 9, 20),
        activity_end_date=date(2025, 6, 27),
        funding_source_national="20",
        study_reason="03",
        units=(
            Unit(
                subject_identifier="CUAMUP311",
                name="Prepare personal appearance for performances",
                outcome_national="70",
            ),
        ),
        updated_at=datetime(2024, 9, 2, tzinfo=UTC),
    )


async def test_units_have_an_order_of_their_own() -> None:
    units = [{"subject_identifier": name, "outcome_national": 70} for name in ("B", "A")] + [{"name": "no identifier"}]
    one = await record("enrolment", {**ENROLMENT, "units": units})
    assert one == await record("enrolment", {**ENROLMENT, "units": units[::-1]})
    assert [unit.subject_identifier for unit in one.units] == [None, "A", "B"]
    assert (await record("enrolment", {**ENROLMENT, "units": None})).units == ()


async def test_a_student_becomes_one_without_what_is_sensitive() -> None:
    assert await record("student", STUDENT) == Student(
        id="5521",
        client_identifier="C005521",
        first_name="Elisa",
        last_name="Sample",
        email="student@example.com",
        mobile="0400 000 000",
        suburb="Northbridge",
        state="WA",
        postcode="6003",
        status="active",
        updated_at=datetime(2024, 9, 2, 0, 0, tzinfo=UTC),  # 08:00 in Perth
    )


async def test_what_is_sensitive_is_kept_where_it_is_named() -> None:
    found = await record("student", STUDENT, keep=("usi", "date_of_birth"))
    assert (found.usi, found.date_of_birth) == (PRIVATE, date(1931, 2, 3))
    assert (await record("student", STUDENT, keep=("usi",))).date_of_birth is None


async def test_a_sensitive_value_never_enters_the_ledger() -> None:
    college = College({"seed": 5})
    await college.poll("student")
    found = msgspec.json.encode(await college.stored("student"))
    assert found.count(b'"id"') == 10
    assert not any(word.encode() in found for word in (PRIVATE, BORN))


def test_what_is_not_kept_is_hidden() -> None:
    assert settings().hidden == ("usi", "date_of_birth")
    assert settings(keep=("usi",)).hidden == ("date_of_birth",)
    assert settings(keep=("date_of_birth", "usi")).hidden == ()


async def test_a_time_without_a_zone_is_in_the_configured_one() -> None:
    found = await record("student", STUDENT, timezone=ZoneInfo("Australia/Sydney"))
    assert found.updated_at == datetime(2024, 9, 1, 22, tzinfo=UTC)


@pytest.mark.parametrize("id_", [1298, 1298.0, "1298", " 1298 "])
async def test_an_id_is_the_same_however_it_is_written(id_: object) -> None:
    assert (await record("course", {"id": id_})).id == "1298"


@pytest.mark.parametrize("item", [None, 5, {}, {"id": None}, {"id": ""}, {"id": {"wrong": 1}}, {**COURSE, "name": []}])
async def test_what_cannot_be_read_is_quarantined_and_keeps_nothing_else_out(item: object) -> None:
    college = College()
    college.answers(lambda page: page_of(item, COURSE | {"id": 2}) if page == 1 else page_of())
    assert (await college.poll()).outcome.succeeded
    assert (list(await college.stored("course")), len(college.quarantined())) == (["2"], 1)


async def test_a_date_that_is_none_names_its_place_and_not_its_value() -> None:
    with pytest.raises(Unreadable, match=r"^\$\.start_date: it cannot be understood$"):
        await record("course", {**COURSE, "start_date": "2024-13-45"})


# Signing in


def signed_in(reply: dict[str, Any], token: Token | None = None, **other: Any) -> tuple[httpx.Request, Token]:
    steps = settings(**other).sign_in(token)
    request = next(steps)
    with pytest.raises(StopIteration) as done:
        steps.send(httpx.Response(200, json=reply))
    return request, done.value.value


def test_the_key_logs_in() -> None:
    request, token = signed_in(
        {"access_token": "one", "token_type": "bearer", "expires_in": 3600, "message": "Success"}
    )
    assert (request.method, str(request.url), request.content) == ("POST", "https://powerpro.test/auth/login", b"")
    assert (request.headers["X-API-Key"], "Authorization" in request.headers) == (API_KEY, False)
    assert (token.access, token.refresh, token.lifetime) == ("one", None, 3600)


def test_a_name_and_a_password_log_in() -> None:
    request, _ = signed_in({"access_token": "one"}, api_key=None, username="rööt", password=Secret("p:w"))
    assert request.headers["Authorization"] == f"Basic {b64encode('rööt:p:w'.encode()).decode()}"
    assert "X-API-Key" not in request.headers


def test_a_living_token_is_renewed_and_a_dead_one_replaced() -> None:
    renewed, _ = signed_in({"access_token": "two"}, Token(access="one", lifetime=600))
    assert (renewed.url.path, renewed.headers["Authorization"]) == ("/auth/refresh", "Bearer one")
    replaced, _ = signed_in({"access_token": "two"}, Token(access="one", lifetime=0))
    assert (replaced.url.path, replaced.headers["X-API-Key"]) == ("/auth/login", API_KEY)


LIVES = [(3600, 3600), ("1800", 1800), (90.5, 90.5), (0, 7200), (-5, 7200), ("soon", 7200), (None, 7200), (1e30, 7200)]


@pytest.mark.parametrize(("told", "seconds"), [*LIVES, (True, 7200), ({}, 7200)])
def test_the_life_of_a_token_is_read_however_it_is_told(told: object, seconds: float) -> None:
    _, token = signed_in({"access_token": "one", "expires_in": told}, token_lifetime=Duration(hours=2))
    assert token.lifetime == seconds


def test_a_login_reply_without_a_token_is_unreadable() -> None:
    steps = settings().sign_in(None)
    next(steps)
    with pytest.raises(Unreadable, match=r"^POST /auth/login: Object missing required field `access_token`"):
        steps.send(httpx.Response(200, json={"message": "Success"}))


@pytest.mark.parametrize("error", ["Unauthorized", {"code": 7, "description": "no such key"}, ["no"]])
async def test_a_login_refused_inside_a_200_is_refused(error: object) -> None:
    college = College()
    college.vendor = lambda _request: httpx.Response(200, json={"error": error})
    assert (await college.poll()).outcome is PollOutcome.UNAUTHORIZED


@pytest.mark.parametrize("status", [200, 401])
async def test_wrong_credentials_are_refused(status: int) -> None:
    college = College({"refuses_with": status}, api_key=None, username=USERNAME, password=Secret("other"))
    with pytest.raises(AuthRefused):
        await college.read()


async def test_the_root_user_reads_too() -> None:
    college = College({"seed": 1}, api_key=None, username=USERNAME, password=Secret(PASSWORD))
    assert len(await college.read("student")) == 2


# What a refusal means


def meaning(status: int, body: object, url: str = "/courses?page=1", method: str = "GET") -> VendorError | None:
    request = httpx.Request(method, f"https://powerpro.test{url}")
    return settings().refusal(httpx.Response(status, json=body, request=request))


DATA_ERROR = {"request_id": ID, "error": {"code": 1, "description": "A valid 'page' was not provided"}}
MEANINGS: list[tuple[int, object, str, type[VendorError] | None]] = [
    (200, {"error": "Unauthorized"}, "/courses?page=1", AuthRefused),
    (200, {"error": "UNAUTHENTICATED."}, "/courses?page=1", AuthRefused),
    (200, {"error": {"code": 9, "description": "Unauthorized"}}, "/courses?page=1", AuthRefused),
    (200, {"error": "Something else"}, "/courses?page=1", Unavailable),
    (200, {"error": {"code": 5, "description": "Busy"}, "data": []}, "/courses?page=2", Unavailable),
    (200, DATA_ERROR, "/courses?page=1", Unavailable),
    (200, DATA_ERROR, "/courses?page=2", NothingThere),
    (200, DATA_ERROR, "/courses/5", NothingThere),
    (404, {}, "/courses?page=1", Misconfigured),
    (404, {}, "/courses?page=2", NothingThere),
    (404, {}, "/courses/5", NothingThere),
    (405, {}, "/courses/5", NothingThere),
    (401, {"error": "Unauthorized"}, "/courses/5", None),
    (403, {"error": "This action is unauthorized."}, "/students?page=1", None),
    (500, {"error": "Unauthorized"}, "/courses?page=1", None),
    (200, {"data": [{"error": "inside"}]}, "/courses?page=1", None),
    (200, {"data": {"error": "inside"}}, "/courses/5", None),
]
NO_ERRORS: list[object] = [None, "", {}, [], False]


@pytest.mark.parametrize(("status", "body", "url", "expected"), MEANINGS)
def test_a_refusal_is_told_by_status_body_and_what_was_asked(
    status: int, body: object, url: str, expected: type[VendorError] | None
) -> None:
    said = meaning(status, body, url)
    assert (type(said) if said else None) == expected


@pytest.mark.parametrize("error", NO_ERRORS)
def test_an_error_that_is_empty_is_none(error: object) -> None:
    assert meaning(200, {"data": [], "error": error}) is None


def test_an_error_inside_a_200_tells_its_number_and_nothing_else() -> None:
    said = meaning(200, {"error": {"code": 12, "description": "Elisa Sample is unknown"}})
    assert str(said) == "GET /courses: a data error inside a 200 (code 12)"
    assert str(meaning(200, {"error": {"code": "Elisa"}})) == "GET /courses: a data error inside a 200"


def test_an_unauthorized_inside_a_200_is_worth_a_renewal() -> None:
    said = meaning(200, {"error": "Unauthorized"})
    assert isinstance(said, AuthRefused)
    assert said.renewable


async def test_a_data_error_is_an_outage_and_never_an_empty_listing() -> None:
    for written in ("object", "string"):
        college = College({"seed": 3, "error_as": written})
        await college.poll()
        college.sandbox.fail(kind="DataError", match="/courses", times=2)
        assert [(await college.poll()).outcome for _ in range(2)] == [PollOutcome.UNAVAILABLE] * 2
        assert (len(await college.stored("course")), college.kinds()) == (3, [])


async def test_a_resource_without_rights_leaves_the_others_alone() -> None:
    college = College({"seed": 2})
    college.sandbox.forbid("students")
    with pytest.raises(Forbidden):
        await college.read("student")
    assert len(await college.read("course")) == 2


async def test_a_429_is_one() -> None:
    college = College()
    college.sandbox.fail(status=429, match="/courses", retry_after=9)
    with pytest.raises(Throttled):
        await college.read()


# Reading to the end


@pytest.mark.parametrize("shape", ["list", "paginator", "meta"])
@pytest.mark.parametrize("past_end", ["empty", "error", "repeat", "missing"])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 11, 15])
async def test_every_shape_of_listing_is_read_to_its_end(shape: str, past_end: str, count: int) -> None:
    college = College({"shape": shape, "past_end": past_end, "page_size": 5})
    for _ in range(count):
        college.sandbox.add_course()
    assert [found.id for found in await college.read()] == [str(id_) for id_ in college.sandbox.courses]


async def test_a_short_page_that_the_vendor_calls_the_last_is_the_last() -> None:
    college = College({"page_size": 5})
    for _ in range(12):
        college.sandbox.add_course()
    await college.read()
    assert college.paths().count("/courses") == 3


async def test_no_link_is_followed() -> None:
    college = College({"page_size": 2, "seed": 5})
    hosts: set[str] = set()

    def watched(request: httpx.Request) -> httpx.Response:
        hosts.add(request.url.host)
        return college.sandbox(request)

    college.vendor = watched
    assert (len(await college.read()), hosts) == (5, {"powerpro.test"})


async def test_an_endless_listing_is_unreadable() -> None:
    college = College({"page_size": 1})
    college.sandbox.fail(kind="endless", match="/courses", times=MOST_PAGES)
    with pytest.raises(Unreadable, match=f"more than {MOST_PAGES} pages"):
        await college.read()


def spoiling(college: College, page: int, **fault: Any) -> Callable[[httpx.Request], httpx.Response]:
    """The sandbox, told to fail each time this page of a listing, or one behind it, is asked for."""

    def answer(request: httpx.Request) -> httpx.Response:
        if int(request.url.params.get("page", "0")) >= page:
            college.sandbox.fail(**fault, match="/courses")
        return college.sandbox(request)

    return answer


FAULTS: list[tuple[dict[str, Any], PollOutcome]] = [
    ({"status": 404}, PollOutcome.UNAVAILABLE),
    ({"kind": "PageError"}, PollOutcome.UNAVAILABLE),
    ({"kind": "empty"}, PollOutcome.UNREADABLE),
    ({"kind": "repeat"}, PollOutcome.UNREADABLE),
]


@pytest.mark.parametrize("shape", ["paginator", "meta"])
@pytest.mark.parametrize(("fault", "outcome"), FAULTS)
async def test_an_end_before_the_last_page_is_none(shape: str, fault: dict[str, Any], outcome: PollOutcome) -> None:
    college = College({"shape": shape, "page_size": 5, "seed": 12})
    await college.poll()
    college.sandbox.seen.clear()
    college.vendor = spoiling(college, 2, **fault)
    assert [(await college.poll()).outcome for _ in range(3)] == [outcome] * 3
    assert set(college.paths()) == {"/courses"}  # nothing was asked for by its id, for nothing is missing
    college.vendor = college.sandbox
    assert (await college.poll()).outcome is PollOutcome.UNCHANGED
    assert college.kinds() == []


@pytest.mark.parametrize("fault", [{"status": 404}, {"kind": "PageError"}])
async def test_where_the_vendor_tells_nothing_of_its_pages_its_no_is_the_end(fault: dict[str, Any]) -> None:
    college = College({"shape": "list", "page_size": 5, "seed": 12})
    college.vendor = spoiling(college, 3, **fault)
    assert len(await college.read()) == 10


@pytest.mark.parametrize("paging", [{"last_page": 3}, {"total": 9}, {"last_page": 1, "total": 9}])
async def test_one_word_of_more_is_enough_to_make_a_refusal_a_failure(paging: dict[str, int]) -> None:
    college = College()
    college.vendor = lambda request: (
        college.sandbox(request)
        if request.method == "POST"
        else httpx.Response(200, json={"data": [{"id": 1}, {"id": 2}], "meta": paging})
        if request.url.params["page"] == "1"
        else httpx.Response(404, json={})
    )
    with pytest.raises(NothingThere, match=r"^GET /courses: the vendor answered 404"):
        await college.read()


async def test_records_that_move_from_page_to_page_while_they_are_read_are_all_read() -> None:
    college = College({"page_size": 5, "seed": 17})

    def moving(request: httpx.Request) -> httpx.Response:
        reply = college.sandbox(request)
        if request.url.params.get("page") == "2":
            last = list(college.sandbox.courses)[-1]
            college.sandbox.courses = {last: college.sandbox.courses[last], **college.sandbox.courses}
        return reply

    college.vendor = moving
    assert {found.id for found in await college.read()} == set(map(str, college.sandbox.courses))


lies = st.none() | st.integers(-1, 30) | st.sampled_from(["3", "many", 2.5, True, [], {}])
shapes = st.sampled_from(["beside", "inside", "nowhere"])


@examples(max_examples=150, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.lists(st.tuples(lies, lies, lies), min_size=1, max_size=4), shapes)
async def test_every_record_is_read_whatever_the_vendor_says_of_its_pages(
    count: int, size: int, told: list[tuple[Any, Any, Any]], shape: str
) -> None:
    college = College()
    records = [{"id": id_} for id_ in range(count)]

    def page(number: int) -> Any:
        items = records[(number - 1) * size : number * size]
        last, per_page, total = told[number % len(told)]
        if str(per_page).isdecimal() and int(per_page) > size:
            per_page = size  # three lies that agree with each other cannot be told from the truth
        paging = {"current_page": number, "last_page": last, "per_page": per_page, "total": total}
        if shape == "inside":
            return {"data": {"data": items, **paging}}
        return {"data": items, "meta": paging} if shape == "beside" else {"data": items, "meta": []}

    college.answers(page)
    ended = await college.poll()
    assert set(await college.stored("course")) == {str(id_) for id_ in range(count)}
    assert ended.outcome.succeeded or ended.detail.endswith("though the vendor says that there is more")


@pytest.mark.parametrize("paging", [{"last_page": 1, "per_page": 9}, {"last_page": 1, "per_page": 9, "total": 3}])
async def test_one_true_word_is_enough_to_read_on(paging: dict[str, int]) -> None:
    college = College()
    pages = [[], [{"id": 1}, {"id": 2}], [{"id": 3}], []]
    college.answers(lambda number: {"data": pages[number], "meta": paging})
    assert len(await college.read()) == 3


@examples(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5) | st.none(), max_size=4), min_size=1, max_size=6))
async def test_pages_that_come_round_and_round_have_an_end(pages: list[list[int | None]]) -> None:
    college = College()
    college.answers(lambda number: page_of(*({"id": id_} for id_ in pages[number % len(pages)] if id_ is not None)))
    await college.read()
    assert college.requests.count("200") <= 2 * len(pages) + 6


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": "x"}, {"data": {"total": 3}}, [], None])
async def test_a_listing_of_another_shape_is_unreadable_and_never_empty(body: object) -> None:
    college = College()
    college.answers(lambda _number: body)
    with pytest.raises(Unreadable, match=r"^GET /courses: "):
        await college.read()


# Asking by id


async def test_records_are_asked_for_one_by_one_and_what_is_gone_is_passed_over() -> None:
    college = College({"seed": 2})
    found = await college.look_up("course", "1298", "7", "1299")
    assert [each.id for each in found] == ["1298", "1299"]
    assert college.paths()[1:] == ["/courses/1298", "/courses/7", "/courses/1299"]


@pytest.mark.parametrize("body", [{"data": None}, {"data": []}, DATA_ERROR])
async def test_nothing_by_id_is_no_failure(body: object) -> None:
    college = College()
    college.answers(lambda _number: body)
    assert await college.look_up("course", "1298") == []


@pytest.mark.parametrize("data", [COURSE, [COURSE]])
async def test_one_by_id_may_come_in_a_list(data: object) -> None:
    college = College()
    college.answers(lambda _number: {"data": data})
    assert [each.id for each in await college.look_up("course", "1298")] == ["1298"]


async def test_a_hostile_id_stays_within_its_place_in_the_path() -> None:
    college = College()
    await college.look_up("course", "../students?x#y")
    assert college.paths()[-1].startswith("/courses/")


# Polled


async def test_each_change_is_told_by_its_verb() -> None:
    college = College({"seed": 2})
    sandbox = college.sandbox
    for resource in ("course", "enrolment", "student"):
        await college.poll(resource)
    first, second, third = list(sandbox.enrolments)[:3]
    sandbox.cancel_course(1298)
    sandbox.change_course(1299, {"capacity": 3})
    sandbox.withdraw(first)
    sandbox.complete(second)
    sandbox.outcome(third, sandbox.enrolments[third]["units"][0]["subject_identifier"], "20")
    sandbox.change_student(5521, {"suburb": "Subiaco"})
    for resource in ("course", "enrolment", "student"):
        await college.poll(resource)
    assert sorted(college.kinds()) == [
        "course.cancelled",
        "course.modified",
        "enrolment.completed",
        "enrolment.modified",
        "enrolment.withdrawn",
        "student.modified",
    ]


@pytest.mark.parametrize("resource", ["course", "enrolment", "student"])
async def test_the_same_state_spelled_otherwise_is_no_change(resource: str) -> None:
    college = College({"seed": 20, "noise": True})
    await college.poll(resource)
    for kind, ids in (("courses", 1298), ("enrolments", 88120), ("students", 5521)):
        college.sandbox.touch(kind, ids)  # type: ignore[arg-type]  # the names are those of the sandbox
    assert (await college.poll(resource)).outcome is PollOutcome.UNCHANGED
    assert college.kinds() == []


async def test_a_record_that_is_gone_is_told_after_the_second_sweep() -> None:
    college = College({"seed": 8})
    await college.poll("enrolment")
    college.sandbox.remove("enrolments", 88121)
    await college.poll("enrolment")
    assert college.kinds() == []
    await college.poll("enrolment")
    assert college.kinds() == ["enrolment.deleted"]


async def test_a_listing_cut_short_deletes_nothing_that_can_still_be_asked_for() -> None:
    college = College({"seed": 9, "page_size": 4, "shape": "list"})
    await college.poll()
    college.vendor = spoiling(college, 2, status=404)
    for _ in range(3):
        assert (await college.poll()).outcome is PollOutcome.UNCHANGED
    assert (college.kinds(), len(await college.stored("course"))) == ([], 9)


async def test_a_token_renewed_by_a_vendor_that_kills_the_old_one_goes_on_reading() -> None:
    college = College({"seed": 1, "rotates": True})
    for _ in range(12):
        assert (await college.poll(after=timedelta(minutes=13))).outcome.succeeded
    assert college.paths().count("/auth/login") == 1
    assert college.paths().count("/auth/refresh") >= 2


async def test_a_refused_renewal_is_followed_by_a_login() -> None:
    college = College({"seed": 1})
    await college.poll()
    college.sandbox.refuse_refresh()
    assert (await college.poll(after=timedelta(minutes=52))).outcome.succeeded
    assert college.paths().count("/auth/login") == 2


async def test_after_a_long_sleep_it_logs_in_again() -> None:
    college = College({"seed": 1})
    await college.poll()
    assert (await college.poll(after=timedelta(hours=9))).outcome.succeeded
