"""One account's token: signing in, renewing ahead of time, and leaving the vendor alone."""

import math
import random
from collections.abc import Callable
from urllib.parse import parse_qs

import anyio
import anyio.lowlevel
import httpx
import msgspec
import pytest
from anyio.abc import SocketAttribute, SocketStream

from agent.tokens import TokenKeeper
from connectors.auth import SignIn, Token
from connectors.errors import AuthRefused, Forbidden, Misconfigured, Throttled, Unavailable, Unreadable, VendorError
from connectors.http import Sender, open_http
from schemas.facts import TokenState
from schemas.settings import Secret

pytestmark = pytest.mark.anyio

URL = "https://vendor.example/token?key=canary"
_granted = msgspec.json.Decoder(dict[str, str])


class Vendor:
    """Grants access-1, access-2…; `answer` may answer instead. Counts the sign-ins it is asked for."""

    vendor = "octorate"
    name = "hotel"
    signs_in_anew = True

    def __init__(self, lifetime: float = 100.0, secret: Secret | None = None) -> None:
        self.lifetime = lifetime
        self.secret = secret or Secret("canary-secret")
        self.asked: list[str] = []  # the refresh token of each sign-in, empty for one all anew
        self.answer: Callable[[], httpx.Response | None] = lambda: None
        self.word: VendorError | None = None

    def sign_in(self, token: Token | None) -> SignIn:
        form = {"secret": self.secret.reveal(), "refresh": token.refresh or "" if token else ""}
        reply = yield httpx.Request("POST", URL, data=form)
        access = _granted.decode(reply.content)["access"]
        return Token(access=access, refresh=access.replace("access", "refresh"), lifetime=self.lifetime)

    def refusal(self, reply: httpx.Response) -> VendorError | None:
        return self.word

    async def send(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(parse_qs(request.content.decode(), keep_blank_values=True)["refresh"][0])
        await anyio.lowlevel.checkpoint()
        reply = self.answer() or httpx.Response(200, json={"access": f"access-{len(self.asked)}"})
        reply.request = request
        return reply

    def refuses(self, status: int = 401) -> None:
        self.answer = lambda: httpx.Response(status)

    def down(self) -> None:
        def answer() -> httpx.Response:
            raise Unavailable("POST /token: no answer within 30 s")

        self.answer = answer

    def works(self) -> None:
        self.answer = lambda: None


class Kept:
    """A keeper, its clock and what it told."""

    def __init__(self, vendor: Vendor, seed: int = 1) -> None:
        self.now = 500.0
        self.told: list[TokenState] = []
        self.keeper = TokenKeeper(
            vendor,
            vendor.send,
            self.told.append,
            rng=random.Random(seed),
            clock=lambda: self.now,
            wall=lambda: self.now + 1_000_000,
        )

    async def access(self) -> str:
        return (await self.keeper.token()).access

    def state(self) -> tuple[bool, float | None, str]:
        last = self.told[-1]
        return last.healthy, last.expires_at, last.renewal


async def test_many_requests_share_one_sign_in() -> None:
    vendor = Vendor()
    kept = Kept(vendor)
    assert [await kept.access() for _ in range(10)] == ["access-1"] * 10
    assert vendor.asked == [""]
    assert kept.told == [
        TokenState(vendor="octorate", account="hotel", healthy=True, expires_at=1_000_600.0, renewal="renewed")
    ]


async def test_fifty_waiters_share_one_sign_in() -> None:
    vendor = Vendor()
    kept = Kept(vendor)
    got: list[str] = []

    async def wait() -> None:
        got.append(await kept.access())

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(wait)
    assert got == ["access-1"] * 50
    assert len(vendor.asked) == 1


async def test_fifty_waiters_share_one_failure() -> None:
    vendor = Vendor()
    vendor.down()
    kept = Kept(vendor)
    got: list[VendorError] = []

    async def wait() -> None:
        with pytest.raises(Unavailable) as raised:
            await kept.access()
        got.append(raised.value)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(wait)
    assert len(vendor.asked) == 1
    assert len({id(error) for error in got}) == 50
    assert {str(error) for error in got} == {"POST /token: no answer within 30 s"}


async def test_when_the_first_waiter_is_cancelled_the_others_get_their_token() -> None:
    vendor = Vendor()
    asked = anyio.Event()
    send = vendor.send

    async def hanging_once(request: httpx.Request) -> httpx.Response:
        if not asked.is_set():
            asked.set()
            await anyio.sleep_forever()
        return await send(request)

    told: list[TokenState] = []
    keeper = TokenKeeper(vendor, hanging_once, told.append, rng=random.Random(1), last_word=0.1)
    got: list[str] = []

    async def wait() -> None:
        got.append((await keeper.token()).access)

    async with anyio.create_task_group() as others, anyio.create_task_group() as first:
        first.start_soon(keeper.token)
        await asked.wait()
        for _ in range(10):
            others.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        first.cancel_scope.cancel()
    assert got == ["access-1"] * 10
    assert [state.healthy for state in told] == [True]


async def test_a_token_is_renewed_at_about_four_fifths_of_its_life() -> None:
    moments = []
    for seed in range(50):
        kept = Kept(Vendor(), seed)
        while await kept.access() == "access-1":
            kept.now += 0.5
        moments.append(kept.now - 500)
    assert 75 <= min(moments) < 77
    assert 83 < max(moments) <= 85.5


async def test_a_renewal_gets_the_token_before() -> None:
    vendor = Vendor()
    kept = Kept(vendor)
    for _ in range(3):
        await kept.access()
        kept.now += 90
    assert vendor.asked == ["", "refresh-1", "refresh-2"]


async def test_while_one_renews_the_others_go_on_with_the_token_they_have() -> None:
    vendor = Vendor()
    kept = Kept(vendor)
    await kept.access()
    kept.now += 90
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kept.access)
        await anyio.lowlevel.checkpoint()
        assert await kept.access() == "access-1"
    assert await kept.access() == "access-2"


async def test_no_request_in_a_day_of_short_tokens_has_an_expired_one() -> None:
    vendor = Vendor(lifetime=60)
    kept = Kept(vendor)
    born: dict[str, float] = {}
    for _ in range(24 * 3600 // 7):
        access = await kept.access()
        assert kept.now - born.setdefault(access, kept.now) < 60
        kept.now += 7


async def test_the_background_renewal_keeps_requests_from_waiting_for_one() -> None:
    vendor = Vendor(lifetime=60)
    kept = Kept(vendor)

    class EnoughError(Exception):
        pass

    async def sleep(seconds: float) -> None:
        kept.now += seconds
        if kept.now > 500 + 3600:
            raise EnoughError

    keeper = TokenKeeper(
        vendor, vendor.send, kept.told.append, rng=random.Random(1), clock=lambda: kept.now, sleep=sleep
    )
    with pytest.raises(EnoughError):
        await keeper.keep()
    assert vendor.asked == []  # nobody has asked for a token yet
    kept.now = 500.0
    await keeper.token()
    with pytest.raises(EnoughError):
        await keeper.keep()
    assert 3600 / 60 < len(vendor.asked) < 3600 / 40


async def test_the_background_renewal_outlives_failures_and_recovers_by_itself() -> None:
    vendor = Vendor()
    vendor.refuses()
    kept = Kept(vendor)

    class EnoughError(Exception):
        pass

    async def sleep(seconds: float) -> None:
        kept.now += seconds
        if kept.now > 500 + 290:
            vendor.works()
        if kept.now > 500 + 310:
            raise EnoughError

    keeper = TokenKeeper(
        vendor, vendor.send, kept.told.append, rng=random.Random(1), clock=lambda: kept.now, sleep=sleep
    )
    with pytest.raises(AuthRefused):
        await keeper.token()
    with pytest.raises(EnoughError):
        await keeper.keep()
    assert [state.renewal for state in kept.told] == ["refused"] * 5 + ["renewed"]
    assert (await keeper.token()).access == "access-6"


# Refused tokens


async def test_a_refused_token_is_renewed_at_once() -> None:
    kept = Kept(Vendor())
    first = await kept.keeper.token()
    assert (await kept.keeper.renew(first)).access == "access-2"
    assert await kept.access() == "access-2"


async def test_a_refusal_that_comes_late_finds_the_newer_token() -> None:
    vendor = Vendor()
    kept = Kept(vendor)
    first = await kept.keeper.token()
    got: list[str] = []

    async def refused() -> None:
        got.append((await kept.keeper.renew(first)).access)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(refused)
    assert got == ["access-2"] * 50
    assert len(vendor.asked) == 2


async def test_a_vendor_that_refuses_every_token_it_gives_is_asked_once_a_minute() -> None:
    vendor = Vendor(lifetime=3600)
    kept = Kept(vendor)
    for _ in range(120):  # ten minutes of polls, each refused
        try:
            token = await kept.keeper.token()
            await kept.keeper.renew(token)
        except AuthRefused:
            assert not kept.told[-1].healthy
        kept.now += 5
    assert len(vendor.asked) == 1 + 10


async def test_it_recovers_when_the_vendor_takes_its_tokens_again() -> None:
    kept = Kept(Vendor(lifetime=3600))
    second = await kept.keeper.renew(await kept.keeper.token())
    with pytest.raises(AuthRefused):
        await kept.keeper.renew(second)
    with pytest.raises(AuthRefused):
        await kept.keeper.token()
    assert kept.state() == (False, None, "")
    kept.now += 60
    assert await kept.access() == "access-3"
    assert kept.state()[0]


async def test_a_good_token_refused_much_later_is_renewed_at_once() -> None:
    kept = Kept(Vendor(lifetime=36000))
    second = await kept.keeper.renew(await kept.keeper.token())
    kept.now += 3600
    assert (await kept.keeper.renew(second)).access == "access-3"


# Refused credentials


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_refused_credentials_are_tried_once_a_minute_and_recover_by_themselves(status: int) -> None:
    vendor = Vendor()
    vendor.refuses(status)
    kept = Kept(vendor)
    for _ in range(60):
        with pytest.raises(AuthRefused) as raised:
            await kept.access()
        assert not raised.value.renewable
        kept.now += 1
    assert len(vendor.asked) == 1
    assert kept.state() == (False, None, "refused")
    assert str(raised.value) == f"POST /token: the vendor refused the credentials ({status})"
    vendor.works()
    assert await kept.access() == "access-2"
    assert kept.state() == (True, 1_000_660.0, "renewed")


async def test_a_refused_renewal_signs_in_anew() -> None:
    vendor = Vendor()
    kept = Kept(vendor)
    await kept.access()
    kept.now += 200
    vendor.answer = lambda: httpx.Response(400) if vendor.asked[-1] else None
    assert await kept.access() == "access-3"
    assert vendor.asked == ["", "refresh-1", ""]


async def test_a_refused_renewal_leaves_the_token_in_use_until_it_expires_but_says_so() -> None:
    vendor = Vendor()
    kept = Kept(vendor)
    await kept.access()
    vendor.refuses(400)
    kept.now += 90
    assert await kept.access() == "access-1"
    assert kept.state() == (False, 1_000_600.0, "refused")
    kept.now += 10
    with pytest.raises(AuthRefused):
        await kept.access()
    assert vendor.asked == ["", "refresh-1", ""]
    kept.now += 60
    with pytest.raises(AuthRefused):
        await kept.access()
    assert vendor.asked == ["", "refresh-1", "", ""]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        (Throttled("quota", retry_after=120), Throttled),
        (Misconfigured("wrong environment"), Misconfigured),
        (Unavailable("down for repair"), Unavailable),
        (Forbidden("not for you"), AuthRefused),
        (AuthRefused("expired", renewable=True), AuthRefused),
    ],
)
async def test_the_vendors_own_word_for_a_refusal_counts(word: VendorError, kind: type[VendorError]) -> None:
    vendor = Vendor()
    vendor.refuses(403)
    vendor.word = word
    kept = Kept(vendor)
    with pytest.raises(kind) as raised:
        await kept.access()
    assert not getattr(raised.value, "renewable", False)


async def test_a_throttled_sign_in_waits_as_long_as_it_is_told() -> None:
    vendor = Vendor()
    vendor.answer = lambda: httpx.Response(429, headers={"Retry-After": "120"})
    kept = Kept(vendor)
    with pytest.raises(Throttled):
        await kept.access()
    vendor.works()
    kept.now += 119
    with pytest.raises(Throttled):
        await kept.access()
    kept.now += 1
    assert await kept.access() == "access-2"


# A token endpoint in trouble


async def test_a_token_endpoint_that_is_down_leaves_the_token_in_use_until_it_expires() -> None:
    vendor = Vendor()
    kept = Kept(vendor)
    await kept.access()
    vendor.down()
    kept.now += 90
    assert await kept.access() == "access-1"
    assert kept.state() == (True, 1_000_600.0, "failed")
    assert [await kept.access() for _ in range(10)] == ["access-1"] * 10
    assert len(vendor.asked) == 2
    kept.now += 10
    with pytest.raises(Unavailable):
        await kept.access()
    assert kept.state() == (False, None, "failed")
    assert vendor.asked == ["", "refresh-1", "refresh-1", ""]  # without a token, anew too
    vendor.works()
    kept.now += 10
    assert await kept.access() == "access-5"


async def test_a_token_endpoint_that_stays_down_is_asked_less_and_less() -> None:
    vendor = Vendor()
    vendor.down()
    kept = Kept(vendor)
    asked_at: list[float] = []
    for _ in range(240):
        before = len(vendor.asked)
        with pytest.raises(Unavailable):
            await kept.access()
        asked_at += [kept.now - 500] * (len(vendor.asked) - before)
        kept.now += 1
    assert asked_at == [0, 5, 15, 35, 75, 135, 195]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (httpx.Response(200, content=b"<html>canary"), "POST /token: JSON is malformed"),
        (httpx.Response(200, json={"access": 1}), "POST /token: Expected `str`, got `int` at $[...]"),
        (httpx.Response(200, content=b'{"access'), "POST /token: the JSON was cut short"),
    ],
    ids=["html", "wrong type", "cut"],
)
async def test_a_grant_that_cannot_be_read_is_named(reply: httpx.Response, words: str) -> None:
    vendor = Vendor()
    vendor.answer = lambda: reply
    with pytest.raises(Unreadable) as raised:
        await Kept(vendor).access()
    assert str(raised.value).startswith(words)


@pytest.mark.parametrize("lifetime", [0, -5, math.nan, math.inf, 1e300])
async def test_a_lifetime_that_is_none_counts_as_five_minutes(lifetime: float) -> None:
    kept = Kept(Vendor(lifetime=lifetime))
    await kept.access()
    assert kept.state() == (True, 1_000_800.0, "renewed")


# Secrets


async def test_a_secret_that_is_missing_is_named_by_its_place() -> None:
    kept = Kept(Vendor(secret=Secret("${VENDORWIRE_TEST_UNSET}")))
    with pytest.raises(Misconfigured, match="the environment variable VENDORWIRE_TEST_UNSET is not set"):
        await kept.access()


async def test_nothing_that_can_be_printed_holds_a_secret() -> None:
    vendor = Vendor()
    kept = Kept(vendor)
    await kept.access()
    vendor.refuses()
    with pytest.raises(AuthRefused) as raised:
        await kept.keeper.renew(await kept.keeper.token())
    for text in (repr(kept.keeper), repr(vars(kept.keeper)), repr(kept.told), str(raised.value), repr(raised.value)):
        assert "canary" not in text
        assert "access-1" not in text
        assert "refresh-1" not in text


async def test_a_hanging_token_endpoint_ends_at_the_deadline() -> None:
    class Hanging(Vendor):
        def __init__(self, port: int) -> None:
            super().__init__()
            self.port = port

        def sign_in(self, token: Token | None) -> SignIn:
            yield httpx.Request("POST", f"http://127.0.0.1:{self.port}/token", data={"secret": "canary"})
            raise AssertionError("there is no reply")

    async def hang(stream: SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    vendor = Hanging(listener.extra(SocketAttribute.local_port))
    async with listener, anyio.create_task_group() as tasks, open_http() as http:
        tasks.start_soon(listener.serve, hang)
        sender = Sender(http, deadline=0.2)
        keeper = TokenKeeper(vendor, sender.send, lambda _: None, rng=random.Random(1))
        with pytest.raises(Unavailable, match=r"^POST /token: no answer within 0\.2 s$"):
            await keeper.token()
        tasks.cancel_scope.cancel()
