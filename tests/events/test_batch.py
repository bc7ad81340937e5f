"""An atomic batch against a real server: all of it is stored or nothing, whatever happens on the way."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from nats.errors import BadSubjectError

from events.jetstream.asking import Outgoing
from events.jetstream.connection import Bus, connect
from events.jetstream.errors import ApiError, BusRefused, BusUnavailable
from events.jetstream.options import BusOptions
from events.jetstream.read import held
from schemas.settings import Secret
from tests.nats import DEADLINE, NatsServer, start_nats

pytestmark = pytest.mark.anyio

STREAM = {"name": "S", "subjects": ["s.>"], "allow_atomic": True, "max_msgs_per_subject": 10}
LAST: Outgoing = ("s.last", b"end", "")
MANY = 900
DENYING = (
    "authorization { users: [{user: a, password: b, "
    "permissions: {publish: {deny: 's.Secret'}, subscribe: {allow: ['_INBOX.>']}}}] }"
)


def some(count: int) -> Iterator[Outgoing]:
    for number in range(count):
        yield f"s.{number}", b"data %d" % number, f"Number: {number}\r\n"


@asynccontextmanager
async def open_bus(folder: Path, *, config: str = "", ping_interval: int = 2) -> AsyncIterator[tuple[Bus, NatsServer]]:
    with start_nats(folder, config_extra=config) as nats:
        options = BusOptions(
            urls=[nats.url], ping_interval=ping_interval, connect_timeout=1, user="a", password=Secret("b")
        )
        async with connect(options, lambda _: None) as bus:
            await bus.ready()
            await bus.api("STREAM.CREATE.S", STREAM)
            yield bus, nats


async def stored(bus: Bus) -> list[tuple[str, bytes]]:
    return [(message.subject, message.data) async for message in held(bus, "S", ["s.>"], every=True)]


async def test_all_messages_are_stored_in_order_with_their_headers(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as (bus, _):
        assert await bus.publish_batch(some(MANY), LAST) == MANY + 1
        found = [message async for message in held(bus, "S", ["s.>"], every=True)]
    assert [message.subject for message in found] == [*(f"s.{number}" for number in range(MANY)), "s.last"]
    assert (found[700].data, found[700].headers["Number"]) == (b"data 700", "700")


@pytest.mark.parametrize("count", [0, 1, MANY])
async def test_the_wait_for_the_server_can_be_spent(tmp_path: Path, count: int) -> None:
    made: list[Outgoing] = []
    spent: list[int] = []

    def noted() -> Iterator[Outgoing]:
        for message in some(count):
            made.append(message)
            yield message

    async with open_bus(tmp_path) as (bus, _):
        await bus.publish_batch(noted(), LAST, meanwhile=lambda: spent.append(len(made)))
    assert spent == [count]


async def test_the_last_message_alone_is_a_batch(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as (bus, _):
        assert await bus.publish_batch([], LAST) == 1


async def test_a_fence_that_does_not_hold_refuses_the_whole_batch(tmp_path: Path) -> None:
    fenced = (*LAST[:2], "Nats-Expected-Last-Subject-Sequence: 7\r\n")
    async with open_bus(tmp_path) as (bus, _):
        with pytest.raises(ApiError) as refused:
            await bus.publish_batch(some(MANY), fenced)
        assert refused.value.err_code == 10071
        assert await stored(bus) == []


@pytest.mark.parametrize("place", [0, 500], ids=["first", "midway"])
async def test_a_message_too_large_is_refused_by_name_and_the_connection_stays(tmp_path: Path, place: int) -> None:
    messages = [*some(place), ("s.large", b"x" * 2**20, "Name: value\r\n"), *some(5)]
    async with open_bus(tmp_path) as (bus, _):
        with pytest.raises(ApiError, match=r"message size \d+ exceeds the maximum of 1048576 bytes"):
            await bus.publish_batch(messages, LAST)
        assert await stored(bus) == []
        assert await bus.publish_batch(some(3), LAST) == 4


@pytest.mark.parametrize("place", [0, 500], ids=["first", "midway"])
async def test_a_denied_message_is_named_and_nothing_is_stored(tmp_path: Path, place: int) -> None:
    messages = [*some(place), ("s.Secret", b"", ""), *some(5)]
    async with open_bus(tmp_path, config=DENYING) as (bus, _):
        with pytest.raises(BusRefused) as refused:
            await bus.publish_batch(messages, LAST)
        assert str(refused.value) == "the NATS user may not publish to s.Secret: grant it this subject"
        assert await stored(bus) == []
        assert await bus.publish_batch(some(3), LAST) == 4


async def test_a_connection_lost_midway_ends_it_at_once(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as (bus, nats):

        def killing() -> Iterator[Outgoing]:
            yield from some(MANY // 2)
            nats.kill()
            yield from some(MANY // 2)

        with anyio.fail_after(3), pytest.raises(BusUnavailable):  # less than a request's time-out
            await bus.publish_batch(killing(), LAST)
        with anyio.fail_after(DEADLINE):
            while bus.connected:  # noqa: ASYNC110 - a deadline above, and no event to wait for
                await anyio.sleep(0.01)
        nats.start()
        await bus.ready()
        assert await stored(bus) == []
        assert await bus.publish_batch(some(3), LAST) > 0


async def test_a_server_that_hangs_midway_is_noticed(tmp_path: Path) -> None:
    async with open_bus(tmp_path, ping_interval=1) as (bus, nats):

        def hanging() -> Iterator[Outgoing]:
            yield from some(1)
            nats.pause()
            for number in range(MANY):
                yield f"s.{number}", b"x" * 100_000, ""  # more than the sockets' buffers hold

        with anyio.fail_after(5), pytest.raises(BusUnavailable):
            await bus.publish_batch(hanging(), LAST)
        nats.resume()


async def test_a_subject_that_would_break_out_of_its_line_is_our_own_error(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as (bus, _):
        for subject in ("s.a b", "s.a\r\nPUB x 0\r\n", "s.a\tb"):
            with pytest.raises(BadSubjectError):
                await bus.publish_batch([*some(1), (subject, b"", "")], LAST)
        assert await stored(bus) == []


async def open_batches(bus: Bus, count: int) -> None:
    for number in range(count):
        marks = {"Nats-Batch-Id": f"other-{number}", "Nats-Batch-Sequence": "1"}
        await bus.request(f"s.other.{number}", b"", marks)


MOST_OPEN = 50  # batches that the server keeps open for a stream


async def test_where_too_many_batches_are_open_it_waits_until_there_is_room(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as (bus, _):
        await open_batches(bus, MOST_OPEN)
        async with anyio.create_task_group() as group:

            async def make_room() -> None:
                await anyio.sleep(0.3)
                end = {"Nats-Batch-Id": "other-0", "Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"}
                await bus.request("s.other.end", b"", end)

            group.start_soon(make_room)
            sequence = await bus.publish_batch(some(MANY), LAST)
        found = [subject for subject, _ in await stored(bus)]
    assert sequence == 2 + MANY + 1
    assert found == ["s.other.0", "s.other.end", *(f"s.{number}" for number in range(MANY)), "s.last"]


async def test_where_there_is_never_room_it_is_refused_by_name_and_nothing_is_stored(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as (bus, _):
        await open_batches(bus, MOST_OPEN)
        with pytest.raises(ApiError, match="too many"):
            await bus.publish_batch(some(MANY), LAST, timeout=0.5)
        assert await stored(bus) == []


async def test_the_wait_for_room_to_send_ends(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as (bus, _):
        with anyio.fail_after(DEADLINE):
            await bus.client.room()
