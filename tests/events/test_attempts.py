"""The record of attempts: what is noted is stored beside the deliveries, found by an id's beginning, and ages with the events."""

import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest

from events.jetstream import streams
from events.jetstream.attempts import MOST, Attempt, Attempts, attempts_of
from events.jetstream.connection import Bus
from events.subjects import Names
from schemas.facts import DeliveryOutcome
from tests.agent.harness import until
from tests.events.bus import NAMES, connected, open_bus
from tests.nats import NatsServer, start_nats

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    async with open_bus(tmp_path) as opened:
        yield opened


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with start_nats(tmp_path) as server:
        yield server


@asynccontextmanager
async def recording(bus: Bus) -> AsyncIterator[Attempts]:
    """What is noted in the block is stored at the end at the latest."""
    attempts = Attempts(bus, NAMES)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(attempts.run)
        yield attempts
        tasks.cancel_scope.cancel()


def note(attempts: Attempts, event_id: str, attempt: int = 1, *, route: str = "crm", status: str = "200") -> None:
    attempts.note(
        route=route,
        event_id=event_id,
        sequence=7,
        attempt=attempt,
        outcome=DeliveryOutcome.DELIVERED,
        status=status,
        seconds=0.25,
        at=1000.0 + attempt,
    )


async def until_stored(attempts: Attempts) -> None:
    await until(lambda: len(attempts) == 0)


async def numbers(bus: Bus, event_id: str) -> list[int]:
    return [each.attempt for each in await attempts_of(bus, NAMES, event_id)]


async def test_what_is_noted_is_found_by_the_whole_id_and_by_its_beginning(bus: Bus) -> None:
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    async with recording(bus) as attempts:
        attempts.note(
            route="crm",
            event_id=one,
            sequence=12,
            attempt=3,
            outcome=DeliveryOutcome.RETRIED,
            status="503",
            seconds=0.25,
            at=1000.5,
            due=1010.5,
            replay=True,
        )
        note(attempts, other)
        await until_stored(attempts)
    wanted = Attempt(one, 12, 3, DeliveryOutcome.RETRIED, "503", 0.25, 1000.5, 1010.5, True, "crm")
    assert await attempts_of(bus, NAMES, one) == [wanted]
    assert await attempts_of(bus, NAMES, one[:8]) == [wanted]
    assert await attempts_of(bus, NAMES, str(uuid.uuid4())) == []


async def test_the_attempts_of_all_routes_come_in_the_order_of_their_end(bus: Bus) -> None:
    id_ = str(uuid.uuid4())
    async with recording(bus) as attempts:
        note(attempts, id_, 2)
        note(attempts, id_, 1, route="audit")
        note(attempts, id_, 3)
    assert [(each.route, each.attempt) for each in await attempts_of(bus, NAMES, id_)] == [
        ("audit", 1),
        ("crm", 2),
        ("crm", 3),
    ]


async def test_one_event_is_found_among_many_by_reading_few_of_them(bus: Bus) -> None:
    ids = [str(uuid.uuid4()) for _ in range(3000)]
    async with recording(bus) as attempts:
        for id_ in ids:
            note(attempts, id_)
        await until_stored(attempts)
    body = {"subjects_filter": NAMES.attempt("*", ids[1234])}
    info = await bus.api(f"STREAM.INFO.{NAMES.attempts}", body)
    assert info["state"]["messages"] == len(ids)
    assert sum(info["state"]["subjects"].values()) < 20
    assert await numbers(bus, ids[1234]) == [1]


async def test_what_is_left_at_the_end_is_stored(bus: Bus) -> None:
    id_ = str(uuid.uuid4())
    async with recording(bus) as attempts:
        await anyio.sleep(0.1)
        note(attempts, id_)
    assert await numbers(bus, id_) == [1]


async def test_the_end_does_not_wait_long_for_a_bus_that_hangs(nats: NatsServer) -> None:
    async with connected(nats.url) as bus:
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        attempts = Attempts(bus, NAMES)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(attempts.run)
            await anyio.sleep(0.1)
            nats.pause()
            note(attempts, str(uuid.uuid4()))
            started = time.monotonic()
            tasks.cancel_scope.cancel()
        nats.resume()
        assert time.monotonic() - started < 2


async def test_attempts_noted_while_the_bus_is_away_are_stored_when_it_is_back(nats: NatsServer) -> None:
    before, meanwhile = str(uuid.uuid4()), str(uuid.uuid4())
    async with connected(nats.url) as bus:
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        async with recording(bus) as attempts:
            note(attempts, before)
            await until_stored(attempts)
            nats.stop()
            note(attempts, meanwhile)
            await anyio.sleep(0.3)
            assert len(attempts) == 1
            nats.start()
            await until_stored(attempts)
        assert await numbers(bus, before) == [1]
        assert await numbers(bus, meanwhile) == [1]


async def test_attempts_noted_before_the_stream_is_there_are_stored_once_it_is(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    id_ = str(uuid.uuid4())
    async with connected(nats.url) as bus:
        assert await attempts_of(bus, NAMES, id_) == []
        async with recording(bus) as attempts:
            note(attempts, id_)
            await until(lambda: bool(caplog.messages))
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            await until_stored(attempts)
        assert await numbers(bus, id_) == [1]
    assert len([line for line in caplog.messages if "recorded later" in line]) == 1


async def test_attempts_that_may_not_be_written_are_stored_soon_after_the_grant(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def users(denied: str) -> str:
        user = '{user: "agent", password: "right", permissions: {publish: {deny: ["%s"]}}}'
        return f"authorization: {{users: [{user % denied}]}}"

    ids = [str(uuid.uuid4()) for _ in range(200)]
    with start_nats(tmp_path, config_extra=users("vendorwire.attempt.>")) as server:
        url = server.url.replace("//", "//agent:right@")
        async with connected(url) as bus:
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            async with recording(bus) as attempts:
                for id_ in ids:
                    note(attempts, id_)
                await until(lambda: any("may not publish" in line for line in caplog.messages))
                server.reload(users("nothing"))
                await until(lambda: len(attempts) == 0, within=10)
            assert await numbers(bus, ids[0]) == [1]
    assert len([line for line in caplog.messages if "may not publish" in line]) == 1


async def test_more_than_the_memory_holds_drops_the_oldest_and_says_so_once(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(nats.url) as bus:
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        async with recording(bus) as attempts:
            nats.stop()
            for number in range(MOST + 5):
                note(attempts, f"event-{number:06}")
            assert len(attempts) == MOST
            await anyio.sleep(0.3)  # some are on their way to a bus that is away
            for number in range(MOST + 5, MOST + 8):
                note(attempts, f"event-{number:06}")
            assert len(attempts) == MOST
            nats.start()
            await until_stored(attempts)
        assert await numbers(bus, "event-000004") == []
        assert await numbers(bus, f"event-{MOST + 7:06}") == [1]
    assert len([line for line in caplog.messages if "no longer recorded" in line]) == 1


async def test_an_attempt_that_was_stored_twice_is_read_as_one(bus: Bus) -> None:
    id_ = str(uuid.uuid4())
    async with recording(bus) as attempts:
        note(attempts, id_)
        note(attempts, id_)
    assert (await bus.api(f"STREAM.INFO.{NAMES.attempts}"))["state"]["messages"] == 2
    assert await numbers(bus, id_) == [1]


async def test_texts_that_others_made_stop_nobody(bus: Bus) -> None:
    id_ = str(uuid.uuid4())
    async with recording(bus) as attempts:
        note(attempts, id_, 1, status="a lone \udcff")
        note(attempts, id_, 2, status="long " * 100_000)
        note(attempts, "x" * 2_000_000)
        note(attempts, id_, 3)
        await until_stored(attempts)
    await bus.publish(NAMES.attempt("crm", id_), b"no attempt")
    await bus.publish(NAMES.attempt("crm", id_), f'["{id_}",7,4,"dead","",1,1e300,0,false,"crm"]'.encode())
    found = await attempts_of(bus, NAMES, id_)
    assert [(each.attempt, len(each.status)) for each in found] == [(1, 8), (2, 500), (3, 3)]


async def test_attempts_are_kept_as_long_as_events_also_when_that_changes(bus: Bus) -> None:
    async def kept() -> timedelta:
        config = (await bus.api(f"STREAM.INFO.{NAMES.attempts}"))["config"]
        assert config["discard"] == "old"
        return timedelta(microseconds=config["max_age"] / 1000)

    id_ = str(uuid.uuid4())
    async with recording(bus) as attempts:
        note(attempts, id_)
    ensure = partial(streams.ensure, bus, NAMES, replicas=1, max_bytes=None)
    await ensure(keep_events=timedelta(days=90))
    assert await kept() == timedelta(days=90)
    assert await numbers(bus, id_) == [1]
    await ensure(keep_events=timedelta(seconds=1))
    assert await kept() == timedelta(seconds=1)

    async def gone() -> bool:
        return await numbers(bus, id_) == []

    await until(gone)
    await ensure(keep_events=timedelta(days=30))
    assert await kept() == timedelta(days=30)


async def test_a_stream_that_is_not_synced_stays_as_it_was_made_when_replicas_are_asked_for(bus: Bus) -> None:
    assert streams.attempts(NAMES, 3, timedelta(days=1)).get("persist_mode") is None
    present = (await bus.api(f"STREAM.INFO.{NAMES.attempts}"))["config"]
    assert (present["persist_mode"], present["num_replicas"]) == ("async", 1)
    wanted = streams.attempts(NAMES, 3, timedelta(days=1))
    await streams.ensure_one(bus, "attempts", wanted)
    present = (await bus.api(f"STREAM.INFO.{NAMES.attempts}"))["config"]
    assert (present["persist_mode"], present["num_replicas"], present["max_age"]) == ("async", 1, wanted["max_age"])


async def test_one_that_was_made_synced_stays_so(nats: NatsServer) -> None:
    async with connected(nats.url) as bus:
        config = streams.attempts(NAMES, 1, timedelta(days=30))
        await bus.api(
            f"STREAM.CREATE.{NAMES.attempts}", {name: value for name, value in config.items() if name != "persist_mode"}
        )
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None, keep_events=timedelta(days=5))
        present = (await bus.api(f"STREAM.INFO.{NAMES.attempts}"))["config"]
        assert present["max_age"] == timedelta(days=5) // timedelta(microseconds=1) * 1000


def test_the_beginning_of_an_id_leads_to_the_same_subject() -> None:
    names = Names("other")
    assert names.attempt("crm", "0123abcd-4567") == names.attempt("crm", "0123abcd")
    assert names.attempt("crm", "0123abcd").startswith("other.attempt.crm.")
    assert len({names.attempt("crm", str(uuid.uuid4())) for _ in range(50_000)}) == 4096
