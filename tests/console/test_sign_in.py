"""Who may look at a console and who may act: tokens, sessions, and every way round them that comes to mind."""

import time
from http import HTTPStatus
from pathlib import Path

import aiohttp
import anyio
import pytest

from agent.config import Http
from agent.console import door
from agent.console.door import COOKIE, Tries
from agent.console.wrong import ADDRESSES, WrongTokens
from schemas.facts import SignInOutcome
from schemas.settings import Secret
from tests.agent.harness import agent, octorate, ready, until, write_config
from tests.console.desk import TOKEN, configured, serving
from tests.console.looking import looking
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

LET_IN = 503  # there is no bus behind these consoles: whoever gets so far was let in
ELSEWHERE = "0.0.0.0:8787"


async def test_on_this_machine_reading_needs_no_token_and_acting_does(tmp_path: Path) -> None:
    async with serving(configured(tmp_path)) as url, looking(url) as looker:
        assert (await looker.ask("GET", "/api/overview"))[0] == LET_IN
        assert await looker.get("/session") == {
            "needed": False,
            "signed_in": False,
            "may_act": False,
            "csrf": None,
            "actions": True,
        }
        status, answer = await looker.ask("POST", "/api/accounts/hotel/booking/poll")
        assert status == 401
        assert "sign in with the admin token" in answer["error"]


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"])
async def test_what_a_proxy_passed_on_does_not_come_from_this_machine(tmp_path: Path, header: str) -> None:
    async with serving(configured(tmp_path)) as url, looking(url) as looker:
        assert (await looker.ask("GET", "/api/overview", **{header: "1"}))[0] == 401


async def test_what_a_proxy_passed_on_in_http_1_0_without_a_word_does_not_either(tmp_path: Path) -> None:
    async with serving(configured(tmp_path)) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        async with await anyio.connect_tcp(host, int(port)) as line:
            await line.send(f"GET /api/overview HTTP/1.0\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            answer = await line.receive()
    assert answer.partition(b" ")[2].startswith(b"401 ")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8787", "127.0.0.1.evil.example", "localhost.evil", ""])
async def test_a_name_that_was_bound_anew_to_this_machine_reads_nothing(tmp_path: Path, host: str) -> None:
    async with serving(configured(tmp_path)) as url, looking(url) as looker:
        for path in ("overview", "live", "events", "history?of=polls"):
            assert (await looker.ask("GET", f"/api/{path}", Host=host))[0] == 401
        for name in ("127.0.0.1:1", "localhost", "[::1]:8787"):
            assert (await looker.ask("GET", "/api/overview", Host=name))[0] == LET_IN


async def test_from_elsewhere_everything_but_the_page_and_the_probes_needs_the_token(tmp_path: Path) -> None:
    async with serving(configured(tmp_path, listen=ELSEWHERE)) as url, looking(url) as looker:
        for path in (
            "overview",
            "live",
            "events",
            "events/50a07736",
            "dead",
            "dead/1",
            "deletes",
            "quarantine",
            "audit",
        ):
            assert (await looker.ask("GET", f"/api/{path}"))[0] == 401, path
        assert (await looker.ask("GET", "/api/overview", Authorization=f"Bearer {TOKEN}"))[0] == LET_IN
        assert (await looker.ask("GET", "/api/overview", Authorization="Bearer wrong"))[0] == 401
        assert (await looker.get("/session"))["needed"]
        for path in ("/livez", "/readyz"):
            assert (await looker.ask("GET", path))[0] == 200


async def test_without_an_admin_token_nobody_acts_and_nobody_reads_from_elsewhere(tmp_path: Path) -> None:
    async with serving(configured(tmp_path, listen=ELSEWHERE, admin_token=None)) as url, looking(url) as looker:
        status, answer = await looker.ask("GET", "/api/overview")
        assert status == 403
        assert "set http.admin_token" in answer["error"]
        assert (await looker.ask("POST", "/api/session", {"token": "x"}))[0] == 403
        assert (await looker.ask("POST", "/api/dead/drop", {"route": "crm"}, Authorization="Bearer x"))[0] == 403
    async with serving(configured(tmp_path, admin_token=None)) as url, looking(url) as looker:
        assert (await looker.ask("GET", "/api/overview"))[0] == LET_IN
        assert not (await looker.get("/session"))["actions"]
        assert (await looker.ask("GET", "/api/events?reveal=true"))[0] == 403


async def test_a_session_is_a_cookie_that_no_script_reads_and_no_other_site_sends(tmp_path: Path) -> None:
    async with serving(configured(tmp_path)) as url, aiohttp.ClientSession() as session:
        async with session.post(f"{url}/api/session", json={"token": TOKEN}) as reply:
            assert reply.status == 204
            plain = reply.headers["Set-Cookie"]
        proxied = {"X-Forwarded-Proto": "https"}
        async with session.post(f"{url}/api/session", json={"token": TOKEN}, headers=proxied) as reply:
            secure = reply.headers["Set-Cookie"]
    assert plain.startswith(f"{COOKIE}=")
    assert all(each in plain for each in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"))
    assert "Secure" not in plain
    assert "Secure" in secure
    assert TOKEN not in plain


async def test_every_action_with_a_session_needs_its_csrf_token(tmp_path: Path) -> None:
    async with serving(configured(tmp_path)) as url, looking(url, TOKEN) as me, looking(url, TOKEN) as other:
        path = "/api/accounts/hotel/booking/poll"
        assert (await me.ask("POST", path))[0] == LET_IN
        assert (await me.ask("POST", path, X_CSRF=other.csrf))[0] == 403
        me.csrf = ""
        status, answer = await me.ask("POST", path)
        assert status == 403
        assert "X-CSRF" in answer["error"]
        assert (await me.ask("POST", path, Authorization=f"Bearer {TOKEN}"))[0] == LET_IN


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_page_of_another_site_is_refused_whatever_it_brings(tmp_path: Path, site: str) -> None:
    async with serving(configured(tmp_path)) as url, looking(url, TOKEN) as me:
        for method, path in (("GET", "overview"), ("GET", "live"), ("POST", "dead/drop"), ("POST", "session")):
            assert (await me.ask(method, f"/api/{path}", {}, Sec_Fetch_Site=site))[0] == 403
        assert (await me.ask("GET", "/api/overview", Sec_Fetch_Site="same-origin"))[0] == LET_IN


async def test_another_agent_with_the_same_token_accepts_the_session_and_one_with_another_does_not(
    tmp_path: Path,
) -> None:
    one, other = configured(tmp_path), configured(tmp_path, admin_token="sandbox-another-token")
    async with serving(one) as a, serving(one) as b, serving(other) as c, looking(a, TOKEN) as me:
        path = "/api/accounts/hotel/booking/poll"
        me.url = b
        assert (await me.get("/session"))["csrf"] == me.csrf
        assert (await me.ask("POST", path))[0] == LET_IN
        me.url = c
        assert not (await me.get("/session"))["signed_in"]
        assert (await me.ask("POST", path))[0] == 401


async def test_signing_out_takes_the_cookie_away(tmp_path: Path) -> None:
    async with serving(configured(tmp_path)) as url, looking(url, TOKEN) as me:
        assert (await me.get("/session"))["may_act"]
        assert (await me.ask("DELETE", "/api/session"))[0] == 204
        assert not (await me.get("/session"))["signed_in"]


async def test_a_forged_or_spoilt_cookie_is_no_session(tmp_path: Path) -> None:
    there = door.Door(Http(admin_token=Secret(TOKEN)))
    good = there.session()
    expires, name, signature = good.split(".")
    later = f"{int(expires) + 1}.{name}.{signature}"
    async with serving(configured(tmp_path, listen=ELSEWHERE)) as url, looking(url) as looker:
        for cookie in (later, f"{expires}.{name}.", f"..{signature}", good[:-1] + "g", "x", "é", "." * 500):
            status, _ = await looker.ask("GET", "/api/overview", Cookie=f"{COOKIE}={cookie}")
            assert status == 401, cookie
        assert (await looker.ask("GET", "/api/overview", Cookie=f"{COOKIE}={good}"))[0] == LET_IN


async def test_a_session_ends_after_twelve_hours(tmp_path: Path) -> None:
    long_ago = door.Door(Http(admin_token=Secret(TOKEN)), lambda: time.time() - door.LASTS - 1)
    async with serving(configured(tmp_path, listen=ELSEWHERE)) as url, looking(url) as looker:
        assert (await looker.ask("GET", "/api/overview", Cookie=f"{COOKIE}={long_ago.session()}"))[0] == 401


async def test_who_guesses_is_slowed_down_and_told_when_to_try_again(tmp_path: Path) -> None:
    async with serving(configured(tmp_path)) as url, looking(url, TOKEN) as me, looking(url) as thief:
        wrong = [await thief.ask("POST", "/api/session", {"token": f"guess {n}"}) for n in range(door.TRIES)]
        assert {status for status, _ in wrong} == {401}
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/api/session", json={"token": "guess again"}) as reply:
                assert reply.status == 429
                assert 1 <= int(reply.headers["Retry-After"]) <= door.AGAIN
            async with session.get(f"{url}/api/audit", headers={"Authorization": "Bearer guess"}) as reply:
                assert reply.status == 429  # nor can it be tried in another way
        assert (await me.ask("POST", "/api/accounts/hotel/booking/poll"))[0] == LET_IN  # who is in stays in
        async with looking(url, TOKEN):  # and who has the token comes in, from the same address
            right = {"Authorization": f"Bearer {TOKEN}"}
            assert (await me.ask("POST", "/api/accounts/hotel/booking/poll", **right))[0] == LET_IN


def test_tries_come_back_one_by_one_and_all_addresses_together_have_fewer() -> None:
    now = 1000.0
    tries = Tries(lambda: now)
    for _ in range(door.TRIES):
        assert tries.wait("192.0.2.1") == 0
        tries.failed("192.0.2.1")
    assert tries.wait("192.0.2.1") == pytest.approx(door.AGAIN)
    assert tries.wait("192.0.2.2") == 0
    now += door.AGAIN
    assert tries.wait("192.0.2.1") == 0
    for number in range(door.TRIES_OF_ALL):
        tries.failed(f"198.51.100.{number}")
    assert tries.wait("203.0.113.1") > 0
    now += 3600
    assert tries.wait("203.0.113.1") == 0


def test_one_who_has_a_whole_ipv6_network_has_no_more_tries() -> None:
    tries = Tries(lambda: 1000.0)
    for number in range(door.TRIES):
        tries.failed(f"2001:db8::{number}")
    assert tries.wait("2001:db8::ffff") > 0
    assert tries.wait("2001:db8:0:1::1") == 0


def test_addresses_without_number_take_no_memory_without_end() -> None:
    now = 0.0
    tries = Tries(lambda: now)
    for number in range(3 * door.ADDRESSES):
        now += 10
        tries.failed(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")
    assert len(tries._free_at) == door.ADDRESSES


async def test_wrong_tokens_are_told_together_with_the_addresses_that_sent_most() -> None:
    wrong = WrongTokens()
    wrong.add("203.0.113.9")
    assert wrong.take() == ("203.0.113.9", "1 wrong token")
    for number in range(2 * ADDRESSES):
        wrong.add(f"10.0.{number // 250}.{number % 250}")
    for _ in range(480):
        wrong.add("10.0.0.7")
    where, words = wrong.take()
    assert where == "several addresses"
    assert words.startswith("2480 wrong tokens: 481 from 10.0.0.7, 1 from 10.0.0.0, ")
    assert words.endswith(", 1995 from others")
    with anyio.move_on_after(0.01) as nothing:
        await wrong.some()
    assert nothing.cancelled_caught


async def test_the_page_and_the_api_say_what_a_browser_may_do_with_them(tmp_path: Path) -> None:
    async with serving(configured(tmp_path)) as url, aiohttp.ClientSession() as session:
        async with session.get(url) as reply:
            page = await reply.text()
            policy = reply.headers["Content-Security-Policy"]
            assert reply.headers["X-Frame-Options"] == "DENY"
        assert "unsafe" not in policy
        assert "http" not in policy
        parts = dict(part.split(" ", 1) for part in policy.split("; "))
        assert (parts["default-src"], parts["script-src"], parts["style-src"]) == ("'none'", "'self'", "'self'")
        assert (parts["frame-ancestors"], parts["form-action"], parts["base-uri"]) == ("'none'", "'none'", "'none'")
        assert "/static/HASH/" not in page
        script = page.partition('src="/static/')[2].partition('"')[0]
        async with session.get(f"{url}/static/{script}") as reply:
            assert reply.status == 200
            assert reply.headers["Content-Type"] == "text/javascript; charset=utf-8"
            assert "immutable" in reply.headers["Cache-Control"]
        for path in ("/static/0/app.js", f"/static/{script}x", f"/static/{script}/../../../door.py", "/static/"):
            async with session.get(url + path) as reply:
                assert reply.status == 404, path
        async with session.get(f"{url}/api/session") as reply:
            assert reply.headers["Content-Security-Policy"] == "default-src 'none'"
            assert reply.headers["Cache-Control"] == "no-store"
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            assert "Access-Control-Allow-Origin" not in reply.headers


async def test_a_body_that_is_too_large_or_no_json_is_refused(tmp_path: Path) -> None:
    async with serving(configured(tmp_path)) as url, aiohttp.ClientSession() as session:
        sign_in = f"{url}/api/session"
        json = {"Content-Type": "application/json"}
        for body, headers, status in (
            (b"x" * 70_000, json, 413),
            (b'{"token": "x"}', {"Content-Type": "text/plain"}, 415),
            (b'{"token": "x"', json, 400),
            (b"[" * 60_000, json, 400),
            (b'{"token": 1}', json, 400),
            (b'{"token": "x", "more": 1}', json, 400),
            (b"", json, 400),
        ):
            async with session.post(sign_in, data=body, headers=headers) as reply:
                assert reply.status == status, body[:20]
                assert (await reply.json())["error"]


async def test_the_token_stands_in_no_log_and_each_sign_in_does(tmp_path: Path, nats: NatsServer) -> None:
    config = write_config(
        tmp_path,
        bus={"url": nats.url},
        accounts=[octorate("hotel", "http://127.0.0.1:9/connect")],
        http={"listen": "127.0.0.1:0", "admin_token": TOKEN},
    )
    async with agent(config) as process:
        await ready(process)
        async with looking(f"http://{await process.address()}") as looker:
            assert (await looker.ask("POST", "/api/session", {"token": "a guess"}))[0] == 401
            await looker.sign_in(TOKEN)
            for number in range(10):
                assert (await looker.ask("GET", "/api/audit", Authorization=f"Bearer {number}"))[0] in {401, 429}

            async def are_noted() -> bool:
                return len((await looker.get("/audit"))["acts"]) == 2

            await until(are_noted)
            acts = sorted((await looker.get("/audit"))["acts"], key=lambda act: str(act["outcome"]))
            name = 'vendorwire_console_sign_ins_total{{outcome="{}"}}'
            told = {each: await process.metric(name.format(each)) for each in SignInOutcome}
    assert [(each["act"], each["target"]) for each in acts] == [("sign in", "console"), ("sign in", "console")]
    assert [each["who"] == "nobody" for each in acts] == [False, True]
    assert [each["outcome"] for each in acts] == ["done", "failed"]
    assert (acts[1]["detail"], acts[1]["from"]) == ("1 wrong token", "127.0.0.1")  # the others are counted
    assert told[SignInOutcome.ADMITTED] == 1
    assert told[SignInOutcome.REFUSED] + told[SignInOutcome.THROTTLED] == 11
    assert min(told.values()) > 0
    assert TOKEN not in process.log
    assert "a wrong admin token was tried" in process.log
    assert "the console was used: sign in" in process.log


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Authorization: Bearer \xff\xfe", HTTPStatus.UNAUTHORIZED),
        (b"Cookie: vendorwire_session=1.\xff", HTTPStatus.UNAUTHORIZED),
        (b"Cookie: vendorwire_session=\xff.\xff", HTTPStatus.UNAUTHORIZED),
        (b"Cookie: {session}\r\nX-CSRF: \xff\xfe", HTTPStatus.FORBIDDEN),
    ],
)
async def test_bytes_that_are_no_text_are_refused_like_any_other_word(
    tmp_path: Path, header: bytes, status: HTTPStatus
) -> None:
    config = configured(tmp_path)
    session = f"{COOKIE}={door.Door(config.http).session()}".encode()
    async with serving(config) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        async with await anyio.connect_tcp(host, int(port)) as line:
            await line.send(b"POST /api/accounts/hotel/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n")
            await line.send(header.replace(b"{session}", session) + b"\r\n\r\n")
            answer = await line.receive()
    assert answer.startswith(f"HTTP/1.1 {status.value} ".encode())
