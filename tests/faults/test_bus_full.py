"""The bus has no room: the ledger, the streams beside it, all that the account may store, or the disk. What cannot be stored
is not forgotten; the agent says what is full, once, and goes on by itself when there is room."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent import configfile, polling
from connectors.sandbox.serve import serve
from events.jetstream import streams
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError
from schemas.settings import Secret
from tests.agent.harness import (
    NAMES,
    Got,
    Process,
    agent,
    inside,
    octorate,
    reading,
    receiving,
    synced,
    ticks_taken,
    until,
    webhook,
    write_config,
)
from tests.faults.changing import Changing, each_came_once
from tests.nats import start_nats

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

Measured = Callable[[str, str, str], None]

SIGNED_IN: dict[str, Any] = {"user": "a", "password": "b"}
USER: dict[str, Any] = {"user": "a", "password": Secret("b")}
FRESH = 'vendorwire_poll_last_success_timestamp_seconds{account="hotel",resource="booking",vendor="octorate"}'


def has_said(process: Process, what: str) -> bool:
    return what in process.log


def lines(process: Process, what: str) -> int:
    """How many lines of the log say so."""
    return sum(what in line for line in process.log.splitlines())


async def limit(bus: Bus, stream: str, most: int) -> None:
    """As an operator does it, by hand."""
    config = (await bus.api(f"STREAM.INFO.{stream}"))["config"]
    await bus.api(f"STREAM.UPDATE.{stream}", {**config, "max_bytes": most})


async def has_read_properties(process: Process) -> bool:
    return await process.metric(FRESH.replace("booking", "property")) > 0


def asked_for_bookings(vendor: Changing) -> int:
    return sum("/reservation/" in seen.path for seen in vendor.sandbox.seen)


async def fill(bus: Bus, subject: str) -> None:
    """Until not one byte more is taken."""
    for size in (100_000, 10_000, 1_000, 100, 0):
        try:
            while True:
                await bus.publish(subject, b"x" * size)
        except ApiError:
            pass


async def test_a_full_ledger_takes_what_happened_meanwhile_once_there_is_room(
    tmp_path: Path, measured: Measured
) -> None:
    ballast = NAMES.ledger, "vendorwire.snapshot.octorate.old.booking.1"
    vendor = Changing()
    async with serve(vendor.sandbox) as url, receiving() as receiver:
        with start_nats(tmp_path / "nats") as nats:
            bus = {"url": nats.url, "max_bytes": 1_000_000}
            routes = [webhook("crm", receiver.url)]
            file = write_config(tmp_path, bus=bus, accounts=[octorate("hotel", url)], routes=routes)
            async with agent(file) as process, reading(nats.url) as looking:
                await synced(process)
                await until(partial(has_read_properties, process))
                async with vendor.meanwhile():
                    await fill(looking, ballast[1])
                    await until(partial(has_said, process, "cannot be stored: the bus refused: maximum bytes exceeded"))
                    fresh, asked = await process.metric(FRESH), asked_for_bookings(vendor)
                    assert await process.is_ready()  # what is in the ledger is delivered all the same
                    taken = await ticks_taken(looking)

                    async def were_taken() -> bool:
                        return await ticks_taken(looking) >= taken + 2

                    await until(were_taken)  # it is tried again and again, …
                    assert asked_for_bookings(vendor) == asked  # … without asking the vendor
                    assert await process.metric(FRESH) == fresh
                await looking.api(f"STREAM.PURGE.{ballast[0]}", {"filter": ballast[1]})
                seconds = await until(lambda: asked_for_bookings(vendor) > asked, 5)
                events = await vendor.story(nats.url)
                assert vendor.faults(events) == []
                await each_came_once(receiver, events)
                assert lines(process, "cannot be stored") == 1
                assert "Traceback" not in process.log
    fault = "the ledger full (max_bytes, discard new) while the vendor went on changing"
    measured("nothing is lost", fault, f"{len(events)} events: 0 lost, 0 twice, 0 out of order; each delivered once")
    measured("never silent", fault, "freshness ages, one log line; the vendor is not asked until there is room")
    measured("it resumes by itself", fault, f"polls {seconds:.1f} s after there is room")


async def test_an_account_that_may_store_no_more_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, measured: Measured
) -> None:
    monkeypatch.setattr(polling, "CHECK_EVERY", 2.0)
    monkeypatch.setattr(polling, "OVERDUE", timedelta(seconds=2))
    account = "accounts { A { jetstream: { max_file: 4MB }, users: [{ user: a, password: b }] } }"
    vendor = Changing()

    def said(what: str) -> int:
        return sum(what in record.getMessage() for record in caplog.records)

    async with serve(vendor.sandbox) as url, receiving() as receiver:
        with start_nats(tmp_path / "nats", config_extra=account) as nats:
            bus = {"url": nats.url, **SIGNED_IN}
            routes = [webhook("crm", receiver.url)]
            file = write_config(tmp_path, bus=bus, accounts=[octorate("hotel", url)], routes=routes)
            async with inside(configfile.load(file)), reading(nats.url, **USER) as looking:
                await looking.api("STREAM.CREATE.B", {"name": "B", "subjects": ["ballast"], "storage": "file"})
                async with vendor.meanwhile():
                    await fill(looking, "ballast")  # the server itself drops what falls due: it cannot store the tick
                    await until(lambda: said("cannot be kept: resource limits exceeded for account") == 1)
                    asked = len(vendor.sandbox.seen)
                await looking.api("STREAM.PURGE.B")
                seconds = await until(lambda: len(vendor.sandbox.seen) > asked)
                events = await vendor.story(nats.url, **USER)
                assert vendor.faults(events) == []
                await each_came_once(receiver, events)
                assert said("resource limits exceeded") <= 3
    fault = "nothing more may be stored in any stream (the NATS account's limit) while the vendor went on changing"
    measured("nothing is lost", fault, f"{len(events)} events: 0 lost, 0 twice, 0 out of order; each delivered once")
    measured("it resumes by itself", fault, f"polls {seconds:.1f} s after there is room")


async def test_a_bound_set_on_the_schedule_is_taken_off(tmp_path: Path) -> None:
    with start_nats(tmp_path / "nats") as nats:
        async with reading(nats.url) as bus:
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            await limit(bus, NAMES.polls, 100)  # less than one plan takes: the server would forget each at once
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            assert (await bus.api(f"STREAM.INFO.{NAMES.polls}"))["config"]["max_bytes"] == -1


async def test_where_nothing_can_be_kept_about_a_route_it_delivers_all_the_same_and_says_so(
    tmp_path: Path, measured: Measured
) -> None:
    def has_failed(got: Got) -> bool:
        return got.attempt == 1 and got.version == 2

    def answer(got: Got) -> web.Response:
        return web.Response(status=503 if has_failed(got) else 200)

    vendor = Changing()
    async with serve(vendor.sandbox) as url, receiving() as receiver:
        receiver.answer = answer
        with start_nats(tmp_path / "nats") as nats:
            routes = [webhook("crm", receiver.url, timeout="1s", retries=["1s", "1s"])]
            file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", url)], routes=routes)
            async with agent(file) as process, reading(nats.url) as looking:
                await synced(process)
                for bucket in (NAMES.lanes_bucket, NAMES.routes_bucket):
                    await limit(looking, f"KV_{bucket}", 1)
                async with vendor.meanwhile():
                    await until(partial(has_said, process, "what waits for a retry cannot be kept: maximum bytes"))
                    await until(partial(has_said, process, "how the route stands cannot be kept: maximum bytes"))
                for bucket in (NAMES.lanes_bucket, NAMES.routes_bucket):
                    await limit(looking, f"KV_{bucket}", -1)
                events = await vendor.story(nats.url)
                assert vendor.faults(events) == []
                await until(
                    lambda: {each.id for each in events} == {got.id for got in receiver.got if not has_failed(got)}
                )
                assert len(process.log.splitlines()) < 10
                assert lines(process, "cannot be kept") == 2
    fault = "the buckets of the routes full, while deliveries failed"
    measured("never silent", fault, f"one log line each; {len(events)} events delivered all the same")
