"""Webhook attempts against receivers that write their answers by hand, byte by byte where that hurts most."""

import contextlib
import gzip
import socket
import ssl
from itertools import count
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest
import trustme
from anyio.abc import ByteStream
from standardwebhooks.webhooks import Webhook as Verifier

from events.signing import Signer
from events.webhook import READ_AT_MOST, WebhookSender, body_for
from schemas.settings import Secret
from tests.events.receiver import OK, SECRET, Dialler, answering, dripping, post, receiver, send, webhook

pytestmark = pytest.mark.anyio


async def test_the_request_is_signed_and_says_who_sends_it_and_which_attempt_it_is() -> None:
    async with receiver(answering(OK)) as there:
        answer = await send(webhook(there.port, headers={"Authorization": "Bearer x"}), b'{"a": 1}', attempt=3)
    assert (answer.status, answer.error, answer.retry_after) == (200, "", None)
    assert there.requests[0].startswith(b"POST /hooks?a=%2B HTTP/1.1\r\n")
    assert Verifier(SECRET).verify(there.body(), there.headers()) == {"a": 1}
    seen = there.headers()
    assert seen["webhook-id"] == "e-1"
    assert seen["content-type"] == "application/cloudevents+json"
    assert seen["user-agent"] == "vendorwire/1.2.3"
    assert seen["vendorwire-attempt"] == "3"
    assert seen["authorization"] == "Bearer x"
    assert "accept-encoding" not in seen


async def test_the_standard_format_is_plain_json() -> None:
    async with receiver(answering(OK)) as there:
        await send(webhook(there.port, format="standard"))
    assert there.headers()["content-type"] == "application/json"


def test_the_standard_body_has_type_timestamp_and_the_data_as_it_is() -> None:
    event = b'{"specversion":"1.0","type":"booking.cancelled","time":"2026-05-20T08:00:00Z","data":{"a" : 1.50}}'
    assert body_for("standard", event) == (
        b'{"type":"booking.cancelled","timestamp":"2026-05-20T08:00:00Z","data":{"a" : 1.50}}'
    )
    assert body_for("cloudevents", event) is event


@pytest.mark.parametrize("event", [b"", b"[]", b'{"type":"a"}', b"\xff"])
def test_what_is_not_an_event_has_no_standard_body(event: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        body_for("standard", event)


@pytest.mark.parametrize("status", [204, 400, 404, 410, 500, 503])
async def test_the_status_is_told_as_it_is(status: int) -> None:
    async with receiver(answering(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n" % status)) as there:
        answer = await send(webhook(there.port))
    assert (answer.status, answer.error) == (status, "")


async def test_retry_after_is_handed_on() -> None:
    async with receiver(answering(b"HTTP/1.1 429 x\r\nRetry-After: 120\r\ncontent-length: 0\r\n\r\n")) as there:
        assert (await send(webhook(there.port))).retry_after == "120"


async def test_the_path_and_query_are_sent_as_they_are_written() -> None:
    async with receiver(answering(OK)) as there:
        await send(webhook(there.port, url=f"http://127.0.0.1:{there.port}/%7Ea/../b?sig=%2B%7e&c"))
    assert there.requests[0].startswith(b"POST /%7Ea/../b?sig=%2B%7e&c HTTP/1.1\r\n")


async def test_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(20_000_000))  # under READ_AT_MOST as sent: read to its end, its connection serves again
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb)
    async with receiver(answering(head + bomb)) as there, WebhookSender(version="1") as sender:
        answers = [await post(sender, webhook(there.port)) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert there.connections == 1


async def test_a_cookie_is_not_kept() -> None:
    reply = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"
    async with receiver(answering(reply)) as there, WebhookSender(version="1") as sender:
        await post(sender, webhook(there.port))
        await post(sender, webhook(there.port))
    assert "cookie" not in there.headers()


async def test_a_connection_is_used_again_and_a_name_in_the_environment_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    dialler = Dialler()
    async with receiver(answering(OK)) as there, WebhookSender(version="1", open_socket=dialler) as sender:
        answers = [await post(sender, webhook(there.port)) for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 5
    assert there.connections == len(dialler.dialled) == 1


@pytest.mark.parametrize(
    "headers",
    [b"content-length: 99999999999", b"transfer-encoding: chunked", b"connection: close", b"content-encoding: gzip"],
)
async def test_an_endless_body_is_left_after_64_kib_and_the_event_is_delivered(headers: bytes) -> None:
    piece = b"8000\r\n" + b"a" * 0x8000 + b"\r\n" if b"chunked" in headers else b"a" * 0x8000
    sent = count()

    async def respond(stream: ByteStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n\r\n")
        for _ in sent:
            await stream.send(piece)

    async with receiver(respond) as there:
        answer = await send(webhook(there.port))
    assert (answer.status, answer.error) == (200, "")
    assert answer.seconds < 2
    assert next(sent) * 0x8000 < 300 * READ_AT_MOST  # what the sockets between us buffer, no more


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"hello\r\n\r\n", "answer is not HTTP"),
        (b"\x16\x03\x01\x00\x00\r\n\r\n", "answer is not HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x-a: 1\r\n" * 5000 + b"\r\n", "answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 100_000 + b"\r\n\r\n", "answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nx\x00: a\r\n\r\n", "answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n", "answer is not HTTP"),
        (b"", "connection closed without an answer"),
        (b"HTTP/1.1 200", "connection closed without an answer"),
    ],
)
async def test_an_answer_that_is_none_is_told_in_fixed_words(reply: bytes, error: str) -> None:
    async with receiver(answering(reply, close=True)) as there:
        answer = await send(webhook(there.port))
    assert (answer.status, answer.error) == (None, error)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nab",
    ],
)
async def test_a_2xx_with_a_broken_body_is_delivered_all_the_same(reply: bytes) -> None:
    async with receiver(answering(reply, close=True)) as there:
        answer = await send(webhook(there.port))
    assert (answer.status, answer.error) == (200, "")


async def test_a_refused_connection_is_told_without_its_address() -> None:
    async with receiver(answering(OK)) as there:
        gone = there.port
    answer = await send(webhook(gone))
    assert (answer.status, answer.error) == (None, "connection refused")


async def test_an_unknown_host_is_told() -> None:
    answer = await send(webhook(1, url="http://no-such-host.invalid/"))
    assert (answer.status, answer.error) == (None, "host name not found")


async def test_plain_http_where_tls_is_expected_is_told() -> None:
    async def plain(stream: ByteStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 x\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, plain)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        answer = await send(webhook(port, url=f"https://127.0.0.1:{port}/"))
        group.cancel_scope.cancel()
    assert (answer.status, answer.error) == (None, "TLS handshake failed")


async def test_a_certificate_nobody_vouches_for_is_refused() -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with receiver(answering(OK), tls) as there:
        answer = await send(webhook(there.port, url=f"https://127.0.0.1:{there.port}/"))
    assert (answer.status, answer.error) == (None, "TLS certificate refused")
    assert there.requests == []


async def test_a_secret_that_no_longer_signs_is_an_answer_that_does_not_show_it(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    signer = Signer([Secret(f"${{file:{file}}}")])
    file.write_text("hunter2")
    async with WebhookSender(version="1") as sender:
        answer = await sender.send(webhook(9), signer, b"{}", event_id="e-1", attempt=1, timestamp=1)
    assert answer.status is None
    assert answer.error == "request cannot be made: a secret or a header is not usable"


async def test_a_receiver_that_hangs_holds_up_no_other() -> None:
    full, numbers = anyio.Event(), count(1)

    async def hang(_: ByteStream) -> None:
        if next(numbers) == 500:
            full.set()
        await anyio.sleep_forever()

    async with (
        receiver(hang) as hanging,
        receiver(answering(OK)) as there,
        WebhookSender(version="1") as sender,
        anyio.create_task_group() as group,
    ):
        for _ in range(600):
            group.start_soon(post, sender, webhook(hanging.port, timeout="60s"))
        with anyio.fail_after(30):
            await full.wait()
        assert (await post(sender, webhook(there.port, timeout="10s"))).status == 200
        group.cancel_scope.cancel()


async def test_an_interim_reply_is_not_the_answer_and_its_connection_serves_again() -> None:
    reply = (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 503 x\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno"
    )
    async with receiver(answering(reply)) as there, WebhookSender(version="1") as sender:
        answers = [await post(sender, webhook(there.port)) for _ in range(2)]
    assert [(answer.status, answer.retry_after) for answer in answers] == [(503, "7")] * 2
    assert there.connections == 1


async def test_an_answer_that_nobody_asked_for_is_not_the_next_events() -> None:
    async def twice(stream: ByteStream) -> None:
        await stream.send(OK)
        await anyio.sleep(0.05)
        await stream.send(OK)

    async with receiver(twice) as there, WebhookSender(version="1") as sender:
        answers = []
        for _ in range(3):
            answers.append(await post(sender, webhook(there.port)))
            await anyio.sleep(0.2)
    assert [(answer.status, answer.error) for answer in answers] == [(200, ""), (None, "connection lost"), (200, "")]
    assert len(there.requests) == 2


LARGE = bytes(16_000_000)  # more than the sockets between us take


async def test_a_connection_answered_before_it_took_the_whole_event_is_not_used_again() -> None:
    connections = count()

    async def refuse(stream: ByteStream) -> None:
        next(connections)
        async with stream:
            await stream.receive(100)
            await stream.send(b"HTTP/1.1 413 too large\r\ncontent-length: 0\r\n\r\n")
            await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, refuse)
        target = webhook(listener.extra(anyio.abc.SocketAttribute.local_port))
        async with WebhookSender(version="1") as sender:
            answers = [await post(sender, target, LARGE) for _ in range(2)]
        group.cancel_scope.cancel()
    assert [answer.status for answer in answers] == [413, 413]
    assert next(connections) == 2


async def test_what_a_hung_receiver_did_not_take_in_time_is_not_sent_later() -> None:
    def read_all() -> int:
        taken = 0
        with hung.accept()[0] as connection, contextlib.suppress(ConnectionResetError):
            connection.settimeout(5)
            while chunk := connection.recv(1_000_000):
                taken += len(chunk)
        return taken

    with socket.create_server(("127.0.0.1", 0)) as hung:
        async with WebhookSender(version="1") as sender:
            answer = await post(sender, webhook(hung.getsockname()[1], timeout="300ms"), LARGE)
            taken = await anyio.to_thread.run_sync(read_all)
    assert (answer.status, answer.error) == (None, "timed out after 0.3 s")
    assert taken < len(LARGE)


async def test_cancelling_ends_an_attempt_at_once_and_leaves_nothing_open() -> None:
    async with receiver(dripping(b"", b"", 0.05)) as there, WebhookSender(version="1") as sender:
        with anyio.move_on_after(0.2) as scope:
            await post(sender, webhook(there.port))
        assert scope.cancelled_caught
