"""A route's worker against receivers that misbehave, and through its own death: order, attempts and ids."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from nats.aio.msg import Msg

from agent import burying, configfile
from agent.config import Config
from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.serve import serve
from events.jetstream.outbox import DeadLetter, dead_letters
from schemas.changes import Scope
from schemas.facts import Delivered, DeliveryOutcome
from tests.agent.harness import (
    NAMES,
    Got,
    Receiver,
    agent,
    fine,
    hotel,
    inside,
    octorate,
    reading,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

KEY, OTHER = 92180827, 92180828  # the sandbox's first bookings


def answering(*statuses: int, key: int = KEY) -> Callable[[Got], web.Response]:
    """These answers about one record, one after the other, the last one for good; others are fine."""
    left = list(statuses)

    def answer(got: Got) -> web.Response:
        if got.key != str(key):
            return web.Response()
        return web.Response(status=left.pop(0) if len(left) > 1 else left[0])

    return answer


def configured(folder: Path, nats: NatsServer, vendor: str, *routes: dict[str, Any], **rest: Any) -> Config:
    return configfile.load(file_for(folder, nats, vendor, *routes, **rest))


def file_for(folder: Path, nats: NatsServer, vendor: str, *routes: dict[str, Any], **rest: Any) -> Path:
    return write_config(folder, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)], routes=routes, **rest)


def change(sandbox: OctorateSandbox, key: int = KEY) -> None:
    sandbox.change(key, {"totalGuest": sandbox.reservations[key]["totalGuest"] + 1})


def has_got(receiver: Receiver, number: int, key: int = KEY) -> bool:
    return len(receiver.of(key)) >= number


def story(receiver: Receiver, key: int = KEY) -> list[tuple[int, int]]:
    """Version and attempt of each request about a record."""
    return [(got.version, got.attempt) for got in receiver.of(key)]


async def letters(nats: NatsServer) -> list[DeadLetter]:
    async with reading(nats.url) as bus:
        return [letter async for letter in dead_letters(bus, NAMES)]


async def test_an_event_that_fails_is_sent_again_and_only_its_record_waits(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver:
        receiver.answer = answering(500, 500, 200)
        route = webhook("crm", receiver.url, retries=["1500ms", "1500ms", "1m"])
        async with inside(configured(tmp_path, nats, vendor, route)) as agent:
            change(sandbox)
            await until(partial(has_got, receiver, 1))
            change(sandbox)
            change(sandbox, OTHER)
            await until(partial(has_got, receiver, 4))
        assert story(receiver) == [(2, 1), (2, 2), (2, 3), (3, 1)]
        first, second, third, _ = receiver.of(KEY)
        assert first.id == second.id == third.id
        assert receiver.of(OTHER)[0].at < third.at
        outcomes = [fact.outcome for fact in agent.told(Delivered) if fact.event_id == first.id]
        assert outcomes == [DeliveryOutcome.RETRIED, DeliveryOutcome.RETRIED, DeliveryOutcome.DELIVERED]


async def test_a_receiver_that_asks_for_time_gets_it(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()

    def busy(got: Got) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "2"}) if got.attempt == 1 else web.Response()

    async with serve(sandbox) as vendor, receiving() as receiver:
        receiver.answer = busy
        route = webhook("crm", receiver.url, retries=["100ms", "1m"])
        async with inside(configured(tmp_path, nats, vendor, route)):
            change(sandbox)
            await until(partial(has_got, receiver, 2))
        first, second = receiver.of(KEY)
        assert 2 <= second.at - first.at < 8


async def test_a_receiver_that_is_gone_for_good_is_left_alone_and_its_events_stay(
    tmp_path: Path, nats: NatsServer
) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver:
        receiver.answer = answering(410)
        route = webhook("crm", receiver.url, retries=["100ms"])
        async with inside(configured(tmp_path, nats, vendor, route)) as agent:
            change(sandbox)
            await until(partial(has_got, receiver, 1))
            await until(lambda: bool(agent.told(Delivered)))
            change(sandbox)
            change(sandbox, OTHER)
            await anyio.sleep(2.5)
            assert [fact.outcome for fact in agent.told(Delivered)] == [DeliveryOutcome.REFUSED]
        assert len(receiver.got) == 1
        assert await letters(nats) == []
        async with reading(nats.url) as bus:
            info = await bus.api(f"CONSUMER.INFO.{NAMES.ledger}.route-crm")
            assert info["num_pending"] + info["num_ack_pending"] == 3


async def test_a_receiver_that_hangs_is_given_up_after_the_time_out_and_others_go_on(
    tmp_path: Path, nats: NatsServer
) -> None:
    sandbox = hotel()

    async def hang(got: Got) -> web.Response:
        if got.key == str(KEY) and got.attempt == 1:
            await anyio.sleep_forever()
        return web.Response()

    async with serve(sandbox) as vendor, receiving() as receiver:
        receiver.answer = hang
        route = webhook("crm", receiver.url, timeout="1500ms", retries=["100ms", "1m"])
        async with inside(configured(tmp_path, nats, vendor, route)) as agent:
            change(sandbox)
            change(sandbox, OTHER)
            await until(partial(has_got, receiver, 2))
        first, second = receiver.of(KEY)
        assert second.at - first.at > 1.5
        assert receiver.of(OTHER)[0].at < second.at
        assert "timed out after 1.5 s" in [fact.status for fact in agent.told(Delivered)]


async def test_a_redirect_is_a_failure_and_nobody_follows_it(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver, receiving() as elsewhere:
        receiver.answer = lambda _: web.Response(status=307, headers={"Location": elsewhere.url})
        route = webhook("crm", receiver.url, retries=["100ms"])
        async with inside(configured(tmp_path, nats, vendor, route)):
            change(sandbox)
            await until(partial(has_got, receiver, 2))
        assert elsewhere.got == []


async def test_what_fails_to_the_end_is_a_dead_letter_and_the_record_goes_on(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver:
        receiver.answer = lambda got: web.Response(status=422 if got.version == 2 else 200)
        route = webhook("crm", receiver.url, retries=["1s", "100ms"])
        async with inside(configured(tmp_path, nats, vendor, route)):
            change(sandbox)
            await until(partial(has_got, receiver, 1))
            change(sandbox)
            await until(partial(has_got, receiver, 4))
        assert story(receiver) == [(2, 1), (2, 2), (2, 3), (3, 1)]
        [letter] = await letters(nats)
        assert (letter.route, letter.reason, letter.attempts, letter.status) == ("crm", "answered 422", 3, "422")
        assert letter.event_id == receiver.got[0].id
        assert letter.record == f"octorate/hotel/booking/{KEY}"


async def test_an_event_waits_where_there_is_no_room_for_its_dead_letter(
    tmp_path: Path, nats: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(burying, "NO_GRAVE", 0.3)
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver, reading(nats.url) as bus:
        receiver.answer = lambda got: web.Response(status=500 if got.version == 2 else 200)
        route = webhook("crm", receiver.url, retries=[])
        async with inside(configured(tmp_path, nats, vendor, route)):
            stream = (await bus.api(f"STREAM.INFO.{NAMES.dead}"))["config"]
            await bus.publish(NAMES.dead_letter("old"), b"full")
            await bus.api(f"STREAM.UPDATE.{NAMES.dead}", {**stream, "max_msgs": 1})
            change(sandbox)
            await until(partial(has_got, receiver, 2))
            change(sandbox)
            assert {got.version for got in receiver.of(KEY)} == {2}
            await bus.api(f"STREAM.UPDATE.{NAMES.dead}", {**stream, "max_msgs": -1})
            await until(lambda: receiver.of(KEY)[-1].version == 3)
    assert [letter.reason for letter in await letters(nats) if letter.route == "crm"] == ["answered 500"]
    warned = [record.getMessage() for record in caplog.records if "dead letter cannot be stored" in record.getMessage()]
    assert len(warned) == 1


async def test_what_is_no_event_is_a_dead_letter_and_the_others_go_on(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver:
        async with (
            inside(configured(tmp_path, nats, vendor, webhook("crm", receiver.url))),
            reading(nats.url) as bus,
        ):
            subject = NAMES.event(Scope("octorate", "hotel", "booking"), "created")
            for poison in (b"not an event", b'{"type": 1}', b"\xff\xfe", b"[" * 5000):
                await bus.publish(subject, poison)
            change(sandbox)
            await until(partial(has_got, receiver, 1))
        found = await letters(nats)
        assert [letter.reason for letter in found] == ["this is not an event"] * 4
        assert found[0].event == b"not an event"


async def test_a_route_may_lead_to_a_subject(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    route = {"name": "ops", "events": ["booking.*"], "subject": "ops.bookings"}
    async with serve(sandbox) as vendor, reading(nats.url) as bus:
        await bus.subscribe("ops.bookings", hear)
        async with inside(configured(tmp_path, nats, vendor, route)) as agent:
            change(sandbox)
            await until(lambda: bool(heard))
            await until(lambda: bool(agent.told(Delivered)))
        [told] = agent.told(Delivered)
        assert (told.outcome, told.kind) == (DeliveryOutcome.DELIVERED, "booking.modified")
        assert heard[0].headers is not None
        assert heard[0].headers["Nats-Msg-Id"] == told.event_id


async def test_a_route_keeps_to_its_rate_whatever_waits(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel(seed=12)
    keys = [key for key, each in sandbox.reservations.items() if each["status"] != "CANCELLED"][:8]
    async with serve(sandbox) as vendor, receiving() as receiver:
        route = webhook("crm", receiver.url, rate=8)
        async with inside(configured(tmp_path, nats, vendor, route)):
            for key in keys:
                change(sandbox, key)
            await until(lambda: len(receiver.got) >= len(keys))
        assert len({got.id for got in receiver.got}) == len(receiver.got) == len(keys)
        assert receiver.got[-1].at - receiver.got[0].at > 0.9 * (len(keys) - 1) / 8


async def test_a_worker_killed_before_it_could_acknowledge_sends_the_same_event_again(
    tmp_path: Path, nats: NatsServer
) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver:
        file = file_for(tmp_path, nats, vendor, webhook("crm", receiver.url, timeout="1s"))
        async with agent(file) as process:
            await synced(process)

            def kill(_: Got) -> web.Response:
                os.kill(process.pid, signal.SIGKILL)
                return web.Response()

            receiver.answer = kill
            change(sandbox)
            await process.exit()
        receiver.answer = fine
        change(sandbox)
        async with agent(file):
            await until(partial(has_got, receiver, 3), 60)
        assert [got.version for got in receiver.of(KEY)] == [2, 2, 3]
        assert receiver.got[0].id == receiver.got[1].id


async def test_order_and_attempts_outlive_a_worker_that_is_killed(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver:
        receiver.answer = answering(500, 500, 500, 200)
        route = webhook("crm", receiver.url, timeout="1s", retries=["500ms", "3s", "500ms", "1m"])
        file = file_for(tmp_path, nats, vendor, route)
        async with agent(file, "first.log") as process:
            await synced(process)
            change(sandbox)
            await until(partial(has_got, receiver, 2))
            change(sandbox)
            await anyio.sleep(1.5)  # the second event is there, and waits for the first
            process.kill()
        async with agent(file, "second.log"):
            await until(partial(has_got, receiver, 5), 60)
        assert story(receiver) == [(2, 1), (2, 2), (2, 3), (2, 4), (3, 1)]


async def test_a_delivery_under_way_is_finished_before_the_agent_ends(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()

    async def slow(_: Got) -> web.Response:
        await anyio.sleep(2)
        return web.Response()

    async with serve(sandbox) as vendor, receiving() as receiver:
        receiver.answer = slow
        file = file_for(tmp_path, nats, vendor, webhook("crm", receiver.url))
        async with agent(file) as process:
            await synced(process)
            change(sandbox)
            await until(partial(has_got, receiver, 1))
            status, seconds = await process.end()
            assert (status, "Traceback" in process.log) == (0, False), process.log
            assert 1 < seconds < 10
        async with reading(nats.url) as bus:
            info = await bus.api(f"CONSUMER.INFO.{NAMES.ledger}.route-crm")
            assert (info["num_pending"], info["num_ack_pending"]) == (0, 0)


async def test_a_delivery_that_outlasts_the_grace_is_abandoned_and_comes_again(
    tmp_path: Path, nats: NatsServer
) -> None:
    sandbox = hotel()

    async def hang(_: Got) -> web.Response:
        await anyio.sleep_forever()
        raise AssertionError

    async with serve(sandbox) as vendor, receiving() as receiver:
        receiver.answer = hang
        file = file_for(tmp_path, nats, vendor, webhook("crm", receiver.url, timeout="30s"), grace="1s")
        async with agent(file) as process:
            await synced(process)
            change(sandbox)
            await until(partial(has_got, receiver, 1))
            status, seconds = await process.end()
            assert (status, "Traceback" in process.log) == (0, False), process.log
            assert seconds < 4
        receiver.answer = fine
        async with agent(file):
            await until(partial(has_got, receiver, 2), 20)  # it is given back: nobody waits for the 35 s of its lease
        assert receiver.got[0].id == receiver.got[1].id
