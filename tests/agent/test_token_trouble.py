"""What has gone wrong with tokens before: what no header can carry, a consent lost to a passing refusal, tokens given twice."""

import random
from collections.abc import Callable

import anyio
import httpx
import msgspec
import pytest

from agent.sharing import Sharing
from agent.standing import Standing
from agent.tokens import TokenKeeper
from agent.vault import Vault
from connectors.api import Api
from connectors.auth import Token
from connectors.base import Connector
from connectors.budget import Pacer
from connectors.errors import AuthRefused, Misconfigured, Unavailable, Unreadable, VendorError
from connectors.http import Sender, open_http
from connectors.ipro import Ipro
from connectors.octorate import Octorate
from connectors.powerpro import PowerPro
from events.tokens import Entry, Held, MemoryTokenStore, TokenStore
from schemas.facts import TokenState
from schemas.settings import Budget, Duration, Secret
from tests.agent.rotating import FIRST, KEY, Agents, Rotating

pytestmark = pytest.mark.anyio

Answer = Callable[[httpx.Request], httpx.Response]


class EnoughError(Exception):
    """The clock has come to its end."""


class Desk:
    """Keepers of one account, on one clock and one store. `answer` is the vendor's; `asked` the times it was asked."""

    def __init__(self, answer: Answer | None = None, store: TokenStore | None = None) -> None:
        self.at = 0.0
        self.until = 0.0
        self.asked: list[float] = []
        self.told: list[TokenState] = []
        self.answer: Answer = answer or (lambda _: granted(f"canary-access-{len(self.asked)}"))
        self.store = store or MemoryTokenStore(lambda: self.at)

    def keeper(self, connector: Connector, *, key: str = "") -> TokenKeeper:
        return TokenKeeper(
            connector,
            self.send,
            self.told.append,
            rng=random.Random(1),
            store=self.store,
            vault=Vault.of(key),
            clock=lambda: self.at,
            wall=lambda: self.at + 1_000_000,
            sleep=self._sleep,
        )

    async def send(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(self.at)
        await anyio.lowlevel.checkpoint()
        reply = self.answer(request)
        reply.request = request
        return reply

    async def kept(self, keeper: TokenKeeper, seconds: float) -> None:
        """Let the background renewal run for so long."""
        self.until = self.at + seconds
        with pytest.raises(EnoughError):
            await keeper.keep()

    async def _sleep(self, seconds: float) -> None:
        self.at += seconds
        if self.at > self.until:
            raise EnoughError


def granted(access: str, refresh: str | None = None, lifetime: float = 3600) -> httpx.Response:
    return httpx.Response(200, json={"access_token": access, "refresh_token": refresh, "expires_in": lifetime})


def college(key: str = "canary-key-1", **settings: object) -> PowerPro:
    return msgspec.structs.replace(PowerPro(name="college", api_key=Secret(key)), **settings)


def hotel(refresh: str | None = None) -> Octorate:
    token = Secret(refresh) if refresh else None
    return Octorate(name="hotel", client_id="id", client_secret=Secret("canary-secret"), refresh_token=token)


def cottages() -> Ipro:
    return Ipro(name="cottages", base_url="https://x.example", client_id="id", client_secret=Secret("canary-secret"))


# What no header can carry


@pytest.mark.parametrize("key", ["canary\nkey-1", "canary-key-1\r\n", "canary-kéy-1", "canary\0key", "canary-\udcff"])
async def test_a_key_that_no_header_can_carry_is_a_matter_of_the_configuration(key: str) -> None:
    async with open_http() as http:
        connector = college(key, base_url="http://127.0.0.1:9")
        keeper = TokenKeeper(connector, Sender(http).send, lambda _: None, rng=random.Random(1))
        with pytest.raises(Misconfigured, match="a character that no header can carry") as raised:
            await keeper.token()
    assert "canary" not in str(raised.value)
    assert "canary" not in repr(raised.value.__context__)


async def test_a_base_url_that_is_no_address_is_a_matter_of_the_configuration() -> None:
    desk = Desk()
    with pytest.raises(Misconfigured, match="are no address"):
        await desk.keeper(college(base_url="https://vendor.example:none")).token()
    assert desk.asked == []


@pytest.mark.parametrize("access", ["", " ", "canary\naccess", "canary access", "canary-accéss", "canary\x7f"])
async def test_an_access_token_that_no_header_can_carry_is_none(access: str) -> None:
    desk = Desk(lambda _: granted(access))
    with pytest.raises(Unreadable, match=r"^POST /auth/login: the access token is empty, or no header can carry it$"):
        await desk.keeper(college()).token()


async def test_the_background_renewal_outlives_what_nobody_foresaw(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    keeper = desk.keeper(college())
    token = await keeper.token()
    desk.at = 3500.0

    def broken(_: httpx.Request) -> httpx.Response:
        raise KeyError("canary")

    desk.answer = broken
    await desk.kept(keeper, 95)
    assert (await keeper.token()).access == token.access
    assert len(desk.asked) == 1 + 2
    assert [record.getMessage() for record in caplog.records] == [
        "the token of powerpro/college could not be renewed, in an unforeseen way"
    ]
    desk.at = 3601.0
    with pytest.raises(Unavailable, match="unforeseen"):
        await keeper.token()


# A consent is not lost to a refusal that passes


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_passing_refusal_leaves_a_stored_consent_to_renew_with(status: int) -> None:
    desk = Desk(lambda _: granted("canary-access", "canary-consent-2", 86400))
    connector = hotel()
    sharing = Sharing(desk.store, Vault.of(KEY), "hotel", connector)
    token = Token(access="canary-given", refresh="canary-consent-1", lifetime=86400)
    entry = Standing(lambda: 0.0, random.Random(1)).entry_of(token, sharing.sealed(token), 0.0)
    await desk.store.write("hotel", entry, 0)
    keeper = desk.keeper(connector, key=KEY)
    works, desk.answer = desk.answer, lambda _: httpx.Response(status)
    desk.at = 86400 * 0.9
    assert (await keeper.token()).access == "canary-given"
    assert not desk.told[-1].healthy
    desk.at += 86400
    with pytest.raises(AuthRefused, match=r"run `vendorwire authorize hotel`"):
        await keeper.token()
    desk.answer = works
    desk.at += 60
    assert (await keeper.token()).access == "canary-access"
    assert len(desk.asked) == 3


async def test_a_configured_refresh_token_that_was_replaced_since_is_not_tried_again() -> None:
    agents = Agents(0)
    works, refuse = agents.vendor.send, True

    async def once_refused(request: httpx.Request) -> httpx.Response:
        nonlocal refuse
        if refuse and agents.at:
            refuse = False
            return httpx.Response(403, request=request)
        return await works(request)

    agents.vendor.send = once_refused  # type: ignore[method-assign]  # a firewall before it
    keeper = agents.joined()
    await keeper.token()
    agents.at += 90
    assert (await keeper.token()).access == "canary-access-1"
    agents.at += 61
    assert (await keeper.token()).access == "canary-access-2"
    assert (agents.vendor.forms, agents.vendor.withdrawn) == ([FIRST, "canary-refresh-1"], False)


async def test_a_refresh_token_configured_while_the_agent_runs_is_the_one_to_renew_with() -> None:
    for keys in (KEY, ""):
        agents = Agents(0, keys=keys)
        connector = Rotating()
        keeper = agents.joined(connector=connector)
        await keeper.token()
        connector.refresh_token = Secret("canary-refresh-new")
        agents.vendor.refresh = "canary-refresh-new"
        agents.at += 101
        assert (await keeper.token()).access == "canary-access-2"
        agents.at += 101
        assert (await keeper.token()).access == "canary-access-3"
        assert agents.vendor.forms == [FIRST, "canary-refresh-new", "canary-refresh-2"]


# A vendor that gives the same token again


async def test_a_token_given_again_after_one_refusal_is_tried_again() -> None:
    desk = Desk(lambda _: granted("canary-same"))
    keeper = desk.keeper(cottages())
    token = await keeper.token()
    desk.at += 200
    assert (await keeper.renew(token)).access == "canary-same"
    assert (await keeper.token()).access == "canary-same"
    await desk.kept(keeper, 600)
    assert (len(desk.asked), desk.told[-1].healthy) == (2, True)


async def test_a_token_given_again_and_again_and_always_refused_is_asked_for_once_a_minute() -> None:
    desk = Desk(lambda _: granted("canary-same"))
    keeper = desk.keeper(cottages())
    for second in range(0, 600, 5):
        desk.at = float(second)
        try:
            await keeper.renew(await keeper.token())
        except AuthRefused:
            continue
    assert len(desk.asked) <= 1 + 10


async def test_an_empty_token_is_asked_for_less_and_less() -> None:
    desk = Desk(lambda _: granted(""))
    keeper = desk.keeper(cottages())
    for second in range(240):
        desk.at = float(second)
        with pytest.raises(Unreadable):
            await keeper.token()
    assert desk.asked == [0, 5, 15, 35, 75, 135, 195]


# Other credentials for the same account


def one_key(request: httpx.Request) -> httpx.Response:
    return granted("canary-good") if request.headers.get("X-API-Key") == "canary-key-1" else httpx.Response(401)


async def stray_fails(desk: Desk, stray: TokenKeeper) -> None:
    with pytest.raises(AuthRefused):
        await stray.token()


async def stray_is_refused_what_it_got(desk: Desk, stray: TokenKeeper) -> None:
    desk.answer = lambda _: granted("canary-stray")
    given = await stray.token()
    desk.answer = one_key
    await desk.keeper(college(), key=KEY).token()  # the others have theirs back
    stray.learn(await stored(desk))
    desk.at += 1
    with pytest.raises(AuthRefused):
        await stray.renew(given)


async def stored(desk: Desk) -> Held:
    held = await desk.store.read("college")
    assert held is not None
    return held


@pytest.mark.parametrize("trouble", [stray_fails, stray_is_refused_what_it_got])
async def test_the_trouble_of_an_agent_with_other_credentials_is_its_own(trouble: Callable[..., object]) -> None:
    desk = Desk(one_key)
    keeper = desk.keeper(college(), key=KEY)
    await keeper.token()
    desk.at += 60
    stray = desk.keeper(college("canary-typo-2"), key=KEY)
    await trouble(desk, stray)  # type: ignore[misc]  # both are coroutine functions
    keeper.learn(await stored(desk))
    assert (await stored(desk)).entry.problem == ""
    assert isinstance(await desk.store.claim("college", "someone", 1), int)
    assert (await keeper.token()).access == "canary-good"
    asked = len(desk.asked)
    for _ in range(5):
        desk.at += 10
        keeper.learn(await stored(desk))
        with pytest.raises(AuthRefused):
            await stray.token()
    assert len(desk.asked) == asked


# A resource that is not granted


class Reader:
    """An agent that reads: /course is granted, what else is asked answers 401."""

    def __init__(self, desk: Desk, granted: Callable[[httpx.Request], bool], *, key: str = "") -> None:
        self.desk = desk
        self.seen: list[str] = []

        def vendor(request: httpx.Request) -> httpx.Response:
            self.seen.append(request.headers["Authorization"])
            return httpx.Response(200, json=[]) if granted(request) else httpx.Response(401)

        connector = college(budget=Budget(requests=100_000, per=Duration(seconds=1)))
        self.keeper = desk.keeper(connector, key=key)
        http = httpx.MockTransport(vendor)
        self.api = Api(connector, self.keeper, http, Pacer(connector.pace), lambda *_: None, clock=lambda: desk.at)

    async def ask(self, path: str) -> str:
        try:
            await self.api.get(path, msgspec.json.Decoder(), [("page", "1")])
        except VendorError as error:
            return type(error).__name__
        return "read"


def only_courses(request: httpx.Request) -> bool:
    return request.url.path == "/course"


@pytest.mark.parametrize("gap", [1, 7, 14, 40])
@pytest.mark.parametrize("key", ["", KEY])
async def test_what_is_not_granted_does_not_starve_what_is(gap: int, key: str) -> None:
    desk = Desk()
    readers = [Reader(desk, only_courses, key=key) for _ in range(2)]
    got: dict[str, list[str]] = {"/course": [], "/student": [], "/enrolment": []}
    due = {"/course": 0.0, "/student": 5.0, "/enrolment": 5.0 + gap}
    for second in range(1800):
        desk.at = float(second)
        for path, at in due.items():
            if second >= at:
                got[path].append(await readers[len(got[path]) % 2].ask(path))
                due[path] = second + (10 if path == "/course" else 60)
    assert got["/course"] == ["read"] * 180
    assert {*got["/student"][4:], *got["/enrolment"][4:]} == {"Forbidden"}
    assert len(desk.asked) <= (6 if key else 9)


async def test_a_token_revoked_early_is_renewed_for_all_that_is_read() -> None:
    desk = Desk()
    revoked: set[str] = set()
    reader = Reader(desk, lambda request: request.headers["Authorization"] not in revoked)
    paths = ("/course", "/student", "/enrolment")
    for _ in range(3):
        assert [await reader.ask(path) for path in paths] == ["read"] * 3
        revoked.update(reader.seen)
        desk.at += 120
    assert len(desk.asked) == 3


async def test_a_vendor_that_refuses_everything_is_left_alone() -> None:
    desk = Desk()
    well = True
    reader = Reader(desk, lambda _: well)
    paths = ("/course", "/student", "/enrolment")
    assert [await reader.ask(path) for path in paths] == ["read"] * 3
    well = False
    got = []
    for second in range(10, 610, 10):
        desk.at = float(second)
        got += [await reader.ask(path) for path in paths]
    assert set(got) == {"AuthRefused"}
    assert not desk.told[-1].healthy
    assert len(desk.asked) <= 1 + 11
    assert len(reader.seen) < 40
    well = True
    desk.at += 60
    assert [await reader.ask(path) for path in paths] == ["read"] * 3


async def test_a_token_goes_on_serving_where_it_is_good_while_no_other_can_be_had() -> None:
    desk = Desk()
    reader = Reader(desk, only_courses)
    assert await reader.ask("/course") == "read"
    desk.answer = lambda _: httpx.Response(503)
    assert await reader.ask("/student") == "Forbidden"
    assert await reader.ask("/course") == "read"
    assert desk.told[-1].healthy


async def test_credentials_refused_after_a_refused_token_stop_everything_at_once() -> None:
    desk = Desk()
    well = True
    reader = Reader(desk, lambda _: well)
    assert [await reader.ask(path) for path in ("/course", "/student")] == ["read"] * 2
    well, desk.answer = False, lambda _: httpx.Response(401)
    assert await reader.ask("/course") == "AuthRefused"
    seen = len(reader.seen)
    assert await reader.ask("/student") == "AuthRefused"
    assert len(reader.seen) == seen


# The first refusal


@pytest.mark.parametrize("connector", [cottages(), college(), hotel("canary-consent-1")])
async def test_what_was_just_refused_is_not_asked_again_at_once(connector: Connector) -> None:
    desk = Desk()
    keeper = desk.keeper(connector)
    await keeper.token()
    desk.answer = lambda _: httpx.Response(401)
    desk.at = 86500.0
    with pytest.raises(AuthRefused):
        await keeper.token()
    assert len(desk.asked) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"error": "invalid_grant", "error_description": "canary"},
        {"Error": {"code": 7}},
        {"ERROR": True, "access_token": ""},
        {"error": "1", "access_token": None},
    ],
)
async def test_an_error_inside_a_200_means_the_credentials(body: object) -> None:
    desk = Desk(lambda _: httpx.Response(200, json=body))
    with pytest.raises(
        AuthRefused, match=r"^POST /oauth/2.0/token: the vendor refused the credentials \(an error in"
    ) as raised:
        await desk.keeper(cottages()).token()
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("error", ["", 0, None, False, "0", "false", []])
async def test_no_error_inside_a_200_is_none(error: object) -> None:
    desk = Desk(lambda _: httpx.Response(200, json={"error": error, "access_token": "canary-a", "expires_in": 60}))
    assert (await desk.keeper(cottages()).token()).access == "canary-a"


async def test_a_byte_order_mark_before_a_sign_in_reply_is_no_trouble() -> None:
    desk = Desk(lambda _: httpx.Response(200, content=b'\xef\xbb\xbf{"access_token":"canary-a"}'))
    assert (await desk.keeper(hotel("canary-consent-1")).token()).access == "canary-a"


# What is told, and what is masked


async def test_an_agent_that_does_not_poll_tells_when_a_token_has_run_out() -> None:
    desk = Desk()
    keeper = desk.keeper(cottages())
    keeper.learn(Held(Entry(lifetime=3600, left=3600), 50, 0.0))
    desk.at = 3599.0
    keeper.notice()
    assert [state.healthy for state in desk.told] == [True]
    desk.at = 3601.0
    for _ in range(3):
        keeper.notice()
    assert [(state.healthy, state.expires_at) for state in desk.told] == [(True, 1_003_600.0), (False, None)]


async def test_a_bucket_made_anew_is_listened_to() -> None:
    desk = Desk()
    keeper = desk.keeper(cottages())
    keeper.learn(Held(Entry(lifetime=3600, left=3600), 50, 0.0))
    refused = Entry(lifetime=3600, problem="refused", failures=3)
    keeper.learn(Held(refused, 2, 0.0))
    assert len(desk.told) == 1
    keeper.follow()
    keeper.learn(Held(refused, 2, 0.0))
    assert [state.healthy for state in desk.told] == [True, False]


async def test_a_token_that_ran_out_before_the_start_is_no_news() -> None:
    desk = Desk()
    keeper = desk.keeper(cottages())
    keeper.learn(Held(Entry(lifetime=3600, left=3600), 50, 7200.0))
    keeper.notice()
    assert desk.told == []
    keeper.learn(Held(Entry(lifetime=3600, problem="refused"), 51, 0.0))
    assert [state.healthy for state in desk.told] == [False]


async def test_a_refresh_token_that_stays_the_same_stays_masked() -> None:
    standing = Standing(lambda: 0.0, random.Random(1))
    for number in range(20):
        token = Token(access=f"canary-stay-{number}", refresh="canary-stays", lifetime=10)
        standing.take(token, standing.entry_of(token, "", 0), 0.0)
        assert {token.access, "canary-stays"} <= Secret.known
    assert "canary-stay-1" not in Secret.known
