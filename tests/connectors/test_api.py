"""Reading a vendor over real HTTP: servers here write their bytes by hand, because frameworks repair bad HTTP."""

import contextlib
import enum
import gzip
import itertools
import json
import time
import traceback
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import msgspec
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.api import Api
from connectors.auth import Token
from connectors.budget import Pacer
from connectors.decoding import decode
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
from connectors.http import open_http
from connectors.statuses import retry_after
from schemas.settings import Budget, Duration

pytestmark = pytest.mark.anyio

Serve = Callable[[SocketStream], Coroutine[Any, Any, None]]


class Item(msgspec.Struct):
    id: int
    name: str = ""


ITEMS = msgspec.json.Decoder(list[Item])
ANYTHING = msgspec.json.Decoder()
DEADLINE = 0.4  # seconds


class Vendor:
    """A connector as far as reading needs one."""

    def __init__(self, base_url: str, refusal: Callable[[httpx.Response], VendorError | None] = lambda _: None) -> None:
        self.base_url = base_url
        self.refusal = refusal

    def authorize(self, request: httpx.Request, token: Token) -> None:
        request.headers["Authorization"] = f"Bearer {token.access}"


class Credentials:
    """Hands out token-1, then, each time it is refused, the next."""

    def __init__(self) -> None:
        self.renewals = 0

    async def token(self) -> Token:
        return Token(access=f"token-{self.renewals + 1}", lifetime=3600)

    async def renew(self, refused: Token, *, elsewhere: bool = False) -> Token:
        self.renewals += 1
        return await self.token()


class Account:
    """An Api with what it was given, and what it told."""

    def __init__(
        self,
        http: httpx.AsyncBaseTransport,
        base_url: str = "http://vendor.example/base",
        refusal: Callable[[httpx.Response], VendorError | None] = lambda _: None,
        max_bytes: int = 1_000_000,
        floor: int = 0,
    ) -> None:
        self.credentials = Credentials()
        self.answers: list[tuple[str, float | None]] = []
        self.now = 0.0
        self.api = Api(
            Vendor(base_url, refusal),
            self.credentials,
            http,
            Pacer(Budget(requests=100, per=Duration(minutes=5)), floor),
            lambda status, remaining: self.answers.append((status, remaining)),
            deadline=DEADLINE,
            max_bytes=max_bytes,
            clock=lambda: self.now,
        )


def fake(handler: Callable[[httpx.Request], httpx.Response], **settings: object) -> Account:
    """An account whose vendor is a function, behind the real client."""
    return Account(httpx.MockTransport(handler), **settings)  # type: ignore[arg-type]  # as Account's own


@contextlib.asynccontextmanager
async def real(serve: Serve, **settings: object) -> AsyncIterator[Account]:
    """An account whose vendor is a socket server on this machine."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(SocketAttribute.local_port)

    async def connection(stream: SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):  # the reader has hung up
                await serve(stream)

    async with listener, anyio.create_task_group() as tasks, open_http() as http:
        tasks.start_soon(listener.serve, connection)
        yield Account(http, f"http://127.0.0.1:{port}/base/", **settings)  # type: ignore[arg-type]  # as Account's own
        tasks.cancel_scope.cancel()


async def request_on(stream: SocketStream) -> bytes:
    """The head of the next request, and its body where that came along."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += await stream.receive()
    return received


def answers(*replies: bytes) -> Serve:
    """Read a request, write the bytes, hang up; the connection after gets the next reply, the last one again and again."""
    left = list(replies)

    async def serve(stream: SocketStream) -> None:
        await request_on(stream)
        await stream.send(left.pop(0) if len(left) > 1 else left[0])

    return serve


def reply(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def failure(account: Account, path: str = "/things") -> VendorError:
    with pytest.raises(VendorError) as raised:
        await account.api.get(path, ITEMS)
    return raised.value


# What is sent


async def test_a_get_has_the_token_and_no_content_type_and_asks_for_gzip_only() -> None:
    seen: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        seen.append(await request_on(stream))
        await stream.send(reply(b"[]", "Set-Cookie: session=1"))

    async with real(serve) as account:
        await account.api.get("/things", ITEMS)
        await account.api.get("/things", ITEMS)
    head = seen[1].decode().lower()
    assert head.startswith("get /base/things http/1.1\r\n")
    assert "authorization: bearer token-1\r\n" in head
    assert "accept-encoding: gzip, deflate\r\n" in head
    assert "user-agent: vendorwire\r\n" in head
    assert "content-type" not in head
    assert "content-length" not in head
    assert "cookie" not in head


async def test_parameters_arrive_as_they_were_given() -> None:
    seen: list[str] = []

    async def serve(stream: SocketStream) -> None:
        seen.append((await request_on(stream)).decode().split()[1])
        await stream.send(reply(b"[]"))

    params = [("ids[]", "1"), ("ids[]", "2"), ("q", "a b+c&d=e/ü%20"), ("type", "STAY")]
    async with real(serve) as account:
        await account.api.get("/things/a%2Fb", ITEMS, params)
    assert urlsplit(seen[0]).path == "/base/things/a%2Fb"
    assert parse_qsl(urlsplit(seen[0]).query) == params


async def test_a_post_sends_json_or_a_form() -> None:
    seen: list[tuple[str, bytes]] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        seen.append((request.headers["Content-Type"], request.content))
        return httpx.Response(200, json=[{"id": 1}])

    account = fake(vendor)
    assert await account.api.post("/query", ITEMS, json={"a": 1}) == [Item(1)]
    assert await account.api.post("/query", ITEMS, form={"a": "1 2"}) == [Item(1)]
    assert seen == [("application/json", b'{"a":1}'), ("application/x-www-form-urlencoded", b"a=1+2")]


@pytest.mark.parametrize("path", ["@evil.example/x", ".evil.example/x", "//evil.example/x", ":81/x"])
async def test_a_path_cannot_lead_to_another_host(path: str) -> None:
    asked: list[httpx.URL] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, json=[])

    await fake(vendor, base_url="http://vendor.example").api.get(path, ITEMS)
    assert (asked[0].host, asked[0].port) == ("vendor.example", None)


async def test_a_path_that_is_no_address_is_named() -> None:
    assert isinstance(await failure(fake(lambda _: httpx.Response(200)), "/a\nb"), Misconfigured)


# What a status means


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, Misconfigured),
        (302, Unavailable),
        (304, Unavailable),
        (307, Unavailable),
        (308, Misconfigured),
        (400, Misconfigured),
        (403, Forbidden),
        (404, Misconfigured),
        (405, Misconfigured),
        (408, Unavailable),
        (410, Misconfigured),
        (422, Misconfigured),
        (429, Throttled),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
        (550, Unavailable),
        (999, Unavailable),
    ],
)
async def test_every_status_has_a_named_failure(status: int, kind: type[VendorError]) -> None:
    error = await failure(fake(lambda _: httpx.Response(status, json=[{"id": 1}], headers={"Retry-After": "7"})))
    assert type(error) is kind
    assert str(error).startswith(f"GET /base/things: the vendor answered {status}")


async def test_a_vendors_own_word_goes_before_the_status() -> None:
    account = fake(lambda _: httpx.Response(403, json={}), refusal=lambda _: Throttled("quota", retry_after=60))
    assert isinstance(await failure(account), Throttled)


async def test_a_failure_inside_a_200_is_a_failure() -> None:
    def refusal(answer: httpx.Response) -> VendorError | None:
        return Unavailable("down for repair") if "error" in answer.json() else None

    account = fake(lambda _: httpx.Response(200, json={"error": 1}), refusal=refusal)
    assert str(await failure(account)) == "down for repair"


async def test_an_error_body_the_vendor_never_sends_leaves_it_to_the_status() -> None:
    account = fake(lambda _: httpx.Response(502, text="<html>"), refusal=lambda answer: answer.json())
    assert isinstance(await failure(account), Unavailable)


async def test_nothing_there_can_be_an_answer() -> None:
    account = fake(lambda _: httpx.Response(404), refusal=lambda _: NothingThere("empty"))
    assert await account.api.get("/things", ITEMS, absent=[]) == []
    assert isinstance(await failure(account), NothingThere)


async def test_a_redirect_is_not_followed() -> None:
    asked: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        asked.append(await request_on(stream))
        await stream.send(reply(b"", "Location: /elsewhere", status="302 Found"))

    async with real(serve) as account:
        error = await failure(account)
    assert str(error) == "GET /base/things: the vendor answered 302, a redirect, which is not followed"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30", 30),
        ("1.5", 1.5),
        ("31536000", 900),
        ("9" * 5000, 900),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("1e400", None),
        ("٣", None),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 900),
        ("Thu, 99 Jan 99999 00:00:00 GMT", None),
    ],
    ids=itertools.count(),
)
async def test_retry_after_is_obeyed_within_bounds(text: str, seconds: float | None) -> None:
    assert retry_after(httpx.Headers([(b"Retry-After", text.encode())]), now=1000) == seconds


async def test_a_retry_after_date_is_held_against_the_vendors_own_clock() -> None:
    headers = {"Retry-After": "Thu, 01 Jan 1970 05:00:30 GMT", "Date": "Thu, 01 Jan 1970 05:00:00 GMT"}
    assert retry_after(httpx.Headers(headers), now=1000) == 30


async def test_a_throttled_account_asks_nothing_until_its_time() -> None:
    asked: list[httpx.Request] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(429, headers={"Retry-After": "30"})

    account = fake(vendor)
    for _ in range(3):
        error = await failure(account)
        assert isinstance(error, Throttled)
        assert error.retry_after is not None
        assert 29 < error.retry_after <= 30
    assert len(asked) == 1


async def test_the_vendors_counter_below_the_floor_pauses_the_account() -> None:
    account = fake(lambda _: httpx.Response(200, json=[], headers={"X-RateLimit-Remaining": "9"}), floor=10)
    await account.api.get("/things", ITEMS)
    assert isinstance(await failure(account), Throttled)


@pytest.mark.parametrize("counter", ["", "-1", "many", "9" * 50])
async def test_a_counter_that_is_none_is_ignored(counter: str) -> None:
    account = fake(lambda _: httpx.Response(200, json=[], headers={"X-RateLimit-Remaining": counter}), floor=10)
    assert await account.api.get("/things", ITEMS) == []
    assert await account.api.get("/things", ITEMS) == []


async def test_every_answer_is_told_with_what_is_left_of_the_budget() -> None:
    def vendor(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("down"):
            raise httpx.ConnectError("no")
        return httpx.Response(500 if request.url.path.endswith("broken") else 200, json=[])

    account = fake(vendor)
    await account.api.get("/things", ITEMS)
    await failure(account, "/broken")
    await failure(account, "/down")
    assert account.answers == [("200", 99), ("500", 98), ("error", 97)]


# Tokens


async def test_a_401_renews_once_and_asks_again() -> None:
    def vendor(request: httpx.Request) -> httpx.Response:
        good = request.headers["Authorization"] == "Bearer token-2"
        return httpx.Response(200, json=[{"id": 7}]) if good else httpx.Response(401)

    account = fake(vendor)
    assert await account.api.get("/things", ITEMS) == [Item(7)]
    assert account.credentials.renewals == 1
    assert [status for status, _ in account.answers] == ["401", "200"]


async def test_a_second_refusal_is_final() -> None:
    account = fake(lambda _: httpx.Response(401))
    error = await failure(account)
    assert isinstance(error, AuthRefused)
    assert not error.renewable
    assert account.credentials.renewals == 1
    assert len(account.answers) == 2


async def test_a_refusal_that_no_token_can_help_renews_nothing() -> None:
    account = fake(lambda _: httpx.Response(403), refusal=lambda _: AuthRefused("application blocked"))
    assert isinstance(await failure(account), AuthRefused)
    assert account.credentials.renewals == 0


async def test_what_is_refused_with_a_token_that_is_good_elsewhere_is_not_granted() -> None:
    account = fake(lambda request: httpx.Response(200 if request.url.path.endswith("things") else 401, json=[]))
    await account.api.get("/things", ITEMS)
    assert isinstance(await failure(account, "/others"), AuthRefused)  # the new token may be good for nothing
    await account.api.get("/things", ITEMS)
    for _ in range(3):
        error = await failure(account, "/others")
        assert type(error) is Forbidden
    assert str(error) == "GET /base/others: the vendor answered 401, with a token that it accepts elsewhere"
    assert account.credentials.renewals == 1


async def test_a_new_token_does_not_renew_again_for_what_is_not_granted() -> None:
    account = fake(lambda request: httpx.Response(200 if request.url.path.endswith("things") else 401, json=[]))
    for _ in range(2):
        await account.api.get("/things", ITEMS)
        await failure(account, "/others")
    account.credentials.renewals += 1  # somebody has renewed it
    assert isinstance(await failure(account, "/others"), Forbidden)
    assert account.credentials.renewals == 2


async def test_what_is_granted_at_last_is_renewed_for_again() -> None:
    closed = True

    def vendor(request: httpx.Request) -> httpx.Response:
        path, token = request.url.path, request.headers["Authorization"]
        open_ = path.endswith("things") or not closed
        return httpx.Response(200 if open_ and token not in revoked else 401, json=[])

    revoked: set[str] = set()
    account = fake(vendor)
    for _ in range(2):
        await account.api.get("/things", ITEMS)
        await failure(account, "/others")
    closed = False
    assert await account.api.get("/others", ITEMS) == []
    revoked.add("Bearer token-2")
    assert await account.api.get("/others", ITEMS) == []
    assert account.credentials.renewals == 2


async def test_what_was_good_long_ago_says_nothing_of_a_token() -> None:
    well = True
    asked: list[bool] = []
    account = fake(lambda request: httpx.Response(200 if well else 401, json=[]))
    renew = account.credentials.renew

    async def told(refused: Token, *, elsewhere: bool = False) -> Token:
        asked.append(elsewhere)
        return await renew(refused)

    account.credentials.renew = told  # type: ignore[method-assign]  # to hear what is told
    await account.api.get("/things", ITEMS)
    await account.api.get("/others", ITEMS)
    well = False
    await failure(account, "/others")
    account.now += 2 * 3600 + 1
    await failure(account, "/others")
    assert asked == [True, False]


@pytest.mark.parametrize("access", ["canary\naccess", "canary\raccess", "canary\0access", "canary-\udcff"])
async def test_a_token_that_no_header_can_carry_is_named_without_it(access: str) -> None:
    async def serve(stream: SocketStream) -> None:
        await stream.send(reply(b"[]"))

    async with real(serve) as account:

        async def token() -> Token:
            return Token(access=access, lifetime=3600)

        account.credentials.token = token  # type: ignore[method-assign]  # a stored one, say
        error = await failure(account)
    assert isinstance(error, Misconfigured)
    assert str(error) == "GET /base/things: a credential holds a character that no header can carry"
    assert "canary" not in whole_story(error)


# Bodies


async def test_a_byte_order_mark_is_no_trouble() -> None:
    account = fake(lambda _: httpx.Response(200, content=b'\xef\xbb\xbf[{"id":1}]'))
    assert await account.api.get("/things", ITEMS) == [Item(1)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'[{"id":"secret"}]', "Expected `int`, got `str` at $[0].id"),
        (b'[{"name":"secret"}]', "Object missing required field `id` at $[0]"),
        (b'{"id":1}', "Expected `array`, got `object`"),
        (b'[{"id":1', "the JSON was cut short"),
        (b"", "the reply is empty"),
        (b" \n", "the reply is empty"),
        (b"<!doctype html><p>secret", "the vendor answered HTML, not JSON"),
        (b"\xef\xbb\xbf\r\n <html>", "the vendor answered HTML, not JSON"),
        (b"secret", "JSON is malformed: invalid character (byte 0)"),
        (b'[{"id":1,"name":"\xff"}]', "the JSON holds text or a number that cannot be read"),
        (b'[{"id":' + b"1" * 5000 + b"}]", "Integer value out of range at $[0].id"),
        (b'[{"id":1,"x":' + b"[" * 100_000, "the JSON is nested too deeply"),
    ],
    ids=itertools.count(),
)
async def test_what_cannot_be_read_is_named_with_its_place(body: bytes, reason: str) -> None:
    error = await failure(fake(lambda _: httpx.Response(200, content=body)))
    assert isinstance(error, Unreadable)
    assert str(error) == f"GET /base/things: {reason}"


async def test_an_enum_value_that_is_unknown_is_not_quoted() -> None:
    class Colour(enum.Enum):
        RED = "red"

    class Thing(msgspec.Struct):
        colour: Colour

    with pytest.raises(Unreadable, match=r"^a thing: Unexpected value at \$\.colour$"):
        decode(b'{"colour":"secret"}', msgspec.json.Decoder(Thing), "a thing")


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
async def test_whatever_the_bytes_only_our_own_error_comes_out(body: bytes) -> None:
    for decoder in (ITEMS, ANYTHING):
        with contextlib.suppress(Unreadable):
            decode(body, decoder, "a thing")


async def test_integers_too_long_for_python_are_unreadable() -> None:
    with pytest.raises(Unreadable):
        decode(b"[" + b"1" * 5000 + b"]", msgspec.json.Decoder(list[int]), "a thing")


async def test_a_json_cut_at_any_byte_is_never_an_answer() -> None:
    body = b'[{"id":1,"name":"a"},{"id":22,"name":"b"}]'
    cut = 0

    def vendor(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body[:cut])

    account = fake(vendor)
    for cut in range(len(body)):  # noqa: B007 - the vendor reads it
        assert isinstance(await failure(account), Unreadable)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
    ],
)
async def test_packed_replies_are_unpacked(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    body = json.dumps([{"id": number, "name": "x" * number} for number in range(300)]).encode()
    async with real(answers(reply(pack(body), f"Content-Encoding: {encoding}"))) as account:
        items = await account.api.get("/things", ITEMS)
    assert len(items) == 300


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        (["Content-Encoding: br"], b"[]", "packed in a way that was not asked for"),
        (["Content-Encoding: gzip, gzip"], gzip.compress(gzip.compress(b"[]")), "packed in a way"),
        (["Content-Encoding: gzip", "Content-Encoding: gzip"], gzip.compress(gzip.compress(b"[]")), "packed in a way"),
        (["Content-Encoding: gzip"], b"[]", "packed wrongly"),
        (["Content-Encoding: gzip"], gzip.compress(b"[]")[:-4], "cut short"),
        (["Content-Encoding: gzip"], gzip.compress(b"[]") * 2, "goes on after its packed end"),
        (["Content-Encoding: deflate"], b"\x78\x9c\xff\xff", "packed wrongly"),
    ],
    ids=["unasked", "nested", "nested in two headers", "not packed", "cut", "packed twice over", "not deflate"],
)
async def test_a_wrongly_packed_reply_is_unreadable(headers: list[str], body: bytes, reason: str) -> None:
    async with real(answers(reply(body, *headers))) as account:
        error = await failure(account)
    assert isinstance(error, Unreadable)
    assert reason in str(error)


async def test_a_bomb_is_refused_before_it_takes_room() -> None:
    bomb = gzip.compress(b"[" + b" " * 40_000_000)
    async with real(answers(reply(bomb, "Content-Encoding: gzip"))) as account:
        tracemalloc.start()
        error = await failure(account)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert str(error) == "GET /base/things: the reply is longer than 1000000 bytes"
    assert peak < 5_000_000


async def test_a_page_of_50_mb_is_given_up_at_the_cap() -> None:
    sent = 0

    async def serve(stream: SocketStream) -> None:
        nonlocal sent
        await request_on(stream)
        await stream.send(reply(b"[", length=50_000_000))
        while sent < 50_000_000:
            await stream.send(b" " * 100_000)
            sent += 100_000

    async with real(serve) as account:
        error = await failure(account)
    assert isinstance(error, Unreadable)
    assert sent < 50_000_000


@pytest.mark.parametrize(("records", "values", "is_read"), [(1000, 600, True), (1000, 1200, False)])
async def test_a_large_page_of_records_is_read_and_one_of_nothing_but_values_is_not(
    records: int, values: int, *, is_read: bool
) -> None:
    record = b'{"id":1,"name":"' + b'","of":[' + b",".join([b"1"] * (values - 3)) + b"]}"
    body = b"[" + b",".join([record] * records) + b"]"
    account = Account(httpx.MockTransport(lambda _: httpx.Response(200, content=body)), max_bytes=2**24)
    if is_read:
        page: list[Item] = await account.api.get("/things", ITEMS)
        assert len(page) == records
    else:
        assert "1048576 values: ask for smaller pages" in str(await failure(account)).replace(",", "")


async def test_an_error_with_an_unreadable_body_is_still_that_error() -> None:
    async with real(answers(reply(b"x" * 500_000, "Content-Encoding: br", status="503 Busy"))) as account:
        assert isinstance(await failure(account), Unavailable)


# Connections


async def hang(stream: SocketStream) -> None:
    await anyio.sleep_forever()


async def drip_header(stream: SocketStream) -> None:
    await request_on(stream)
    await stream.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        await stream.send(b"x")
        await anyio.sleep(0.01)


async def drip_body(stream: SocketStream) -> None:
    await request_on(stream)
    await stream.send(reply(b"[", length=10_000))
    while True:
        await stream.send(b" ")
        await anyio.sleep(0.01)


async def endless_continue(stream: SocketStream) -> None:
    await request_on(stream)
    while True:
        await stream.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


@pytest.mark.parametrize("serve", [hang, drip_header, drip_body, endless_continue])
async def test_a_slow_vendor_is_left_at_the_deadline(serve: Serve) -> None:
    gone = anyio.Event()

    async def noticing(stream: SocketStream) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve, stream)
                while serve is hang:
                    await stream.receive()
        finally:
            gone.set()

    async with real(noticing) as account:
        began = time.monotonic()
        error = await failure(account)
        took = time.monotonic() - began
        with anyio.fail_after(5):
            await gone.wait()
    assert str(error) == "GET /base/things: no answer within 0.4 s"
    assert isinstance(error, Unavailable)
    assert took < DEADLINE + 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 \xff\xfe\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{"id":1}]',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1,2",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n0\r\n\r\n",
    ],
    ids=[
        "nothing",
        "binary",
        "another protocol",
        "status of letters",
        "reason that is no text",
        "length of letters",
        "header without colon",
        "header of a megabyte",
        "flood of headers",
        "shorter than its length",
        "chunk cut",
        "chunk size of letters",
    ],
)
async def test_broken_http_is_an_unavailable_vendor(answer: bytes) -> None:
    async with real(answers(answer)) as account:
        error = await failure(account)
    assert isinstance(error, Unavailable)
    assert str(error).startswith("GET /base/things: the connection failed (")
    assert account.answers == [("error", 99)]


async def test_a_body_without_length_that_ends_early_is_no_answer() -> None:
    async with real(answers(b'HTTP/1.0 200 OK\r\n\r\n[{"id":1},{"i')) as account:
        error = await failure(account)
    assert isinstance(error, Unreadable)
    assert str(error) == "GET /base/things: the JSON was cut short"


async def test_nobody_listening_is_an_unavailable_vendor() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(SocketAttribute.local_port)
    await listener.aclose()
    async with open_http() as http:
        error = await failure(Account(http, f"http://127.0.0.1:{port}"))
    assert str(error) == "GET /things: the connection failed (ClientConnectorError)"


async def test_a_reader_cancelled_midway_hangs_up() -> None:
    reading, gone = anyio.Event(), anyio.Event()

    async def serve(stream: SocketStream) -> None:
        await request_on(stream)
        await stream.send(reply(b"[", length=10_000))
        reading.set()
        try:
            await stream.receive()
        finally:
            gone.set()

    async with real(serve) as account:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(account.api.get, "/things", ITEMS)
                await reading.wait()
                tasks.cancel_scope.cancel()
            await gone.wait()


# Secrets


CANARY = "canary"


def whole_story(error: BaseException | None) -> str:
    """Everything a careless handler could print of an error and of those before it."""
    story = ""
    while error is not None:
        story += "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__
    return story


@pytest.mark.parametrize(
    "serve",
    [
        hang,
        answers(b"canary"),
        answers(reply(b'[{"id":"canary"}]')),
        answers(reply(b"\xffcanary")),
        answers(reply(b"<html>canary")),
        answers(reply(b'{"message":"canary"}', "X-Note: canary", status="500 canary")),
        answers(reply(b'{"message":"canary"}', "WWW-Authenticate: canary", status="401 canary")),
        answers(reply(b"canary", "Location: http://canary.example/", status="301 canary")),
        answers(reply(b"canary", "Content-Encoding: canary")),
    ],
)
async def test_no_error_repeats_a_query_a_header_or_a_body(serve: Serve) -> None:
    async with real(serve) as account:
        with pytest.raises(VendorError) as raised:
            await account.api.get("/things", ITEMS, [("key", CANARY)])
    assert CANARY not in whole_story(raised.value)
    assert "token-" not in whole_story(raised.value)


# Memory


async def test_an_answer_is_remembered_for_ten_minutes() -> None:
    account = fake(lambda _: httpx.Response(200))
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        return asked

    assert [await account.api.remember("a", ask), await account.api.remember("a", ask)] == [1, 1]
    account.now += timedelta(minutes=10).total_seconds()
    assert [await account.api.remember("a", ask), await account.api.remember("b", ask)] == [2, 3]


async def test_a_failed_answer_is_not_remembered() -> None:
    account = fake(lambda _: httpx.Response(200))

    async def fail() -> int:
        raise Unavailable("down")

    async def succeed() -> int:
        return 1

    with pytest.raises(Unavailable):
        await account.api.remember("a", fail)
    assert await account.api.remember("a", succeed) == 1
