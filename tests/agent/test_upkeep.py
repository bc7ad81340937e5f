"""What an agent tells of its streams and its schedule, so that somebody is told before they are full, or when they were lost."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent import backlogs, configfile, polling, upkeep
from agent.config import Config
from connectors.sandbox.serve import serve
from events.jetstream import streams
from schemas.facts import Replanned, RouteState, StorageState, StreamRemade, StreamState
from schemas.settings import Secret
from tests.agent.harness import (
    NAMES,
    Inside,
    hotel,
    inside,
    octorate,
    reading,
    receiving,
    until,
    webhook,
    write_config,
)
from tests.nats import NatsServer, start_nats

pytestmark = pytest.mark.anyio

KEY = 92180827  # the sandbox's first booking
OFTEN = 0.2  # seconds between two looks

Wire = dict[str, Any]


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LOOK_EVERY", OFTEN)
    monkeypatch.setattr(backlogs, "COUNT_EVERY", OFTEN)
    monkeypatch.setattr(polling, "CHECK_EVERY", OFTEN)


async def test_each_stream_is_told_with_its_bytes_and_its_limit_and_when_it_was_made(
    tmp_path: Path, nats: NatsServer
) -> None:
    async with serve(hotel()) as vendor, reading(nats.url) as bus:
        async with inside(config(tmp_path, nats, vendor, max_bytes=3_000_000)) as running:
            told = {fact.stream: fact for fact in running.told(StreamState)}
            assert tuple(told) == streams.ROLES
            assert {role: fact.limit for role, fact in told.items() if fact.limit is not None} == {"ledger": 3_000_000}
            assert abs(told["ledger"].made_at - bus.now()) < 60
            before = told["ledger"].size
            await bus.publish("vendorwire.snapshot.octorate.old.booking.1", b"x" * 120_000)
            await until(lambda: last(running, "ledger").size >= before + 100_000)
        assert running.told(StreamRemade) == []


async def test_what_the_account_stores_is_told_with_its_limit_where_there_is_one(tmp_path: Path) -> None:
    limited = "accounts { A { jetstream: { max_file: 40MB }, users: [{ user: a, password: b }] } }"
    with start_nats(tmp_path / "nats", config_extra=limited) as server:
        async with (
            serve(hotel()) as vendor,
            reading(server.url, user="a", password=Secret("b")) as bus,
            inside(config(tmp_path, server, vendor, user="a", password="b")) as running,
        ):
            stored = running.told(StorageState)[-1]
            assert stored.limit == 40 * 1024 * 1024
            await bus.publish("vendorwire.snapshot.octorate.old.booking.1", b"x" * 120_000)
            await until(lambda: running.told(StorageState)[-1].used >= stored.used + 100_000)


async def test_an_account_without_a_limit_is_told_with_none(tmp_path: Path, nats: NatsServer) -> None:
    async with serve(hotel()) as vendor, inside(config(tmp_path, nats, vendor)) as running:
        assert {fact.limit for fact in running.told(StorageState)} == {None}


async def test_a_stream_that_somebody_deletes_is_told_as_remade_once_and_as_made_later(
    tmp_path: Path, nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(hotel()) as vendor, reading(nats.url) as bus, inside(config(tmp_path, nats, vendor)) as running:
        before = last(running, "ledger").made_at
        await bus.api(f"STREAM.DELETE.{NAMES.ledger}")
        await until(lambda: last(running, "ledger").made_at > before)
        again = len(running.told(StreamState))
        await until(lambda: len(running.told(StreamState)) > again + len(streams.ROLES))
        assert running.told(StreamRemade) == [StreamRemade(stream="ledger", name=NAMES.ledger)]
    said = [record for record in caplog.records if record.getMessage() == "a stream was gone: it is made anew, empty"]
    assert [record.__dict__["stream"] for record in said] == [NAMES.ledger]


async def test_an_agent_that_finds_a_server_without_streams_tells_of_none_that_was_lost(
    tmp_path: Path, nats: NatsServer
) -> None:
    async with serve(hotel()) as vendor, inside(config(tmp_path, nats, vendor)) as running:
        await until(lambda: len(running.told(StreamState)) > 3 * len(streams.ROLES))
        assert running.told(StreamRemade) == []


async def test_a_plan_that_was_lost_is_told_once_it_is_put_back_and_the_first_plan_is_not(
    tmp_path: Path, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = counted_looks(monkeypatch)
    async with serve(hotel()) as vendor, reading(nats.url) as bus, inside(config(tmp_path, nats, vendor)) as running:
        await until(lambda: len(looks) > 20)
        assert running.told(Replanned) == []

        async def is_told() -> bool:  # while a poll is under way there is nothing to lose
            await bus.api(f"STREAM.PURGE.{NAMES.polls}", {"filter": "vendorwire.schedule.>"})
            return bool(running.told(Replanned))

        await until(is_told)
        assert {fact.scope.account for fact in running.told(Replanned)} == {"hotel"}


async def test_what_waits_for_a_retry_is_told_as_in_flight(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver:
        receiver.answer = lambda _: web.Response(status=503)
        routes = [webhook("crm", receiver.url, retries=["1h"])]
        async with inside(config(tmp_path, nats, vendor, routes=routes)) as running:
            sandbox.change(KEY, {"totalGuest": 7})
            await until(lambda: bool(receiver.got))

            def is_told() -> bool:
                state = running.told(RouteState)[-1]
                return (state.pending, state.in_flight) == (1, 1)

            await until(is_told)


def config(
    folder: Path,
    server: NatsServer,
    vendor: str,
    *,
    routes: Sequence[Wire] = (),
    **bus: Any,
) -> Config:
    accounts = [octorate("hotel", vendor, every={"booking": "1s"})]
    return configfile.load(write_config(folder, bus={"url": server.url, **bus}, accounts=accounts, routes=routes))


def last(running: Inside, stream: str) -> StreamState:
    return [fact for fact in running.told(StreamState) if fact.stream == stream][-1]


def counted_looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When lost plans were looked for: at every moment of a poll, some time."""
    looks: list[float] = []
    mend = polling.Polling.mend

    async def counted(self: polling.Polling, *, forget: bool) -> None:
        await mend(self, forget=forget)
        looks.append(time.monotonic())

    monkeypatch.setattr(polling.Polling, "mend", counted)
    monkeypatch.setattr(polling, "CHECK_EVERY", 0.1)
    return looks
