"""The fake iPRO does what the vendor's paper says, lies included, and fails when told to."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors.sandbox.base import Hang, Refused
from connectors.sandbox.ipro import CLIENT_ID, CLIENT_SECRET, IproSandbox
from connectors.sandbox.serve import serve

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


class Desk:
    """A signed-in client of a sandbox."""

    def __init__(self, sandbox: IproSandbox) -> None:
        self.http = httpx.Client(transport=httpx.MockTransport(sandbox), base_url="https://ipro.test")
        self.sign_in()

    def sign_in(self) -> None:
        self.http.headers["Authorization"] = f"Bearer {self.token().json()['access_token']}"

    def token(self, words: str = CLIENT_SECRET, grant: str = "client_credentials") -> httpx.Response:
        return self.http.post("/oauth/2.0/token", auth=(CLIENT_ID, words), data={"grant_type": grant})

    def get(self, path: str = "bookings", **params: Any) -> httpx.Response:
        return self.http.get(f"/apis/{path}", params=params)

    def ids(self, **params: Any) -> set[int]:
        return {each["BookingId"] for each in self.get(size=300, **params).json()["Items"]}

    def named(self, minutes: int) -> list[int]:
        body = self.get("property/dayavailabilitycheck", lastUpdated=minutes).json()
        ids: list[int] = (body[0] if isinstance(body, list) else body)["PropertyIDs"]
        return ids

    def code(self, day: date, id_: int = 7858) -> str:
        calendar = self.get(f"property/{id_}/dayavailability", months=24).json()
        code: str = calendar[str(day.year)][str(day.month)][str(day.day)]
        return code


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> IproSandbox:
    return IproSandbox(clock, seed=0)


@pytest.fixture
def desk(sandbox: IproSandbox) -> Desk:
    return Desk(sandbox)


# Signing in


def test_client_credentials_buy_a_long_token_for_an_hour(desk: Desk) -> None:
    reply = desk.token()
    assert (reply.json()["token_type"], reply.json()["expires_in"]) == ("bearer", 3600)
    assert len(reply.json()["access_token"]) > 1000
    assert reply.headers["Cache-Control"] == "no-cache, no-store"


def test_wrong_credentials_are_refused_in_the_words_of_oauth(desk: Desk) -> None:
    refused = [desk.token("other"), desk.token(grant="password")]
    assert [(reply.status_code, reply.json()["error"]) for reply in refused] == [
        (400, "invalid_client"),
        (400, "unsupported_grant_type"),
    ]


def test_a_token_runs_out_by_itself_and_is_lost_with_the_consent(
    sandbox: IproSandbox, desk: Desk, clock: Clock
) -> None:
    clock.at += timedelta(hours=1)
    assert desk.get().status_code == 401
    desk.sign_in()
    sandbox.revoke()
    assert (desk.get().status_code, desk.token().status_code) == (401, 400)
    sandbox.grant()
    desk.sign_in()
    assert desk.get().status_code == 200


# Bookings


def test_pages_begin_at_one_and_hold_fifteen(sandbox: IproSandbox, desk: Desk) -> None:
    made = {sandbox.add()["BookingId"] for _ in range(35)}
    pages = [desk.get(index=index).json() for index in (1, 2, 3, 4)]
    assert [len(page["Items"]) for page in pages] == [15, 15, 5, 0]
    assert {page["TotalHits"] for page in pages} == {35}
    assert {each["BookingId"] for page in pages for each in page["Items"]} == made


def test_without_a_status_cancelled_ones_are_hidden(sandbox: IproSandbox, desk: Desk) -> None:
    stays, goes = sandbox.add()["BookingId"], sandbox.add()["BookingId"]
    sandbox.cancel(goes)
    assert (desk.ids(), desk.ids(bookingstatus=3), desk.ids(bookingstatus=4)) == ({stays}, {stays}, {goes})
    assert (desk.ids(bookingID=goes), desk.ids(bookingID=goes, bookingstatus=4)) == (set(), {goes})
    sandbox.unasked = "all"
    assert desk.ids() == {stays, goes}
    sandbox.unasked = "refused"
    assert desk.get().status_code == 400


def test_bookings_are_found_by_the_day_of_their_last_change(sandbox: IproSandbox, desk: Desk, clock: Clock) -> None:
    old = sandbox.add()["BookingId"]
    clock.at += timedelta(days=3)
    desk.sign_in()
    new = sandbox.add()["BookingId"]
    assert desk.ids(modifiedTimeFrom="2026-05-22", modifiedTimeTo="2026-05-24") == {new}
    sandbox.touch(old)
    assert desk.ids(modifiedTimeFrom="2026-05-23") == {old, new}
    assert desk.ids(modifiedTimeTo="2026-05-22") == set()


def test_bookings_are_sorted_as_asked(sandbox: IproSandbox, desk: Desk) -> None:
    first = sandbox.add(fields={"OrderTime": "2026-01-01"})["BookingId"]
    second = sandbox.add(fields={"OrderTime": "2026-01-02"})["BookingId"]
    orders = [[each["BookingId"] for each in desk.get(SortDirection=way).json()["Items"]] for way in ("asc", "desc")]
    assert orders == [[first, second], [second, first]]


@pytest.mark.parametrize(
    "params",
    [
        {"size": 0},
        {"size": "many"},
        {"index": 0},
        {"modifiedTimeFrom": "20/05/2026"},
        {"bookingstatus": "booked"},
        {"Sort": "Colour"},
        {"SortDirection": "up"},
        {"modifiedSince": "2026-05-20"},
    ],
)
def test_a_question_in_the_wrong_shape_is_a_400(desk: Desk, params: dict[str, Any]) -> None:
    assert desk.get(**params).status_code == 400


@pytest.mark.parametrize(("totals", "said"), [("page", 2), ("low", 1), ("high", 40), ("none", None)])
def test_the_total_may_be_anything(sandbox: IproSandbox, desk: Desk, totals: Any, said: int | None) -> None:
    for _ in range(3):
        sandbox.add()
    sandbox.totals = totals
    assert desk.get(size=2).json().get("TotalHits") == said


def test_a_site_may_give_less_than_was_asked_for(sandbox: IproSandbox, desk: Desk) -> None:
    for _ in range(5):
        sandbox.add()
    sandbox.page_cap = 2
    assert len(desk.get(size=300).json()["Items"]) == 2


def test_two_gets_change_data_and_are_written_down(sandbox: IproSandbox, desk: Desk) -> None:
    id_ = sandbox.add()["BookingId"]
    assert desk.get("booking/cancel", BookingId=id_).json() == {"Success": True}
    assert sandbox.bookings[id_]["Status"] == "Cancelled"
    desk.get("booking/reactivate", BookingId=id_)
    assert sandbox.bookings[id_]["BookingStatusId"] == 3
    assert sandbox.state()["writes"] == [f"cancel {id_}", f"reactivate {id_}"]
    assert desk.get("booking/cancel", BookingId=1).status_code == 404


# Properties and what hangs on them


def test_properties_are_a_plain_list_and_one_of_them_comes_wrapped(sandbox: IproSandbox, desk: Desk) -> None:
    listed = desk.get("properties").json()
    assert [each["Id"] for each in listed] == [7858, 7864, 7902, 8849, 8862]
    assert desk.get("property/7858/all").json()["PropertyDetails"]["CurrencyISO"] == "GBP"
    assert desk.get("property/7858").json()["Name"] == "Harbour View"
    assert desk.get("property/1/all").status_code == 404
    sandbox.listings = "plain"
    assert desk.get("properties").json()["Items"][0]["PropertyDetails"]["Id"] == 7858


def test_a_calendar_begins_yesterday_and_has_a_code_for_each_night(sandbox: IproSandbox, desk: Desk) -> None:
    stay = {"CheckIn": "2026-06-01", "CheckOut": "2026-06-03"}
    id_ = sandbox.add(fields=stay)["BookingId"]
    sandbox.block(7858, date(2026, 6, 4), date(2026, 6, 5))
    sandbox.add(fields={"CheckIn": "2026-06-08", "CheckOut": "2026-06-09", "Source": "Owner"})
    sandbox.add(fields={"CheckIn": "2026-06-09", "CheckOut": "2026-06-10", "BookingStatusId": 2})
    shown = [desk.code(date(2026, 6, day)) for day in (1, 2, 3, 4, 5, 6, 8, 9)]
    assert shown == ["B", "B", "A", "U", "A", "C", "OB", "P"]
    assert (desk.code(date(2026, 5, 19)), desk.code(date(2028, 5, 18))) == ("A", "A")
    sandbox.cancel(id_)
    assert desk.code(date(2026, 6, 1)) == "A"


def test_the_check_names_what_came_or_went_within_the_minutes(sandbox: IproSandbox, desk: Desk, clock: Clock) -> None:
    assert desk.named(5) == []
    blockout = sandbox.block(7864, date(2026, 6, 4), date(2026, 6, 5))
    sandbox.add(8849)
    assert desk.named(5) == [7864, 8849]
    clock.at += timedelta(minutes=10)
    assert desk.named(5) == []
    sandbox.unblock(blockout["ID"])
    assert (desk.named(5), desk.named(10)) == ([7864], [7864, 8849])
    assert desk.get("property/dayavailabilitycheck").status_code == 400


def test_the_check_is_a_list_or_an_object(sandbox: IproSandbox, desk: Desk) -> None:
    kinds = []
    for check in ("list", "object", "alternate", "alternate"):
        sandbox.check = check
        kinds.append(type(desk.get("property/dayavailabilitycheck", lastUpdated=5).json()))
    assert kinds[:2] == [list, dict]
    assert set(kinds[2:]) == {list, dict}


def test_properties_that_changed_lately(sandbox: IproSandbox, desk: Desk) -> None:
    sandbox.check = "object"
    sandbox.withdraw(7902)
    assert desk.get("properties/lastupdated", lastUpdated=5).json() == {"PropertyIDs": [7902]}


def test_blockouts_are_listed_by_property(sandbox: IproSandbox, desk: Desk) -> None:
    sandbox.block(7864, date(2026, 6, 4), date(2026, 6, 5))
    assert [each["PropertyID"] for each in desk.get("property/7864/blockouts").json()] == [7864]
    assert desk.get("property/7858/blockouts").json() == []


def test_an_enquiry_is_listed_under_each_of_its_properties(sandbox: IproSandbox, desk: Desk) -> None:
    made = desk.http.post("/apis/enquiry", data={"Properties": "7858,7864", "FullName": "Kim Sample"}).json()
    assert (made["FullName"], sorted(made["Properties"])) == ("Kim Sample", ["7858", "7864"])
    for id_ in (7858, 7864):
        assert [each["Id"] for each in desk.get(f"property/{id_}/enquiries").json()["Items"]] == [made["Id"]]
    sandbox.listings = "plain"
    assert desk.get("property/7902/enquiries").json() == []
    assert desk.http.post("/apis/enquiry", data={"Properties": "1"}).status_code == 400


def test_settings_are_lists(desk: Desk) -> None:
    assert {each["Name"] for each in desk.get("bookingtags").json()} == {"Late arrival", "Returning", "Dog"}
    assert desk.get("sources").json()[0] == {"Id": 1, "Name": "Website"}
    assert (desk.get("nothing").status_code, desk.http.get("/elsewhere").status_code) == (404, 404)
    assert desk.http.post("/apis/bookings").status_code == 400


# Noise


def test_with_noise_the_same_state_is_spelt_differently_and_without_it_never() -> None:
    for noise in (True, False):
        sandbox = IproSandbox(Clock(), seed=20, noise=noise)
        desk = Desk(sandbox)
        for path in ("bookings", "properties", "property/7858/dayavailability"):
            bodies = {desk.get(path).content for _ in range(3)}
            assert (len(bodies) > 1) is noise, path


def test_the_same_seed_is_the_same_site() -> None:
    one, other = (IproSandbox(Clock(), seed=7) for _ in range(2))
    assert one.state()["bookings"] == other.state()["bookings"]
    assert [one.step() for _ in range(60)] == [other.step() for _ in range(60)]


# Failures


def test_a_failure_may_come_inside_a_200(sandbox: IproSandbox, desk: Desk) -> None:
    sandbox.fail(kind="failed", match="bookings")
    reply = desk.get()
    assert (reply.status_code, reply.json()["Success"]) == (200, False)


@pytest.mark.parametrize(("kind", "status"), IproSandbox.errors.items())
def test_each_of_the_vendors_errors_has_its_status(sandbox: IproSandbox, desk: Desk, kind: str, status: int) -> None:
    sandbox.fail(kind=kind)
    assert desk.get().status_code == status


def test_a_listing_fails_in_five_ways(sandbox: IproSandbox, desk: Desk) -> None:
    ids = {sandbox.add()["BookingId"] for _ in range(3)}
    for kind in ("empty", "wrong_types", "one_bad", "endless", "repeat"):
        sandbox.heal()
        sandbox.fail(kind=kind, match="bookings")
        items = desk.get(size=2, index=2).json()["Items"]
        match kind:
            case "empty":
                assert items == []
            case "wrong_types":
                assert all(set(value) == {"wrong"} for each in items for value in each.values())
            case "one_bad":
                assert items[0]["BookingId"] in ids
                assert set(items[0]["CheckIn"]) == {"wrong"}
            case "endless":
                assert not {each["BookingId"] for each in items} & ids
            case _:
                assert len(items) == 2


def test_a_hang_is_silence(sandbox: IproSandbox, desk: Desk) -> None:
    sandbox.fail(kind="hang")
    with pytest.raises(Hang):
        desk.get()


def test_what_is_not_there_cannot_be_changed(sandbox: IproSandbox) -> None:
    asked: list[Any] = [
        lambda: sandbox.cancel(1),
        lambda: sandbox.remove(1),
        lambda: sandbox.unblock(1),
        lambda: sandbox.withdraw_enquiry(1),
        lambda: sandbox.suspend(1),
        lambda: sandbox.add(1),
        lambda: sandbox.add_property(7858),
        lambda: sandbox.change(sandbox.add()["BookingId"], {"PropertyId": 7864}),
        lambda: sandbox.add(fields={"BookingId": sandbox.add()["BookingId"]}),
    ]
    for ask in asked:
        with pytest.raises(Refused):
            ask()


async def test_every_control_is_reached_over_http(sandbox: IproSandbox) -> None:
    async with serve(sandbox) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:

        async def told(name: str, **body: Any) -> Any:
            reply = await http.post(f"/_sandbox/{name}", json=body)
            assert reply.status_code == 200, (name, reply.text)
            return reply.json() if reply.content else None

        id_ = (await told("add", property_id=7864))["BookingId"]
        for name in ("cancel", "reactivate", "confirm", "touch"):
            await told(name, id=id_)
        await told("change", id=id_, fields={"Adults": 5})
        block = await told("block", property_id=7858, first="2026-06-01", last="2026-06-03")
        await told("unblock", id=block["ID"])
        enquiry = await told("enquire", property_ids=[7858])
        await told("withdraw_enquiry", id=enquiry["Id"])
        await told("add_property", id=9000)
        for name in ("withdraw", "suspend", "reinstate", "remove_property"):
            await told(name, id=9000)
        await told("remove", id=id_)
        state = (await http.get("/_sandbox/state")).json()
        await told("reset", seed=3)
    assert (state["bookings"], state["enquiries"], len(state["properties"])) == ([], [], 5)
    assert len(json.loads(json.dumps(sandbox.state()["bookings"]))) == 3
