"""Receivers that never come to an end: each attempt ends in time."""

import gzip
import socket
import time
from typing import Any

import anyio
import pytest
from aiohttp.abc import ResolveResult

from tests.events.receiver import Names, dripping, receiver, send, webhook

pytestmark = pytest.mark.anyio

SLOW = {
    "says nothing": dripping(b"", b"", 0.05),
    "drips its headers": dripping(b"HTTP/1.1 200 OK\r\nx-a: ", b"a", 0.05),
    "drips interim replies": dripping(b"", b"HTTP/1.1 103 x\r\n\r\n", 0.02),
    "floods interim replies": dripping(b"", b"HTTP/1.1 103 x\r\n\r\n" * 1000, 0),
    "drips a status line": dripping(b"H", b"", 0.05),
    "drips header after header": dripping(b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n", 0.02),
    "drips interim replies with headers": dripping(b"", b"HTTP/1.1 103 x\r\nlink: </a>\r\nlink: </b>\r\n\r\n", 0.02),
    "floods interim replies with headers": dripping(b"", b"HTTP/1.1 103 x\r\nx-a: b\r\n\r\n" * 1000, 0),
    "begins an interim reply and stops": dripping(b"HTTP/1.1 100 Continue\r\nx-a:", b"", 0.05),
}


@pytest.mark.parametrize("how", SLOW)
async def test_a_receiver_that_never_comes_to_the_point_is_left_in_time(how: str) -> None:
    async with receiver(SLOW[how]) as there:
        started = time.monotonic()
        answer = await send(webhook(there.port, timeout="600ms"))
        took = time.monotonic() - started
    assert (answer.status, answer.error) == (None, "timed out after 0.6 s")
    assert 0.6 * 0.9 <= answer.seconds <= took <= 0.6 * 1.1 + 0.1  # 0.1: opening and closing, on a busy machine


async def test_a_time_out_over_five_seconds_is_not_rounded_up() -> None:
    async with receiver(SLOW["says nothing"]) as there:
        answer = await send(webhook(there.port, timeout="5100ms"))
    assert 5.0 <= answer.seconds <= 5.1 * 1.1


async def test_a_flood_of_headers_is_an_answer_that_is_none_long_before_the_time_out() -> None:
    async with receiver(dripping(b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n" * 1000, 0)) as there:
        answer = await send(webhook(there.port, timeout="5s"))
    assert (answer.status, answer.error) == (None, "answer is not HTTP")
    assert answer.seconds < 2


async def test_a_receiver_that_never_shakes_hands_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        answer = await send(webhook(1, url=url, timeout="600ms"))
    assert (answer.status, answer.error) == (None, "timed out after 0.6 s")
    assert answer.seconds <= 0.6 * 1.1 + 0.1


async def test_a_name_that_nobody_answers_for_is_left_in_time() -> None:
    class Silent(Names):
        async def resolve(self, *_: Any) -> list[ResolveResult]:
            await anyio.sleep_forever()
            raise AssertionError

    answer = await send(webhook(1, url="http://crm.example.com/", timeout="600ms"), resolver=Silent())
    assert (answer.status, answer.error) == (None, "timed out after 0.6 s")
    assert answer.seconds <= 0.6 * 1.1 + 0.1


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
DRIPPED = {
    "a body of a known length": dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b"a", 0.02),
    "a body that ends with the connection": dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"a", 0.02),
    "chunks": dripping(CHUNKED, b"1\r\na\r\n", 0.02),
    "a chunk's size": dripping(CHUNKED, b"0", 0.02),
    "a chunk's extension": dripping(CHUNKED + b"1;", b"a", 0.02),
    "trailers": dripping(CHUNKED + b"0\r\n", b"x-a: b\r\n", 0.02),
    "nothing at all": dripping(CHUNKED, b"", 0.05),
    "a packed body": dripping(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n", gzip.compress(bytes(99)), 0.02),
}


@pytest.mark.parametrize("what", DRIPPED)
async def test_a_dripped_body_ends_in_time_and_its_status_stands(what: str) -> None:
    async with receiver(DRIPPED[what]) as there:
        started = time.monotonic()
        answer = await send(webhook(there.port, timeout="600ms"))
        took = time.monotonic() - started
    assert (answer.status, answer.error) == (200, "")
    assert answer.seconds <= took <= 0.6 * 1.1 + 0.1
