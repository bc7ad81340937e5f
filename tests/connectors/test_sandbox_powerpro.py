"""The fake PowerPro does what the vendor's paper says, in each shape it allows, and fails when told to."""

import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from connectors.sandbox.base import Hang, Refused
from connectors.sandbox.powerpro import API_KEY, PASSWORD, USERNAME, PowerProSandbox
from connectors.sandbox.powerpro_data import PRIVATE
from connectors.sandbox.serve import serve
from tests.polled import NOON, Clock

pytestmark = pytest.mark.anyio


class Desk:
    """A client of a sandbox, signed in."""

    def __init__(self, **switches: Any) -> None:
        self.clock = Clock()
        self.sandbox = PowerProSandbox(self.clock, **{"seed": 0} | switches)
        self.http = httpx.Client(transport=httpx.MockTransport(self.sandbox), base_url="https://powerpro.test")
        self.use(self.login().json()["access_token"])

    def login(self, **headers: str) -> httpx.Response:
        return self.http.post("/auth/login", headers=headers or {"X-API-Key": API_KEY})

    def refresh(self) -> httpx.Response:
        return self.http.post("/auth/refresh")

    def use(self, access: str) -> None:
        self.http.headers["Authorization"] = f"Bearer {access}"

    def get(self, path: str = "/courses?page=1") -> Any:
        return self.http.get(path).json()

    def ids(self, path: str = "/courses?page=1") -> list[int]:
        return [each["id"] for each in self.get(path)["data"]]

    def control(self, name: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/_sandbox/{name}", json=body)


@pytest.fixture
def desk() -> Desk:
    return Desk()


# Signing in


def test_a_login_answers_as_the_paper_says(desk: Desk) -> None:
    reply = desk.login()
    assert reply.json() == {
        "access_token": "sandbox-access-2",
        "token_type": "bearer",
        "expires_in": 3600,
        "message": "Success",
    }


def test_the_root_user_logs_in_with_basic(desk: Desk) -> None:
    request = httpx.Request("POST", "https://powerpro.test/auth/login")
    signed = next(httpx.BasicAuth(USERNAME, PASSWORD).auth_flow(request))
    assert desk.sandbox(signed).status_code == 200


@pytest.mark.parametrize("status", [200, 401])
def test_a_wrong_key_is_refused_with_a_text(status: int) -> None:
    reply = Desk(refuses_with=status).login(**{"X-API-Key": "other", "Authorization": ""})
    assert (reply.status_code, reply.json()) == (status, {"error": "Unauthorized"})


def test_the_life_of_a_token_is_told_as_switched() -> None:
    assert Desk(expires_as="text").login().json()["expires_in"] == "3600"
    assert "expires_in" not in Desk(expires_as="nothing").login().json()


def test_a_token_is_renewed_only_while_it_lives(desk: Desk) -> None:
    desk.clock.at += timedelta(minutes=59)
    renewed = desk.refresh()
    assert renewed.status_code == 200
    desk.clock.at += timedelta(minutes=1)
    assert (desk.refresh().status_code, desk.http.get("/courses?page=1").status_code) == (401, 401)
    desk.use(renewed.json()["access_token"])
    assert desk.ids() == []


def test_a_renewal_may_kill_the_old_token() -> None:
    kept, killed = Desk(), Desk(rotates=True)
    assert [desk.refresh().status_code for desk in (kept, killed)] == [200, 200]
    assert [desk.refresh().status_code for desk in (kept, killed)] == [200, 401]


def test_renewals_may_be_refused_while_logins_are_not(desk: Desk) -> None:
    desk.sandbox.refuse_refresh()
    assert (desk.refresh().status_code, desk.login().status_code) == (401, 200)
    desk.sandbox.allow_refresh()
    assert desk.refresh().status_code == 200


def test_what_is_revoked_neither_logs_in_nor_reads(desk: Desk) -> None:
    desk.sandbox.revoke()
    assert {reply.status_code for reply in (desk.login(), desk.refresh(), desk.http.get("/courses?page=1"))} == {401}
    desk.sandbox.grant()
    assert desk.login().status_code == 200


def test_a_key_may_lack_rights_for_one_resource(desk: Desk) -> None:
    desk.sandbox.forbid("students")
    assert [desk.http.get(f"/{kind}?page=1").status_code for kind in ("students", "courses")] == [403, 200]
    desk.sandbox.allow("students")
    assert desk.http.get("/students?page=1").status_code == 200


# Listings


def test_a_course_has_the_documented_fields_and_dates_that_are_not_padded(desk: Desk) -> None:
    new = desk.sandbox.add_course({"start_date": "2024-9-20"})
    reply = desk.get("/courses/1298")
    assert reply["data"] == new
    assert {"id", "name", "nat_code", "location", "start_date"} <= new.keys()
    assert UUID(reply["request_id"])


def test_the_three_shapes_of_a_listing() -> None:
    paging = {"current_page": 1, "last_page": 2, "per_page": 2, "total": 3}
    plain, wrapped, beside = (Desk(seed=3, page_size=2, shape=shape).get() for shape in ("list", "paginator", "meta"))
    assert (set(plain), len(plain["data"])) == ({"request_id", "data"}, 2)
    assert {name: wrapped["data"][name] for name in paging} == paging
    assert len(wrapped["data"]["data"]) == 2
    assert (beside["meta"], len(beside["data"])) == (paging, 2)


def test_pages_count_from_one() -> None:
    desk = Desk(seed=3, page_size=2)
    assert [desk.ids(f"/courses?page={page}") for page in (1, 2, 3)] == [[1298, 1299], [1300], []]


def test_what_comes_past_the_end() -> None:
    past = "/courses?page=3"
    assert Desk(seed=3, page_size=2, past_end="repeat").ids(past) == [1300]
    assert Desk(seed=3, page_size=2, past_end="error").get(past)["error"]["code"] == 1
    assert Desk(seed=3, page_size=2, past_end="missing").http.get(past).status_code == 404


@pytest.mark.parametrize("query", ["", "?page=", "?page=0", "?page=-1", "?page=x", "?page=99999999999"])
def test_a_page_that_is_none_is_a_data_error_inside_a_200(desk: Desk, query: str) -> None:
    reply = desk.http.get(f"/courses{query}")
    assert reply.status_code == 200
    assert reply.json()["error"] == {"code": 1, "description": "A valid 'page' was not provided"}


def test_a_data_error_may_be_a_text() -> None:
    assert Desk(error_as="string").get("/courses")["error"] == "A valid 'page' was not provided"


def test_enrolments_of_one_course() -> None:
    desk = Desk(seed=3)
    found = desk.get("/enrolments?page=1&course_id=1299")["data"]
    assert {each["course_id"] for each in found} == {1299}
    assert len(found) == 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/courses/7", 404),
        ("GET", "/courses/x", 404),
        ("GET", "/other", 404),
        ("GET", "/courses/1/2", 404),
        ("DELETE", "/courses/1", 405),
        ("GET", "/auth/login", 405),
    ],
)
def test_a_bad_address_is_an_error_with_a_status(desk: Desk, method: str, path: str, status: int) -> None:
    reply = desk.http.request(method, path)
    assert (reply.status_code, set(reply.json())) == (status, {"request_id", "error"})


# Controls


def test_the_controls_change_what_is_read_and_its_time() -> None:
    desk = Desk(seed=1)
    desk.clock.at += timedelta(minutes=30)
    desk.control("cancel_course", id=1298)
    desk.control("withdraw", id=88120)
    desk.control("complete", id=88121)
    desk.control("change_student", id=5521, fields={"suburb": "Subiaco"})
    course, student = desk.get("/courses/1298")["data"], desk.get("/students/5521")["data"]
    assert (course["status"], course["updated_at"], student["suburb"]) == (
        "cancelled",
        "2026-05-20T12:30:00Z",
        "Subiaco",
    )
    told = [
        (each["status"], {unit["outcome_national"] for unit in each["units"]})
        for each in desk.get("/enrolments?page=1")["data"]
    ]
    assert told == [("withdrawn", {"40"}), ("completed", {"20"})]


def test_one_unit_gets_its_outcome() -> None:
    desk = Desk(seed=1)
    first, second, *_ = (unit["subject_identifier"] for unit in desk.sandbox.enrolments[88120]["units"])
    assert desk.control("outcome", id=88120, subject_identifier=second, outcome_national="30").status_code == 200
    outcomes = {
        unit["subject_identifier"]: unit["outcome_national"] for unit in desk.get("/enrolments/88120")["data"]["units"]
    }
    assert (outcomes[first], outcomes[second]) == ("70", "30")
    with pytest.raises(Refused):
        desk.sandbox.outcome(88120, "NONE", "20")


def test_an_enrolment_counts_in_its_course_whose_time_stays() -> None:
    desk = Desk(seed=1)
    desk.clock.at += timedelta(minutes=30)
    new = desk.sandbox.enrol(desk.sandbox.add_student()["id"], 1298)
    course = desk.get("/courses/1298")["data"]
    assert (course["enrolled"], course["updated_at"]) == (3, "2026-05-20T12:00:00Z")
    assert desk.get(f"/enrolments/{new['id']}")["data"] == new


def test_what_is_removed_is_gone() -> None:
    desk = Desk(seed=2)
    desk.control("remove", kind="courses", id=1298)
    assert desk.ids() == [1299]


@pytest.mark.parametrize(
    ("control", "body"),
    [
        ("change_course", {"id": 7, "fields": {}}),
        ("change_course", {"id": 1298, "fields": {"id": 3}}),
        ("add_course", {"fields": {"id": 1298}}),
        ("enrol", {"student_id": 1, "course_id": 1298}),
        ("remove", {"kind": "results", "id": 1}),
    ],
)
def test_a_control_that_cannot_be_done_says_so(control: str, body: dict[str, Any]) -> None:
    assert Desk(seed=1).control(control, **body).status_code == 400


def test_the_state_holds_everything() -> None:
    state = Desk(seed=2).http.get("/_sandbox/state").json()
    assert {kind: len(state[kind]) for kind in ("courses", "enrolments", "students")} == {
        "courses": 2,
        "enrolments": 4,
        "students": 4,
    }


def test_steps_are_plausible_and_told() -> None:
    one, other = Desk(seed=4), Desk(seed=4)
    told = [one.sandbox.step() for _ in range(200)]
    assert told == [other.sandbox.step() for _ in range(200)]
    assert {re.sub(r"\w*\d\w*", "N", each) for each in told} >= {"course N cancelled", "enrolment N withdrawn"}


def test_reset_begins_again() -> None:
    desk = Desk(seed=2)
    before = desk.sandbox.state()
    desk.sandbox.step()
    desk.sandbox.forbid("courses")
    desk.sandbox.reset()
    assert desk.sandbox.state() == before


# Failures and noise


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_a_status_fails_as_told(desk: Desk, status: int) -> None:
    desk.sandbox.fail(status=status, match="/courses", retry_after=5)
    assert [desk.http.get("/courses?page=1").status_code for _ in range(2)] == [status, 200]


def test_a_401_is_a_text_and_silence_is_silence(desk: Desk) -> None:
    desk.sandbox.fail(status=401, match="/courses")
    assert desk.get() == {"error": "Unauthorized"}
    desk.sandbox.fail(kind="hang")
    with pytest.raises(Hang):
        desk.get()


def test_the_failures_of_a_listing() -> None:
    desk = Desk(seed=3, page_size=2)
    spoilt = {}
    for kind in ("empty", "wrong_types", "one_bad", "endless", "repeat"):
        desk.sandbox.fail(kind=kind, match="/courses")
        spoilt[kind] = desk.get("/courses?page=2")["data"]
    assert spoilt["empty"] == []
    assert spoilt["wrong_types"][0]["id"] == {"wrong": 1300}
    assert (spoilt["one_bad"][0]["id"], spoilt["one_bad"][0]["name"].keys()) == (1300, {"wrong"})
    assert [each["id"] for each in spoilt["endless"]] == [10**10 + 4, 10**10 + 5]
    assert [each["id"] for each in spoilt["repeat"]] == [1298, 1299]


def test_without_noise_the_same_record_is_the_same_bytes_and_with_it_not() -> None:
    calm, noisy = Desk(seed=3), Desk(seed=3, noise=True)
    assert calm.get()["data"] == calm.get()["data"]
    assert len({str(noisy.get()["data"]) for _ in range(5)}) == 5


def test_every_usi_is_marked_as_private() -> None:
    assert all(PRIVATE in each["usi"] for each in Desk(seed=3).get("/students?page=1")["data"])


async def test_it_is_served_over_http() -> None:
    def noon() -> datetime:
        return NOON

    async with serve(PowerProSandbox(noon, seed=1)) as url, httpx.AsyncClient(base_url=url) as http:
        token = (await http.post("/auth/login", headers={"X-API-Key": API_KEY})).json()["access_token"]
        reply = await http.get("/students", params={"page": 1}, headers={"Authorization": f"Bearer {token}"})
    assert len(reply.json()["data"]) == 2


def test_a_data_error_can_name_the_page(desk: Desk) -> None:
    desk.sandbox.fail(kind="PageError")
    assert desk.get()["error"] == {"code": 1, "description": "Could not load the page: database timeout"}
