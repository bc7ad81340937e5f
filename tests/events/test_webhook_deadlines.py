"""Receivers that never come to an end: each attempt ends in time."""

import asyncio
import contextlib
import gzip
import socket
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp.abc import ResolveResult

from events.jetstream.connection import beside
from events.webhook import Answer, WebhookSender
from tests.events.receiver import OK, Names, answering, dripping, post, receiver, send, webhook

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
    async with receiver(SLOW[how]) as there, hearing_stalls() as stalls:
        started = time.monotonic()
        answer = await send(webhook(there.port, timeout="600ms"))
        took = time.monotonic() - started
    assert (answer.status, answer.error) == (None, "timed out after 0.6 s")
    slack = 0.1 + min(max(stalls), 4)  # opening and closing, and what a busy machine kept from this process at one time
    assert 0.6 * 0.9 <= answer.seconds <= took <= 0.6 * 1.1 + slack


@contextlib.asynccontextmanager
async def hearing_stalls() -> AsyncIterator[list[float]]:
    """How late a timer came, each time, in seconds."""
    stalls = [0.0]

    async def tick() -> None:
        while True:
            due = time.monotonic() + 0.01
            await anyio.sleep(0.01)
            stalls.append(time.monotonic() - due)

    async with beside(tick):
        yield stalls


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


class Nameserver(asyncio.DatagramProtocol):
    """Knows `crm.example.com`, knows that there is no `gone.example.com`, and is silent about all other names."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = data[12 : data.index(b"\0", 12) + 5]
        if question.startswith(b"\x04gone"):
            self.transport.sendto(data[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + question, addr)
        elif question == b"\x03crm\x07example\x03com\0\0\1\0\1":
            found = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1"
            self.transport.sendto(data[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question + found, addr)
        elif question.startswith(b"\x03crm"):
            self.transport.sendto(data[:2] + b"\x81\x80\0\1\0\0\0\0\0\0" + question, addr)


@contextlib.asynccontextmanager
async def nameserver(**options: Any) -> AsyncIterator[aiohttp.AsyncResolver]:
    """What asks a name server of our own."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Nameserver, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    try:
        yield aiohttp.AsyncResolver(nameservers=[f"127.0.0.1:{port}"], **options)
    finally:
        transport.close()


async def test_names_that_nobody_answers_for_hold_up_no_other() -> None:
    hung: list[Answer] = []

    async def hang(number: int) -> None:
        target = webhook(1, url=f"http://hung-{number}.example.com/", timeout="1500ms")
        hung.append(await post(sender, target))

    async with (
        receiver(answering(OK)) as there,
        nameserver() as resolver,
        WebhookSender(version="1", resolver=resolver) as sender,
        anyio.create_task_group() as tasks,
    ):
        for number in range(30):
            tasks.start_soon(hang, number)
        await anyio.sleep(0.2)
        found = await post(sender, webhook(1, url=f"http://crm.example.com:{there.port}/", timeout="1s"))
        gone = await post(sender, webhook(1, url="http://gone.example.com/", timeout="1s"))
        assert hung == []
    assert (found.status, gone.status, gone.error) == (200, None, "host name not found")
    assert {(answer.status, answer.error) for answer in hung} == {(None, "timed out after 1.5 s")}
    assert len(hung) == 30
    assert max(answer.seconds for answer in hung) <= 1.5 * 1.1


async def test_a_look_up_that_is_given_up_before_the_time_out_has_timed_out_too() -> None:
    async with nameserver(timeout=0.1, tries=1) as resolver:
        answer = await send(webhook(1, url="http://hung.example.com/"), resolver=resolver)
    assert (answer.status, answer.error) == (None, "host name look-up timed out")
    assert answer.seconds < 3


async def test_a_name_of_this_machine_is_found_while_every_thread_is_busy() -> None:
    ended = threading.Event()
    async with receiver(answering(OK)) as there:
        with ThreadPoolExecutor(1) as threads:
            asyncio.get_running_loop().set_default_executor(threads)
            busy = threads.submit(ended.wait, 5)
            answer = await send(webhook(1, url=f"http://localhost:{there.port}/", timeout="2s"))
            ended.set()
    assert (answer.status, answer.error, busy.result()) == (200, "", True)


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
