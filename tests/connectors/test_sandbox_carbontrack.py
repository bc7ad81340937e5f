"""The fake carbonTRACK does what the vendor's paper says, contradictions included, and fails when told to."""

import json
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors.sandbox.base import Refused
from connectors.sandbox.carbontrack import PASSWORD, USERNAME, CarbontrackSandbox
from connectors.sandbox.serve import serve
from tests.polled import NOON, Clock

pytestmark = pytest.mark.anyio

USER = {"username": USERNAME, "password": PASSWORD}
MINUTE = timedelta(minutes=1)


class Desk:
    """A signed-in client of a sandbox."""

    def __init__(self, *, now: Clock | None = None, noise: bool = False, **other: Any) -> None:
        self.clock = now or Clock()
        self.sandbox = CarbontrackSandbox(self.clock, noise=noise, **other)
        self.http = httpx.Client(transport=httpx.MockTransport(self.sandbox), base_url="https://carbontrack.test")
        reply = self.grant(grant_type="password")
        self.refresh = reply.json().get("refresh_token", "")
        self.http.headers["Authorization"] = f"Bearer {reply.json().get('access_token')}"

    def grant(self, **fields: str) -> httpx.Response:
        return self.http.post("/oauth/token", data={**USER, **fields})

    def post(self, kind: str = "Device", **asked: Any) -> Any:
        return self.http.post(f"/ctapi/{kind}", json=asked).json()

    def customers(self, **params: Any) -> Any:
        asked = {f"customerRequest.{name}": value for name, value in params.items()}
        return self.http.get("/ctapi/Customer", params=asked).json()

    @property
    def first(self) -> str:
        return next(iter(self.sandbox.devices))

    def seen(self, id_: str) -> datetime:
        [device] = self.post(DeviceID=id_)["Devices"]
        return datetime.fromisoformat(device["DeviceDataUpdateDateTime"])

    def measured(self, id_: str, minutes: int = 60) -> list[str]:
        start, end = (f"{self.clock.at - timedelta(minutes=back):%Y-%m-%dT%H:%M:%SZ}" for back in (minutes, 0))
        reply = self.post("Measurement", DeviceID=id_, FromUTCDate=start, ToUTCDate=end)
        return [each["RecordDateTime"] for each in reply["Measurements"]]


@pytest.fixture
def desk() -> Desk:
    return Desk()


# Signing in


def test_a_token_reply_is_as_documented() -> None:
    body = Desk().grant(grant_type="password").json()
    assert body == {
        "access_token": "sandbox-access-2",
        "token_type": "bearer",
        "issued_at": int(NOON.timestamp()),
        "expires_in": 86400,
        "refresh_token": "sandbox-refresh-2",
    }


def test_a_token_reply_can_be_as_servers_of_this_kind_write_it() -> None:
    seconds = Desk(expiry="seconds").grant(grant_type="password").json()
    dates = Desk(expiry="dates").grant(grant_type="password").json()
    assert (seconds["expires_in"], seconds[".issued"]) == (86399, "Wed, 20 May 2026 12:00:00 GMT")
    assert (dates[".expires"], "expires_in" in dates) == ("Thu, 21 May 2026 12:00:00 GMT", False)


def test_a_refresh_needs_the_refresh_token_and_user_name_and_password(desk: Desk) -> None:
    asked = {"grant_type": "refresh_token", "refresh_token": desk.refresh}
    good, wrong = desk.grant(**asked), desk.grant(**{**asked, "refresh_token": "other"})
    bare = desk.http.post("/oauth/token", data=asked)
    assert (good.status_code, "refresh_token" in good.json()) == (200, False)
    assert [(each.status_code, each.json()["error"]) for each in (wrong, bare)] == [(400, "invalid_grant")] * 2


def test_a_refresh_can_return_another_refresh_token_and_the_old_one_is_spent() -> None:
    desk = Desk(rotates=True)
    asked = {"grant_type": "refresh_token", "refresh_token": desk.refresh}
    assert desk.grant(**asked).json()["refresh_token"] != desk.refresh
    assert desk.grant(**asked).status_code == 400


def test_a_token_that_is_unknown_or_has_run_out_is_a_401(desk: Desk) -> None:
    desk.sandbox.expire_tokens()
    assert desk.http.get("/ctapi/Distributor").status_code == 401
    del desk.http.headers["Authorization"]
    assert desk.http.get("/ctapi/Distributor").status_code == 401


def test_one_who_is_locked_out_gets_nothing_until_let_in_again(desk: Desk) -> None:
    desk.sandbox.revoke()
    refused = desk.grant(grant_type="password").status_code
    desk.sandbox.grant()
    assert (refused, desk.grant(grant_type="password").status_code) == (400, 200)


def test_the_vendor_can_want_user_and_password_on_every_request() -> None:
    desk = Desk(auth="header")
    assert desk.http.get("/ctapi/Distributor").status_code == 401
    headers = {"UserID": USERNAME, "Password": PASSWORD}
    assert desk.http.get("/ctapi/Distributor", headers=headers).status_code == 200
    assert desk.grant(grant_type="password").status_code == 404


# Paging


def test_pages_count_from_0_or_from_1() -> None:
    for base in (0, 1):
        desk = Desk(seed=9, page_size=4, page_base=base)
        pages = [desk.post(PageIndex=base + each) for each in range(4)]
        assert [len(page["Devices"]) for page in pages] == [4, 4, 1, 0]
        assert {(page["Pages"], page["Count"]) for page in pages} == {(3, 9)}
        assert [page["PagesIndex"] for page in pages] == [base + each for each in range(4)]


def test_page_0_of_a_vendor_that_counts_from_1_is_its_first_or_empty_or_a_failure() -> None:
    first, empty, failure = (Desk(page_base=1, zero=zero).post(PageIndex=0) for zero in ("first", "empty", "failure"))
    assert (len(first["Devices"]), first["PagesIndex"]) == (8, 1)
    assert (len(empty["Devices"]), empty["Pages"]) == (0, 1)
    assert failure["ErrorNumber"] == 1003


@pytest.mark.parametrize(("pages", "told"), [("told", 2), ("absent", None), ("zero", 0), ("one", 1), ("many", 5)])
def test_the_number_of_pages_can_be_a_lie(pages: str, told: int | None) -> None:
    assert Desk(seed=8, page_size=4, pages=pages).post().get("Pages") == told


def test_customers_are_paged_from_1_and_found_by_the_odd_names() -> None:
    desk = Desk(customers=7)
    pages = [desk.customers(page=number, pageSize=3) for number in (1, 2, 3, 4)]
    assert [len(page["CustomerList"]) for page in pages] == [3, 3, 1, 0]
    assert {page["RecordCount"] for page in pages} == {7}
    one = pages[0]["CustomerList"][0]
    assert desk.customers(customerRef=one["AccountNumber"], phone=one["Mobile"])["RecordCount"] == 1


# Requests in the wrong shape


WRONG: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/ctapi/Customer", {"params": {"page": 1}}, 400),
    ("GET", "/ctapi/Customer", {"params": {"customerRequest.page": 0}}, 400),
    ("GET", "/ctapi/Device", {}, 405),
    ("POST", "/ctapi/Device", {"json": {"pageIndex": 0}}, 400),
    ("POST", "/ctapi/Device", {"json": {"PageIndex": "0"}}, 400),
    ("POST", "/ctapi/Device", {"data": {"PageIndex": 0}}, 400),
    ("POST", "/ctapi/Measurement", {"json": {"FromUTCDate": "2026-05-20"}}, 400),
    ("GET", "/ctapi/Weather", {}, 404),
    ("GET", "/oauth/token", {}, 405),
    ("GET", "/token", {}, 404),
]


@pytest.mark.parametrize(("method", "path", "asked", "status"), WRONG)
def test_a_request_in_another_shape_is_refused(
    desk: Desk, method: str, path: str, asked: dict[str, Any], status: int
) -> None:
    assert desk.http.request(method, path, **asked).status_code == status


@pytest.mark.parametrize(("asked", "number"), [({"DeviceID": "1"}, 1001), ({"DistributorID": "1"}, 1002)])
def test_what_is_unknown_is_a_failure_inside_a_200(desk: Desk, asked: dict[str, str], number: int) -> None:
    reply = desk.http.post("/ctapi/Measurement", json=asked)
    assert (reply.status_code, reply.json()["Error"], reply.json()["ErrorNumber"]) == (200, 1, number)


# Devices and what they measure


def test_devices_report_by_the_clock_until_they_are_silenced(desk: Desk) -> None:
    other = list(desk.sandbox.devices)[1]
    desk.sandbox.silence(desk.first)
    before = desk.seen(desk.first)
    desk.clock.at += 60 * MINUTE
    assert (desk.seen(desk.first), desk.seen(other) > NOON + 54 * MINUTE) == (before, True)
    desk.sandbox.wake(desk.first)
    assert desk.seen(desk.first) == desk.clock.at
    assert NOON - 5 * MINUTE < before <= NOON


def test_what_was_missed_in_silence_stays_missing(desk: Desk) -> None:
    desk.sandbox.silence(desk.first)
    desk.clock.at += 30 * MINUTE
    desk.sandbox.wake(desk.first)
    desk.clock.at += 30 * MINUTE
    assert len(desk.measured(desk.first)) == 6


def test_all_can_fall_silent_and_wake(desk: Desk) -> None:
    desk.sandbox.silence_all()
    silent = [each["silent"] for each in desk.sandbox.state()["devices"]]
    desk.sandbox.wake_all()
    assert (set(silent), {each["silent"] for each in desk.sandbox.state()["devices"]}) == ({True}, {False})


def test_every_page_tells_how_many_there_are_in_all() -> None:
    desk = Desk(seed=9, page_size=4)
    other = desk.sandbox.devices[desk.first].distributor
    units = [unit for unit in desk.sandbox.devices.values() if unit.distributor == other]
    assert desk.post(DistributorID=other, PageIndex=7)["Count"] == len(units) < 9
    assert desk.post(DistributorID=other, DeviceID=desk.first)["Count"] == 1
    span = {"FromUTCDate": "2026-05-20T11:00:00Z", "ToUTCDate": "2026-05-20T11:59:59Z"}
    assert desk.post("Measurement", **span, PageIndex=2)["Count"] == 12 * 9


def test_what_was_measured_at_a_moment_is_always_the_same(desk: Desk) -> None:
    span = {"FromUTCDate": "2026-05-20T11:00:00Z", "ToUTCDate": "2026-05-20T11:59:59Z"}
    before = desk.post("Measurement", **span)
    desk.clock.at += 60 * MINUTE
    assert desk.post("Measurement", **span) == before
    assert before["Count"] == 12 * len(desk.sandbox.devices)
    assert before["Measurements"][0]["SignalStrength"].replace(",", "").replace(".", "").isdigit()


def test_nothing_was_measured_in_the_future(desk: Desk) -> None:
    span = {"FromUTCDate": "2026-05-20T12:00:01Z", "ToUTCDate": "2026-05-21T12:00:00Z"}
    assert desk.post("Measurement", **span)["Measurements"] == []


def test_a_late_upload_appears_only_now(desk: Desk) -> None:
    before = desk.measured(desk.first)
    late = desk.sandbox.upload(desk.first, minutes_late=30)
    assert set(desk.measured(desk.first)) - set(before) == {late["RecordDateTime"]}


def test_devices_are_switched_and_leave_the_register_and_the_listing(desk: Desk) -> None:
    [before] = desk.post(DeviceID=desk.first)["Devices"]
    desk.sandbox.switch(desk.first)
    desk.sandbox.deregister(desk.first)
    [after] = desk.post(DeviceID=desk.first)["Devices"]
    assert after["Controls"][0]["Status"] is not before["Controls"][0]["Status"]
    assert (after["IsRegistered"], desk.post(RegisteredOnly=True)["Count"]) == (False, 7)
    desk.sandbox.register(desk.first)
    desk.sandbox.remove_device(desk.first)
    assert desk.post(RegisteredOnly=True)["Count"] == 7


def test_a_new_device_belongs_to_its_distributor_and_has_no_past(desk: Desk) -> None:
    new = desk.sandbox.add_distributor("d-3")["ID"]
    id_ = desk.sandbox.add_device(new, {"DeviceName": "Roof"})["DeviceID"]
    assert [each["DeviceID"] for each in desk.post(DistributorID=new)["Devices"]] == [id_]
    assert (desk.measured(id_), desk.seen(id_)) == ([], NOON)
    assert "d-3" in {each["ID"] for each in desk.http.get("/ctapi/Distributor").json()}


def test_customers_come_change_and_go(desk: Desk) -> None:
    id_ = desk.sandbox.add_customer({"FirstName": "New"})["CustomerId"]
    desk.sandbox.change_customer(id_, {"Mobile": "0411111111"})
    [found] = desk.customers(phone="0411111111")["CustomerList"]
    desk.sandbox.remove_customer(id_)
    assert (found["FirstName"], desk.customers()["RecordCount"]) == ("New", 5)


def test_what_a_control_cannot_do_it_says(desk: Desk) -> None:
    for act in (desk.sandbox.silence, desk.sandbox.remove_device, desk.sandbox.remove_customer):
        with pytest.raises(Refused, match="There is no"):
            act("nobody")
    with pytest.raises(Refused, match="no control 9"):
        desk.sandbox.switch(desk.first, 9)
    with pytest.raises(Refused, match="There is no distributor"):
        desk.sandbox.add_device("nobody")


def test_noise_spells_the_same_state_differently_at_each_read() -> None:
    desk = Desk(noise=True)
    first, second = (desk.post(DeviceID=desk.first)["Devices"][0] for _ in range(2))
    assert json.dumps(first) != json.dumps(second)
    assert first["DeviceName"] == second["DeviceName"]


def test_without_noise_two_reads_are_the_same_bytes(desk: Desk) -> None:
    assert desk.http.get("/ctapi/Customer").content == desk.http.get("/ctapi/Customer").content
    assert json.dumps(desk.post()) == json.dumps(desk.post())


def test_many_steps_are_plausible_and_do_the_same_for_the_same_seed() -> None:
    told = [[desk.sandbox.step() for _ in range(200)] for desk in (Desk(seed=5), Desk(seed=5))]
    assert told[0] == told[1]
    assert {words.split()[-1] for words in told[0]} >= {"silent", "woke", "late", "added", "number", "switched"}


# Failures


@pytest.mark.parametrize(
    ("kind", "devices"), [("empty", 0), ("wrong_types", 4), ("one_bad", 4), ("endless", 4), ("repeat", 4)]
)
def test_a_listing_fails_as_told(kind: str, devices: int) -> None:
    desk = Desk(seed=4, page_size=4)
    plain = desk.post()
    desk.sandbox.fail(kind=kind, times=2)
    first, second = desk.post(), desk.post(PageIndex=1)
    ids = [str(each["DeviceID"]) for each in [*first["Devices"], *second["Devices"]]]
    assert len(first["Devices"]) == devices
    assert (len(set(ids)) == 8) is (kind == "endless")
    assert (first["Devices"] == plain["Devices"]) is (kind == "repeat")


def test_a_failure_can_hide_inside_a_200(desk: Desk) -> None:
    desk.sandbox.fail(kind="FailureInside")
    assert desk.post()["ErrorMessage"] == "Failed"
    assert desk.post()["Error"] == 0


def test_a_failure_can_show_in_its_code_alone_and_a_listing_can_lack(desk: Desk) -> None:
    desk.sandbox.fail(kind="FailureByCode")
    failed = desk.post()
    assert (failed["ResponseCode"], failed["Error"], failed["ErrorMessage"], failed["Devices"]) == (1, 0, "", [])
    desk.sandbox.fail(kind="NoListing")
    assert list(desk.post()) == ["Message"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503])
def test_any_status_can_be_had(desk: Desk, status: int) -> None:
    desk.sandbox.fail(status=status, retry_after=3)
    reply = desk.http.get("/ctapi/Distributor")
    assert (reply.status_code, reply.headers["Retry-After"]) == (status, "3")


def test_a_reset_begins_again(desk: Desk) -> None:
    desk.sandbox.silence_all()
    desk.sandbox.reset(seed=3)
    assert [each["silent"] for each in desk.sandbox.state()["devices"]] == [False] * 3


async def test_the_vendor_and_its_controls_over_http() -> None:
    sandbox = CarbontrackSandbox(Clock(), noise=False)
    async with serve(sandbox) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        token = (await http.post("/oauth/token", data={**USER, "grant_type": "password"})).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        id_ = next(iter(sandbox.devices))
        switched = await http.post("/_sandbox/switch", json={"id": id_, "control": 1, "on": True})
        late = await http.post("/_sandbox/upload", json={"id": id_, "minutes_late": 12.5})
        found = (await http.post("/ctapi/Device", json={"DeviceID": id_})).json()["Devices"][0]
        state = (await http.get("/_sandbox/state")).json()
    assert (switched.status_code, late.json()["RecordDateTime"]) == (200, "2026-05-20T11:47:30Z")
    assert found["Controls"][0]["Status"] is True
    assert len(state["devices"]) == 8
