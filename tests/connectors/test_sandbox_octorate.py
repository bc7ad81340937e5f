"""The fake Octorate does what the vendor's paper says, lies included, and fails when told to."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest

from connectors.sandbox.base import Hang, Refused
from connectors.sandbox.octorate import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, OctorateSandbox
from connectors.sandbox.octorate_data import PRIVATE
from connectors.sandbox.serve import serve

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)
ROME = "112696"
LISTING = f"/rest/v1/reservation/{ROME}"
CLIENT = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


class Clock:
    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


class Desk:
    """A signed-in client of a sandbox."""

    def __init__(self, sandbox: OctorateSandbox) -> None:
        self.http = httpx.Client(transport=httpx.MockTransport(sandbox), base_url="https://octorate.test/connect")
        self.sign_in()

    def sign_in(self) -> None:
        self.http.headers["Authorization"] = f"Bearer {self.refresh().json()['access_token']}"

    def refresh(self, **other: str) -> httpx.Response:
        return self.http.post("/rest/v1/identity/refresh", data={**CLIENT, "refresh_token": REFRESH_TOKEN, **other})

    def get(self, path: str = LISTING, **params: Any) -> httpx.Response:
        return self.http.get(path, params=params)

    def ids(self, **params: Any) -> set[int]:
        return {each["id"] for each in self.get(size=200, **params).json()["data"]}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> OctorateSandbox:
    return OctorateSandbox(clock, seed=0)


@pytest.fixture
def desk(sandbox: OctorateSandbox) -> Desk:
    return Desk(sandbox)


def refusal(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["type"]


# Signing in


def test_a_refresh_reply_has_no_refresh_token_and_spells_its_life_in_turn(sandbox: OctorateSandbox) -> None:
    desk = Desk(sandbox)
    second, third = desk.refresh().json(), desk.refresh().json()
    assert (set(second), second["expires_in"]) == ({"access_token", "expires_in"}, 86_400)
    assert (set(third), third["expireDate"]) == ({"access_token", "expireDate"}, "2026-05-21 12:00:00+00:00")


def test_a_sandbox_can_spell_the_life_in_one_way_only(clock: Clock) -> None:
    desk = Desk(OctorateSandbox(clock, seed=0, expiry="expires_in"))
    assert all("expires_in" in desk.refresh().json() for _ in range(3))


@pytest.mark.parametrize("wrong", ["client_id", "client_secret", "refresh_token"])
def test_a_wrong_credential_is_refused(desk: Desk, wrong: str) -> None:
    assert refusal(desk.refresh(**{wrong: "other"})) == (401, "ApiKeyInvalid")


def test_consent_gives_a_code_that_buys_tokens_once(desk: Desk) -> None:
    page = desk.get(
        "/octobook/identity/oauth.xhtml", client_id=CLIENT_ID, redirect_uri="https://here.test/back", state="s1"
    )
    back = parse_qs(urlsplit(page.headers["Location"]).query)
    form = {**CLIENT, "code": back["code"][0], "grant_type": "code"}
    bought, again = (desk.http.post("/rest/v1/identity/token", data=form) for _ in range(2))
    assert (back["state"], bought.json()["refresh_token"]) == (["s1"], REFRESH_TOKEN)
    assert refusal(again) == (401, "ApiKeyInvalid")


def test_the_four_ways_a_token_is_refused(sandbox: OctorateSandbox, desk: Desk) -> None:
    sandbox.expire_tokens()
    assert refusal(desk.get()) == (403, "ApiLoginExpired")
    desk.http.headers["Authorization"] = "Bearer other"
    assert refusal(desk.get()) == (401, "ApiKeyInvalid")
    del desk.http.headers["Authorization"]
    assert refusal(desk.get()) == (401, "ApiKeyMissing")
    sandbox.revoke()
    assert refusal(desk.refresh()) == (401, "ApiKeyInvalid")
    sandbox.grant()
    desk.sign_in()
    assert desk.get().status_code == 200


def test_a_token_runs_out_by_itself(desk: Desk, clock: Clock) -> None:
    clock.at += timedelta(hours=24)
    assert refusal(desk.get()) == (403, "ApiLoginExpired")


# Quota


def test_the_quota_counts_down_and_comes_back_after_five_minutes(sandbox: OctorateSandbox, clock: Clock) -> None:
    desk = Desk(sandbox)
    sandbox.quota(2)
    left = [desk.get().headers["X-RateLimit-Remaining"] for _ in range(2)]
    refused = desk.get()
    clock.at += timedelta(minutes=5)
    assert left == ["1", "0"]
    assert refusal(refused) == (403, "ApiQuotaException")
    assert desk.get().status_code == 200


def test_the_configuration_tells_the_quota(desk: Desk) -> None:
    body = desk.get("/rest/v1/api/configuration").json()
    assert (body["quotaLimit"], body["quotaStatus"]) == (100, 99)


def test_every_reply_has_the_vendors_own_time(desk: Desk) -> None:
    assert desk.get().headers["Date"] == "Wed, 20 May 2026 12:00:00 GMT"


def test_every_reply_has_a_request_id(desk: Desk) -> None:
    assert desk.get().headers["request-id"] != desk.get("/rest/v1/nothing").headers["request-id"]


# Reading


def test_the_base_path_is_optional(sandbox: OctorateSandbox, desk: Desk) -> None:
    bare = httpx.Client(transport=httpx.MockTransport(sandbox), headers=desk.http.headers)
    assert bare.get("https://octorate.test/rest/v1/accommodation").status_code == 200


def test_two_properties_in_two_zones_and_currencies(desk: Desk) -> None:
    places = desk.get("/rest/v1/accommodation").json()
    assert [(each["id"], each["timeZone"], each["currency"]) for each in places] == [
        ("112696", "Europe/Rome", "EUR"),
        ("200100", "Europe/London", "GBP"),
    ]


def test_the_properties_end_with_the_first_page(desk: Desk) -> None:
    assert desk.get("/rest/v1/accommodation", page=1).json() == []


def test_accommodations_that_are_unknown_or_forbidden(sandbox: OctorateSandbox, desk: Desk) -> None:
    assert refusal(desk.get("/rest/v1/accommodation/9")) == (404, "ApiResourceMissing")
    sandbox.forbid(ROME)
    reply = desk.get()
    assert (refusal(reply), reply.json()["message"]) == ((403, "ApiSecurityException"), "errNoResourcesForIdentity")
    sandbox.allow(ROME)
    assert desk.get(f"/rest/v1/accommodation/{ROME}").json()["name"] == "Sample Palace"


def test_a_wrong_link_is_a_404_without_json(desk: Desk) -> None:
    reply = desk.get("/rest/v1/reservation")
    assert (reply.status_code, reply.headers["content-type"]) == (404, "text/plain; charset=utf-8")


def test_pages_hold_every_reservation_once(sandbox: OctorateSandbox, desk: Desk) -> None:
    made = {sandbox.add()["id"] for _ in range(45)}
    pages = [desk.get(page=page).json()["data"] for page in range(3)]
    assert [len(page) for page in pages] == [20, 20, 5]
    assert {each["id"] for page in pages for each in page} == made


def test_the_page_object_lies(sandbox: OctorateSandbox, desk: Desk) -> None:
    sandbox.add()
    page = desk.get().json()["page"]
    assert page["totalPages"] == 1
    assert page["next"]["href"].startswith("http://localhost:8080/octobook/")


@pytest.mark.parametrize(
    "params",
    [
        {"size": 0},
        {"size": 201},
        {"size": "many"},
        {"page": -1},
        {"page": 1001},
        {"startDate": "20.5.2026"},
        {"type": "NEVER"},
        {"status": "LOST"},
        {"sortBy": "colour"},
    ],
)
def test_a_parameter_out_of_range_is_a_400(desk: Desk, params: dict[str, Any]) -> None:
    assert refusal(desk.get(**params)) == (400, "ApiParamsExemption")


def test_query_days_are_rome_days(sandbox: OctorateSandbox, desk: Desk, clock: Clock) -> None:
    clock.at = datetime(2026, 5, 20, 22, 30, tzinfo=UTC)  # half past midnight on the 21st in Rome
    made = sandbox.add()["id"]
    assert desk.ids(type="CREATETIME", startDate="2026-05-20", endDate="2026-05-20") == set()
    assert desk.ids(type="CREATETIME", startDate="2026-05-21", endDate="2026-05-21") == {made}


def test_modified_between_leaves_out_new_and_cancelled_ones(sandbox: OctorateSandbox, desk: Desk) -> None:
    new, changed, cancelled = (sandbox.add()["id"] for _ in range(3))
    sandbox.touch(changed)
    sandbox.cancel(cancelled)
    day = {"startDate": "2026-05-20", "endDate": "2026-05-20"}
    assert desk.ids(type="MODIFIED_BETWEEN", **day) == {changed}
    assert desk.ids(type="CREATETIME", **day) == {new, changed, cancelled}
    assert desk.ids(type="CANCELLATION", **day) == {cancelled}
    sandbox.modified_lists_all = True
    assert desk.ids(type="MODIFIED_BETWEEN", **day) == {new, changed, cancelled}


def test_stay_asks_for_overlap_and_leaves_out_cancelled_ones(sandbox: OctorateSandbox, desk: Desk) -> None:
    stay = {"checkin": "2026-07-06T22:00:00Z[UTC]", "checkout": "2026-07-14T07:00:00Z[UTC]"}
    stays, cancelled = (sandbox.add(fields=stay)["id"] for _ in range(2))
    sandbox.cancel(cancelled)
    assert desk.ids(startDate="2026-07-14", endDate="2026-07-20") == {stays}
    assert desk.ids(startDate="2026-07-15", endDate="2026-07-20") == set()
    assert desk.ids(startDate="2026-07-01", endDate="2026-07-06") == set()
    assert desk.ids(status="CANCELLED", startDate="2026-07-14", endDate="2026-07-20") == {cancelled}
    assert desk.ids(type="CHECKIN", startDate="2026-07-07", endDate="2026-07-07") == {stays, cancelled}


def test_asking_by_id_heeds_nothing_else(sandbox: OctorateSandbox, desk: Desk) -> None:
    first, second = (sandbox.add()["id"] for _ in range(2))
    sandbox.cancel(second)
    assert desk.ids(**{"ids[]": [first, second, 5], "startDate": "2001-01-01", "endDate": "2001-01-01"}) == {
        first,
        second,
    }


def test_a_listing_is_sorted_as_asked(sandbox: OctorateSandbox, desk: Desk, clock: Clock) -> None:
    early = sandbox.add()["id"]
    clock.at += timedelta(minutes=1)
    late = sandbox.add()["id"]
    assert [each["id"] for each in desk.get(sortBy="createTime.desc").json()["data"]] == [late, early]


def test_a_cancelled_reservation_is_shortened(sandbox: OctorateSandbox, desk: Desk) -> None:
    made = sandbox.add()["id"]
    sandbox.cancel(made, "accommodation")
    [shown] = desk.get(status="CANCELLED").json()["data"]
    assert not {"accommodation", "currency", "channelName", "guestsList", "creditCard"} & set(shown)
    assert (shown["roomGross"], shown["guests"], shown["cancelledBy"]) == (0, [], "accommodation")


def test_the_same_reservation_reads_differently_every_time(sandbox: OctorateSandbox, desk: Desk) -> None:
    sandbox.add(fields={"updateTime": "2026-05-20T12:00:00.36Z[UTC]"})
    reads = [desk.get().json()["data"][0] for _ in range(20)]
    for field in ("touristTax", "tagColor", "autoLoginParam"):
        assert len({each[field] for each in reads}) > 1
    assert len({tuple(each) for each in reads}) > 1
    assert len({each["guests"][0]["type"] for each in reads}) == 2
    assert {"cancelledBy" in each for each in reads} == {True, False}
    assert {each["updateTime"] for each in reads} == {"2026-05-20T12:00:00.36Z[UTC]", "2026-05-20T12:00:00.360Z[UTC]"}


def test_without_noise_the_same_state_is_the_same_bytes(clock: Clock) -> None:
    desk = Desk(OctorateSandbox(clock, seed=5, noise=False))
    assert desk.get().content == desk.get().content


def test_private_fields_are_present_and_marked(sandbox: OctorateSandbox, desk: Desk) -> None:
    sandbox.add()
    [shown] = desk.get().json()["data"]
    private = [*shown["creditCard"].values(), shown["policeRegistration"], shown["guests"][0]["documentCode"]]
    assert all(value.startswith(PRIVATE) for value in private)
    assert "birthDate" in shown["guests"][0]


def test_some_references_are_numbers_of_twenty_digits(clock: Clock) -> None:
    desk = Desk(OctorateSandbox(clock, seed=60))
    kinds = {type(each["refer"]) for each in desk.get(size=200).json()["data"]}
    digits = {len(str(each["refer"])) for each in desk.get(size=200).json()["data"] if isinstance(each["refer"], int)}
    assert (kinds, digits) == ({str, int}, {20})


def test_the_same_seed_gives_the_same_reservations(clock: Clock) -> None:
    first, second, other = (OctorateSandbox(clock, seed=each).state() for each in (30, 30, 31))
    assert first == second
    assert first != other
    assert len(first["reservations"]) == 30


# Changing


def test_each_control_leaves_its_mark(sandbox: OctorateSandbox) -> None:
    made = sandbox.add(fields={"status": "WAITING"})["id"]
    assert sandbox.confirm(made)["status"] == "CONFIRMED"
    assert sandbox.check_in(made)["effectiveCheckin"] == "2026-05-20T12:00:00Z[UTC]"
    assert sandbox.check_out(made)["effectiveCheckout"] == "2026-05-20T12:00:00Z[UTC]"
    assert sandbox.no_show(made)["noShow"] is True
    assert sandbox.change(made, {"totalPaid": 5.5})["totalPaid"] == 5.5
    assert sandbox.delete(made)["id"] == made
    assert sandbox.state()["reservations"] == []


def test_a_touch_moves_the_update_time_and_nothing_else(sandbox: OctorateSandbox) -> None:
    made = sandbox.add()
    once, twice = sandbox.touch(made["id"]), sandbox.touch(made["id"])
    assert made["updateTime"] == "2026-05-20T12:00:00Z[UTC]"
    assert (once["updateTime"], twice["updateTime"]) == ("2026-05-20T12:00:00.01Z[UTC]", "2026-05-20T12:00:00.02Z[UTC]")
    assert once | {"updateTime": None} == made | {"updateTime": None}


def test_a_field_may_be_made_unreadable(sandbox: OctorateSandbox, desk: Desk) -> None:
    made = sandbox.add()["id"]
    sandbox.change(made, {"updateTime": None, "checkin": 7})
    assert desk.ids() == {made}
    assert sandbox.touch(made)["updateTime"] == "2026-05-20T12:00:00.02Z[UTC]"


@pytest.mark.parametrize("fields", [{"id": 7}, {"accommodation": {}}])
def test_a_reservation_keeps_its_identity(sandbox: OctorateSandbox, fields: dict[str, Any]) -> None:
    made = sandbox.add()["id"]
    with pytest.raises(Refused, match="keeps its id"):
        sandbox.change(made, fields)


def test_steps_make_all_kinds_of_plausible_changes(clock: Clock) -> None:
    sandbox = OctorateSandbox(clock, seed=30)
    done = []
    for _ in range(400):
        clock.at += timedelta(hours=1)
        done.append(sandbox.step())
    for words in (
        "made at",
        "changed at",
        "confirmed at",
        "checked in at",
        "checked out at",
        "cancelled at",
        "deleted at",
    ):
        assert any(words in each for each in done)
    assert sandbox.state()["reservations"]


def test_reset_begins_again(clock: Clock) -> None:
    sandbox = OctorateSandbox(clock, seed=3)
    first = sandbox.state()
    sandbox.step()
    sandbox.revoke()
    sandbox.forbid(ROME)
    sandbox.quota(1)
    sandbox.fail(status=500)
    sandbox.reset()
    assert sandbox.state() == first


# Failing


@pytest.mark.parametrize(
    ("kind", "status"),
    [("ApiLoginExpired", 403), ("ApiQuotaException", 403), ("WrongEnviroment", 403), ("ApiResourceEmpty", 404)],
)
def test_a_kind_of_error_comes_as_often_as_told(sandbox: OctorateSandbox, desk: Desk, kind: str, status: int) -> None:
    sandbox.fail(kind=kind, times=2)
    assert [refusal(desk.get()) for _ in range(2)] == [(status, kind)] * 2
    assert desk.get().status_code == 200


def test_a_status_has_the_vendors_usual_body(sandbox: OctorateSandbox, desk: Desk) -> None:
    sandbox.fail(status=550)
    assert refusal(desk.get()) == (550, "ApiPartnerServerError")
    sandbox.fail(status=503)
    assert desk.get().text == "error"
    sandbox.fail(status=429, retry_after=7)
    assert desk.get().headers["Retry-After"] == "7"


def test_a_failure_can_last_and_can_be_healed(sandbox: OctorateSandbox, desk: Desk, clock: Clock) -> None:
    sandbox.fail(status=500, for_=60)
    assert {desk.get().status_code for _ in range(5)} == {500}
    clock.at += timedelta(seconds=60)
    assert desk.get().status_code == 200
    sandbox.fail(status=500, times=9)
    sandbox.heal()
    assert desk.get().status_code == 200


def test_a_failure_strikes_only_the_paths_it_matches(sandbox: OctorateSandbox, desk: Desk) -> None:
    sandbox.fail(status=500, match="reservation")
    assert desk.get("/rest/v1/accommodation").status_code == 200
    assert desk.get().status_code == 500


def test_broken_bodies(sandbox: OctorateSandbox, desk: Desk) -> None:
    sandbox.add()
    for kind in ("html", "truncated", "bom"):
        sandbox.fail(kind=kind)
        reply = desk.get()
        assert reply.status_code == 200
        with pytest.raises(ValueError, match=r"Expecting|Unterminated|BOM"):
            json.loads(reply.content.decode())


def test_a_huge_body_is_over_fifty_megabytes_and_still_json(sandbox: OctorateSandbox, desk: Desk) -> None:
    sandbox.fail(kind="huge")
    reply = desk.get()
    assert len(reply.content) > 50_000_000
    assert reply.json()["data"] == []


def test_a_hang_is_a_read_time_out_when_called_directly(sandbox: OctorateSandbox, desk: Desk) -> None:
    sandbox.fail(kind="hang")
    with pytest.raises(Hang):
        desk.get()


def test_spoilt_listings(sandbox: OctorateSandbox, desk: Desk) -> None:
    first, second = (sandbox.add()["id"] for _ in range(2))
    sandbox.fail(kind="empty")
    assert desk.get("/rest/v1/api/configuration").status_code == 200  # is no listing, so uses up nothing
    assert desk.get().json()["data"] == []
    sandbox.fail(kind="one_bad")
    bad, good = desk.get().json()["data"]
    assert (bad["id"], set(bad["checkin"])) == (first, {"wrong"})
    assert (good["id"], type(good["checkin"])) == (second, str)
    sandbox.fail(kind="wrong_types")
    assert all(set(each["id"]) == {"wrong"} for each in desk.get().json()["data"])


def test_listings_without_an_end(sandbox: OctorateSandbox, desk: Desk) -> None:
    made = sandbox.add()["id"]
    sandbox.fail(kind="endless", times=3)
    ids = [each["id"] for page in range(3) for each in desk.get(page=page).json()["data"]]
    assert len(set(ids)) == 60
    sandbox.fail(kind="repeat", times=2)
    assert [desk.ids(page=page) for page in (0, 900)] == [{made}, {made}]


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"status": 500, "kind": "html"},
        {"status": 200},
        {"kind": "sulk"},
        {"status": 500, "times": 0},
        {"status": 500, "for_": -1},
    ],
)
def test_an_impossible_failure_is_refused(sandbox: OctorateSandbox, wish: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        sandbox.fail(**wish)


# Over HTTP


async def test_controls_and_looks_over_http(sandbox: OctorateSandbox) -> None:
    async with serve(sandbox) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        made = (await http.post("/_sandbox/add", json={"fields": {"refer": "R1"}})).json()
        gone = await http.post("/_sandbox/cancel", json={"id": made["id"], "by": "guest"})
        await http.get("/connect/rest/v1/accommodation?page=0&access_token=s3cret")
        seen = (await http.get("/_sandbox/requests")).json()
        state = (await http.get("/_sandbox/state")).json()
    assert (made["refer"], gone.json()["status"]) == ("R1", "CANCELLED")
    query = [["page", "0"], ["access_token", "***"]]
    assert seen == [{"method": "GET", "path": "/connect/rest/v1/accommodation", "query": query}]
    assert [each["id"] for each in state["reservations"]] == [made["id"]]


async def test_a_control_that_is_unknown_or_asked_wrongly_says_so(sandbox: OctorateSandbox) -> None:
    async with serve(sandbox) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        unknown = await http.post("/_sandbox/explode")
        typed = await http.post("/_sandbox/cancel", json={"id": "first"})
        missing = await http.post("/_sandbox/touch", json={"id": 5})
        broken = await http.post("/_sandbox/touch", content=b"{")
    assert unknown.status_code == 404
    assert {"add", "fail", "expire_tokens", "reset"} <= set(unknown.json()["controls"])
    assert (typed.status_code, typed.json()["error"]) == (400, "Expected `int`, got `str` - at `$.id`")
    assert (missing.status_code, missing.json()["error"]) == (400, "There is no reservation 5.")
    assert broken.status_code == 400


async def test_the_vendor_over_http_with_its_odd_statuses_and_headers(sandbox: OctorateSandbox) -> None:
    async with serve(sandbox) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        form = {**CLIENT, "refresh_token": REFRESH_TOKEN}
        access = (await http.post("/connect/rest/v1/identity/refresh", data=form)).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {access}"
        await http.post("/_sandbox/fail", json={"kind": "ApiPartnerServerError"})
        failed = await http.get(f"/connect{LISTING}")
        listed = await http.get(f"/connect{LISTING}", params={"type": "STAY", "ids[]": ["1", "2"]})
    assert (failed.status_code, listed.status_code) == (550, 200)
    assert listed.headers["X-RateLimit-Remaining"] == "99"
    assert listed.headers.get_list("Date") == ["Wed, 20 May 2026 12:00:00 GMT"]
    assert listed.headers["content-type"] == "application/json"


async def test_a_served_hang_stays_silent_and_holds_up_nobody_else(sandbox: OctorateSandbox) -> None:
    async with serve(sandbox) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        await http.post("/_sandbox/fail", json={"kind": "hang", "for": 60, "match": "accommodation"})
        with pytest.raises(httpx.ReadTimeout):
            await http.get("/rest/v1/accommodation", timeout=0.1)
        assert (await http.get("/rest/v1/nothing")).status_code == 404


async def test_a_server_ends_at_once_though_a_request_hangs(sandbox: OctorateSandbox) -> None:
    arrived = anyio.Event()

    def told(request: httpx.Request) -> httpx.Response:
        arrived.set()
        return sandbox(request)

    sandbox.fail(kind="hang")
    with anyio.fail_after(5):
        async with httpx.AsyncClient(trust_env=False) as http, anyio.create_task_group() as group, serve(told) as url:
            group.start_soon(_left_alone, http, f"{url}/rest/v1/accommodation")
            await arrived.wait()


async def _left_alone(http: httpx.AsyncClient, url: str) -> None:
    with pytest.raises(httpx.HTTPError):
        await http.get(url, timeout=60)


async def test_a_served_huge_body_is_streamed(sandbox: OctorateSandbox) -> None:
    async with serve(sandbox) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        sandbox.fail(kind="huge")
        async with http.stream("GET", "/rest/v1/nothing") as reply:
            first = await anext(reply.aiter_raw())
        assert first.isspace()
        assert (await http.get("/rest/v1/nothing")).status_code == 404


class _Endless(httpx.AsyncByteStream):
    """A body nobody reads to its end; `closed` is set when the server has done with it."""

    def __init__(self) -> None:
        self.closed = anyio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65536

    async def aclose(self) -> None:
        self.closed.set()


async def test_a_reply_is_closed_when_its_reader_has_gone() -> None:
    body = _Endless()
    with anyio.fail_after(5):
        async with serve(lambda _: httpx.Response(200, stream=body)) as url:
            async with await anyio.connect_tcp("127.0.0.1", int(url.rpartition(":")[2])) as client:
                await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await body.closed.wait()


async def test_a_taken_port_is_an_error(sandbox: OctorateSandbox) -> None:
    async with serve(sandbox) as url:
        with pytest.raises(OSError, match="in use"):
            async with serve(sandbox, port=int(url.rpartition(":")[2])):
                pass
